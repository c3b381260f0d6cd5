"""A sync that failed is never believed later: what it was to save is written again into a new segment, or reported."""

from __future__ import annotations

import errno
import random
import warnings
from unittest.mock import patch

import pytest
from faults.breaking import SYNCS, breaking
from faults.checking import K1, as_promised, comes_true, require_kept, require_not_tampered, require_recovers
from faults.cutting import Plug, PluggedStore, without_threads

from fapilog_tamper import SealedLog, StoreError
from fapilog_tamper.head import parse_head
from fapilog_tamper.layout import STATE_FOLDER, head_name
from fapilog_tamper.testing import Faults, FaultyStore, MemoryDisk, MemoryStore
from fapilog_tamper.writer import worker


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def synced_files(store: MemoryStore) -> list[str]:
    """Return the names of what was synced, in order; a lost sync is called `lose`."""
    words = [entry.split() for entry in store.disk.journal]
    return [f"{word[0]} {word[1]}" for word in words if word[0] in ("sync", "lose") and word[1].endswith(".jsonl")]


@pytest.mark.parametrize("page", [512, 4096])
@pytest.mark.parametrize("seed", range(10))
def test_what_a_failed_sync_lost_is_written_again_elsewhere(seed, page):
    rng = random.Random(seed)
    faults, store = Faults(), MemoryStore()
    store.disk.page = page
    log = SealedLog.open(FaultyStore(store, faults), key=K1)
    receipts = [log.append({"n": number, "text": "x" * rng.randrange(900)}) for number in range(rng.randint(1, 9))]
    if rng.random() < 0.5:
        log.flush()
    receipts += [log.append({"n": number}) for number in range(rng.randint(0, 5))]
    faults.fail("sync", lost=True, times=rng.choice((1, 2)), name="*.jsonl")
    receipts.append(log.append({"n": "synced"}, durability="synced"))
    promised = {(one.stream, one.seq): one.chain for one in receipts}
    assert log.stats.resyncs >= 1
    for cut in range(3):
        left = store.disk.power_cut(random.Random(f"{seed} {cut}"))
        require_not_tampered(left, "hmac")
        require_recovers(left, "hmac", promised)
    log.close()
    require_kept(store.disk, "hmac", promised, closed=True)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_power_cut_anywhere_while_a_failed_sync_is_made_good(lost):
    """What was given up may come back, torn, and the head speaks of later entries by then."""
    for at in range(1, 70):
        disk, faults = MemoryDisk(page=512), Faults()
        plug = Plug(random.Random(f"{at} {lost}"), at, {})
        with without_threads(), patch.object(worker, "_HEAD_SECONDS", 0.0):
            log = SealedLog.open(FaultyStore(PluggedStore(disk, plug), faults), key=K1)
            first = log.append({"n": 0}, durability="synced")
            plug.synced[first.stream, first.seq] = first.chain
            for number in range(3):
                log.append({"n": number, "text": "x" * 600})
            faults.fail("sync", lost=True, times=lost, name="*.jsonl")
            receipt = log.append({"n": 3}, durability="synced")
            with disk.mutex:
                plug.synced[receipt.stream, receipt.seq] = receipt.chain
            log.close()
        plug.pull(disk, "the end")
        assert plug.left is not None
        require_not_tampered(plug.left, "hmac")
        require_recovers(plug.left, "hmac", plug.promised)


def test_what_was_given_up_does_not_come_back_behind_a_head():
    faults, store = Faults(), MemoryStore()
    with patch.object(worker, "_HEAD_SECONDS", 0.002):
        log = SealedLog.open(FaultyStore(store, faults), key=K1)
        first = log.append({"n": 0}, durability="synced")
        log.append({"n": 1, "text": "x" * 900})
        faults.fail("sync", lost=True, times=2, name="*.jsonl")
        last = log.append({"n": 2}, durability="synced")
        state = store.child(STATE_FOLDER)
        name = head_name("log")
        assert comes_true(lambda: name in state.names() and parse_head(state.read(name)).seq == last.seq)
        there = {name for name in store.names() if name.endswith(".jsonl")}
        for cut in range(100):
            left = store.disk.power_cut(random.Random(cut))
            assert {name for name in left.image() if name.endswith(".jsonl")} == there
        require_recovers(left, "hmac", as_promised([first, last]))
        log.close()


def test_the_file_whose_sync_failed_is_not_synced_again_as_it_is():
    faults, store = Faults(), MemoryStore()
    log = SealedLog.open(FaultyStore(store, faults), key=K1)
    log.append({"n": 0})
    faults.fail("sync", lost=True, name="*.jsonl")
    log.append({"n": 1}, durability="synced")
    failed, *later = synced_files(store)
    assert failed.startswith("lose ")
    assert later
    assert failed.removeprefix("lose ") not in {one.removeprefix("sync ") for one in later}
    assert log.stats.syncs == 1
    log.close()
    require_kept(store.disk, "hmac", {}, closed=True)


def test_a_part_that_was_synced_before_stays_where_it_is():
    faults, store = Faults(), MemoryStore()
    log = SealedLog.open(FaultyStore(store, faults), key=K1)
    first = log.append({"n": 0}, durability="synced")
    log.append({"n": 1})
    faults.fail("sync", lost=True, name="*.jsonl")
    last = log.append({"n": 2}, durability="synced")
    log.close()
    plain = {name: content for name, content in store.disk.image().items() if name.endswith(".jsonl")}
    assert sorted(content.count(b"\n") for content in plain.values()) == [1, 2]
    require_kept(store.disk, "hmac", {(one.stream, one.seq): one.chain for one in (first, last)}, closed=True)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
def test_a_sync_that_goes_on_failing_is_told_with_the_seqs(tmp_path, error):
    with breaking() as disk:
        log = SealedLog.open(tmp_path, key=K1)
        written = log.append({"n": 0})
        disk.fail(*SYNCS, error=error)
        with pytest.raises(StoreError, match="entry 2 of log is accepted and not synced in time") as told:
            log.append({"n": 1}, durability="synced", timeout=0.1)
        assert told.value.seqs == (2,)
        health = log.health()
        assert health.reason is not None
        assert "sync fails" in health.reason
        assert log.stats.synced == 0
        # What is only to be written is not held up.
        later = log.append({"n": 2})
        disk.mend()
        log.flush()
        assert log.stats.synced == 3
        log.close()
    promised = {(one.stream, one.seq): one.chain for one in (written, later)}
    require_kept(tmp_path, "hmac", promised, closed=True)


def test_lines_that_cannot_be_read_back_are_reported_and_nothing_more_is_taken():
    faults, store = Faults(), MemoryStore()
    log = SealedLog.open(FaultyStore(store, faults), key=K1)
    log.append({"n": 0})
    name = next(name for name in store.names() if name.endswith(".jsonl"))
    handle = store.open(name)
    store.write(handle, b"\0" * 20, 5)
    faults.fail("sync", lost=True, name="*.jsonl")
    with pytest.raises(StoreError, match="could not be read back") as told:
        log.append({"n": 1}, durability="synced")
    assert told.value.seqs == (2,)
    with pytest.raises(StoreError, match="takes no more entries"):
        log.append({"n": 2})
    assert not log.health().ok
    with pytest.raises(StoreError):
        log.close()
