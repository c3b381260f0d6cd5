"""Pages of events, and all events: the streams of a folder merged by time."""

from __future__ import annotations

import heapq
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fapilog_audit.event import AuditEvent, NotAnEventError
from fapilog_audit.reading.cursor import Place, format_cursor, parse_cursor
from fapilog_audit.reading.folder import find_streams
from fapilog_audit.reading.matching import Matcher
from fapilog_audit.reading.scan import end_of, read_stream
from fapilog_tamper.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fapilog_audit.reading.query import Query
    from fapilog_audit.reading.scan import Found, Hit

__all__ = ["EventPage", "event_of", "iter_events", "read_events"]


class EventPage(list[AuditEvent]):
    """Events, and how to get those that follow.

    Attributes:
        cursor: for the next page, None when nothing is left to read. The next page may be empty.
        unreadable: lines on the way to the end of this page that hold no audit event; where the raw bytes show that a
            line cannot be wanted, it is not looked at.
    """

    cursor: str | None = None
    unreadable: int = 0


def read_events(folder: Path, query: Query) -> EventPage:
    """Return the first `query.limit` events of a folder that are wanted.

    Streams are merged by time, each in the order of its entries. All pages together hold each event once; what is
    written after the first page was read is in none of a query with the newest first.

    Raises:
        ConfigError: the folder, or a segment in it, cannot be read.
    """
    page = EventPage()
    with _reading(folder, query) as (hits, places):
        for stream, hit in hits:
            if query.limit is not None and len(page) >= query.limit:
                page.cursor = format_cursor(places, newest_first=query.newest_first)
                break
            if not hit.is_line:
                continue
            places[stream] = hit.place
            event = event_of(hit)
            if event is None:
                page.unreadable += 1
            else:
                page.append(event)
    return page


def iter_events(folder: Path, query: Query, *, unreadable: Callable[[], object] | None = None) -> Iterator[AuditEvent]:
    """Yield the events that `read_events` returns, each as it is found; `query.limit` counts here, too.

    Args:
        folder: the folder of a sealed log.
        query: which events.
        unreadable: called for each line on the way that holds no event.

    Raises:
        ConfigError: the folder, or a segment in it, cannot be read.
    """
    left = query.limit
    with _reading(folder, query) as (hits, _):
        while left is None or left > 0:
            found = next(hits, None)
            if found is None:
                return
            event = event_of(found[1])
            if event is not None:
                left = None if left is None else left - 1
                yield event
            elif unreadable is not None and found[1].is_line:
                unreadable()


@contextmanager
def _reading(folder: Path, query: Query) -> Iterator[tuple[Iterator[tuple[str, Hit]], dict[str, Place]]]:
    """Give what is wanted, merged, and the places where it begins."""
    newest = query.newest_first
    streams = find_streams(folder)
    if query.cursor is not None:
        places = parse_cursor(query.cursor, newest_first=newest)
    else:
        places = {stream: end_of(segments) for stream, segments in streams.items()} if newest else {}
    matcher = Matcher(query)
    with ExitStack() as stack:
        readers = []
        for stream, segments in streams.items():
            # A stream that began after the first page is newer than all of it.
            if not newest or stream in places:
                hits = read_stream(segments, matcher, newest_first=newest, place=places.get(stream))
                stack.callback(hits.close)
                readers.append(_named(stream, hits))
        yield heapq.merge(*readers, key=_moment, reverse=newest), places


def _named(stream: str, hits: Iterator[Hit]) -> Iterator[tuple[str, Hit]]:
    return ((stream, hit) for hit in hits)


def _moment(pair: tuple[str, Hit]) -> str:
    return pair[1].moment


def event_of(found: Found | Hit) -> AuditEvent | None:
    """Return the event of a line, None where it holds none."""
    if found.members is None:
        return None
    try:
        return AuditEvent.from_line(found.line, before=found.before)
    except (FormatError, NotAnEventError):
        return None
