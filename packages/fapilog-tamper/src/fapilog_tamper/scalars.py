"""The text of single foreign values: numbers, times, names (docs/spec/sealed-log.md, section 3).

Every function reads its value through the base class, so that a subclass which overrides the reading is not asked.
What may still raise, a time zone above all, is called through `attempt`. Containers are the business of `coerce`.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from fapilog_tamper.plain import MAX_SAFE_INT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FAILED",
    "REPR_LENGTH",
    "WRITERS",
    "attempt",
    "exact_str",
    "hex_head",
    "number",
    "type_name",
    "whole_number",
]

FAILED: Final = object()
"""What `attempt` returns for a call that raised."""

REPR_LENGTH: Final = 1000
"""How many characters of a repr are kept."""

_STR_BITS: Final = 2_000  # below the least digit limit that sys.set_int_max_str_digits allows, 640 digits
_DECIMAL_BITS: Final = 2**18


def attempt(call: Callable[..., object], *args: object) -> object:
    """Return what the foreign `call` returns, or `FAILED`.

    An audit event must not be lost because an object in it raises, whatever it raises: SystemExit from a `__repr__` is
    no wish to end the program. Only the user's own interrupt passes.
    """
    try:
        return call(*args)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - see the docstring; every foreign call goes through this one handler
        return FAILED


def exact_str(text: object) -> str | None:
    """Return the characters of a str or of a subclass of it, None for all else."""
    return str.__str__(cast("str", text)) if issubclass(type(text), str) else None


def number(value: float) -> int | float | str:
    """Return a float, as an int where that has the same canonical text, as a name where JSON has no number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() and abs(value) <= MAX_SAFE_INT else value


def whole_number(value: int) -> int | str | None:
    """Return an int, as a decimal string outside ±(2^53-1), and None above 2^18 bits."""
    if -MAX_SAFE_INT <= value <= MAX_SAFE_INT:
        return value
    bits = value.bit_length()
    if bits <= _STR_BITS:
        return str(value)
    return str(Decimal(value)) if bits <= _DECIMAL_BITS else None


def hex_head(value: int) -> str:
    """Return the first characters of `hex(value)`; the time does not grow with a positive value."""
    sign = "-0x" if value < 0 else "0x"
    digits = -(-value.bit_length() // 4)
    skipped = max(0, digits - REPR_LENGTH + len(sign))
    return f"{sign}{abs(value) >> 4 * skipped:x}"


def type_name(kind: type) -> str:
    """Return `module.QualName` of a class, past whatever its metaclass says."""
    module = exact_str(attempt(type.__dict__["__module__"].__get__, kind))
    return f"{'?' if module is None else module}.{exact_str(type.__dict__['__qualname__'].__get__(kind))}"


def _instant(value: datetime) -> str:
    naive = datetime.combine(datetime.date(value), datetime.time(value))
    offset = datetime.utcoffset(value)
    if offset is None:
        return naive.isoformat()
    aware = naive.replace(tzinfo=timezone(offset))
    try:
        return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except OverflowError:  # the first and the last hours of the calendar have no name in UTC
        return aware.isoformat()


def _duration(value: timedelta) -> str:
    total = timedelta.__floordiv__(value, timedelta(microseconds=1))
    seconds, micros = divmod(abs(total), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fraction = f".{micros:06d}" if micros else ""
    day_part = f"{days}D" if days else ""
    clock = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    if seconds or micros or not (day_part or clock):
        clock += f"{seconds}{fraction}S"
    return f"{'-' if total < 0 else ''}P{day_part}{'T' if clock else ''}{clock}"


WRITERS: Final[tuple[tuple[type, Callable[[Any], str]], ...]] = (
    (datetime, _instant),  # before date, its base
    (UUID, UUID.__str__),
    (Decimal, Decimal.__str__),
    (date, date.isoformat),
    (time, time.isoformat),
    (timedelta, _duration),
    (PurePath, PurePath.__str__),
)
"""Types that are written as text, each with its writer; the writers may raise."""
