"""The ends of processes: interpreter exit, threads that outlive main, forks, spawned workers."""

from __future__ import annotations

import os

import pytest
from support.audit import Kept, ids, messages, require_gapless, require_intact, run, sealed

from fapilog_audit import AuditTrail

BEGIN = """
import asyncio, atexit, os, sys, threading, time, signal
from pathlib import Path
from fapilog_audit import AuditTrail, CompliancePolicy
T = "acme.test.happened"
folder = Path(sys.argv[1])
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")


def lines(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(
    "call",
    [
        "audit_security_event('security_violation', 'm', user_id='u')",
        "audit_error(ValueError('m'))",
        "audit_data_access('record', 'read', user_id='u')",
    ],
)
def test_a_module_level_call_leaves_its_event_on_disk(tmp_path, call):
    code = f"import asyncio, os, sys; os.chdir(sys.argv[1]); from fapilog_audit import *; print(asyncio.run({call}))"
    done = run(code, tmp_path)
    assert ids(tmp_path / "audit_logs") == lines(done.stdout)
    assert done.stderr == "" or "audit alert" in done.stderr
    require_intact(tmp_path / "audit_logs")


def test_an_event_is_on_disk_when_the_call_returns_however_the_process_ends(tmp_path):
    done = run(BEGIN + "print(asyncio.run(AuditTrail(storage_path=folder).log_event(T, 'm')), flush=True); os._exit(0)", tmp_path)  # fmt: skip  # noqa: E501
    assert ids(tmp_path) == lines(done.stdout)


@pytest.mark.parametrize("when", ["before", "behind"])
def test_exit_hooks_may_log(tmp_path, when):
    """Those that were registered before the trail was opened run behind its own."""
    code = (
        BEGIN
        + """
trail = AuditTrail(storage_path=folder)
hook = lambda: print(trail.log(T, "hook"))
if sys.argv[2] == "behind":
    atexit.register(hook)
print(trail.log(T, "main"))
if sys.argv[2] == "before":
    atexit.register(hook)
"""
    )
    done = run(code, tmp_path, when)
    assert ids(tmp_path) == lines(done.stdout)
    assert messages(tmp_path) == ["main", "hook"]
    assert "Traceback" not in done.stderr
    require_intact(tmp_path)


def test_threads_that_outlive_main_log_until_the_end(tmp_path):
    code = (
        BEGIN
        + """
trail = AuditTrail(storage_path=folder)
def speak():
    threading.main_thread().join()
    for _ in range(50):
        os.write(1, (trail.log(T, "late") + "\\n").encode())
for _ in range(3):
    threading.Thread(target=speak).start()
"""
    )
    done = run(code, tmp_path)
    assert sorted(ids(tmp_path)) == sorted(lines(done.stdout))
    assert len(lines(done.stdout)) == 150
    require_intact(tmp_path)


def test_daemon_threads_lose_nothing_that_was_acknowledged(tmp_path):
    code = (
        BEGIN
        + """
trail = AuditTrail(storage_path=folder)
def speak():
    while True:
        os.write(1, (trail.log(T, "daemon") + "\\n").encode())
for _ in range(3):
    threading.Thread(target=speak, daemon=True).start()
time.sleep(0.2)
"""
    )
    done = run(code, tmp_path)
    said = [one for one in lines(done.stdout) if len(one) == 36]
    assert set(said) <= set(ids(tmp_path))
    assert len(ids(tmp_path)) == len(set(ids(tmp_path)))
    require_gapless(sealed(tmp_path))


def test_events_that_wait_are_stored_at_exit(tmp_path):
    code = (
        BEGIN
        + """
folder.write_text("in the way")
trail = AuditTrail(storage_path=folder)
for number in range(5):
    print(trail.log(T, f"m{number}"))
folder.unlink()
"""
    )
    done = run(code, tmp_path / "logs")
    assert ids(tmp_path / "logs") == lines(done.stdout)
    require_intact(tmp_path / "logs")


def test_events_that_cannot_be_stored_at_exit_are_told_of(tmp_path):
    code = (
        BEGIN
        + """
folder.write_text("in the way")
import fapilog_audit.recorder as recorder
recorder._AT_EXIT = 0.1
trail = AuditTrail(storage_path=folder)
for number in range(5):
    trail.log(T, f"m{number}")
"""
    )
    done = run(code, tmp_path / "logs")
    assert "5 events are not stored at exit" in done.stderr


def test_a_backend_is_flushed_and_closed_at_exit(tmp_path):
    code = (
        BEGIN
        + """
class Backend:
    async def write(self, event): print(event.message, flush=True)
    async def flush(self): print("flush", flush=True)
    async def close(self): print("close", flush=True)
trail = AuditTrail(backend=Backend(), state_dir=folder, durability="accepted")
for number in range(5):
    trail.log(T, f"m{number}")
