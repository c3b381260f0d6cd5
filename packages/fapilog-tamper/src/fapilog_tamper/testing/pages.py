"""A file in memory that knows what of it is on the disk, and what a power cut may leave of it.

Three things are kept of a file: what was synced, what was done to it since (in order), and what its readers see now.
A power cut leaves any state that a journaling file system could show, which is more than "the old or the new":

* each page is as it was synced or as it was after any later write to it, whatever became of other pages;
* the size is that of any moment since the sync, or a page boundary that a write passed on its way;
* where the size grew over a page that was never written out, the page is zero;
* a truncation may be undone; then the pages that it cut off are back as they were before it;
* where a truncation was kept, nothing that it cut off shows up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

__all__ = ["PAGE", "MemoryFile"]

PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class _Write:
    start: int
    content: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.content)

    def put(self, into: bytearray) -> None:
        if self.start > len(into):
            into.extend(bytes(self.start - len(into)))
        into[self.start : self.end] = self.content

    def size_behind(self, size: int) -> int:
        return max(size, self.end)


@dataclass(frozen=True, slots=True)
class _Truncation:
    size: int

    def put(self, into: bytearray) -> None:
        del into[self.size :]
        into.extend(bytes(self.size - len(into)))

    def size_behind(self, _size: int) -> int:
        return self.size


class MemoryFile:
    """One file, whatever its name. Not for several threads at once: the disk sees to that."""

    def __init__(self, synced: bytes = b"") -> None:
        self._synced = bytearray(synced)
        self._seen = bytearray(synced)
        self._since: list[_Write | _Truncation] = []

    @property
    def content(self) -> bytes:
        """What readers see."""
        return bytes(self._seen)

    @property
    def synced(self) -> bytes:
        """What certainly survives a power cut, as long as nothing is written over it."""
        return bytes(self._synced)

    @property
    def is_synced(self) -> bool:
        """Tell whether nothing was done since the last sync."""
        return not self._since

    def __len__(self) -> int:
        return len(self._seen)

    def read(self, start: int, end: int | None) -> bytes:
        """Return the bytes from `start` to `end`."""
        return bytes(self._seen[start:end])

    def write(self, start: int, content: bytes) -> None:
        """Put bytes at an offset; a gap before them is zeros."""
        self._do(_Write(start, content))

    def truncate(self, size: int) -> None:
        """Cut the file, or lengthen it by zeros."""
        self._do(_Truncation(size))

    def sync(self) -> None:
        """Bring everything to the disk."""
        for change in self._since:
            change.put(self._synced)
        self._since.clear()

    def lose(self) -> None:
        """Forget what was not synced, and go on showing it to readers: a failed fsync does that.

        The size is kept by the file system's journal, so that zeros stand where the lost bytes were.
        """
        self._since = [_Truncation(len(self._seen))]

    def copy(self) -> MemoryFile:
        """Return a file of its own in the same state."""
        other = MemoryFile()
        other._synced = bytearray(self._synced)
        other._seen = bytearray(self._seen)
        other._since = list(self._since)
        return other

    def power_cut(self, rng: random.Random, page: int = PAGE) -> MemoryFile:
        """Return the file as it may be found after a power cut, all of it synced."""
        if self.is_synced:
            return MemoryFile(self.synced)
        moments = self._moments(page)
        kept, size = rng.choice((moments[0], moments[-1], rng.choice(moments)))
        pages = _Pages(self._synced, page, rng)
        for number, change in enumerate(self._since, 1):
            if isinstance(change, _Write):
                pages.write(change)
            else:
                pages.truncate(change.size, kept=number <= kept)
        return MemoryFile(pages.found(size))

    def _do(self, change: _Write | _Truncation) -> None:
        change.put(self._seen)
        self._since.append(change)

    def _moments(self, page: int) -> list[tuple[int, int]]:
        """Return the sizes that the disk may have, each with the number of changes that it has seen by then."""
        size = len(self._synced)
        moments = [(0, size)]
        for number, change in enumerate(self._since, 1):
            behind = change.size_behind(size)
            if isinstance(change, _Write):
                moments += [(number, boundary) for boundary in range((size // page + 1) * page, behind, page)]
            moments.append((number, behind))
            size = behind
        return moments


class _Pages:
    """Goes through the changes once more and holds, of each page, the one version that is found in the end."""

    def __init__(self, synced: bytearray, page: int, rng: random.Random) -> None:
        self._synced = synced
        self._page = page
        self._rng = rng
        # Mixed pages alone would hardly ever show the two plain cases.
        self._liking = rng.choice(("oldest", "any", "any", "newest"))
        self._now: dict[int, bytearray] = {}
        self._held: dict[int, bytes] = {}
        self._versions: dict[int, int] = {}
        self._given_up: set[int] = set()

    def write(self, change: _Write) -> None:
        page = self._page
        for index in range(change.start // page, -(-change.end // page)):
            first, behind = max(change.start, index * page), min(change.end, (index + 1) * page)
            piece = change.content[first - change.start : behind - change.start]
            self._at(index)[first - index * page : behind - index * page] = piece
            self._offer(index)

    def truncate(self, size: int, *, kept: bool) -> None:
        page = self._page
        pages_seen = max(-(-len(self._synced) // page), max(self._now, default=-1) + 1)
        for index in range(size // page, pages_seen):
            left = max(0, size - index * page)
            self._at(index)[left:] = bytes(page - left)
            if kept:
                self._held[index] = self._held[index][:left].ljust(page, b"\x00")
            elif left:
                self._offer(index)
            else:
                # The disk still has the page where it was; what is written behind the cut goes to another place,
                # which nothing points to before the truncation is kept.
                self._given_up.add(index)

    def found(self, size: int) -> bytes:
        found = bytearray(self._synced[:size])
        found.extend(bytes(size - len(found)))
        for index, content in self._held.items():
            start = index * self._page
            if start < size:
                found[start : start + self._page] = content[: size - start]
        return bytes(found)

    def _at(self, index: int) -> bytearray:
        if index not in self._now:
            synced = self._synced[index * self._page : (index + 1) * self._page].ljust(self._page, b"\x00")
            self._now[index], self._held[index], self._versions[index] = synced, bytes(synced), 1
        return self._now[index]

    def _offer(self, index: int) -> None:
        if index in self._given_up:
            return
        self._versions[index] += 1
        taken = self._liking == "any" and self._rng.random() * self._versions[index] < 1
        if taken or self._liking == "newest":
            self._held[index] = bytes(self._now[index])
