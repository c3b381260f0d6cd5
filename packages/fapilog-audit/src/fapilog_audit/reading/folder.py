"""The segments of a folder by stream, in the order in which they were written.

Only regular files of the folder itself. The order is that of the writer's names; where a file of a stream has another
name, it is that of the first entries. A segment may be compressed at any time, so it is looked for under each of its
names, and a folder is listed twice: reading it is not one step.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from fapilog_audit.errors import ConfigError
from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import is_segment_name, manifest_name, parse_segment_name, plain_name
from fapilog_tamper.manifest import Manifest, parse_manifest
from fapilog_tamper.verify.source import CHUNK, MAX_LINE, Source, SourceError, open_source, read_small, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fapilog_tamper.entry import Integrity

__all__ = ["Segment", "find_streams"]

_ENDINGS: Final = ("", ".gz", ".zst")


@dataclass(slots=True, eq=False)
class Segment:
    """One segment, under the name it has when it is not compressed. `last`: none of its stream stands behind it."""

    folder: Path
    name: str
    stream: str
    place: tuple[str, int] | None
    last: bool = False
    _manifest: Manifest | None = None
    _first: Integrity | None = None

    @property
    def manifest(self) -> Manifest | None:
        """Its manifest, where there is one that can be read and speaks of it."""
        if self._manifest is None:
            try:
                found = parse_manifest(read_small(self.folder / manifest_name(self.name), MAX_DOCUMENT))
            except (SourceError, FormatError):
                return None
            if (found.stream, found.file) == (self.stream, self.name):
                self._manifest = found
        return self._manifest

    @property
    def first(self) -> Integrity | None:
        """The block of its first line, None where there is none that can be split."""
        if self._first is None:
            self._first = self._peek()
        return self._first

    def _peek(self) -> Integrity | None:
        with self.open() as source:
            if source is None:
                return None
            try:
                # A line that is longer than any entry says nothing; it is not read to its end for that.
                for block in whole_lines(islice(source.chunks(), MAX_LINE // CHUNK + 2)):
                    return split(block.data[: block.data.find(b"\n") + 1])[1]
            except (SourceError, FormatError):
                pass
        return None

    @contextmanager
    def open(self) -> Iterator[Source | None]:
        """Open it under the name that it has now; None where it was removed.

        Raises:
            ConfigError: it may not be read.
        """
        with ExitStack() as stack:
            yield self._enter(stack)

    def _enter(self, stack: ExitStack) -> Source | None:
        # Compressing makes the new name before it removes the old one.
        for ending in _ENDINGS:
            path = self.folder / (self.name + ending)
            # A link is not a file of this folder.
            if not _is_regular(path):
                continue
            try:
                return stack.enter_context(open_source(path))
            except SourceError as error:
                if not error.absent:
                    raise ConfigError(f"{path} cannot be read: {error}.", hint="Give yourself the right to.") from None
        return None

    def comes_before(self, name: str) -> bool:
        """Tell whether it stands before a segment of its stream that was called `name`."""
        other = parse_segment_name(name)
        if self.place is None or other is None:
            return self.name < name
        return self.place < (other[1].isoformat(), other[2])

    def mark(self) -> tuple[int, int] | None:
        """Return what changes when the plain file grows or is replaced; None when it is compressed or gone."""
        try:
            status = (self.folder / self.name).lstat()
        except OSError:
            return None
        return (status.st_ino, status.st_size) if stat.S_ISREG(status.st_mode) else None

    def stored_bytes(self) -> int:
        """Return the bytes that it takes on the disk."""
        with self.open() as source:
            return 0 if source is None else source.size


def find_streams(folder: Path) -> dict[str, list[Segment]]:
    """Return the segments of a folder by stream; of one that does not exist, none.

    Raises:
        ConfigError: it is no folder, or may not be read.
    """
    streams: dict[str, list[Segment]] = {}
    odd: set[str] = set()
    for name in sorted(_list(folder)):
        segment = _segment(folder, name)
        if segment.place is None:
            odd.add(segment.stream)
        streams.setdefault(segment.stream, []).append(segment)
    for stream, segments in streams.items():
        if stream in odd:
            segments[:] = sorted(_without_copies(segments), key=_by_first)
        else:
            segments.sort(key=lambda one: one.place or ("", 0))
        segments[-1].last = True
    return dict(sorted(streams.items()))


def _without_copies(segments: list[Segment]) -> Iterator[Segment]:
    """Yield the segments without copies under other names, such as editors leave: their events count once."""
    known = {segment.first for segment in segments if segment.place is not None}
    for segment in segments:
        if segment.place is not None:
            yield segment
        elif segment.first not in known:
            known.add(segment.first)
            yield segment


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _by_first(segment: Segment) -> tuple[int, str]:
    return (0 if segment.first is None else segment.first.seq, segment.name)


def _segment(folder: Path, name: str) -> Segment:
    parsed = parse_segment_name(name)
    if parsed is not None:
        return Segment(folder, name, parsed[0], (parsed[1].isoformat(), parsed[2]))
    segment = Segment(folder, name, "", None)
    segment.stream = segment.first.stream if segment.first is not None else ""
    return segment


def _list(folder: Path) -> set[str]:
    try:
        return _list_once(folder) | _list_once(folder)
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{folder} cannot be listed: {why}.", hint="Name a folder that you may read.") from None


def _list_once(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {
            plain_name(entry.name)
            for entry in entries
            if is_segment_name(entry.name) and entry.is_file(follow_symlinks=False)
        }
