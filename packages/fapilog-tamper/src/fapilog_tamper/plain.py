"""The RFC 8785 text of plain trees (docs/spec/sealed-log.md, section 3).

A plain tree is what JSON can hold: dict with str keys, list, str, int within 2^53, finite float, bool and None, without
lone surrogates. RFC 8785 text is what `rfc8785.dumps` writes. orjson writes the same bytes many times faster for the
values that `_weigh` lets through, and only those are given to it. How other values become plain is the business of
`coerce`, and no limit of an entry is known here.
"""

from __future__ import annotations

import sys
from typing import Final, TypeAlias

import orjson
import rfc8785

__all__ = ["MAX_DEPTH", "MAX_SAFE_INT", "Plain", "fast_text", "plain_text"]

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

MAX_DEPTH: Final = 64
"""How many containers may stand in each other, the outermost counted."""

MAX_SAFE_INT: Final = 2**53 - 1
"""The greatest integer that every JSON reader keeps exact."""

# The passthrough flags make orjson raise where another thread put a foreign value into the tree behind the guard.
_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)

# Outside of these, and for whole numbers, orjson writes exponents and ".0" where ES6 does not.
_LEAST_FLOAT: Final = 1e-3
_FLOAT_BOUND: Final = 1e15

_FLAT: Final = frozenset({str, int, bool, type(None)})
"""Values whose text needs no look at each: orjson itself refuses whole numbers that are too large, and surrogates."""

_FIRST_SURROGATE: Final = "\ud800"


def fast_text(value: object, weight: int) -> bytes | None:
    """Return the RFC 8785 text of a plain tree, or None where only the slow way can tell.

    Runs no code of the value. Time and memory are bounded by `weight`, also for a tree that shares its branches.

    Args:
        value: Anything.
        weight: The greatest number of values and characters together.
    """
    try:
        if type(value) is dict and _FLAT.issuperset(map(type, value.values())) and "".join(value).isascii():
            text = orjson.dumps(value, option=_OPTIONS | orjson.OPT_STRICT_INTEGER)
            return text if len(text) <= weight else None
        if _weigh(value, MAX_DEPTH, weight) < 0:
            return None
        return orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RuntimeError, MemoryError):
        # A key that is not a str, a lone surrogate, a dict that another thread changes, the recursion limit.
        return None


def plain_text(tree: Plain) -> bytes:
    """Return the RFC 8785 text of a plain tree; subclasses of str in it are written as their characters."""
    text = fast_text(tree, sys.maxsize)
    return rfc8785.dumps(tree) if text is None else text


def _weigh(value: object, levels: int, left: int) -> int:  # noqa: C901, PLR0911, PLR0912 - each call costs
    """Return what is left of `left` after the container `value`, negative where orjson must not write it."""
    kind = type(value)
    members: object
    if kind is dict:
        # Refuses other keys with TypeError, and calls nothing of a subclass of str. orjson sorts by UTF-8 and RFC 8785
        # by UTF-16; the two orders agree below the surrogates.
        keys = "".join(value)  # type: ignore[arg-type]
        if not keys.isascii() and max(keys) >= _FIRST_SURROGATE:
            return -1
        left -= len(keys) + len(value)  # type: ignore[arg-type]
        members = value.values()  # type: ignore[attr-defined]
    elif kind is list:
        left -= len(value)  # type: ignore[arg-type]
        members = value
    else:
        return -1
    if left < 0 or not levels:
        return -1
    for member in members:  # type: ignore[attr-defined]
        kind = type(member)
        if kind is str:
            left -= len(member)
        elif kind is int:
            if not -MAX_SAFE_INT <= member <= MAX_SAFE_INT:
                return -1
        elif member is None or kind is bool:
            pass
        elif kind is float:
            if not _LEAST_FLOAT <= abs(member) < _FLOAT_BOUND or member.is_integer():
                return -1
        else:
            left = _weigh(member, levels - 1, left)
            if left < 0:
                return -1
    return left
