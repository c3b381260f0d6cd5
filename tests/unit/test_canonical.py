"""Each row of the table of coercions, and what a hostile value cannot do."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import sys
import types
import uuid
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pydantic
import pytest

from fapilog_tamper import canonical, coerce, plain
from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.coerce import LAST_RESORT, Walk
from fapilog_tamper.members import Names
from fapilog_tamper.plain import fast_text, plain_text
from fapilog_tamper.texts import CutText, Texts

HERE = __name__
NAIVE = dt.datetime(2025, 1, 2, 3, 4, 5)  # noqa: DTZ001 - one row of the table


def text(value: object) -> str:
    return canonicalize(value).decode()


class Word(str):
    """A str that cannot be used in any ordinary way."""

    __slots__ = ()

    def __str__(self) -> NoReturn:
        raise SystemExit

    __repr__ = __hash__ = __len__ = __eq__ = encode = isascii = __str__  # type: ignore[assignment]


class Count(int):
    def __index__(self) -> NoReturn:
        raise SystemExit

    __int__ = __str__ = __repr__ = __le__ = __ge__ = bit_length = __index__  # type: ignore[assignment]


class Share(float):
    def __float__(self) -> NoReturn:
        raise SystemExit

    __str__ = __repr__ = __le__ = is_integer = __abs__ = __float__  # type: ignore[assignment]


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Kind(str, enum.Enum):  # noqa: UP042 - the form that most programs have
    READ = "read"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (2**53 - 1, "9007199254740991"),
        (2**53, '"9007199254740992"'),
        (-(2**53), '"-9007199254740992"'),
        (Level.HIGH, "3"),
        (1.5, "1.5"),
        (-0.0, "0"),
        (1e16, "10000000000000000"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (float("nan"), '"NaN"'),
        (float("inf"), '"Infinity"'),
        (float("-inf"), '"-Infinity"'),
        (Decimal("1.10"), '"1.10"'),
        (Decimal("NaN"), '"NaN"'),
        ('é\n\x1f"\\/', '"é\\n\\u001f\\"\\\\/"'),
        (Colour.RED, '"red"'),
        (Colour.PAIR, "[1,2]"),
        (Kind.READ, '"read"'),
        ("a\ud800b", '"a\ufffdb"'),
        ("\udc00\ud83d", '"\ufffd\ufffd"'),
        ("\ud83d\ude00", '"😀"'),
        (NAIVE, '"2025-01-02T03:04:05"'),
        (dt.datetime(2025, 1, 2, 3, 4, 5, tzinfo=dt.UTC), '"2025-01-02T03:04:05.000000Z"'),
        (dt.datetime(2025, 7, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Paris")), '"2025-07-02T01:04:05.000006Z"'),
        (dt.datetime(2025, 10, 26, 2, 30, fold=0, tzinfo=ZoneInfo("Europe/Paris")), '"2025-10-26T00:30:00.000000Z"'),
        (dt.datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")), '"2025-10-26T01:30:00.000000Z"'),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))), '"0001-01-01T00:00:00+14:00"'),
        (dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-1))), '"9999-12-31T23:00:00-01:00"'),
        (dt.date(2025, 1, 2), '"2025-01-02"'),
        (dt.time(3, 4, 5, 6), '"03:04:05.000006"'),
        (dt.time(3, 4, tzinfo=dt.UTC), '"03:04:00+00:00"'),
        (dt.timedelta(0), '"PT0S"'),
        (dt.timedelta(days=1), '"P1D"'),
        (dt.timedelta(hours=2), '"PT2H"'),
        (dt.timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=500), '"P1DT2H3M4.500000S"'),
        (dt.timedelta(microseconds=-1), '"-PT0.000001S"'),
        (-dt.timedelta(days=1, seconds=4), '"-P1DT4S"'),
        (dt.timedelta.min, '"-P999999999D"'),
        (dt.timedelta.max, '"P999999999DT23H59M59.999999S"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (PurePosixPath("/a/b"), '"/a/b"'),
        (b"\xfb\xff", '{"$base64":"-_8"}'),
        (b"", '{"$base64":""}'),
        (bytearray(b"raw"), '{"$base64":"cmF3"}'),
        (memoryview(b"r.a.w")[::2], '{"$base64":"cmF3"}'),
        (memoryview(bytes(12)).cast("i", (3, 1)), '{"$base64":"AAAAAAAAAAAAAAAA"}'),
        ({3, 1, 2, 10}, "[1,10,2,3]"),
        ({None, (1,)}, "[[1],null]"),
        (frozenset({"b", "a", 1}), '["a","b",1]'),
        ((1, (2,)), "[1,[2]]"),
        (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
        (types.MappingProxyType({"b": 1, "a": 2}), '{"a":2,"b":1}'),
        (ChainMap({"b": 1}, {"a": 2}), '{"a":2,"b":1}'),
        (UserDict(a=1), '{"a":1}'),
    ],
)
def test_row(value: object, expected: str) -> None:
    assert text(value) == expected
    assert text([value]) == f"[{expected}]"


def test_subclasses_that_override_their_reading_are_not_asked() -> None:
    assert text([Word("w"), Count(7), Share(0.5)]) == '["w",7,0.5]'


@dataclasses.dataclass(frozen=True)
class Actor:
    name: str
    roles: tuple[str, ...] = ()


class Model(pydantic.BaseModel):
    when: dt.datetime
    secret: str = pydantic.Field(default="s", exclude=True)
    more: dict[str, Any] = {}


class Numbers(pydantic.RootModel[list[int]]):
    pass


def test_a_dataclass_is_an_object() -> None:
    assert text(Actor("ann", ("admin",))) == '{"name":"ann","roles":["admin"]}'
    assert "$repr" in text(Actor)


def test_a_dataclass_keeps_the_fields_that_can_be_read() -> None:
    actor = Actor("ann")
    object.__delattr__(actor, "name")
    assert text(actor) == '{"name":"$truncated","roles":[]}'


def test_a_class_that_only_looks_like_a_dataclass_is_described() -> None:
    class Field:
        _field_type = dataclasses.fields(Actor)[0]._field_type  # type: ignore[attr-defined]
        name = 5

    class Looks:
        __dataclass_fields__ = {"name": Field()}  # noqa: RUF012 - the form of the real one

    assert set(json.loads(canonicalize(Looks()))) == {"$repr", "$type"}


def test_a_pydantic_model_is_what_it_dumps() -> None:
    """Field exclusions are somebody's redaction, so they hold."""
    model = Model(when=dt.datetime(2025, 1, 1, tzinfo=dt.UTC), more={"raw": b"x"})
    assert text(model) == '{"more":{"raw":{"$base64":"eA"}},"when":"2025-01-01T00:00:00.000000Z"}'
    assert text(Numbers([1, 2])) == '{"root":[1,2]}'


