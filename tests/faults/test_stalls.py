"""A disk that stands still: whoever discovers it may be held, once; from then on nobody waits inside a system call.

How long a pause of the loop was says a busy machine as much as the log, so what is asserted is who made the calls that
stood still: an event loop is held by those that its own thread makes, and by nothing else. Pauses are only counted
where they are longer than half of what the disk stood still.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from typing import Self

import pytest
from faults.breaking import SYNCS, WRITES, breaking
from faults.checking import K1, as_promised, require_kept

from fapilog_tamper import SealedLog, StoreError

STALL = 0.5


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class LoopWatch:
    """Measures the pauses of a loop."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.gaps.append(now - last)
            last = now

    @property
    def long(self) -> int:
        return sum(gap > STALL / 2 for gap in self.gaps)


async def _stall_once(log, disk, calls):
    """Let the disk stand still while ten coroutines append, twice in a row; return their receipts."""
    receipts = [await log.append_async({"n": number}) for number in range(50)]
    disk.stall(*calls, seconds=STALL)
    async with LoopWatch() as watch:
        for _ in range(2):
            receipts += await asyncio.gather(*(log.append_async({"n": number}) for number in range(10)))
    disk.mend()
    return receipts, watch.long


@pytest.mark.parametrize("calls", [WRITES, SYNCS, (*WRITES, *SYNCS)], ids=["writes", "syncs", "both"])
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "worker"])
async def test_one_write_at_most_is_held_by_a_disk_that_stands_still(tmp_path, calls, inline):
    with breaking() as disk:
        log = await asyncio.to_thread(SealedLog.open, tmp_path, key=K1, inline=inline)
        receipts, long = await _stall_once(log, disk, calls)
        held = disk.by_thread[threading.current_thread().name]
        assert held <= (1 if inline and calls != SYNCS else 0)
        assert long <= held
        await asyncio.to_thread(log.close)
    require_kept(tmp_path, "hmac", as_promised(receipts), closed=True)


async def test_each_episode_may_hold_one_write(tmp_path):
    with breaking() as disk:
        log = await asyncio.to_thread(SealedLog.open, tmp_path, key=K1)
        episodes = 2
        receipts = []
        for _ in range(episodes):
            more, _ = await _stall_once(log, disk, WRITES)
            receipts += more
            # Enough fast writes, and callers write by themselves again.
            for number in range(60):
                receipts.append(await log.append_async({"n": number}))
        assert disk.by_thread[threading.current_thread().name] <= episodes
        assert log.stats.slowdowns >= 1
        await asyncio.to_thread(log.close)
    require_kept(tmp_path, "hmac", as_promised(receipts), closed=True)


async def test_an_accepted_event_does_not_wait_for_a_disk_that_stands_still(tmp_path):
    with breaking() as disk:
        log = await asyncio.to_thread(SealedLog.open, tmp_path, key=K1)
        await log.append_async({"n": 0})
        disk.stall(*WRITES, *SYNCS, seconds=STALL)
        async with LoopWatch() as watch:
            for number in range(100):
                await log.append_async({"n": number}, durability="accepted")
        assert disk.by_thread[threading.current_thread().name] == watch.long == 0
        disk.mend()
        await asyncio.to_thread(log.close)
    assert log.stats.accepted == log.stats.synced == 101
    require_kept(tmp_path, "hmac", {}, closed=True)


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "worker"])
def test_threads_that_meet_a_stall_keep_what_they_were_promised(tmp_path, inline):
    with breaking() as disk:
        log = SealedLog.open(tmp_path, key=K1, inline=inline)
        log.append({"n": 0})
        disk.stall(*WRITES, *SYNCS, seconds=STALL)
        receipts = []
        threads = [
            threading.Thread(target=lambda: receipts.append(log.append({"n": 1}, durability="synced")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receipts) == 8
        # Eight callers, but not eight stalls one behind the other: they share writes and syncs.
        assert sum(disk.by_thread.values()) < 8 * 2
        disk.mend()
        log.close()
    require_kept(tmp_path, "hmac", as_promised(receipts), closed=True)


def test_a_caller_whose_time_passes_in_a_stall_is_told(tmp_path):
    with breaking() as disk:
        log = SealedLog.open(tmp_path, key=K1, inline=False)
        disk.stall(*WRITES, seconds=STALL)
        with pytest.raises(StoreError, match="does not answer") as told:
            log.append({"n": 0}, timeout=0.05)
        assert told.value.seqs == (1,)
        disk.mend()
        log.flush()
        assert log.stats.synced == 1
        log.close()
    require_kept(tmp_path, "hmac", {}, closed=True)
