"""One event by its id. Ids of ours tell their time, so the segments of that time are looked through first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from fapilog_audit.errors import ConfigError
from fapilog_audit.reading.folder import find_streams
from fapilog_audit.reading.matching import Matcher
from fapilog_audit.reading.moments import covers
from fapilog_audit.reading.pages import event_of
from fapilog_audit.reading.query import Query
from fapilog_audit.reading.scan import SegmentReader
from fapilog_audit.stamp import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading.folder import Segment

__all__ = ["find_event"]

_TIMED: Final = 7
_MARGIN: Final = timedelta(seconds=1)


def find_event(folder: Path, event_id: str) -> AuditEvent | None:
    """Return the event with this id, None if there is none; of several, one.

    Raises:
        ConfigError: the folder, or a segment in it, cannot be read.
    """
    if not isinstance(event_id, str) or not event_id:
        raise ConfigError(f"event_id is {event_id!r:.80}.", hint="Give the id of an event.")
    matcher = Matcher(Query(limit=None), event_id=event_id)
    span = _span_of(event_id)
    places = [(segments, at) for segments in find_streams(folder).values() for at in range(len(segments))]
    likely = [place for place in places if _is_likely(place[0][place[1]], span)]
    tried = {(id(segments), at) for segments, at in likely}
    rest = [place for place in places if (id(place[0]), place[1]) not in tried]
    for segments, at in (*reversed(likely), *reversed(rest)):
        event = _find_in(segments, at, matcher)
        if event is not None:
            return event
    return None


def _span_of(event_id: str) -> tuple[str, str] | None:
    try:
        parsed = UUID(event_id)
        if parsed.version != _TIMED:
            return None
        moment = datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
        return format_time(moment - _MARGIN), format_time(moment + _MARGIN)
    except (ValueError, OverflowError, OSError):
        return None


def _is_likely(segment: Segment, span: tuple[str, str] | None) -> bool:
    if span is None or segment.manifest is None:
        return True
    return covers(segment.manifest, *span)


def _find_in(segments: Sequence[Segment], at: int, matcher: Matcher) -> AuditEvent | None:
    for found in SegmentReader(segments, at, matcher).oldest_first(0):
        event = event_of(found)
        if event is not None:
            return event
    return None
