"""Numbers of events: how many are wanted, and what a folder holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from fapilog_audit.kinds import AuditLogLevel
from fapilog_audit.reading.folder import find_streams
from fapilog_audit.reading.matching import Matcher, all_lines
from fapilog_audit.reading.moments import moment_of
from fapilog_audit.reading.pieces import forwards
from fapilog_audit.reading.query import Query
from fapilog_audit.reading.scan import EARLIEST, LATEST, SegmentReader, read_stream

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_audit.reading.folder import Segment
    from fapilog_audit.reading.matching import Members
    from fapilog_audit.reading.scan import Hit

__all__ = ["FolderStats", "count_events", "folder_stats"]

_BLOCK: Final = b'"integrity":{"v":'
_ONE_EACH: Final = (_BLOCK, b'"event_type":"', b'"message":"')
_EVERYTHING: Final = Query(limit=None, newest_first=False, include_control=True)


@dataclass(frozen=True, slots=True)
class FolderStats:
    """What a folder holds. `bytes` are those on the disk; `by_stream` counts events, as `by_type` and `by_level` do."""

    events: int = 0
    control_entries: int = 0
    unreadable: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    by_level: dict[str, int] = field(default_factory=dict)
    by_stream: dict[str, int] = field(default_factory=dict)
    first_time: datetime | None = None
    last_time: datetime | None = None
    segments: int = 0
    bytes: int = 0
    streams: int = 0


def count_events(folder: Path, query: Query) -> int:
    """Return the number of events that are wanted; limit, order and cursor do not count.

    A line counts that is sealed and has the type and the message of an event; the rest of it is not validated.

    Raises:
        ConfigError: the folder, or a segment in it, cannot be read.
    """
    matcher = Matcher(query)
    count = 0
    for segments in find_streams(folder).values():
        if not matcher.takes_all:
            count += sum(_is_event(hit) for hit in read_stream(segments, matcher, newest_first=False))
            continue
        for at, segment in enumerate(segments):
            count += _count_lines(segment, SegmentReader(segments, at, matcher))
    return count


def _count_lines(segment: Segment, reader: SegmentReader) -> int:
    """Count the events of a segment, where their number shows in the bytes of a block without looking at each."""
    with segment.open() as source:
        if source is None:
            return 0
        count = 0
        for piece in forwards(source):
            data = piece.data
            lines = data.count(b"\n")
            if reader.ceiling is None and all(data.count(mark) == lines for mark in _ONE_EACH):
                count += lines
            else:
                found = (reader.found(piece, span) for span in all_lines(data))
                count += sum(_is_sealed_event(one.members, one.line) for one in found if one is not None)
        return count


def _is_event(hit: Hit) -> bool:
    return _is_sealed_event(hit.members, hit.line)


def _is_sealed_event(members: Members | None, line: bytes) -> bool:
    if members is None or _BLOCK not in line:
        return False
    if "sealed_log" in members:
        return True
    return isinstance(members.get("event_type"), str) and isinstance(members.get("message"), str)


def folder_stats(folder: Path) -> FolderStats:
    """Return what a folder holds; every line is read.

    Raises:
        ConfigError: the folder, or a segment in it, cannot be read.
    """
    matcher = Matcher(_EVERYTHING)
    kinds, levels, names = Counter[str](), Counter[str](), Counter[str]()
    control = unreadable = 0
    first, last = LATEST, EARLIEST
    streams = find_streams(folder)
    for stream, segments in streams.items():
        for hit in read_stream(segments, matcher, newest_first=False):
            if not hit.is_line:
                continue
            members = hit.members
            if members is None or not _is_sealed_event(members, hit.line):
                unreadable += 1
            elif "sealed_log" in members:
                control += 1
            else:
                kinds[members["event_type"]] += 1
                levels[str(members.get("log_level", AuditLogLevel.INFO)).lower()] += 1
                names[stream] += 1
                moment = moment_of(members.get("timestamp"))
                first, last = (first, last) if moment is None else (min(first, moment), max(last, moment))
    return FolderStats(
        events=names.total(),
        control_entries=control,
        unreadable=unreadable,
        by_type=dict(sorted(kinds.items())),
        by_level=dict(sorted(levels.items())),
        by_stream=dict(sorted(names.items())),
        first_time=None if first == LATEST else datetime.fromisoformat(first),
        last_time=None if last == EARLIEST else datetime.fromisoformat(last),
        segments=sum(map(len, streams.values())),
        bytes=sum(segment.stored_bytes() for segments in streams.values() for segment in segments),
        streams=len(streams),
    )
