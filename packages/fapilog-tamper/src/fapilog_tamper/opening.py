"""Opening a stream for writing: the slot, recovery, and the engine on top; and closing all of it again."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.errors import (
    ConfigError,
    FormatError,
    HeadError,
    RollbackError,
    SealKeyError,
    StoreError,
    TamperError,
)
from fapilog_tamper.head import parse_head
from fapilog_tamper.keys import Ed25519VerifyingKey, thumbprint
from fapilog_tamper.keys.keyring import Keyring
from fapilog_tamper.layout import head_name, is_segment_name, lock_name, manifest_name, plain_name, segment_place
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.payload import control_payload
from fapilog_tamper.recovery.facts import RESTORED, format_restored
from fapilog_tamper.recovery.mend import finish, mend, recovery_payload, restore_payload
from fapilog_tamper.recovery.plan import plan_opening, plan_restore
from fapilog_tamper.recovery.survey import survey
from fapilog_tamper.writer.admission import Limits
from fapilog_tamper.writer.engine import Engine
from fapilog_tamper.writer.packer import Packer
from fapilog_tamper.writer.promise import Promise
from fapilog_tamper.writer.segment import End
from fapilog_tamper.writer.shelf import Shelf
from fapilog_tamper.writer.signer import Signer
from fapilog_tamper.writer.slots import require_distinct, slots_of, take_slot
from fapilog_tamper.writer.stats import Health, Stats
from fapilog_tamper.writer.troubles import warn
from fapilog_tamper.writer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.recovery.facts import StreamFacts
    from fapilog_tamper.recovery.plan import Plan
    from fapilog_tamper.settings import Settings
    from fapilog_tamper.store.base import Lock
    from fapilog_tamper.writer.segment import Item

__all__ = ["OpenStream", "open_stream", "restore_stream"]

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

    def drive(self, seq: int, promise: Promise, timeout: float) -> bool:
        """Do the worker's steps in the caller until the promise is kept; False when `timeout` seconds passed first."""
        deadline = monotonic() + timeout
        while not self.engine.reached(seq, promise):
            self.worker.step()
            left = deadline - monotonic()
            if left <= 0:
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
            return Health(ok=False, reason=engine.failed.message)
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


def open_stream(settings: Settings) -> OpenStream:
    """Open the lowest free slot of a stream; recover what a crash left there, and in slots that nobody holds.

    Raises:
        ConfigError: the name cannot be used in this folder.
        StoreError: the folder cannot be written.
        RollbackError: entries are missing that something speaks of.
        HeadError: the head cannot be believed.
        SealKeyError: the key is not the stream's.
    """
    _make(settings)
    try:
        stream, lock = take_slot(settings.state, settings.stream)
    except OSError as error:
        raise _unopened(settings, settings.stream, error) from error
    opened = _open_slot(settings, stream, lock)
    try:
        _recover_neighbours(settings, stream)
    except OSError as error:
        warn(f"other slots of {settings.stream} in {settings.folder} were not recovered: {error.strerror or error}")
    return opened


def restore_stream(settings: Settings, stream: str, *, reason: str, by: str) -> OpenStream:
    """Open a stream behind the last entry that can be believed, whatever its head says, and put that on record.

    Args:
        settings: as for `open_stream`.
        stream: the stream itself, or one of its slots.
        reason: why, for the `restore` entry.
        by: who, for the `restore` entry.

    Raises:
        StoreError: a writer has the stream, or the folder cannot be written.
        SealKeyError: the key is not the stream's.
    """
    _make(settings)
    try:
        lock = settings.state.lock(lock_name(stream))
    except OSError as error:
        raise _unopened(settings, stream, error) from error
    if lock is None:
        raise StoreError(f"a writer has stream {stream} open.", hint="Close it first.")
    with _holding(settings, stream, lock):
        _require_refused(settings, stream)
        facts = survey(settings.folder, settings.state, stream, _keyring(settings), keyed=_keyed(settings), every=True)
        plan = plan_restore(facts)
        copies = mend(settings.folder, facts, plan)
        opened = _prepare(settings, stream, lock, facts, plan)
        last = plain_name(facts.segments[-1].name) if facts.segments else ""
        opened.engine.shelf.extra[RESTORED] = format_restored(last, plan.excused)
        now = opened.engine.shelf.time_text(settings.clock())
        _begin(opened, plan, settings, restore_payload(plan, copies, now, reason=reason, by=by))
    return opened


def _require_refused(settings: Settings, stream: str) -> None:
    """Accept a stream that cannot be opened as it is: a restore of any other would stand in its log for nothing."""
    try:
        plan = plan_opening(survey(settings.folder, settings.state, stream, _keyring(settings), keyed=_keyed(settings)))
    except (RollbackError, HeadError, SealKeyError):
        return
    if plan.seq == 0:
        raise ConfigError(f"there is no stream {stream} in {settings.folder}.", hint="Check folder and stream.")
    raise ConfigError(f"stream {stream} can be opened as it is.", hint="Open it: there is nothing to restore.")


def _make(settings: Settings) -> None:
    for store in (settings.folder, settings.state):
        try:
            store.make()
            store.names()
        except OSError as error:
            text = f"{store} cannot be opened for writing: {error.strerror or error}."
            raise StoreError(text, hint="Check the path.") from error
    try:
        require_distinct(settings.folder, settings.state, settings.stream)
    except OSError as error:
        raise _unopened(settings, settings.stream, error) from error


