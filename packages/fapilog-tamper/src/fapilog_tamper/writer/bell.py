"""A bell that wakes one thread: ringing twice wakes once, and costs no more than releasing a lock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["Bell"]


class Bell:
    """Rung under the mutex that it was made with, heard by one thread at a time."""

    def __init__(self, mutex: AbstractContextManager[object]) -> None:
        self._mutex = mutex
        self._lock = threading.Lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        """Wake who hears, now or next; under the mutex."""
        if not self._rung:
            self._rung = True
            self._lock.release()

    def hear(self, seconds: float) -> None:
        """Wait until the bell is rung, for some seconds at most."""
        if self._lock.acquire(timeout=seconds):
            with self._mutex:
                self._rung = False
