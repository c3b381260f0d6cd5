"""`SealedLog.open(restart=True)`: each open begins a chain of its own, bound to those before it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    ED,
    K1,
    KEYRING,
    blocks_of,
    content,
    controls_of,
    events_of,
    fill,
    head_of,
    manifest_of,
    memory,
    open_log,
    posix,
    python,
    run,
    segments,
    verified,
)

from fapilog_tamper import Code, Outcome, verify_path
from fapilog_tamper.entry import GENESIS
from fapilog_tamper.layout import STATE_FOLDER, head_name, manifest_name
from fapilog_tamper.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fapilog_tamper import VerifyReport
    from fapilog_tamper.keys import SigningKey


def begin(folder: Any, count: int = 3, key: SigningKey | None = K1, **options: Any) -> str:
    """Write a chain and close it; return its stream."""
    [*_, last] = fill(folder, count, key, restart=True, **options)
    return last.stream


def asked(folder: Path) -> VerifyReport:
    """Verify all that there is, and ask for all that there can be."""
    return verify_path(folder, keyring=KEYRING, require_end=True, require_manifests=True)


@pytest.mark.parametrize("key", [K1, ED, None], ids=["hmac", "ed25519", "unkeyed"])
def test_each_open_begins_the_next_chain(key: SigningKey | None) -> None:
    folder = memory()
    names = [begin(folder, key=key) for _ in range(12)]
    assert names == ["log", *(f"log.r{number}" for number in range(2, 13))]
    for name in names:
        blocks = blocks_of(folder, name)
        assert [block.seq for block in blocks] == [1, 2, 3]
        assert blocks[0].prev_chain_hash == GENESIS
        assert controls_of(folder, "recovery", name) == []
        assert head_of(folder, name).seq == 3
    report = verified(folder, key)
    assert len(report.streams) == 12


def test_a_chain_without_an_entry_leaves_its_number_to_the_next() -> None:
    folder = memory()
    begin(folder)
    for _ in range(2):
        log = open_log(folder, restart=True)
        assert log.stream == "log.r2"
        log.close()
    assert begin(folder) == "log.r2"
    verified(folder)


def test_manifest_and_head_of_a_chain_name_the_ends_of_those_before() -> None:
    folder = memory()
    names = [begin(folder, number) for number in range(1, 5)]
    ends = {name: (name, head_of(folder, name).seq, head_of(folder, name).chain_hash) for name in names}
    for number, name in enumerate(names):
        before = {ends[one] for one in names[:number]}
        [segment] = segments(folder, name)
        assert set(manifest_of(folder, segment).others) == before
        assert set(head_of(folder, name).others) == before


def test_a_log_goes_on_behind_restarted_chains_and_is_restarted_behind_itself() -> None:
    """restart may be turned on and off: the stream without a number is the first chain."""
    folder = memory()
    fill(folder)
    assert begin(folder) == "log.r2"
    fill(folder)
    assert [block.seq for block in blocks_of(folder)] == [1, 2, 3, 4, 5, 6]
    assert begin(folder) == "log.r3"
    verified(folder)


def test_other_streams_have_numbers_of_their_own() -> None:
    folder = memory()
    assert begin(folder) == "log"
    assert begin(folder, stream="logs") == "logs"
    assert begin(folder, stream="logs") == "logs.r2"
    assert begin(folder) == "log.r2"
    verified(folder)


def test_numbers_are_in_the_order_of_numbers() -> None:
    folder = memory()
    for _ in range(10):
        begin(folder, 1)
    assert begin(folder, 1) == "log.r11"


def test_a_chain_whose_segments_were_taken_to_the_archive_is_not_begun_again() -> None:
    """Its head is still there."""
    folder = memory()
    begin(folder)
    begin(folder)
    for name in segments(folder, "log.r2"):
        folder.remove(name)
        folder.remove(manifest_name(name))
    assert begin(folder) == "log.r3"


def test_a_chain_whose_head_is_lost_is_not_begun_again() -> None:
    folder = memory()
    begin(folder)
    begin(folder)
    folder.child(STATE_FOLDER).remove(head_name("log.r2"))
    assert begin(folder) == "log.r3"


def test_two_at_once_have_chains_of_their_own() -> None:
    folder = memory()
    logs = [open_log(folder, restart=True) for _ in range(3)]
    assert [log.stream for log in logs] == ["log", "log.r2", "log.r3"]
    for log in logs:
        log.append({"n": log.stream})
    for log in logs:
        log.close()
    assert begin(folder) == "log.r4"
    verified(folder)


class Contested(MemoryStore):
    """A state folder in which another begins and ends a chain just before the first lock is taken."""

    rival: Callable[[], object] | None = None

    def lock(self, name: str) -> Any:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
        return super().lock(name)


def test_a_chain_that_another_began_and_ended_meanwhile_is_not_gone_on_with() -> None:
    folder, state = memory(), Contested()
    state.rival = lambda: begin(folder, state_dir=state)
    assert begin(folder, state_dir=state) == "log.r2"
    assert [block.seq for block in blocks_of(folder)] == [1, 2, 3]


def test_two_processes_at_once_have_chains_of_their_own(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key, restart=True)
for number in range(100):
    log.append({"n": number})
print(log.stream, flush=True)
sys.stdin.readline()
for number in range(100, 200):
    log.append({"n": number})
log.close()
print(SealedLog.open(folder, key=key, restart=True).append({"n": 200}).stream, flush=True)
"""
    with python(code, tmp_path) as one, python(code, tmp_path) as other:
        try:
            streams = [child.stdout.readline().strip() for child in (one, other)]  # type: ignore[union-attr]
            later = [child.communicate("\n", timeout=60)[0].strip() for child in (one, other)]
        finally:
            for child in (one, other):
                child.kill()
    assert (one.returncode, other.returncode) == (0, 0)
    assert sorted(streams) == ["log", "log.r2"]
    assert sorted(later) == ["log.r3", "log.r4"]
    for stream in streams:
        assert [event["n"] for event in events_of(tmp_path, stream)] == list(range(200))
    verified(tmp_path)