def test_a_model_that_cannot_be_dumped_is_described() -> None:
    class Broken(Model):
        def model_dump(self, **_: Any) -> NoReturn:
            raise SystemExit

    assert '"$repr":"Broken(' in text(Broken(when=dt.datetime(2025, 1, 1, tzinfo=dt.UTC)))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *((1, "1"), (None, "null"), (True, "true"), (1.5, "1.5"), ((1, "a"), '[1,"a"]'), (b"x", '{"$base64":"eA"}')),
        *((Colour.RED, "red"), (dt.date(2025, 1, 2), "2025-01-02"), (2**60, str(2**60)), ("\ud800", "\ufffd")),
    ],
)
def test_a_key_becomes_text(key: object, name: str) -> None:
    assert json.loads(canonicalize({key: 0})) == {name: 0}


def test_keys_that_meet_are_numbered_and_overwrite_nothing() -> None:
    assert text({1: "a", "1": "b", "1#2": "c", 1.5: "d", "1.5": "e"}) == (
        '{"1":"a","1#2":"b","1#2#2":"c","1.5":"d","1.5#2":"e"}'
    )
    assert text({"1#2": "a", 1: "b", "1": "c"}) == '{"1":"b","1#2":"a","1#3":"c"}'


def test_many_keys_that_meet_take_time_in_proportion() -> None:
    class Counting(set[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return super().__contains__(name)

    names = Names()
    names._taken = taken = Counting()
    assert [names.free("same") for _ in range(1000)][-1] == "same#1000"
    assert taken.asked < 5000


def test_keys_stand_in_the_order_of_utf16() -> None:
    assert text({"\ue000": 1, "😀": 2, "\ud7ff": 3}) == '{"\ud7ff":3,"😀":2,"\ue000":1}'
    assert text({"ö": 1, "z": 2, "\ud7ff": 3}) == '{"z":2,"ö":1,"\ud7ff":3}'


def test_sixty_four_levels_are_kept() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert text(value) == "[" * 64 + "1" + "]" * 64
    assert text([value]) == "[" * 64 + '"$truncated"' + "]" * 64
    assert text({"b": b"x", "a": value}) == '{"a":' + "[" * 63 + '"$truncated"' + "]" * 63 + ',"b":{"$base64":"eA"}}'


@pytest.mark.parametrize("inner", [b"x", object(), None, {}, set(), (), Colour.PAIR])
def test_no_form_goes_below_sixty_four_levels(inner: object) -> None:
    if inner is None:
        inner = 1 << 2**19  # pytest cannot print it
    for _ in range(64):
        inner = (inner,)
    assert text(inner) == "[" * 64 + '"$truncated"' + "]" * 64


@pytest.mark.parametrize("inner", [1, "s", 2**60, Colour.RED, Kind.READ, dt.date(2025, 1, 1)])
def test_single_values_stand_on_the_deepest_level(inner: object) -> None:
    expected = text(inner)
    for _ in range(64):
        inner = (inner,)
    assert text(inner) == "[" * 64 + expected + "]" * 64


def test_a_cycle_is_truncated_and_a_shared_value_is_not() -> None:
    cycle: list[object] = [1]
    cycle.append({"again": cycle})
    assert text(cycle) == '[1,{"again":"$truncated"}]'
    shared = {b"k": 1}
    assert text([shared, shared]) == '[{"{\\"$base64\\":\\"aw\\"}":1},{"{\\"$base64\\":\\"aw\\"}":1}]'


def test_shared_branches_do_not_multiply() -> None:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value]
    assert fast_text(value, 1_000_000) is None
    assert plain_text(Walk(Texts(1000), nodes=1000).tree(value)).count(b'"$truncated"') < 100


def test_past_the_budget_the_rest_is_truncated() -> None:
    def within(value: object, nodes: int) -> str:
        return plain_text(Walk(Texts(1000), nodes=nodes).tree(value)).decode()

    assert within([1, 2, 3], 4) == "[1,2,3]"
    assert within([1, 2, 3], 3) == '[1,2,"$truncated"]'
    assert within({"a": 1, "b": 2}, 3) == '{"a":1,"b":2}'
    assert within({"a": 1, "b": 2}, 2) == '{"$truncated":true,"a":1}'
    assert within({"a": 1, "$truncated": 2, "b": 3}, 3) == '{"$truncated":2,"$truncated#2":true,"a":1}'
    assert within({(1, 2): 3}, 3) == '{"[1,\\"$truncated\\"]":"$truncated"}'
    assert within(1, 0) == '"$truncated"'


def test_a_million_values_are_taken() -> None:
    value = [0] * (coerce.MAX_NODES - 1)
    assert len(canonicalize(value)) == 2 * len(value) + 1
    assert canonicalize((*value, 0)).endswith(b',0,"$truncated"]')


def test_an_endless_mapping_ends() -> None:
    class Endless(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            yield from map(str, range(sys.maxsize))

    tree = Walk(Texts(1000), nodes=100).tree(Endless())
    assert isinstance(tree, dict)
    assert len(tree) == 100
    assert tree["$truncated"] is True


@pytest.mark.parametrize("bits", [63, 2000, 2001, 15_000, 2**18])
def test_a_large_int_is_its_decimal_digits(bits: int) -> None:
    old = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        expected = str(-(2 ** (bits - 1)))
    finally:
        sys.set_int_max_str_digits(old)
    assert text(-(2 ** (bits - 1))) == f'"{expected}"'


@pytest.mark.parametrize(
    ("base", "power", "sign"), [(2, 262144, 1), (2, 262144, -1), (3, 200_000, 1), (3, 200_000, -1)]
)
def test_an_int_beyond_all_bounds_is_described(base: int, power: int, sign: int) -> None:
    value = sign * base**power
    assert json.loads(canonicalize(value)) == {"$repr": hex(value)[:1000], "$type": "builtins.int"}


def test_many_large_ints_do_not_take_for_ever() -> None:
    tree = Walk(Texts(1000), nodes=50_000).tree([2**262143] * 100_000)
    assert isinstance(tree, list)
    assert tree[-1] == "$truncated"
    assert len(tree) < 6


def test_any_other_object_is_described() -> None:
    class Thing:
        def __repr__(self) -> str:
            return "\ud83d\ude00" * 5000

    assert json.loads(canonicalize(Thing())) == {
        "$repr": "😀" * 1000,
        "$type": f"{HERE}.test_any_other_object_is_described.<locals>.Thing",
    }
    assert json.loads(canonicalize(3j)) == {"$repr": "3j", "$type": "builtins.complex"}
    assert json.loads(canonicalize(int)) == {"$repr": "<class 'int'>", "$type": "builtins.type"}


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError, GeneratorExit, MemoryError, StopIteration])
def test_a_repr_that_raises_is_null(error: type[BaseException]) -> None:
    class Thing:
        def __repr__(self) -> str:
            raise error

    assert json.loads(canonicalize({"a": Thing()}))["a"]["$repr"] is None


