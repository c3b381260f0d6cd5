"""From filters on the command line to a `Query`."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from fapilog_tamper.cli.output import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_audit.reading import Query

__all__ = ["build_query"]

_AGO: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def build_query(  # noqa: PLR0913 (the filters of the commands, each with its name)
    *,
    since: str | None,
    until: str | None,
    types: "Sequence[str] | None",
    levels: "Sequence[str] | None",
    user: str | None,
    component: str | None,
    request: str | None,
    tenant: str | None,
    text: str | None,
    control: bool,
    limit: int = 0,
    newest_first: bool = True,
    cursor: str | None = None,
) -> "Query":
    """Return the query that is asked for; a `limit` of 0 is none.

    Raises:
        ConfigError: a filter that cannot be meant.
    """
    from fapilog_audit.event import CONTROL_PREFIX
    from fapilog_audit.reading import Query

    named = any(one.startswith(CONTROL_PREFIX) for one in types or ())
    return Query(
        start_time=_moment("--since", since, end=False),
        end_time=_moment("--until", until, end=True),
        event_type=list(types) if types else None,
        log_level=list(levels) if levels else None,
        user_id=user,
        component=component,
        request_id=request,
        tenant_id=tenant,
        text=text,
        limit=limit or None,
        newest_first=newest_first,
        cursor=cursor,
        include_control=control or named,
    )


def _moment(option: str, text: str | None, *, end: bool) -> str | datetime | None:
    """Return a time; a day is its begin, or with `end` its last moment."""
    if text is None:
        return None
    from fapilog_audit.reading.moments import moment_of

    now = datetime.now(UTC)
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        day = _day(text, now.date())
        if day is not None:
            return datetime.combine(day, time.max if end else time.min, UTC)
        found = moment_of(text)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        fail(
            f"{option} is {text!r:.80}.",
            "Give RFC 3339 (2026-11-20T12:00:00Z), a day (2026-11-20, today, yesterday), or how long ago (15m, 7d).",
        )
    return found


def _day(text: str, today: date) -> date | None:
    if text == "today":
        return today
    if text == "yesterday":
        return today - timedelta(days=1)
    return date.fromisoformat(text) if _DAY.fullmatch(text) else None
