"""Opening a stream for writing: the slot, recovery, and the engine on top."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

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
from fapilog_tamper.keys.keyring import Keyring
from fapilog_tamper.layout import head_name, is_segment_name, lock_name, manifest_name, plain_name, segment_place
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.recovery.facts import RESTORED, format_restored
from fapilog_tamper.recovery.kinship import is_stranger, require_kin
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
from fapilog_tamper.writer.slots import require_distinct, slots_of, take_restart, take_slot
from fapilog_tamper.writer.stream import OpenStream
from fapilog_tamper.writer.troubles import warn
from fapilog_tamper.writer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.recovery.facts import StreamFacts
    from fapilog_tamper.recovery.plan import Plan
    from fapilog_tamper.settings import Settings
    from fapilog_tamper.store.base import Lock

__all__ = ["open_stream", "restore_stream"]


def open_stream(settings: Settings) -> OpenStream:
    """Open the lowest free slot of a stream, or begin a chain anew; recover what a crash left where nobody writes.

    Raises:
        ConfigError: the name cannot be used in this folder.
        StoreError: the folder cannot be written.
        RollbackError: entries are missing that something speaks of.
        HeadError: the head cannot be believed.
        SealKeyError: the key is not the stream's.
    """
    _make(settings)
    try:
        if settings.restart:
            stream, lock = take_restart(settings.folder, settings.state, settings.stream)
        else:
            stream, lock = _take_slot(settings)
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


def _take_slot(settings: Settings) -> tuple[str, Lock]:
    """Take a slot whose past may stand beside that of the stream itself."""
    folder, base = settings.folder, settings.stream
    strangers: set[str] = set()
    while True:
        stream, lock = take_slot(settings.state, base, strangers)
        if stream == base:
            return stream, lock
        with _holding(settings, stream, lock):
            require_kin(folder, base, settings.key, settings.keyring)
            if not is_stranger(folder, base, stream, settings.key):
                return stream, lock
        lock.release()
        strangers.add(stream)
        warn(f"sealed log {base} in {folder}: {stream} is unkeyed, and {base} never was; it is left as it is.")


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
    signer = Signer(stream, settings.key, plan.seq, sign_each=settings.sign_each)
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
    packer = Packer(settings.folder, settings.compress, engine.troubles, settings.on_closed)
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
        if is_stranger(settings.folder, settings.stream, other, settings.key):
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
