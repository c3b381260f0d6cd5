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

_MILLI: Final = 1_000_000
_POOL: Final = 128
_MICROS: Final = tuple(f"{micro:03d}Z" for micro in range(1000))
_PARTS: Final = tuple(f"{part:03x}-" for part in range(4096))
"""The fraction of a millisecond in twelve bits: 244 ns each."""

_random: list[str] = []
_milli: tuple[int, str, str] = (-1, "", "")
"""The last millisecond, and what ids and times of it begin with."""


def new_stamp() -> tuple[str, str]:
    """Return a new event id and the time of it."""
    global _milli  # noqa: PLW0603 (one tuple, read and replaced whole: threads can only do it twice)
    milli, nanos = divmod(time_ns(), _MILLI)
    known, begin, moment = _milli
    if known != milli:
        text = f"{milli:012x}"
        begin = f"{text[:8]}-{text[8:]}-7"
        moment = f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(milli // 1000))}.{milli % 1000:03d}"
        _milli = (milli, begin, moment)
    try:
        tail = _random.pop()
    except IndexError:
        tail = _refill()
    return f"{begin}{_PARTS[(nanos << 12) // _MILLI]}{tail}", moment + _MICROS[nanos // 1000]


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
