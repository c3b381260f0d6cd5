"""Any Python value as a plain tree (the table in docs/spec/sealed-log.md, section 3).

What must hold for every value, hostile ones included: the walk ends, its memory is bounded by its budgets, it raises
nothing of the value's, and what it returns is plain. Types are told by `type()` alone, because `__class__` can lie;
built-in containers and their subclasses are read through the base class; what only the value itself can answer is
asked through `attempt`. A foreign call that never returns cannot be ended from here.

The form of single values is in `scalars`, the reading of objects in `members`, the cutting of strings in `texts`, the
limit of an entry in `payload`.
"""

from __future__ import annotations

from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from fapilog_tamper import scalars
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.members import UNREAD, Names, pairs_of
from fapilog_tamper.plain import MAX_DEPTH, Plain, plain_text
from fapilog_tamper.scalars import FAILED, attempt
from fapilog_tamper.texts import SHORT, CutText, Texts, well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fapilog_tamper.members import Pairs

__all__ = ["LAST_RESORT", "MAX_NODES", "TRUNCATED", "Walk", "less_deep"]

TRUNCATED: Final = "$truncated"
"""Stands for a value that was not taken, and names the member that says that others were not."""

MAX_NODES: Final = 1_000_000
"""How many values one walk takes unless told otherwise."""

LAST_RESORT: Final = b'{"$truncated":true}'
"""The text of a value for which there was not even stack or memory for one level."""

_FORM_COST: Final = 2**14  # the most nodes that one long number or text is counted for

_ARRAYS: Final = (list, tuple)
_SETS: Final = (set, frozenset)
_BYTES: Final = (bytes, bytearray, memoryview)
_WRITTEN: Final = tuple(kind for kind, _ in scalars.WRITERS)


