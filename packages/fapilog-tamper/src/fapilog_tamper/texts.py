"""How the text of foreign strings is taken into a plain tree: well-formed, and never more of it than can be used.

An event may hold one string of a gigabyte many thousand times. `Texts` keeps, of each string, at most what a text of
`limit` bytes could still show once all largest strings are cut to one common length, and `CutText` remembers how much
it left out, so that a marker made later counts every byte. Which length that is in the end is `fit`'s to find.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SHORT", "CutText", "Texts", "cut_marker", "well_formed"]

SHORT: Final = 64
"""How many characters a string may have without ever being cut on the way in."""

_SCAN: Final = 2**28  # characters of over-long non-ASCII strings that one walk reads to count their bytes

_SURROGATE = re.compile("[\ud800-\udfff]")


class CutText(str):
    """A head of a longer string, its marker behind it; `kept` characters of it are head, `total` bytes the original."""

    __slots__ = ("kept", "total")
    kept: int
    total: int

    @classmethod
    def of(cls, head: str, total: int) -> CutText:
        """Return `head` with the marker for a string of `total` UTF-8 bytes."""
        text = cls(head + cut_marker(total - len(head.encode())))
        text.kept = len(head)
        text.total = total
        return text


class Texts:
    """What one walk keeps of its strings: all of them while they are small, shorter heads the more there are."""

    __slots__ = ("_cap", "_limit", "_mass", "_scan", "_sizes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._cap = 1 << limit.bit_length()
        self._sizes = [0] * 65
        self._mass = 0
        self._scan = _SCAN

    def take(self, text: str) -> str | None:
        """Return a well-formed string, cut if it is too long, or None where counting its bytes would take too long.

        Args:
            text: A string of exact type str.
        """
        if self.room(len(text)) >= len(text):
            return well_formed(text)
        if text.isascii():
            return CutText.of(text[: self._cap], len(text))
        if self._scan <= 0:
            return None
        self._scan -= len(text)
        # A surrogate pair that is split here would become two characters.
        end = self._cap - ("\ud800" <= text[self._cap - 1] <= "\udbff")
        return CutText.of(well_formed(text[:end]), len(well_formed(text).encode()))

    def room(self, length: int) -> int:
        """Return how many characters may be kept of a string of `length`, and count that string.

        The cap is halved only when the strings met so far, all cut to the half, would already be twice `limit`: then
        no text of `limit` bytes can show more of any of them.
        """
        if length <= SHORT:
            return SHORT
        bucket = length.bit_length()  # a string in bucket b has at least 2^(b-1) characters
        self._sizes[bucket] += 1
        self._mass += min(1 << bucket - 1, self._cap)
        while self._mass > 2 * self._limit and self._cap > SHORT:
            self._cap //= 2
            self._mass = sum(count * min(1 << bit - 1, self._cap) for bit, count in enumerate(self._sizes) if count)
        return self._cap


def cut_marker(size: int) -> str:
    """Return what stands at the end of a string of which `size` UTF-8 bytes were removed."""
    return f"…[cut {size} bytes]"


def well_formed(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates as U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
