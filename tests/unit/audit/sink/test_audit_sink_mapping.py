"""What an entry of fapilog says, in the words of a trail."""

from __future__ import annotations

import copy
import inspect
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapilog_audit import AuditEventType, AuditLogLevel, AuditTrail
from fapilog_audit.sink.mapping import MappedEntry, map_entry

ENTRY: dict[str, Any] = {
    "timestamp": "2026-11-20T12:00:00.000Z",
    "level": "INFO",
    "message": "m",
    "logger": "shop.orders",
    "context": {"message_id": "m-1", "correlation_id": None},
    "diagnostics": {"origin": "native", "host": "h", "pid": 1},
    "data": {},
}
OWN = {"logged_at": "2026-11-20T12:00:00.000Z", "message_id": "m-1"}
FIELDS = (
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "tenant_id",
    "client_ip",
    "user_agent",
    "component",
    "operation",
    "outcome",
    "data_classification",
)


def mapped(data: Any = None, context: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    groups = {"data": {} if data is None else data, "context": {**ENTRY["context"], **(context or {})}}
    return map_entry({**ENTRY, **groups, **entry}).arguments


@pytest.mark.parametrize(
    ("level", "event_type", "log_level"),
    [
        ("DEBUG", "data_access", "debug"),
        ("INFO", "data_access", "info"),
        ("WARNING", "compliance_check", "warning"),
        ("ERROR", "error_occurred", "error"),
        ("CRITICAL", "error_occurred", "critical"),
        ("FATAL", "error_occurred", "critical"),
        ("AUDIT", "fapilog.audit", "security"),
        ("SECURITY", "fapilog.security", "security"),
        ("security", "fapilog.security", "security"),
        ("NOTICE", "data_access", "info"),
        ("", "data_access", "info"),
        (None, "data_access", "info"),
    ],
)
def test_the_level_says_what_type_and_level_an_event_has(level, event_type, log_level):
    arguments = mapped(level=level)
    assert (arguments["event_type"], arguments["log_level"]) == (event_type, log_level)


@pytest.mark.parametrize(("level", "kept"), [("AUDIT", "AUDIT"), ("NOTICE", "NOTICE"), ("SECURITY", None)])
def test_a_level_that_the_event_does_not_show_is_kept(level, kept):
    assert mapped(level=level).get("level") == kept


def test_an_entry_becomes_an_event_with_its_time_and_its_id_as_metadata():
    assert mapped({"n": 1}) == {
        "event_type": AuditEventType.DATA_ACCESS,
        "log_level": AuditLogLevel.INFO,
        "message": "m",
        "component": "shop.orders",
        "n": 1,
        **OWN,
    }


@pytest.mark.parametrize("group", ["data", "context"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_comes_from_data_or_the_context(name, group):
    arguments = mapped(**{group: {name: "x"}})
    assert arguments[name] == "x"
    assert {key for key in arguments if key.endswith(f".{name}")} == set()


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "component"])
def test_data_wins_and_the_other_is_kept(name):
    arguments = mapped({name: "x"}, {name: "y"})
    assert (arguments[name], arguments[f"context.{name}"]) == ("x", "y")


def test_what_data_and_context_agree_on_is_said_once():
    assert "context.user_id" not in mapped({"user_id": "x"}, {"user_id": "x"})


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (UUID(int=1), str(UUID(int=1))), (ip_address("10.0.0.1"), "10.0.0.1"), (AuditLogLevel.INFO, "info")],
)
def test_values_that_mean_one_text_are_taken_as_text(value, text):
    assert mapped({"user_id": value})["user_id"] == text


@pytest.mark.parametrize("value", [{"id": 1}, ["a"], True, object()])
def test_a_field_that_is_no_text_is_metadata(value):
    arguments = mapped({"user_id": value}, {"user_id": "u"})
    assert (arguments["user_id"], arguments["data.user_id"]) == ("u", value)


