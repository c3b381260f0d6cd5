"""`Query`: which events are wanted, and in what order; checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from fapilog_audit.errors import ConfigError
from fapilog_audit.event import CONTROL_PREFIX
from fapilog_audit.kinds import parse_event_type, parse_log_level
from fapilog_audit.reading.cursor import parse_cursor
from fapilog_audit.reading.moments import moment_of
from fapilog_audit.stamp import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Query"]

_TEXTS: Final = ("user_id", "component", "request_id", "tenant_id", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which events are wanted. What is None is not asked for; all that is asked for must hold.

    Attributes:
        start_time: the first moment that counts, a datetime or RFC 3339 text; without a time zone it is UTC.
        end_time: the last moment that counts, itself included.
        event_type: one type or several.
        log_level: one level or several.
        user_id: exactly this one, as are the next three.
        component: as it stands in the event.
        request_id: as it stands in the event.
        tenant_id: as it stands in the event.
        text: somewhere in a value or the name of a member, in capitals or not; numbers as they are written. The
            integrity block is not searched.
        limit: events of a page; None for all.
        newest_first: the order, and which events a page begins with.
        cursor: where to go on: the cursor of the page before, with all else as it was.
        include_control: entries of the log itself are events, too, of the type `sealed_log.<kind>`.

    An event that has no time as text is in no range of time. Raises ConfigError for what cannot be meant.
    """

    start_time: datetime | str | None = None
    end_time: datetime | str | None = None
    event_type: str | Iterable[str] | None = None
    log_level: str | Iterable[str] | None = None
    user_id: str | None = None
    component: str | None = None
    request_id: str | None = None
    tenant_id: str | None = None
    text: str | None = None
    limit: int | None = 100
    newest_first: bool = True
    cursor: str | None = None
    include_control: bool = False

    def __post_init__(self) -> None:
        start, end = _moment("start_time", self.start_time), _moment("end_time", self.end_time)
        if start is not None and end is not None and start > end:
            raise ConfigError(f"start_time {start} is after end_time {end}.", hint="Exchange the two.")
        for name in ("newest_first", "include_control"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}.", hint="Give True or False.")
        types = _words("event_type", self.event_type, self._type)
        levels = _words("log_level", self.log_level, lambda word: str(parse_log_level(word)))
        for name in _TEXTS:
            _check_text(name, getattr(self, name))
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise ConfigError(f"limit is {self.limit!r}.", hint="Give a whole number from 1 on, or None for all.")
        if self.cursor is not None:
            parse_cursor(self.cursor, newest_first=self.newest_first)
        # Whoever reads a query finds one form of each.
        for name, value in (("start_time", start), ("end_time", end), ("event_type", types), ("log_level", levels)):
            object.__setattr__(self, name, value)

    def _type(self, word: object) -> str:
        if isinstance(word, str) and word.startswith(CONTROL_PREFIX):
            if not self.include_control:
                raise ConfigError(f"event_type {word} is an entry of the log itself.", hint="Set include_control=True.")
            return word
        return str(parse_event_type(word))

    @property
    def start(self) -> str | None:
        """`start_time` as text that sorts."""
        return self.start_time if isinstance(self.start_time, str) else None

    @property
    def end(self) -> str | None:
        """`end_time` as text that sorts."""
        return self.end_time if isinstance(self.end_time, str) else None

    @property
    def types(self) -> tuple[str, ...] | None:
        """The types that are asked for."""
        return self.event_type if isinstance(self.event_type, tuple) else None

    @property
    def levels(self) -> tuple[str, ...] | None:
        """The levels that are asked for."""
        return self.log_level if isinstance(self.log_level, tuple) else None


def _moment(name: str, value: object) -> str | None:
    if value is None:
        return None
    try:
        found = format_time(value) if isinstance(value, datetime) else moment_of(value)
    except OverflowError:
        found = None
    if found is None:
        raise ConfigError(
            f"{name} is {value!r:.80}.", hint="Give a datetime or RFC 3339 text, such as 2026-11-20T12:00:00Z."
        )
    return found


def _words(name: str, given: object, parse: Callable[[object], str]) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str):
        return (parse(given),)
    if not isinstance(given, list | tuple | set | frozenset) or not given:
        raise ConfigError(f"{name} is {given!r:.80}.", hint="Give one or several, or leave it out for all.")
    return tuple(sorted({parse(word) for word in given}))


def _check_text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{name} is {value!r:.80}.", hint="Give text, or leave it out for all.")
