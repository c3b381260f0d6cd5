"""The lines of one segment in blocks, forwards or backwards, in bounded memory.

Only whole lines, of the file as it was when it was opened. What cannot be read is a piece without data: a line that is
too long to be an entry, the torn end of a file that nobody writes to any more, the rest of damaged compressed data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fapilog_tamper.verify.source import CHUNK, MAX_LINE, SourceError, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fapilog_tamper.verify.source import Source

__all__ = ["Piece", "backwards", "forwards", "last_piece"]

_BEHIND_ALL: Final = 1 << 53


class Piece(NamedTuple):
    """Whole lines, and where they stand in the unpacked bytes; no data: a line that cannot be read."""

    data: bytes
    offset: int
    end: int


def forwards(source: Source, *, start: int = 0, end: int | None = None, torn: bool = False) -> Iterator[Piece]:
    """Yield the lines from `start` to `end`, both of them places where lines begin.

    Args:
        source: an open segment.
        start: where to begin; packed bytes are read from their begin all the same.
        end: where to end; None for the end of the file.
        torn: nobody writes to it, so what stands behind the last newline is a line that cannot be read.
    """
    for piece in _all_forwards(source, start, torn=torn):
        if end is not None and piece.offset >= end:
            return
        if not piece.data:
            if piece.offset >= start:
                yield piece
            continue
        skip = max(0, start - piece.offset)
        data = piece.data[skip:]
        if end is not None and end < piece.end:
            # A page may have ended where a line was being written, which is whole by now.
            data = data[: data.rfind(b"\n", 0, max(0, end - piece.offset - skip)) + 1]
        if data:
            yield Piece(data, piece.offset + skip, piece.offset + skip + len(data))


def _all_forwards(source: Source, start: int, *, torn: bool) -> Iterator[Piece]:
    plain = source.packing == "plain"
    faults: list[SourceError] = []
    first = min(start, source.size) if plain else 0
    chunks = source.plain_chunks(first, source.size) if plain else source.chunks()
    at, long = first, None
    for block in whole_lines(_until_fault(chunks, faults), first):
        if long is not None:
            # Where a long line ends shows only now.
            yield Piece(b"", long, block.offset)
            long = None
        at = block.offset
        if block.kind == "lines":
            at += len(block.data)
            yield Piece(block.data, block.offset, at)
        elif block.kind == "long":
            long = block.offset
        elif torn and not faults:
            yield Piece(b"", block.offset, _BEHIND_ALL)
    if long is not None:
        yield Piece(b"", long, source.size if plain else _BEHIND_ALL)
    if any(fault.damaged for fault in faults):
        yield Piece(b"", at, _BEHIND_ALL)


def _until_fault(chunks: Iterable[bytes], faults: list[SourceError]) -> Iterator[bytes]:
    """Yield chunks until there are no more; a file may become shorter when its writer mends it."""
    try:
        yield from chunks
    except SourceError as error:
        faults.append(error)


def backwards(source: Source, *, end: int | None = None, torn: bool = False) -> Iterator[Piece]:
    """Yield the lines of a plain segment that stand before `end`, the last block first; else as `forwards`."""
    limit = source.size if end is None else min(end, source.size)
    at = _behind_newline(source, limit)
    if torn and at < limit == source.size:
        yield Piece(b"", at, limit)
    # The end of the line whose begin is not read yet; of one that is too long it is not kept.
    tail, too_long = b"", False
    while at > 0:
        start = max(0, at - CHUNK)
        data = _read(source, start, at)
        at = start
        if too_long:
            cut = data.rfind(b"\n") + 1
            if start and not cut:
                continue
            yield Piece(b"", start + cut, start + cut)
            data, too_long = data[:cut], False
        else:
            data += tail
        begin = data.find(b"\n") + 1 if start else 0
        if start and begin == len(data):
            too_long = len(data) > MAX_LINE
            tail = b"" if too_long else data
            continue
        tail = data[:begin]
        if begin < len(data):
            yield Piece(data[begin:], start + begin, start + len(data))


def last_piece(source: Source) -> Piece | None:
    """Return the last lines of a segment, None where it has none."""
    if source.packing == "plain":
        return next((piece for piece in backwards(source) if piece.data), None)
    last = None
    for piece in forwards(source):
        last = piece if piece.data else last
    return last


def _behind_newline(source: Source, end: int) -> int:
    while end > 0:
        start = max(0, end - CHUNK)
        found = _read(source, start, end).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _read(source: Source, start: int, end: int) -> bytes:
    data = b"".join(_until_fault(source.plain_chunks(start, end), []))
    # What its writer cut off meanwhile reads as empty lines, which hold nothing.
    return data.ljust(end - start, b"\n")
