"""The worker of a log: one thread that writes what callers do not, syncs, attests and tidies up.

`step` does what is due and returns; the thread calls it in a loop, and whoever closes the log, at interpreter exit too,
calls it without the thread. In a step, in this order, because each attests only what those before have made true:

    1. commit       lines that wait go to the store; a segment that is due is synced and closed
    2. cover        entries that no mac covers get a late `seal`
    3. sync         what callers wait for, or a head wants to speak of, goes to the disk
    4. close        segments that a failed sync has wounded are cut; closed ones get their manifests
    5. attest       the head

A sync that fails is never tried again on the same file (fsyncgate): what it was to save is written into a new segment.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import SealKeyError, StoreError
from fapilog_tamper.writer.closing import Closing
from fapilog_tamper.writer.own import OwnEntries
from fapilog_tamper.writer.retry import Retry
from fapilog_tamper.writer.segment import no_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapilog_tamper.clock import Clock
    from fapilog_tamper.writer.engine import Engine
    from fapilog_tamper.writer.segment import End, OpenSegment

__all__ = ["Worker"]

_HEAD_SECONDS: Final = 1.0
_HEAD_ENTRIES: Final = 10_000
_HEAD_SHARE: Final = 20
"""A head is written no more often than leaves it a twentieth of the time."""

_POLL: Final = 0.002
_TAKEN: Final = 0.05
_COMMIT_BYTES: Final = 4 << 20
_IDLE: Final = 3600.0


class Worker:
    """Does the work of one engine. `described` hears the name of each segment whose manifest is written."""

    def __init__(self, engine: Engine, clock: Clock, described: Callable[[str], None], *, attested: int) -> None:
        self._engine = engine
        self._clock = clock
        self._own = OwnEntries(engine)
        self._closing = Closing(engine.shelf, engine.troubles, described)
        self._ended = threading.Event()
        self._ended.set()
        self._began = False
        self._stopping = False
        self._stepping = threading.RLock()
        self._pauses = threading.Event()
        self._attested = attested
        self._unattested_since: float | None = None
        self._head_pause = _HEAD_SECONDS
        self._head_wanted = False
        self._write_retry, self._sync_retry, self._head_retry = Retry(), Retry(), Retry()
        self._to_swap: OpenSegment | None = None

    # The thread.

    def start(self) -> None:
        """Start the thread. At interpreter exit none can be started; then callers do the steps."""
        thread = threading.Thread(target=self._run, name=f"sealed-log {self._engine.shelf.stream}", daemon=True)
        self._ended.clear()
        # Hazard: a thread that is started while the interpreter is torn down never says that it runs.
        if sys.is_finalizing():
            self._ended.set()
            return
        try:
            thread.start()
        except RuntimeError:
            self._ended.set()

    @property
    def running(self) -> bool:
        """Whether the thread does the steps."""
        # Not `Thread.is_alive`: Ctrl-C in it can make CPython 3.11 take a living thread for a dead one.
        return not self._ended.is_set()

    @property
    def died(self) -> bool:
        """Whether the thread ended without being told to."""
        return self._began and not self.running and not self._stopping

    def stop(self, timeout: float) -> bool:
        """End the thread; False when it stands in a system call for longer than `timeout` seconds."""
        self._stopping = True
        self._engine.ring()
        return self._ended.wait(timeout)

    def _run(self) -> None:
        self._began = True
        self._engine.worker_thread = threading.get_ident()
        try:
            while not self._stopping:
                self._engine.bell.hear(self._pause())
                if not self._stopping:
                    self.step()
        finally:
            # Another thread may be given this number.
            self._engine.worker_thread = 0
            self._ended.set()

    def _pause(self) -> float:
        """Return the seconds until something is due."""
        now = monotonic()
        times = [now + _IDLE, *self._commit_times(now), *self._attest_times(now)]
        seal_pause = self._own.seal_pause()
        if seal_pause is not None:
            times.append(max(now + seal_pause, self._write_retry.at, self._sync_retry.at))
        if self._closing or self._to_swap is not None:
            times.append(max(self._closing.retry.at, self._sync_retry.at))
        return max(0.0, min(times) - now)

    def _commit_times(self, now: float) -> Iterator[float]:
        engine = self._engine
        with engine.mutex:
            flush_at, taken = engine.wishes.write_time(engine.end.seq, pending=engine.pending > 0), engine.turn_wanted
            tell = engine.admission.may_tell(engine.pending_bytes)
        # While a caller stands in a write there is nothing to do but to wait until he rings.
        soonest = now + _TAKEN if taken else 0.0
        if flush_at is not None:
            yield max(self._write_retry.at, flush_at, soonest)
        if engine.rotation_due:
            yield max(self._write_retry.at, self._sync_retry.at, soonest)
        if tell:
            yield now
        segment = engine.end.segment
        if segment is not None:
            yield max(soonest, now + segment.rotate_at - self._clock())

    def _attest_times(self, now: float) -> Iterator[float]:
        engine = self._engine
        with engine.mutex:
            dirty = engine.pending > 0 or engine.end.seq > self._attested
            # Before the worker sleeps long, the next entry must be one that wakes it.
            engine.head_at_seq = self._attested + 1 if not dirty else engine.end.seq + _HEAD_ENTRIES
        if dirty and self._unattested_since is None:
            self._unattested_since = now
        if dirty and self._unattested_since is not None:
            due = max(self._unattested_since + self._head_pause, self._sync_retry.at, self._head_retry.at)
            # While nothing of it is in the store, there is nothing to attest, however long that takes.
            yield due if engine.end.seq > self._attested else max(due, now + self._head_pause)
        if self._head_wanted and engine.synced.seq > self._attested and not self._closing.wounded:
            yield self._head_retry.at

    # The steps.

    def step(self) -> None:
        """Do what is due. Any thread may call it; one at a time does."""
        with self._stepping:
            try:
                self._commit()
                # While the store fails, seals would only pile up.
                if not (self._write_retry.at or self._sync_retry.at) and self._own.cover():
                    self._commit()
                self._sync()
                self._closing.step(self._engine.synced.seq)
                self._attest()
            except StoreError as error:
                self._engine.fail(error)

    def _commit(self) -> None:
        engine = self._engine
        self._own.count_gap()
        segment = engine.end.segment
        if segment is not None and self._clock() >= segment.rotate_at:
            engine.rotation_due = True
        wanted = engine.rotation_due or self._flush_due()
        if not (wanted and self._write_retry.due and engine.take_turn()):
            return
        took: float | None = None
        size = 0
        try:
            while size < _COMMIT_BYTES:
                if engine.rotation_due and not self._rotate():
                    break
                before = engine.end.offset
                begun = perf_counter()
                if not engine.write_some() and not engine.rotation_due:
                    break
                took = perf_counter() - begun
                size += max(0, engine.end.offset - before)
                engine.counters.batches += 1
                engine.settle()
            self._write_retry.worked()
            engine.troubles.well("write")
        except OSError as error:
            took = None
            engine.troubles.meet("write", error)
            engine.cut_back()
            self._write_retry.failed()
        finally:
            engine.give_turn(took=took)

    def _flush_due(self) -> bool:
        """Tell whether pending lines are asked for, or have waited long enough for company."""
        engine = self._engine
        with engine.mutex:
            pending = engine.pending > 0
            at = engine.wishes.write_time(engine.end.seq, pending=pending)
            due = (at is not None and monotonic() >= at) or (engine.admission.closing and pending)
            if due:
                engine.wishes.linger_until = None
            return due

    def _sync(self) -> None:
        engine = self._engine
        if self._to_swap is not None:
            self._swap(self._to_swap)
            return
        wanted = engine.wishes.synced > engine.synced.seq or self._head_due() or self._closing.wounded
        if not (wanted and self._sync_retry.due and engine.end.seq > engine.synced.seq):
            return
        segment = engine.segment
        end, hashed = segment.fold()
        if segment.handle < 0:
            return
        try:
            engine.shelf.sync(segment)
            engine.shelf.require_whole(segment, end.offset)
        except OSError as error:
            self._wound(error, segment)
            return
        segment.keep(end, hashed)
        self._synced(end)

    def _synced(self, end: End) -> None:
        engine = self._engine
        engine.counters.syncs += 1
        engine.troubles.well("sync")
        self._sync_retry.worked()
        engine.synced = end
        engine.settle()

    def _wound(self, error: OSError, segment: OpenSegment) -> None:
        self._engine.troubles.meet("sync", error)
        self._sync_retry.failed()
        self._swap(segment)

    def _swap(self, old: OpenSegment) -> None:
        """Go on in a new segment, which begins with what was never synced of the old one."""
        engine = self._engine
        self._to_swap = old
        if not engine.take_turn():
            return
        try:
            self._swap_with_turn(old)
        except OSError as error:
            engine.troubles.meet("beginning a segment", error)
            self._sync_retry.failed()
        finally:
            engine.give_turn()

    def _swap_with_turn(self, old: OpenSegment) -> None:
        engine = self._engine
        end = old.end
        engine.segment, self._to_swap = engine.shelf.copy(old), None
        engine.troubles.well("beginning a segment")
        engine.counters.resyncs += 1
        old.go_back()
        self._closing.add_wounded(old, end.seq)

    def _rotate(self) -> bool:
        """Sync and close the open segment, with the turn; False when the disk does not let us now."""
        engine = self._engine
        end = engine.end
        segment = end.segment
        if segment is None or end.seq < segment.first_seq:
            engine.rotation_due = False
            if segment is not None:
                # Nothing whole was ever written to it, and a part of a line may be there.
                engine.segment = no_segment(end.seq, end.chain)
                self._closing.add_wounded(segment, end.seq)
            return True
        if not self._sync_retry.due or self._to_swap is not None:
            return False
        end, hashed = segment.fold()
        try:
            engine.shelf.sync(segment)
            engine.shelf.require_whole(segment, end.offset)
        except OSError as error:
            engine.troubles.meet("sync", error)
            self._sync_retry.failed()
            self._to_swap = segment
            return False
        segment.keep(end, hashed)
        self._synced(end)
        # In this order: a segment that Ctrl-C leaves without a manifest gets one when the log is opened again.
        engine.segment = no_segment(end.seq, end.chain)
        self._closing.add_closed(segment, end)
        self._head_wanted = True
        engine.rotation_due = False
        return True

    def _head_due(self) -> bool:
        engine = self._engine
        behind = engine.end.seq - self._attested
        if behind <= 0 or self._unattested_since is None:
            return False
        waited = monotonic() - self._unattested_since
        often = behind >= _HEAD_ENTRIES and waited >= self._head_pause / _HEAD_SECONDS * 0.05
        return self._head_wanted or often or waited >= self._head_pause

    def _attest(self) -> None:
        engine = self._engine
        end = engine.synced
        if end.seq <= self._attested:
            self._head_wanted = False
        if self._closing.wounded or end.seq <= self._attested or not self._head_retry.due:
            return
        if not (self._head_wanted or self._head_due()):
            return
        begun = perf_counter()
        try:
            engine.shelf.write_head(end)
        except (OSError, SealKeyError) as error:
            engine.troubles.meet("writing the head", error)
            self._head_retry.failed()
            return
        engine.counters.heads += 1
        self._head_retry.worked()
        engine.troubles.well("writing the head")
        self._head_pause = max(_HEAD_SECONDS, _HEAD_SHARE * (perf_counter() - begun))
        self._attested, self._head_wanted = end.seq, False
        engine.crowded = False
        self._unattested_since = monotonic() if engine.end.seq > end.seq else None

    # What callers ask for.

    def rotate(self, deadline: float) -> bool:
        """Close the open segment now, with manifest and head; False when that did not work until `deadline`."""
        engine = self._engine
        with engine.mutex:
            segment = engine.segment
            if segment.handle < 0:
                return True
            engine.rotation_due = True
            engine.bell.ring()
        while engine.failed is None and (
            engine.segment is segment or engine.rotation_due or self._closing or self._head_wanted
        ):
            if monotonic() >= deadline:
                return False
            # Never here while the thread does it: Ctrl-C could end a step anywhere.
            if not self.running:
                self.step()
            self._pauses.wait(_POLL)
        return engine.failed is None

    # The end.

    def finish(self, deadline: float) -> bool:
        """Write, sync, close and attest everything; False when that did not work until `deadline` (monotonic)."""
        with self._stepping:
            while True:
                self._head_wanted = True
                self._engine.rotation_due = self._engine.end.segment is not None and not self._engine.pending
                self.step()
                if self._is_finished() or self._engine.failed is not None:
                    return self._is_finished()
                now = monotonic()
                if now >= deadline:
                    return False
                self._engine.bell.hear(min(0.05, deadline - now))

    def _is_finished(self) -> bool:
        engine = self._engine
        open_or_not = engine.end.segment is not None or engine.pending or self._closing
        return not open_or_not and engine.synced.seq == engine.end.seq == self._attested

    @property
    def unfinished(self) -> str | None:
        """What was to be done and is not, or None."""
        wounded = self._closing.wounded or self._to_swap is not None
        return "a failed sync is being made good" if wounded else None

    @property
    def seals(self) -> int:
        """How many late seals have been written."""
        return self._own.seals

    @property
    def described(self) -> int:
        """How many segments have been closed with a manifest."""
        return self._closing.count
