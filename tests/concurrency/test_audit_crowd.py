"""Trails that are used from everywhere at once: no event is both acknowledged and missing."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.audit import SOON, TYPE, comes_true, ids, require_gapless, require_intact, require_sum, sealed

from fapilog_audit import AuditTrail
from fapilog_audit.errors import StoppedError


async def test_a_thousand_first_calls_open_one_log(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    said = await asyncio.gather(*(trail.log_event(TYPE, f"m{number}") for number in range(1000)))
    await trail.stop()
    assert sorted(ids(tmp_path)) == sorted(said)
    assert len(set(said)) == 1000
    require_gapless(sealed(tmp_path))
    assert {path.name.split("_")[0] for path in tmp_path.glob("*.jsonl")} == {"audit"}


def test_threads_that_start_a_trail_at_once_open_one_log(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    barrier = threading.Barrier(30)

    def first() -> None:
        barrier.wait()
        trail.log(TYPE, "m")

    threads = [threading.Thread(target=first) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.stop_now()
    assert len(ids(tmp_path)) == 30
    assert {path.name.split("_")[0] for path in tmp_path.glob("*.jsonl")} == {"audit"}


@pytest.mark.parametrize("again", range(5))
@pytest.mark.parametrize("durability", ["written", "synced"])
def test_a_stop_in_the_middle_leaves_no_event_acknowledged_and_missing(tmp_path, again, durability):  # noqa: C901
    trail = AuditTrail(storage_path=tmp_path, durability=durability)
    kept: list[str] = []
    refused = threading.Semaphore(0)

    def speak() -> None:
        while True:
            try:
                kept.append(trail.log(TYPE, "t"))
            except StoppedError:
                refused.release()
                return

    async def say() -> None:
        try:
            while True:
                kept.extend(await asyncio.gather(*(trail.log_event(TYPE, "c") for _ in range(5))))
        except StoppedError:
            refused.release()

    threads = [threading.Thread(target=speak) for _ in range(3)]
    threads += [threading.Thread(target=lambda: asyncio.run(say())) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert comes_true(lambda: len(kept) > 20 * (again + 1))
    # From another thread and loop than those that log.
    left = asyncio.run(trail.stop(SOON))
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert left == []
    found = ids(tmp_path)
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)
    require_gapless(sealed(tmp_path))
    require_intact(tmp_path)
    asyncio.run(require_sum(trail, failed=0, pending=0))


async def test_a_trail_that_was_stopped_starts_again(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    said = []
    for _ in range(3):
        await trail.start()
        said.append(await trail.log_event(TYPE, "m"))
        assert await trail.stop() == []
        with pytest.raises(StoppedError):
            await trail.log_event(TYPE, "late")
    assert ids(tmp_path) == said
    require_gapless(sealed(tmp_path))
    require_intact(tmp_path)


async def test_synchronous_use_inside_a_running_loop(tmp_path):
    with AuditTrail(storage_path=tmp_path) as trail:
        said = [trail.log(TYPE, "sync"), await trail.log_event(TYPE, "async"), trail.log(TYPE, "sync")]
    assert ids(tmp_path) == said


def test_loops_that_come_and_go_use_one_trail(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    said = [asyncio.run(trail.log_event(TYPE, "m")) for _ in range(10)]
    assert asyncio.run(trail.stop()) == []
    assert ids(tmp_path) == said


async def test_concurrent_stops_end_it_once(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    said = await trail.log_event(TYPE, "m")
    assert await asyncio.gather(*(trail.stop() for _ in range(10))) == [[]] * 10
    assert ids(tmp_path) == [said]


async def test_starts_and_stops_at_random_lose_nothing_that_was_acknowledged(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    kept: list[str] = []
    done = threading.Event()

    def speak() -> None:
        while not done.is_set():
            try:
                kept.append(trail.log(TYPE, "t"))
            except StoppedError:
                continue

    threads = [threading.Thread(target=speak) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        await trail.start()
        await trail.log_event(TYPE, "m")
        assert await trail.stop(SOON) == []
    done.set()
    for thread in threads:
        thread.join(SOON)
    await trail.stop()
    found = ids(tmp_path)
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)
    require_intact(tmp_path)
