"""Accepted = stored + failed + pending, whatever happens to an event on its way."""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.audit import SOON, TYPE, comes_true, disk, ids, messages, require_intact, require_sum, stored

from fapilog_audit import AuditTrail, CompliancePolicy
from fapilog_audit.backlog import GAP
from fapilog_audit.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from pathlib import Path

LARGE = "x" * 1500


async def counts(trail: AuditTrail) -> dict[str, int]:
    statistics = await trail.get_statistics()
    return {name: statistics[name] for name in ("accepted", "stored", "failed", "pending")}


async def lose(folder: Path, many: int) -> tuple[AuditTrail, list[str], int]:
    """Let a trail lose events; return it with what it kept, and how many it did not."""
    folder.write_text("in the way")  # noqa: ASYNC240
    trail = AuditTrail(storage_path=folder, max_buffer_bytes=4096)
    said = [await trail.log_event(TYPE, f"m{number}", text=LARGE) for number in range(many)]
    kept = await trail.drain(0.02)
    return trail, kept, len(said) - len(kept)


async def test_what_finds_the_buffer_full_is_failed_and_the_rest_pending(tmp_path):
    with pytest.warns(RuntimeWarning) as warned:
        trail, kept, lost = await lose(tmp_path / "logs", 12)
    assert 0 < len(kept) < 12
    assert sum("events are lost" in str(one.message) for one in warned) == 1
    await require_sum(trail, accepted=12, failed=lost, pending=len(kept))
    assert await trail.stop(0.02) == kept
    await require_sum(trail, accepted=12, failed=12, pending=0)


async def test_a_gap_event_tells_how_many_were_lost_and_when(tmp_path):
    with pytest.warns(RuntimeWarning):
        trail, kept, lost = await lose(tmp_path / "logs", 12)
    (tmp_path / "logs").unlink()
    assert await trail.drain(SOON) == []
    after = await trail.log_event(TYPE, "after")
    await require_sum(trail, accepted=13, failed=lost, stored=13 - lost, pending=0)
    assert await trail.stop() == []
    events = stored(tmp_path / "logs")
    [gap] = [event for event in events if event["event_type"] == GAP]
    assert gap["metadata"]["count"] == lost
    assert gap["metadata"]["first"] <= gap["metadata"]["last"] <= gap["timestamp"]
    assert gap["log_level"] == "critical"
    assert [event["event_id"] for event in events if event is not gap] == [*kept, after]
    require_intact(tmp_path / "logs")


async def test_the_gap_stands_before_what_comes_after_the_loss(tmp_path):
    with pytest.warns(RuntimeWarning):
        trail, _, _ = await lose(tmp_path / "logs", 12)
        (tmp_path / "logs").unlink()
        after = await trail.log_event(TYPE, "after")
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    events = stored(tmp_path / "logs")
    at = [event["event_type"] for event in events].index(GAP)
    found = [event["event_id"] for event in events]
    # It was lost itself, or stands behind.
    assert after not in found or found.index(after) > at


async def test_a_second_loss_has_its_own_warning_and_gap(tmp_path):
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning) as warned:
        trail = AuditTrail(storage_path=folder, max_buffer_bytes=4096)
        await trail.start()
        lost = []
        for _ in range(2):
            broken.fail("write")
            before = (await counts(trail))["failed"]
            for number in range(12):
                await trail.log_event(TYPE, f"m{number}", text=LARGE)
            lost.append((await counts(trail))["failed"] - before)
            broken.mend()
            assert await trail.drain(SOON) == []
        await require_sum(trail, accepted=24, failed=sum(lost), pending=0)
        assert await trail.stop() == []
    gaps = [event["metadata"]["count"] for event in stored(folder) if event["event_type"] == GAP]
    assert gaps == lost
    assert sum("events are lost" in str(one.message) for one in warned) == 2
    require_intact(folder)


