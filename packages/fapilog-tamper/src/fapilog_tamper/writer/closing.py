"""Segments that take no more lines, on their way to a manifest.

A *closed* one was synced as a whole. A *wounded* one was given up after a failed sync: behind what was synced before it
may hold anything, and its lines from there on stand in the next segment. It is cut once these are on the disk; before
that nothing attests an entry that it may hold a damaged copy of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.writer.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_tamper.writer.segment import End, OpenSegment
    from fapilog_tamper.writer.shelf import Shelf
    from fapilog_tamper.writer.troubles import Troubles

__all__ = ["Closing"]

_WHAT = "closing a segment"


class Closing:
    """The segments of one stream that wait to be described. `described` hears the name of each that is."""

    def __init__(self, shelf: Shelf, troubles: Troubles, described: Callable[[str], None]) -> None:
        self._shelf = shelf
        self._troubles = troubles
        self._described = described
        self._wounded: list[tuple[OpenSegment, int]] = []
        self._closed: list[tuple[OpenSegment, End]] = []
        self.retry = Retry()
        self.count = 0
        """How many have been described."""

    def __bool__(self) -> bool:
        return bool(self._wounded or self._closed)

    @property
    def wounded(self) -> bool:
        """Whether there is a segment whose end must not be believed."""
        return bool(self._wounded)

    def add_closed(self, segment: OpenSegment, end: End) -> None:
        """Take a segment that is synced and ends at `end`."""
        self._closed.append((segment, end))

    def add_wounded(self, segment: OpenSegment, last_seq: int) -> None:
        """Take a segment that was given up; what it may hold through `last_seq` stands elsewhere."""
        self._wounded.append((segment, last_seq))

    def step(self, synced: int) -> None:
        """Describe what can be; entries through `synced` are on the disk."""
        if not (self and self.retry.due):
            return
        try:
            while self._wounded and synced >= self._wounded[0][1]:
                self._mend(self._wounded[0][0])
                self._wounded.pop(0)
            while self._closed and not self._wounded:
                self._describe(*self._closed[0])
                self._closed.pop(0)
        except (OSError, SealKeyError) as error:
            self._troubles.meet(_WHAT, error)
            self.retry.failed()
        else:
            self._troubles.well(_WHAT)
            self.retry.worked()

    def _mend(self, segment: OpenSegment) -> None:
        end = segment.synced
        if end is None:
            self._shelf.drop(segment)
            return
        self._shelf.cut(segment, end)
        self._describe(segment, end)

    def _describe(self, segment: OpenSegment, end: End) -> None:
        self._shelf.write_manifest(segment, end)
        self._shelf.folder.close(segment.handle)
        self.count += 1
        self._described(segment.name)
