"""What callers ask of the worker; guarded by the engine's mutex."""

from __future__ import annotations

from time import monotonic
from typing import Final

from fapilog_tamper.writer.promise import Promise

__all__ = ["Wishes"]

_LINGER: Final = 0.005
"""Seconds that an entry nobody waits for may wait for company."""


class Wishes:
    """How far the worker is to write and to sync.

    Attributes:
        written: the last entry that somebody waits for, or that nobody else writes.
        synced: the last entry that is to be brought to the disk.
        linger_until: when entries that nobody waits for are to be written, too (monotonic).
    """

    def __init__(self) -> None:
        self.written = 0
        self.synced = 0
        self.linger_until: float | None = None

    def ask(self, seq: int, promise: int) -> None:
        """Ask for the promise of an entry."""
        if promise == Promise.SYNCED:
            self.synced = max(self.synced, seq)
        self.written = max(self.written, seq)

    def linger(self) -> bool:
        """Ask for a write soon; False where one is asked for already."""
        if self.linger_until is not None:
            return False
        self.linger_until = monotonic() + _LINGER
        return True

    def write_time(self, written: int, *, pending: bool) -> float | None:
        """Return when to write, with entries through `written` in the store: 0 for now, None for not at all.

        An entry that its caller is writing is pending, too, and nobody asks for it.
        """
        if self.written > written:
            return 0.0
        return self.linger_until if pending else None
