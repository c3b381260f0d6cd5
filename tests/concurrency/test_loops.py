"""Event loops: none is starved, none is harmed by others that end, and a cancelled append leaves no doubt."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from concurrency.ledger import KEY, Kept, check_receipts, kept, lines_of, run_all

from fapilog_tamper import Receipt, SealedLog, StoreError, sealer
from fapilog_tamper.testing import Faults, FaultyStore, MemoryStore, assert_intact

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

DEADLINE = 30.0


class Scene:
    """A log on a disk in memory whose calls can be held."""

    def __init__(self) -> None:
        self.store, self.faults = MemoryStore(), Faults()
        self.log = SealedLog.open(FaultyStore(self.store, self.faults), key=KEY)
        self.receipts: list[Kept] = []

    async def append(self, caller: str, n: int = 0, **options) -> Receipt:
        receipt = await self.log.append_async({"caller": caller, "n": n}, **options)
        self.receipts.append(kept(caller, n, receipt))
        return receipt

    def check(self, *, unsure: list[tuple[str, int]] | None = None) -> None:
        self.log.close()
        check_receipts(lines_of(dict(self.store.disk.image())), self.receipts, unsure=unsure or [])
        assert_intact(self.store, KEY, require_end=True, require_manifests=True)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.log.close()


class LoopThread:
    """An event loop in a thread of its own, which a test stops and closes when it likes."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def start(self, work: Coroutine[object, object, object]) -> asyncio.Future[object]:
        """Start a task, and return when it has run as far as it gets by itself."""
        task = asyncio.run_coroutine_threadsafe(_begun(work), self.loop).result(DEADLINE)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(DEADLINE)
        return task

    def result(self, task: asyncio.Future[object]) -> object:
        return asyncio.run_coroutine_threadsafe(_result(task), self.loop).result(DEADLINE)

    def stop(self) -> None:
        """Stop the loop and close it, whoever waits in it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(DEADLINE)
            for task in asyncio.all_tasks(self.loop):
                # Nobody will ever run it; else asyncio complains of that when it is collected.
                task._log_destroy_pending = False
            self.loop.close()


async def _begun(work: Coroutine[object, object, object]) -> asyncio.Future[object]:
    return asyncio.ensure_future(work)


async def _result(task: asyncio.Future[object]) -> object:
    return await asyncio.wait_for(asyncio.shield(task), DEADLINE)


@contextmanager
def loops(count: int) -> Iterator[list[LoopThread]]:
    threads = [LoopThread() for _ in range(count)]
    try:
        yield threads
    finally:
        for thread in threads:
            thread.stop()


async def test_callers_that_never_suspend_starve_nobody(scene):
    callers, each = 256, 40
    counts = [0] * callers
    shortest_when_first_was_done: list[int] = []
    spreads: list[int] = []

    async def call(caller: int) -> None:
        for n in range(each):
            await scene.append(f"c{caller}", n)
            counts[caller] += 1
        shortest_when_first_was_done.append(min(counts))

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            spreads.append(max(counts) - min(counts))

    ticker = asyncio.ensure_future(tick())
    await asyncio.gather(*(call(number) for number in range(callers)))
    ticker.cancel()
    assert shortest_when_first_was_done[0] > 0, "a caller did nothing until another had done all"
    assert len(spreads) >= each // 2, "the ticker did not run between"
    assert max(spreads) < each, "between two ticks a caller did all, another nothing"
    scene.check()


async def test_a_single_caller_that_never_suspends_lets_others_go_between(scene):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    n = 0
    while ticks < 20:
        await scene.append("c", n)
        n += 1
        assert n < 200_000, "the ticker never ran"
    ticker.cancel()
    scene.check()


@pytest.mark.parametrize("promise", ["accepted", "written", "synced"])
async def test_append_may_be_called_inside_a_running_loop(scene, promise):
    for n in range(50):
        scene.receipts.append(kept("s", n, scene.log.append({"caller": "s", "n": n}, durability=promise)))
        await scene.append("a", n, durability=promise)
    scene.check()


async def test_a_cancelled_append_is_stored_once_and_disturbs_no_other(scene):
    with scene.faults.hold("sync") as hold:
        tasks = [asyncio.ensure_future(scene.append("c", n, durability="synced")) for n in range(6)]
        assert await asyncio.to_thread(hold.reached.wait, DEADLINE)
        for task in (tasks[0], tasks[3], tasks[5]):
            task.cancel()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert all(task.cancelled() for task in done)
        hold.release()
        receipts = [await tasks[n] for n in (1, 2, 4)]
    assert [receipt.seq for receipt in receipts] == [2, 3, 5]
    scene.check(unsure=[("c", 0), ("c", 3), ("c", 5)])


async def test_all_callers_of_a_loop_may_be_cancelled(scene):
    with scene.faults.hold("sync") as hold:
        tasks = [asyncio.ensure_future(scene.append("c", n, durability="synced")) for n in range(6)]
        assert await asyncio.to_thread(hold.reached.wait, DEADLINE)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*tasks, return_exceptions=True)
        )
    await scene.append("d", durability="synced")
    scene.check(unsure=[("c", n) for n in range(6)])


async def test_an_append_that_is_not_kept_in_time_says_so_and_is_stored_once(scene):
    with scene.faults.hold("sync") as hold:
        patient = asyncio.ensure_future(scene.append("p", durability="synced"))
        assert await asyncio.to_thread(hold.reached.wait, DEADLINE)
        with pytest.raises(StoreError, match="not synced in time") as raised:
            await scene.append("c", durability="synced", timeout=0.05)
        assert not patient.done()
        hold.release()
        await patient
    assert raised.value.seqs == (2,)
    scene.check(unsure=[("c", 0)])
    assert [line.of for line in lines_of(dict(scene.store.disk.image()))["log"]] == [("p", 0), ("c", 0)]


def test_a_loop_that_closes_does_not_harm_those_that_wait_in_others(scene):
    with loops(3) as (first, second, third), scene.faults.hold("sync") as hold:
        first.start(scene.append("first", durability="synced"))
        waiting = second.start(scene.append("second", durability="synced"))
        third.start(scene.append("third", durability="synced"))
        assert hold.reached.wait(DEADLINE)
        first.stop()
        third.stop()
        hold.release()
        second.result(waiting)
        # A loop that came later, at the place of those that are gone.
        with loops(1) as (fourth,):
            fourth.result(fourth.start(scene.append("fourth", durability="synced")))
        with suppress(StoreError):
            scene.log.append({"caller": "sync", "n": 0}, durability="synced")
        assert scene.log.health()
    scene.check(unsure=[("first", 0), ("third", 0), ("sync", 0)])


class Stopping(asyncio.SelectorEventLoop):
    """A loop that stops whoever asks it for its hash for the n-th time, or whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.hashes_left, self.asks_left = -1, -1

    def _stop(self) -> None:
        self.reached.set()
        self.go_on.wait(DEADLINE)

    def __hash__(self) -> int:
        # asyncio asks for it, too.
        if sys._getframe(1).f_code.co_filename == sealer.__file__:
            self.hashes_left -= 1
            if self.hashes_left == 0:
                self._stop()
        return id(self)

    def is_closed(self) -> bool:
        self.asks_left -= 1
        if self.asks_left == 0:
            self._stop()
        return super().is_closed()


