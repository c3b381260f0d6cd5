"""One stream over all its segments: one unbroken chain, or findings where it is not.

Spans are walked in the order of their seqs. Where one continues the last, the chain runs on; a hole, a wrong link, an
overlap or a fork is judged here. The result is the path that counts: which span holds which seqs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.verify.report import Code, Finding, Note, NoteCode

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.verify.lookup import Lookup
    from fapilog_tamper.verify.segment import SegmentResult
    from fapilog_tamper.verify.spans import Span

__all__ = ["Piece", "StreamPath", "walk_stream"]

_TAKES_OVER = ("recovery", "restore")


@dataclass(slots=True)
class Piece:
    """The part of a span that counts: entries `low` to `high`; `linked` to the piece before it."""

    path: Path
    span: Span
    result: SegmentResult
    low: int
    high: int
    linked: bool = True


@dataclass(slots=True)
class StreamPath:
    """The chain of one stream, and what was wrong on the way."""

    stream: str
    pieces: list[Piece] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    superseded: list[Piece] = field(default_factory=list)
    keyed: bool = False

    @property
    def first_seq(self) -> int:
        """The first seq that is there."""
        return self.pieces[0].low

    @property
    def last_seq(self) -> int:
        """The last seq that is there."""
        return self.pieces[-1].high

    @property
    def origin(self) -> bytes | None:
        """The chain hash of entry 1, where it is there."""
        first = self.pieces[0]
        return first.span.first_chain if first.low == 1 and first.span.first_seq == 1 else None

    def piece_of(self, seq: int) -> Piece | None:
        """Return the piece that holds an entry."""
        return next((piece for piece in reversed(self.pieces) if piece.low <= seq <= piece.high), None)

    def is_whole(self) -> bool:
        """Tell whether the chain has no break and no change from its first entry here to its last."""
        return self.unbroken_from() == 0 and not any(one.span.broken or one.span.changed for one in self.pieces)

    def unbroken_from(self) -> int:
        """Return the index of the piece from which on the chain to the end has no break."""
        start = len(self.pieces) - 1
        while start > 0 and not self.pieces[start].span.broken:
            before = self.pieces[start - 1]
            if before.high != self.pieces[start].low - 1 or not self.pieces[start].linked:
                break
            start -= 1
        return start


def walk_stream(
    stream: str, spans: list[tuple[Path, Span, SegmentResult]], lookup: Lookup, *, missing: Code
) -> StreamPath:
    """Put the spans of a stream in order and judge every seam; a hole between them is a finding `missing`."""
    path = StreamPath(stream)
    ordered = sorted(spans, key=lambda item: (item[1].first_seq, -item[1].last_seq, item[1].file, item[1].first_line))
    for file, span, result in ordered:
        _check_lead(path, span)
        path.keyed = path.keyed or span.keyed
        if not path.pieces:
            path.pieces.append(Piece(file, span, result, span.first_seq, span.last_seq))
        elif _goes_on_superseded(path, span):
            _note_superseded(path, span.first_seq, span.last_seq, span.file)
            path.superseded.append(Piece(file, span, result, span.first_seq, span.last_seq))
        elif span.first_seq > path.last_seq:
            _continue(path, Piece(file, span, result, span.first_seq, span.last_seq), missing)
        else:
            _overlap(path, Piece(file, span, result, span.first_seq, span.last_seq), lookup)
    return path


def _goes_on_superseded(path: StreamPath, span: Span) -> bool:
    """Tell whether a span continues a history that was superseded: that may be longer than one segment."""
    ends = [(piece.span.last_seq + 1, piece.span.last_chain) for piece in path.superseded]
    return (span.first_seq, span.first_prev) in ends


def _check_lead(path: StreamPath, span: Span) -> None:
    lead = span.unkeyed_lead
    if path.keyed and lead is not None:
        text = "unkeyed entries behind keyed ones"
        path.findings.append(Finding(Code.MAC_MISSING, text, span.file, lead[0], lead[2], last_line=lead[1]))


def _continue(path: StreamPath, piece: Piece, missing: Code) -> None:
    last, span = path.pieces[-1], piece.span
    hole = span.first_seq - path.last_seq - 1
    defects = last.result.lines.malformed_after + piece.result.lines.malformed_before
    if hole == 0 and span.first_prev != last.span.last_chain and not span.broken and not last.span.broken:
        text = "the segment is not linked to the entry before it"
        expected, found = b64url_encode(last.span.last_chain), b64url_encode(span.first_prev)
        _report(path, Code.LINK_BROKEN, text, span, expected=expected, found=found)
        piece.linked = False
    if hole and hole != defects:
        text = f"entries {path.last_seq + 1} to {span.first_seq - 1} are missing before this one"
        _report(path, missing, text, span, expected=str(path.last_seq + 1), found=str(span.first_seq))
    path.pieces.append(piece)


def _report(path: StreamPath, code: Code, text: str, span: Span, *, expected: str, found: str) -> None:
    path.findings.append(Finding(code, text, span.file, span.first_line, span.first_seq, expected, found))


def _overlap(path: StreamPath, piece: Piece, lookup: Lookup) -> None:
    """Judge a span that begins inside what is there: the same entries again, or two histories."""
    common = min(path.last_seq, piece.high)
    if _same(path, piece, common, lookup):
        text = f"entries {piece.low} to {common} stand in two files"
        path.notes.append(Note(NoteCode.OVERLAP, text, piece.span.file, piece.span.first_line, piece.low))
        if piece.high > path.last_seq:
            path.pieces.append(Piece(piece.path, piece.span, piece.result, path.last_seq + 1, piece.high))
        return
    if piece.span.scattered or any(old.span.scattered for old in path.pieces):
        # Interleaved extracts: what stands where in them is not known, so two copies cannot be compared.
        text = f"entries {piece.low} to {common} stand in two extracts, which were not compared"
        path.findings.append(Finding(Code.UNREADABLE, text, piece.span.file, piece.span.first_line, piece.low))
        if piece.high > path.last_seq:
            path.pieces.append(replace(piece, low=path.last_seq + 1))
        return
    fork = _fork(path, piece, common, lookup)
    here = path.piece_of(fork)
    if here is None or here.span.broken or piece.span.broken:
        _report_fork(path, piece, fork)
    elif lookup.kind(piece.path, piece.span, fork) in _TAKES_OVER and _joins(path, piece, fork, lookup):
        _note_superseded(path, fork, path.last_seq, here.span.file)
        path.superseded += [old for old in path.pieces if old.high >= fork]
        path.pieces = [replace(old, high=min(old.high, fork - 1)) for old in path.pieces if old.low < fork]
        path.pieces.append(Piece(piece.path, piece.span, piece.result, fork, piece.high))
    elif lookup.kind(here.path, here.span, fork) in _TAKES_OVER:
        _note_superseded(path, fork, piece.high, piece.span.file)
        path.superseded.append(piece)
    else:
        _report_fork(path, piece, fork)


def _same(path: StreamPath, piece: Piece, seq: int, lookup: Lookup) -> bool:
    here = path.piece_of(seq)
    if here is None:
        return False
    chain = lookup.chain(here.path, here.span, seq)
    return chain is not None and chain == lookup.chain(piece.path, piece.span, seq)


def _fork(path: StreamPath, piece: Piece, common: int, lookup: Lookup) -> int:
    """Return the first seq at which the two histories differ; a chain hash speaks of all entries before it."""
    low, high = piece.low, common
    while low < high:
        middle = (low + high) // 2
        if _same(path, piece, middle, lookup):
            low = middle + 1
        else:
            high = middle
    return low


def _joins(path: StreamPath, piece: Piece, fork: int, lookup: Lookup) -> bool:
    """Tell whether the new history goes on from an entry of the old one."""
    if fork == 1:
        return True
    before = path.piece_of(fork - 1)
    chain = lookup.chain(piece.path, piece.span, fork - 1)
    return before is not None and chain is not None and chain == lookup.chain(before.path, before.span, fork - 1)


def _note_superseded(path: StreamPath, first: int, last: int, file: str) -> None:
    text = f"entries {first} to {last} were superseded: the writer went on from entry {first - 1}"
    path.notes.append(Note(NoteCode.SUPERSEDED, text, file, None, first))


def _report_fork(path: StreamPath, piece: Piece, fork: int) -> None:
    span = piece.span
    line = span.first_line + fork - span.first_seq
    text = f"a second entry {fork}, other than the one that is there already"
    path.findings.append(Finding(Code.SEQ_REPEAT, text, span.file, line, fork))
    if piece.high > path.last_seq:
        path.pieces.append(Piece(piece.path, span, piece.result, path.last_seq + 1, piece.high))
