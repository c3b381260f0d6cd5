"""When to try again what failed: soon, then less and less often."""

from __future__ import annotations

from time import monotonic
from typing import Final

__all__ = ["Retry"]

_FIRST: Final = 0.01
_LAST: Final = 2.0


class Retry:
    """The pauses of one thing that may fail. `at` is when it may be tried next (monotonic), 0 while it works."""

    def __init__(self) -> None:
        self.at = 0.0
        self.pause = _FIRST

    def failed(self) -> None:
        """Take note of a failure."""
        self.at = monotonic() + self.pause
        self.pause = min(2 * self.pause, _LAST)

    def worked(self) -> None:
        """Take note that it works (again)."""
        self.at, self.pause = 0.0, _FIRST

    @property
    def due(self) -> bool:
        """Whether it may be tried now."""
        return monotonic() >= self.at
