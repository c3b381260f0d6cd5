"""Events that are accepted and not stored: kept in order, and brought to the log as soon as it takes them.

    queue (bounded in bytes) -> attempt -> log: [append, or look whether an entry that is late is there by now]

An attempt works the queue off from its front and stops where something fails, so that order is kept. One thread makes
the attempts while there is something to do; `drain` makes them in the caller. An event that finds the queue full is
lost, counted, and told in an event of its own as soon as events can be stored again.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from fapilog_audit.encode import encode_members
from fapilog_audit.errors import StoppedError
from fapilog_audit.futures import start_thread, tell
from fapilog_audit.reading import find_event
from fapilog_audit.stamp import new_stamp
from fapilog_tamper.errors import HintedError, StoreError
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_audit.ledger import Ledger
    from fapilog_tamper.sealer import SealedLog
    from fapilog_tamper.stamps import Encoded
    from fapilog_tamper.writer.promise import Durability

__all__ = ["GAP", "Backlog", "Waiting"]

GAP: Final = "fapilog_audit.gap"
"""The type of the event that tells of lost ones."""

_SOON: Final = 0.05
_LONGEST: Final = 0.25
"""Seconds between two attempts that fail: at first, and at most."""


class Waiting:
    """An event that waits to be stored.

    Attributes:
        log: the log that has sealed it and not stored it yet; None where none has.
        stream: the stream that it stands in, once it is stored.
        seq: its place there.
        attempted: set when an attempt has reached it or failed before it.
        stored: set when its promise is kept.
    """

    __slots__ = ("attempted", "encoded", "event_id", "log", "promise", "seq", "stored", "stream")

    def __init__(
        self, event_id: str, encoded: Encoded, promise: Durability, *, log: SealedLog | None = None, seq: int = 0
    ) -> None:
        self.event_id = event_id
        self.encoded = encoded
        self.promise: Durability = promise
        self.log = log
        self.stream = ""
        self.seq = seq
        self.attempted: Future[None] = Future()
        self.stored: Future[None] = Future()


@dataclass(frozen=True, slots=True)
class _Losses:
    """Events that were lost and of which the log does not tell yet: how many, and when the first and the last."""

    count: int
    first: str | None
    last: str | None

    def and_later(self, count: int, last: str | None) -> _Losses:
        return _Losses(self.count + count, self.first, last)


class Backlog:
    """The queue of one trail. Any thread may call it."""

    def __init__(
        self,
        ledger: Ledger,
        on_stored: Callable[[Waiting], None],
        *,
        label: str,
        max_bytes: int,
        framework: str,
    ) -> None:
        self._ledger = ledger
        self._on_stored = on_stored
        self._label = label
        self._max_bytes = max_bytes
        self._framework = framework
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._untold: _Losses | None = None
        self.lost = 0
        """Events that found the queue full, were left at the end, or are gone with the file of a log."""
        self.let_go()

    def let_go(self) -> None:
        """Begin anew in a child that was just forked: what waits is stored by the parent."""
        self._queue.clear()
        self._gone: list[tuple[SealedLog, str, int]] = []
        self._ended = False
        self._untold = None
        self._before_gap = 0
        self._bytes = 0
        # Reentrant: a signal handler may log while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._attempting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether something waits: then what comes must go behind it."""
        return bool(self._queue) or self._untold is not None

    @property
    def sealed(self) -> int:
        """How many of them a log has sealed already."""
        with self._changed:
            return sum(1 for waiting in self._queue if waiting.log is not None)

    @property
    def ids(self) -> list[str]:
        """The events that wait, in order."""
        with self._changed:
            return [waiting.event_id for waiting in self._queue]

    def add(self, waiting: Waiting, why: str, *, force: bool = False) -> bool:
        """Put an event behind all that wait; False when there is no room, and it is lost.

        Args:
            waiting: the event.
            why: what does not work, for the warning.
            force: take it whatever room there is: its caller waits, or a log holds it anyway.

        Raises:
            StoppedError: the trail was stopped.
        """
        size = len(waiting.encoded.payload)
        with self._changed:
            if self._ended:
                raise StoppedError("the trail was stopped.")
            first = not self.busy
            if self._queue and self._bytes + size > self._max_bytes and not force:
                self._lose(waiting, why)
                return False
            self._queue.append(waiting)
            self._bytes += size
            if self._failing:
                waiting.attempted.set_result(None)
            self._start()
        if first:
            warn(f"audit trail {self._label}: an event is not stored, and kept to be stored later: {why}")
        return True

    def _lose(self, waiting: Waiting, why: str) -> None:
        self.lost += 1
        if self._untold is not None:
            self._untold = self._untold.and_later(1, waiting.encoded.timestamp)
        else:
            self._untold = _Losses(1, waiting.encoded.timestamp, waiting.encoded.timestamp)
            self._before_gap = len(self._queue)
            warn(f"audit trail {self._label}: events are lost, {self._max_bytes} bytes of others wait already: {why}")

    def _start(self) -> None:
        """Have a thread work; with the lock held."""
        if self._thread is not None and self._thread.is_alive():
            self._changed.notify_all()
            return
        self._thread = start_thread(self._work, f"audit trail {self._label}")
        if self._thread is None:
            # The exit hook of the trail drains.
            self._failing = True
            for waiting in self._queue:
                tell(waiting.attempted)

    def _work(self) -> None:
        pause = _SOON
        while True:
            with self._changed:
                if not self.busy:
                    self._thread = None
                    return
            before = len(self._queue)
            if self._attempt():
                continue
            pause = _SOON if len(self._queue) < before else min(pause * 2, _LONGEST)
            with self._changed:
                self._changed.wait(pause)

    def drain(self, timeout: float) -> list[str]:
        """Try until nothing waits or the time is over; return the events that still wait."""
        deadline = monotonic() + timeout
        pause = _SOON
        while self.busy:
            if self._attempt(max(0.0, deadline - monotonic())):
                continue
            left = deadline - monotonic()
            if left <= 0:
                break
            with self._changed:
                self._changed.wait(min(pause, left))
            pause = min(pause * 2, _LONGEST)
        return self.ids

    def end(self, log: SealedLog | None, lost: frozenset[int], *, doubtful: bool) -> list[str]:
        """Give up what waits, and return what is lost of it: the trail was stopped.

        Args:
            log: the log that was closed.
            lost: the entries that it did not store.
            doubtful: what it stored may be gone.
        """
        with self._changed:
            queue, self._queue = self._queue, deque()
            self._ended, self._untold = True, None
            self._bytes = 0
            self._changed.notify_all()
        left = [one for one in queue if not self._is_kept(one, log, lost, doubtful=doubtful or bool(lost))]
        for waiting in queue:
            if waiting not in left:
                tell(waiting.stored)
        self.lost += len(left)
        for waiting in queue:
            tell(waiting.attempted)
            tell(waiting.stored, StoppedError("the trail was stopped before the event could be stored."))
        return [waiting.event_id for waiting in left]

    def _is_kept(self, waiting: Waiting, log: SealedLog | None, lost: frozenset[int], *, doubtful: bool) -> bool:
        if waiting.log is None or waiting.log is not log or waiting.seq in lost:
            return False
        return not doubtful or self._find(waiting.event_id)

    def _find(self, event_id: str) -> bool:
        """Tell whether an event is in the files."""
        try:
            return find_event(self._ledger.folder, event_id) is not None
        except HintedError:
            return False

    # One attempt.

    def _attempt(self, seconds: float = -1) -> bool:
        """Work the queue off as far as that goes; return whether all of it went."""
        if not self._attempting.acquire(timeout=seconds):
            return False
        try:
            while self._queue:
                told = self._untold is None or self._before_gap > 0 or self._tell_of_losses()
                if not told or not self._store(self._queue[0]):
                    self._tell_of_failure()
                    return False
            self._failing = False
            return self._tell_of_losses()
        finally:
            self._attempting.release()

    def _tell_of_failure(self) -> None:
        with self._changed:
            self._failing = True
            for waiting in self._queue:
                tell(waiting.attempted)

    def _store(self, waiting: Waiting) -> bool:
        try:
            log = self._ledger.open(now=True)
        except HintedError:
            return False
        while self._gone:
            self._count_gone(*self._gone.pop(), log)
        health = log.health()
        if health.final:
            self._give_up(log)
            return False
        if self._is_stored(waiting, log):
            self._done(waiting)
            return True
        # An event that the log refused would be counted there as lost.
        full = log.stats.pending_bytes > self._max_bytes
        if waiting.log is not None or not health.ok or full or not self._append(log, waiting):
            return False
        self._done(waiting)
        return True

    def _is_stored(self, waiting: Waiting, log: SealedLog) -> bool:
        """Tell whether the log that has sealed an event has stored it; one that was given up and has not, is forgotten.

        What a log that was given up says is not enough: it may have written to a file that somebody has removed.
        """
        if waiting.log is log:
            return log.is_stored(waiting.seq, waiting.promise)
        if waiting.log is not None and self._find(waiting.event_id):
            return True
        waiting.log = None
        return False

    def _append(self, log: SealedLog, waiting: Waiting) -> bool:
        try:
            waiting.stream, waiting.seq, _ = log.append(waiting.encoded, durability=waiting.promise)
        except StoreError as error:
            if error.seqs:
                waiting.log, waiting.stream, waiting.seq = log, log.stream, error.seqs[0]
            return False
        except HintedError:
            return False
        return True

    def _give_up(self, log: SealedLog) -> None:
        """Close a log that takes nothing more, and account for what it had and nobody else has."""
        stream, last = log.stream, log.head.seq
        self._ledger.give_up(log)
        try:
            new = self._ledger.open(now=True)
        except HintedError:
            self._gone.append((log, stream, last))
            return
        self._count_gone(log, stream, last, new)

    def _count_gone(self, old: SealedLog, stream: str, last: int, new: SealedLog) -> None:
        """Count the entries of a log that are not in the one which was opened in its place, nor wait for it."""
        begun = new.head.seq - new.stats.accepted
        if new.stream != stream:
            return
        with self._changed:
            again = sum(1 for one in self._queue if one.log is old and one.seq > begun)
            gone = max(0, last - begun - again)
            if not gone:
                return
            now = new_stamp()[1]
            self.lost += gone
            self._untold = _joined(_Losses(gone, now, now), self._untold)
            self._before_gap = 0
        warn(f"audit trail {self._label}: {gone} events that were stored or accepted are gone with their file.")

    def _done(self, waiting: Waiting) -> None:
        with self._changed:
            if self._queue and self._queue[0] is waiting:
                self._queue.popleft()
                self._bytes -= len(waiting.encoded.payload)
                self._before_gap -= 1
            self._failing = False
            self._changed.notify_all()
        self._on_stored(waiting)
        tell(waiting.attempted)

    def _tell_of_losses(self) -> bool:
        """Put on record how many events were lost, before anything else is stored."""
        with self._changed:
            losses, self._untold = self._untold, None
        if losses is None:
            return True
        event_id, timestamp = new_stamp()
        encoded = encode_members(
            {
                "event_id": event_id,
                "timestamp": timestamp,
                "event_type": GAP,
                "log_level": "critical",
                "message": f"{losses.count} events were lost: not stored and not kept, or gone with their file",
                "compliance_level": self._framework,
                "metadata": asdict(losses),
            }
        )
        try:
            self._ledger.open(now=True).append(encoded, durability="written")
        except HintedError as error:
            if not getattr(error, "seqs", ()):
                with self._changed:
                    self._untold = _joined(losses, self._untold)
                return False
        return True


def _joined(earlier: _Losses, later: _Losses | None) -> _Losses:
    return earlier if later is None else earlier.and_later(later.count, later.last)
