"""An exception in an event: what it is and says, with its causes; never a stack, and never a failure of its own."""

from __future__ import annotations

import json
from enum import Enum
from itertools import pairwise

import pytest
from fapilog.core.errors import ErrorCategory, ErrorSeverity, FapilogError
from unit.audit.events.recording import TYPE, lines, members, record

from fapilog_audit import AuditTrail
from fapilog_audit.causes import describe_error, error_level


class BrokenError(Exception):
    """Whatever is asked of it raises."""

    @property
    def message(self):
        raise RuntimeError("message")

    @property
    def context(self):
        raise RuntimeError("context")

    def __str__(self):
        raise RuntimeError("str")

    __repr__ = __str__


class OddMessageError(Exception):
    message = BrokenError


class InContextError(Exception):
    """Has a context that is none of fapilog's."""

    def __init__(self, *args):
        super().__init__(*args)
        self.context = {"user_id": "u"}


class Outer:
    class InnerError(ValueError):
        pass


def raised(*steps):
    """Return an exception whose causes are the others, nearest first."""
    for error, cause in pairwise(steps):
        error.__cause__ = cause
    return steps[0]


def in_loop():
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def with_traceback():
    secret = "hunter2 in a variable"
    try:
        int(secret[:0])
    except ValueError as error:
        return error


ERRORS = {
    "plain": ValueError("v"),
    "no text": ValueError(),
    "base": KeyboardInterrupt(),
    "broken": BrokenError(),
    "odd message": OddMessageError("o"),
    "other context": InContextError("c"),
    "loop": in_loop(),
    "group": ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [KeyError("b")])]),
    "base group": BaseExceptionGroup("g", [KeyboardInterrupt()]),
    "arguments": ValueError({1: b"\xff"}, object()),
    "surrogate": OSError("a\ud800"),
    "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    "large": ValueError("x" * 1_000_000),
    "fapilog": FapilogError("f", anything=BrokenError()),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
