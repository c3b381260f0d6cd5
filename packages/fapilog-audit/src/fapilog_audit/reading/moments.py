"""Times of events as text that sorts: RFC 3339 in UTC with six digits, as `stamp` writes them.

A line that came from elsewhere may spell its time in another way; it is brought to this form, or has no time at all.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fapilog_audit.stamp import format_time

if TYPE_CHECKING:
    from fapilog_tamper.manifest import Manifest

__all__ = ["covers", "moment_of", "span_of"]

_OURS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_UTC_TEXT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]00:00)?", re.ASCII)


def moment_of(value: object) -> str | None:
    """Return the time that a `timestamp` tells, None where it tells none; without a time zone it is UTC."""
    if not isinstance(value, str):
        return None
    if _OURS.fullmatch(value):
        return value
    parsed = _parse(value)
    return None if parsed is None else format_time(parsed)


def _parse(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def span_of(manifest: Manifest) -> tuple[str, str] | None:
    """Return times that no event of a segment is before or after, by what its manifest says; None if it cannot tell.

    A manifest tells the least and the greatest text, not time. Texts in UTC sort by time but for the fraction of the
    second; others may be a day apart. An event whose time is no text counts for neither.
    """
    if manifest.first_ts is None or manifest.last_ts is None:
        return None
    first, last = _parse(manifest.first_ts), _parse(manifest.last_ts)
    if first is None or last is None:
        return None
    in_utc = all(_UTC_TEXT.fullmatch(text) for text in (manifest.first_ts, manifest.last_ts))
    margin = timedelta(seconds=1) if in_utc else timedelta(days=1)
    try:
        return format_time(first - margin), format_time(last + margin)
    except OverflowError:
        return None


def covers(manifest: Manifest, start: str | None, end: str | None) -> bool:
    """Tell whether a segment may hold an event of a time from `start` to `end`."""
    if manifest.first_ts is None:
        return False
    span = span_of(manifest)
    return span is None or ((start is None or span[1] >= start) and (end is None or span[0] <= end))
