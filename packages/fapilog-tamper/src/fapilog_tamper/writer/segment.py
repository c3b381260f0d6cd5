"""The segment that is being written: its file, what was committed to it, and what its manifest will say.

`chunks` is the record of commits, and its last element is where the stream stands: appending to it is the one step by
which an entry becomes written. What was committed is hashed later, many chunks at a time, by `fold`; the running hash
is of the bytes that were handed to the store, never of what lies there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["FOLD", "Chunk", "End", "Hashed", "Item", "OpenSegment", "no_segment"]

FOLD: Final = 32
"""Chunks that wait to be hashed: more cost a caller too much at once, fewer cost calls."""

Item = tuple[int, bytes, bytes, str | None]
"""An accepted entry that is not known to be in the store: seq, chain hash, line, and the `timestamp` in it.

A bare tuple, because one is made for each entry, under the mutex.
"""

Chunk = tuple[int, bytes, int, bytes, str | None, str | None]
"""Committed lines: seq and chain hash of the last, where they end in the file, their bytes, and the least and the
greatest `timestamp` in them. Its first two members are those of `Item`: the next entry is linked to either.
"""


class End(NamedTuple):
    """How far a stream is in the store: the last entry there, and where it ends in which segment."""

    seq: int
    chain: bytes
    offset: int
    segment: OpenSegment | None


class Hashed(NamedTuple):
    """What was folded: how far, the running hash, and the least and the greatest `timestamp`."""

    offset: int
    digest: _Hash
    first_ts: str | None
    last_ts: str | None


def _nothing() -> Hashed:
    return Hashed(0, sha256(), None, None)


@dataclass(slots=True, eq=False)
class OpenSegment:
    """One file that takes lines.

    Whoever has the writing turn appends to `chunks`; any thread may `fold`. The first chunk is always one that was
    folded, so that there is always a last one.
    """

    name: str
    handle: int
    created: float
    first_seq: int
    continues_from: bytes
    rotate_at: float
    chunks: list[Chunk]
    hashed: Hashed = field(default_factory=_nothing)
    named: bool = False
    synced: End | None = None
    _synced_hashed: Hashed = field(default_factory=_nothing)
    _folding: threading.RLock = field(default_factory=threading.RLock)

    @property
    def end(self) -> End:
        """The last entry that was committed."""
        last = self.chunks[-1]
        return End(last[0], last[1], last[2], self if self.handle >= 0 else None)

    def fold(self) -> tuple[End, Hashed]:
        """Take what was committed into the hash and the time stamps; return where that ends, and both.

        Hazard: a signal handler that appends may fold in the middle of this, in the same thread. So what was begun here
        counts only if nothing changed meanwhile.
        """
        with self._folding:
            count, first, done = len(self.chunks), self.chunks[0], self.hashed
            # Ctrl-C may have ended a fold between its last two steps.
            part = [chunk for chunk in self.chunks[1:count] if chunk[2] > done.offset]
            last = self.chunks[count - 1]
            fresh = _with(done, part, last[2]) if part else done
            if self.hashed is done:
                self.hashed = fresh
            if self.chunks[0] is first:
                del self.chunks[: count - 1]
            return (End(last[0], last[1], last[2], self), fresh) if self.hashed is fresh else self.fold()

    def keep(self, end: End, hashed: Hashed) -> None:
        """Remember how far the segment is on the disk; both are what `fold` returned."""
        self.synced, self._synced_hashed = end, hashed

    @property
    def synced_hash(self) -> _Hash:
        """The hash of what is on the disk; a copy."""
        return self._synced_hashed.digest.copy()

    def go_back(self) -> None:
        """Forget what was never synced: it stands in another segment now."""
        end = self.synced
        if end is not None:
            self.chunks = [(end.seq, end.chain, end.offset, b"", None, None)]
        self.hashed = self._synced_hashed


def _with(done: Hashed, part: list[Chunk], offset: int) -> Hashed:
    least = [chunk[4] for chunk in part if chunk[4] is not None]
    most = [chunk[5] for chunk in part if chunk[5] is not None]
    digest = done.digest.copy()
    # Above two kilobytes hashing leaves the interpreter to other threads.
    digest.update(b"".join([chunk[3] for chunk in part]))
    return Hashed(
        offset,
        digest,
        min([*least, *([] if done.first_ts is None else [done.first_ts])], default=None),
        max([*most, *([] if done.last_ts is None else [done.last_ts])], default=None),
    )


def no_segment(seq: int, chain: bytes, offset: int = 0) -> OpenSegment:
    """Return what stands for the open segment while there is none: it is full at any time."""
    return OpenSegment("", -1, 0.0, seq + 1, chain, -inf, [(seq, chain, offset, b"", None, None)])
