"""The bytes of one segment, read in bounded memory.

Opens regular files only and never for writing, tells plain, gzip and zstd apart by their first bytes, and gives the
bytes up to the size the file had when it was opened. Compressed data is one member with nothing behind it and never
unpacks to more than a limit. `whole_lines` cuts the bytes at newlines. What the lines say is not looked at here.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = [
    "MAX_LINE",
    "Block",
    "ExtraBytesError",
    "Source",
    "SourceError",
    "has_hole",
    "open_source",
    "read_small",
    "whole_lines",
]

CHUNK: Final = 1 << 16
"""Bytes of one read: larger ones leave the processor's cache, smaller ones cost calls."""

MAX_LINE: Final = (1 << 20) + (1 << 14)
"""Bytes of the longest line that is held: the largest payload and the largest block."""

_UNPACK_BASE: Final = 1 << 30
_UNPACK_RATIO: Final = 1000
_WINDOW_LOG: Final = 25
"""A zstd window of 32 MiB: what `zstd -19` makes is smaller, what a bomb asks for is larger."""

_SHOWN: Final = 256
_SECTOR: Final = 512
_ZEROS: Final = re.compile(rb"\x00+")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class SourceError(Exception):
    """The bytes cannot be read, or not to their end; the message says why.

    `damaged`: they could be read, and are not what anybody stored.
    """

    def __init__(self, message: str, *, absent: bool = False, damaged: bool = False) -> None:
        super().__init__(message)
        self.absent = absent
        self.damaged = damaged


class ExtraBytesError(SourceError):
    """Bytes stand behind the one compressed member."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open segment. `size` is the size of the file, as stored, when it was opened."""

    fd: int
    size: int
    packing: str
    tick: Callable[[int], None] | None = None

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the unpacked bytes; `limit` bounds their number where the caller knows how many there should be.

        Raises:
            SourceError: when the file ends early, is damaged, or unpacks to more than the limit.
        """
        if self.packing == "plain":
            return self.plain_chunks(0, self.size)
        return self._unpacked(_UNPACK_BASE + _UNPACK_RATIO * self.size if limit is None else limit)

    def plain_chunks(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the stored bytes from offset `start` to `end`."""
        while start < end:
            chunk = _pread(self.fd, min(CHUNK, end - start), start)
            if not chunk:
                raise SourceError("the file became shorter while it was read")
            start += len(chunk)
            if self.tick is not None:
                self.tick(len(chunk))
            yield chunk

    def line_start(self, offset: int) -> int:
        """Return the offset behind the first newline at or after `offset`, or the size where there is none."""
        at = offset
        for chunk in self.plain_chunks(offset, self.size):
            found = chunk.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(chunk)
        return self.size

    def grew(self) -> bool:
        """Tell whether the file is longer than when it was opened: somebody is writing to it."""
        return os.fstat(self.fd).st_size > self.size

    def _unpacked(self, limit: int) -> Iterator[bytes]:
        unpacker = _GzipUnpacker() if self.packing == "gzip" else _zstd_unpacker()
        total = 0
        for chunk in self.plain_chunks(0, self.size):
            if unpacker.eof:
                raise ExtraBytesError("bytes stand behind the compressed member")
            for out in _steps(unpacker, chunk):
                # What is too much is handed over first, so that its lines are looked at and can be named.
                yield out
                total += len(out)
                if total > limit:
                    raise SourceError(
                        f"unpacks to more than the {limit} bytes that were expected at most", damaged=True
                    )
        if not unpacker.eof:
            raise SourceError(f"the {self.packing} data ends early", damaged=True)
        if unpacker.unused_data:
            raise ExtraBytesError("bytes stand behind the compressed member")


def _zstd_unpacker() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


