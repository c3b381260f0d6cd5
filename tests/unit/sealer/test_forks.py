"""Forked children and started programs: what they do to a log that is open, and what it does for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from unit.sealer.scene import (
    blocks_of,
    events_of,
    files_of,
    has_manifest,
    lines_of,
    open_log,
    posix,
    python,
    run,
    segments,
    verified,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = posix

FORK = """
def child(work, wait=True):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except SystemExit:
            raise
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(9)
        sys.exit(0)
    if wait:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
    return pid
"""


def test_a_forked_child_appends_to_a_slot_of_its_own_and_the_parent_goes_on(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
log.append({'who': 'parent'})
child(lambda: print(log.append({'who': 'child'}).stream, log.append({'who': 'child'}).stream, log.stream, flush=True))
print(log.append({'who': 'parent'}).stream, log.stream)
"""
    )
    out, _ = run(code, tmp_path)
    assert out.split() == ["log.w2", "log.w2", "log.w2", "log", "log"]
    assert [event["who"] for event in events_of(tmp_path)] == ["parent"] * 2
    assert [event["who"] for event in events_of(tmp_path, "log.w2")] == ["child"] * 2
    verified(tmp_path)


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "log.close()", "log.flush()", "repr(log), log.stats"])
def test_a_forked_child_that_does_not_append_leaves_the_log_to_its_parent(end: str, tmp_path: Path) -> None:
    code = (
        FORK
        + f"""
log = SealedLog.open(folder, key=key)
log.append({{'n': 1}})
child(lambda: ({end}))
with open(folder + '/state', 'w') as file: print(os.listdir(folder), file=file)
other = SealedLog.open(folder, key=key)
print(other.stream)
log.append({{'n': 2}})
"""
    )
    out, _ = run(code, tmp_path)
    assert out == "log.w2\n"
    assert ".manifest.json" not in (tmp_path / "state").read_text()
    assert [event["n"] for event in events_of(tmp_path)] == [1, 2]
    verified(tmp_path)


def test_a_forked_child_that_leaves_the_block_of_its_parent_closes_nothing_of_it(tmp_path: Path) -> None:
    code = """
with SealedLog.open(folder, key=key) as log:
    log.append({'n': 1})
    pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(code, tmp_path)
    verified(tmp_path)


def test_a_forked_child_may_close_what_it_appended_to(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
log.append({})
child(lambda: (log.append({}), log.close(), os._exit(0)))
assert [name for name in os.listdir(folder) if name.startswith('log.w2') and name.endswith('.manifest.json')]
log.append({})
"""
    )
    run(code, tmp_path)
    verified(tmp_path)


def test_a_forked_child_that_ends_without_closing_is_recovered_by_the_next_open(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
log.append({})
child(lambda: (log.append({}), os._exit(0)))
"""
    )
    run(code, tmp_path)
    assert not has_manifest(tmp_path, segments(tmp_path, "log.w2")[0])
    open_log(tmp_path).close()
    verified(tmp_path)
    assert len(events_of(tmp_path, "log.w2")) == 1


def test_children_and_grandchildren_that_live_together_have_slots_of_their_own(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
log.append({})
def inner(): log.append({})
def outer():
    log.append({})
    child(inner)
    log.append({})
child(outer)
log.append({})
"""
    )
    run(code, tmp_path)
    counts = {one.stream: one.entries for one in verified(tmp_path).streams}
    assert counts == {"log": 2, "log.w2": 2, "log.w3": 1}


def test_a_fork_in_the_middle_of_appends_of_other_threads_harms_neither_side(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key, rotation=None)
stop = threading.Event()
def work():
    while not stop.is_set(): log.append({'who': 'parent', 'x': 'x' * 500}, durability='accepted')
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(4): child(lambda: [log.append({'who': 'child'}, durability='synced') for _ in range(3)])
stop.set()
for thread in threads: thread.join()
"""
    )
    run(code, tmp_path)
    verified(tmp_path)
    assert {event["who"] for event in events_of(tmp_path)} == {"parent"}
    assert len(events_of(tmp_path, "log.w2")) == 12


def test_coroutines_of_a_forked_child_append_too(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
async def many(): await asyncio.gather(*(log.append_async({}, durability='synced') for _ in range(5)))
asyncio.run(many())
child(lambda: asyncio.run(many()))
"""
    )
    run(code, tmp_path)
    verified(tmp_path)
    assert len(lines_of(tmp_path, "log.w2")) == 5


def test_a_forked_child_that_lives_on_does_not_keep_the_slot_of_a_parent_that_died(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key)
log.append({})
here, there = os.pipe()
if os.fork() == 0:
    os.write(there, b'.')
    sys.stdin.read()
    os._exit(0)
os.read(here, 1)
os._exit(0)
"""
    with python(code, tmp_path) as parent:
        assert parent.stdin is not None
        parent.wait(30)
        with open_log(tmp_path) as log:
            assert log.stream == "log"
            log.append({})
        parent.stdin.close()
    verified(tmp_path)


def test_a_forked_child_goes_on_under_the_key_that_the_parent_rotated_to(tmp_path: Path) -> None:
    code = (
        FORK
        + """
log = SealedLog.open(folder, key=key)
log.rotate_key(ed)
child(lambda: log.append({}))
"""
    )
    run(code, tmp_path)
    assert {block.key_id for block in blocks_of(tmp_path, "log.w2")} == {"ed-2026"}
    verified(tmp_path)


def test_an_unused_log_in_a_forked_child_makes_no_file(tmp_path: Path) -> None:
    code = FORK + "log = SealedLog.open(folder, key=key)\nchild(lambda: None)\n"
    run(code, tmp_path)
    assert set(files_of(tmp_path)) == {".fapilog/log.lock"}


@pytest.mark.parametrize("opened", ["in the parent", "in the child"])
def test_a_child_of_multiprocessing_closes_its_slot_when_it_ends(opened: str, tmp_path: Path) -> None:
    code = f"""
import multiprocessing
log = SealedLog.open(folder, key=key) if {opened == "in the parent"} else None
def work():
    global log
    log = log or SealedLog.open(folder, key=key)
    for n in range(3): log.append({{'n': n}})
process = multiprocessing.get_context('fork').Process(target=work)
process.start()
process.join()
assert process.exitcode == 0
"""
    run(code, tmp_path)
    slot = "log.w2" if opened == "in the parent" else "log"
    assert has_manifest(tmp_path, segments(tmp_path, slot)[0])
    assert len(events_of(tmp_path, slot)) == 3
    verified(tmp_path)


# Programs that are started.


@pytest.mark.parametrize("end", ["log.close()", "os._exit(0)"], ids=["closed", "crashed"])
def test_a_program_that_was_started_meanwhile_does_not_keep_the_slot(end: str, tmp_path: Path) -> None:
    code = f"""
import subprocess
log = SealedLog.open(folder, key=key)
log.append({{}})
wait = [sys.executable, '-c', 'import sys; sys.stdin.read()']
started = subprocess.Popen(wait, close_fds=False, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print('started', flush=True)
{end}
os._exit(0)
"""
    with python(code, tmp_path) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == "started\n"
        parent.wait(30)
        with open_log(tmp_path) as log:
            assert log.stream == "log"
            log.append({})
        parent.stdin.close()
    verified(tmp_path)
