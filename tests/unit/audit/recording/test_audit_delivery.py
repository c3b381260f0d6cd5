"""The way of events to a backend: all of them, in order, whatever the backend does."""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import json
import random
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from support.audit import SOON, TYPE, Kept, comes_true, require_gapless, require_sum, sealed

from fapilog_audit import AuditTrail, CompliancePolicy
from fapilog_audit.errors import ConfigError, StoppedError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

SHORT = 0.1
BOUND = 5.0


def made(tmp_path: Path, backend: Any, on_failure: Any = "contain", **settings: Any) -> AuditTrail:
    policy = CompliancePolicy(on_storage_failure=on_failure)
    return AuditTrail(policy, backend=backend, state_dir=tmp_path / "state", **settings)


async def test_a_backend_gets_the_sealed_lines_byte_for_byte_in_order(tmp_path):
    backend = Kept()
    async with made(tmp_path, backend) as trail:
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(20)]
        assert await trail.drain() == []
        await require_sum(trail, accepted=20, stored=20)
        assert trail.health()
    assert backend.ids == said
    assert backend.lines == sealed(tmp_path / "state" / "outbox")
    require_gapless(backend.lines)
    assert len(backend.threads) == 1
    assert backend.threads.isdisjoint({threading.current_thread().name})


@pytest.mark.parametrize("word", ["backend", "storage_backend"])
async def test_backend_has_two_names(tmp_path, word):
    backend = Kept()
    async with AuditTrail(state_dir=tmp_path / "state", **{word: backend}) as trail:
        await trail.log_event(TYPE, "m")
    assert backend.messages == ["m"]


def test_backend_and_storage_backend_together_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="both") as caught:
        AuditTrail(backend=Kept(), storage_backend=Kept())
    assert caught.value.hint
    with pytest.raises(ConfigError, match="backend is") as caught:
        AuditTrail(backend=object())
    assert caught.value.hint


async def test_flush_and_close_come_once_and_close_last(tmp_path):
    backend = Kept()
    trail = made(tmp_path, backend)
    await trail.log_event(TYPE, "m")
    await trail.stop()
    await trail.stop()
    assert backend.calls in (["write", "flush", "close"], ["write", "flush", "flush", "close"])
    with pytest.raises(StoppedError):
        await trail.log_event(TYPE, "late")
    assert backend.messages == ["m"]


async def test_a_synced_event_is_flushed_before_it_is_acknowledged(tmp_path):
    backend = Kept()
    async with made(tmp_path, backend) as trail:
        for number in range(50):
            await trail.log_event(TYPE, f"m{number}", durability="synced")
            assert backend.calls[-1] == "flush", number


async def test_a_synced_event_that_the_backend_has_already_is_flushed_all_the_same(tmp_path):
    """The thread of the backend may be faster than the caller; he must not wait for the next event."""
    backend = Kept()
    async with made(tmp_path, backend, "block") as trail:
        first = await trail.log_event(TYPE, "m0")
        assert backend.ids == [first]
        ticket = trail._recorder._delivery.ask("audit", 1, flush=True, patient=True)
        await asyncio.to_thread(ticket.delivered.result, BOUND)
        assert backend.calls[-1] == "flush"


async def test_drain_does_not_wait_where_nothing_is_to_be_delivered(tmp_path):
    backend = Kept()
    async with made(tmp_path, backend) as trail:
        await trail.log_event(TYPE, "m0")
        assert await trail.drain(BOUND) == []
        begun = monotonic()
        assert await trail.drain(4 * BOUND) == []
        assert monotonic() - begun < 2 * BOUND