async def test_an_event_that_is_refused_by_a_stopped_trail_is_not_accepted(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    await trail.log_event(TYPE, "m0")
    await trail.stop()
    for _ in range(3):
        with pytest.raises(StoppedError) as caught:
            await trail.log_event(TYPE, "m1")
        assert caught.value.hint
        with pytest.raises(StoppedError):
            trail.log(TYPE, "m1")
    await require_sum(trail, accepted=1, stored=1)


async def test_an_event_that_is_wrong_is_not_accepted(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    for wrong in ({"durability": "safe"}, {"log_level": "loud"}):
        with pytest.raises(ConfigError) as caught:
            await trail.log_event(TYPE, "m", **wrong)
        assert caught.value.hint
    with pytest.raises(ConfigError):
        await trail.log_event("no namespace", "m")
    await require_sum(trail, accepted=0)
    await trail.stop()


async def test_a_call_that_is_cancelled_before_the_log_is_open_counts_no_event_as_stored(tmp_path):
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken:
        trail = AuditTrail(storage_path=folder)
        broken.hold("mkdir")
        task = asyncio.create_task(trail.log_event(TYPE, "m0"))
        assert await asyncio.to_thread(broken.held.acquire, timeout=SOON)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        broken.mend()
        assert await trail.stop() == []
    statistics = await counts(trail)
    assert statistics["stored"] == len(ids(folder) if folder.exists() else [])


@pytest.mark.parametrize("on_failure", ["contain", "raise", "block"])
async def test_a_call_that_is_cancelled_anywhere_is_counted_right(tmp_path, on_failure):
    """At each turn of the loop one call is cancelled: what is counted as stored is in the folder."""
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(CompliancePolicy(on_storage_failure=on_failure), folder, inline=False, timeout=0.2)
        await trail.start()
        for turns in range(20):
            if turns % 3 == 1:
                broken.fail("write", "sync")
            tasks = [
                asyncio.create_task(trail.log_event(TYPE, f"m{turns}:{number}", durability="synced"))
                for number in range(4)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.sleep(0.01)
            broken.mend()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            kept = [answer for answer in answers if isinstance(answer, str)]
            assert await trail.drain(SOON) == []
            assert set(kept) <= set(ids(folder))
        assert await trail.stop() == []
    statistics = await counts(trail)
    assert statistics["pending"] == 0
    assert statistics["accepted"] == statistics["stored"] + statistics["failed"]
    assert statistics["stored"] == len(set(ids(folder)))
    require_intact(folder)


async def test_an_event_that_waits_for_a_disk_that_stands_still_is_not_counted_as_stored(tmp_path):
    with disk(tmp_path) as broken:
        trail = AuditTrail(storage_path=tmp_path / "logs", inline=False)
        await trail.start()
        broken.hold("write")
        task = asyncio.create_task(trail.log_event(TYPE, "m0"))
        assert await asyncio.to_thread(broken.held.acquire, timeout=SOON)
        assert (await counts(trail))["stored"] == 0
        broken.mend()
        await task
        await require_sum(trail, accepted=1, stored=1)
        await trail.stop()


@pytest.mark.parametrize("many", [100, 6000])
async def test_events_that_were_only_accepted_are_returned_where_the_disk_never_takes_them(tmp_path, many):
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=folder, durability="accepted")
        await trail.start()
        broken.fail("write")
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(many)]
        await require_sum(trail, accepted=many, pending=many)
        assert await trail.drain(0.05) == said
        assert await trail.stop(0.05) == said
    assert ids(folder) == [] if folder.exists() else True
    await require_sum(trail, accepted=many, failed=many)


async def test_events_that_were_only_accepted_are_stored_by_drain(tmp_path):
    trail = AuditTrail(storage_path=tmp_path, durability="accepted")
    said = [await trail.log_event(TYPE, f"m{number}") for number in range(200)]
    assert await trail.drain() == []
    assert ids(tmp_path) == said
    await require_sum(trail, accepted=200, stored=200)
    await trail.stop()


async def test_a_disk_that_stands_still_makes_the_log_full_and_what_it_refuses_is_counted_once(tmp_path):
    """Under `block` nothing is lost, so that no gap may be told of."""
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken:
        trail = AuditTrail(CompliancePolicy(on_storage_failure="block"), folder, max_buffer_bytes=4096, inline=False)
        await trail.start()
        broken.hold("write")
        tasks = [asyncio.create_task(trail.log_event(TYPE, f"m{n}", text=LARGE)) for n in range(12)]
        await asyncio.wait(tasks, timeout=0.5)
        broken.mend()
        said = await asyncio.wait_for(asyncio.gather(*tasks), SOON)
        assert await trail.stop() == []
    assert sorted(ids(folder)) == sorted(said)
    lines = b"".join(path.read_bytes() for path in folder.glob("*.jsonl"))
    assert b'"gap"' not in lines
    await require_sum(trail, accepted=12, stored=12)


async def test_threads_and_loops_are_counted_together(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    threads = [threading.Thread(target=lambda: [trail.log(TYPE, "t") for _ in range(50)]) for _ in range(3)]
    loops = [
        threading.Thread(target=lambda: asyncio.run(_say_many(trail, 50)))
        for _ in range(3)
    ]  # fmt: skip
    for thread in (*threads, *loops):
        thread.start()
    await _say_many(trail, 50)
    await asyncio.to_thread(lambda: [thread.join() for thread in (*threads, *loops)])
    await require_sum(trail, accepted=350, stored=350)
    await trail.stop()
    assert len(messages(tmp_path)) == 350


async def _say_many(trail: AuditTrail, many: int) -> None:
    await asyncio.gather(*(trail.log_event(TYPE, "c") for _ in range(many)))


async def test_kinds_are_counted(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    await trail.log_error(ValueError("x"))
    await trail.log_event(TYPE, "m", log_level="critical")
    await trail.log_security_event("security_violation", "m")
    await trail.log_event("authentication_failed", "m")
    await trail.log_event(TYPE, "m")
    statistics = await trail.get_statistics()
    assert statistics["error_events"] == 2
    assert statistics["security_events"] == 2
    assert statistics["total_events"] == 5
    assert comes_true(lambda: trail._alerts.sent == 3)
    await trail.stop()
