"""Nothing waits longer than it was told to, whatever the disk does; what waited is then accounted for.

Bounds are a multiple of the time that was given, with room for a busy machine.
"""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from support.audit import SOON, TYPE, comes_true, disk, ids, require_intact, require_sum

from fapilog_audit import AuditTrail, CompliancePolicy
from fapilog_audit.errors import StoppedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT = 0.1
BOUND = 5.0
"""Seconds within which what was given a tenth of a second is over; the log's own grace is in it."""

OPENING = ("mkdir", "open")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = monotonic()
    answer = work()
    return monotonic() - begun, answer


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do something in a thread that may hang."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(timed(work)), daemon=True)
    thread.start()
    return thread, answers


def answer(trail: AuditTrail) -> object:
    """Log an event; return its id, or the error where it is not taken."""
    try:
        return trail.log(TYPE, "m0")
    except StoppedError as error:
        return error


def require_over(thread: threading.Thread, answers: list[Any]) -> Any:
    thread.join(BOUND)
    assert not thread.is_alive(), "it does not end"
    return answers[0][1]


@pytest.mark.parametrize("call", OPENING)
@pytest.mark.parametrize("ending", ["drain", "stop"])
def test_an_end_is_in_time_while_a_disk_that_stands_still_is_opened(tmp_path, call, ending):
    with disk(tmp_path) as broken:
        trail = AuditTrail(storage_path=tmp_path / "logs", timeout=SHORT)
        broken.hold(call)
        logging, said = in_thread(lambda: answer(trail))
        assert broken.held.acquire(timeout=SOON)
        work = (lambda: trail.stop_now(SHORT)) if ending == "stop" else (lambda: asyncio.run(trail.drain(SHORT)))
        try:
            require_over(*in_thread(work))
        finally:
            broken.mend()
            logging.join(SOON)
    trail.stop_now()
    event_id = said[0][1]
    assert ids(tmp_path / "logs") == ([event_id] if ending == "drain" else [])
    assert isinstance(event_id, str) == (ending == "drain") or trail._recorder.failed


@pytest.mark.parametrize("call", OPENING)
@pytest.mark.parametrize("how", ["log", "log_event"])
def test_an_event_waits_no_longer_than_timeout_for_a_disk_that_does_not_open(tmp_path, call, how):
    with disk(tmp_path) as broken:
        trail = AuditTrail(storage_path=tmp_path / "logs", timeout=SHORT)
        broken.hold(call)
        logging, said = in_thread(
            (lambda: trail.log(TYPE, "m0")) if how == "log" else (lambda: asyncio.run(trail.log_event(TYPE, "m0")))
        )
        try:
            assert broken.held.acquire(timeout=SOON)
            event_id = require_over(logging, said)
        finally:
            broken.mend()
            logging.join(SOON)
        assert comes_true(lambda: trail.stop_now(SOON) == [])
    assert ids(tmp_path / "logs") == [event_id]


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("ending", ["drain", "stop"])
def test_an_end_is_in_time_on_an_open_disk_that_stands_still(tmp_path, call, ending):
    with disk(tmp_path) as broken:
        trail = AuditTrail(storage_path=tmp_path / "logs", timeout=60, inline=False)
        trail.start_now()
        broken.hold(call)
        said = trail.log(TYPE, "m0", durability="accepted")
        work = (lambda: trail.stop_now(SHORT)) if ending == "stop" else (lambda: asyncio.run(trail.drain(SHORT)))
        try:
            left = require_over(*in_thread(work))
            if call == "write":
                assert left == [said]
        finally:
            broken.mend()
        trail.stop_now()
    assert ids(tmp_path / "logs") in ([], [said])


@pytest.mark.parametrize("ending", ["drain", "stop"])
def test_an_end_is_in_time_with_events_that_wait_for_a_disk_that_stands_still(tmp_path, ending):
    """What waits is tried by whoever drains: his own time counts, not that of the trail."""
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=folder, timeout=60, inline=False)
        trail.start_now()
        broken.fail("write")
        said = [trail.log(TYPE, f"m{number}") for number in range(3)]
        broken.hold("write")
        broken._errors.clear()
        assert broken.held.acquire(timeout=SOON)
        work = (lambda: trail.stop_now(SHORT)) if ending == "stop" else (lambda: asyncio.run(trail.drain(SHORT)))
        try:
            left = require_over(*in_thread(work))
            assert left == said
        finally:
            broken.mend()
        if ending == "drain":
            assert trail.stop_now(SOON) == []
            assert ids(folder) == said


async def test_log_event_returns_when_its_timeout_is_over_and_the_event_is_pending(tmp_path):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=tmp_path / "logs", timeout=SHORT, inline=False)
        await trail.start()
        broken.hold("write")
        said = [await asyncio.wait_for(trail.log_event(TYPE, f"m{n}"), BOUND) for n in range(3)]
        await require_sum(trail, accepted=3, pending=3)
        broken.mend()
        assert await trail.drain(SOON) == []
        await require_sum(trail, accepted=3, stored=3)
        assert await trail.stop() == []
    assert ids(tmp_path / "logs") == said
    require_intact(tmp_path / "logs")


async def test_raise_raises_when_its_timeout_is_over(tmp_path):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        policy = CompliancePolicy(on_storage_failure="raise")
        trail = AuditTrail(policy, tmp_path / "logs", timeout=SHORT, inline=False)
        await trail.start()
        broken.hold("write")
        with pytest.raises(StorageError) as caught:
            await asyncio.wait_for(trail.log_event(TYPE, "m"), BOUND)
        assert caught.value.pending
        await require_sum(trail, accepted=1, pending=1)
        broken.mend()
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    assert ids(tmp_path / "logs") == [caught.value.event_id]


def test_stop_frees_callers_that_are_blocked(tmp_path):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(CompliancePolicy(on_storage_failure="block"), tmp_path / "logs")
        trail.start_now()
        broken.fail("write")

        logging, said = in_thread(lambda: answer(trail))
        assert comes_true(lambda: len(trail._recorder._backlog))
        left = require_over(*in_thread(lambda: trail.stop_now(SHORT)))
        assert len(left) == 1
        # It is not stored, and he is told.
        assert isinstance(require_over(logging, said), StoppedError)


def test_after_a_stop_on_a_disk_that_stands_still_nothing_opens_the_log_again(tmp_path):
    """What `stop` has returned as not stored is not stored behind its back."""
    folder = tmp_path / "logs"
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=folder, timeout=SHORT)
        broken.fail("mkdir", error=13)
        said = [trail.log(TYPE, f"m{number}") for number in range(3)]
        broken.hold("mkdir")
        broken._errors.clear()
        assert broken.held.acquire(timeout=SOON)
        stopping, answers = in_thread(lambda: trail.stop_now(SHORT))
        stopping.join(BOUND)
        in_time = not stopping.is_alive()
        broken.mend()
        stopping.join(SOON)
        left = answers[0][1]
        assert comes_true(lambda: not any("audit trail" in one.name for one in threading.enumerate()))
        found = ids(folder) if folder.exists() else []
        assert sorted([*found, *left]) == sorted(said)
        assert trail._recorder.ledger.log is None
        assert in_time
        with pytest.raises(StoppedError):
            trail.log(TYPE, "late")