@pytest.mark.parametrize("how", ["log", "log_event"])
async def test_contain_lets_a_backend_that_fails_have_events_later(tmp_path, how):
    backend = Kept(failures=3)
    with pytest.warns(RuntimeWarning, match="refuses events"):
        trail = made(tmp_path, backend)
        said = []
        for number in range(5):
            if how == "log":
                said.append(await asyncio.to_thread(trail.log, TYPE, f"m{number}"))
            else:
                said.append(await trail.log_event(TYPE, f"m{number}"))
        assert await trail.drain(SOON) == []
    assert backend.ids == said
    await require_sum(trail, accepted=5, stored=5)
    assert trail.health()
    assert await trail.stop() == []


async def test_a_backend_that_always_fails_has_events_pending_and_health_bad(tmp_path):
    backend = Kept(failures=10**9)
    with pytest.warns(RuntimeWarning) as warned:
        trail = made(tmp_path, backend, timeout=SHORT)
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(5)]
        await require_sum(trail, accepted=5, pending=5)
        assert not trail.health()
        assert "the backend is down" in trail.health().reason
        assert await trail.drain(SHORT) == said
        assert await trail.stop(SHORT) == said
    assert sum("refuses events" in str(one.message) for one in warned) == 1
    await require_sum(trail, accepted=5, stored=0)


async def test_what_a_backend_refused_is_offered_by_the_next_trail(tmp_path):
    backend = Kept(failures=10**9)
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, timeout=SHORT)
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(5)]
        await trail.stop(SHORT)
    other = Kept()
    async with made(tmp_path, other) as trail:
        said.append(await trail.log_event(TYPE, "m5"))
        await require_sum(trail, accepted=1)
        assert await trail.drain(SOON) == []
        await require_sum(trail, accepted=1, stored=1)
    assert other.ids == said
    require_gapless(other.lines)


async def test_what_an_earlier_process_left_does_not_count_as_pending_of_this_one(tmp_path):
    backend = Kept()
    backend.gate.clear()
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, timeout=SHORT)
        for number in range(5):
            await trail.log_event(TYPE, f"m{number}")
        await trail.stop(SHORT)
    other = Kept()
    other.gate.clear()
    trail = made(tmp_path, other, timeout=SHORT)
    await trail.log_event(TYPE, "m5")
    try:
        await require_sum(trail, accepted=1, pending=1)
    finally:
        other.gate.set()
        await trail.stop(SOON)


async def test_raise_raises_where_the_backend_refuses(tmp_path):
    backend = Kept(failures=1_000_000)
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, "raise")
        with pytest.raises(StorageError) as caught:
            await trail.log_event(TYPE, "m0")
        assert caught.value.pending
        assert caught.value.hint
        assert "the backend is down" in str(caught.value)
        backend.failures = 0
        assert await trail.drain(SOON) == []
    await require_sum(trail, accepted=1, stored=1)
    await trail.stop()
    assert backend.ids == [caught.value.event_id]


@pytest.mark.parametrize("promise", ["written", "synced"])
async def test_block_waits_until_the_backend_has_the_event(tmp_path, promise):
    backend = Kept(failures=2)
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, "block")
        said = await asyncio.wait_for(trail.log_event(TYPE, "m0", durability=promise), SOON)
    assert backend.ids == [said]
    await trail.stop()


async def test_block_waits_until_a_flush_that_failed_has_worked(tmp_path):
    backend = Kept()
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, "block")
        backend.fail_in = "flush"
        task = asyncio.create_task(trail.log_event(TYPE, "m0", durability="synced"))
        assert await asyncio.to_thread(comes_true, lambda: "flush" in backend.calls)
        assert not task.done()
        backend.fail_in = None
        try:
            await asyncio.wait_for(task, BOUND)
        finally:
            await trail.stop()


async def test_health_is_good_again_when_a_flush_works_again(tmp_path):
    backend = Kept()
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend)
        backend.fail_in = "flush"
        await trail.log_event(TYPE, "m0", durability="synced")
        assert not trail.health()
        backend.fail_in = None
        await trail.drain(SHORT)
        assert await asyncio.to_thread(comes_true, trail.health, BOUND)
    await trail.stop()


