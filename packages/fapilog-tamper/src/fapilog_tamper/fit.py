"""How an object that is too large is made to fit, so that what is lost is the least telling and is counted.

First the largest strings are cut to one common length, the greatest at which the text fits; so a small string is never
cut for a large one. If that is not enough, whole members of the object give way, the largest first; and if they are too
many, those that still fit stay, in the order of their names. What is removed leaves `…[cut N bytes]` or `$truncated`.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, cast

import orjson

from fapilog_tamper.coerce import TRUNCATED
from fapilog_tamper.members import Names
from fapilog_tamper.plain import plain_text
from fapilog_tamper.texts import CutText, cut_marker

if TYPE_CHECKING:
    from fapilog_tamper.plain import Plain

__all__ = ["fit_text"]


def fit_text(tree: dict[str, Plain], limit: int, *, unread: int | None = 0) -> bytes:
    """Return the canonical text of `tree`, made to fit.

    Args:
        tree: A plain tree; strings in it may already be cut.
        limit: The greatest size in bytes.
        unread: How many members are missing in `tree`, None if nobody knows.
    """
    marker = _free_name(tree, TRUNCATED)
    if unread != 0:
        tree = {**tree, marker: True if unread is None else unread}
    text = plain_text(tree)
    if len(text) <= limit:
        return text
    strings: list[_String] = []
    _collect(tree, strings)
    fixed = len(text) - sum(string.size for string in strings)

    def size(cap: int) -> int:
        return fixed + sum(string.cut_size(cap) for string in strings)

    if size(0) > limit:
        return _fewer(cast("dict[str, Plain]", _cut(tree, 0)), limit, marker, unread)
    # The sizes grow with the cap, so the caps that fit come first.
    return plain_text(_cut(tree, bisect_right(range(limit), limit, lo=1, key=size) - 1))


class _String:
    """One string of the tree: its bytes as far as they are known, and how large it is written at each cap."""

    __slots__ = ("_head", "_shortened", "_total", "size")

    def __init__(self, text: str) -> None:
        self._shortened = type(text) is CutText
        self._head = (text[: text.kept] if isinstance(text, CutText) else text).encode()
        self._total = text.total if isinstance(text, CutText) else len(self._head)
        self.size = _written_size(text)

    def cut(self, cap: int) -> str:
        """Return at most `cap` bytes of the string, its marker counted; a string shorter than a marker stays whole."""
        room = cap - len(cut_marker(self._total).encode())
        if not self._shortened and (self._total <= cap or self._total <= cap - room):
            return self._head.decode()
        head = self._head[: max(room, 0)].decode(errors="ignore")
        return head + cut_marker(self._total - len(head.encode()))

    def cut_size(self, cap: int) -> int:
        """Return the size of the string in the text when cut at `cap`."""
        return self.size if not self._shortened and self._total <= cap else _written_size(self.cut(cap))


def _written_size(text: str) -> int:
    return len(orjson.dumps(str.__str__(text)))


def _collect(tree: Plain, strings: list[_String]) -> None:
    if isinstance(tree, str):
        strings.append(_String(tree))
    elif isinstance(tree, (dict, list)):
        for member in tree.values() if isinstance(tree, dict) else tree:
            _collect(member, strings)


def _cut(tree: Plain, cap: int) -> Plain:
    if isinstance(tree, str):
        return _String(tree).cut(cap)
    if isinstance(tree, dict):
        return {name: _cut(member, cap) for name, member in tree.items()}
    return [_cut(member, cap) for member in tree] if isinstance(tree, list) else tree


def _free_name(tree: dict[str, Plain], wanted: str) -> str:
    names = Names()
    for name in tree:
        names.free(name)
    return names.free(wanted)


def _fewer(tree: dict[str, Plain], limit: int, marker: str, unread: int | None) -> bytes:
    sizes = {name: len(plain_text(member)) for name, member in tree.items() if name != marker}
    stand_in = len(plain_text(TRUNCATED))
    size = len(plain_text(tree))
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if size <= limit or sizes[name] <= stand_in:
            break
        size -= sizes[name] - stand_in
        tree[name] = TRUNCATED
        sizes[name] = stand_in
    return plain_text(tree) if size <= limit else _first(tree, sizes, limit, marker, unread)


def _first(tree: dict[str, Plain], sizes: dict[str, int], limit: int, marker: str, unread: int | None) -> bytes:
    room = limit - len(plain_text({marker: True if unread is None else len(sizes) + unread}))
    kept: dict[str, Plain] = {}
    for name in sorted(sizes, key=lambda name: name.encode("utf-16-be")):
        size = len(plain_text(name)) + 1 + sizes[name] + 1  # a colon and a comma
        if size <= room:
            room -= size
            kept[name] = tree[name]
    kept[marker] = True if unread is None else len(sizes) - len(kept) + unread
    return plain_text(kept)
