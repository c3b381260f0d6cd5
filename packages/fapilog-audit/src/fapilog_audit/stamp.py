"""The id and the time of an event, from one look at the clock.

Ids are UUIDs of version 7 (RFC 9562, section 5.7, with the fraction of the millisecond in rand_a, section 6.2): as text
they are in the order of their times. Times are RFC 3339 in UTC with six digits, so that text order is time order.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from time import gmtime, strftime, time_ns
from typing import Final

__all__ = ["format_time", "new_stamp"]

_SECOND: Final = 1_000_000_000
_MILLI: Final = 1_000_000
_POOL: Final = 128

_random: list[str] = []
_second: tuple[int, str] = (-1, "")


def new_stamp() -> tuple[str, str]:
    """Return a new event id and the time of it."""
    global _second  # noqa: PLW0603 (one tuple, read and replaced whole: threads can only do it twice)
    now = time_ns()
    second, rest = divmod(now, _SECOND)
    known, text = _second
    if known != second:
        text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        _second = (second, text)
    try:
        tail = _random.pop()
    except IndexError:
        tail = _refill()
    milli = f"{now // _MILLI:012x}"
    # Twelve bits of the fraction of the millisecond: 244 ns each.
    return (
        f"{milli[:8]}-{milli[8:]}-7{(rest % _MILLI * 4096) // _MILLI:03x}-{tail}",
        f"{text}.{rest // 1000:06d}Z",
    )


def _refill() -> str:
    pool = os.urandom(8 * _POOL).hex()
    tails = [
        f"{'89ab'[int(pool[at], 16) & 3]}{pool[at + 1 : at + 4]}-{pool[at + 4 : at + 16]}"
        for at in range(0, len(pool), 16)
    ]
    last = tails.pop()
    _random.extend(tails)
    return last


if hasattr(os, "register_at_fork"):
    # Else parent and child would give out the same ids.
    os.register_at_fork(after_in_child=_random.clear)


def format_time(moment: datetime) -> str:
    """Return a time as it stands in an event; one without a time zone is taken for UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
