"""Slowing and breaking the calls that a log makes: those of the system under a real folder."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRITES = ("write", "pwrite")
SYNCS = ("fsync", "fdatasync")


class Breaker:
    """What happens to the calls `os.write`, `os.pwrite`, `os.fsync` and `os.fdatasync`, of this process's logs."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.by_thread: Counter[str] = Counter()
        self._actions: dict[str, Callable[[Callable[..., Any], tuple[Any, ...]], Any]] = {}

    def fail(self, *calls: str, error: int) -> None:
        """Let calls fail until `mend`."""

        def action(inner: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            raise OSError(error, os.strerror(error))

        self._actions |= dict.fromkeys(calls, action)

    def shorten(self, taken: int) -> None:
        """Let writes take a few bytes at a time."""

        def action(inner: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            return inner(args[0], bytes(args[1])[:taken], *args[2:])

        self._actions |= dict.fromkeys(WRITES, action)

    def fill(self, room: int) -> None:
        """Let the disk have room for so many bytes: the last write is short, those behind it fail."""
        left = [room]

        def action(inner: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken: int = inner(args[0], bytes(args[1])[: left[0]], *args[2:])
            left[0] -= taken
            return taken

        self._actions |= dict.fromkeys(WRITES, action)

    def stall(self, *calls: str, seconds: float) -> None:
        """Let calls stand still before they do anything."""

        def action(inner: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            self.by_thread[threading.current_thread().name] += 1
            time.sleep(seconds)
            return inner(*args)

        self._actions |= dict.fromkeys(calls, action)

    def mend(self) -> None:
        """Let all work again."""
        self._actions.clear()

    def call(self, name: str, inner: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Do a call, or what happens to it."""
        self.calls[name] += 1
        action = self._actions.get(name)
        return inner(*args) if action is None else action(inner, args)


@contextmanager
def breaking() -> Iterator[Breaker]:
    """Put a breaker between this process and the system."""
    breaker = Breaker()

    def between(name: str) -> Callable[..., Any]:
        inner = getattr(os, name)
        return lambda *args: breaker.call(name, inner, args)

    with patch.multiple(os, **{name: between(name) for name in (*WRITES, *SYNCS)}):
        yield breaker