def _open_slot(settings: Settings, stream: str, lock: Lock) -> OpenStream:
    with _holding(settings, stream, lock):
        facts = survey(settings.folder, settings.state, stream, _keyring(settings), keyed=_keyed(settings))
        plan = plan_opening(facts)
        copies = mend(settings.folder, facts, plan)
        opened = _prepare(settings, stream, lock, facts, plan)
        now = opened.engine.shelf.time_text(settings.clock())
        _begin(opened, plan, settings, None if plan.reason is None else recovery_payload(plan, copies, now))
    return opened


@contextmanager
def _holding(settings: Settings, stream: str, lock: Lock) -> Iterator[None]:
    """Free the slot where it cannot be opened."""
    try:
        yield
    except OSError as error:
        lock.release()
        raise _unopened(settings, stream, error) from error
    except BaseException:
        lock.release()
        raise


def _unopened(settings: Settings, stream: str, error: OSError) -> StoreError:
    text = f"stream {stream} in {settings.folder} cannot be opened: {error.strerror or error}."
    return StoreError(text, hint="Mend the disk, and open it again.")


def _keyed(settings: Settings) -> bool:
    return settings.key is not None


def _keyring(settings: Settings) -> Keyring | None:
    if settings.key is None:
        return settings.keyring
    return Keyring([settings.key]) if settings.keyring is None else settings.keyring.with_key(settings.key)


def _prepare(settings: Settings, stream: str, lock: Lock, facts: StreamFacts, plan: Plan) -> OpenStream:
    """Put the parts of a writer together; nothing is written, and its thread does not run yet."""
    signer = Signer(stream, settings.key, plan.seq)
    shelf = Shelf(
        settings.folder,
        settings.state,
        stream,
        signer=signer,
        rotation=settings.rotation,
        clock=settings.clock,
    )
    shelf.origin, shelf.first_seq = plan.origin, plan.first_seq
    head = facts.head
    if head is not None:
        shelf.extra = dict(head.extra)
        shelf.last_segment = head.segment
    last = next((found for found in reversed(facts.segments) if found.last_seq == plan.seq), None)
    if last is not None:
        shelf.last_segment = plain_name(last.name)
    offset = last.good if last is not None else head.offset if head is not None else 0
    begun = End(plan.seq, plan.chain_hash, offset, None)
    limits = Limits(settings.inline, settings.max_buffer_bytes, settings.on_full == "raise")
    engine = Engine(shelf, signer, begun, limits=limits, rotation=settings.rotation, clock=settings.clock)
    packer = Packer(settings.folder, settings.compress, engine.troubles)
    # What a restore passes over attests nothing of what follows.
    attested = head.seq if head is not None and plan.lost is None else 0
    worker = Worker(engine, settings.clock, packer.add, attested=attested)
    return OpenStream(stream, lock, engine, worker, packer, begun)


def _begin(opened: OpenStream, plan: Plan, settings: Settings, payload: bytes | None) -> None:
    """Put what was found on record, close what was left open, and set the writer to work."""
    try:
        if payload is not None:
            _record(opened, payload, settings)
        finish(opened.engine.shelf, plan, settings.clock())
        _pack_rest(opened, settings)
    except BaseException:
        opened.free()
        raise
    opened.worker.start()


def _record(opened: OpenStream, payload: bytes, settings: Settings) -> None:
    """Bring an entry of the writer to the disk.

    Hazard: were a manifest there before it after a power cut, the manifest would attest entries that no mac covers,
    and nobody would know.
    """
    engine = opened.engine
    item, _ = engine.put(payload, None, Promise.SYNCED, mac=True)
    deadline = monotonic() + settings.timeout
    while not engine.reached(item[0], Promise.SYNCED) and monotonic() < deadline:
        opened.worker.step()
        if not engine.reached(item[0], Promise.SYNCED):
            engine.bell.hear(0.01)
    if engine.synced.seq < item[0]:
        why = str(engine.troubles) or "the disk is too slow"
        text = f"stream {opened.stream}: what was found could not be put on record: {why}."
        raise StoreError(text, hint="Mend the disk, and open it again.")


def _pack_rest(opened: OpenStream, settings: Settings) -> None:
    """Compress what was closed and not compressed when the last writer ended."""
    if settings.compress == "none":
        return
    names = set(settings.folder.names())
    for name in sorted(names):
        if segment_place(name, opened.stream) is not None and name == plain_name(name) and manifest_name(name) in names:
            opened.packer.add(name)


def _recover_neighbours(settings: Settings, stream: str) -> None:
    """Recover other slots of the stream that a crash left open and nobody holds."""
    names = set(settings.folder.names())
    for other in sorted(slots_of(names, settings.stream) - {stream}):
        ours = [name for name in names if segment_place(name, other) is not None and is_segment_name(name)]
        if all(manifest_name(name) in names for name in ours) and not _lags(settings, other, ours):
            continue
        lock = settings.state.lock(lock_name(other))
        if lock is None:
            continue
        try:
            _open_slot(settings, other, lock).close(settings.timeout)
        except TamperError as error:
            warn(f"sealed log {other} in {settings.folder} was not recovered: {error}")


def _lags(settings: Settings, stream: str, ours: list[str]) -> bool:
    """Tell whether the head of a stream does not speak of its last segment's end: its writer died in between."""
    last = plain_name(max(ours, key=lambda name: segment_place(name, stream) or ("", 0)))
    try:
        head = parse_head(settings.state.read(head_name(stream), 0, MAX_DOCUMENT + 1))
        manifest = parse_manifest(settings.folder.read(manifest_name(last), 0, MAX_DOCUMENT + 1))
    except (FormatError, OSError):
        return True
    return head.seq < manifest.last_seq
