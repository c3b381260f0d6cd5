"""What is counted of events: all of them, and some kinds apart, which may be worth an alert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Counting", "Special"]


@dataclass(slots=True)
class Special:
    """Events of a kind that is counted apart, and may be worth an alert."""

    alerts: bool
    count: int = 0


class Counting(Protocol):
    """Counts an event as accepted, or takes that back."""

    def __call__(self, special: Special | None, by: int = 1) -> None:
        """Count `by` events."""
        ...