def test_the_interrupt_of_the_user_passes() -> None:
    class Thing:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        canonicalize(Thing())


def test_a_repr_that_is_no_str_is_null() -> None:
    class Thing:
        def __repr__(self) -> str:
            return 5  # type: ignore[return-value]

    class Other:
        def __repr__(self) -> str:
            return Word("word")

    assert json.loads(canonicalize(Thing()))["$repr"] is None
    assert json.loads(canonicalize(Other()))["$repr"] == "word"


def test_a_class_that_lies_about_itself_is_not_believed() -> None:
    class Meta(type):
        @property
        def __module__(cls) -> NoReturn:
            raise SystemExit

        @property
        def __mro__(cls) -> NoReturn:
            raise SystemExit

        def __hash__(cls) -> NoReturn:
            raise SystemExit

        def __instancecheck__(cls, instance: object) -> NoReturn:
            raise SystemExit

    class Liar(metaclass=Meta):
        __class__ = dict  # type: ignore[assignment]

        def __repr__(self) -> str:
            return "liar"

    read = json.loads(canonicalize(Liar()))
    assert read["$repr"] == "liar"
    assert read["$type"] == f"{HERE}.{test_a_class_that_lies_about_itself_is_not_believed.__name__}.<locals>.Liar"


def test_a_module_name_that_is_no_str_is_a_question_mark() -> None:
    nameless = type("Nameless", (), {"__module__": 5})
    assert json.loads(canonicalize(nameless()))["$type"] == "?.Nameless"