async def test_a_backend_that_stands_still_holds_up_nobody_for_long(tmp_path):
    backend = Kept()
    backend.gate.clear()
    trail = made(tmp_path, backend, timeout=SHORT)
    said = [await asyncio.wait_for(trail.log_event(TYPE, f"m{n}"), BOUND) for n in range(3)]
    await require_sum(trail, accepted=3, pending=3)
    assert await asyncio.wait_for(trail.drain(SHORT), BOUND) == said
    backend.gate.set()
    assert await trail.drain(SOON) == []
    assert await trail.stop() == []
    assert backend.ids == said


@pytest.mark.parametrize("call", ["write", "flush", "close"])
async def test_a_call_that_never_returns_does_not_hang_stop(tmp_path, call):
    class Hanging(Kept):
        async def write(self, event: Any) -> None:
            await self._hang("write")
            await super().write(event)

        async def flush(self) -> None:
            await self._hang("flush")

        async def close(self) -> None:
            await self._hang("close")

        async def _hang(self, name: str) -> None:
            if name == call:
                await asyncio.Event().wait()

    trail = made(tmp_path, Hanging(), timeout=SHORT)
    await trail.log_event(TYPE, "m0")
    with pytest.warns(RuntimeWarning):
        await asyncio.wait_for(trail.stop(SHORT), BOUND)


@pytest.mark.parametrize("call", ["flush", "close"])
async def test_an_end_that_fails_is_warned_of(tmp_path, call):
    backend = Kept()
    trail = made(tmp_path, backend)
    await trail.log_event(TYPE, "m0")
    await trail.drain()
    backend.fail_in = call
    with pytest.warns(RuntimeWarning, match=call):
        await trail.stop()
    assert backend.calls.count("close") == 1


async def test_a_backend_that_raises_at_random_gets_all_in_order(tmp_path):
    rng = random.Random(7)

    class Moody(Kept):
        async def write(self, event: Any) -> None:
            mood = rng.random()
            if mood < 0.02:
                raise rng.choice([ValueError("x"), OSError(5, "io"), TimeoutError(), asyncio.CancelledError()])
            if mood < 0.04:
                # Stored, and then it failed all the same.
                await super().write(event)
                raise ConnectionError("gone")
            await super().write(event)

    backend = Moody()
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend, timeout=0.5)
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(100)]
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    assert list(dict.fromkeys(backend.ids)) == said


async def test_several_loops_and_threads_log_to_a_slow_backend(tmp_path):
    class Slow(Kept):
        async def write(self, event: Any) -> None:
            await asyncio.sleep(0.001)
            await super().write(event)

    backend = Slow()
    trail = made(tmp_path, backend, durability="accepted")
    said: list[str] = []

    async def many() -> None:
        said.extend(await asyncio.gather(*(trail.log_event(TYPE, "c") for _ in range(40))))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(2)]
    threads += [threading.Thread(target=lambda: said.extend([trail.log(TYPE, "t") for _ in range(40)])) for _ in "12"]
    for thread in threads:
        thread.start()
    await many()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert await trail.drain(SOON) == []
    await require_sum(trail, accepted=200, stored=200)
    assert await trail.stop() == []
    assert sorted(backend.ids) == sorted(said)
    require_gapless(backend.lines)


async def test_segments_that_were_delivered_are_removed_and_the_log_goes_on(tmp_path):
    backend = Kept()
    outbox = tmp_path / "state" / "outbox"
    text = "x" * 400
    said = []
    for _ in range(3):
        async with made(tmp_path, backend, max_bytes=4096) as trail:
            said += [await trail.log_event(TYPE, "m", text=text) for _ in range(60)]
            assert await trail.drain(SOON) == []
        assert len(list(outbox.glob("*.jsonl"))) < 10
    assert backend.ids == said
    require_gapless(backend.lines)
    assert AuditTrail.verify_chain(backend_events(backend)).valid


