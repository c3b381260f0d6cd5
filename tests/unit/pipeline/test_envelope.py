"""fapilog's envelope, made by pure functions: nothing of an event is left out, and what fapilog stores is known."""

from __future__ import annotations

import json
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest
from fapilog.core.serialization import serialize_envelope

from fapilog_tamper.envelope import SCHEMA_VERSION, block_place, envelope, stored_envelope

EVENT: dict[str, Any] = {
    "timestamp": "2026-11-20T12:00:00.000Z",
    "level": "INFO",
    "message": "m",
    "logger": "root",
    "context": {"message_id": "1"},
    "diagnostics": {"host": "h"},
    "data": {"n": 1},
}
BLOCK = {"v": 1, "stream": "events.r1", "seq": 1}


def by_fapilog(event: dict[str, Any]) -> Any:
    return json.loads(serialize_envelope(event).data)


PLAIN = [
    EVENT,
    {name: EVENT[name] for name in ("timestamp", "level", "message")},
    {**EVENT, "tags": ["a", "b"]},
    {**EVENT, "timestamp": 0},
    {**EVENT, "timestamp": 1_795_176_000.1239},
    {**EVENT, "timestamp": -1.5},
    {**EVENT, "level": 20, "message": 5},
    {**EVENT, "message": None},
    {**EVENT, "message": ""},
]


@pytest.mark.parametrize("event", PLAIN)
def test_an_event_of_known_members_has_the_envelope_that_fapilog_gives_it(event):
    assert envelope(event) == stored_envelope(event) == by_fapilog(event)


def test_unknown_members_stay_in_the_envelope_and_are_known_not_to_be_stored_by_fapilog():
    event = {**EVENT, "tenant": {"id": 7}, "": 1}
    assert envelope(event) == {"log": event, "schema_version": SCHEMA_VERSION}
    assert stored_envelope(event) == by_fapilog(event) == envelope(EVENT)


@pytest.mark.parametrize("missing", ["timestamp", "level", "message"])
def test_what_is_no_log_event_stays_as_it_is(missing):
    event = {name: value for name, value in EVENT.items() if name != missing}
    assert envelope(event) is event


def test_it_takes_any_mapping():
    assert envelope(MappingProxyType(EVENT)) == envelope(EVENT)
    assert stored_envelope(MappingProxyType(EVENT)) == envelope(EVENT)


def test_the_event_is_not_changed():
    event = {**EVENT, "diagnostics": {"integrity": BLOCK}, "integrity": BLOCK}
    kept = json.dumps(event)
    envelope(event)
    stored_envelope(event)
    assert json.dumps(event) == kept


def test_the_copy_of_a_block_beside_the_one_in_diagnostics_is_left_out():
    event = {**EVENT, "diagnostics": {"host": "h", "integrity": BLOCK}, "integrity": dict(BLOCK)}
    assert envelope(event)["log"] == {name: value for name, value in event.items() if name != "integrity"}


@pytest.mark.parametrize(
    "event",
    [
        {**EVENT, "integrity": BLOCK},
        {**EVENT, "diagnostics": {"integrity": {**BLOCK, "seq": 2}}, "integrity": BLOCK},
        {**EVENT, "diagnostics": "none", "integrity": BLOCK},
    ],
)
def test_a_block_that_is_no_copy_stays(event):
    assert envelope(event)["log"]["integrity"] == BLOCK


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (1.5, "1970-01-01T00:00:01.500Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        ("any text", "any text"),
        (True, True),
        (1e300, 1e300),
        (10**400, 10**400),
        (float("nan"), None),
        (None, None),
    ],
    ids=["float", "zero", "text", "bool", "huge", "longer", "nan", "none"],
)
def test_a_time_in_seconds_is_written_as_fapilog_writes_it_and_another_stays(stamp, text):
    found = envelope({**EVENT, "timestamp": stamp})["log"]["timestamp"]
    assert found is stamp if text is None else found == text


@pytest.mark.parametrize(
    ("diagnostics", "place"), [({"a": 1}, {"a": 1}), ({}, {}), (None, {}), ("text", {}), ([1], {})]
)
def test_the_place_of_a_block_is_a_group_or_empty(diagnostics, place):
    assert block_place({"diagnostics": diagnostics}) == place
    assert block_place({}) == {}


def test_it_is_known_without_fapilog():
    code = "import sys, fapilog_tamper.envelope; print('fapilog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
