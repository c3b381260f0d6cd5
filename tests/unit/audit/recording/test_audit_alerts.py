"""Alerts: who hears of what, when, and that a handler costs nobody an event."""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import logging
import threading
from time import monotonic

import pytest
from support.audit import SOON, TYPE, comes_true, ids, run

from fapilog_audit import AuditEvent, AuditTrail, emit_compliance_alert, get_audit_trail, reset_all_audit_trails

BOUND = 5.0


async def test_a_handler_gets_the_event_after_it_is_stored(tmp_path):
    found = []
    trail = AuditTrail(storage_path=tmp_path, on_alert=lambda event: found.append(event.event_id in ids(tmp_path)))
    for _ in range(20):
        await trail.log_event(TYPE, "m", log_level="critical")
    await trail.stop()
    assert found == [True] * 20


async def test_handlers_may_be_functions_and_coroutine_functions_and_hear_all_in_order(tmp_path):
    one, other, threads = [], [], set()

    async def hear(event: AuditEvent) -> None:
        await asyncio.sleep(0)
        other.append(event.event_id)

    def listen(event: AuditEvent) -> None:
        threads.add(threading.current_thread())
        one.append(event.event_id)

    trail = AuditTrail(storage_path=tmp_path, on_alert=[listen, hear])
    said = [await trail.log_security_event("security_violation", "m") for _ in range(20)]
    said += [await asyncio.to_thread(trail.log, "authorization_failed", "m") for _ in range(5)]
    assert await trail.stop() == []
    assert one == other == said
    assert threading.main_thread() not in threads
    assert (await trail.get_statistics())["alerts_sent"] == 50


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), TimeoutError(), SystemExit(1)])
@pytest.mark.parametrize("kind", ["function", "coroutine"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_handler_that_fails_costs_nothing_but_a_count(tmp_path, error, kind):
    heard = []

    def fail(event: AuditEvent) -> None:
        raise error

    async def fail_later(event: AuditEvent) -> None:
        raise error

    handlers = [fail if kind == "function" else fail_later, lambda event: heard.append(event.event_id)]
    trail = AuditTrail(storage_path=tmp_path, on_alert=handlers)
    with pytest.warns(RuntimeWarning, match="an alert was not delivered") as warned:
        said = [await trail.log_event(TYPE, "m", log_level="critical") for _ in range(5)]
        begun = monotonic()
        assert await trail.stop(2 * BOUND) == []
        assert monotonic() - begun < 2 * BOUND
    assert ids(tmp_path) == said
    assert heard == said
    assert (await trail.get_statistics())["alerts_failed"] == 5
    assert sum("alert was not delivered" in str(one.message) for one in warned) == 1


async def test_a_handler_that_hangs_holds_up_neither_events_nor_stop(tmp_path):
    release = threading.Event()
    trail = AuditTrail(storage_path=tmp_path, on_alert=lambda event: release.wait())
    try:
        said = [await asyncio.wait_for(trail.log_event(TYPE, "m", log_level="critical"), BOUND) for _ in range(50)]
        begun = monotonic()
        assert await trail.stop(0.1) == []
        assert monotonic() - begun < BOUND
        assert ids(tmp_path) == said
    finally:
        release.set()


async def test_alerts_beyond_a_bound_are_counted(tmp_path):
    release = threading.Event()
    trail = AuditTrail(storage_path=tmp_path, on_alert=lambda event: release.wait())
    with pytest.warns(RuntimeWarning, match="too many alerts"):
        for _ in range(1100):
            await trail.log_event(TYPE, "m", log_level="critical")
    release.set()
    assert await asyncio.to_thread(comes_true, lambda: trail._alerts.sent + trail._alerts.failed == 1100)
    assert trail._alerts.failed >= 98
    await trail.stop()


async def test_an_event_with_odd_values_is_stored_and_told(tmp_path):
    heard = []
    trail = AuditTrail(storage_path=tmp_path, on_alert=heard.append)
    odd = {
        "user_id": object(),
        "outcome": {"a": 1},
        "regulatory_tags": [1, None],
        "x": {1: 2},
        "y": "\ud800",
        "z": 2**70,
    }
    said = await trail.log_event(TYPE, 5, log_level="critical", contains_pii="yes", error={"a": object()}, **odd)
    await trail.stop()
    assert ids(tmp_path) == [said]
    assert [event.event_id for event in heard] == [said]


async def test_alerts_go_to_a_logger_by_default(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="fapilog_audit.alerts"):
        trail = AuditTrail(storage_path=tmp_path)
        said = await trail.log_event(TYPE, "told", log_level="critical", user_id="u1")
        await trail.log_event(TYPE, "not told")
        await trail.stop()
    [record] = [one for one in caplog.records if one.name == "fapilog_audit.alerts"]
    assert record.levelno == logging.CRITICAL
    for part in (TYPE, "u1", "told", said):
        assert part in record.getMessage()
    assert record.audit_event_id == said


async def test_a_compliance_alert_is_told_whatever_the_policy_says(tmp_path):
    heard = []
    from fapilog_audit import CompliancePolicy

    policy = CompliancePolicy(real_time_alerts=False)
    trail = await get_audit_trail(policy, tmp_path, name="alerts", on_alert=heard.append)
    try:
        await trail.log_event(TYPE, "m", log_level="critical")
        event = AuditEvent(event_type="compliance_check", message="by hand")
        await emit_compliance_alert(event, name="alerts")
    finally:
        await reset_all_audit_trails()
    assert [one.message for one in heard] == ["by hand"]


def test_an_alert_is_told_before_the_interpreter_is_gone(tmp_path):
    code = """
import asyncio, sys, time
from pathlib import Path
from fapilog_audit import AuditTrail
def tell(event):
    time.sleep(0.3)
    Path(sys.argv[1], "heard").write_text(event.message)
trail = AuditTrail(storage_path=Path(sys.argv[1]) / "logs", on_alert=tell)
asyncio.run(trail.log_security_event("security_violation", "intruder"))
"""
    run(code, tmp_path)
    assert comes_true(lambda: (tmp_path / "heard").exists(), 0.01)  # noqa: PLW0108


def test_a_child_that_was_forked_while_a_handler_worked_tells_its_own_alerts_only(tmp_path):
    code = """
import os, sys, threading
from pathlib import Path
from fapilog_audit import AuditTrail
inside, release = threading.Event(), threading.Event()
heard = []
def tell(event):
    heard.append(event.message)
    if event.message == "first":
        inside.set()
        release.wait()
trail = AuditTrail(storage_path=Path(sys.argv[1]), on_alert=tell)
for message in ("first", "second"):
    trail.log("acme.x.y", message, log_level="critical")
inside.wait()
pid = os.fork()
if pid == 0:
    heard.clear()
    trail.log("acme.x.y", "child", log_level="critical")
    trail.stop_now()
    os._exit(0 if heard == ["child"] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
release.set()
trail.stop_now()
assert heard == ["first", "second"], heard
"""
    run(code, tmp_path, timeout=SOON)
