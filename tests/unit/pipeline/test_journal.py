"""The sealed log behind a sink: shared by sinks that are told the same, opened when needed, and a disk that is full."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from fapilog import Settings, get_logger
from fapilog.core.errors import SinkWriteError
from integration.loopback import until

from fapilog_tamper import Outcome, SealedLog, SealedSink, SealKeyError, StoreError, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import HmacKey, Keyring
from fapilog_tamper.layout import is_segment_name, manifest_name
from fapilog_tamper.pipeline import journal as module
from fapilog_tamper.pipeline.journal import Journal, shared_journal
from fapilog_tamper.pipeline.options import parse_sink_options

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper import VerifyReport
    from fapilog_tamper.pipeline.options import SinkOptions

K1 = HmacKey("k1", bytes(range(32)))
RING = Keyring([K1, HmacKey("fapilog", bytes(range(32)))])


def told(folder: Path, **options: Any) -> SinkOptions:
    return parse_sink_options(None, {"directory": folder, "key": K1, "exit_drain": False, **options})


def lines(folder: Path) -> list[bytes]:
    found = [path for path in folder.iterdir() if path.is_file() and is_segment_name(path.name)]
    return [line for path in found for line in path.read_bytes().splitlines(keepends=True)]


def places(folder: Path) -> list[tuple[str, int]]:
    return sorted((block.stream, block.seq) for _, block in map(split, lines(folder)))


def verified(folder: Path) -> VerifyReport:
    report = verify_path(folder, keyring=RING, require_end=True, require_manifests=True, deep=True)
    assert report.outcome is Outcome.INTACT, report.findings
    return report


# Shared by sinks.


def test_sinks_that_are_told_the_same_share_a_log(tmp_path):
    first = shared_journal(told(tmp_path / "log"))
    assert shared_journal(told(tmp_path / "log")) is first
    assert shared_journal(told(tmp_path / "log", exit_drain=True, inner_sink="stdout_json")) is first


@pytest.mark.parametrize(
    "other",
    [
        {"filename_prefix": "shop"},
        {"key": HmacKey("k2", bytes(32))},
        {"state_dir": "state"},
        {"compress_rotated": True},
        {"rotate_chain": True},
        {"durability": "synced"},
        {"manifest_path": "copies"},
        {"max_bytes": 5000},
        {"verify_on_close": True},
    ],
)
def test_sinks_that_are_told_another_thing_do_not(tmp_path, other):
    first = shared_journal(told(tmp_path))
    assert shared_journal(told(tmp_path, **other)) is not first


def test_a_relative_folder_is_that_of_the_time_when_the_sink_was_made(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    sink = SealedSink(directory="log", key=K1, exit_drain=False)
    monkeypatch.chdir(tmp_path / "b")
    asyncio.run(sink.write({}))
    assert len(lines(tmp_path / "a" / "log")) == 1
    assert list((tmp_path / "b").iterdir()) == []
    assert SealedSink(directory="log", key=K1, exit_drain=False)._journal is not sink._journal


def test_loggers_of_one_process_write_one_stream(tmp_path):
    """Each has a sink and a loop of its own; the first that ends leaves the log open for the other."""
    sealed = {"directory": str(tmp_path), "exit_drain": False, "key": "env:K?kid=k1&alg=HMAC-SHA256"}
    os.environ["K"] = bytes(range(32)).hex()
    try:
        settings = Settings(
            core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"extra": {"sealed": sealed}}
        )
        first, second = (get_logger(name, settings=settings, reuse=False) for name in ("one", "two"))
        for n in range(20):
            first.info("m", n=n)
            second.info("m", n=n)
        until(lambda: tmp_path.exists() and len(lines(tmp_path)) == 40)
        asyncio.run(first.stop_and_drain())
        second.info("m", n=20)
        asyncio.run(second.stop_and_drain())
    finally:
        del os.environ["K"]
    assert places(tmp_path) == [("fapilog", seq) for seq in range(1, 42)]
    assert len(list(tmp_path.glob("*.manifest.json"))) == 1
    verified(tmp_path)


def test_the_log_is_closed_when_the_last_leaves(tmp_path):
    journal = Journal(told(tmp_path))
    one, other = object(), object()
    journal.enter(one)
    journal.enter(other)
    asyncio.run(journal.append({}))
    journal.leave(one)
    assert not list(tmp_path.glob("*.manifest.json"))
    journal.leave(other)
    assert len(list(tmp_path.glob("*.manifest.json"))) == 1
    verified(tmp_path)


# Opened when needed.


def test_nothing_is_made_before_it_is_opened(tmp_path):
    journal = Journal(told(tmp_path / "log"))
    assert (journal.stream, journal.key_id) == ("fapilog", "")
    journal.rotate()
    journal.close()
    assert not (tmp_path / "log").exists()
    assert journal.open() is journal.open()
    assert journal.key_id == "k1"
    journal.close()


def test_a_closed_log_is_opened_by_the_next_event(tmp_path):
    async def work() -> None:
        journal = Journal(told(tmp_path))
        for _ in range(3):
            await journal.append({})
            line = await journal.append_line({})
            assert line in lines(tmp_path)
            journal.close()

    asyncio.run(work())
    assert places(tmp_path) == [("fapilog", seq) for seq in range(1, 7)]
    verified(tmp_path)


def test_a_failure_to_open_is_told_once_and_tried_again_after_a_second(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    journal = Journal(told(tmp_path, key=None, key_env_var="K_OF_THIS_TEST"))
    with pytest.warns(RuntimeWarning, match="no event is stored: environment variable K_OF_THIS_TEST is not set"):
        first = _failure(journal)
    assert _failure(journal) is first
    monkeypatch.setenv("K_OF_THIS_TEST", bytes(range(32)).hex())
    now += 0.9
    assert _failure(journal) is first
    monkeypatch.delenv("K_OF_THIS_TEST")
    now += 0.2
    assert _failure(journal) is not first
    monkeypatch.setenv("K_OF_THIS_TEST", bytes(range(32)).hex())
    now += 1.1
    journal.open()
    assert journal.health() is None
    journal.close()
    monkeypatch.delenv("K_OF_THIS_TEST")
    with pytest.warns(RuntimeWarning, match="no event is stored"):
        _failure(journal)


def _failure(journal: Journal) -> SealKeyError:
    with pytest.raises(SealKeyError) as caught:
        journal.open()
    assert journal.health() == str(caught.value)
    return caught.value


def test_a_log_that_was_rolled_back_takes_nothing(tmp_path):
    asyncio.run(SealedSink(told(tmp_path)).write({}))
    [segment] = tmp_path.glob("*.jsonl")
    segment.unlink()
    (tmp_path / manifest_name(segment.name)).unlink()

    async def work() -> None:
        sink = SealedSink(told(tmp_path))
        with pytest.warns(RuntimeWarning, match="no event is stored"), pytest.raises(SinkWriteError, match="restore"):
            await sink.write({})

    asyncio.run(work())


@pytest.mark.parametrize("name", ["fapilog-20261120-120000.jsonl", "app.jsonl", "old.jsonl.gz"])
def test_files_of_another_log_in_the_folder_are_warned_of(tmp_path, name):
    (tmp_path / name).write_text('{"a":1}\n')
    journal = Journal(told(tmp_path))
    with pytest.warns(RuntimeWarning, match=f"holds files that are not of a sealed log .{name}"):
        journal.open()
    assert journal.health() is None
    journal.close()


@pytest.mark.parametrize("name", ["notes.txt", "shop_2026-11-20.jsonl", "shop_2026-11-20.1.jsonl.zst"])
def test_other_files_are_not(tmp_path, name):
    (tmp_path / name).write_text("")
    journal = Journal(told(tmp_path))
    journal.open()
    journal.close()


# Closed segments.


def test_a_manifest_that_cannot_be_copied_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(told(tmp_path / "log", manifest_path=tmp_path / "file"))
    asyncio.run(journal.append({}))
    with pytest.warns(RuntimeWarning, match=r"sealed sink: segment fapilog_.*\.jsonl: "):
        journal.close()
    assert "sealed sink: segment fapilog_" in str(journal.health())
    journal.close()
    verified(tmp_path / "log")


@pytest.mark.parametrize("rotate_chain", [False, True])
def test_rotating_while_others_append_loses_and_repeats_nothing(tmp_path, rotate_chain):
    journal = Journal(told(tmp_path, rotate_chain=rotate_chain, max_bytes=8192))

    async def work(name: int) -> None:
        for n in range(100):
            await journal.append({"name": name, "n": n})
            if n % 20 == name:
                journal.rotate()

    threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    events = [json.loads(split(line)[0]) for line in lines(tmp_path)]
    assert sorted((one["name"], one["n"]) for one in events) == [(name, n) for name in range(4) for n in range(100)]
    verified(tmp_path)


# A disk that is full.


@pytest.fixture
def _short_wait(monkeypatch):
    """Let a write be refused after a moment, not after half a minute."""
    monkeypatch.setitem(SealedLog.open.__func__.__kwdefaults__, "timeout", 0.2)


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="breaks the call that POSIX has")
@pytest.mark.usefixtures("_short_wait")
def test_a_full_disk_is_a_write_error_and_unhealthy_until_there_is_room(tmp_path, monkeypatch):
    real, full = os.pwrite, True

    def pwrite(handle: int, data: bytes, offset: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data, offset)

    async def require_refused(sink: SealedSink, count: int) -> None:
        for n in range(count):
            with pytest.raises(SinkWriteError, match="No space left on device") as caught:
                await sink.write({"n": n})
            assert isinstance(caught.value.__cause__, StoreError)
            assert caught.value.__cause__.seqs == (n + 1,)

    async def work() -> None:
        nonlocal full
        sink = SealedSink(told(tmp_path))
        await sink.start()
        with pytest.warns(RuntimeWarning, match="No space left on device") as seen:
            await require_refused(sink, 2)
        assert len(seen) == 1
        assert "No space left on device" in str(sink.health())
        assert await sink.health_check() is False
        full = False
        for _ in range(2000):
            if await sink.health_check():
                break
            await asyncio.sleep(0.01)
        await sink.write({"n": 2})
        assert sink.health() is None
        await sink.stop()

    monkeypatch.setattr(os, "pwrite", pwrite)
    asyncio.run(work())
    # What was refused was accepted before, and is stored as soon as there is room.
    assert [json.loads(split(line)[0])["n"] for line in lines(tmp_path)] == [0, 1, 2]
    verified(tmp_path)


FILLING = """
import asyncio, resource, signal, sys, warnings
from fapilog import Settings, get_logger
from fapilog_tamper import SealedLog, SealedSink
from fapilog_tamper.keys import HmacKey
warnings.simplefilter("ignore")
SealedLog.open.__func__.__kwdefaults__["timeout"] = 0.1
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
sink = SealedSink(directory=sys.argv[1], key=HmacKey("k1", bytes(range(32))), exit_drain=False)
log = get_logger(sinks=[sink], settings=Settings(core={"serialize_in_flush": sys.argv[2] == "True"}), reuse=False)
for n in range(18):
    log.info("m", n=n, pad="x" * 400)
asyncio.run(log.stop_and_drain())
print(sink.health() is None)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits are of POSIX")
@pytest.mark.parametrize("serialized", [False, True])
def test_an_event_that_the_disk_does_not_take_is_accounted_for(tmp_path, serialized):
    """Each event is in the log, or fapilog was told and printed it, which it does for a failed sink."""
    command = [sys.executable, "-c", FILLING, str(tmp_path), str(serialized)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    printed = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    refused = {one.get("log", one)["data"]["n"] for one in printed}
    stored = {json.loads(split(line)[0])["log"]["data"]["n"] for line in lines(tmp_path) if line.endswith(b"}\n")}
    assert stored | refused == set(range(18))
    assert stored
    assert refused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        journal = Journal(told(tmp_path))
        journal.open()
        journal.close()
    verified(tmp_path)
