"""Records of the standard library's logging as audit events."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings

import pytest

from fapilog_audit import AuditHandler, AuditTrail, CompliancePolicy, ConfigError, audit_context
from fapilog_audit.instances import get_audit_trail_now, reset_all_audit_trails_now
from fapilog_audit.testing import assert_audited, recorded_events


@pytest.fixture
def trail(tmp_path):
    with AuditTrail(CompliancePolicy(real_time_alerts=False), tmp_path / "log") as opened:
        yield opened


@pytest.fixture
def logger():
    made = logging.Logger("shop.audit", logging.DEBUG)  # noqa: LOG001 (one that is gone with the test)
    yield made
    for handler in made.handlers:
        handler.close()


def only(trail):
    (event,) = recorded_events(trail)
    return event


def test_a_record_is_an_event(trail, logger):
    logger.addHandler(AuditHandler(trail))
    logger.info("invoice %s was read", 17)
    event = only(trail)
    assert (event.message, event.event_type, event.log_level) == ("invoice 17 was read", "logging.record", "info")
    assert event.component == "shop.audit"
    assert event.metadata == {}


@pytest.mark.parametrize(
    ("number", "level", "kind"),
    [
        (5, "debug", "logging.record"),
        (logging.DEBUG, "debug", "logging.record"),
        (25, "info", "logging.record"),
        (logging.WARNING, "warning", "logging.record"),
        (logging.ERROR, "error", "error_occurred"),
        (logging.CRITICAL, "critical", "error_occurred"),
        (99, "critical", "error_occurred"),
    ],
)
def test_the_level_makes_level_and_type(trail, logger, number, level, kind):
    logger.setLevel(1)
    logger.addHandler(AuditHandler(trail))
    logger.log(number, "x")
    assert (only(trail).log_level, only(trail).event_type) == (level, kind)


@pytest.mark.parametrize("name", ["AUDIT", "SECURITY"])
def test_the_levels_of_fapilog_are_security(trail, name):
    record = logging.LogRecord("shop", 60, "file.py", 1, "x", None, None)
    record.levelname = name
    AuditHandler(trail).handle(record)
    assert (only(trail).log_level, only(trail).event_type) == ("security", f"fapilog.{name.lower()}")


def test_extra_fields_stand_in_their_places(trail, logger):
    logger.addHandler(AuditHandler(trail))
    extra = {
        "user_id": "u-1",
        "event_type": "acme.invoice.read",
        "outcome": "success",
        "log_level": "security",
        "contains_pii": True,
        "component": "billing",
        "regulatory_tags": ["gdpr"],
        "metadata": {"invoice": 17, "error": "none"},
        "amount": 12,
    }
    logger.info("read", extra=extra)
    event = only(trail)
    assert (event.user_id, event.event_type, event.outcome) == ("u-1", "acme.invoice.read", "success")
    assert (event.log_level, event.contains_pii, event.component) == ("security", True, "billing")
    assert event.regulatory_tags == ["gdpr"]
    assert event.metadata == {"invoice": 17, "error_": "none", "amount": 12}


def test_metadata_that_is_no_mapping_is_kept(trail, logger):
    logger.addHandler(AuditHandler(trail))
    logger.info("read", extra={"metadata": "text"})
    assert only(trail).metadata == {"metadata_": "text"}


def test_an_exception_is_the_error_of_the_event(trail, logger):
    logger.addHandler(AuditHandler(trail))
    logger.error("it failed", exc_info=ValueError("mine"))
    assert (only(trail).message, only(trail).error) == ("it failed", {"type": "ValueError", "message": "mine"})


def test_an_own_type_stands_for_all_that_name_none(trail, logger):
    logger.addHandler(AuditHandler(trail, event_type="acme.log"))
    logger.error("x")
    logger.error("x", extra={"event_type": "acme.other"})
    assert [event.event_type for event in recorded_events(trail)] == ["acme.log", "acme.other"]


def test_records_below_its_level_and_those_filtered_out_are_passed_over(trail, logger):
    handler = AuditHandler(trail, level="WARNING")
    handler.addFilter(lambda record: record.getMessage() != "quiet")
    logger.addHandler(handler)
    logger.info("below")
    logger.warning("quiet")
    logger.warning("heard")
    assert only(trail).message == "heard"


def test_the_record_that_a_filter_returns_is_the_one_recorded(trail):
    class Replacing(AuditHandler):
        def filter(self, record):
            return logging.makeLogRecord({**vars(record), "msg": "replaced"})

    Replacing(trail).handle(logging.makeLogRecord({"msg": "given", "levelno": 20, "name": "shop"}))
    assert only(trail).message == "replaced"


def test_the_context_of_the_caller_is_taken(trail, logger):
    logger.addHandler(AuditHandler(trail))
    with audit_context(user_id="u-7"):
        logger.info("x")
    assert only(trail).user_id == "u-7"


def test_any_thread_may_log(trail, logger):
    logger.addHandler(AuditHandler(trail))
    threads = [threading.Thread(target=lambda: [logger.info("x") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_audited(trail, count=100, message="x")


async def test_it_works_inside_a_running_loop(trail, logger):
    logger.addHandler(AuditHandler(trail))
    await asyncio.gather(*(asyncio.to_thread(logger.info, "thread") for _ in range(3)))
    logger.info("loop")
    assert len(recorded_events(trail)) == 4


@pytest.mark.parametrize("name", ["fapilog_audit.alerts", "fapilog_audit", "fapilog_tamper.x"])
def test_our_own_records_are_passed_over(trail, name):
    AuditHandler(trail).handle(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 50}))
    assert recorded_events(trail) == []


def test_an_alert_handler_that_logs_makes_no_further_event(tmp_path, logger):
    told = []

    def tell(event):
        told.append(event.message)
        logger.critical("alert: %s", event.message)

    trail = AuditTrail(storage_path=tmp_path / "log", on_alert=tell)
    logger.addHandler(AuditHandler(trail))
    logger.critical("it burns")
    trail.stop_now()
    assert told == ["it burns"]
    assert only(trail).message == "it burns"


async def test_a_backend_that_logs_does_not_wait_for_itself(tmp_path, logger):
    class Talking:
        def __init__(self):
            self.events = []

        async def write(self, event):
            logger.info("written")
            self.events.append(event.message)

        async def flush(self): ...

        async def close(self): ...

    backend = Talking()
    trail = AuditTrail(CompliancePolicy(on_storage_failure="block"), backend=backend, state_dir=tmp_path)
    logger.addHandler(AuditHandler(trail))
    await trail.log_event("acme.x", "given")
    assert await trail.stop() == []
    assert backend.events == ["given"]


def test_others_whose_name_begins_alike_are_not(trail):
    AuditHandler(trail).handle(logging.makeLogRecord({"name": "fapilog_auditor", "msg": "x", "levelno": 20}))
    assert only(trail).component == "fapilog_auditor"


def test_a_record_made_while_one_is_stored_does_not_recurse(trail, logger):
    class Talkative:
        def __str__(self):
            logger.info("from within")
            return "told"

    logger.addHandler(AuditHandler(trail))
    logger.info("%s", Talkative())
    assert only(trail).message == "told"


def test_warnings_of_a_trail_in_trouble_do_not_come_back_to_it(tmp_path, logger, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(storage_path=tmp_path / "file" / "log")
    monkeypatch.setattr(logging, "_warnings_showwarning", None)
    captured = logging.getLogger("py.warnings")
    handler = AuditHandler(trail)
    captured.addHandler(handler)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            logger.info("x")
            logging.captureWarnings(capture=False)
    finally:
        captured.removeHandler(handler)
    assert len(trail.stop_now(0.1)) == 1


def test_a_failure_goes_where_logging_wants_it(tmp_path, logger, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    handler = AuditHandler(AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log"))
    seen = []
    monkeypatch.setattr(handler, "handleError", seen.append)
    logger.addHandler(handler)
    logger.info("x")
    logger.info("%d", "no number")
    logger.info("x", extra={"event_type": "nonsense"})
    assert [record.msg for record in seen] == ["x", "%d", "x"]


def test_recursion_errors_go_on(trail, logger):
    class Endless:
        def __str__(self):
            return str(self)

    logger.addHandler(AuditHandler(trail))
    with pytest.raises(RecursionError):
        logger.info("%s", Endless())
    logger.info("and it still works")
    assert only(trail).message == "and it still works"


def test_the_promise_can_be_chosen(trail, logger):
    with pytest.raises(ConfigError, match="durability is 'nonsense'"):
        AuditHandler(trail, durability="nonsense")
    handler = AuditHandler(trail, durability="accepted")
    seen = []
    handler.handleError = seen.append
    logger.addHandler(handler)
    logger.info("x", extra={"durability": "nonsense"})
    logger.info("x", extra={"durability": "synced"})
    assert len(seen) == 1
    assert len(recorded_events(trail)) == 1


def test_closing_it_does_not_stop_the_trail(trail, logger):
    handler = AuditHandler(trail)
    handler.close()
    trail.log("acme.x", "it takes events")
    assert len(recorded_events(trail)) == 1


def test_a_handler_that_waits_holds_up_no_other_thread(trail):
    assert AuditHandler(trail).lock is None


def test_a_named_trail_is_looked_up_with_each_record(tmp_path, logger, monkeypatch):
    monkeypatch.setenv("FAPILOG_AUDIT_TEST_FOLDER", str(tmp_path))
    logger.addHandler(AuditHandler(name="web"))
    logger.info("first")
    reset_all_audit_trails_now()
    logger.info("second")
    try:
        assert [event.message for event in recorded_events(get_audit_trail_now("web"))] == ["first", "second"]
    finally:
        reset_all_audit_trails_now()


@pytest.mark.parametrize("settings", [{"event_type": "nonsense"}, {"trail": "audit"}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        AuditHandler(**settings)