class _GzipUnpacker:
    """zlib with the two words of the zstd decompressor, so that one loop serves both."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)


def _steps(unpacker: _GzipUnpacker | zstd.ZstdDecompressor, data: bytes) -> Iterator[bytes]:
    """Yield what `data` unpacks to, at most a chunk at a time, until more input is needed."""
    while True:
        try:
            out = unpacker.decompress(data, CHUNK)
        except (zlib.error, zstd.ZstdError) as error:
            raise SourceError(f"damaged compressed data ({error})", damaged=True) from None
        if out:
            yield out
        if len(out) < CHUNK or unpacker.eof:
            return
        data = b""


@contextmanager
def open_source(path: Path, tick: Callable[[int], None] | None = None) -> Iterator[Source]:
    """Open a regular file for reading; `tick` hears how many stored bytes were read.

    Raises:
        SourceError: when it is absent, not regular, or may not be read.
    """
    # Without O_NONBLOCK, opening a FIFO that nobody writes to never returns.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise SourceError(_reason(error), absent=isinstance(error, FileNotFoundError)) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("not a regular file")
        magic = _pread(fd, 4, 0)
        packing = "gzip" if magic.startswith(_GZIP) else "zstd" if magic == _ZSTD else "plain"
        yield Source(fd, status.st_size, packing, tick)
    finally:
        os.close(fd)


def read_small(path: Path, most: int) -> bytes:
    """Return the bytes of a small file, at most one more than `most`, so that the caller can tell it is too long."""
    with open_source(path) as source:
        return b"".join(source.plain_chunks(0, min(source.size, most + 1)))


def _pread(fd: int, size: int, offset: int) -> bytes:
    try:
        if hasattr(os, "pread"):
            return os.pread(fd, size, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)
    except OSError as error:
        raise SourceError(_reason(error)) from None


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines, or one piece that is no whole line.

    `kind` is "lines" (every line with its newline), "long" (one line too long to hold) or "end" (what stands behind
    the last newline); of the latter two `data` may be the beginning only. `hole`: a long line holds zeros that end
    where a sector ends.
    """

    data: bytes
    offset: int
    kind: str = "lines"
    hole: bool = False


def has_hole(data: bytes, offset: int) -> bool:
    """Tell whether zeros in the data end where a disk's sector ends, as they do where a page was never written."""
    return any((offset + zeros.end()) % _SECTOR == 0 for zeros in _ZEROS.finditer(data))


class _LongLine:
    """A line too long to hold: its beginning, its size, and whether there is a hole in it."""

    def __init__(self, begin: bytes, offset: int) -> None:
        self._begin = begin[:_SHOWN]
        self._offset = offset
        self.size = 0
        self._hole = False
        self._open = False
        self.take(begin)

    def take(self, piece: bytes) -> None:
        at = self._offset + self.size
        # Zeros that reach the end of a piece may go on in the next: where they end is not known yet.
        # Stripping looks at byte after byte; a file of zeros only would take minutes.
        closed = b"" if piece.count(0) == len(piece) else piece.rstrip(b"\x00")
        ended = self._open and bool(closed) and not piece.startswith(b"\x00") and at % _SECTOR == 0
        self._hole = self._hole or ended or has_hole(closed, at)
        self._open = len(closed) < len(piece)
        self.size += len(piece)

    def block(self, kind: str) -> Block:
        return Block(self._begin, self._offset, kind, self._hole)


def whole_lines(chunks: Iterable[bytes], offset: int = 0) -> Iterator[Block]:
    """Cut chunks at newlines; `offset` is where the first chunk stands in the file."""
    rest = b""
    long: _LongLine | None = None
    for chunk in chunks:
        piece = chunk
        if long is None:
            rest += piece
        else:
            end = piece.find(b"\n") + 1
            long.take(piece[:end] if end else piece)
            if not end:
                continue
            yield long.block("long")
            offset, rest, long = offset + long.size, piece[end:], None
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield from _split_off_long(rest[:cut], offset)
            offset, rest = offset + cut, rest[cut:]
        if len(rest) > MAX_LINE:
            long, rest = _LongLine(rest, offset), b""
    if long is not None:
        yield long.block("end")
    elif rest:
        yield Block(rest, offset, "end")


def _split_off_long(data: bytes, offset: int) -> Iterator[Block]:
    """Yield whole lines; only the first can have grown too long, because a chunk is shorter than a line may be."""
    first = data.find(b"\n") + 1
    if first > MAX_LINE:
        yield _LongLine(data[:first], offset).block("long")
        data, offset = data[first:], offset + first
    if data:
        yield Block(data, offset)