def test_a_time_zone_that_raises_costs_only_the_form() -> None:
    class Zone(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> NoReturn:
            raise SystemExit

        def __repr__(self) -> str:
            return "zone"

    read = json.loads(canonicalize({"at": dt.datetime(2025, 1, 1, tzinfo=Zone()), "b": 1}))
    assert read["at"]["$repr"] == "datetime.datetime(2025, 1, 1, 0, 0, tzinfo=zone)"
    assert read["b"] == 1


def test_overrides_in_subclasses_of_containers_are_not_asked() -> None:
    def refuse(*_: object) -> NoReturn:
        raise SystemExit

    body = dict.fromkeys(("items", "keys", "__iter__", "__len__", "__getitem__", "__bytes__", "isoformat"), refuse)
    assert text(type("D", (dict,), body)(a=1)) == '{"a":1}'
    assert text(type("L", (list,), body)([1])) == "[1]"
    assert text(type("T", (tuple,), body)([1])) == "[1]"
    assert text(type("S", (set,), body)([1])) == "[1]"
    assert text(type("B", (bytes,), body)(b"x")) == '{"$base64":"eA"}'
    assert text(type("A", (bytearray,), body)(b"x")) == '{"$base64":"eA"}'
    assert text(type("M", (dt.datetime,), body)(2025, 1, 1)) == '"2025-01-01T00:00:00"'


@pytest.mark.parametrize("pairs", [[("a", 1), 5], [("a", 1), (1, 2, 3)], [("a", 1), iter(())]])
def test_a_mapping_that_breaks_keeps_what_was_read(pairs: list[Any]) -> None:
    class Broken(UserDict[str, int]):
        def items(self) -> Any:
            return iter(pairs)

    assert text(Broken()) == '{"$truncated":true,"a":1}'


def test_a_mapping_without_items_is_described() -> None:
    class Broken(UserDict[str, int]):
        def items(self) -> Any:
            return 5

    assert json.loads(canonicalize(Broken(a=1)))["$repr"] == "{'a': 1}"


def test_a_released_memoryview_is_described() -> None:
    view = memoryview(b"x")
    view.release()
    assert "released memory" in text(view)


def test_a_dict_changed_by_its_member_is_read_as_it_was() -> None:
    event: dict[str, object] = {}

    class Grower:
        def __repr__(self) -> str:
            event[f"k{len(event)}"] = 1
            return "grown"

    event.update(a=Grower(), b=Grower())
    assert set(json.loads(canonicalize(event))) == {"a", "b"}


def test_an_enum_without_end_ends() -> None:
    asked = []

    class Loop(enum.Enum):
        A = 1
        B = 2

        @property
        def value(self) -> object:  # type: ignore[override]
            asked.append(self)
            return Loop.B if self is Loop.A else Loop.A

    class Self(enum.Enum):
        A = 1

        @property
        def value(self) -> object:  # type: ignore[override]
            return self

    assert text(Loop.A) == '"$truncated"'
    assert len(asked) < 100
    assert json.loads(canonicalize(Self.A))["$repr"] == "<Self.A: 1>"


def test_strings_past_the_bound_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "MAX_TEXT", 1000)
    read = json.loads(canonicalize(["x" * 2_000_000, "é" * 600_000, b"y" * 3_000, "short"]))
    assert read[0] == "x" * 1024 + "…[cut 1998976 bytes]"
    assert read[1] == "é" * 512 + "…[cut 1198976 bytes]"
    assert read[2]["$base64"] == "eXl5" * 128 + "…[cut 3488 bytes]"
    assert read[3] == "short"