"""
    )
    done = run(code, tmp_path)
    said = lines(done.stdout)
    assert [one for one in said if one != "flush"] == ["m0", "m1", "m2", "m3", "m4", "close"]
    assert said[-2:] == ["flush", "close"]


@needs_fork
def test_a_forked_child_logs_into_a_slot_of_its_own(tmp_path):
    code = (
        BEGIN
        + """
trail = AuditTrail(storage_path=folder)
trail.log(T, "before")
pid = os.fork()
for number in range(20):
    trail.log(T, f"{'child' if pid == 0 else 'parent'}{number}")
if pid == 0:
    trail.stop_now()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    )
    run(code, tmp_path)
    said = messages(tmp_path)
    for who in ("parent", "child"):
        assert [one for one in said if one.startswith(who)] == [f"{who}{number}" for number in range(20)]
    assert len(said) == 41
    require_gapless(sealed(tmp_path))
    require_intact(tmp_path)


@needs_fork
def test_what_waits_in_the_parent_is_not_stored_by_the_child_too(tmp_path):
    code = (
        BEGIN
        + """
folder.write_text("in the way")
trail = AuditTrail(storage_path=folder)
for number in range(5):
    trail.log(T, f"m{number}")
pid = os.fork()
if pid == 0:
    folder.unlink()
    trail.log(T, "child")
    assert trail.stop_now() == []
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert trail.stop_now() == []
"""
    )
    run(code, tmp_path / "logs")
    assert sorted(messages(tmp_path / "logs")) == ["child", "m0", "m1", "m2", "m3", "m4"]


@needs_fork
def test_a_child_may_be_forked_while_threads_log(tmp_path):
    """Locks that a thread of the parent holds at the fork stop no child."""
    code = (
        BEGIN
        + """
trail = AuditTrail(storage_path=folder)
done = threading.Event()
said = []
def speak():
    while not done.is_set():
        said.append(trail.log(T, "parent"))
threads = [threading.Thread(target=speak) for _ in range(4)]
for thread in threads: thread.start()
for number in range(15):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        trail.log(T, f"child{number}")
        asyncio.run(trail.log_event(T, f"child{number} again"))
        asyncio.run(trail.get_statistics())
        assert trail.stop_now() == []
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, number
done.set()
for thread in threads: thread.join()
print(len(said))
"""
    )
    done = run(code, tmp_path)
    said = messages(tmp_path)
    assert said.count("parent") == int(done.stdout)
    for number in range(15):
        assert said.count(f"child{number}") == said.count(f"child{number} again") == 1
    require_gapless(sealed(tmp_path))


@needs_fork
def test_a_backend_gets_the_events_of_parent_and_child_once(tmp_path):
    code = (
        BEGIN
        + """
class Backend:
    async def write(self, event): os.write(fd, event.sealed_line)
    async def flush(self): pass
    async def close(self): pass
fd = os.open(folder / "got", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
trail = AuditTrail(backend=Backend(), state_dir=folder / "state")
trail.log(T, "before")
pid = os.fork()
for number in range(10):
    trail.log(T, f"{'child' if pid == 0 else 'parent'}{number}")
assert trail.stop_now() == []
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    )
    run(code, tmp_path)
    kept = Kept()
    kept.lines = (tmp_path / "got").read_bytes().splitlines(keepends=True)
    assert sorted(kept.messages) == sorted(["before", *(f"{who}{n}" for who in ("child", "parent") for n in range(10))])


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_of_multiprocessing_log_beside_each_other(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text("""
import multiprocessing, sys
from fapilog_audit import AuditTrail
def work(folder, who):
    trail = AuditTrail(storage_path=folder)
    for number in range(10):
        trail.log("acme.test.happened", f"{who}:{number}", durability="accepted")
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    workers = [context.Process(target=work, args=(sys.argv[1], who)) for who in range(3)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
""")
    run("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')" if method == "fork" else f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(program)!r}, *sys.argv[2:]]))", program, tmp_path / "logs", method)  # fmt: skip  # noqa: E501
    said = messages(tmp_path / "logs")
    assert sorted(said) == sorted(f"{who}:{number}" for who in range(3) for number in range(10))
    require_intact(tmp_path / "logs")


def test_what_a_dead_process_left_in_the_outbox_the_next_one_delivers(tmp_path):
    code = (
        BEGIN
        + """
class Backend:
    async def write(self, event): raise OSError("down")
    async def flush(self): pass
    async def close(self): pass
trails = [AuditTrail(backend=Backend(), state_dir=folder, timeout=0.1) for _ in range(2)]
for number in range(5):
    for which, trail in enumerate(trails):
        trail.log(T, f"{which}:{number}")
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    run(code, tmp_path, check=False)
    backend = Kept()
    with AuditTrail(backend=backend, state_dir=tmp_path) as trail:
        trail.log("acme.test.happened", "after")
        assert trail._recorder.drain(30) == []
    for which in range(2):
        mine = [one for one in backend.messages if one.startswith(f"{which}:")]
        assert mine == [f"{which}:{number}" for number in range(5)]
    assert backend.messages.count("after") == 1
