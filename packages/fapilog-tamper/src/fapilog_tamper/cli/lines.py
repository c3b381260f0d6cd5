"""Lines of any input as events: cut at newlines in bounded memory, then encoded so that nothing is lost that fits.

What is one JSON object is stored as the bytes it came in, where those are a payload that a log may hold: somebody may
compare them with their source, and nothing of them is spelled anew. Where they are not (a reserved name, a name twice,
NaN, white space around a CR, too large), the object is written in canonical form, which says the same: the encoder
renames `integrity` and `sealed_log`, so that the lines of a sealed log can be sealed again and are never taken for
entries of this one; the later of two equal names gets `#2`; a number that a double cannot hold stays as text.
"""

import codecs
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Final, NamedTuple

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.members import Names
from fapilog_tamper.payload import encode_payload
from fapilog_tamper.texts import cut_marker

__all__ = ["MAX_HELD", "Line", "LineCutter", "encode_line", "object_text"]

MAX_HELD: Final = 32 << 20
"""Bytes of a line that are held; of a longer one the beginning is sealed, with the number of bytes that are not."""

_SPACE: Final = b" \t\r\n"
_WIDEST: Final = 6
"""Bytes that JSON takes at most for one byte of text: \\u0000."""
_SAFE_DIGITS: Final = 16
_CUT_MARKERS: Final = (b'"$truncated"', "…[cut ".encode())


class Line(NamedTuple):
    """One line without its newline; `size` is more than `raw` has where only the beginning was held."""

    raw: bytes
    size: int

    @property
    def whole(self) -> bool:
        """Tell whether all of the line is here."""
        return len(self.raw) == self.size

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing but white space."""
        return self.whole and not self.raw.strip(_SPACE)


class LineCutter:
    """Cuts what is read at newlines. A byte order mark before the first line is no part of it."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._held = 0
        self._size = 0
        self._first = True

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        lines = [self._end(piece) for piece in ended]
        self._hold(rest)
        return lines

    def end(self) -> list[Line]:
        """Return the last line, where the input did not end with a newline."""
        return [self._end(b"")] if self._size else []

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        kept = piece[: self._most - self._held]
        if kept:
            self._pieces.append(kept)
            self._held += len(kept)

    def _end(self, piece: bytes) -> Line:
        self._hold(piece)
        line = Line(b"".join(self._pieces), self._size)
        if self._first and line.raw.startswith(codecs.BOM_UTF8):
            line = Line(line.raw[3:], line.size - 3)
        self._pieces, self._held, self._size, self._first = [], 0, 0, False
        return line


def object_text(line: Line) -> bytes | None:
    """Return the text of a line that may be one JSON object, else None."""
    text = line.raw.strip(_SPACE)
    return text if line.whole and text.startswith(b"{") and text.endswith(b"}") else None


def encode_line(line: Line, limit: int) -> tuple[Mapping[str, object] | bytes, bool]:
    """Return the event of a line that cannot be stored as it is, and whether some of it is lost.

    Args:
        line: any line: an object that the log does not take as it is, or text, or bytes that are no UTF-8.
        limit: bytes of the largest payload.
    """
    if not line.whole:
        return _beginning(line, limit), True
    text = object_text(line)
    members = None if text is None else _parse_object(text)
    if members is not None:
        return _encode(members, line, limit)
    event = {"message": _decode(line.raw.removesuffix(b"\r"))}
    return (event, False) if len(line.raw) * _WIDEST < limit - 64 else _encode(event, line, limit)


def _encode(event: Mapping[str, object], line: Line, limit: int) -> tuple[bytes, bool]:
    payload = encode_payload(event, limit=limit)
    return payload, any(payload.count(marker) > line.raw.count(marker) for marker in _CUT_MARKERS)


def _decode(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _beginning(line: Line, limit: int) -> Mapping[str, object]:
    """Return the event of a line that was too long to hold: a beginning that fits however it is escaped."""
    head = line.raw[: limit // (_WIDEST + 2)]
    try:
        # A character that is cut in two is left out.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = b64url_encode(head[: len(head) // 3 * 3])
        return {"message": {"$base64": text + cut_marker(-(-line.size * 4 // 3) - len(text))}}
    return {"message": text + cut_marker(line.size - len(text.encode()))}


def _parse_object(text: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(text.decode(), object_pairs_hook=_distinct, parse_int=_whole, parse_float=_real)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = Names()
    return {names.free(name): value for name, value in pairs}


def _whole(text: str) -> int | str:
    # Longer ones are beyond 2^53, and the format writes those as text; int() refuses more than 4,300 digits.
    return int(text) if len(text.lstrip("-")) <= _SAFE_DIGITS else text


def _real(text: str) -> float | str:
    value = float(text)
    try:
        exact = isfinite(value) and Decimal(text) == Decimal(repr(value))
    except InvalidOperation:
        exact = False
    return value if exact else text