def test_a_split_surrogate_pair_is_not_two_characters() -> None:
    taken = Texts(1000).take("x" * 1023 + "\ud83d\ude00" + "y" * 5000)
    assert isinstance(taken, CutText)
    assert taken == "x" * 1023 + "…[cut 5004 bytes]"


def test_counting_bytes_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapilog_tamper.texts._SCAN", 5000)
    walk = Walk(Texts(1000))
    tree = walk.tree(["é" * 5000, "é" * 5000, "x" * 5000])
    assert isinstance(tree, list)
    assert tree[1] == "$truncated"
    assert str(tree[2]).endswith("bytes]")


def test_at_the_edge_of_the_stack_the_event_is_kept() -> None:
    deep: Any = (1,)
    for _ in range(50):
        deep = (deep,)

    def at_depth(frames: int) -> bytes:
        return at_depth(frames - 1) if frames else canonicalize({"a": b"x", "deep": deep})

    seen = set()
    depth = sys.getrecursionlimit()
    used = len(list(iter_frames()))
    for frames in range(depth - used - 200, depth - used - 5):
        try:
            seen.add(at_depth(frames))
        except RecursionError:  # the call itself found no stack
            break
    assert {json.loads(one).get("a") is not None for one in seen} >= {True}
    assert len(seen) > 1


def iter_frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_without_memory_there_is_still_a_text() -> None:
    def write(_: int) -> bytes:
        raise MemoryError

    assert coerce.less_deep(write) == LAST_RESORT
    assert json.loads(LAST_RESORT) == {"$truncated": True}


def test_a_string_that_finds_no_memory_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr("fapilog_tamper.texts.well_formed", refuse)
    assert text((1, "é")) == '[1,"$truncated"]'


def test_a_container_that_finds_no_memory_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr("fapilog_tamper.coerce.islice", lambda *_: map(refuse, [1]))
    monkeypatch.setattr("fapilog_tamper.members.islice", lambda *_: map(refuse, [1]))
    assert text((1,)) == '["$truncated"]'
    assert text({1: 2}) == '{"$truncated":true}'


def test_the_fast_way_takes_small_plain_values() -> None:
    """Without this every event would pay for the slow way, and no other test would see it."""
    event = {"a": "x", "b": 1, "c": 0.25, "d": None, "e": True, "f": [1, {"g": "é"}], "ö": 1}
    assert fast_text(event, 100) == canonicalize(event)


@pytest.mark.parametrize(
    "value",
    [
        *({1: 2}, {"a": (1,)}, [1.0], [2**53], ["\ud800"], [Word("w")], [Count(1)], [Share(0.5)], [Kind.READ]),
        *(
            {Kind.READ: 1},
            "text",
            5,
            [float("nan")],
            {"😀": 1},
            [b"x"],
            [dt.date(2025, 1, 1)],
            [1e-4],
            [1e15],
        ),
    ],
)
def test_the_fast_way_leaves_the_rest_alone(value: object) -> None:
    assert fast_text(value, 100) is None


def test_the_fast_way_has_a_weight() -> None:
    assert fast_text({"name": ["text", 1]}, 11) == b'{"name":["text",1]}'
    assert fast_text({"name": ["text", 1]}, 10) is None
    assert plain.MAX_DEPTH == 64
