"""What is written as an object: its members as pairs, and the names that they get (docs/spec/sealed-log.md, section 3).

The pairs come one at a time and raise nothing: a mapping may be endless, or break while it is read. What becomes of the
values, and how many are taken, is the business of `coerce`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from fapilog_tamper.scalars import FAILED, WRITERS, attempt

__all__ = ["UNREAD", "Names", "Pairs", "pairs_of"]

Pairs: TypeAlias = Iterator[tuple[object, object]]

UNREAD: Final = object()
"""In the place of a key: the members from here on could not be read."""

_END: Final = object()

_NOT_OBJECTS: Final = (
    *(Enum, str, int, float, bytes, bytearray, memoryview),
    *(list, tuple, set, frozenset),
    *(kind for kind, _ in WRITERS),
)


class Names:
    """The member names of one object: a name that is taken gets `#2`, `#3` …."""

    __slots__ = ("_last", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}  # without it a million equal names would be a million squared look-ups

    def free(self, name: str) -> str:
        """Return `name` or the first numbered form of it that is free, and take that."""
        free = name
        if name in self._taken:
            number = self._last.get(name, 1)
            while free in self._taken:
                number += 1
                free = f"{name}#{number}"
            self._last[name] = number
        self._taken.add(free)
        return free


def pairs_of(value: object, most: int) -> Pairs | None:
    """Return the members of what is written as an object, None for all else.

    Args:
        value: Anything.
        most: How many members the caller can use; of a dict, at most one more is read.
    """
    kind = type(value)
    if issubclass(kind, dict):
        # One call into C, so that no other thread and no member changes the dict meanwhile.
        pairs = attempt(list, islice(dict.items(cast("dict[object, object]", value)), max(most, 0) + 1))
        return iter([(UNREAD, None)] if pairs is FAILED else cast("list[tuple[object, object]]", pairs))
    if issubclass(kind, _NOT_OBJECTS):
        return None
    names = attempt(_field_names, kind)
    if names is not FAILED:
        return ((name, attempt(getattr, value, name)) for name in cast("list[str]", names))
    if attempt(_is_model, kind) is True:
        dump = attempt(_dump, value)
        if dump is not FAILED:
            return pairs_of(dump, most) if issubclass(type(dump), dict) else iter([("root", dump)])
    if attempt(issubclass, kind, Mapping) is True:
        items = attempt(_items, value)
        return None if items is FAILED else _read(cast("Iterator[object]", items))
    return None


def _field_names(kind: type) -> list[str]:
    names = [field.name for field in dataclasses.fields(kind)]
    if any(type(name) is not str for name in names):
        raise TypeError
    return names


def _is_model(kind: type) -> bool:
    """Say whether this is a pydantic model, without importing pydantic."""
    return hasattr(kind, "model_dump") and (hasattr(kind, "__pydantic_fields__") or hasattr(kind, "model_fields"))


def _dump(value: Any) -> object:  # noqa: ANN401 - a model of any class
    return value.model_dump()


def _items(value: Any) -> object:  # noqa: ANN401 - a mapping of any class
    return iter(value.items())


def _read(items: Iterator[object]) -> Pairs:
    while (pair := attempt(_next_pair, items)) is not _END:
        if pair is FAILED:
            yield UNREAD, None
            return
        yield cast("tuple[object, object]", pair)


def _next_pair(items: Iterator[object]) -> object:
    pair = next(items, _END)
    if pair is _END:
        return _END
    key, value = cast("Any", pair)
    return key, value
