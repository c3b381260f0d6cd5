"""Signals that end a command only when everything it has read is stored."""

import os
import select
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Stop"]

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if os.name == "posix" and hasattr(signal, name)
)
_FAILURE: Final = 128
"""What shells add to the number of the signal that ended a program."""


class Stop:
    """Takes SIGINT, SIGTERM and SIGHUP down while it is entered, in the main thread.

    A signal never interrupts a write. It ends the waiting for input through a pipe, because a handler that only sets a
    flag would be heard when the next line comes, and one that raises could lose what `os.read` has just returned.
    Repeated signals change nothing: tools that run others often send each twice. What somebody set to be ignored
    (`nohup`, jobs in the background) stays ignored. On Windows nothing is changed, and Ctrl-C raises.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        self._pipe = (-1, -1)
        self._wakeup = -1

    def __enter__(self) -> Self:
        if os.name == "posix":
            self._pipe = os.pipe()
            for fd in self._pipe:
                os.set_blocking(fd, False)
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if os.name == "posix":
            signal.set_wakeup_fd(self._wakeup)
            for fd in self._pipe:
                os.close(fd)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number

    @property
    def asked(self) -> bool:
        """Tell whether a signal came."""
        return self.number is not None

    @property
    def name(self) -> str:
        """The name of the signal that came."""
        return "" if self.number is None else signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """The exit code that is customary for the signal that came."""
        return 0 if self.number is None else _FAILURE + self.number

    def read(self, fd: int, most: int) -> bytes:
        """Return what there is to read as soon as there is something; nothing at the end, or when a signal came."""
        while not self.asked:
            if os.name == "posix":
                select.select([fd, self._pipe[0]], [], [])
                if self.asked:
                    break
            with suppress(BlockingIOError):
                return os.read(fd, most)
        return b""
