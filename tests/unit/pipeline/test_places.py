"""Where the sealed log of a sink lies, what it leaves behind, and what it does while the disk or a thread fails."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from fapilog import Settings, get_logger
from fapilog.core.errors import SinkWriteError

from fapilog_tamper import SealedSink, verify_path
from fapilog_tamper.keys import HmacKey, format_private_jwk
from fapilog_tamper.pipeline.journal import shared_journal
from fapilog_tamper.pipeline.options import parse_sink_options

K1 = HmacKey("k1", bytes(range(32)))

CRASH = """
import asyncio, os, sys
from fapilog_tamper import SealedSink
from fapilog_tamper.keys import HmacKey

async def work():
    sink = SealedSink(
        directory=sys.argv[1], manifest_path=sys.argv[2], max_bytes=8192, key=HmacKey("k1", bytes(range(32)))
    )
    for n in range(100):
        await sink.write({"n": n, "pad": "x" * 100})
    os.kill(os.getpid(), 9)

asyncio.run(work())
"""

ALERT = """
import asyncio, sys
from pathlib import Path
from fapilog_tamper import SealedSink
from fapilog_tamper.keys import HmacKey

folder, key = Path(sys.argv[1]), HmacKey("k1", bytes(range(32)))

async def work():
    sink = SealedSink(directory=folder, verify_on_close=True, compress_rotated="gzip", key=key)
    await sink.write({"n": 1})
    [path] = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    await sink.rotate()
    for n in range(3):
        await sink.write({"n": 5})
        await sink.rotate()
    await sink.stop()
    assert "is tampered" in sink.health(), sink.health()

asyncio.run(work())
"""

NEXT = """
import sys
from fapilog_tamper import SealedLog
from fapilog_tamper.keys import HmacKey
print(SealedLog.open(sys.argv[1], key=HmacKey("k1", bytes(range(32))), stream="fapilog").stream)
"""

CHILD = """
import asyncio, os, sys
from pathlib import Path
from fapilog_tamper import SealedSink
from fapilog_tamper.keys import HmacKey

sink = SealedSink(directory=sys.argv[1], key=HmacKey("k1", bytes(range(32))))
loop = asyncio.new_event_loop()
loop.run_until_complete(sink.write({}))
child = os.fork()
if not child:
    asyncio.run(sink.write({}))
    os._exit(len(list(Path(sys.argv[1]).glob("fapilog.w2_*.manifest.json"))))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run(code, *arguments, flags=()):
    command = [sys.executable, *flags, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_folder_spelled_two_ways_is_one_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = shared_journal(parse_sink_options(None, {"directory": "log", "key": K1}))
    assert shared_journal(parse_sink_options(None, {"directory": tmp_path / "log", "key": K1})) is one


@pytest.mark.parametrize("option", ["state_dir", "manifest_path"])
def test_relative_folders_are_those_of_the_time_when_the_sink_was_made(tmp_path, monkeypatch, option):
    for name in "ab":
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    sink = SealedSink(directory="log", key=K1, **{option: "beside"})
    monkeypatch.chdir(tmp_path / "b")
    asyncio.run(sink.write({}))
    assert list((tmp_path / "b").iterdir()) == []
    assert (tmp_path / "a" / "beside").is_dir()


def test_a_relative_key_is_that_of_the_time_when_the_sink_was_made(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / f"{name}.jwk").write_text(format_private_jwk(HmacKey(name, bytes(range(32)))))
        (tmp_path / f"{name}.jwk").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    asyncio.run(SealedSink(directory="log", key="file:old.jwk").write({}))
    sink = SealedSink(directory="log", key="file:new.jwk", old_keys=["file:old.jwk"])
    monkeypatch.chdir("/")
    asyncio.run(sink.write({}))
    assert verify_path(tmp_path / "log", keys=[f"file:{tmp_path}/{name}.jwk" for name in ("old", "new")]).entries == 2


def test_after_a_crash_the_copies_of_manifests_are_complete(tmp_path):
    folder, copies = tmp_path / "log", tmp_path / "copies"
    assert run(CRASH, folder, copies).returncode == -9
    sink = SealedSink(directory=folder, manifest_path=copies, max_bytes=8192, key=K1)
    asyncio.run(sink.write({}))
    manifests = {path.name: path.read_bytes() for path in folder.glob("*.manifest.json")}
    assert len(manifests) > 3
    assert {path.name: path.read_bytes() for path in copies.iterdir()} == manifests


def test_where_warnings_are_errors_an_alert_does_not_end_the_thread_of_the_log(tmp_path):
    done = run(ALERT, tmp_path, flags=("-W", "error"))
    assert done.returncode == 0
    # The warning itself is said.
    assert done.stderr.startswith("RuntimeWarning: sealed sink: segment ")
    assert done.stderr.count("\n") == 1
    assert len(list(tmp_path.glob("*.gz"))) == 3


def test_compression_in_the_typed_inner_config_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", bytes(range(32)).hex())
    sealed = {"inner_config": {"directory": str(tmp_path), "compress_rotated": True}}
    settings = Settings(core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"sealed": sealed})
    log = get_logger(settings=settings, reuse=False)
    log.info("event")
    asyncio.run(log.stop_and_drain())
    assert len(list(tmp_path.glob("*.gz"))) == 1


def test_the_health_of_a_stopped_sink_takes_no_slot(tmp_path):
    sink = SealedSink(directory=tmp_path, key=K1)
    asyncio.run(sink.write({}))
    assert sink.health() is None
    assert run(NEXT, tmp_path).stdout.split() == ["fapilog"]


def test_a_full_disk_holds_one_event_for_the_timeout_and_no_other(tmp_path, monkeypatch):
    """The first waits for the disk; those behind it are kept in memory, and stored when there is room again."""
    refused = []

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "no space")

    async def work():
        sink = SealedSink(directory=tmp_path, key=K1, timeout=0.5)
        await sink.start()
        with pytest.warns(RuntimeWarning, match="no space"):  # noqa: PT031 (the one warning may come with any of them)
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(os, "pwrite", full)
            for number in range(5):
                begun = loop.time()
                with pytest.raises(Exception, match="no space"):
                    await sink.write({"n": number})
                refused.append(loop.time() - begun)
            monkeypatch.undo()
        # What is refused for being late is stored all the same.
        with suppress(SinkWriteError):
            await sink.write({"n": 5})
        await sink.stop()

    asyncio.run(work())
    assert refused[0] >= 0.5 > max(refused[1:])
    report = verify_path(tmp_path, keys=[K1])
    assert (report.valid, report.entries) == (True, 6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_child_closes_its_segment_whatever_loops_its_parent_has_open(tmp_path):
    assert run(CHILD, tmp_path, flags=("-W", "ignore")).stdout == "1\n"
