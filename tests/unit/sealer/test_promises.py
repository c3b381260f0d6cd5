"""What an append promises, how long it waits for it, and what happens when more comes than the disk takes."""

from __future__ import annotations

import asyncio
import errno
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    events_of,
    faulty,
    fill,
    lines_of,
    memory,
    open_log,
    until,
    verified,
)

from fapilog_tamper import ConfigError, Receipt, StoreError
from fapilog_tamper.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def stored_after_power_cut(folder: MemoryStore) -> set[int]:
    """Return the events that are there after each of many power cuts."""
    found: set[int] | None = None
    for seed in range(20):
        image = folder.disk.power_cut(random.Random(seed)).image(folder.path)
        data = b"".join(content for name, content in image.items() if name.endswith(".jsonl"))
        numbers = {number for number in range(100) if b'{"n":%d,' % number in data}
        found = numbers if found is None else found & numbers
    return found or set()


# Accepted, written, synced: per log and per event.


@pytest.mark.parametrize("by", ["log", "event"])
def test_accepted_returns_while_the_disk_stands_still(by: str) -> None:
    folder = faulty()
    options: Any = {"durability": "accepted"}
    with open_log(folder, **(options if by == "log" else {})) as log:
        with folder.faults.hold("write"):
            for number in range(3):
                assert log.append({"n": number}, **(options if by == "event" else {})).seq == number + 1
            assert lines_of(folder) == []
            assert (log.stats.accepted, log.stats.written, log.stats.pending) == (3, 0, 3)
            assert log.stats.pending_bytes > 0
        until(lambda: len(lines_of(folder)) == 3)
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("by", ["log", "event"])
def test_written_returns_only_when_the_line_is_in_the_file(
    by: str,
    inline: bool,  # noqa: FBT001 (a column)
    pool: ThreadPoolExecutor,
) -> None:
    folder = faulty()
    durability: Any = {"log": ("written", None), "event": ("accepted", "written")}[by]
    with open_log(folder, durability=durability[0], inline=inline) as log:
        with folder.faults.hold("write") as held:
            waiting = pool.submit(log.append, {"n": 1}, durability=durability[1])
            assert held.reached.wait(20)
            assert not waiting.done()
        assert waiting.result(20).seq == 1
        assert len(lines_of(folder)) == 1
        assert folder.faults.calls["sync"] == 0
    verified(folder)


@pytest.mark.parametrize("by", ["log", "event"])
def test_synced_returns_only_when_the_line_survives_a_power_cut(by: str, pool: ThreadPoolExecutor) -> None:
    folder = faulty()
    assert isinstance(folder.inner, MemoryStore)
    durability: Any = {"log": ("synced", None), "event": ("written", "synced")}[by]
    with open_log(folder, durability=durability[0]) as log:
        with folder.faults.hold("sync") as held:
            waiting = pool.submit(log.append, {"n": 1}, durability=durability[1])
            assert held.reached.wait(20)
            assert not waiting.done()
        assert waiting.result(20).seq == 1
        assert stored_after_power_cut(folder.inner) == {1}
    verified(folder)


def test_an_event_may_promise_less_than_its_log() -> None:
    folder = faulty()
    with open_log(folder, durability="synced") as log, folder.faults.hold("sync"):
        assert log.append({"n": 1}, durability="written").seq == 1
        assert len(lines_of(folder)) == 1
        with folder.faults.hold("write"):
            assert log.append({"n": 2}, durability="accepted").seq == 2
    verified(folder)


def test_synced_takes_along_all_that_was_accepted_before() -> None:
    folder = memory()
    with open_log(folder, durability="accepted") as log:
        for number in range(9):
            log.append({"n": number})
        log.append({"n": 9}, durability="synced")
        assert stored_after_power_cut(folder) == set(range(10))
    verified(folder)


def test_one_sync_keeps_the_promises_of_all_who_wait(pool: ThreadPoolExecutor) -> None:
    folder = faulty()
    with open_log(folder, durability="synced") as log:
        with folder.faults.hold("sync") as held:
            first = pool.submit(log.append, {"n": 0})
            assert held.reached.wait(20)
            waiting = [pool.submit(log.append, {"n": number}) for number in range(1, 9)]
            until(lambda: log.stats.accepted == 9)
        assert {one.result(20).seq for one in (first, *waiting)} == set(range(1, 10))
        assert folder.faults.calls["sync"] <= 3
    verified(folder)


