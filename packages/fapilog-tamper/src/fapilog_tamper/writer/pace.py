"""Who writes: callers by themselves while the disk is fast, else the worker."""

from __future__ import annotations

from time import monotonic
from typing import Final

__all__ = ["SLOW", "Pace"]

SLOW: Final = 0.005
"""Seconds: a write that takes longer stood still somewhere.

Not less: behind a write a thread may wait for the interpreter for one switch interval, and that is no stall.
"""

_TRIAL: Final = 20
_LONGEST_TRIAL: Final = 5120


class Pace:
    """Whether callers write (`inline`); after a slow write they do not, until the worker's writes are fast again."""

    def __init__(self, *, allowed: bool) -> None:
        self.inline = allowed
        self.slowdowns = 0
        self._allowed = allowed
        self._fast = 0
        self._needed = _TRIAL
        self._slowed_at = 0.0

    def slow_down(self) -> None:
        """Have the worker write. A disk that is slow again at once is given a longer trial each time."""
        now = monotonic()
        self._needed = min(self._needed * 2, _LONGEST_TRIAL) if now - self._slowed_at < 1.0 else _TRIAL
        self._slowed_at = now
        self.inline, self._fast = False, 0
        self.slowdowns += 1

    def wrote(self, took: float) -> None:
        """Take note of how long a write of the worker took; after enough fast ones callers write again."""
        self._fast = self._fast + 1 if took < 2 * SLOW else 0
        if self._fast >= self._needed and self._allowed:
            self.inline = True
