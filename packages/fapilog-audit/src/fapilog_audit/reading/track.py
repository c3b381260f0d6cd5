"""How far one stream was followed: file, offset and seq, and reading on from there.

An entry is taken once, in the order of seq. A segment is left for the next only when the list that shows the next was
made before the segment was read to its end, so nothing is skipped. What was read once may stand elsewhere later: a
writer whose disk failed cuts a file and writes the same lines again. Those have a seq that was read, and are passed
over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fapilog_audit.event import AuditEvent, NotAnEventError
from fapilog_audit.reading.controls import controls_before
from fapilog_audit.reading.matching import all_lines, is_control, seq_of
from fapilog_audit.reading.pieces import forwards, last_piece
from fapilog_tamper.errors import FormatError
from fapilog_tamper.verify.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_audit.reading.folder import Segment
    from fapilog_audit.reading.pieces import Piece
    from fapilog_tamper.verify.source import Source

__all__ = ["Track"]


@dataclass(slots=True)
class Track:
    """One stream.

    Attributes:
        seq: the last entry that was read, of the log itself or not.
        returned: the last entry that was returned.
        unreadable: lines that hold no event.
        doubt: a hole was met; the folder is listed once more before it is believed.
    """

    seq: int = 0
    returned: int = 0
    include_control: bool = False
    unreadable: int = 0
    doubt: bool = False
    _name: str | None = None
    _offset: int = 0
    _mark: tuple[int, int] | None = None
    _waiting: bool = False
    _carried: list[bytes] = field(default_factory=list)

    def go_to_end(self, segments: Sequence[Segment]) -> None:
        """Pass over all that is there now."""
        for segment in reversed(segments):
            with segment.open() as source:
                piece = None if source is None else last_piece(source)
            if piece is None:
                continue
            seqs = [seq for start, end in all_lines(piece.data) if (seq := seq_of(piece.data[start:end])) is not None]
            if seqs:
                self._name, self._offset = segment.name, piece.end
                self.seq = self.returned = seqs[-1]
                self._carried = list(controls_before(piece.data, len(piece.data))[0])
                return

    def read(self, segments: Sequence[Segment], events: list[AuditEvent], limit: int) -> None:
        """Append the next entries until there are `limit` events; `segments` are those of the stream, just listed."""
        at = self._index(segments)
        while at < len(segments) and len(events) < limit:
            segment = segments[at]
            closed = at + 1 < len(segments)
            if self._name != segment.name:
                if self._is_hole(segment):
                    return
                self._name, self._offset, self._waiting = segment.name, 0, False
            if not self._read_segment(segment, events, limit, closed=closed):
                return
            at += 1

    def _index(self, segments: Sequence[Segment]) -> int:
        if self._name is None:
            return self._first_index(segments)
        # It mostly is the last.
        for index in range(len(segments) - 1, -1, -1):
            if segments[index].name == self._name:
                return index
        # It was taken away: those behind it are next.
        return sum(segment.comes_before(self._name) for segment in segments)

    def _first_index(self, segments: Sequence[Segment]) -> int:
        for index in range(len(segments) - 1, 0, -1):
            first = segments[index].first
            if first is not None and first.seq <= self.seq + 1:
                return index
        return 0

    def _is_hole(self, segment: Segment) -> bool:
        """Tell whether entries seem to be missing before a segment, for the first time."""
        first = segment.first
        if first is None or first.seq <= self.seq + 1 or self.doubt:
            self.doubt = False
            return False
        self.doubt = True
        return True

    def _read_segment(self, segment: Segment, events: list[AuditEvent], limit: int, *, closed: bool) -> bool:
        """Read on in a segment; tell whether its end was reached, be it for now."""
        mark = segment.mark()
        if self._waiting and mark == self._mark:
            return True
        self._mark, self._waiting = mark, False
        with segment.open() as source:
            if source is not None and not self._read_source(source, events, limit, closed=closed):
                return False
        self._waiting = True
        return True

    def _read_source(self, source: Source, events: list[AuditEvent], limit: int, *, closed: bool) -> bool:
        if source.packing == "plain" and self._offset and _byte_before(source, self._offset) != b"\n":
            # It was cut, or is another file: what was read of it is known by its seq.
            self._offset = 0
        for piece in forwards(source, start=self._offset, torn=closed):
            if not piece.data:
                self.unreadable += 1
                self._offset = piece.end
            elif not self._read_piece(piece, events, limit, closed=closed):
                return False
        return True

    def _read_piece(self, piece: Piece, events: list[AuditEvent], limit: int, *, closed: bool) -> bool:
        for start, end in all_lines(piece.data):
            if len(events) >= limit:
                return False
            line = piece.data[start:end]
            seq = seq_of(line)
            if seq is None:
                if not closed and (b"\x00" in line or not line.strip()):
                    # What a power cut leaves; the writer cuts it off, with all behind it, when it comes back.
                    return False
                self.unreadable += 1
            elif seq > self.seq:
                self._take(line, seq, events)
            self._offset = piece.offset + end
        return True

    def _take(self, line: bytes, seq: int, events: list[AuditEvent]) -> None:
        self.seq = seq
        if not self.include_control and is_control(line):
            self._carried.append(line)
            return
        try:
            events.append(AuditEvent.from_line(line, before=self._carried))
            self.returned = seq
        except (FormatError, NotAnEventError):
            self.unreadable += 1
        self._carried = []


def _byte_before(source: Source, offset: int) -> bytes:
    try:
        return b"".join(source.plain_chunks(offset - 1, offset))
    except SourceError:
        return b""
