"""Payloads: what an event becomes, what raw bytes must be, what the writer's own entries are."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import UserDict
from typing import Any

import pytest

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.errors import ConfigError, PayloadError
from fapilog_tamper.payload import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MIN_LIMIT,
    check_payload,
    control_payload,
    encode_payload,
)


def read(event: object, limit: int = DEFAULT_LIMIT) -> dict[str, Any]:
    payload = encode_payload(event, limit=limit)
    check_payload(payload, limit=limit)
    assert canonicalize(json.loads(payload)) == payload
    members = json.loads(payload)
    assert isinstance(members, dict)
    return members


@dataclasses.dataclass
class Login:
    actor: str
    integrity: int = 1


class Whole(enum.Enum):
    EVENT = {"integrity": 1, "integrity_": 2}  # noqa: RUF012 - the mutable value is the case


@pytest.mark.parametrize("event", [{}, {"b": 1, "a": "é"}, {"a": {"integrity": 1, "sealed_log": 2}}, {"a": b"x"}])
def test_an_event_is_its_canonical_text(event: dict[str, object]) -> None:
    assert encode_payload(event) == canonicalize(event)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"integrity": 1, "b": 2}, {"integrity_": 1, "b": 2}),
        ({"sealed_log": {"kind": "seal"}}, {"sealed_log_": {"kind": "seal"}}),
        ({"integrity": 1, "integrity_": 2}, {"integrity_": 1, "integrity_#2": 2}),
        (
            {"integrity_": 1, "integrity": 2, "integrity_#2": 3},
            {"integrity_": 1, "integrity_#2": 2, "integrity_#2#2": 3},
        ),
        ({"integrity": b""}, {"integrity_": {"$base64": ""}}),
        (Login("ann"), {"actor": "ann", "integrity_": 1}),
        (UserDict(sealed_log=1), {"sealed_log_": 1}),
        (Whole.EVENT, {"integrity_": 1, "integrity_#2": 2}),
    ],
)
def test_names_that_belong_to_the_log_are_renamed(event: object, expected: dict[str, object]) -> None:
    assert read(event) == expected


@pytest.mark.parametrize(
    ("event", "value"), [("text", "text"), (5, 5), (None, None), ([1, 2], [1, 2]), ((1,), [1]), ({1}, [1]), (1.0, 1)]
)
def test_what_is_no_object_becomes_a_member(event: object, value: object) -> None:
    assert read(event) == {"$value": value}


def test_what_is_written_as_an_object_is_one() -> None:
    assert read(b"x") == {"$base64": "eA"}
    assert set(read(3j)) == {"$repr", "$type"}


def test_an_event_that_holds_itself_is_truncated() -> None:
    event: dict[str, object] = {"a": 1}
    event["self"] = event
    assert read(event) == {"a": 1, "self": "$truncated"}


@pytest.mark.parametrize("limit", [MIN_LIMIT, 300, 1000, DEFAULT_LIMIT, MAX_LIMIT])
def test_one_long_string_fills_the_limit(limit: int) -> None:
    payload = encode_payload({"a": "x" * 5_000_000, "b": "login"}, limit=limit)
    members = json.loads(payload)
    head, _, rest = members["a"].partition("…[cut ")
    assert members["b"] == "login"
    assert int(rest.removesuffix(" bytes]")) == 5_000_000 - len(head)
    assert limit - 2 <= len(payload) <= limit


def test_at_the_limit_nothing_is_cut_and_one_byte_later_it_is() -> None:
    event = {"a": "x" * (1000 - len('{"a":""}'))}
    assert encode_payload(event, limit=1000) == canonicalize(event)
    assert 998 <= len(encode_payload({"a": event["a"] + "x"}, limit=1000)) <= 1000
    assert "…[cut " in read({"a": event["a"] + "x"}, 1000)["a"]


def test_only_the_largest_strings_are_cut_and_to_one_size() -> None:
    members = read({"a": "x" * 900, "b": ["y" * 800, "z" * 150], "c": "w" * 100}, 1000)
    assert members["b"][1] == "z" * 150
    assert members["c"] == "w" * 100
    sizes = [len(text.encode()) for text in (members["a"], members["b"][0])]
    assert all(text.endswith(" bytes]") for text in (members["a"], members["b"][0]))
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("char", ["é", "€", "😀", "\x01", "\ud83d\ude00", "\ud800"])
def test_a_string_is_cut_between_characters_and_counted_in_bytes(char: str) -> None:
    whole = char * 1000
    written = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    for limit in range(300, 310):
        head, _, rest = read({"a": whole}, limit)["a"].partition("…[cut ")
        assert written.startswith(head)
        assert int(rest.removesuffix(" bytes]")) == len(written.encode()) - len(head.encode())


def test_a_string_cut_on_the_way_in_is_counted_whole() -> None:
    members = read({"a": ["é" * 200_000, "x" * 300_000, b"b" * 300_000], "b": "login"}, 1000)
    first, second = members["a"][:2]
    third = members["a"][2]["$base64"]
    for text, total in ((first, 400_000), (second, 300_000), (third, 400_000)):
        head, _, rest = text.partition("…[cut ")
        assert int(rest.removesuffix(" bytes]")) + len(head.encode()) == total
    assert members["b"] == "login"


def test_the_same_long_string_ten_thousand_times_is_not_copied() -> None:
    members = read({"a": ["x" * 10_000_000] * 6_000, "actor": "ann"})
    assert members == {"a": "$truncated", "actor": "ann"}


def test_a_large_member_does_not_take_the_place_of_those_behind_it() -> None:
    assert read({"a": [1] * 300_000, "actor": "ann", "what": ["read"]}) == {
        "a": "$truncated",
        "actor": "ann",
        "what": ["read"],
    }


def test_after_many_large_members_single_values_are_still_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapilog_tamper.payload.MAX_NODES", 3000)
    event: dict[str, object] = {f"m{number:02}": [1] * 2000 for number in range(10)}
    members = read(event | {"z": "login", "k": (b"x",)}, 1000)
    assert members["z"] == "login"
    assert members["m00"] == "$truncated"


def test_one_member_cannot_use_up_what_all_together_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapilog_tamper.payload.MAX_NODES", 3000)
    assert read({"large": [1] * 5000, "list": [1, 2]}, 1000) == {"large": "$truncated", "list": [1, 2]}


def test_where_strings_do_not_suffice_the_largest_members_give_way() -> None:
    event = {"small": [1] * 20, "large": [1] * 300, "larger": [2] * 400, "who": "ann"}
    assert read(event, 1000) == event | {"larger": "$truncated"}
    assert read(event, 256) == event | {"larger": "$truncated", "large": "$truncated"}


def test_of_too_many_members_the_first_stay() -> None:
    members = read({f"k{number:03}": number for number in range(100)}, 256)
    dropped = members.pop("$truncated")
    assert list(members) == [f"k{number:03}" for number in range(len(members))]
    assert dropped == 100 - len(members)
    assert dropped < 85


def test_a_name_that_cannot_fit_does_not_take_the_others_with_it() -> None:
    assert read({"a" * 300: 1, "b": 2}, 256) == {"$truncated": 1, "b": 2}
    assert read({"a" * 3_000_000: 1, "b": 2, "$truncated": 3}, 256) == {"$truncated": 3, "$truncated#2": 1, "b": 2}


def test_members_that_were_not_even_read_are_counted() -> None:
    members = read({f"k{number:06}": number for number in range(50_000)}, 256)
    assert members["$truncated"] == 50_000 - (len(members) - 1)


class Odd(UserDict[str, object]):
    def __init__(self, pairs: Any, length: Any) -> None:
        self.pairs = pairs
        self.length = length

    def items(self) -> Any:
        return self.pairs

    def __len__(self) -> int:
        return self.length()  # type: ignore[no-any-return]


def test_a_mapping_that_breaks_keeps_its_members_and_says_so() -> None:
    assert read(Odd([("a", 1), 5], lambda: 7)) == {"a": 1, "$truncated": 6}
    assert read(Odd([("a", 1), 5], lambda: 0)) == {"a": 1, "$truncated": 1}
    assert read(Odd([("a", 1), 5], lambda: "x")) == {"a": 1, "$truncated": True}
    members = read(Odd(((str(n), n) for n in iter(int, 1)), lambda: 1 / 0), 256)
    assert members["$truncated"] is True


def test_an_unreadable_field_costs_only_itself() -> None:
    event = Login("ann")
    del event.actor
    assert read(event) == {"actor": "$truncated", "integrity_": 1}


@pytest.mark.parametrize("limit", [MIN_LIMIT - 1, 0, -1, MAX_LIMIT + 1, 300.5, True, None, "300"])
def test_a_limit_out_of_bounds_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigError, match="payload limit"):
        encode_payload({}, limit=limit)
    with pytest.raises(ConfigError, match="payload limit"):
        check_payload(b"{}", limit=limit)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"{}", b'{"b":1, "a": [ ] }', '{"é":"\u2028"}'.encode(), b'{"a":{"integrity":1,"sealed_log":2}}'),
        *(b'{"n":1e999,"m":-0,"i":' + b"9" * 5000 + b"}", b'{"a":"\\n"}', b'{"Integrity":1}', b'{ "a":1}'),
    ],
)
def test_raw_payloads_that_are_taken(raw: bytes) -> None:
    check_payload(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "begin with"),
        (b"[1]", "begin with"),
        (b' {"a":1}', "begin with"),
        (b'{"a":1} ', "begin with"),
        (b'\xef\xbb\xbf{"a":1}', "begin with"),
        (b'{"a":1}{"b":2}', "not JSON"),
        (b'{"a":1', "begin with"),
        (b'{"a"}', "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":"\xff"}', "not JSON in UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not JSON in UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not JSON in UTF-8"),
        (b'{"a":"\x01"}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":\n1}', "line break"),
        (b'{"a":\r1}', "line break"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":[Infinity]}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1,"a":1}', "duplicate"),
        (b'{"a":1,"\\u0061":1}', "duplicate"),
        (b'{"x":[{"a":1,"b":{"c":1,"c":2}}]}', "duplicate"),
        (b"{ }", "exactly {}"),
        (b"{\t}", "exactly {}"),
        (b'{"integrity":null}', "'integrity'"),
        (b'{"sealed_log":1}', "'sealed_log'"),
        (b'{"integ\\u0072ity":1}', "'integrity'"),
        (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested"),
        (b'{"a":"' + b"x" * DEFAULT_LIMIT + b'"}', "65543 bytes"),
    ],
)
def test_raw_payloads_that_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(PayloadError, match=message.replace("{", r"\{").replace("}", r"\}")) as caught:
        check_payload(raw)
    assert caught.value.hint


@pytest.mark.parametrize("raw", ["{}", bytearray(b"{}"), memoryview(b"{}"), None])
def test_a_raw_payload_is_bytes(raw: Any) -> None:
    with pytest.raises(PayloadError, match="not bytes"):
        check_payload(raw)


def test_the_limit_of_a_raw_payload_is_exact() -> None:
    raw = b'{"a":"' + b"x" * 292 + b'"}'
    check_payload(raw, limit=300)
    with pytest.raises(PayloadError, match="301 bytes, the limit is 300"):
        check_payload(raw[:-2] + b'x"}', limit=300)


def test_a_control_payload_is_canonical() -> None:
    assert control_payload("gap", reason="full", count=3) == b'{"sealed_log":{"count":3,"kind":"gap","reason":"full"}}'
