"""The trail behind a sink: one for all sinks of the process that are told the same, open while one of them writes.

fapilog makes a sink for every named logger; each of them would else take a writer slot, and what one service did be
spread over as many streams. A trail is closed when the last of its sinks leaves, and opened again with the next event;
one that holds events which it could not store yet stays open, and goes on trying. One with a backend stays open until
the process ends: a backend may be closed only once.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from fapilog_audit.context import audit_context
from fapilog_audit.errors import StoppedError
from fapilog_audit.ledger import off_loop
from fapilog_tamper.errors import HintedError
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from fapilog_audit.sink.config import TrailPlan
    from fapilog_audit.sink.mapping import MappedEntry
    from fapilog_audit.trail import AuditTrail

__all__ = ["SharedTrail", "shared_trail"]

_ATTEMPTS: Final = 5
"""How often an event may find the trail stopped by another loop that has just ended."""

_AGAIN: Final = 1.0
"""Seconds between two attempts to start, which may read the whole of an open segment."""

_PATIENCE: Final = 1.0
"""Seconds that a loop which ends waits for storage. What is not stored then is stored in the background."""

_made: Final[WeakSet[SharedTrail]] = WeakSet()
_opened: Final[set[SharedTrail]] = set()
"""Not weak: what is open is shared with sinks to come, though those that opened it may be gone."""
_making = threading.Lock()


class SharedTrail:
    """The trail of the sinks that share it. Any thread and loop may call it."""

    def __init__(self, plan: TrailPlan) -> None:
        self.plan = plan
        self._trail: AuditTrail | None = plan.make()
        self._users: set[int] = set()
        self._open = self._was_open = False
        self._failed: tuple[float, HintedError] | None = None
        self._life = threading.RLock()
        self._counting = threading.Lock()

    @property
    def trail(self) -> AuditTrail:
        """The trail; there is another in a child that was forked."""
        trail = self._trail
        if trail is not None:
            return trail
        with self._life:
            if self._trail is None:
                self._trail = self.plan.make()
            return self._trail

    async def record(self, entry: MappedEntry) -> None:
        """Record an entry; return when its promise is kept, or as the policy has it.

        Raises:
            HintedError: the trail cannot be started, or the event is not stored and the policy says `raise`.
        """
        for left in reversed(range(_ATTEMPTS)):
            if not self._open:
                await off_loop(self._start)
            try:
                with audit_context(**entry.trace):
                    await self.trail.log_event(**entry.arguments)
            except StoppedError:
                if not left:
                    raise
                self._open = False
            else:
                return

    async def open(self) -> None:
        """Start the trail, unless it is; try even if that failed a moment ago.

        Raises:
            HintedError: that does not work.
        """
        self._failed = None
        await off_loop(self._start)

    def _start(self) -> None:
        with self._life:
            if self._failed is not None and monotonic() - self._failed[0] < _AGAIN:
                raise self._failed[1]
            try:
                self.trail.start_now()
            except HintedError as error:
                self._failed = (monotonic(), error)
                raise
            self._failed = None
            self._open = self._was_open = True
            _opened.add(self)

    def enter(self, user: object) -> None:
        """Take note that somebody writes."""
        with self._counting:
            self._users.add(id(user))

    async def leave(self, user: object) -> None:
        """Take note that somebody writes no more; close the trail when nobody else does."""
        with self._counting:
            self._users.discard(id(user))
            if self._users:
                return
        if not self._was_open:
            return
        left = await self.trail.drain(_PATIENCE)
        if left:
            warn(
                f"audit sink: {len(left)} events are not stored yet, but kept, and stored as soon as that works while"
                f" this process lives: {self.trail.health().reason}"
            )
        elif not self.plan.has_backend:
            await off_loop(self._stop)

    def _stop(self) -> None:
        with self._life:
            with self._counting:
                if self._users:
                    return
            self._open = False
            _opened.discard(self)
            lost = self.trail.stop_now(self.plan.settings.timeout)
        if lost:
            warn(f"audit sink: {len(lost)} events are lost: {', '.join(lost)[:200]}")

    async def health(self) -> str | None:
        """Return why events are not recorded as they should be, None where they are.

        A trail that was closed is not opened for that: it would take a writer slot, and keep it. One that was never
        open, or could not be opened again, is: a service that is called unhealthy may be given nothing to log.
        """
        if self._failed is not None or not self._was_open:
            with suppress(HintedError):
                await self.open()
        failed = self._failed
        if failed is not None:
            return str(failed[1])
        return self.trail.health().reason if self._open else None

    def let_go(self) -> None:
        """Begin anew in a child that was just forked: locks may be held by threads of the parent."""
        self._life = threading.RLock()
        self._counting = threading.Lock()
        self._users = set()
        self._trail = None
        self._open = self._was_open = False
        self._failed = None


def shared_trail(plan: TrailPlan) -> SharedTrail:
    """Return the trail of a plan, the same for all sinks of the process that have an equal one.

    Raises:
        ConfigError: it cannot work.
    """
    with _making:
        for shared in _made:
            if shared.plan == plan:
                return shared
        shared = SharedTrail(plan)
        _made.add(shared)
        return shared


def _after_fork() -> None:
    global _making  # noqa: PLW0603 (a thread of the parent may hold it)
    _making = threading.Lock()
    _opened.clear()
    for shared in _made:
        shared.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
