"""The ground taken away: files that somebody replaces, signal handlers and destructors that log, odd exceptions."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings

import pytest
from support.audit import Kept, ids

from fapilog_audit import AuditTrail, CompliancePolicy, StorageError

TYPE = "acme.door.opened"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("how", ["replaced", "removed"])
@pytest.mark.parametrize("policy", ["contain", "raise"])
async def test_events_that_are_gone_with_their_file_are_counted_and_told_of(tmp_path, how, policy):
    folder = tmp_path / "logs"
    trail = AuditTrail(CompliancePolicy(on_storage_failure=policy), folder)
    for number in range(3):
        await trail.log_event(TYPE, f"m{number}", durability="synced")
    [segment] = folder.glob("*.jsonl")
    if how == "replaced":
        # As an editor does, or `sed -i`.
        shutil.copy(segment, tmp_path / "copy")
        (tmp_path / "copy").replace(segment)
    else:
        segment.unlink()
    # These go into a file that has no name any more.
    written = [await trail.log_event(TYPE, f"w{number}") for number in range(2)]
    if policy == "raise":
        with pytest.raises(StorageError) as caught:
            await trail.log_event(TYPE, "late", durability="synced")
        late = caught.value.event_id
        assert caught.value.pending
    else:
        late = await trail.log_event(TYPE, "late", durability="synced")
    assert await trail.drain() == []
    found = ids(folder)
    assert late in found
    assert not set(written) & set(found)
    lost = len(written) if how == "replaced" else len(written) + 3
    numbers = await trail.get_statistics()
    assert [numbers[name] for name in ("accepted", "stored", "failed", "pending")] == [6, 6 - lost, lost, 0]
    [gap] = await trail.get_events(event_type="fapilog_audit.gap")
    assert gap.metadata["count"] == lost
    assert await trail.stop() == []


HANDLER = """
import signal, sys
from fapilog_audit import AuditTrail

trail = AuditTrail(storage_path=sys.argv[1])
said = []

busy = False

def handle(*_):
    # One at a time, as handlers of signals that come in numbers do.
    global busy
    if not busy:
        busy = True
        said.append(trail.log("acme.signal", "from a handler"))
        busy = False

trail.start_now()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
while len(said) < 400:
    said.append(trail.log("acme.door.opened", "from the main thread", durability=sys.argv[2]))
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(said), len(trail.stop_now(30)))
"""


@pytest.mark.parametrize("durability", ["written", "synced"])
def test_an_event_of_a_signal_handler_has_one_place(tmp_path, durability):
    program = [sys.executable, "-W", "ignore", "-c", HANDLER, str(tmp_path), durability]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
    said, left = map(int, done.stdout.split())
    found = ids(tmp_path)
    assert (len(found), len(set(found)), left) == (said, said, 0)


DESTRUCTOR = """
import gc, sys
from fapilog_audit import AuditTrail

trail = AuditTrail(storage_path=sys.argv[1])

class Session:
    def __init__(self):
        self.me = self

    def __del__(self):
        trail.log("acme.session.closed", "closed")

trail.log("acme.door.opened", "m")
gc.collect()
session = Session()
"""


def test_a_destructor_that_logs_while_the_interpreter_ends_does_not_hold_it(tmp_path):
    program = [sys.executable, "-W", "ignore", "-c", DESTRUCTOR, str(tmp_path)]
    subprocess.run(program, capture_output=True, timeout=60, check=True)
    assert ids(tmp_path)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("policy", ["contain", "raise"])
async def test_a_backend_may_raise_what_ends_programs(tmp_path, error, policy):
    class Odd(Kept):
        bad = True

        async def write(self, event):
            if self.bad:
                raise error
            await super().write(event)

    backend = Odd()
    trail = AuditTrail(CompliancePolicy(on_storage_failure=policy), backend=backend, state_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if policy == "raise":
            with pytest.raises(StorageError, match=type(error).__name__):
                await trail.log_event(TYPE, "m0")
        else:
            await trail.log_event(TYPE, "m0")
    assert not trail.health().ok
    backend.bad = False
    assert await trail.drain(30) == []
    assert len(backend.ids) == 1
    assert await trail.stop() == []


async def test_a_copy_of_a_file_that_an_editor_left_counts_once(tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        for number in range(3):
            await trail.log_event(TYPE, f"m{number}")
    [segment] = tmp_path.glob("*.jsonl")
    shutil.copy(segment, f"{segment}.bak")
    events = await trail.get_events()
    assert [event.message for event in events] == ["m2", "m1", "m0"]
    assert await trail.count() == 3
    assert trail.verify_chain(events).valid


async def test_leaving_a_block_says_what_is_not_stored(tmp_path):
    (tmp_path / "in-the-way").write_text("a file")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with AuditTrail(storage_path=tmp_path / "in-the-way" / "logs", timeout=0.1) as trail:
            for number in range(2):
                await trail.log_event(TYPE, f"m{number}")
    assert "it was stopped, and 2 events are not stored" in str(told[-1].message)
