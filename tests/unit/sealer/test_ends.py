"""The ends of processes: interpreter exit, forks, execs, kills. Each program is a real one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from unit.sealer.scene import (
    ED,
    K1,
    KEYRING,
    blocks_of,
    controls_of,
    events_of,
    fill,
    open_log,
    posix,
    python,
    run,
    verified,
)

from fapilog_tamper import Outcome, verify_path
from fapilog_tamper.encoding import b64url_encode

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = posix


# The end of the interpreter.


@pytest.mark.parametrize(
    ("end", "returns"), [("", 0), ("sys.exit(3)", 3), ("raise KeyError", 1)], ids=["returns", "exits", "raises"]
)
@pytest.mark.parametrize("key", ["key", "ed", "None"])
def test_a_log_that_is_open_at_exit_is_closed(key: str, end: str, returns: int, tmp_path: Path) -> None:
    code = f"""
log = SealedLog.open(folder, key={key})
for n in range(3):
    log.append({{'n': n}})
{end}
"""
    run(code, tmp_path, returns=returns)
    verified(tmp_path, None if key == "None" else K1)
    assert [event["n"] for event in events_of(tmp_path)] == [0, 1, 2]


def test_all_logs_that_are_open_at_exit_are_closed(tmp_path: Path) -> None:
    code = "logs = [SealedLog.open(folder, key=key) for _ in range(3)]\nfor log in logs: log.append({})"
    run(code, tmp_path)
    assert len(verified(tmp_path).streams) == 3


def test_a_log_that_nobody_refers_to_any_more_is_closed_at_exit(tmp_path: Path) -> None:
    code = "SealedLog.open(folder, key=key).append({}, durability='accepted')"
    run(code, tmp_path)
    verified(tmp_path)
    assert len(events_of(tmp_path)) == 1


def test_what_was_only_accepted_is_written_at_exit(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=ed, durability='accepted', compress='gzip')
for n in range(500): log.append({'n': n})
"""
    run(code, tmp_path)
    verified(tmp_path)
    assert len(events_of(tmp_path)) == 500


def test_a_log_that_was_used_by_coroutines_is_closed_at_exit(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key)
async def main():
    await asyncio.gather(*(log.append_async({'n': n}, durability='synced') for n in range(20)))
asyncio.run(main())
"""
    run(code, tmp_path)
    verified(tmp_path)
    assert len(events_of(tmp_path)) == 20


@pytest.mark.parametrize("key", ["key", "ed"])
@pytest.mark.parametrize("durability", ["accepted", "written", "synced"])
def test_an_append_in_an_exit_hook_that_runs_after_ours_is_kept(durability: str, key: str, tmp_path: Path) -> None:
    code = f"""
def late():
    for n in (2, 3):
        print(log.append({{'n': n}}, durability={durability!r}).seq)
atexit.register(late)
log = SealedLog.open(folder, key={key})
log.append({{'n': 1}})
"""
    out, _ = run(code, tmp_path)
    assert len(out.split()) == 2
    # A later hook might still append: nothing may be lost, and nothing that is there be unauthenticated.
    if durability != "accepted":
        assert [event["n"] for event in events_of(tmp_path)] == [1, 2, 3]
        assert verify_path(tmp_path, keyring=KEYRING).outcome is Outcome.INTACT
    fill(tmp_path, 1, K1 if key == "key" else ED)
    verified(tmp_path)
    assert not [entry for entry in controls_of(tmp_path, "recovery") if "unsigned" in entry]


def test_an_exit_hook_that_runs_before_ours_appends_as_ever(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key)
log.append({'n': 1})
atexit.register(lambda: log.append({'n': 2}))
"""
    run(code, tmp_path)
    verified(tmp_path)
    assert [event["n"] for event in events_of(tmp_path)] == [1, 2]


def test_a_log_that_was_closed_stays_closed_in_exit_hooks(tmp_path: Path) -> None:
    code = """
def late():
    try:
        log.append({})
    except StoreError as error:
        print(error.message)
atexit.register(late)
log = SealedLog.open(folder, key=key)
log.append({})
log.close()
"""
    out, _ = run(code, tmp_path)
    assert out == "the log is closed.\n"
    verified(tmp_path)


def test_threads_that_still_append_do_not_hold_up_the_exit(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key)
started = threading.Event()
def work():
    while True:
        try: log.append({'x': 'x' * 100})
        except StoreError: return
        started.set()
threading.Thread(target=work, daemon=True).start()
started.wait()
"""
    run(code, tmp_path)
    report = verify_path(tmp_path, keyring=KEYRING)
    assert report.outcome is not Outcome.TAMPERED, report.findings
    fill(tmp_path, 1)
    verified(tmp_path)


# Kills.


@pytest.mark.parametrize("acknowledged", [1, 50, 400])
@pytest.mark.parametrize("sessions", [0, 1])
def test_kill_9_loses_nothing_that_was_acknowledged(acknowledged: int, sessions: int, tmp_path: Path) -> None:
    for _ in range(sessions):
        fill(tmp_path)
    code = """
log = SealedLog.open(folder, key=key)
while True:
    receipt = log.append({'x': 'y' * 300})
    print(receipt.seq, receipt.chain_hash, flush=True)
"""
    with python(code, tmp_path) as child:
        assert child.stdout is not None
        acks = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        acks += child.stdout.read().splitlines(keepends=True)
    assert child.returncode == -signal.SIGKILL
    with open_log(tmp_path) as log:
        assert log.stream == "log"
        log.append({})
    stored = {(block.seq, b64url_encode(block.chain_hash)) for block in blocks_of(tmp_path)}
    said = {(int(ack.split()[0]), ack.split()[1]) for ack in acks if ack.endswith("\n")}
    assert len(said) >= acknowledged
    assert said <= stored
    verified(tmp_path)
