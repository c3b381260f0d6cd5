"""When a segment is closed and the next begun: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from fapilog_tamper.errors import ConfigError

__all__ = ["Rotation"]

_LEAST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to close the open segment; whichever comes first. An entry is never split, and no segment is empty.

    Attributes:
        daily: at midnight UTC.
        max_bytes: before the segment would grow beyond this; an entry that is larger alone has a segment of its own.
        max_age: seconds after the segment was begun.

    Raises:
        ConfigError: if a bound cannot be kept.
    """

    daily: bool = True
    max_bytes: int | None = 256 << 20
    max_age: float | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and not (type(self.max_bytes) is int and self.max_bytes >= _LEAST_BYTES):
            raise ConfigError(
                f"max_bytes is {self.max_bytes!r}, not a whole number from {_LEAST_BYTES} on.",
                hint="Give the bytes of the largest segment, or None for no bound.",
            )
        if self.max_age is not None and not (type(self.max_age) in (int, float) and self.max_age > 0):
            raise ConfigError(f"max_age is {self.max_age!r}.", hint="Give seconds, or None for no bound.")

    def deadline(self, begun: float) -> float:
        """Return when a segment that was begun at `begun` is to be closed, in seconds since 1970; `inf` for never."""
        ends = [inf]
        if self.daily:
            midnight = datetime.fromtimestamp(begun, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            ends.append((midnight + timedelta(days=1)).timestamp())
        if self.max_age is not None:
            ends.append(begun + self.max_age)
        return min(ends)

    def overflows(self, size: int, more: int) -> bool:
        """Tell whether `more` bytes are too many for a segment that has `size`."""
        return self.max_bytes is not None and size > 0 and size + more > self.max_bytes
