"""Any event becomes the bytes that the sealed log would make of it, and is read back as it was said."""

from __future__ import annotations

import enum
import json

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fapilog_audit.encode import EventEncoder, encode_members
from fapilog_audit.event import AuditEvent
from fapilog_audit.policy import CompliancePolicy
from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.entry import GENESIS, prepare_seal
from fapilog_tamper.payload import DEFAULT_LIMIT, check_payload, encode_payload


class Word(enum.StrEnum):
    ONE = "one"
    EMPTY = ""


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Table(dict):
    pass


class Whole(int):
    pass


ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=12) | st.sampled_from(
    [
        "",
        "\ud800",
        "\udc00\ud800",
        "é",
        "\u2028",
        "\x00",
        "\x7f",
        '"\\',
        "\ufb33",
        "😀",
        ':""',
        "…[cut 9 bytes]",
        "$truncated",
    ]
)
NAMES = ANY_TEXT | st.sampled_from(["integrity", "sealed_log", "$value", "$type", "event_id", "metadata", Word.ONE])
FLAT = st.one_of(
    ANY_TEXT,
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**53, 2**53 - 1, -(2**53), 2**53 + 1, 2**63, -(2**63), 2**64, 0, -0.0, 1e16, 1e21, 5e-324]),
    st.floats(),
    st.sampled_from([Word.ONE, Word.EMPTY, Number.ONE, Text("text"), Text(""), Whole(7), b"bytes", {1, 2}, 1 + 2j]),
)
VALUES = st.recursive(
    FLAT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=2).map(Table)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)
METADATA = st.dictionaries(NAMES, VALUES, max_size=6)
NONE = (None,) * 5

encoder = EventEncoder(CompliancePolicy())


def members_of(message: object, values: list[object], tags: list[object], error: object) -> dict[str, object]:
    return encoder.members(
        "acme.test.happened", message, "info", *values[:3], error, *values[3:10], None, None, values[10], tags
    )


events = given(
    VALUES, st.lists(VALUES, min_size=11, max_size=11), st.lists(FLAT, max_size=4), st.none() | METADATA, METADATA
)


@settings(max_examples=400, deadline=None)
@events
def test_the_short_way_gives_the_bytes_of_the_long_way(message, values, tags, error, metadata):
    members = members_of(message, values, tags, error)
    expected = encode_payload({**members, "metadata": metadata} if metadata else members)
    assert encode_members(dict(members), metadata).payload == expected


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, FLAT, max_size=6))
@example({"a": True, "b": 1, "c": 0, "d": False})
@example({"a": 2**53, "b": -(2**53)})
@example({"a": -0.0})
@example({"é": 1, "z": 2})
@example({"\ufb33": 1, "😀": 2})
@example({Word.ONE: 1, "two": Word.ONE})
@example({"\ud800": "\ud800"})
@example({"n": Whole(7), "t": Text("t")})
def test_flat_metadata_has_the_canonical_text(metadata):
    members = members_of("m", [None] * 11, [], None)
    payload = encode_members(dict(members), metadata).payload
    assert payload == encode_payload({**members, "metadata": metadata} if metadata else members)
    check_payload(payload, limit=DEFAULT_LIMIT)
    assert payload == canonicalize(json.loads(payload, parse_int=float))


@settings(max_examples=200, deadline=None)
@events
def test_any_event_is_read_back(message, values, tags, error, metadata):
    members = members_of(message, values, tags, error)
    payload = encode_members(dict(members), metadata).payload
    seal = prepare_seal("audit", None)
    line, _ = seal(payload, 1, GENESIS)
    event = AuditEvent.from_line(line)
    assert (event.event_id, event.event_type) == (members["event_id"], "acme.test.happened")
    stored = orjson.loads(payload) if b"\\ud" not in payload else json.loads(payload)
    assert event.metadata == stored.get("metadata", {})
    assert event.error == stored.get("error")
    if isinstance(stored["message"], str):
        assert event.message == stored["message"]
    assert AuditEvent.from_payload(payload).model_dump() == event.model_dump()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40_000),
    st.sampled_from([0, True, "text", ["a"], {"b": 1}, 1.5]),
    st.sampled_from(["metadata", "keys", "error", "tags", "message"]),
    st.text(max_size=400),
)
def test_a_payload_is_never_too_large_and_never_without_id_time_and_user(count, value, place, user):
    error = {f"k{n}": value for n in range(count)} if place == "error" else None
    tags = [value] * count if place == "tags" else []
    message = "m" * count * 9 if place == "message" else "m"
    metadata = {"a": [value] * count} if place == "metadata" else {"k": 1}
    if place == "keys":
        metadata = {f"k{n}": value for n in range(count)}
    members = members_of(message, [None, None, None, None, user, *[None] * 6], tags, error)
    payload = encode_members(dict(members), metadata).payload
    assert len(payload) <= DEFAULT_LIMIT
    check_payload(payload, limit=DEFAULT_LIMIT)
    assert payload == canonicalize(json.loads(payload, parse_int=float))
    stored = json.loads(payload)
    for name in ("event_id", "timestamp", "event_type", "log_level", "compliance_level"):
        assert stored[name] == members[name]
    assert stored.get("user_id", "") == user
    whole = encode_payload({**members, "metadata": metadata}, limit=2**20)
    if len(whole) <= DEFAULT_LIMIT:
        assert payload == whole