async def test_any_exception_is_recorded(error, tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        event_id = await trail.log_error(error, operation="o", component="c", n=1)
        event = await trail.get_event(event_id)
    assert event is not None
    assert event.error["type"] == type(error).__qualname__
    assert (event.event_type, event.operation, event.component) == ("error_occurred", "o", "c")
    assert event.metadata == {"n": 1}


def test_an_exception_says_what_and_from_where():
    assert describe_error(ValueError("no")) == {"type": "ValueError", "message": "no"}
    described = describe_error(Outer.InnerError("no"))
    assert described == {"type": "Outer.InnerError", "message": "no", "module": __name__}


def test_causes_come_nearest_first():
    described = describe_error(raised(ValueError("a"), KeyError("b"), OSError("c")))
    assert [(one["type"], one["message"]) for one in described["causes"]] == [("KeyError", "'b'"), ("OSError", "c")]


def fail_twice():
    try:
        int("x")
    except ValueError:
        {}["y"]


def test_what_was_being_handled_is_a_cause_unless_it_is_suppressed():
    with pytest.raises(KeyError) as caught:
        fail_twice()
    assert [one["type"] for one in describe_error(caught.value)["causes"]] == ["ValueError"]
    caught.value.__suppress_context__ = True
    assert "causes" not in describe_error(caught.value)


def test_of_many_causes_five_are_told_and_a_loop_ends():
    assert len(describe_error(raised(*(ValueError(str(n)) for n in range(50))))["causes"]) == 5
    assert [one["type"] for one in describe_error(in_loop())["causes"]] == ["KeyError"]


def test_a_group_tells_of_the_first_five_it_holds():
    described = describe_error(ExceptionGroup("g", [ValueError(str(n)) for n in range(9)]))
    assert [one["message"] for one in described["exceptions"]] == ["0", "1", "2", "3", "4"]
    assert described["message"] == "g (9 sub-exceptions)"


def test_no_stack_no_paths_and_no_variables(tmp_path):
    record(tmp_path, error=with_traceback())
    record(tmp_path, error=FapilogError("f"))
    for line in lines(tmp_path):
        assert b"hunter2" not in line
        assert b"traceback" not in line.lower()
        assert b".py" not in line
        assert "call_stack" not in members(line).get("error", {})


def test_an_error_may_be_a_mapping_or_a_text(tmp_path):
    assert record(tmp_path / "a", error={"code": 7, 8: "x"})["error"] == {"code": 7, "8": "x"}
    assert record(tmp_path / "b", error="it broke")["error"] == {"message": "it broke"}


def test_the_text_of_an_exception_that_cannot_be_had_is_told(tmp_path):
    assert record(tmp_path, error=BrokenError())["error"]["message"] == "<its text cannot be made: RuntimeError>"


async def test_log_error_says_the_message_of_the_error(tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        await trail.log_error(FapilogError("the disk is gone"))
        await trail.log_error(OddMessageError("plain"))
        second, first = await trail.get_events()
    assert (first.message, second.message) == ("Error occurred: the disk is gone", "Error occurred: plain")


# A FapilogError.


def fapilog_error(severity=ErrorSeverity.HIGH, **metadata):
    error = FapilogError("f", category=ErrorCategory.DATABASE, severity=severity, **metadata)
    error.context.user_id, error.context.request_id, error.context.session_id = "u-9", "r-9", "s-9"
    error.context.component_name = "store"
    return error


def test_a_fapilog_error_brings_who_and_where(tmp_path):
    found = record(tmp_path, error=fapilog_error(table="invoices"))
    who = {name: found[name] for name in ("user_id", "request_id", "session_id", "component")}
    assert who == {"user_id": "u-9", "request_id": "r-9", "session_id": "s-9", "component": "store"}
    assert found["error"]["category"] == "database"
    assert found["error"]["severity"] == "high"
    assert found["error"]["error_id"]
    assert found["error"]["metadata"] == {"table": "invoices"}


def test_what_the_caller_says_stands_before_what_the_error_says(tmp_path):
    assert record(tmp_path, error=fapilog_error(), user_id="u-1")["user_id"] == "u-1"


def test_a_plugin_stands_for_a_component_that_is_not_named(tmp_path):
    error = FapilogError("f")
    error.context.plugin_name = "http sink"
    assert record(tmp_path, error=error)["component"] == "http sink"


@pytest.mark.parametrize(
    ("severity", "level"),
    [("critical", "critical"), ("high", "error"), ("medium", "warning"), ("low", "info"), ("info", "info")],
)
async def test_the_severity_of_a_fapilog_error_is_the_level(severity, level, tmp_path):
    error = fapilog_error(ErrorSeverity(severity))
    assert error_level(error) == level
    async with AuditTrail(storage_path=tmp_path, on_alert=lambda event: None) as trail:
        await trail.log_error(error)
        await trail.log_error(error, log_level="debug")
        second, first = await trail.get_events()
    assert (first.log_level, second.log_level) == (level, "debug")


def test_the_level_of_other_errors_is_error():
    class Odd(Enum):
        VALUE = 1

    strange = ValueError()
    strange.context = type("Context", (), {"severity": Odd.VALUE})()
    for error in (ValueError(), BrokenError(), InContextError(), strange, "text", None):
        assert error_level(error) == "error"


def test_a_fapilog_error_is_told_without_its_task_and_times(tmp_path):
    told = json.dumps(record(tmp_path, error=fapilog_error())["error"])
    for name in ("task_name", "operation_start_time", "call_stack", "coroutine_name"):
        assert name not in told


def test_metadata_of_an_error_that_is_no_fapilog_error_is_not_taken():
    error = ValueError("v")
    error.context = type("Context", (), {"metadata": {"password": "p"}, "user_id": 7})()
    assert describe_error(error) == {"type": "ValueError", "message": "v"}


def test_a_type_and_a_plain_exception_are_recorded_side_by_side(tmp_path):
    assert record(tmp_path, TYPE, "m", error=ValueError("v"), user_id="u")["user_id"] == "u"
