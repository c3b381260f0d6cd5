"""Whether a log takes an event now; guarded by the engine's mutex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fapilog_tamper.errors import FullError, StoreError

if TYPE_CHECKING:
    from fapilog_tamper.clock import Clock

__all__ = ["Admission", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a log: whether callers write by themselves, bytes that may wait, and whether more are refused."""

    inline: bool = True
    max_buffer: int = 8 << 20
    refuse: bool = False


class Admission:
    """The door of one log.

    Attributes:
        guarded: something may be refused; False saves asking.
        failed: why nothing is taken any more, for good.
        closing: only what the writer itself has to say is taken.
        refused: how many events were refused since the log was opened.
    """

    def __init__(self, limits: Limits, clock: Clock, stream: str) -> None:
        self.guarded = limits.refuse
        self.failed: StoreError | None = None
        self.closing = False
        self.refused = 0
        self._limits = limits
        self._clock = clock
        self._stream = stream
        self._untold = 0
        self._times: tuple[float, float] | None = None

    def require(self, waiting: int, *, internal: bool = False) -> None:
        """Accept an event while `waiting` bytes wait to be written.

        Raises:
            StoreError: when it is not taken.
        """
        if self.failed is not None:
            raise StoreError(f"the log takes no more entries: {self.failed.message}", hint=self.failed.hint)
        if internal:
            return
        if self.closing:
            raise StoreError("the log is closed.", hint="Open it again with SealedLog.open.")
        if self._limits.refuse and waiting > self._limits.max_buffer:
            now = self._clock()
            self.refused += 1
            self._untold += 1
            self._times = (now if self._times is None else self._times[0], now)
            text = f"{waiting} bytes wait to be written to {self._stream}, the bound is {self._limits.max_buffer}"
            raise FullError(f"{text}; the event was refused, and will be counted in the log.")

    def over_full(self, waiting: int) -> bool:
        """Tell whether so much waits that an append must wait for its own entry."""
        return waiting > self._limits.max_buffer and not self._limits.refuse

    def may_tell(self, waiting: int) -> bool:
        """Tell whether refused events are to be put on record, and there is room again."""
        return self._untold > 0 and waiting <= self._limits.max_buffer // 2

    def tell(self) -> tuple[int, float, float]:
        """Return how many events were refused since this was asked last, and when the first and the last."""
        count, times = self._untold, self._times or (0.0, 0.0)
        self._untold, self._times = 0, None
        return count, *times

    def close(self) -> None:
        """Take only what the writer itself has to say."""
        self.closing = self.guarded = True

    def fail(self, error: StoreError) -> None:
        """Take nothing more."""
        self.failed, self.guarded = error, True
