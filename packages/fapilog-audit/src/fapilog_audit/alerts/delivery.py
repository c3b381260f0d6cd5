"""The way of an alert to its handlers: a thread of its own, so that no event waits for a handler.

What an alert is about is stored before. A handler that fails or hangs costs alerts, never events; both are counted and
told by a warning.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from fapilog_audit.futures import start_thread
from fapilog_tamper.writer import exits
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.settings import AlertHandler

__all__ = ["AlertDelivery"]

_MOST: Final = 1000
"""Alerts that may wait for their handlers."""

_AT_EXIT: Final = 5.0
"""Seconds that handlers have at interpreter exit."""

_BUSY: Final[WeakSet[AlertDelivery]] = WeakSet()


class AlertDelivery:
    """Hands events to handlers, in order. Any thread may call it."""

    def __init__(self, handlers: Sequence[AlertHandler], label: str) -> None:
        self._handlers = handlers
        self._label = label
        self.sent = 0
        self.failed = 0
        self.let_go()

    def let_go(self) -> None:
        """Begin anew in a child that was just forked."""
        self._queue: queue.Queue[AuditEvent] = queue.Queue(_MOST)
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, event: AuditEvent) -> None:
        """Have the handlers hear of an event, soon."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._fail("too many alerts wait for their handlers")
            return
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                _BUSY.add(self)
                exits.before(_wait_for_all)
                self._thread = start_thread(self._work, f"audit alerts {self._label}")
                if self._thread is None:
                    self._tell(self._queue.get_nowait())
                    self._queue.task_done()

    def wait(self, timeout: float) -> int:
        """Wait until all alerts were handed over; return how many were not."""
        deadline = monotonic() + timeout
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and monotonic() < deadline:
                self._queue.all_tasks_done.wait(max(0.0, deadline - monotonic()))
            return self._queue.unfinished_tasks

    def _work(self) -> None:
        while True:
            event = self._queue.get()
            self._tell(event)
            self._queue.task_done()

    def _tell(self, event: AuditEvent) -> None:
        for handler in self._handlers:
            try:
                answer = handler(event)
                if inspect.isawaitable(answer):
                    asyncio.run(_wait_for(answer))
            except (Exception, asyncio.CancelledError, SystemExit) as error:  # noqa: BLE001
                # A handler may raise anything; the others must hear all the same.
                self._fail(
                    f"handler {getattr(handler, '__name__', handler)!r} failed ({type(error).__name__}: {error})"
                )
            else:
                self.sent += 1

    def _fail(self, why: str) -> None:
        self.failed += 1
        if self.failed == 1:
            warn(f"audit trail {self._label}: an alert was not delivered: {why}. Further ones are only counted.")


def _wait_for_all() -> None:
    for delivery in list(_BUSY):
        left = delivery.wait(_AT_EXIT)
        if left:
            warn(f"audit trail {delivery._label}: {left} alerts are not told at exit.")  # noqa: SLF001 (of this module)


async def _wait_for(answer: object) -> None:
    if inspect.isawaitable(answer):
        await answer
