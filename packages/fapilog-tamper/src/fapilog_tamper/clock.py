"""The clock of the writer: when segments are rotated, and the times that are written down.

No order rests on it, so a clock that jumps or goes back changes nothing but names and time stamps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "system_clock"]

Clock = Callable[[], float]
"""Returns the seconds since 1970-01-01 UTC. Called under a lock for each entry, so it must be quick."""

system_clock: Clock = time.time
