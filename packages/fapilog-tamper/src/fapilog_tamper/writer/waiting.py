"""Callers that wait for their promise: threads on a lock, coroutines on a future of their own loop.

The engine calls `notify` after each step forward. A loop is called once a step, whatever the number of its waiters, and
settles them itself, so that no future is touched outside its loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from fapilog_tamper.writer.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["LoopGate", "Waiters"]

_PASS: Final = 0.0005
"""Seconds that appends may take of one pass of an event loop before further ones let others go first."""

_LONGEST: Final = 0.002
"""Seconds of one pass after which no append begins: a thousand tasks that are woken at once take several passes."""

_AWAKE: Final = 256
"""How many callers look for their turn in each pass; a thousand would take the pass for that alone, so others sleep."""


class _Turn:
    """Awaited, it lets the other tasks of a loop go first; at half of what `asyncio.sleep(0)` costs."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_TURN: Final = _Turn()


class Progress(Protocol):
    """What a waiter asks of the engine."""

    def reached(self, seq: int, promise: Promise) -> bool:
        """Tell whether the promise of this entry is kept, or never will be."""
        ...

    def is_held(self, promise: Promise) -> bool:
        """Tell whether an attempt at what the promise needs has failed, and is to be done again."""
        ...

    def watch(self, gate: LoopGate) -> None:
        """Have `gate.notify` called at the next step forward; `gate.watched` is true until then."""
        ...


class Waiters:
    """All who wait on one engine; guarded by its mutex. `watched`: somebody does."""

    def __init__(self) -> None:
        self.watched = False
        self._waiting: list[tuple[int, Promise, threading.Lock]] = []
        self._gates: set[LoopGate] = set()

    def watch(self, gate: LoopGate) -> None:
        """Have the gate notified at the next step forward."""
        gate.watched = self.watched = True
        self._gates.add(gate)

    def notify(self, progress: Progress) -> None:
        """Wake who waits for a step forward that was made."""
        gates, self._gates = self._gates, set()
        for gate in gates:
            gate.watched = False
            gate.notify()
        self.wake_next(progress)
        self.watched = bool(self._waiting)

    def add(self, seq: int, promise: Promise) -> threading.Lock:
        """Return a lock that is released when the promise is kept."""
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append((seq, promise, lock))
        self.watched = True
        return lock

    def drop(self, lock: threading.Lock) -> None:
        """Forget a waiter that gave up."""
        self._waiting = [one for one in self._waiting if one[2] is not lock]

    def wake_next(self, progress: Progress) -> None:
        """Wake one thread whose promise is kept; it calls this again when it goes, and so wakes the next.

        To wake all at once would have them fight for the interpreter, which costs more than it gives.
        """
        for at, (seq, promise, lock) in enumerate(self._waiting):
            if progress.reached(seq, promise):
                del self._waiting[at]
                lock.release()
                return

    def pass_on(self) -> bool:
        """Wake one who waits for a write, to write for all; False where nobody does."""
        for at, (_, promise, lock) in enumerate(self._waiting):
            if promise == Promise.WRITTEN:
                del self._waiting[at]
                lock.release()
                return True
        return False


class _Waiter(NamedTuple):
    progress: Progress
    seq: int
    promise: Promise
    future: asyncio.Future[bool]
    deadline: float
    hasty: bool


class LoopGate:
    """The coroutines of one event loop that wait, and its pace. All but `notify` is called in that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watched = False
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._begun: float | None = None
        self._turns = 0
        self._crowded = False
        self._numbers = self._gone = self._put_off = 0
        self._sleepers: deque[tuple[int, asyncio.Future[None]]] = deque()

    def must_turn(self) -> bool:
        """Tell whether an append must let others go first: an `await` that never suspends starves its loop.

        Where several callers had to, each of them does so at each append, so that none takes the whole pass.
        """
        now = time.perf_counter()
        if self._begun is None:
            self._begun = now
            self.loop.call_soon(self._next_pass)
            if not self._crowded:
                return False
        elif not self._crowded and now - self._begun < _PASS:
            return False
        self._turns += 1
        return True

    async def turn(self) -> None:
        """Let others go first, and come back in a pass that has time left."""
        number = self._numbers
        self._numbers += 1
        try:
            if number - self._gone >= _AWAKE:
                sleeper = self.loop.create_future()
                self._sleepers.append((number, sleeper))
                await sleeper
            else:
                await _TURN
            if self._put_off or self._is_spent():
                await self._come_back()
        finally:
            self._gone += 1
            while self._sleepers and self._sleepers[0][0] - self._gone < _AWAKE:
                sleeper = self._sleepers.popleft()[1]
                if not sleeper.done():
                    sleeper.set_result(None)

    async def _come_back(self) -> None:
        """Wait for a pass that has time left, behind all who wait for one already.

        Those who went in a pass are in front of those who did not in the next: without this they would go for ever.
        """
        self._put_off += 1
        try:
            await _TURN
            while self._is_spent():
                await _TURN
        finally:
            self._put_off -= 1

    def _is_spent(self) -> bool:
        now = time.perf_counter()
        if self._begun is None:
            self._begun = now
            self.loop.call_soon(self._next_pass)
            return False
        return now - self._begun >= _LONGEST

    def _next_pass(self) -> None:
        self._begun = None
        self._crowded = self._turns > 1
        self._turns = 0

    async def wait(
        self, progress: Progress, seq: int, promise: Promise, seconds: float, *, hasty: bool = False
    ) -> bool:
        """Wait until the promise is kept; False when `seconds` passed first or, for who is hasty, an attempt failed."""
        waiter = _Waiter(progress, seq, promise, self.loop.create_future(), self.loop.time() + seconds, hasty)
        self._waiting.append(waiter)
        if not self.watched:
            progress.watch(self)
        # Watching before looking: a step forward in between is then told once more, and never missed.
        if progress.reached(seq, promise):
            self._waiting.pop()
            return True
        if hasty and progress.is_held(promise):
            self._waiting.pop()
            return False
        self._set_timer(waiter.deadline)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            raise

    def notify(self) -> None:
        """Have the waiters settled, from any thread."""
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self._waiting:
            self._waiting[-1].progress.watch(self)
        still: deque[_Waiter] = deque()
        for waiter in self._waiting:
            if waiter.future.done():
                continue
            if waiter.progress.reached(waiter.seq, waiter.promise):
                waiter.future.set_result(True)
            elif waiter.hasty and waiter.progress.is_held(waiter.promise):
                waiter.future.set_result(False)
            else:
                still.append(waiter)
        self._waiting = still
        if not still and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None and self._timer.when() <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self.loop.time()
        for waiter in self._waiting:
            if waiter.deadline <= now and not waiter.future.done():
                waiter.future.set_result(False)
        self._settle()
        if self._waiting:
            self._set_timer(min(waiter.deadline for waiter in self._waiting))