class Walk:
    """One walk over a foreign value. Belongs to one thread and one value.

    Args:
        texts: What is kept of strings.
        nodes: How many values may be taken; the caller may set `nodes` again between two members.
        levels: How many containers may stand in each other.
    """

    __slots__ = ("_levels", "_open", "_texts", "nodes")

    def __init__(self, texts: Texts, *, nodes: int = MAX_NODES, levels: int = MAX_DEPTH) -> None:
        self._texts = texts
        self._levels = levels
        self._open: set[int] = set()
        self.nodes = nodes

    def tree(self, value: object, level: int = 1) -> Plain:
        """Return the plain tree of `value`, which stands in `level` - 1 containers."""
        self.nodes -= 1
        if self.nodes < 0:
            return TRUNCATED
        kind = type(value)
        if kind is str:
            return self._text(cast("str", value))
        if value is None or kind is bool:
            return cast("bool | None", value)
        for base, take in self._SCALARS:
            if issubclass(kind, base):
                return take(self, value, level)
        return self._container(value, kind, level)

    def name(self, key: object, level: int) -> str:
        """Return the member name for `key`."""
        tree: Plain = self._text(key) if type(key) is str else self.tree(key, level)
        if not isinstance(tree, str):
            tree = self._text(plain_text(tree).decode())
        return str.__str__(tree)

    def enter(self, value: object) -> None:
        """Take `value` as a container that is being written, so that it is not written inside itself."""
        self._open.add(id(value))

    def _text(self, text: str) -> str:
        if len(text) <= SHORT and text.isascii():
            return text
        taken = attempt(self._texts.take, text)  # MemoryError: a string of gigabytes must not cost the other members
        return TRUNCATED if taken is None or taken is FAILED else cast("str", taken)

    def _charge(self, nodes: int) -> None:
        """Count a form that takes long to make as so many nodes: the same number may stand there a million times."""
        self.nodes -= min(nodes, _FORM_COST)

    def _str(self, value: Any, _level: int) -> Plain:  # noqa: ANN401 - see _SCALARS
        return self._text(str.__str__(value))

    def _float(self, value: Any, _level: int) -> Plain:  # noqa: ANN401 - see _SCALARS
        return scalars.number(float.__float__(value))

    def _int(self, subject: Any, level: int) -> Plain:  # noqa: ANN401 - see _SCALARS
        value = int.__index__(subject)
        form = scalars.whole_number(value)
        if isinstance(form, int):
            return form
        self._charge(value.bit_length() >> 4)
        return self._described(scalars.hex_head(value), int, level) if form is None else self._text(form)

    def _enum(self, value: object, level: int) -> Plain:
        # `value` can be overridden to return Enums for ever. A scalar may stand inside the innermost container.
        if level > self._levels + 1:
            return TRUNCATED
        inner = attempt(getattr, value, "value")
        return self._other(value, level) if inner is FAILED or inner is value else self.tree(inner, level + 1)

    def _written(self, value: object, level: int) -> Plain:
        write = next(write for base, write in scalars.WRITERS if issubclass(type(value), base))
        text = scalars.exact_str(attempt(write, value))
        if text is None:
            return self._other(value, level)
        self._charge(len(text) >> 6)
        return self._text(text)

    _SCALARS: ClassVar[tuple[tuple[type | tuple[type, ...], Callable[..., Plain]], ...]] = (
        (Enum, _enum),  # before str and int, which an Enum may also be
        (str, _str),
        (int, _int),
        (float, _float),
        (_WRITTEN, _written),
    )

    def _container(self, value: object, kind: type, level: int) -> Plain:
        if level > self._levels or id(value) in self._open:
            return TRUNCATED
        self._open.add(id(value))
        try:
            return self._members(value, kind, level)
        finally:
            self._open.discard(id(value))

    def _members(self, value: object, kind: type, level: int) -> Plain:
        pairs = pairs_of(value, self.nodes)
        if pairs is not None:
            return self._object(pairs, level)
        for base in _ARRAYS:
            if issubclass(kind, base):
                return self._array(base.__iter__(cast("Any", value)), level)
        for group in _SETS:
            if issubclass(kind, group):
                return sorted(self._array(group.__iter__(cast("Any", value)), level), key=plain_text)
        if issubclass(kind, _BYTES):
            form = attempt(self._base64, value)
            if form is not FAILED:
                return {"$base64": cast("str", form)}
        return self._other(value, level)

    def _object(self, pairs: Pairs, level: int) -> dict[str, Plain]:
        tree: dict[str, Plain] = {}
        names = Names()
        for key, value in pairs:
            if key is UNREAD or self.nodes <= 0:
                tree[names.free(TRUNCATED)] = True
                break
            name = names.free(self.name(key, level + 1))
            tree[name] = TRUNCATED if value is FAILED else self.tree(value, level + 1)
        return tree

    def _array(self, values: Iterable[object], level: int) -> list[Plain]:
        members = attempt(list, islice(values, max(self.nodes, 0) + 1))
        tree: list[Plain] = []
        for value in cast("list[object]", members) if members is not FAILED else (FAILED,):
            if value is FAILED or self.nodes <= 0:
                tree.append(TRUNCATED)
                break
            tree.append(self.tree(value, level + 1))
        return tree

    def _base64(self, value: bytes | bytearray | memoryview) -> str:
        size = _size(value)
        if type(value) is memoryview:
            self._charge(size >> 6)  # one with gaps is copied whole
        length = -(-size * 4 // 3)
        room = self._texts.room(length)
        if room >= length:
            return b64url_encode(_head(value, size))
        return CutText.of(b64url_encode(_head(value, room // 4 * 3)), length)

    def _other(self, value: object, level: int) -> Plain:
        text = scalars.exact_str(attempt(repr, value))
        if text is not None:
            self._charge(len(text) >> 6)
        return self._described(text, type(value), level)

    def _described(self, text: str | None, kind: type, level: int) -> Plain:
        if level > self._levels:
            return TRUNCATED
        size = scalars.REPR_LENGTH
        # Cut once more behind the joining, so that no surrogate pair is split.
        head = None if text is None else self._text(well_formed(text[: 2 * size])[:size])
        return {"$repr": head, "$type": self._text(scalars.type_name(kind))}


def less_deep(write: Callable[[int], bytes]) -> bytes:
    """Return what `write` makes of a number of levels, of fewer where the caller's stack or the memory is used up.

    An event that is logged at the edge of the recursion limit loses its depths, not its being.
    """
    for levels in (MAX_DEPTH, 16, 4, 1):
        try:
            return write(levels)
        except (RecursionError, MemoryError):
            continue
    return LAST_RESORT


def _size(value: bytes | bytearray | memoryview) -> int:
    if type(value) is memoryview:
        return value.nbytes
    kind = bytes if issubclass(type(value), bytes) else bytearray
    return kind.__len__(cast("Any", value))


def _head(value: bytes | bytearray | memoryview, size: int) -> bytes:
    if issubclass(type(value), bytes):
        return bytes.__getitem__(cast("bytes", value), slice(size))
    if issubclass(type(value), bytearray):
        # No memoryview of it: another thread that appends meanwhile would get a BufferError.
        return bytes(bytearray.__getitem__(cast("bytearray", value), slice(size)))
    view = cast("memoryview", value)
    return (view[: -(-size // view.itemsize)] if view.ndim == 1 else view).tobytes()[:size]
