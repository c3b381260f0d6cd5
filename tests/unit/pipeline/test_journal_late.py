"""A disk that answers late: events behind the first late one wait shortly, until that one is stored, however slowly."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from fapilog.core.errors import SinkWriteError
from integration.loopback import until

from fapilog_tamper import Outcome, SealedSink, StoreError, sealer, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import HmacKey, Keyring
from fapilog_tamper.pipeline import journal as module
from fapilog_tamper.pipeline.journal import Journal
from fapilog_tamper.pipeline.options import parse_sink_options
from fapilog_tamper.testing.faults import Faults, FaultyStore

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.pipeline.options import SinkOptions

K1 = HmacKey("k1", bytes(range(32)))
TIMEOUT = 1.0
SLOW = 0.08
"""Seconds that a sync takes: longer than `_HURRY`, and no reason to give an event up."""


@pytest.fixture
def faults(monkeypatch) -> Faults:
    """Put a plan of faults between the log and its files."""
    plan, real = Faults(), sealer.folder_of
    monkeypatch.setattr(sealer, "folder_of", lambda *args: FaultyStore(real(*args), plan))
    return plan


def told(folder: Path, **options: Any) -> SinkOptions:
    given = {"directory": folder, "key": K1, "durability": "synced", "timeout": TIMEOUT, "exit_drain": False}
    return parse_sink_options(None, given | options)


async def be_late(journal: Journal, faults: Faults) -> None:
    """Have the first event miss its promise on a disk that stands still, and leave a disk whose syncs are slow."""
    log = journal.open()
    with faults.hold("sync", name="*.jsonl"):
        with pytest.raises(StoreError, match="not synced in time") as caught:
            await journal.append({"n": 0})
        faults.clear()
        faults.stall("sync", SLOW, name="*.jsonl")
    (seq,) = caught.value.seqs
    await asyncio.to_thread(until, lambda: log.is_stored(seq, "synced"))


def numbers(folder: Path) -> list[int]:
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
    return sorted(json.loads(split(line)[0])["n"] for line in lines if b'"sealed_log"' not in line)


def test_slow_syncs_are_slower_than_the_short_wait():
    assert module._HURRY < SLOW < TIMEOUT


async def test_events_are_acknowledged_again_when_the_late_one_is_stored_however_slow_each_sync_is(tmp_path, faults):
    journal = Journal(told(tmp_path))
    await be_late(journal, faults)
    for n in range(1, 6):
        await journal.append({"n": n})
    journal.close()
    assert numbers(tmp_path) == [0, 1, 2, 3, 4, 5]
    assert verify_path(tmp_path, keyring=Keyring([K1])).outcome is Outcome.INTACT


async def test_so_are_events_whose_line_is_asked_for(tmp_path, faults):
    journal = Journal(told(tmp_path))
    await be_late(journal, faults)
    for n in range(1, 4):
        assert await journal.append_line({"n": n})
    journal.close()


async def test_a_sink_fails_no_more_writes_when_the_late_one_is_stored(tmp_path, faults):
    sink = SealedSink(told(tmp_path))
    with faults.hold("sync", name="*.jsonl"):
        with pytest.raises(SinkWriteError):
            await sink.write({"log": {"n": 0}})
        with pytest.raises(SinkWriteError):
            await sink.write({"log": {"n": 1}})
        faults.clear()
        faults.stall("sync", SLOW, name="*.jsonl")
    assert sink._journal._log is not None
    log = sink._journal._log
    await asyncio.to_thread(until, lambda: log.is_stored(1, "synced"))
    for n in range(2, 6):
        await sink.write({"log": {"n": n}})
    await sink.stop()


async def test_an_event_that_was_hurried_and_missed_its_promise_does_not_hurry_others(tmp_path, faults, monkeypatch):
    """Else events that come one behind the other would hurry each other for ever."""
    monkeypatch.setattr(module, "_HURRY", 0.3)
    journal = Journal(told(tmp_path, timeout=2.0))
    log = journal.open()
    with faults.hold("sync", name="*.jsonl") as hold:
        with pytest.raises(StoreError):
            await journal.append({"n": 0})
        hurried = asyncio.create_task(journal.append({"n": 1}))
        await asyncio.sleep(0)
        faults.clear()
        with faults.hold("sync", name="*.jsonl"):
            hold.release()
            await asyncio.to_thread(until, lambda: log.is_stored(1, "synced"))
            behind = [asyncio.create_task(journal.append({"n": 2}))]
            with pytest.raises(StoreError):
                await hurried
            behind.append(asyncio.create_task(journal.append({"n": 3})))
            await asyncio.sleep(0)
            faults.clear()
            faults.stall("sync", 0.5, name="*.jsonl")
    await asyncio.gather(*behind)
    journal.close()


async def test_events_behind_the_late_one_wait_shortly_while_the_disk_stands_still(tmp_path, faults):
    journal = Journal(told(tmp_path))

    async def wait_for_three() -> None:
        for n in range(1, 4):
            with pytest.raises(StoreError, match="not synced in time"):
                await journal.append({"n": n})

    with faults.hold("sync", name="*.jsonl"):
        with pytest.raises(StoreError):
            await journal.append({"n": 0})
        # All of them in less than what one of them would wait in full.
        await asyncio.wait_for(wait_for_three(), TIMEOUT)
    journal.close()
    assert numbers(tmp_path) == [0, 1, 2, 3]


async def test_events_of_a_log_that_was_opened_anew_wait_in_full(tmp_path, faults):
    """Its entries are counted anew: that the first of them is not stored says nothing of the one that was late."""
    journal = Journal(told(tmp_path, rotate_chain=True))
    await be_late(journal, faults)
    await asyncio.to_thread(journal.rotate)
    await journal.append({"n": 1})
    journal.close()
    assert numbers(tmp_path) == [0, 1]


@pytest.mark.parametrize(("durability", "stored"), [("accepted", True), ("written", True), ("synced", False)])
def test_a_log_tells_what_is_stored_as_each_promise_says(tmp_path, faults, durability, stored):
    with sealer.SealedLog.open(tmp_path, key=K1) as log:
        with faults.hold("sync", name="*.jsonl"):
            seq = log.append({"n": 0}).seq
            assert log.is_stored(seq, durability) is stored
            assert log.is_stored(seq + 1, durability) is False
        log.flush()
        assert log.is_stored(seq, durability) is True