def backend_events(backend: Kept) -> list[Any]:
    from fapilog_audit import AuditEvent

    return [AuditEvent.from_line(line) for line in backend.lines]


async def test_the_head_of_a_trail_with_a_backend_lies_in_state_dir(tmp_path):
    async with made(tmp_path, Kept()) as trail:
        await trail.log_event(TYPE, "m")
    state = {path.name for path in (tmp_path / "state").iterdir()}
    assert "audit.chainstate" in state
    assert "outbox" in state
    require_intact_outbox(tmp_path)


def require_intact_outbox(tmp_path: Path) -> None:
    from fapilog_tamper.verify.log import verify_path
    from fapilog_tamper.verify.report import Outcome

    report = verify_path(tmp_path / "state" / "outbox", keyring=None)
    assert report.outcome is not Outcome.TAMPERED, report.findings


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"delivered": -1}', b'{"delivered": "x"}', b'{"delivered": true}', b"\xff"])  # fmt: skip  # noqa: E501
async def test_a_mark_that_says_nothing_has_everything_offered_again(tmp_path, mark):
    async with made(tmp_path, Kept()) as trail:
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(3)]
    path = tmp_path / "state" / "audit.delivered"
    assert json.loads(path.read_bytes())["delivered"] >= 3
    path.write_bytes(mark)
    backend = Kept()
    async with made(tmp_path, backend) as trail:
        await trail.drain()
    assert backend.ids == said


async def test_a_mark_that_stands_has_nothing_offered_twice(tmp_path):
    async with made(tmp_path, Kept()) as trail:
        await trail.log_event(TYPE, "m0")
    backend = Kept()
    async with made(tmp_path, backend) as trail:
        await trail.log_event(TYPE, "m1")
    assert backend.messages == ["m1"]


async def test_two_trails_share_a_state_dir(tmp_path):
    one, other = Kept(), Kept()
    async with made(tmp_path, one) as first, made(tmp_path, other) as second:
        for number in range(10):
            await first.log_event(TYPE, f"a{number}")
            await second.log_event(TYPE, f"b{number}")
        await first.drain()
        await second.drain()
    assert one.messages == [f"a{number}" for number in range(10)]
    assert other.messages == [f"b{number}" for number in range(10)]


async def test_a_stopped_trail_starts_again_with_its_backend(tmp_path):
    backend = Kept()
    trail = made(tmp_path, backend)
    await trail.log_event(TYPE, "m0")
    await trail.stop()
    await trail.start()
    await trail.log_event(TYPE, "m1")
    await trail.stop()
    assert backend.messages == ["m0", "m1"]
    require_gapless(backend.lines)


async def test_an_outbox_that_cannot_be_read_does_not_end_the_delivery(tmp_path):
    """Whatever lies in the outbox: events that come later are delivered, and the backend is closed once."""
    backend = Kept()
    trail = made(tmp_path, backend, timeout=SHORT)
    await trail.log_event(TYPE, "m0")
    (tmp_path / "state" / "outbox" / "audit_2020-01-01.jsonl").mkdir()
    for number in range(1, 4):
        await trail.log_event(TYPE, f"m{number}")
    (tmp_path / "state" / "outbox" / "audit_2020-01-01.jsonl").rmdir()
    assert await trail.drain(SOON) == []
    assert await trail.stop() == []
    assert backend.messages == ["m0", "m1", "m2", "m3"]
    assert backend.calls.count("close") == 1


async def test_a_write_of_the_outbox_that_fails_keeps_the_event(tmp_path):
    (tmp_path / "state").write_text("in the way")
    backend = Kept()
    with pytest.warns(RuntimeWarning):
        trail = made(tmp_path, backend)
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(3)]
        await require_sum(trail, accepted=3, pending=3)
        (tmp_path / "state").unlink()
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    assert backend.ids == said
    await require_sum(trail, accepted=3, stored=3)
