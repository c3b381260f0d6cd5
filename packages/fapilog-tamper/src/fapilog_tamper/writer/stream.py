"""One stream that is open for writing: its lock, engine, worker and packer, and how all of it ends."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import SealKeyError, StoreError
from fapilog_tamper.keys import Ed25519VerifyingKey, thumbprint
from fapilog_tamper.payload import control_payload
from fapilog_tamper.writer.stats import Health, Stats

if TYPE_CHECKING:
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.store.base import Lock
    from fapilog_tamper.writer.engine import Engine
    from fapilog_tamper.writer.packer import Packer
    from fapilog_tamper.writer.promise import Promise
    from fapilog_tamper.writer.segment import End, Item
    from fapilog_tamper.writer.worker import Worker

__all__ = ["OpenStream"]

_LANE_SECONDS: Final = 0.02
_PACKER_SECONDS: Final = 1.0
_GRACE: Final = 1.0
"""Seconds that the thread of a log has to end, however little time the caller has."""


@dataclass(slots=True, eq=False)
class OpenStream:
    """One stream that is being written, in one slot."""

    stream: str
    lock: Lock
    engine: Engine
    worker: Worker
    packer: Packer
    begun: End
    _lane: threading.Lock = field(default_factory=threading.Lock)

    def put(self, payload: bytes, stamp: str | None, promise: int) -> tuple[Item, bool]:
        """Accept a payload for a thread that can wait; as `Engine.put`.

        Threads that meet line up here: each then writes its own line at once, which is faster than one writing for
        others who must be woken. A line that does not move, because a write stands still, is left.
        """
        engine = self.engine
        lane = self._lane
        if not lane.acquire(timeout=_LANE_SECONDS):
            # Also where Ctrl-C came between taking the lane and the next line: nobody gives that one back.
            self._lane = threading.Lock()
            return engine.put(payload, stamp, promise)
        try:
            return engine.put(payload, stamp, promise)
        finally:
            lane.release()

    def drive(self, seq: int, promise: Promise, timeout: float, *, hasty: bool = False) -> bool:
        """Do the worker's steps in the caller until the promise is kept; as `Engine.wait`."""
        deadline = monotonic() + timeout
        while not self.engine.reached(seq, promise):
            self.worker.step()
            left = deadline - monotonic()
            if left <= 0 or (hasty and self.engine.is_held(promise)):
                return self.engine.reached(seq, promise)
            if not self.engine.reached(seq, promise):
                self.engine.bell.hear(min(0.01, left))
        return True

    def change_key(self, key: SigningKey, now: float) -> Item:
        """Seal what follows with another key; return the `key` entry that says so, the last under the old one.

        Raises:
            SealKeyError: the stream is unkeyed, or the new key has the old one's key_id.
        """
        old = self.engine.signer.key
        if old is None:
            raise SealKeyError(f"stream {self.stream} is unkeyed.", hint="Close it, and open it with a key.")
        if old.key_id == key.key_id:
            raise SealKeyError(f"the new key has the key_id of the old one, {key.key_id}.", hint="Give it another.")
        public = key.verifying_key()
        members = {"thumbprint": thumbprint(public)} if isinstance(public, Ed25519VerifyingKey) else {}
        ts = self.engine.shelf.time_text(now)
        last = control_payload("key", ts=ts, next_key_id=key.key_id, **members)
        # Without an entry under it, the head would be under the old key, and the new one alone could not open the log.
        first = control_payload("key-begin", ts=ts, previous_key_id=old.key_id)
        return self.engine.change_key(last, key, first)

    def stats(self) -> Stats:
        """Return a snapshot of the counters."""
        engine = self.engine
        last, begun = engine.last[0], self.begun.seq
        return Stats(
            accepted=last - begun,
            written=engine.end.seq - begun,
            synced=engine.synced.seq - begun,
            pending=engine.pending,
            pending_bytes=engine.pending_bytes,
            failures=engine.troubles.failures,
            episodes=engine.troubles.episodes,
            slowdowns=engine.pace.slowdowns,
            refused=engine.admission.refused,
            segments=self.worker.described,
            seals=self.worker.seals,
            **asdict(engine.counters),
        )

    def health(self) -> Health:
        """Tell whether everything works now."""
        engine = self.engine
        if engine.failed is not None:
            return Health(ok=False, reason=engine.failed.message, final=True)
        reason = str(engine.troubles) or self.worker.unfinished
        if reason is None and self.worker.died:
            reason = "the thread of the log has ended; callers do its work"
        return Health(ok=reason is None, reason=reason)

    def close(self, timeout: float) -> None:
        """Store, sync and attest everything that was accepted, and free the slot.

        Raises:
            StoreError: when that did not work in time; it names what is not stored.
        """
        deadline = monotonic() + timeout
        self.engine.stop_accepting()
        try:
            if not self.worker.stop(max(_GRACE, timeout)):
                raise self._left("the disk does not answer")
            if not self.worker.finish(max(deadline, monotonic() + _GRACE)):
                raise self._left(str(self.engine.troubles))
        finally:
            if not self._try_free(max(_PACKER_SECONDS, deadline - monotonic())):
                threading.Thread(target=self._free_later, name=f"sealed-log {self.stream} ending", daemon=True).start()

    def _try_free(self, seconds: float) -> bool:
        """Free the slot, unless somebody still stands in a system call: he may yet write or rename."""
        ended = not self.worker.running and self.engine.take_turn() and self.packer.wait(seconds)
        if ended:
            self.free()
        return ended

    def _free_later(self) -> None:
        """Do what close had no time for, and free the slot, once nobody stands in a system call any more."""
        while not self._try_free(_PACKER_SECONDS):
            self.engine.bell.hear(_PACKER_SECONDS)
            if not self.worker.running:
                self.worker.finish(monotonic() + _PACKER_SECONDS)

    def _left(self, why: str) -> StoreError:
        failed, end = self.engine.failed, self.engine.end
        seqs = tuple(range(end.seq + 1, self.engine.last[0] + 1))
        reason = failed.message if failed is not None else why or "it took too long"
        what = f"entries {seqs[0]} to {seqs[-1]} were not stored" if seqs else "its end is not attested"
        error = StoreError(
            f"stream {self.stream} could not be closed, {what}: {reason}",
            hint="Mend the disk and open the log again: what is there is adopted.",
        )
        error.seqs = seqs
        return error

    def free(self) -> None:
        """Give back what is held; nothing is written."""
        segment = self.engine.end.segment
        if segment is not None:
            self.engine.shelf.folder.close(segment.handle)
        self.lock.release()

    def let_go(self) -> None:
        """Close a forked child's copies; nothing is written and nothing unlocked."""
        segment = self.engine.end.segment
        if segment is not None:
            self.engine.shelf.folder.close(segment.handle)
        self.engine.after_fork()
        self.lock.abandon()
