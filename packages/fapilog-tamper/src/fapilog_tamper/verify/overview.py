"""What a log says of itself: streams, segments, heads and keys, without a key and without a verdict.

Nothing here is verified. Of a segment its first and its last line are read; a compressed one without a manifest is
unpacked to reach the last. Whatever cannot be read is said and never raised.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.verify.inventory import take_stock
from fapilog_tamper.verify.source import MAX_LINE, SourceError, open_source, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fapilog_tamper.head import Head
    from fapilog_tamper.verify.inventory import Scope, Segment
    from fapilog_tamper.verify.source import Source

__all__ = ["HeadView", "Overview", "Problem", "ScopeView", "SegmentView", "StreamView", "take_overview"]

SCHEMA_VERSION: Final = "1.0"
_WINDOW: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read."""

    message: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One file of entries. `entries` counts from its seqs or its manifest; None where the lines may not be one run."""

    file: str
    stream: str | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    entries: int | None = None
    size_bytes: int | None = None
    compression: str | None = None
    algos: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    manifest: str | None = None
    mixed: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head; `file` is where it was found, `segment` the file it says it wrote to."""

    file: str
    stream: str
    seq: int
    first_seq: int
    segment: str
    offset: int
    last_updated: str
    algo: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream over its segments. `ranges` are the seqs that segments hold, joined where they meet."""

    stream: str
    ranges: tuple[tuple[int, int], ...]
    entries: int
    segments: int
    size_bytes: int
    algos: tuple[str, ...]
    key_ids: tuple[str, ...]
    head_seq: int | None


@dataclass(frozen=True, slots=True)
class ScopeView:
    """One folder, or a list of files. `lone_manifests` describe no segment that is there."""

    name: str
    streams: tuple[StreamView, ...]
    segments: tuple[SegmentView, ...]
    heads: tuple[HeadView, ...]
    lone_manifests: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """All that was looked at."""

    scopes: tuple[ScopeView, ...]

    @property
    def readable(self) -> bool:
        """Tell whether everything could be read. That is no verdict."""
        return not any(scope.problems for scope in self.scopes)

    def to_json(self) -> str:
        """Return the overview as JSON text, in ASCII, with `schema_version`; `verified` is always false."""
        members = {
            "schema_version": SCHEMA_VERSION,
            "verified": False,
            "scopes": [asdict(scope) for scope in self.scopes],
        }
        return json.dumps(members, indent=2)


def take_overview(paths: Sequence[Path]) -> Overview:
    """Look at files and folders; nothing is verified and nothing written.

    Cost: two reads a segment, and one pass over a compressed segment that has no manifest.
    """
    return Overview(tuple(_view_scope(scope) for scope in take_stock(paths)))


def _view_scope(scope: Scope) -> ScopeView:
    segments = [_view_segment(segment) for segment in scope.segments]
    segments += [SegmentView(file, size_bytes=0, problem="it is empty") for file in scope.empty]
    heads = [_view_head(found.file, found.head) for found in scope.heads]
    problems = [Problem(finding.message, finding.file) for finding in scope.findings]
    problems += [Problem(segment.problem, segment.file) for segment in segments if segment.problem is not None]
    if not segments:
        problems.append(Problem("there is no segment", scope.name))
    return ScopeView(
        name=scope.name,
        streams=_view_streams(segments, heads),
        segments=tuple(segments),
        heads=tuple(heads),
        lone_manifests=tuple(str(found.path) for found in scope.unpaired),
        notes=tuple(f"{note.message} ({note.file})" for note in scope.notes),
        problems=tuple(problems),
    )


def _view_head(file: str, head: Head) -> HeadView:
    return HeadView(
        file,
        head.stream,
        head.seq,
        head.first_seq,
        head.segment,
        head.offset,
        head.last_updated,
        head.algo,
        head.key_id,
    )


@dataclass(slots=True)
class _Reading:
    """What was read of one segment on the way to its view."""

    size: int | None = None
    packing: str | None = None
    first: Integrity | None = None
    last: Integrity | None = None
    last_seq: int | None = None
    problems: list[str] = field(default_factory=list)


def _view_segment(segment: Segment) -> SegmentView:
    reading = _Reading()
    try:
        with open_source(segment.path) as source:
            _read(source, segment, reading)
    except SourceError as error:
        reading.problems.append(f"unreadable: {error}")
    first, last = reading.first, reading.last
    blocks = [block for block in (first, last) if block is not None]
    mixed = len({block.stream for block in blocks}) > 1
    last_seq = None if mixed else reading.last_seq
    return SegmentView(
        file=segment.file,
        stream=blocks[0].stream if blocks else None,
        first_seq=None if first is None else first.seq,
        last_seq=last_seq,
        entries=None if first is None or last_seq is None or last_seq < first.seq else last_seq - first.seq + 1,
        size_bytes=reading.size,
        compression=reading.packing,
        algos=_distinct(block.algo for block in blocks),
        key_ids=_distinct(block.key_id for block in blocks),
        manifest=None if segment.manifest is None else str(segment.manifest.path),
        mixed=mixed,
        problem="; ".join(reading.problems) or None,
    )


def _read(source: Source, segment: Segment, reading: _Reading) -> None:
    reading.size, reading.packing = source.size, source.packing
    reading.first = _first_block(source, reading)
    if source.packing != "plain" and segment.manifest is not None:
        reading.last_seq = segment.manifest.manifest.last_seq
        return
    line, rest = _last_line(source) if source.packing == "plain" else _last_line_unpacked(source)
    if rest:
        reading.problems.append("bytes stand behind its last whole line")
    reading.last = _split(line, "last", reading) if line else None
    reading.last_seq = None if reading.last is None else reading.last.seq


def _first_block(source: Source, reading: _Reading) -> Integrity | None:
    for block in whole_lines(source.chunks()):
        if block.kind == "lines":
            return _split(block.data[: block.data.find(b"\n") + 1], "first", reading)
        break
    reading.problems.append("unreadable first line: it is too long or has no end")
    return None


def _split(line: bytes, which: str, reading: _Reading) -> Integrity | None:
    try:
        return split(line)[1]
    except FormatError as error:
        reading.problems.append(f"unreadable {which} line: {error.message}")
        return None


def _last_line(source: Source) -> tuple[bytes, bool]:
    """Return the last whole line and whether something stands behind it; only the end of the file is read."""
    window = _WINDOW
    while True:
        start = max(0, source.size - window)
        tail = b"".join(source.plain_chunks(start, source.size))
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
        if begin or start == 0 or window > 2 * MAX_LINE:
            return tail[begin:end], end < len(tail)
        window *= 2


def _last_line_unpacked(source: Source) -> tuple[bytes, bool]:
    line, rest = b"", False
    for block in whole_lines(source.chunks()):
        rest = block.kind == "end"
        if block.kind == "lines":
            line = block.data[block.data.rfind(b"\n", 0, -1) + 1 :]
    return line, rest


def _view_streams(segments: Sequence[SegmentView], heads: Sequence[HeadView]) -> tuple[StreamView, ...]:
    by_stream: dict[str, list[SegmentView]] = defaultdict(list)
    for segment in segments:
        if segment.stream is not None:
            by_stream[segment.stream].append(segment)
    reached: dict[str, int] = {}
    for head in heads:
        by_stream.setdefault(head.stream, [])
        reached[head.stream] = max(head.seq, reached.get(head.stream, 0))
    return tuple(_view_stream(name, by_stream[name], heads, reached.get(name)) for name in sorted(by_stream))


def _view_stream(
    name: str, segments: Sequence[SegmentView], heads: Sequence[HeadView], head_seq: int | None
) -> StreamView:
    own = [head for head in heads if head.stream == name]
    return StreamView(
        stream=name,
        ranges=_join_ranges(
            (segment.first_seq, segment.last_seq)
            for segment in segments
            if segment.first_seq is not None and segment.last_seq is not None
        ),
        entries=sum(segment.entries or 0 for segment in segments),
        segments=len(segments),
        size_bytes=sum(segment.size_bytes or 0 for segment in segments),
        algos=_distinct([*(algo for segment in segments for algo in segment.algos), *(head.algo for head in own)]),
        key_ids=_distinct(
            [*(key_id for segment in segments for key_id in segment.key_ids), *(head.key_id for head in own)]
        ),
        head_seq=head_seq,
    )


def _join_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name is not None}))
