"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

import threading

__all__ = ["FakeClock"]


class FakeClock:
    """Returns the seconds that it was set to; a `fapilog_tamper.clock.Clock`. It may go back, as real clocks do."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = float(start)
        self._mutex = threading.Lock()

    def __call__(self) -> float:
        """Return the time."""
        return self._now

    def __repr__(self) -> str:
        return f"FakeClock({self._now!r})"

    def advance(self, seconds: float) -> None:
        """Go on by some seconds; back, if they are negative."""
        with self._mutex:
            self._now += seconds

    def set(self, seconds: float) -> None:
        """Go to a time, seconds since 1970-01-01 UTC."""
        with self._mutex:
            self._now = float(seconds)
