"""More events than the disk takes: `max_buffer_bytes` and `on_full`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    K1,
    NOON,
    controls_of,
    events_of,
    faulty,
    memory,
    open_log,
    until,
    verified,
)

from fapilog_tamper import SealedLog, StoreError
from fapilog_tamper.testing import FakeClock, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_in_a_full_buffer_an_append_waits_until_its_own_entry_is_written(pool: ThreadPoolExecutor) -> None:
    folder = faulty()
    with open_log(folder, durability="accepted", max_buffer_bytes=5000, inline=False) as log:
        with folder.faults.hold("write"):
            accepted = [log.append({"x": "x" * 1000}) for _ in range(3)]
            beyond = pool.submit(log.append, {"x": "x" * 1000})
            until(lambda: log.stats.accepted == 4)
            until(beyond.running)
            assert not beyond.done()
        assert beyond.result(20).seq == len(accepted) + 1
        assert log.stats.written == 4
    assert len(events_of(folder)) == 4
    verified(folder)


async def test_in_a_full_buffer_coroutines_wait_too() -> None:
    folder = faulty()
    async with open_log(folder, durability="accepted", max_buffer_bytes=5000, inline=False) as log:
        with folder.faults.hold("write"):
            for _ in range(3):
                await log.append_async({"x": "x" * 1000})
            with pytest.raises(StoreError) as caught:
                await log.append_async({"x": "x" * 1000}, timeout=0.02)
            assert caught.value.seqs == (4,)
    assert len(events_of(folder)) == 4
    verified(folder)


def test_a_wait_in_a_full_buffer_ends_in_time_and_names_the_seq() -> None:
    folder = faulty()
    with open_log(folder, durability="accepted", max_buffer_bytes=5000, inline=False) as log:
        with folder.faults.hold("write"), pytest.raises(StoreError, match="in time") as caught:  # noqa: PT012 (the last)
            for _ in range(9):
                log.append({"x": "x" * 1000}, timeout=0.02)
        assert caught.value.seqs == (4,)
    assert len(events_of(folder)) == 4
    verified(folder)


def refuse_some(folder: FaultyStore, log: SealedLog, clock: FakeClock) -> None:
    """Fill the buffer of a log while the disk stands still, and have three more events refused."""
    with folder.faults.hold("write"):
        while log.stats.pending_bytes <= 5000:
            with suppress(StoreError):
                log.append({"x": "x" * 1000}, timeout=0)
        for _ in range(3):
            clock.advance(1)
            with pytest.raises(StoreError, match=r"the bound is 5000; the event was refused") as caught:
                log.append({"refused": True})
            assert caught.value.seqs == ()


def test_where_a_full_buffer_refuses_no_append_waits() -> None:
    folder = faulty()
    options: Any = {"durability": "accepted", "max_buffer_bytes": 5000, "on_full": "raise", "inline": False}
    with open_log(folder, **options) as log:
        with folder.faults.hold("write"), pytest.raises(StoreError, match="the event was refused"):  # noqa: PT012
            for _ in range(9):
                log.append({"x": "x" * 1000}, timeout=0.02)
        log.flush()
    verified(folder)


def test_where_a_full_buffer_refuses_the_number_of_events_is_put_on_record() -> None:
    folder, clock = faulty(), FakeClock(NOON)
    options: Any = {"durability": "accepted", "max_buffer_bytes": 5000, "on_full": "raise", "inline": False}
    with open_log(folder, clock=clock, **options) as log:
        refuse_some(folder, log, clock)
        assert log.stats.refused == 3
        until(lambda: controls_of(folder, "gap"))
        assert log.append({"n": 1}).seq > 0
    [gap] = controls_of(folder, "gap")
    assert (gap["count"], gap["reason"]) == (3, "buffer full")
    assert (gap["first_ts"][-16:], gap["last_ts"][-16:]) == ("12:00:01.000000Z", "12:00:03.000000Z")
    assert not [event for event in events_of(folder) if "refused" in event]
    verified(folder)


def test_a_gap_is_put_on_record_by_a_close_that_comes_before_it() -> None:
    folder, clock = faulty(), FakeClock(NOON)
    log = open_log(
        folder, clock=clock, durability="accepted", max_buffer_bytes=5000, on_full="raise", inline=False
    )  # fmt: skip
    refuse_some(folder, log, clock)
    log.close()
    assert [gap["count"] for gap in controls_of(folder, "gap")] == [3]
    verified(folder)


def test_each_time_of_refusal_has_a_gap_of_its_own() -> None:
    folder, clock = faulty(), FakeClock(NOON)
    options: Any = {"durability": "accepted", "max_buffer_bytes": 5000, "on_full": "raise", "inline": False}
    with open_log(folder, clock=clock, **options) as log:
        for count in (1, 2):
            refuse_some(folder, log, clock)
            until(lambda count=count: len(controls_of(folder, "gap")) == count)
    assert [gap["count"] for gap in controls_of(folder, "gap")] == [3, 3]
    verified(folder)


def test_threads_that_meet_a_full_buffer_lose_nothing_that_was_accepted(pool: ThreadPoolExecutor) -> None:
    folder = memory()
    options: Any = {"durability": "accepted", "max_buffer_bytes": 4096, "on_full": "raise"}
    with open_log(folder, K1, **options) as log:

        def work(thread: int) -> list[int]:
            taken = []
            for number in range(100):
                try:
                    log.append({"t": thread, "n": number, "x": "x" * 500})
                except StoreError:
                    continue
                taken.append(number)
            return taken

        works = [pool.submit(work, thread) for thread in range(6)]
        taken = {(thread, number) for thread, one in enumerate(works) for number in one.result(60)}
        refused = log.stats.refused
    stored = [(event["t"], event["n"]) for event in events_of(folder)]
    assert len(stored) == len(set(stored))
    assert set(stored) == taken
    assert sum(gap["count"] for gap in controls_of(folder, "gap")) == refused == 600 - len(taken)
    verified(folder)