CRASH = """
log = SealedLog.open(folder, key={key}, restart=True)
for number in range(5):
    log.append({{"n": number}})
print(log.stream, flush=True)
os.kill(os.getpid(), 9)
"""


@posix
@pytest.mark.parametrize(("name", "key"), [("key", K1), ("ed", ED)])
def test_a_crashed_chain_is_recovered_by_the_next(name: str, key: SigningKey, tmp_path: Path) -> None:
    begin(tmp_path, key=key)
    out, _ = run(CRASH.format(key=name), tmp_path, returns=-9)
    assert out.split() == ["log.r2"]
    assert len(segments(tmp_path, "log.r2")) == 1
    assert begin(tmp_path, key=key) == "log.r3"
    assert [event["n"] for event in events_of(tmp_path, "log.r2")] == list(range(5))
    assert [block.seq for block in blocks_of(tmp_path, "log.r3")] == [1, 2, 3]
    verified(tmp_path, key)


@posix
def test_a_torn_tail_of_a_crashed_chain_is_recovered_by_the_next(tmp_path: Path) -> None:
    out, _ = run(CRASH.format(key="key"), tmp_path, returns=-9)
    assert out.split() == ["log"]
    [segment] = segments(tmp_path)
    with (tmp_path / segment).open("ab") as file:
        file.write(b'{"n":5,"inte')
    assert begin(tmp_path) == "log.r2"
    [recovery] = controls_of(tmp_path, "recovery")
    assert recovery["after_seq"] == 5
    verified(tmp_path)


@posix
def test_a_crashed_chain_that_cannot_be_recovered_does_not_stop_the_next(tmp_path: Path) -> None:
    """It is warned of, and stays as it is for whoever verifies."""
    begin(tmp_path)
    run(CRASH.format(key="key"), tmp_path, returns=-9)
    [segment] = segments(tmp_path, "log.r2")
    lines = content(tmp_path, segment).splitlines(keepends=True)
    (tmp_path / segment).write_bytes(b"".join([lines[0], lines[1].replace(b'"n":1', b'"n":7'), *lines[2:]]))
    with pytest.warns(RuntimeWarning, match=r"sealed log log\.r2 in .* was not recovered"):
        assert begin(tmp_path) == "log.r3"
    assert asked(tmp_path).outcome is Outcome.TAMPERED


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_a_chain_of_which_all_files_are_gone_is_missed(gone: int, tmp_path: Path) -> None:
    """Every later chain names it, and where none does, its head is asked for."""
    names = [begin(tmp_path) for _ in range(5)]
    name = names[gone - 1]
    for segment in segments(tmp_path, name):
        (tmp_path / segment).unlink()
        (tmp_path / manifest_name(segment)).unlink()
    report = asked(tmp_path)
    assert report.outcome is Outcome.TAMPERED
    assert Code.SEGMENT_MISSING in {finding.code for finding in report.findings}
    (tmp_path / STATE_FOLDER / head_name(name)).unlink()
    for report in (asked(tmp_path), verify_path(tmp_path, keyring=KEYRING)):
        assert report.outcome is not Outcome.INTACT
        [finding] = {finding.code for finding in report.findings}
        assert finding is Code.STREAM_MISSING
        assert any(name in finding.message for finding in report.findings)


def test_a_chain_that_ends_before_what_others_say_is_missed(tmp_path: Path) -> None:
    """Its last segment, manifest and head taken back to an older state together."""
    folder = tmp_path
    with open_log(folder, restart=True) as log:
        log.append({"n": 0})
        log.rotate()
        older = (folder / STATE_FOLDER / head_name("log")).read_bytes()
        log.append({"n": 1})
    begin(folder)
    last = segments(folder)[-1]
    (folder / last).unlink()
    (folder / manifest_name(last)).unlink()
    (folder / STATE_FOLDER / head_name("log")).write_bytes(older)
    report = verify_path(folder, keyring=KEYRING)
    assert report.outcome is Outcome.TAMPERED
    assert Code.SEGMENT_MISSING in {finding.code for finding in report.findings}


def test_a_restart_does_not_cover_up_what_is_missing(tmp_path: Path) -> None:
    begin(tmp_path)
    begin(tmp_path)
    [segment] = segments(tmp_path, "log.r2")
    (tmp_path / segment).unlink()
    for _ in range(2):
        begin(tmp_path)
        report = verify_path(tmp_path, keyring=KEYRING)
        assert report.outcome is Outcome.TAMPERED
        assert Code.SEGMENT_MISSING in {finding.code for finding in report.findings}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_a_forked_child_begins_a_chain_of_its_own(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key, restart=True)
log.append({"n": 0})
child = os.fork()
receipt = log.append({"n": 1})
log.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(receipt.stream)
else:
    os._exit(receipt.stream != "log.r2")
"""
    out, _ = run(code, tmp_path)
    assert out.split() == ["log"]
    assert [event["n"] for event in events_of(tmp_path, "log.r2")] == [1]
    verified(tmp_path)
