"""Records that left the log, brought back to the lines that were sealed.

    sealed record          {"integrity": B, "log": {...}, ...}                                  what a sealed log holds
    stored event           {"log": {..., "diagnostics": {"integrity": B}}, "schema_version"}    fapilog's own sinks
    event                  {"timestamp", ..., "diagnostics": {"integrity": B}, "integrity": B}  sinks that get dicts

The latter two carry the block of an enricher. What was sealed is the record without its block, in canonical form, and
an event in the envelope in which fapilog stores it. Nothing is left out on the way: a member that was not there when
the event was sealed changes the line, and the line does not verify. Pure functions; keys are not known here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.encoding import MAX_SEQ
from fapilog_tamper.entry import chain_hash, split
from fapilog_tamper.envelope import SCHEMA_VERSION
from fapilog_tamper.errors import FormatError

if TYPE_CHECKING:
    from fapilog_tamper.plain import Plain

__all__ = ["DECODER", "NO_RECORD", "Record", "is_as_sealed", "record_line"]

Record = Mapping[str, object] | bytes | str
"""An entry: its line, with or without the newline, or the JSON object that a reader made of it.

A record that passed through JSON is brought back to its line by RFC 8785, which is what our own encoders write. An
entry that was appended as raw bytes can be verified as a line, and else only where its members are in their old order
and spelled as most writers do.
"""

NO_RECORD: Final = b"null\n"
"""Stands for what is no record, and is a line that no check takes for one."""

_LEVELS: Final = 64
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BLOCK: Final = "integrity"
_BLOCK_ORDER: Final = ("v", "stream", "seq", "prev_chain_hash", "chain_hash", "algo", "key_id", "mac")
_MARK: Final = b'"integrity":'
_SEAL_MARK: Final = _MARK + b'{"v":'
_DIGITS: Final = 17
"""Significant digits that tell every double from every other: writers that do not look for fewer write so many."""


def record_line(record: Record) -> bytes:
    """Return the line of a record; of what is none, a line that no check takes for one.

    A mapping may be of each shape above, re-spelled by whatever JSON it passed through: order, white space, escapes and
    the spelling of numbers (1.0 for 1) say nothing. So may text, except that of a sealed record, which must be the line
    to the letter. All that the record holds is in the line, so what was added to it is not under its seal: an event
    with a top-level member that fapilog does not store, or whose two blocks differ, has a line that does not verify.
    Where the block says that nothing was sealed, or only names stream and key, the line has none.
    """
    if isinstance(record, str):
        # Not "replace": another text would then stand for a lone surrogate.
        record = record.encode("utf-8", "surrogatepass")
    if isinstance(record, bytes):
        return _line_of_text(record)
    if not isinstance(record, Mapping):
        return NO_RECORD
    try:
        members = _plain_members(dict(record), 1)
    except (ValueError, RecursionError):
        return NO_RECORD
    rest, block, moved = _take_apart(members)
    line = _join(canonicalize(rest), block)
    if block is not None and not moved:
        as_given = _join(_compact(rest), block)
        if as_given != line and is_as_sealed(as_given):
            # It was appended as bytes, which need not be canonical.
            return as_given
    return line


def is_as_sealed(line: bytes) -> bool:
    """Tell whether the chain hash in a line is that of its content. Who sealed it is not looked at."""
    try:
        payload, block = split(line)
    except FormatError:
        return False
    return block.chain_hash == chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload)


def _line_of_text(text: bytes) -> bytes:
    line = text if text.endswith(b"\n") else text + b"\n"
    if line.count(_MARK) == 1 and _ends_with_block(line):
        return line
    try:
        members = DECODER.decode(text.decode())
        members = _plain_members(members, 1) if isinstance(members, dict) else {}
    except (ValueError, RecursionError):
        return line
    rest, block, moved = _take_apart(members)
    if block is None:
        return _join(canonicalize(rest), None) if _BLOCK in members else line
    return _join(canonicalize(rest), block) if moved else line


def _ends_with_block(line: bytes) -> bool:
    """Tell whether the last that stands in the outermost object is a block, so that it is in no other place."""
    start = line.find(_SEAL_MARK)
    return start > 0 and line.find(b"}", start) == len(line) - 3 and line.endswith(b"}}\n")


def _take_apart(members: dict[str, Plain]) -> tuple[dict[str, Plain], dict[str, Plain] | None, bool]:
    """Return what was sealed, the block over it if there is one, and whether that stood in `diagnostics`."""
    if _BLOCK in members:
        rest = {name: value for name, value in members.items() if name != _BLOCK}
        event, block = _without_block(rest)
        if block is not None and canonicalize(block) == canonicalize(members[_BLOCK]):
            return {"log": event, "schema_version": SCHEMA_VERSION}, _seal_of(block), True
        return rest, _seal_of(members[_BLOCK]), False
    log = members.get("log")
    if isinstance(log, dict):
        event, block = _without_block(log)
        if _seal_of(block) is not None:
            return {**members, "log": event}, _seal_of(block), True
    return members, None, False


def _without_block(event: dict[str, Plain]) -> tuple[dict[str, Plain], Plain]:
    group = event.get("diagnostics")
    if not isinstance(group, dict) or _BLOCK not in group:
        return event, None
    others = {name: value for name, value in group.items() if name != _BLOCK}
    return {**event, "diagnostics": others}, group[_BLOCK]


def _seal_of(block: Plain) -> dict[str, Plain] | None:
    """Return a block that claims a place in a chain; one that names only stream and key, or a status, is no seal."""
    return block if isinstance(block, dict) and "seq" in block else None


def _join(payload: bytes, block: dict[str, Plain] | None) -> bytes:
    if block is None:
        return payload + b"\n"
    ordered: dict[str, Plain] = {name: block[name] for name in _BLOCK_ORDER if name in block}
    return payload[:-1] + (b"," if payload != b"{}" else b"") + _MARK + _compact(ordered | block) + b"}\n"


def _compact(members: dict[str, Plain]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


# Values. Canonical text is written of any value, and two values may have one text: only what JSON can hold is taken.


def _plain(value: object, level: int) -> Plain:
    if isinstance(value, str):
        if not value.isascii() and _SURROGATE.search(value):
            raise ValueError
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list) and level <= _LEVELS:
        return [_plain(member, level + 1) for member in value]
    if isinstance(value, dict):
        return _plain_members(value, level)
    raise ValueError


def _plain_members(members: dict[str, object], level: int) -> dict[str, Plain]:
    if level > _LEVELS or not all(isinstance(name, str) for name in members):
        raise ValueError
    return {str(_plain(name, level)): _plain(value, level + 1) for name, value in members.items()}


def _number(value: float) -> Plain:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError
        return int(value) if value.is_integer() and abs(value) <= MAX_SEQ else float(value)
    if abs(value) <= MAX_SEQ:
        return int(value)
    try:
        double = float(value)
    except OverflowError:
        raise ValueError from None
    # Canonical text writes doubles up to 1e21 as whole numbers, and a reader takes them for such.
    if canonicalize(double) != str(value).encode():
        raise ValueError
    return double


# JSON text, read so that nothing in it is passed over: what is refused becomes a value that JSON does not have.

_REFUSED: Final = object()


def _distinct(pairs: list[tuple[str, object]]) -> object:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _REFUSED


def _whole(text: str) -> object:
    return int(text) if len(text) < 400 else _REFUSED  # noqa: PLR2004 (longer than any double)


def _real(text: str) -> object:
    value = float(text)
    digits = re.sub(r"[eE].*|\D", "", text).strip("0")
    if not math.isfinite(value) or (value == 0) != (not digits):
        return _REFUSED
    return value if len(digits) <= _DIGITS or Decimal(text) == Decimal(value) else _REFUSED


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_int=_whole, parse_float=_real, parse_constant=lambda _: _REFUSED
)
"""Reads JSON. An object with a name twice, `NaN`, and a number that no double holds become values that are no JSON, so
that they spoil the record that they stand in and no other."""
