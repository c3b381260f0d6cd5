"""Laws of canonical text: what rfc8785 says where it says anything, and some valid JSON for everything else."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fapilog_tamper.canonical import MAX_TEXT, canonicalize
from fapilog_tamper.coerce import Walk
from fapilog_tamper.payload import MAX_LIMIT, MIN_LIMIT, check_payload, encode_payload
from fapilog_tamper.plain import fast_text, plain_text
from fapilog_tamper.texts import Texts, well_formed

laws = settings(deadline=None, max_examples=200)

SAFE = 2**53 - 1
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [
        0.0,
        -0.0,
        1e-7,
        1e-6,
        9.999e-4,
        1e-3,
        1e15,
        1e15 + 0.5,
        1e16,
        1e20,
        1e21,
        1e22,
        5e-324,
        1.7976931348623157e308,
        0.1,
        1 / 3,
    ]
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", "a", "\u20ac", "\r", "\ufb33", "\ud7ff", "\ue000", "\uffff", "😀", "𐀀", "ö", "\x80", "\x7f"]
)
leaves = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | floats | names


def nested(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5), max_leaves=15
    )


plain = nested(leaves)


class Word(str):
    __slots__ = ()


class Count(int):
    pass


class Share(float):
    pass


class Colour(str, enum.Enum):  # noqa: UP042 - the form that most programs have
    RED = "red"


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - the untyped form is the one under test


def slow_text(value: object) -> bytes:
    return plain_text(Walk(Texts(MAX_TEXT)).tree(value))


@laws
@given(plain)
def test_is_what_rfc8785_writes(value: Any) -> None:
    assert canonicalize(value) == rfc8785.dumps(value)


@laws
@given(plain)
def test_the_slow_way_writes_the_same(value: Any) -> None:
    assert slow_text(value) == rfc8785.dumps(value)


@laws
@given(
    st.recursive(
        leaves | names.map(Word) | st.integers(-SAFE, SAFE).map(Count) | floats.map(Share) | st.just(Colour.RED),
        lambda inner: (
            st.lists(inner, max_size=4).map(tuple)
            | st.tuples(inner, inner).map(lambda pair: Pair(*pair))
            | st.dictionaries(names.map(Word) | names, inner, max_size=4).map(OrderedDict)
        ),
        max_leaves=10,
    )
)
def test_is_what_rfc8785_writes_for_subclasses(value: Any) -> None:
    assert canonicalize(value) == rfc8785.dumps(value)


@settings(laws, max_examples=1000)
@given(st.floats(min_value=1e-3, max_value=1e15, exclude_max=True), st.sampled_from([1, -1]))
def test_orjson_writes_the_floats_of_the_fast_way_as_ecmascript_does(value: float, sign: int) -> None:
    assume(not value.is_integer())
    text = fast_text([sign * value], 10)
    assert text is not None
    assert text == rfc8785.dumps([sign * value])


@laws
@given(floats)
def test_the_fast_way_leaves_every_other_float_alone(value: float) -> None:
    inside = 1e-3 <= abs(value) < 1e15 and not value.is_integer()
    assert (fast_text([value], 10) is not None) == inside


def as_javascript_reads(digits: str) -> float:
    return int(digits) if abs(int(digits)) <= SAFE else float(digits)


@laws
@given(plain)
def test_text_read_back_gives_the_same_text(value: Any) -> None:
    text = canonicalize(value)
    assert canonicalize(json.loads(text, parse_int=as_javascript_reads)) == text


RAISED: list[BaseException] = [
    *(ValueError("x"), SystemExit(3), RecursionError("deep"), GeneratorExit(), StopIteration(), MemoryError()),
    *(BaseException("base"), KeyError("k"), AttributeError("a")),
]
METHODS = [
    *("__repr__", "__str__", "__len__", "__iter__", "__hash__", "__eq__", "__getitem__", "__bool__", "__format__"),
    *("items", "keys", "model_dump", "isoformat", "utcoffset", "__float__", "__index__", "__int__", "__bytes__"),
    *("__getattribute__", "__class__", "__fspath__", "__reduce__", "value", "__contains__"),
]
BASES: list[tuple[type, tuple[object, ...]]] = [
    *((object, ()), (str, ("text",)), (int, (7,)), (float, (0.5,)), (dict, ({"a": 1},)), (list, ([1, 2],))),
    *((tuple, ((1, 2),)), (set, ({1, 2},)), (frozenset, ((1,),)), (bytes, (b"raw",)), (bytearray, (b"raw",))),
    *((dt.datetime, (2025, 1, 2)), (dt.date, (2025, 1, 2)), (dt.timedelta, (1,)), (Mapping, ()), (dt.tzinfo, ())),
]


@st.composite
def hostile(draw: st.DrawFn) -> object:
    """An object whose methods raise or lie."""
    error = draw(st.sampled_from(RAISED))
    lie = draw(st.sampled_from([None, 5, "lie", "\ud800", b"lie", [1], {"k": 1}, [(1, 2, 3)], [("k", "v")]]))
    raising = draw(st.booleans())

    def method(*args: object, **kwargs: object) -> object:
        if raising:
            raise error
        return lie

    base, args = draw(st.sampled_from(BASES))
    bad = draw(st.sets(st.sampled_from(METHODS), min_size=1))
    body: dict[str, object] = {name: property(method) if name in {"__class__", "value"} else method for name in bad}
    if draw(st.booleans()):
        body["model_fields"] = {"a": 1}
    if draw(st.booleans()):
        body["__dataclass_fields__"] = draw(st.sampled_from([5, {"a": 1}, {}]))
    if base is Mapping:
        body = {"__getitem__": method, "__iter__": method, "__len__": method} | body
    return type("Hostile", (base,), body)(*args)


odd = (
    leaves
    | hostile()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=20)
    | st.binary(max_size=20).map(memoryview)
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.just(object())
    | st.sampled_from([Colour.RED, int, len, ..., NotImplemented, 3j, range(3)])
)
keys = st.text(st.characters(), max_size=3) | st.integers(-3, 3) | st.none() | st.booleans() | st.floats() | st.binary()
anything = st.recursive(
    odd,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys | st.tuples(keys, keys), inner, max_size=5)
        | st.frozensets(keys, max_size=5)
    ),
    max_leaves=15,
)


class Hidden:
    """Keeps a hostile value from hypothesis, which would ask it for its repr."""

    def __init__(self, value: object) -> None:
        self.value = value


def refuse(name: str) -> None:
    pytest.fail(f"{name} is not JSON")


@settings(laws, max_examples=500)
@given(anything.map(Hidden))
def test_any_object_becomes_canonical_json(hidden: Hidden) -> None:
    text = canonicalize(hidden.value)
    read = json.loads(text, parse_constant=refuse, parse_int=as_javascript_reads)
    assert rfc8785.dumps(read) == text
    assert canonicalize(read) == text


@laws
@given(anything.map(Hidden), st.sampled_from([MIN_LIMIT, 300, 1000, MAX_LIMIT]))
def test_any_event_becomes_a_payload_within_its_limit(hidden: Hidden, limit: int) -> None:
    payload = encode_payload(hidden.value, limit=limit)
    check_payload(payload, limit=limit)
    assert encode_payload(hidden.value, limit=limit) == payload


def cut_by_the_book(text: str, cap: int) -> str:
    """The rule for one string, in the slowest words: the longest head that leaves room for its marker."""
    size = len(text.encode())
    longest = f"…[cut {size} bytes]"
    if size <= max(cap, len(longest.encode())):
        return text
    for end in range(len(text), -1, -1):
        head = len(text[:end].encode())
        if head <= max(0, cap - len(longest.encode())):
            return f"{text[:end]}…[cut {size - head} bytes]"
    raise AssertionError


long_texts = st.builds(
    lambda char, size: char * size, st.sampled_from(["a", "é", "€", "😀", "\n", "\x01"]), st.integers(0, 80)
)


@laws
@given(st.dictionaries(names, long_texts, min_size=1, max_size=6), st.sampled_from([256, 300]))
def test_the_largest_strings_are_cut_to_the_largest_common_size_that_fits(event: dict[str, str], limit: int) -> None:
    for cap in range(340, -1, -1):
        expected = rfc8785.dumps({name: cut_by_the_book(text, cap) for name, text in event.items()})
        if len(expected) <= limit:
            assert encode_payload(event, limit=limit) == expected
            break
    else:
        assert b"$truncated" in encode_payload(event, limit=limit)


@laws
@given(st.text(st.characters()))
def test_well_formed_text_is_utf8_and_keeps_what_was_well_formed(text: str) -> None:
    cleaned = well_formed(text)
    cleaned.encode()
    assert well_formed(cleaned) == cleaned
    try:
        text.encode()
    except UnicodeEncodeError:
        assert cleaned != text
    else:
        assert cleaned == text


@laws
@given(st.floats())
def test_every_float_has_a_text(value: float) -> None:
    text = canonicalize(value)
    assert math.isfinite(value) == (not text.startswith(b'"'))