def test_loops_may_begin_to_append_at_the_same_time(scene):
    """A new loop is put among those that are known while another one looks which of those are closed."""
    old, first, second = Stopping(), Stopping(), asyncio.SelectorEventLoop()
    old.run_until_complete(scene.append("old"))
    failures: list[BaseException] = []

    def run(loop: asyncio.AbstractEventLoop, caller: str) -> None:
        try:
            loop.run_until_complete(scene.append(caller))
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=args) for args in ((first, "first"), (second, "second"))]
    # Looked up once, then put in.
    first.hashes_left = 2
    threads[0].start()
    # A log that lets one loop in after the other may never get there.
    first.reached.wait(0.5)
    old.asks_left = 1
    threads[1].start()
    old.reached.wait(0.5)
    first.go_on.set()
    threads[0].join(0.5)
    old.go_on.set()
    for thread in threads:
        thread.join(DEADLINE)
    for loop in (old, first, second):
        loop.close()
    assert not failures
    scene.check()


def test_many_loops_that_come_and_go_share_a_log(scene):
    def come_and_go(caller: str) -> None:
        for n in range(20):
            asyncio.run(scene.append(caller, n))

    run_all(threading.Thread(target=come_and_go, args=(f"l{number}",)) for number in range(6))
    assert len(scene.receipts) == 120
    scene.check()
