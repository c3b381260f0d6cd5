"""What a caller says stands in the line, each in its place, whatever it is; nothing that is said loses an event."""

from __future__ import annotations

import dataclasses
import inspect
import os
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import pytest
from pydantic import BaseModel
from unit.audit.events.recording import TYPE, lines, members, record

from fapilog_audit import AuditEventType, AuditTrail, CompliancePolicy

TEXTS = (
    "component",
    "operation",
    "outcome",
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "tenant_id",
    "client_ip",
    "user_agent",
    "data_classification",
)
ALWAYS = {"event_id", "timestamp", "event_type", "log_level", "message", "compliance_level"}


class Colour(StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Model(BaseModel):
    name: str = "n"
    parts: list[int] = [1]


@dataclasses.dataclass
class Point:
    x: int = 1


class Hostile:
    """Whatever is asked of it raises."""

    def __bool__(self):
        raise RuntimeError("bool")

    def __eq__(self, other):
        raise RuntimeError("eq")

    def __hash__(self):
        raise RuntimeError("hash")

    def __len__(self):
        raise RuntimeError("len")

    def __iter__(self):
        raise RuntimeError("iter")

    def __str__(self):
        raise RuntimeError("str")

    __repr__ = __str__


def loop():
    value: dict[str, object] = {}
    value["again"] = [value]
    return value


def deep(levels=2000):
    value: object = "end"
    for _ in range(levels):
        value = [value]
    return value


ODD = {
    "decimal": Decimal("1.10"),
    "set": {1, "a", None},
    "bytes": b"\xff\x00",
    "nan": float("nan"),
    "infinity": float("-inf"),
    "minus zero": -0.0,
    "huge int": 10**400,
    "2**53": 2**53,
    "surrogate": "a\ud800b",
    "controls": "\x00\x1f\x7f\u2028",
    "non-ascii keys": {"é": 1, "\ufb33": 2, "😀": 3},
    "equal after str": {1: "a", "1": "b", None: "d", "None": "e", 1.5: "f", "1.5": "g"},
    "keys": {(1, 2): 3, b"k": 4, Colour.RED: 5},
    "self": loop(),
    "deep": deep(),
    "hostile": Hostile(),
    "hostile inside": [{"a": Hostile()}],
    "model": Model(),
    "dataclass": Point(),
    "enum": Colour.RED,
    "str subclass": Text("t"),
    "moment": datetime(2026, 11, 20, tzinfo=UTC),
    "function": loop,
    "type": Hostile,
    "generator": (n for n in range(3)),
    "exception": ValueError("v"),
    "large": "x" * 1_000_000,
    "many": {f"k{n}": n for n in range(10_000)},
    "rows": [{"id": n, "name": "name"} for n in range(4_000)],
}


# Places.


@pytest.mark.parametrize("name", TEXTS)
def test_a_field_stands_under_its_name(name, tmp_path):
    assert record(tmp_path, **{name: "value"})[name] == "value"


def test_all_fields_at_once_stand_where_they_belong(tmp_path):
    given = {name: f"the {name}" for name in TEXTS}
    given |= {"contains_pii": True, "contains_phi": False, "regulatory_tags": ["a", "b"], "error": {"code": 7}}
    found = record(tmp_path, TYPE, "it happened", log_level="warning", own=1, other=None, **given)
    assert found.pop("metadata") == {"own": 1, "other": None}
    assert found.keys() == ALWAYS | given.keys()
    assert {name: found[name] for name in given} == given
    assert (found["event_type"], found["message"], found["log_level"]) == (TYPE, "it happened", "warning")
    assert found["compliance_level"] == "basic"


def test_every_keyword_of_log_event_is_looked_at_here():
    keywords = set(inspect.signature(AuditTrail.log_event).parameters) - {"self", "event_type", "message", "metadata"}
    others = {"log_level", "error", "contains_pii", "contains_phi", "regulatory_tags", "durability"}
    assert keywords == {*TEXTS, *others}


def test_log_takes_what_log_event_takes():
    assert inspect.signature(AuditTrail.log) == inspect.signature(AuditTrail.log_event)


def test_an_event_that_says_nothing_has_what_every_event_has(tmp_path):
    assert record(tmp_path).keys() == ALWAYS


@pytest.mark.parametrize("empty", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_field_that_is_null_or_empty_is_left_out(name, empty, tmp_path):
    assert record(tmp_path, **{name: empty}).keys() == ALWAYS


@pytest.mark.parametrize(
    "fields",
    [
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"regulatory_tags": []},
        {"regulatory_tags": ()},
        {"contains_pii": None},
    ],
)
def test_what_is_empty_otherwise_is_left_out(fields, tmp_path):
    assert record(tmp_path, **fields).keys() == ALWAYS


def test_an_empty_message_stays(tmp_path):
    assert record(tmp_path, TYPE, "")["message"] == ""


def test_a_message_that_is_null_is_an_empty_one(tmp_path):
    assert record(tmp_path, TYPE, None)["message"] == ""


def test_a_user_may_be_number_0(tmp_path):
    assert record(tmp_path, user_id=0)["user_id"] == 0


def test_one_tag_as_text_is_one_tag(tmp_path):
    assert record(tmp_path, regulatory_tags="gdpr")["regulatory_tags"] == ["gdpr"]


def test_metadata_may_be_called_like_a_member_of_the_log(tmp_path):
    found = record(tmp_path, integrity=1, sealed_log=2, metadata=3, event_id=4, timestamp=5)
    assert found["metadata"] == {"integrity": 1, "sealed_log": 2, "metadata": 3, "event_id": 4, "timestamp": 5}
    assert found["event_id"] != 4


def test_the_caller_may_change_what_it_gave_afterwards(tmp_path):
    given = {"a": [1]}
    with AuditTrail(storage_path=tmp_path) as trail:
        trail.log(TYPE, "m", given=given)
        given["a"].append(2)
    assert record(tmp_path)["message"] == "it happened"
    assert b'"given":{"a":[1]}' in next(tmp_path.glob("*.jsonl")).read_bytes()


# Any value.


@pytest.mark.parametrize("place", ["metadata", "message", "user_id", "error", "component"])
@pytest.mark.parametrize("level", ["info", "security"])
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
async def test_any_value_is_stored_and_read_back(value, level, place, tmp_path):
    fields = {"message": "m", "log_level": level, "on": 1}
    if place == "error":
        fields["error"] = {"what": value, 1: "x"}
    else:
        fields[place] = value
    heard = []
    async with AuditTrail(storage_path=tmp_path, on_alert=heard.append) as trail:
        event_id = await trail.log_event(TYPE, **fields)
        found = await trail.get_events()
        assert [one.event_id for one in found] == [event_id]
        assert trail.verify_event(found[0])
        statistics = await trail.get_statistics()
    assert (statistics["stored"], statistics["failed"]) == (1, 0)
    assert [one.event_id for one in heard] == ([event_id] if level == "security" else [])


@pytest.mark.parametrize("name", TEXTS)
def test_no_field_fails_because_of_what_a_value_does(name, tmp_path):
    assert record(tmp_path, **{name: Hostile()})[name]["$type"].endswith("Hostile")


def test_a_hostile_value_takes_no_other_field_with_it(tmp_path):
    given = {name: f"the {name}" for name in TEXTS if name != "outcome"}
    found = record(tmp_path, outcome=Hostile(), **given)
    assert {name: found[name] for name in given} == given


async def test_log_change_keeps_values_that_cannot_be_compared(tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        await trail.log_change("r", {"a": Hostile(), "b": 1}, {"a": Hostile(), "b": 1})
        metadata = (await trail.get_events())[0].metadata
    assert metadata["before"].keys() == metadata["after"].keys() == {"a"}


# Too large for a line.

BULK = {
    "metadata keys": {f"key-{n}": "y" * 50 for n in range(100_000)},
    "rows": {"rows": [{"id": n, "name": f"name {n}"} for n in range(20_000)]},
    "error": {"error": {f"k{n}": n for n in range(100_000)}},
    "tags": {"regulatory_tags": [f"tag-{n}" for n in range(100_000)]},
    "texts": {"message": "x" * 10_000_000, "user_agent": "y" * 10_000_000},
    "all": {
        "message": "x" * 100_000,
        "error": {f"k{n}": "v" * 20 for n in range(10_000)},
        "regulatory_tags": [f"tag-{n}" for n in range(10_000)],
        "rows": [{"id": n} for n in range(20_000)],
    },
}


@pytest.mark.parametrize("bulk", BULK.values(), ids=BULK)
def test_an_event_that_is_too_large_keeps_its_id_time_type_and_who(bulk, tmp_path):
    who = {"user_id": "user-" + "u" * 300, "client_ip": "192.0.2.1", "session_id": "s" * 64, "request_id": "r" * 200}
    found = record(tmp_path, **{"event_type": "acme.long." + "t" * 60, "message": "short", **who, **bulk})
    assert {name: found[name] for name in who} == who
    assert found["event_type"] == "acme.long." + "t" * 60
    assert len(found["event_id"]) == 36
    assert len(found["timestamp"]) == 27


def test_what_was_cut_can_be_seen(tmp_path):
    found = record(tmp_path, rows=[0] * 100_000, note="kept", error={str(n): n for n in range(100_000)})
    assert found["metadata"]["note"] == "kept"
    assert found["metadata"]["rows"] == "$truncated"
    assert found["error"]["$truncated"] > 0


def test_a_text_that_speaks_of_cuts_is_cut_no_more_than_others(tmp_path):
    text = "…[cut 7 bytes] $truncated " * 1500
    assert record(tmp_path, note=text)["metadata"]["note"] == text


# Change control.


@pytest.mark.parametrize(
    ("kind", "fields", "tags"),
    [
        ("config_changed", {"user_id": "u", "reason": "ticket 7"}, None),
        ("config_changed", {"actor": "job", "reason": "ticket 7"}, None),
        ("config_changed", {"user_id": 0, "reason": "ticket 7"}, None),
        ("config_changed", {"user_id": "u"}, ["sox_change_control:unexplained"]),
        ("config_changed", {"user_id": "u", "reason": ""}, ["sox_change_control:unexplained"]),
        ("data_deletion", {"reason": "r"}, ["sox_change_control:anonymous"]),
        ("data_deletion", {"reason": "r", "user_id": ""}, ["sox_change_control:anonymous"]),
        (
            "plugin_loaded",
            {"regulatory_tags": ["own"]},
            ["own", "sox_change_control:unexplained", "sox_change_control:anonymous"],
        ),
        ("config_changed", {"user_id": Hostile(), "reason": Hostile()}, None),
        ("data_access", {}, None),
        ("acme.config.changed", {}, None),
    ],
)
def test_change_control_tags_changes_without_reason_or_person(kind, fields, tags, tmp_path):
    policy = CompliancePolicy(sox_change_control=True)
    assert record(tmp_path, kind, "m", policy=policy, **fields).get("regulatory_tags") == tags


@pytest.mark.parametrize(
    "kind", ["config_changed", "data_modification", "data_deletion", "plugin_loaded", "plugin_unloaded"]
)
def test_without_change_control_nothing_is_tagged(kind, tmp_path):
    assert "regulatory_tags" not in record(tmp_path, kind, "m")
    policy = CompliancePolicy(sox_change_control=True)
    assert len(record(tmp_path / "sox", kind, "m", policy=policy)["regulatory_tags"]) == 2


# The words of an application.


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("read", AuditEventType.DATA_ACCESS),
        ("write", AuditEventType.DATA_MODIFICATION),
        ("UPDATE", AuditEventType.DATA_MODIFICATION),
        ("delete", AuditEventType.DATA_DELETION),
        ("Export", AuditEventType.DATA_EXPORT),
        ("peek", AuditEventType.DATA_ACCESS),
    ],
)
async def test_an_access_has_the_type_of_its_verb_and_keeps_the_verb(verb, kind, tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        await trail.log_data_access("invoice 17", verb, user_id="u-1", contains_pii=True, page=2)
        event = (await trail.get_events())[0]
    assert (event.event_type, event.operation, event.user_id, event.contains_pii) == (kind, verb, "u-1", True)
    assert event.metadata == {"resource": "invoice 17", "page": 2}


async def test_a_security_event_has_its_level(tmp_path):
    async with AuditTrail(storage_path=tmp_path, on_alert=lambda event: None) as trail:
        await trail.log_security_event("authentication_failed", "m", user_id="u", client_ip="::1", user_agent="c", n=1)
        event = (await trail.get_events())[0]
    assert (event.log_level, event.user_id, event.client_ip, event.user_agent) == ("security", "u", "::1", "c")
    assert event.metadata == {"n": 1}


async def test_a_change_keeps_what_differs(tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        before, after = {"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 4, "new": None}
        await trail.log_change("limit", before, after, reason="asked for")
        await trail.log_change("limit", 1, 2)
        second, first = await trail.get_events()
    assert (first.event_type, first.operation) == ("data_modification", "update")
    changed = {"before": {"b": 2, "gone": 3}, "after": {"b": 4, "new": None}}
    assert first.metadata == {"resource": "limit", "reason": "asked for", **changed}
    assert second.metadata == {"resource": "limit", "before": 1, "after": 2}


# What stands in no event.


def test_host_and_process_stand_in_the_startup_event_alone(tmp_path):
    with AuditTrail(CompliancePolicy(lifecycle_events=True), storage_path=tmp_path) as trail:
        trail.log(TYPE, "m")
    startup, event, shutdown = map(members, lines(tmp_path))
    assert [one["event_type"] for one in (startup, event, shutdown)] == ["system_startup", TYPE, "system_shutdown"]
    assert startup["metadata"].keys() == {"host", "pid", "python", "program", "versions"}
    assert startup["metadata"]["pid"] == os.getpid()
    assert event.keys() == ALWAYS
