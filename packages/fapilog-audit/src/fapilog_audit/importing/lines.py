"""Old lines: cutting a file into them, and judging each by its own checksum.

An old line is one JSON object. Its `checksum` is the SHA-256, in hex, of the text that `json.dumps` makes of all other
members, with sorted names and without white space; nothing in it is secret. Until fapilog 0.3.4 it is null.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Line", "OldLine", "State", "cut_lines", "read_line"]

LONGEST: Final = 8 << 20
"""Bytes of the longest line that is judged; of longer ones no more than this is held in memory."""

_BEGINNINGS: Final = (b'{"checksum":', b'{"event_id":')
"""What lines begin with: names are sorted from fapilog 0.3.5 on, and in the order of the model before."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file with its line end, or a piece of one that is longer than `LONGEST`."""

    number: int
    part: int
    raw: bytes
    more: bool

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the line."""
        return self.part == 1 and not self.more


def cut_lines(file: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a file, in order; together they are all of its bytes."""
    number, part = 1, 1
    while raw := file.readline(LONGEST):
        more = len(raw) == LONGEST and not raw.endswith(b"\n") and bool(file.peek(1))  # type: ignore[attr-defined]
        yield Line(number, part, raw, more)
        number, part = (number, part + 1) if more else (number + 1, 1)


class State(Enum):
    """What a line is worth by itself."""

    BLANK = "blank"
    DAMAGED = "damaged"
    """It cannot be read."""
    TORN = "torn"
    """Its writer was stopped in the middle of it."""
    UNCHECKED = "unchecked"
    """It has no checksum."""
    CHANGED = "changed"
    """Its checksum is not that of its members."""
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class OldLine:
    """What a line says of itself and of the line before it.

    Attributes:
        state: what it is worth by itself.
        sequence: its `sequence_number`.
        previous: its `previous_hash`, None at the beginning of a run.
        checksum: its `checksum`.
        behind_torn: a torn line stands before it in the same line.
        respelled: its members are what was hashed, and its bytes are not: white space, order, or escapes.
        why: what is wrong with it.
    """

    state: State
    sequence: int | None = None
    previous: str | None = None
    checksum: str | None = None
    behind_torn: bool = False
    respelled: bool = False
    why: str = ""


def read_line(raw: bytes) -> OldLine:
    """Judge one whole line by itself."""
    text = raw.rstrip(b"\r\n")
    if not text.strip():
        return OldLine(State.BLANK)
    try:
        return _judge(text)
    except (ValueError, RecursionError) as error:
        return _read_broken(raw, text, error)


def _read_broken(raw: bytes, text: bytes, error: Exception) -> OldLine:
    """Judge what is not JSON: a writer that was stopped left half a line, and the next wrote right behind it."""
    if text.startswith(_BEGINNINGS):
        if not raw.endswith(b"\n"):
            return OldLine(State.TORN)
        at = max(text.rfind(beginning) for beginning in _BEGINNINGS)
        try:
            behind = _judge(text[at:], behind_torn=True) if at > 0 else None
        except (ValueError, RecursionError):
            behind = None
        if behind is not None and behind.state is State.GOOD:
            return behind
    return OldLine(State.DAMAGED, why=f"it is not JSON in UTF-8 ({error})"[:200])


def _judge(text: bytes, *, behind_torn: bool = False) -> OldLine:
    names: list[bool] = []

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        names.append(len(members) == len(pairs))
        return members

    members = json.loads(text.decode(), object_pairs_hook=distinct)
    if not isinstance(members, dict):
        return OldLine(State.DAMAGED, why="it is not a JSON object")
    checksum, sequence, previous = (members.get(name) for name in ("checksum", "sequence_number", "previous_hash"))
    if checksum is None:
        return OldLine(State.UNCHECKED, sequence=_whole(sequence), behind_torn=behind_torn)
    why = _objection(checksum, sequence, previous)
    if not why and not all(names):
        why = "it holds a name twice"
    if not why and checksum != _checksum(members):
        why = "its checksum is not that of its members"
    return OldLine(
        State.CHANGED if why else State.GOOD,
        sequence=_whole(sequence),
        previous=previous if isinstance(previous, str) else None,
        checksum=checksum if isinstance(checksum, str) else None,
        behind_torn=behind_torn,
        respelled=_dump(members) != text,
        why=why,
    )


def _objection(checksum: object, sequence: object, previous: object) -> str:
    if not isinstance(checksum, str):
        return "its checksum is no text"
    if _whole(sequence) is None:
        return "its sequence_number is no number"
    if previous is not None and not isinstance(previous, str):
        return "its previous_hash is no text"
    return ""


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _checksum(members: dict[str, Any]) -> str:
    rest = {name: value for name, value in members.items() if name != "checksum"}
    return hashlib.sha256(_dump(rest)).hexdigest()


def _dump(members: dict[str, Any]) -> bytes:
    """Return the text that the old trail hashed and wrote."""
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