@pytest.mark.parametrize("durability", ["fsync", "", None, 2, ["synced"]])
def test_a_promise_that_is_none_is_refused_and_nothing_is_accepted(durability: Any) -> None:
    folder = memory()
    with pytest.raises(ConfigError, match="durability"):
        open_log(folder, durability=durability)
    with open_log(folder) as log:
        if durability is not None:
            with pytest.raises(ConfigError, match="durability") as caught:
                log.append({}, durability=durability)
            assert caught.value.hint
        assert log.head.seq == 0


# Flushing.


def test_flush_brings_all_that_was_accepted_to_the_disk() -> None:
    folder = memory()
    with open_log(folder, durability="accepted") as log:
        for number in range(20):
            log.append({"n": number})
        log.flush()
        assert (log.stats.pending, log.stats.synced) == (0, 20)
        assert stored_after_power_cut(folder) == set(range(20))
    verified(folder)


def test_flush_that_does_not_get_there_in_time_names_how_far_it_did_not_get() -> None:
    folder = faulty()
    with open_log(folder) as log:
        log.append({})
        with folder.faults.hold("sync"), pytest.raises(StoreError, match="not synced in time") as caught:
            log.flush(timeout=0.02)
        assert caught.value.seqs == (1,)
        log.flush()
    verified(folder)


def test_flush_with_nothing_to_do_asks_nothing_of_the_disk() -> None:
    folder = faulty()
    with open_log(folder) as log:
        log.flush()
        log.append({}, durability="synced")
        calls = folder.faults.calls["sync"]
        log.flush()
        assert folder.faults.calls["sync"] == calls
    log.flush()


# Coroutines.


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("durability", ["accepted", "written", "synced"])
async def test_coroutines_of_one_loop_make_one_chain(durability: Any, inline: bool) -> None:  # noqa: FBT001
    folder = memory()
    async with open_log(folder, durability=durability, inline=inline) as log:
        receipts = await asyncio.gather(*(log.append_async({"n": number}) for number in range(300)))
    assert {one.seq for one in receipts} == set(range(1, 301))
    stored = {event["n"]: at for at, event in enumerate(events_of(folder), start=1)}
    assert [stored[number] for number in range(300)] == [one.seq for one in receipts]
    verified(folder)


def test_several_loops_and_threads_share_a_log(pool: ThreadPoolExecutor) -> None:
    folder = memory()
    with open_log(folder, inline=False) as log:

        async def many() -> list[Receipt]:
            promises: Any = ("accepted", "written", "synced")
            calls = (log.append_async({"n": n}, durability=promises[n % 3]) for n in range(60))
            return list(await asyncio.gather(*calls))

        loops = [pool.submit(asyncio.run, many()) for _ in range(3)]
        threads = [pool.submit(lambda: [log.append({"n": n}) for n in range(60)]) for _ in range(3)]
        seqs = [one.seq for work in (*loops, *threads) for one in work.result(60)]
    assert sorted(seqs) == list(range(1, 361))
    verified(folder)


async def test_a_log_may_be_used_by_one_loop_after_another() -> None:
    folder = memory()
    log = open_log(folder, durability="synced")
    await log.append_async({})
    await asyncio.to_thread(lambda: asyncio.run(log.append_async({})))
    await log.append_async({})
    log.close()
    assert len(lines_of(folder)) == 3


@pytest.mark.parametrize(("method", "durability"), [("write", "written"), ("sync", "synced")])
async def test_a_loop_goes_on_while_its_appends_wait_for_the_disk(method: str, durability: Any) -> None:
    folder = faulty()
    async with open_log(folder, inline=False) as log:
        with folder.faults.hold(method) as held:
            waiting = [asyncio.create_task(log.append_async({}, durability=durability)) for _ in range(5)]
            assert await asyncio.to_thread(held.reached.wait, 20)
            assert not any(task.done() for task in waiting)
        assert [one.seq for one in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5]
    verified(folder)


