"""Acceptance and commit: how an event gets its place, and how its line gets into the store.

    put: [mutex: seq, chain, line -> pending]  ->  the turn: one write of what is pending  ->  waiters

Accepting is one `append` to `pending`, committing one assignment to `_end`, so that Ctrl-C may end an append anywhere
and no seq is given twice. The turn (`_turn`) is the right to write; whoever has it writes outside the mutex, and a
write that failed or was interrupted is done again at the same offset. A caller that finds the turn free and the disk
fast writes by itself, which costs a microsecond; else the worker thread writes, which costs a hand-over.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import StoreError
from fapilog_tamper.writer.admission import Admission, Limits
from fapilog_tamper.writer.bell import Bell
from fapilog_tamper.writer.committing import MOST_BYTES, commit, take_batch
from fapilog_tamper.writer.nesting import is_nested, nested_error
from fapilog_tamper.writer.pace import SLOW, Pace
from fapilog_tamper.writer.promise import Promise
from fapilog_tamper.writer.segment import FOLD, no_segment
from fapilog_tamper.writer.stats import Counters
from fapilog_tamper.writer.troubles import Troubles, warn
from fapilog_tamper.writer.waiting import Waiters
from fapilog_tamper.writer.wishes import Wishes

if TYPE_CHECKING:
    from fapilog_tamper.clock import Clock
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.rotation import Rotation
    from fapilog_tamper.writer.segment import Chunk, End, Item
    from fapilog_tamper.writer.shelf import Shelf
    from fapilog_tamper.writer.signer import Seal, Signer
    from fapilog_tamper.writer.waiting import LoopGate

__all__ = ["Engine"]

_DOZE: Final = 0.05
_HOLDS_WRITES: Final = ("write", "beginning a segment")
_HOLDS_SYNCS: Final = (*_HOLDS_WRITES, "sync")
_FREE: Final[object] = object()


class Engine:
    """The state of one open stream. Any thread may call `put`, `wait` and what only reads."""

    def __init__(
        self, shelf: Shelf, signer: Signer, end: End, *, limits: Limits, rotation: Rotation, clock: Clock
    ) -> None:
        self.shelf = shelf
        self.signer = signer
        self.counters = Counters()
        self.mutex = threading.RLock()
        self.bell = Bell(self.mutex)
        self.pace = Pace(allowed=limits.inline)
        self.troubles = Troubles(f"{shelf.stream} in {shelf.folder}")
        self.segment = no_segment(end.seq, end.chain)
        self.synced = end
        self.rotation_due = False
        self.wishes = Wishes()
        self.head_at_seq = end.seq + 1
        self.admission = Admission(limits, clock, shelf.stream)
        self.worker_thread = 0
        self.crowded = False
        self.lonely = False
        self._max_buffer = limits.max_buffer
        self._clock = clock
        self._seal: Seal | None = None
        self._most_bytes = inf if rotation.max_bytes is None else rotation.max_bytes
        self._write = shelf.folder.write
        self._pending: list[Item] = []
        self._pending_bytes = 0
        self._turn: object = _FREE
        self.turn_wanted = False
        self._waiters = Waiters()
        self._accepted = end.seq

    # Acceptance.

    @property
    def end(self) -> End:
        """How far the stream is in the store."""
        return self.segment.end

    @property
    def last(self) -> tuple[int, bytes]:
        """Seq and chain hash of the last accepted entry."""
        with self.mutex:
            last = self._pending[-1] if self._pending else self.end
            return last[0], last[1]

    def put(  # noqa: C901, PLR0912 (each call costs)
        self, payload: bytes, stamp: str | None, promise: int, *, mac: bool = False, internal: bool = False
    ) -> tuple[Item, bool]:
        """Accept a payload; return its item, and whether it is in the operating system already.

        Args:
            payload: what to seal.
            stamp: its `timestamp`, for the manifest.
            promise: how far the caller will wait for it.
            mac: the entry must carry a mac of its own.
            internal: an entry of the writer, which no bound refuses.

        Raises:
            StoreError: when the log takes nothing now; nothing was accepted.
            SealKeyError: when the key cannot sign; nothing was accepted.
        """
        # The speed of the log is made here: no call that can be saved, no lock taken twice.
        mine: object | None = None
        if self.mutex._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 (nothing public tells it)
            raise nested_error("append")
        try:
            with self.mutex:
                begun = perf_counter()
                pending, segment = self._pending, self.segment
                end = segment.chunks[-1]
                last: Item | Chunk = end
                if pending:
                    if pending[-1][0] <= end[0]:
                        pending.clear()
                        self._pending_bytes = 0
                    else:
                        last = pending[-1]
                if self.admission.guarded:
                    self.admission.require(self._pending_bytes, internal=internal)
                seq = last[0] + 1
                seal = self._seal or self._pick(begun, mac=mac)
                line, chain = seal(payload, seq, last[1])
                item = (seq, chain, line, stamp)
                # Accepted: from here on the entry has its place.
                pending.append(item)
                self._accepted = seq
                self._pending_bytes += len(line)
                if promise != 1 or self._turn is not _FREE or not self.pace.inline or self.rotation_due:
                    self._ask(seq, promise)
                    return item, False
                self._turn = mine = item
            offset = end[2]
            after = offset + len(line)
            if pending[0] is not item or after > self._most_bytes or self._clock() >= segment.rotate_at:
                return item, self._lead_many(item, begun)
            try:
                size = self._write(segment.handle, line, offset)
            except OSError as error:
                return item, self._met(error)
            if size != len(line):
                return item, self._lead_many(item, begun)
            chunks = segment.chunks
            # Written: this one step makes it so.
            chunks.append((seq, chain, after, line, stamp, stamp))
            # Hazard: an entry that came meanwhile found the turn taken, and counts on being seen here. It is counted
            # before its caller looks at the turn; the turn is given back before the count is looked at.
            self._turn = _FREE
            if self._accepted != seq or self._waiters.watched or self.turn_wanted or seq >= self.head_at_seq:
                self._look_around()
            if len(chunks) >= FOLD:
                segment.fold()
            if perf_counter() - begun > SLOW:
                self.pace.slow_down()
        finally:
            if mine is not None and self._turn is mine:
                # Ctrl-C ended this in between: the line waits for the next write.
                self._turn = _FREE
                with self.mutex:
                    self._hand_over()
        return item, True

    def _pick(self, now: float, *, mac: bool) -> Seal:
        signer = self.signer
        if signer.each is not None:
            self._seal = signer.each
            return signer.each
        # Without a worker nobody adds a seal later.
        return signer.with_mac() if mac or self.lonely else signer.pick(now)

    def _look_around(self) -> None:
        """Behind the fast path: wake who waits, and the worker where there is something for it."""
        with self.mutex:
            self._settle()
            self._call_others()

    def _call_others(self) -> None:
        """Behind a write: see who has something to do now; under the mutex."""
        if self._pending or self.turn_wanted or self.segment.chunks[-1][0] >= self.head_at_seq:
            self.turn_wanted = False
            self._hand_over()

    def _hand_over(self) -> None:
        """Have somebody write what is pending, a thread that waits or the worker; under the mutex."""
        if self.pending:
            if self.pace.inline and not self.rotation_due and self._waiters.pass_on():
                return
            self.wishes.ask(self._pending[-1][0], Promise.WRITTEN)
        self.bell.ring()

    def _lead_many(self, item: Item | None, begun: float) -> bool:
        """Write all that is pending; return whether that was possible."""
        segment = self.segment
        try:
            if segment.handle >= 0 and self._clock() >= segment.rotate_at:
                self.rotation_due = True
            else:
                self.write_some()
        except OSError as error:
            return self._met(error)
        except StoreError as error:
            self.fail(error)
            raise
        with self.mutex:
            self._settle()
            self._turn = _FREE
            self._call_others()
        if perf_counter() - begun > SLOW and not self.rotation_due:
            self.pace.slow_down()
        return item is None or self.end.seq >= item[0]

    def _met(self, error: OSError) -> bool:
        self.troubles.meet("write", error)
        self.cut_back()
        with self.mutex:
            self._settle()
            self._turn = _FREE
            self._hand_over()
        self.pace.slow_down()
        return False

    def change_key(self, last: bytes, key: SigningKey, first: bytes) -> Item:
        """Accept the last entry under the old key and the first under `key`; nothing comes in between.

        Returns:
            The first of the two.
        """
        with self.mutex:
            self.admission.require(0)
            seq, prev = (self._pending[-1] if self._pending else self.segment.chunks[-1])[:2]
            line, chain = self.signer.with_mac()(last, seq + 1, prev)
            old = (seq + 1, chain, line, None)
            with self.signer.changing(key, seq + 1):
                line, chain = self.signer.with_mac()(first, seq + 2, chain)
            self._seal = None
            self._pending += [old, (seq + 2, chain, line, None)]
            self._accepted = seq + 2
            self._pending_bytes += len(old[2]) + len(line)
            self._ask(seq + 2, Promise.SYNCED)
            return old

    def want_synced(self, seq: int) -> None:
        """Have the worker bring everything through `seq` to the disk."""
        with self.mutex:
            self.wishes.ask(seq, Promise.SYNCED)
            self.bell.ring()

    def _ask(self, seq: int, promise: int) -> None:
        """Have the worker do what the caller does not; under the mutex."""
        if promise == Promise.WRITTEN and self._turn is not _FREE:
            self.crowded = True
        if promise == Promise.ACCEPTED and self._pending_bytes < min(MOST_BYTES, self._max_buffer):
            if self.wishes.linger():
                self.bell.ring()
            return
        self.wishes.ask(seq, promise)
        # A caller who has the turn looks at what is pending before it goes.
        if self._turn is _FREE or self._turn is self:
            self.bell.ring()

    def ring(self) -> None:
        """Wake the worker."""
        with self.mutex:
            self.bell.ring()

    # Committing.

    def _settle(self) -> None:
        """Under the mutex, after a commit."""
        end, pending = self.end, self._pending
        if len(pending) == 1 and pending[0][0] <= end[0]:
            pending.clear()
        else:
            done = 0
            while done < len(pending) and pending[done][0] <= end[0]:
                self._pending_bytes -= len(pending[done][2])
                done += 1
            del pending[:done]
        if not pending:
            self._pending_bytes = 0
        if self._waiters.watched:
            self._waiters.notify(self)

    def write_some(self) -> int:
        """Write the first of what is pending, about a mebibyte at most; return the number of entries. With the turn.

        Stops before an entry that belongs into the next segment: then `rotation_due` is set.

        Raises:
            OSError: when not all could be written; what was is committed.
        """
        end = self.end
        taken = take_batch(self._pending, end, self._most_bytes)
        if taken is None:
            self.rotation_due = True
            return 0
        batch, data = taken
        if not batch:
            return 0
        if end.segment is None:
            self.segment = self.shelf.begin(end)
        if not self.shelf.origin:
            self.shelf.origin = batch[0][1]
        problem = commit(self.shelf.folder, self.segment, batch, data)
        if problem is not None:
            raise problem
        return len(batch)

    def cut_back(self) -> None:
        """Remove a part of a line that a failed write may have left. With the turn."""
        if self.end.segment is not None:
            # It is written over anyway; until then readers should not see half a line.
            with suppress(OSError):
                self.shelf.folder.truncate(self.end.segment.handle, self.end.offset)

    # The turn, for the worker.

    def take_turn(self) -> bool:
        """Take the turn; False where a caller has it, who rings when it is done.

        One thread at a time steps for the worker, so a turn that the worker has already was left by Ctrl-C.
        """
        with self.mutex:
            self.turn_wanted = self._turn is not _FREE and self._turn is not self
            if self.turn_wanted:
                return False
            self._turn = self
            return True

    def give_turn(self, *, took: float | None = None) -> None:
        """Give the turn back; `took` is how long the slowest write stood, where there was one."""
        with self.mutex:
            self._settle()
            self._turn = _FREE
            if took is not None:
                self.pace.wrote(took)

    @property
    def pending(self) -> int:
        """The number of entries that wait to be written."""
        # The fast path leaves its entry here for the next to drop.
        pending = self._pending[-1:]
        return max(0, pending[0][0] - self.end[0]) if pending else 0

    @property
    def pending_bytes(self) -> int:
        """The bytes of the entries that wait to be written."""
        return self._pending_bytes if self.pending else 0

    @property
    def over_full(self) -> bool:
        """Whether so much waits to be written that an append must wait for its own entry."""
        return self.admission.over_full(self._pending_bytes)

    @property
    def failed(self) -> StoreError | None:
        """Why nothing is taken any more, for good."""
        return self.admission.failed

    def is_nested(self, skip: int) -> bool:
        """Tell whether this thread is in the log's own work further out, which therefore cannot go on."""
        return threading.get_ident() == self.worker_thread or is_nested(self, _WORK, skip)

    def after_fork(self) -> None:
        """Have locks of one's own: those of the parent may be held for ever in this child."""
        self.mutex = threading.RLock()
        self.bell = Bell(self.mutex)

    def stop_accepting(self) -> None:
        """Take only what the writer itself has to say."""
        with self.mutex:
            self.admission.close()

    def settle(self) -> None:
        """Drop what is written and wake who waits."""
        with self.mutex:
            self._settle()

    # Waiting.

    def reached(self, seq: int, promise: int) -> bool:
        """Tell whether the promise of this entry is kept, or never will be."""
        done = self.synced if promise == Promise.SYNCED else self.end
        return done[0] >= seq or self.failed is not None

    def is_held(self, promise: int) -> bool:
        """Tell whether an attempt at what the promise needs has failed, and is to be done again."""
        return self.troubles.concern(_HOLDS_SYNCS if promise == Promise.SYNCED else _HOLDS_WRITES)

    def watch(self, gate: LoopGate) -> None:
        """Have the gate notified at the next step forward."""
        with self.mutex:
            self._waiters.watch(gate)

    def wait(self, seq: int, promise: Promise, timeout: float, *, hasty: bool = False) -> bool:
        """Wait in a thread until the promise is kept.

        False when `timeout` seconds passed first or, for who is hasty, an attempt failed.
        """
        if not self.reached(seq, promise) and self.is_nested(skip=3):
            # The entry has its place: whoever appends it again would have it twice.
            raise nested_error(f"append (entry {seq})", seq)
        deadline = monotonic() + timeout
        while True:
            turn = lock = None
            with self.mutex:
                if self.reached(seq, promise):
                    self._waiters.wake_next(self)
                    return True
                if promise == Promise.WRITTEN and self.pace.inline and self._turn is _FREE and not self.rotation_due:
                    self._turn = turn = object()
                else:
                    lock = self._waiters.add(seq, promise)
            if turn is not None:
                self._write_for_all(turn)
                continue
            left = deadline - monotonic()
            # Hazard: who is woken to wake the next may be interrupted before it does: nobody sleeps for long.
            if lock is not None and not lock.acquire(timeout=max(0.0, min(left, _DOZE))):
                with self.mutex:
                    self._waiters.drop(lock)
                if left <= _DOZE or (hasty and self.is_held(promise)):
                    return self.reached(seq, promise)

    def _write_for_all(self, turn: object) -> None:
        begun = perf_counter()
        try:
            self._lead_many(None, begun)
        finally:
            if self._turn is turn:
                self._turn = _FREE
                with self.mutex:
                    self._hand_over()

    # Trouble.

    def fail(self, error: StoreError) -> None:
        """Take nothing more: what is on the disk is not what was written."""
        with self.mutex:
            self.admission.fail(error)
            self._waiters.notify(self)
        warn(f"sealed log {self.shelf.stream}: {error}")


_WORK: Final = frozenset(
    method.__code__
    for method in (
        Engine.put,
        Engine.wait,
        Engine.write_some,
        Engine.take_turn,
        Engine.give_turn,
        Engine.settle,
        Engine.fail,
    )
)
"""What must not be waited for by whoever interrupted it."""
