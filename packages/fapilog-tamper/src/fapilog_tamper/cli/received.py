"""The lines of records in a file, in whatever JSON they came.

A file holds one record a line, arrays of them, an object around such an array, which is what fapilog's `http` sink
posts, or any of these written for people. Values that stand one on a line are read in bounded memory.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from fapilog_tamper.cli.lines import MAX_HELD, Line, LineCutter
from fapilog_tamper.verify.records import DECODER, NO_RECORD, is_as_sealed, record_line
from fapilog_tamper.verify.source import Source, SourceError

__all__ = ["received_lines"]

_SPACE: Final = b" \t\r\n"
_SPACES: Final = re.compile(r"[ \t\r\n]*")
_SHOWN: Final = 1 << 16
"""Bytes that are kept of what is no record."""


def received_lines(source: Source) -> Iterator[bytes]:
    """Yield the line of each record in an open file.

    What is no record is a line that no check takes for one; without a newline, if it stands at the end of the file and
    may be half a record.

    Raises:
        SourceError: the file cannot be read to its end.
    """
    values = _document(source)
    if values is not None:
        for value in values:
            yield from _lines_of(value)
        return
    cutter = LineCutter()
    for chunk in source.chunks():
        for line in cutter.feed(chunk):
            yield from _read(line, ended=True)
    for line in cutter.end():
        yield from _read(line, ended=False)


def _read(line: Line, *, ended: bool) -> Iterator[bytes]:
    raw = line.raw.strip(_SPACE)
    if line.empty:
        return
    if line.whole and is_as_sealed(raw + b"\n"):
        # Not respelled: it may have been stored in a spelling of its own.
        yield raw + b"\n"
        return
    try:
        value = DECODER.decode(raw.decode()) if line.whole else None
    except (ValueError, RecursionError):
        # Neither a hole of zeros nor a line break may end the reading of what stands behind.
        shown = raw[:_SHOWN].replace(b"\x00", b"?").replace(b"\r", b"?")
        yield shown + b"\n" if ended else shown
        return
    yield from _lines_of(value)


def _lines_of(value: object) -> Iterator[bytes]:
    """Yield the lines of the records in a JSON value: one, an array of them, or an object around such an array."""
    if isinstance(value, Mapping) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list) and (not inner or any(isinstance(one, dict) for one in inner)):
            value = inner
    for one in value if isinstance(value, list) else [value]:
        yield record_line(one) if isinstance(one, dict) else NO_RECORD


def _document(source: Source) -> list[object] | None:
    """Return the values of a file whose lines are none by themselves: JSON written for people. None for all others.

    Raises:
        SourceError: it is too large to be read whole.
    """
    lines = _nonempty(source)
    first = next(lines, None)
    if first is None or not first.raw.strip(_SPACE).startswith((b"{", b"[")) or _is_value(first):
        return None
    data = bytearray()
    for chunk in source.chunks():
        data += chunk
        if len(data) > MAX_HELD:
            second = next(lines, None)
            if second is None or _is_value(second):
                return None
            raise SourceError(f"JSON of more than {MAX_HELD >> 20} MiB that is not one record a line (jq -c writes so)")
    return _values(data)


def _nonempty(source: Source) -> Iterator[Line]:
    cutter = LineCutter()
    for chunk in source.chunks():
        yield from (line for line in cutter.feed(chunk) if not line.empty)
    yield from (line for line in cutter.end() if not line.empty)


def _is_value(line: Line) -> bool:
    try:
        DECODER.decode(line.raw.decode() if line.whole else "")
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _values(data: bytearray) -> list[object] | None:
    values: list[object] = []
    try:
        text = data.decode("utf-8-sig")
        at = _behind_space(text, 0)
        while at < len(text):
            value, at = DECODER.raw_decode(text, at)
            values.append(value)
            at = _behind_space(text, at)
    except (ValueError, RecursionError):
        return None
    return values


def _behind_space(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()
