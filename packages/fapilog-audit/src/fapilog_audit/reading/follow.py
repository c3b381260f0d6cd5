"""`Follower`: the entries of a folder as they are written, each once, in the order of its stream."""

from __future__ import annotations

import os
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from fapilog_audit.errors import ConfigError
from fapilog_audit.reading.folder import find_streams
from fapilog_audit.reading.track import Track

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading.folder import Segment

__all__ = ["Follower"]

_COARSE: Final = 2.0
"""Seconds of the coarsest clock of a file system: a change within them may leave the time of the folder as it was."""

_STALE: Final = 5.0
"""Seconds after which a folder is listed again, whatever its time says: its clock may not be ours."""


class Follower:
    """Reads what is written to a folder, from where it got to before. One thread at a time; nothing is kept open.

    The folder need not exist yet. While nothing is new, a poll costs one look at the folder and one at the last segment
    of each stream.
    """

    def __init__(
        self,
        folder: Path,
        *,
        after: Mapping[str, int] | None = None,
        from_end: bool = False,
        include_control: bool = False,
    ) -> None:
        """Begin behind what was read before.

        Args:
            folder: the folder of a sealed log.
            after: the last seq that is not wanted, by stream: the `positions` of an earlier follower.
            from_end: of streams that are not in `after`, only what comes after now. Those that begin later are read
                from their begin.
            include_control: entries of the log itself are events, too.

        Raises:
            ConfigError: a seq is none, or the folder cannot be read.
        """
        self._folder = folder
        self._include_control = include_control
        self._tracks: dict[str, Track] = {}
        self._streams: dict[str, list[Segment]] = {}
        self._listed: tuple[int, float, float] | None = None
        self._turn = 0
        for stream, seq in (after or {}).items():
            if type(seq) is not int or seq < 0:
                raise ConfigError(f"after of {stream} is {seq!r}.", hint="Give the seq of an entry, or 0.")
            self._tracks[stream] = Track(seq, seq, include_control)
        if from_end:
            self._list()
            for stream, segments in self._streams.items():
                if stream not in self._tracks:
                    self._tracks[stream] = Track(include_control=include_control)
                    self._tracks[stream].go_to_end(segments)

    @property
    def positions(self) -> dict[str, int]:
        """The last seq that was returned, or was not wanted, by stream: for `after` of another follower."""
        return {stream: track.returned for stream, track in self._tracks.items()}

    @property
    def unreadable(self) -> int:
        """Lines so far that hold no event."""
        return sum(track.unreadable for track in self._tracks.values())

    def poll(self, limit: int = 1000) -> list[AuditEvent]:
        """Return what is new, at most `limit` entries, in the order of seq within each stream; nothing is waited for.

        Raises:
            ConfigError: the folder, or a segment in it, cannot be read; nothing is lost by that.
        """
        if type(limit) is not int or limit < 1:
            raise ConfigError(f"limit is {limit!r}.", hint="Give a whole number from 1 on.")
        if not self._is_fresh():
            self._list()
        names = list(self._streams)
        # Each poll begins with another stream, so that a busy one does not hold up the others.
        turn, self._turn = self._turn % max(1, len(names)), self._turn + 1
        events: list[AuditEvent] = []
        for stream in names[turn:] + names[:turn]:
            if len(events) >= limit:
                break
            track = self._tracks.setdefault(stream, Track(include_control=self._include_control))
            try:
                track.read(self._streams[stream], events, limit)
            except ConfigError:
                # What was taken before counts as returned; the next poll meets the error again.
                if not events:
                    raise
                break
        return events

    def _is_fresh(self) -> bool:
        if self._listed is None or any(track.doubt for track in self._tracks.values()):
            return False
        changed, wall, when = self._listed
        if changed != self._changed() or monotonic() - when > _STALE:
            return False
        return wall - changed / 1e9 > _COARSE

    def _changed(self) -> int:
        try:
            return os.stat(self._folder).st_mtime_ns  # noqa: PTH116 (half the time of Path.stat)
        except OSError:
            return -1

    def _list(self) -> None:
        self._listed = (self._changed(), time(), monotonic())
        self._streams = find_streams(self._folder)
