"""The way of sealed events from the outbox to a backend: one thread, one loop, one event at a time, in order.

    outbox (a sealed log on local disk) -> Follower -> backend.write -> (flush) -> tickets, and the mark

The mark says how far a stream was delivered. It is written behind the deliveries, every now and then, so that after a
crash events are offered twice rather than never. Segments of the outbox that were delivered as a whole are removed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from fapilog_audit.errors import StoppedError
from fapilog_audit.futures import start_thread, tell
from fapilog_audit.reading import Follower
from fapilog_tamper.errors import HintedError
from fapilog_tamper.layout import lock_name
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fapilog_audit.backends.base import StorageBackend
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.outbox import Outbox
    from fapilog_tamper.store.base import Lock

__all__ = ["Delivery", "Ticket"]

_MARK_EVENTS: Final = 1000
_MARK_SECONDS: Final = 1.0
_SHORTEST: Final = 0.05
_LONGEST: Final = 2.0
_GRACE: Final = 0.5
"""Seconds that flush and close of a backend have at least, however little time is left."""


class Ticket:
    """The wait for one delivery.

    Attributes:
        attempted: set when an attempt has reached the event or failed before it.
        delivered: set when the backend has it, flushed where that was asked for.
        why: what an attempt failed of; the next one may have worked since.
        patient: somebody waits for `delivered`, however many attempts fail.
    """

    __slots__ = ("attempted", "delivered", "flush", "patient", "seq", "stream", "why")

    def __init__(self, stream: str, seq: int, *, flush: bool, patient: bool) -> None:
        self.stream = stream
        self.seq = seq
        self.flush = flush
        self.patient = patient
        self.why: str | None = None
        self.attempted: Future[None] = Future()
        self.delivered: Future[None] = Future()


class Delivery:
    """Offers the events of a trail to a backend, and those of streams that nobody else delivers."""

    def __init__(self, backend: StorageBackend, outbox: Outbox, *, label: str) -> None:
        self._backend = backend
        self._outbox = outbox
        self._label = label
        self._strays: dict[str, Lock] = {}
        self._done: dict[str, int] = {}
        self._marked: dict[str, int] = {}
        self._marked_at = 0.0
        self._guard = threading.Lock()
        self._tickets: list[Ticket] = []
        self._own: dict[str, deque[int]] = {}
        self._finishing = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._news = asyncio.Event()
        self._ending = False
        self._deadline = 0.0
        self.trouble: str | None = None
        """Why the backend takes nothing now."""

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, stream: str) -> None:
        """Begin to deliver a stream, behind its mark; a log that had to be opened anew may be another one."""
        if self.running:
            with self._guard:
                self._done.setdefault(stream, self._outbox.read_mark(stream))
            return
        self._ending = self._finishing = False
        self._news = asyncio.Event()
        self._done = {stream: self._outbox.read_mark(stream), **self._take_strays(stream)}
        self._marked = dict(self._done)
        # Where the interpreter ends there is no thread to be had: the outbox keeps the events for the next process.
        self._thread = start_thread(self._run, f"audit backend {self._label}")

    @property
    def undelivered(self) -> int:
        """How many events of this trail the backend does not have."""
        return sum(map(len, self._own.values()))

    def undelivered_ids(self) -> list[str]:
        """Return the events of this trail that the backend does not have, as the outbox has them."""
        with self._guard:
            own = {stream: set(seqs) for stream, seqs in self._own.items() if seqs}
        if not own:
            return []
        follower = Follower(self._outbox.folder, after={stream: min(seqs) - 1 for stream, seqs in own.items()})
        found: list[str] = []
        with suppress(HintedError):
            while events := follower.poll():
                mine = (event for event in events if event.sequence_number in own.get(event.stream or "", ()))
                found += [event.event_id for event in mine]
        return found

    def add(self, stream: str, seq: int) -> None:
        """Have an event of this trail delivered."""
        with self._guard:
            if seq > self._done.get(stream, 0):
                self._own.setdefault(stream, deque()).append(seq)
        self.wake()

    def ask(self, stream: str, seq: int, *, flush: bool, patient: bool) -> Ticket:
        """Return a ticket for the delivery of all of a stream through `seq`."""
        ticket = Ticket(stream, seq, flush=flush, patient=patient)
        with self._guard:
            done = not flush and self._done.get(stream, 0) >= seq
            if not done:
                self._tickets.append(ticket)
        if done:
            tell(ticket.delivered)
            tell(ticket.attempted)
        self.wake()
        return ticket

    def wake(self) -> None:
        """Have it look for news, and try again what failed."""
        loop = self._loop
        if loop is not None:
            # The loop may have ended just now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._news.set)

    def stop(self, timeout: float) -> None:
        """Deliver what is there while time lasts; then flush and close the backend, once."""
        thread = self._thread
        if thread is None:
            return
        self._deadline = monotonic() + timeout
        self._ending = True
        loop = self._loop
        if loop is not None:
            # The loop may have ended just now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.call_later, timeout, self._break_off)
        self.wake()
        thread.join(timeout + 2 * _GRACE + 1)
        if thread.is_alive():
            warn(f"audit trail {self._label}: the backend does not answer; it is left as it is.")
        self._thread = None

    def let_go(self) -> None:
        """Forget the thread in a child that was just forked: the parent delivers."""
        self._thread = self._loop = None
        self._guard = threading.Lock()
        self._tickets = []
        self._own.clear()
        for lock in self._strays.values():
            lock.abandon()
        self._strays = {}

    # In the thread.

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        try:
            self._task = loop.create_task(self._serve())
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(self._task)
        finally:
            self._loop = self._task = None
            loop.close()

    def _break_off(self) -> None:
        """Leave a write that does not return, when the time of `stop` is over."""
        if self._task is not None and not self._finishing:
            self._task.cancel()

    async def _serve(self) -> None:
        follower = Follower(self._outbox.folder, after=dict(self._done), include_control=True)
        try:
            while not (self._ending and monotonic() >= self._deadline):
                self._news.clear()
                events = self._read(follower)
                for event in events or ():
                    if event.stream in self._done and not await self._offer(event):
                        return
                if events:
                    continue
                if self._ending and events is not None:
                    return
                settled = await self._settle() and events is not None
                if settled:
                    await self._keep_mark(now=bool(self._strays))
                    self._free_strays()
                await self._wait(_MARK_SECONDS if settled else _SHORTEST)
        finally:
            self._finishing = True
            await self._end()

    def _read(self, follower: Follower) -> list[AuditEvent] | None:
        """Return what is new in the outbox; None where it cannot be read, which is tried again."""
        try:
            return follower.poll()
        except HintedError as error:
            self._refused(error, "the outbox cannot be read")
            return None

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    async def _offer(self, event: AuditEvent) -> bool:
        """Have the backend take an event, however often it refuses; False when time is over."""
        pause = _SHORTEST
        while True:
            try:
                write = _tamed(self._backend.write(event))
                await (asyncio.wait_for(write, max(0.0, self._deadline - monotonic())) if self._ending else write)
                break
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (a backend may raise anything)
                # The event stays in the outbox.
                self._refused(error)
            if self._ending and monotonic() >= self._deadline:
                return False
            self._news.clear()
            await self._wait(pause)
            pause = min(pause * 2, _LONGEST)
        self.trouble = None
        await self._took(event.stream or "", event.sequence_number or 0)
        return True

    def _refused(self, error: BaseException, what: str = "the backend refuses events") -> None:
        first = self.trouble is None
        self.trouble = f"{what} ({type(error).__name__}: {error})"
        with self._guard:
            tickets, self._tickets = self._tickets, [ticket for ticket in self._tickets if ticket.patient]
        if first:
            warn(f"audit trail {self._label}: {self.trouble}; they are kept in the outbox and offered again.")
        for ticket in tickets:
            ticket.why = self.trouble
            tell(ticket.attempted)

    async def _took(self, stream: str, seq: int) -> None:
        with self._guard:
            self._done[stream] = seq
            own = self._own.get(stream)
            while own and own[0] <= seq:
                own.popleft()
        await self._settle()
        if seq - self._marked.get(stream, 0) >= _MARK_EVENTS:
            await self._keep_mark(now=True)

    async def _settle(self) -> bool:
        """Tell the tickets that were reached, behind a flush where one asks for it; False when that is to be repeated.

        An event may be delivered before its ticket is there.
        """
        with self._guard:
            reached = [ticket for ticket in self._tickets if ticket.seq <= self._done.get(ticket.stream, 0)]
            if reached:
                self._tickets = [ticket for ticket in self._tickets if ticket not in reached]
        flushed = not any(ticket.flush for ticket in reached) or await self._flush()
        for ticket in reached:
            # In this order: who hears of the attempt looks whether it is delivered.
            if flushed or not ticket.flush:
                tell(ticket.delivered)
            tell(ticket.attempted)
        if not flushed:
            with self._guard:
                self._tickets += [ticket for ticket in reached if ticket.flush and ticket.patient]
        return flushed

    async def _flush(self) -> bool:
        try:
            await _tamed(self._backend.flush())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (see _offer)
            self._refused(error)
            return False
        self.trouble = None
        return True

    async def _end(self) -> None:
        if await self._finish("flush", self._backend.flush):
            self._write_marks()
        await self._finish("close", self._backend.close)
        self._free_strays()
        with self._guard:
            tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            tell(ticket.attempted)
            tell(ticket.delivered, StoppedError("the trail was stopped before the backend took the event."))

    async def _finish(self, what: str, call: Callable[[], Awaitable[object]]) -> bool:
        try:
            await asyncio.wait_for(_tamed(call()), max(_GRACE, self._deadline - monotonic()))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (see _offer)
            warn(f"audit trail {self._label}: {what} of the backend failed ({error!r}).")
            return False
        return True

    def _free_strays(self) -> None:
        """Let other processes have the streams that were taken over, once all that was left in them is delivered."""
        for stream, lock in self._strays.items():
            lock.release()
            self._done.pop(stream, None)
        self._strays = {}

    # Marks.

    async def _keep_mark(self, *, now: bool) -> None:
        """Write down how far the backend is; what it took must survive the machine first."""
        if self._done == self._marked or (not now and monotonic() - self._marked_at < _MARK_SECONDS):
            return
        self._marked_at = monotonic()
        if await self._flush():
            self._write_marks()

    def _write_marks(self) -> None:
        try:
            for stream, seq in self._done.items():
                if seq > self._marked.get(stream, 0):
                    self._outbox.write_mark(stream, seq)
                    self._outbox.prune(stream, seq)
        except OSError as error:
            warn(f"audit trail {self._label}: how far events were delivered cannot be written ({error.strerror}).")
            return
        self._marked = dict(self._done)

    def _take_strays(self, own: str) -> dict[str, int]:
        """Take over streams of processes that are gone: nobody else would deliver what they left."""
        found: dict[str, int] = {}
        for stream in sorted(self._outbox.streams() - {own}):
            lock = FileStore(self._outbox.state).lock(lock_name(stream))
            if lock is not None:
                self._strays[stream] = lock
                found[stream] = self._outbox.read_mark(stream)
        return found


async def _tamed(call: Awaitable[object]) -> None:
    """Wait for a backend; what would end a thread or a loop, when raised in it, becomes an error like any other."""
    try:
        await call
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"{type(error).__name__} in the backend") from error