class Array:
    """Compares as arrays do, where there is no one answer."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize(
    "name", [*FIELDS, "contains_pii", "regulatory_tags", "error", "audit_event_type", "trace_id", "n"]
)
def test_a_value_that_cannot_be_compared_is_metadata(name):
    array = Array()
    assert any(value is array for value in mapped({name: array}, tags=array).values())


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_field_is_none(nothing):
    arguments = mapped({"user_id": nothing}, {"tenant_id": nothing})
    assert not {"user_id", "data.user_id", "tenant_id", "context.tenant_id"} & arguments.keys()


def test_the_correlation_stands_in_for_the_request():
    assert mapped(context={"correlation_id": "c"})["request_id"] == "c"
    both = mapped(context={"correlation_id": "c", "request_id": "r"})
    assert (both["request_id"], both["correlation_id"]) == ("r", "c")


def test_trace_and_span_are_apart():
    entry = {**ENTRY, "context": {"trace_id": "t"}, "data": {"span_id": "s"}}
    assert map_entry(entry).trace == {"trace_id": "t", "span_id": "s"}
    assert not {"trace_id", "span_id"} & map_entry(entry).arguments.keys()


@pytest.mark.parametrize("logger", ["root", "", None])
def test_a_logger_without_a_name_is_no_component(logger):
    assert "component" not in mapped(logger=logger)


@pytest.mark.parametrize("group", ["data", "context"])
@pytest.mark.parametrize("value", ["data_export", "DATA_EXPORT", AuditEventType.DATA_EXPORT])
def test_the_application_names_the_type(value, group):
    arguments = mapped(**{group: {"audit_event_type": value}}, level="ERROR")
    assert (arguments["event_type"], arguments["log_level"]) == ("data_export", "error")
    assert "audit_event_type" not in arguments


def test_the_application_names_a_type_of_its_own():
    assert mapped({"audit_event_type": "acme.Payment.approved"})["event_type"] == "acme.Payment.approved"


@pytest.mark.parametrize("value", ["data_acces", "sealed_log.gap", 7, ["data_export"], "***"])
def test_a_type_that_is_none_is_kept_beside_that_of_the_level(value):
    arguments = mapped({"audit_event_type": value}, level="WARNING")
    assert (arguments["event_type"], arguments["audit_event_type"]) == ("compliance_check", value)


def test_the_application_names_the_level():
    arguments = mapped({"audit_log_level": "INFO"}, level="AUDIT")
    assert (arguments["event_type"], arguments["log_level"], arguments["level"]) == ("fapilog.audit", "info", "AUDIT")
    assert mapped({"audit_log_level": "loud"}, level="AUDIT")["audit_log_level"] == "loud"


@pytest.mark.parametrize("name", ["contains_pii", "contains_phi"])
def test_marks_of_personal_data_are_true_or_false(name):
    assert mapped({name: True})[name] is True
    assert mapped(context={name: False})[name] is False
    masked = mapped({name: "***"})
    assert name not in masked
    assert masked[f"data.{name}"] == "***"


@pytest.mark.parametrize(
    ("tags", "taken"), [("sox", ["sox"]), (["a", "b"], ["a", "b"]), (("a", 1), ["a", "1"]), ({"b", "a"}, ["a", "b"])]
)
def test_regulatory_tags_are_a_list_of_text(tags, taken):
    assert mapped({"regulatory_tags": tags})["regulatory_tags"] == taken


@pytest.mark.parametrize("tags", [{"a": 1}, 7, [["a"]]])
def test_tags_that_are_none_are_metadata(tags):
    arguments = mapped({"regulatory_tags": tags})
    assert "regulatory_tags" not in arguments
    assert arguments["data.regulatory_tags"] == tags


def test_an_exception_is_told_without_its_stack():
    exception = {
        "error.type": "ValueError",
        "error.message": "no",
        "error.stack": "Traceback",
        "error.frames": [{"file": "f"}],
        "error.cause": "KeyError",
    }
    arguments = mapped({"error": "mine"}, diagnostics={"exception": exception})
    assert arguments["error"] == {"type": "ValueError", "message": "no", "causes": [{"type": "KeyError"}]}
    assert arguments["data.error"] == "mine"
    assert "Traceback" not in repr(arguments)


@pytest.mark.parametrize("error", ["it failed", {"code": 7}, ValueError("no")])
def test_what_the_application_calls_an_error_is_one(error):
    assert mapped({"error": error})["error"] == error


@pytest.mark.parametrize("error", [True, 7, ["x"], {}])
def test_an_error_of_no_known_form_is_metadata(error):
    arguments = mapped({"error": error})
    assert "error" not in arguments
    assert arguments["data.error"] == error


def test_what_log_event_would_take_for_its_own_keeps_another_name():
    names = inspect.signature(AuditTrail.log_event).parameters.keys() - {"metadata"}
    arguments = mapped({name: ["x"] for name in names})
    assert {name for name in names if arguments.get(f"data.{name}", arguments.get(name)) == ["x"]} == names
    assert arguments["message"] == "m"
    assert "durability" not in arguments


def test_metadata_of_the_sink_is_not_replaced_by_the_application():
    arguments = mapped({"logged_at": "never", "data.logged_at": 1, "message_id": "mine"})
    assert {**arguments, **OWN} == arguments
    assert (arguments["data.logged_at"], arguments["data.message_id"]) == ("never", "mine")
    assert arguments["data.data.logged_at"] == 1


def test_what_stands_beside_the_groups_is_metadata_and_diagnostics_are_not():
    arguments = mapped(tags=["a"], trail_no=3, integrity={"mac": "x"}, metadata={"k": 1})
    assert (arguments["tags"], arguments["trail_no"], arguments["k"]) == (["a"], 3, 1)
    assert not {"host", "pid", "diagnostics", "integrity", "logger", "metadata"} & arguments.keys()


@pytest.mark.parametrize("group", ["data", "context"])
def test_a_group_that_is_none_is_metadata(group):
    assert map_entry({**ENTRY, group: "text"}).arguments[group] == "text"


@pytest.mark.parametrize("entry", [{}, {"level": "DEBUG", "message": "self_test", "metadata": {}}, {"message": None}])
def test_an_entry_may_lack_anything(entry):
    assert set(map_entry(entry).arguments) == {"event_type", "log_level", "message"}


def test_names_that_are_no_text_become_text():
    assert mapped({1: "a", None: "b"}) == {**mapped(), "1": "a", "None": "b"}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
names = st.sampled_from([*FIELDS, *ENTRY, "error", "audit_event_type", "self", "contains_pii", "exception"]) | st.text()


@given(st.dictionaries(names, anything | st.dictionaries(names, anything)))
def test_any_entry_can_be_recorded_and_none_is_changed(entry):
    before = copy.deepcopy(entry)
    result = map_entry(entry)
    assert isinstance(result, MappedEntry)
    assert entry == before
    inspect.signature(AuditTrail.log_event).bind(None, **result.arguments)
