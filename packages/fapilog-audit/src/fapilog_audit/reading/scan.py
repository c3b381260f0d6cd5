"""One stream, read line by line in either order: what may be wanted of it, with its place and its running time.

The clock of a writer may go back. So that streams can be merged by time and each stays in the order of its entries, an
entry counts with a running time: forwards the latest so far, backwards the earliest so far, of what was wanted. The
manifest of a segment counts before its entries, so that it need not be opened before its time has come.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from fapilog_audit.reading.controls import Lines, controls_before
from fapilog_audit.reading.cursor import Place
from fapilog_audit.reading.matching import Members, UnreadableError, read_members, seq_of
from fapilog_audit.reading.moments import covers, moment_of, span_of
from fapilog_audit.reading.pieces import Piece, backwards, forwards

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from fapilog_audit.reading.folder import Segment
    from fapilog_audit.reading.matching import Matcher
    from fapilog_tamper.verify.source import Source

__all__ = ["EARLIEST", "LATEST", "Found", "Hit", "SegmentReader", "end_of", "read_stream"]

EARLIEST: Final = ""
LATEST: Final = "~"
"""Running times before and behind all times."""

_HELD: Final = 16 << 20
"""Bytes of wanted lines of a packed segment that are held when it is read backwards: it is read again for those
before."""


_OVERHEAD: Final = 2048
"""Bytes that a held line costs besides its own: what it says, parsed."""


class Hit(NamedTuple):
    """A line that is wanted. Without a line: a place where reading has got to; `members` is None: it is unreadable."""

    moment: str
    place: Place
    line: bytes = b""
    members: Members | None = None
    before: tuple[bytes, ...] = ()

    @property
    def is_line(self) -> bool:
        """Whether there is a line, and not a place only."""
        return self.place.offset is not None


class Found(NamedTuple):
    """A wanted line, its place in the segment, and what it says: None if it is unreadable."""

    line: bytes
    offset: int
    end: int
    members: Members | None
    before: tuple[bytes, ...]


def end_of(segments: Sequence[Segment]) -> Place:
    """Return the place behind all that a stream holds now."""
    last = segments[-1]
    mark = last.mark()
    return Place(LATEST, last.name, None if mark is None else mark[1])


def read_stream(
    segments: Sequence[Segment], matcher: Matcher, *, newest_first: bool, place: Place | None = None
) -> Generator[Hit, None, None]:
    """Yield what is wanted of one stream, from a place on; before each segment is opened, a place without a line."""
    index, offset, running = _start(segments, place, newest_first=newest_first)
    order = range(index, -1, -1) if newest_first else range(index, len(segments))
    for at in order:
        segment = segments[at]
        if _is_skipped(segment, matcher):
            offset = None
            continue
        running = _bounded(running, segment, matcher, newest_first=newest_first)
        yield Hit(running, Place(running, segment.name, None))
        reader = SegmentReader(segments, at, matcher)
        for found in reader.newest_first(offset) if newest_first else reader.oldest_first(offset or 0):
            if found.members is not None:
                moment = moment_of(_stamp(found.members)) or running
                running = min(running, moment) if newest_first else max(running, moment)
            behind = found.offset if newest_first else found.end
            yield Hit(running, Place(running, segment.name, behind), found.line, found.members, found.before)
        offset = None


def _start(segments: Sequence[Segment], place: Place | None, *, newest_first: bool) -> tuple[int, int | None, str]:
    if place is None:
        return (len(segments) - 1, None, LATEST) if newest_first else (0, None, EARLIEST)
    for index, segment in enumerate(segments):
        if segment.name == place.segment:
            return index, place.offset, place.moment
    # The segment was taken away meanwhile; its neighbours are where they were.
    before = sum(segment.comes_before(place.segment) for segment in segments)
    return (before - 1 if newest_first else before), None, place.moment


def _is_skipped(segment: Segment, matcher: Matcher) -> bool:
    # The times of control entries do not stand in the manifest.
    if matcher.include_control or (matcher.start is None and matcher.end is None):
        return False
    manifest = segment.manifest
    return manifest is not None and not covers(manifest, matcher.start, matcher.end)


def _bounded(running: str, segment: Segment, matcher: Matcher, *, newest_first: bool) -> str:
    """Return the running time before a segment, which its manifest may bring forward: it is opened when that is due."""
    manifest = None if matcher.include_control else segment.manifest
    span = None if manifest is None else span_of(manifest)
    if span is None:
        return running
    return min(running, span[1]) if newest_first else max(running, span[0])


def _stamp(members: Members) -> object:
    control = members.get("sealed_log")
    if not isinstance(control, dict):
        return members.get("timestamp")
    return next((control[name] for name in ("ts", "last_ts") if isinstance(control.get(name), str)), None)


class SegmentReader:
    """One segment of a stream.

    Attributes:
        ceiling: the first seq of the segment behind, while this one has no manifest. A writer whose sync failed copies
            lines there before it cuts them off here; for a moment they stand in both.
    """

    def __init__(self, segments: Sequence[Segment], at: int, matcher: Matcher) -> None:
        self._segments, self._at = segments, at
        self._segment = segments[at]
        self._following = segments[at + 1] if at + 1 < len(segments) else None
        self._matcher = matcher
        self.ceiling = self._ceiling()
        # Nobody goes on writing to a segment that has a manifest or a successor.
        self._torn = self._following is not None or self._segment.manifest is not None

    def _ceiling(self) -> int | None:
        if self._following is None or self._segment.manifest is not None:
            return None
        first, following = self._segment.first, self._following.first
        return following.seq if first is not None and following is not None and first.seq < following.seq else None

    def oldest_first(self, start: int) -> Iterator[Found]:
        """Yield what is wanted from an offset on."""
        with self._segment.open() as source:
            if source is not None:
                yield from self._forwards(source, start, None)

    def newest_first(self, end: int | None) -> Iterator[Found]:
        """Yield what is wanted before an offset, the last first; None: of all."""
        with self._segment.open() as source:
            if source is None:
                return
            if source.packing == "plain":
                for piece in backwards(source, end=end, torn=self._torn):
                    yield from self._in_block(piece, partial(self._before, source, piece.offset), newest_first=True)
            elif self._matcher.takes_all:
                blocks = _last_first(lambda stop: self._blocks(source, 0, stop), end, _size_of_block, _offset_of_block)
                for piece, behind in blocks:
                    yield from self._in_block(piece, behind, newest_first=True)
            else:
                yield from _last_first(
                    lambda stop: self._forwards(source, 0, stop), end, _size_of_found, attrgetter("offset")
                )

    def _forwards(self, source: Source, start: int, end: int | None) -> Iterator[Found]:
        for piece, behind in self._blocks(source, start, end):
            yield from self._in_block(piece, behind)

    def _blocks(self, source: Source, start: int, end: int | None) -> Iterator[_Block]:
        """Yield blocks, each with a function that returns the control lines right before it."""
        behind: Callable[[], Lines] | None = None
        for piece in forwards(source, start=start, end=end, torn=self._torn):
            behind = behind or partial(self._before, source, piece.offset)
            yield piece, behind
            lines, whole = controls_before(piece.data, len(piece.data))
            behind = partial(_same, lines if whole else behind() + lines)

    def _in_block(self, piece: Piece, behind: Callable[[], Lines], *, newest_first: bool = False) -> Iterator[Found]:
        if not piece.data:
            yield Found(b"", piece.offset, piece.end, None, ())
            return

        def before(begin: int) -> Lines:
            lines, whole = controls_before(piece.data, begin)
            return lines if whole else behind() + lines

        spans = self._matcher.lines(piece.data)
        for span in reversed(list(spans)) if newest_first else spans:
            if found := self.found(piece, span, before):
                yield found

    def found(self, piece: Piece, span: tuple[int, int], before: Callable[[int], Lines] | None = None) -> Found | None:
        """Return what is wanted of a line; None when it is not."""
        begin, end = span
        line = piece.data[begin:end]
        place = (piece.offset + begin, piece.offset + end)
        try:
            members = read_members(line)
        except UnreadableError:
            return Found(b"", *place, None, ())
        if not self._matcher.wants(members, line):
            return None
        if self.ceiling is not None and (seq_of(line) or 0) >= self.ceiling:
            return None
        controls = () if self._matcher.include_control or before is None else before(begin)
        return Found(line, *place, members, controls)

    def _before(self, source: Source, offset: int) -> Lines:
        """Return the control lines right before a place in the segment, those at the end of the segment before, too."""
        gathered: Lines = ()
        if offset and source.packing == "plain":
            for piece in backwards(source, end=offset):
                lines, whole = controls_before(piece.data, len(piece.data))
                gathered = lines + gathered
                if whole:
                    return gathered
        return () if offset and source.packing != "plain" else self._tail_before() + gathered

    def _tail_before(self) -> Lines:
        if self._at == 0:
            return ()
        previous = SegmentReader(self._segments, self._at - 1, self._matcher)
        with previous._segment.open() as source:
            return () if source is None else previous._tail(source)

    def _tail(self, source: Source) -> Lines:
        if source.packing == "plain" and source.size:
            return self._before(source, source.size)
        lines: Lines = ()
        whole, behind = False, self._tail_before
        for piece, before in self._blocks(source, 0, None):
            lines, whole = controls_before(piece.data, len(piece.data))
            behind = before
        return lines if whole else behind() + lines


def _same(lines: Lines) -> Lines:
    return lines


_Block = tuple[Piece, "Callable[[], Lines]"]
_Item = TypeVar("_Item")


def _size_of_block(block: _Block) -> int:
    return len(block[0].data)


def _offset_of_block(block: _Block) -> int:
    return block[0].offset


def _size_of_found(found: Found) -> int:
    return len(found.line) + _OVERHEAD


def _last_first(
    read: Callable[[int | None], Iterator[_Item]],
    end: int | None,
    size_of: Callable[[_Item], int],
    offset_of: Callable[[_Item], int],
) -> Iterator[_Item]:
    """Yield what can only be read forwards, the last first: as much as may be held, then again for the rest."""
    whole = False
    while not whole:
        held: deque[_Item] = deque()
        size, whole = 0, True
        for item in read(end):
            held.append(item)
            size += size_of(item)
            while size > _HELD and len(held) > 1:
                size -= size_of(held.popleft())
                whole = False
        end = offset_of(held[0]) if held else end
        while held:
            yield held.pop()