async def test_an_append_that_never_waits_lets_other_tasks_go_on() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with open_log(memory()) as log:
        task = asyncio.create_task(other())
        for _ in range(2000):
            await log.append_async({})
        task.cancel()
    assert turns > 3


async def test_a_cancelled_call_leaves_what_was_accepted() -> None:
    folder = faulty()
    async with open_log(folder) as log:
        with folder.faults.hold("sync") as held:
            waiting = asyncio.create_task(log.append_async({"n": 1}, durability="synced"))
            assert await asyncio.to_thread(held.reached.wait, 20)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert (await log.append_async({"n": 2}, durability="synced")).seq == 2
    assert [event["n"] for event in events_of(folder)] == [1, 2]
    verified(folder)


# Time.


@pytest.mark.parametrize(("method", "durability"), [("write", "written"), ("sync", "synced")])
@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_promise_that_is_not_kept_in_time_names_the_seq_which_is_stored_later(
    method: str, durability: Any, timeout: float
) -> None:
    folder = faulty()
    with open_log(folder, inline=False) as log:
        log.append({"n": 0}, durability="synced")
        with (
            folder.faults.hold(method),
            pytest.raises(StoreError, match=rf"entry 2 of log is accepted and not {durability} in time") as caught,
        ):
            log.append({"n": 1}, durability=durability, timeout=timeout)
        assert caught.value.seqs == (2,)
        assert "do not append it again" in caught.value.hint
        assert log.append({"n": 2}).seq == 3
    assert [event["n"] for event in events_of(folder)] == [0, 1, 2]
    verified(folder)


async def test_a_coroutine_whose_promise_is_not_kept_in_time_is_told_the_seq() -> None:
    folder = faulty()
    async with open_log(folder, inline=False) as log:
        with folder.faults.hold("write"):
            calls = [log.append_async({"n": n}, timeout=0.02 * (n + 1)) for n in range(3)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [error.seqs for error in errors if isinstance(error, StoreError)] == [(1,), (2,), (3,)]
    assert [event["n"] for event in events_of(folder)] == [0, 1, 2]
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
def test_a_full_disk_is_named_and_the_entry_is_stored_once_there_is_room(inline: bool) -> None:  # noqa: FBT001
    folder = faulty()
    with open_log(folder, inline=inline) as log:
        log.append({"n": 0})
        folder.faults.fail("write", error=errno.ENOSPC, times=None)
        with pytest.raises(StoreError, match="No space left") as caught:
            log.append({"n": 1}, timeout=0.05)
        assert caught.value.seqs == (2,)
        assert log.head.seq == 2
        folder.faults.clear()
        assert log.append({"n": 2}, timeout=20).seq == 3
    assert [event["n"] for event in events_of(folder)] == [0, 1, 2]
    verified(folder)


@pytest.mark.parametrize("part", [None, 1, 100])
@pytest.mark.parametrize("inline", [True, False])
def test_a_write_that_fails_for_a_while_is_made_good(inline: bool, part: int | None) -> None:  # noqa: FBT001
    folder = faulty()
    with open_log(folder, inline=inline) as log:
        folder.faults.fail("write", times=2, part=part)
        assert [log.append({"n": number}).seq for number in range(3)] == [1, 2, 3]
    assert [event["n"] for event in events_of(folder)] == [0, 1, 2]
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
def test_writes_that_take_one_byte_at_a_time_give_right_lines(inline: bool) -> None:  # noqa: FBT001
    folder = faulty()
    folder.faults.short(1, times=None)
    fill(folder, inline=inline)
    verified(folder)


@pytest.mark.parametrize("lost", [False, True])
def test_a_sync_that_fails_is_never_tried_again_on_the_same_file(lost: bool) -> None:  # noqa: FBT001 (fsyncgate)
    folder = faulty()
    assert isinstance(folder.inner, MemoryStore)
    with open_log(folder) as log:
        for number in range(3):
            log.append({"n": number})
        folder.faults.fail("sync", lost=lost)
        log.append({"n": 3}, durability="synced")
        assert log.stats.resyncs == 1
        assert stored_after_power_cut(folder.inner) == {0, 1, 2, 3}
    assert [event["n"] for event in events_of(folder)] == [0, 1, 2, 3]
    verified(folder)
