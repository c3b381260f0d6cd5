"""A disk that refuses: callers are told, nothing is lost, nothing is stored twice, and one warning tells an episode."""

from __future__ import annotations

import errno
import json
import warnings
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from faults.breaking import SYNCS, WRITES, breaking
from faults.checking import ED1, K1, comes_true, files_of, found_in, require_kept

from fapilog_tamper import Rotation, SealedLog, StoreError
from fapilog_tamper.testing import Faults, FaultyStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def warned() -> Iterator[list[str]]:
    """Collect the warnings of all threads."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(one.message) for one in caught if one.category is RuntimeWarning]
    assert len(texts) == len(caught)


def numbers_in(folder: Path) -> list[int]:
    """Return the member `n` of all entries, as they stand in the plain segments."""
    lines = b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl"), key=lambda one: one.stat().st_ino))
    events = [json.loads(line) for line in lines.splitlines()]
    return [event["n"] for event in sorted(events, key=lambda one: one["integrity"]["seq"]) if "n" in event]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "worker"])
def test_a_write_that_fails_is_told_and_done_later(tmp_path, error, inline):
    with breaking() as disk, warned() as texts:
        log = SealedLog.open(tmp_path, key=K1, inline=inline)
        first = log.append({"n": 0})
        disk.fail(*WRITES, error=error)
        with pytest.raises(StoreError, match="accepted and not written in time") as told:
            log.append({"n": 1}, timeout=0.1)
        with pytest.raises(StoreError) as later:
            log.append({"n": 2}, durability="synced", timeout=0.05)
        assert (told.value.seqs, later.value.seqs) == ((first.seq + 1,), (first.seq + 2,))
        health, stats = log.health(), log.stats
        assert not health.ok
        assert health.reason is not None
        assert "write fails" in health.reason
        assert stats.failures > 1, "it is tried again meanwhile"
        assert (stats.episodes, stats.pending, stats.written) == (1, 2, 1)
        disk.mend()
        log.flush()
        assert log.health().ok
        assert log.stats.synced == 3
        log.append({"n": 3})
        log.close()
    assert len(texts) == 1
    assert numbers_in(tmp_path) == [0, 1, 2, 3]
    require_kept(tmp_path, "hmac", {}, closed=True)


def test_what_is_tried_again_is_tried_less_and_less_often(tmp_path):
    with breaking() as disk, warned():
        log = SealedLog.open(tmp_path, key=K1)
        disk.fail(*WRITES, error=errno.EIO)
        with pytest.raises(StoreError):
            log.append({"n": 0}, timeout=1.0)
        # Without pauses a second has room for thousands of tries.
        assert 3 <= log.stats.failures <= 30
        disk.mend()
        log.close()


def test_each_episode_has_its_own_warning(tmp_path):
    with breaking() as disk, warned() as texts:
        log = SealedLog.open(tmp_path, key=K1)
        for number in range(3):
            disk.fail(*WRITES, error=errno.ENOSPC)
            with pytest.raises(StoreError):
                log.append({"n": number}, timeout=0.06)
            disk.mend()
            log.flush()
        assert log.stats.episodes == 3
        log.close()
    assert len(texts) == 3
    assert numbers_in(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("taken", [1, 100, 511])
def test_a_write_that_takes_a_part_is_offered_the_rest(tmp_path, taken):
    with breaking() as disk, warned() as texts:
        disk.shorten(taken)
        with SealedLog.open(tmp_path, key=K1, rotation=Rotation(max_bytes=4096)) as log:
            receipts = [log.append({"n": number, "text": "x" * 300}) for number in range(30)]
    assert not texts
    require_kept(tmp_path, "hmac", {(one.stream, one.seq): one.chain for one in receipts}, closed=True)


@pytest.mark.parametrize("room", range(1, 6000, 397))
def test_a_disk_that_fills_up_in_the_middle_of_a_line(tmp_path, room):
    with breaking() as disk, warned():
        log = SealedLog.open(tmp_path, key=ED1, rotation=Rotation(max_bytes=4096))
        disk.fill(room)
        receipts, told = [], []
        for number in range(12):
            try:
                receipts.append(log.append({"n": number, "text": "x" * 700}, timeout=0.02))
            except StoreError as error:
                told += error.seqs
        written = log.stats.written
        assert written < 12
        assert {one.seq for one in receipts}.isdisjoint(told)
        assert not found_in(files_of(tmp_path)).keys() - {("log", seq) for seq in range(1, written + 2)}
        disk.mend()
        log.close()
    require_kept(tmp_path, "ed25519", {(one.stream, one.seq): one.chain for one in receipts}, closed=True)
    assert numbers_in(tmp_path) == list(range(12))


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_log_that_cannot_be_closed_names_what_is_not_stored(tmp_path, error):
    with breaking() as disk, warned():
        log = SealedLog.open(tmp_path, key=K1)
        kept = log.append({"n": 0}, durability="synced")
        disk.fail(*WRITES, *SYNCS, error=error)
        with pytest.raises(StoreError):
            log.append({"n": 1}, timeout=0.02)
        with pytest.raises(StoreError, match="entries 2 to 2 were not stored") as told:
            log.close(timeout=0.05)
        assert told.value.seqs == (2,)
        disk.mend()
        with SealedLog.open(tmp_path, key=K1) as log:
            log.append({"n": 2})
    require_kept(tmp_path, "hmac", {(kept.stream, kept.seq): kept.chain}, closed=True)
    assert numbers_in(tmp_path) == [0, 2]


def test_compressing_that_fails_is_done_later():
    faults = Faults()
    store = MemoryStore()
    with warned() as texts:
        log = SealedLog.open(FaultyStore(store, faults), key=K1, compress="gzip")
        faults.fail("create", name="*.gz.tmp", error=errno.ENOSPC, times=3)
        for number in range(3):
            log.append({"n": number})
            log.rotate()
        assert comes_true(lambda: sum(name.endswith(".gz") for name in store.names()) == 3)
        assert comes_true(lambda: log.health().ok)
        log.close()
    assert len(texts) == 1
    assert not any(name.endswith(".tmp") for name in store.names())
    require_kept(store.disk, "hmac", {}, closed=True)


@pytest.mark.parametrize("what", ["*.manifest.json", "*.chainstate"])
def test_documents_that_cannot_be_written_are_written_later(what):
    faults = Faults()
    store = MemoryStore()
    with warned() as texts:
        log = SealedLog.open(FaultyStore(store, faults), key=K1)
        faults.fail("replace", name=what, error=errno.ENOSPC, times=4)
        receipt = log.append({"n": 0})
        log.rotate()
        log.append({"n": 1})
        log.close()
    assert faults.failed["replace"] == 4
    assert len(texts) == 1
    require_kept(store.disk, "hmac", {(receipt.stream, receipt.seq): receipt.chain}, closed=True)


def test_events_that_a_full_buffer_refused_are_counted_in_the_log():
    faults = Faults()
    store = MemoryStore()
    refused: list[Any] = []
    with warned():
        log = SealedLog.open(FaultyStore(store, faults), key=K1, on_full="raise", max_buffer_bytes=4096, timeout=2)
        faults.fail("write", error=errno.ENOSPC, times=None)
        for number in range(40):
            try:
                log.append({"n": number, "text": "x" * 300}, durability="accepted")
            except StoreError as error:
                refused.append(error.seqs)
        assert set(refused) == {()}, "what is refused has no place, and what is accepted does not wait"
        assert log.stats.refused == len(refused) > 10
        faults.clear()
        log.flush()
        log.append({"n": 100})
        log.close()
    lines = b"".join(content for name, content in sorted(store.disk.image().items()) if name.endswith(".jsonl"))
    events = [json.loads(line) for line in lines.splitlines()]
    gaps = [event["sealed_log"] for event in events if "sealed_log" in event]
    assert sum(gap["count"] for gap in gaps if gap["kind"] == "gap") == len(refused)
    assert sum("n" in event for event in events) == 40 - len(refused) + 1
    require_kept(store.disk, "hmac", {}, closed=True)


def overdue(log: SealedLog) -> float:
    """Return how long the thread of a log would sleep if a head had been due for a minute."""
    worker = log._opened.worker
    worker._unattested_since = monotonic() - 60
    return worker._pause()


def test_the_thread_of_a_log_sleeps_while_its_first_write_fails():
    folder = FaultyStore(MemoryStore())
    with warned(), SealedLog.open(folder, key=None, inline=False, on_failure="raise") as log:
        folder.faults.fail("create", times=None)
        with pytest.raises(StoreError, match="fails"):
            log.append({})
        assert overdue(log) > 0
        folder.faults.clear()


def test_the_thread_of_a_log_sleeps_while_its_first_write_stands_still():
    folder = FaultyStore(MemoryStore())
    log = SealedLog.open(folder, key=None, durability="accepted", inline=False)
    with folder.faults.hold("write") as hold:
        log.append({})
        assert hold.reached.wait(20)
        assert overdue(log) > 0
    log.close(20)
