"""How an event gets to where the policy wants it: the way that every trail shares.

    sealed log -> (outbox: delivery to a backend) -> stored
         └─ refused: contain -> backlog · raise -> StorageError · block -> backlog, and wait

The fast path is one append to an open log. Everything else, a log that is not open yet, a disk or a backend that
refuses, events that wait already, becomes a `_Wait`: what there is to wait for, in a coroutine or in a thread.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from fapilog_audit.backlog import Backlog, Waiting
from fapilog_audit.delivery import Delivery
from fapilog_audit.errors import StoppedError, StorageError
from fapilog_audit.futures import Wait, tell
from fapilog_audit.ledger import Ledger, SharedCall
from fapilog_tamper.errors import FullError, HintedError, StoreError
from fapilog_tamper.writer import exits
from fapilog_tamper.writer.stats import Health
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_audit.backends.base import StorageBackend
    from fapilog_audit.counting import Counting, Special
    from fapilog_audit.policy import OnStorageFailure
    from fapilog_audit.settings import TrailSettings
    from fapilog_tamper.sealer import Receipt, SealedLog
    from fapilog_tamper.stamps import Encoded
    from fapilog_tamper.writer.promise import Durability
    from fapilog_tamper.writer.waiting import LoopGate

__all__ = ["Recorder"]

_UNSEEN: Final = 4096
"""Events with the promise `accepted` that are remembered, to tell which of them were not stored at the end."""

_AT_EXIT: Final = 5.0
"""Seconds that events which wait have at interpreter exit."""

_OPEN: Final[set[Recorder]] = set()


class Recorder:
    """Stores the events of one trail. Any thread and loop may call it."""

    def __init__(
        self,
        settings: TrailSettings,
        *,
        on_failure: OnStorageFailure,
        framework: str,
        backend: StorageBackend | None,
        before_opening: Callable[[], None],
        count: Counting,
    ) -> None:
        self._settings = settings
        self._count = count
        self._on_failure = on_failure
        self._label = str(settings.folder) if backend is None else type(backend).__name__
        self._delivery: Delivery | None = None
        if backend is None:
            self.ledger = Ledger(settings, settings.folder, before_opening=before_opening, on_failure=on_failure)
        else:
            outbox = settings.outbox
            self.ledger = Ledger(
                settings,
                outbox.folder,
                state=outbox.state,
                before_opening=before_opening,
                after_opening=self._deliver,
                on_failure=on_failure,
            )
            self._delivery = Delivery(backend, outbox, label=self._label)
        self._backlog = Backlog(
            self.ledger,
            self._stored_late,
            label=self._label,
            max_bytes=settings.max_buffer_bytes,
            framework=framework,
        )
        self._refused = 0
        self._unseen: deque[tuple[SealedLog, int, str]] = deque()
        self._counting = threading.Lock()
        self._opening = SharedCall(self.open)
        self._stopped = False
        self._exiting = False

    def let_go(self) -> None:
        """Begin anew in a child that was just forked."""
        self._counting = threading.Lock()
        self._unseen.clear()
        self._exiting = False
        self._opening.let_go()
        self.ledger.let_go()
        self._backlog.let_go()
        if self._delivery is not None:
            self._delivery.let_go()

    # Recording.

    async def record(
        self, event_id: str, encoded: Encoded, promise: Durability, special: Special | None, gate: LoopGate | None
    ) -> None:
        """Store an event; return when its promise is kept, or as the policy has it.

        It is counted when it is accepted, be it lost then: who waits for it may give up.

        Raises:
            StorageError: the policy is `raise`, and it is not stored.
            StoppedError: the trail was stopped.
        """
        log = self.ledger.log
        if log is None or self._backlog.busy:
            if self._backlog.busy and self._on_failure != "raise":
                await self._queue(Waiting(event_id, encoded, promise), special).over_async()
                return
            try:
                log = await self._opening()
                self._require_room(log)
            except HintedError as error:
                await self._refuse(Waiting(event_id, encoded, promise), special, error).over_async()
                return
        # Before: the loop of a task may be closed while it waits, and with a gate nothing comes between.
        self._count(special)
        try:
            receipt = await log.append_async(encoded, durability=promise, gate=gate or log.gate())
        except HintedError as error:
            await self._refuse(Waiting(event_id, encoded, promise), special, error, log).over_async()
            return
        if self._delivery is not None or promise == "accepted":
            await self._appended(log, event_id, receipt, promise).over_async()

    def record_now(self, event_id: str, encoded: Encoded, promise: Durability, special: Special | None) -> None:
        """As `record`, for code that is no coroutine."""
        log = self.ledger.log
        if log is None or self._backlog.busy:
            if self._backlog.busy and self._on_failure != "raise":
                self._queue(Waiting(event_id, encoded, promise), special).over()
                return
            try:
                log = self.open()
                self._require_room(log)
            except HintedError as error:
                self._refuse(Waiting(event_id, encoded, promise), special, error).over()
                return
        self._count(special)
        try:
            receipt = log.append(encoded, durability=promise)
        except HintedError as error:
            self._refuse(Waiting(event_id, encoded, promise), special, error, log).over()
            return
        if self._delivery is not None or promise == "accepted":
            self._appended(log, event_id, receipt, promise).over()

    def open(self, *, now: bool = False) -> SealedLog:
        """Open the log, and begin to deliver; may wait for the disk.

        Raises:
            HintedError: it cannot be opened.
        """
        if self._stopped:
            raise StoppedError("the trail was stopped.")
        _OPEN.add(self)
        exits.before(_end_all)
        return self.ledger.open(now=now)

    def _require_room(self, log: SealedLog) -> None:
        """Accept no event into a log that has as much to write as may wait, and does not get it written.

        Raises:
            FullError: that is so. While the disk works, an append waits by itself.
        """
        waiting = log.stats.pending_bytes
        if self._backlog.busy and waiting > self._settings.max_buffer_bytes:
            raise FullError(f"{waiting} bytes wait for the disk, the bound is {self._settings.max_buffer_bytes}.")

    def _queue(self, waiting: Waiting, special: Special | None) -> Wait:
        """Put an event behind those that wait."""
        self._require_running()
        self._count(special)
        if not self._backlog.add(waiting, self.trouble or "others wait", force=self._on_failure == "block"):
            return Wait()
        self._hurry()
        if self._on_failure == "block":
            return Wait(waiting.stored)
        return Wait(waiting.attempted, self._settings.timeout)

    def _refuse(
        self, waiting: Waiting, special: Special | None, error: HintedError, log: SealedLog | None = None
    ) -> Wait:
        """Do as the policy says with an event that was not stored at once, or not tried."""
        seqs = error.seqs if isinstance(error, StoreError) else ()
        if log is not None and seqs:
            waiting.log, waiting.stream, waiting.seq = log, log.stream, seqs[0]
            if self._stopped and log.is_stored(seqs[0], waiting.promise):
                # By the end of the log, which came in between.
                return Wait()
        if self._stopped and log is not None:
            self._count(special, -1)
        self._require_running()
        if log is None:
            self._count(special)
        if self._on_failure == "raise":
            raise self._not_stored(waiting, error, pending=bool(seqs)) from error
        self._backlog.add(waiting, error.message, force=self._on_failure == "block" or bool(seqs))
        self._hurry()
        return Wait(waiting.stored if self._on_failure == "block" else None)

    def _hurry(self) -> None:
        """Have the caller store what waits at interpreter exit: while the log is closed there, no thread will later."""
        if self._exiting:
            self._backlog.drain(_AT_EXIT)

    def _not_stored(self, waiting: Waiting, error: HintedError, *, pending: bool) -> StorageError:
        if pending:
            # Kept in sight: it counts as pending until the log has stored it.
            self._backlog.add(waiting, error.message, force=True)
        else:
            with self._counting:
                self._refused += 1
        told = StorageError(f"event {waiting.event_id} is not stored: {error.message}", hint=error.hint)
        told.event_id, told.pending = waiting.event_id, pending
        return told

    def _appended(self, log: SealedLog, event_id: str, receipt: Receipt, promise: Durability) -> Wait:
        """Behind an append that succeeded: have the event delivered, or remember that nobody has waited for it."""
        delivery = self._delivery
        if delivery is None:
            with self._counting:
                self._unseen.append((log, receipt.seq, event_id))
                # What is not stored yet stays in sight; the buffer of the log bounds how much that is.
                while len(self._unseen) > _UNSEEN and self._is_settled(*self._unseen[0][:2]):
                    self._unseen.popleft()
            return Wait()
        # In a child that was just forked, whose log is another stream, nothing delivers yet.
        delivery.start(receipt.stream)
        delivery.add(receipt.stream, receipt.seq)
        if promise == "accepted" or (self._exiting and not delivery.running):
            return Wait()
        patient = self._on_failure == "block"
        ticket = delivery.ask(receipt.stream, receipt.seq, flush=promise == "synced", patient=patient)
        if self._on_failure == "block":
            return Wait(ticket.delivered)

        def check() -> None:
            if self._on_failure == "raise" and not ticket.delivered.done():
                error = StorageError(f"event {event_id} is not stored: {ticket.why or 'the backend is slow'}.")
                error.event_id, error.pending = event_id, True
                raise error

        return Wait(ticket.attempted, self._settings.timeout, check)

    def _is_settled(self, log: SealedLog, seq: int) -> bool:
        return log is not self.ledger.log or log.is_stored(seq)

    def _deliver(self, log: SealedLog) -> None:
        if self._delivery is not None:
            self._delivery.start(log.stream)

    def _stored_late(self, waiting: Waiting) -> None:
        """Behind the backlog, which has stored an event: who waits for a backend waits on."""
        delivery = self._delivery
        if delivery is not None:
            delivery.add(waiting.stream, waiting.seq)
        if delivery is None or self._on_failure != "block":
            tell(waiting.stored)
            return
        ticket = delivery.ask(waiting.stream, waiting.seq, flush=waiting.promise == "synced", patient=True)
        ticket.delivered.add_done_callback(lambda done: tell(waiting.stored, done.exception()))

    def _require_running(self) -> None:
        if self._stopped:
            raise StoppedError("the trail was stopped.")

    # What is asked for.

    @property
    def trouble(self) -> str | None:
        """What does not work now."""
        delivery = None if self._delivery is None else self._delivery.trouble
        return self.ledger.trouble or delivery

    def health(self) -> Health:
        """Tell whether events are stored now."""
        reason = "the trail was stopped" if self._stopped else self.trouble
        if reason is None and self._backlog.busy:
            reason = f"{len(self._backlog)} events wait to be stored"
        return Health(ok=reason is None, reason=reason)

    @property
    def failed(self) -> int:
        """Events that were lost, or refused with an error."""
        return self._refused + self._backlog.lost

    @property
    def pending(self) -> int:
        """Events that were accepted and are not stored yet."""
        log = self.ledger.log
        if self._delivery is not None:
            return len(self._backlog) + self._delivery.undelivered
        sealed = self._backlog.sealed
        inside = 0 if log is None else log.stats.pending
        # What the log has sealed and not written is in both.
        return len(self._backlog) - sealed + max(sealed, inside)

    def drain(self, timeout: float) -> list[str]:
        """Store what waits, while time lasts; return the events that are not stored. May wait for the disk."""
        deadline = monotonic() + timeout
        self._backlog.drain(timeout)
        log = self.ledger.log
        lost: frozenset[int] = frozenset()
        if log is not None:
            try:
                log.flush(max(0.0, deadline - monotonic()))
            except StoreError:
                lost = frozenset(
                    seq for of, seq, _ in list(self._unseen) if of is log and not log.is_stored(seq, "written")
                )
            if self._delivery is not None and self._delivery.running:
                ticket = self._delivery.ask(log.stream, log.head.seq, flush=True, patient=True)
                Wait(ticket.delivered, max(0.0, deadline - monotonic())).over()
        return [*self._undelivered(), *self._backlog.ids, *self._lost_unseen(log, lost)]

    def stop(self, timeout: float) -> list[str]:
        """Store, sync and attest everything, and free what is held; return the events that are not stored."""
        deadline = monotonic() + timeout
        self._backlog.drain(timeout)
        self._stopped = True
        log = self.ledger.log
        doubtful = log is not None and log.health().final
        lost: frozenset[int] = frozenset()
        if self._delivery is not None:
            # Before the stream is anybody's: another process would offer the same events.
            self._flush(max(0.0, deadline - monotonic()))
            self._delivery.stop(max(0.0, deadline - monotonic()))
        try:
            self.ledger.close(max(0.0, deadline - monotonic()))
        except StoreError as error:
            lost = frozenset(error.seqs)
            warn(f"audit trail {self._label}: {error}")
        left = self._backlog.end(log, lost, doubtful=doubtful)
        _OPEN.discard(self)
        unseen = self._lost_unseen(log, lost)
        with self._counting:
            self._refused += len(unseen)
            self._unseen.clear()
        return [*self._undelivered(), *left, *unseen]

    def _flush(self, timeout: float) -> None:
        """Bring what was only accepted to the outbox, from where it is delivered."""
        log = self.ledger.log
        if log is not None:
            with suppress(StoreError):
                log.flush(timeout)

    def begin_again(self) -> None:
        """Take events again, after a stop."""
        self._stopped = False
        self.ledger.allow_opening()
        self._backlog.let_go()

    def _lost_unseen(self, log: SealedLog | None, lost: frozenset[int]) -> list[str]:
        return [event_id for of, seq, event_id in list(self._unseen) if of is log and seq in lost]

    def _undelivered(self) -> list[str]:
        return [] if self._delivery is None else self._delivery.undelivered_ids()

    def end(self) -> None:
        """Do what can be done at interpreter exit; the log itself is closed by its own hook."""
        self._exiting = True
        left = self._backlog.drain(_AT_EXIT) if self._backlog.busy else []
        if left:
            warn(f"audit trail {self._label}: {len(left)} events are not stored at exit: {self.trouble}")
        if self._delivery is not None:
            self._flush(_AT_EXIT)
            self._delivery.stop(_AT_EXIT)


def _end_all() -> None:
    for recorder in list(_OPEN):
        recorder.end()


def _after_fork() -> None:
    for recorder in list(_OPEN):
        recorder.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
