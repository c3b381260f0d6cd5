"""What a plan says, done on the store.

Hazard: a crash may end this anywhere, and the next open must find a log that it can go on with. So a torn tail is
copied, durably, before it is cut; whole files are synced before anything is written behind them; and manifests and
removals come last, when the `recovery` entry that names the copies and what no mac covers is on the disk.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS
from fapilog_tamper.errors import StoreError
from fapilog_tamper.layout import plain_name, torn_name
from fapilog_tamper.payload import control_payload
from fapilog_tamper.recovery.content import open_stored
from fapilog_tamper.recovery.facts import TornCopy
from fapilog_tamper.stamps import timestamp_of
from fapilog_tamper.writer.segment import Hashed, OpenSegment
from fapilog_tamper.writer.shelf import write_far

if TYPE_CHECKING:
    from fapilog_tamper.recovery.facts import FoundSegment, StreamFacts
    from fapilog_tamper.recovery.plan import Plan
    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.shelf import Shelf

__all__ = ["finish", "mend", "recovery_payload", "restore_payload"]

_CHUNK: Final = 1 << 20


def mend(folder: Store, facts: StreamFacts, plan: Plan) -> tuple[TornCopy, ...]:
    """Bring the ends of the segments in order; return the copies of torn tails that lie beside them."""
    copies = [copy for found in facts.segments for copy in found.copies]
    for found in plan.repairs:
        if found.torn is not None:
            copies.append(_copy_tail(folder, found))
        handle = folder.open(found.name)
        try:
            if found.torn is not None:
                folder.truncate(handle, found.good)
            if found.newline_missing:
                folder.write(handle, b"\n", found.good - 1)
            folder.sync(handle)
        finally:
            folder.close(handle)
    for found in plan.late:
        _sync(folder, found.name)
    folder.sync_names()
    return tuple(copies)


def _sync(folder: Store, name: str) -> None:
    handle = folder.open(name)
    try:
        folder.sync(handle)
    finally:
        folder.close(handle)


def _copy_tail(folder: Store, found: FoundSegment) -> TornCopy:
    name, handle = _create_copy(folder, found.name)
    digest, at = sha256(), 0
    try:
        while chunk := folder.read(found.name, found.good + at, _CHUNK):
            _, problem = write_far(folder, handle, chunk, at)
            if problem is not None:
                raise problem
            digest.update(chunk)
            at += len(chunk)
        folder.sync(handle)
    finally:
        folder.close(handle)
    folder.sync_names()
    return TornCopy(name, at, digest.digest())


def _create_copy(folder: Store, segment: str) -> tuple[str, int]:
    number = 1
    while True:
        name = torn_name(segment, number)
        try:
            return name, folder.create(name)
        except FileExistsError:
            number += 1


def recovery_payload(plan: Plan, copies: tuple[TornCopy, ...], ts: str) -> bytes:
    """Return the `recovery` entry of a plan."""
    members: dict[str, object] = {
        "ts": ts,
        "reason": plan.reason,
        "after_seq": plan.seq,
        "after_chain_hash": b64url_encode(plan.chain_hash),
    }
    if plan.unsigned is not None:
        members["unsigned"] = list(plan.unsigned)
    return control_payload("recovery", **members, **_torn(copies))


def restore_payload(plan: Plan, copies: tuple[TornCopy, ...], ts: str, *, reason: str, by: str) -> bytes:
    """Return the `restore` entry of a plan."""
    lost_seq, lost_chain = plan.lost or (0, GENESIS)
    return control_payload(
        "restore",
        ts=ts,
        reason=reason,
        by=by,
        after_seq=plan.seq,
        after_chain_hash=b64url_encode(plan.chain_hash),
        lost_seq=lost_seq,
        lost_chain_hash=b64url_encode(lost_chain),
        **_torn(copies),
    )


def _torn(copies: tuple[TornCopy, ...]) -> dict[str, object]:
    rows = [{"file": copy.file, "size_bytes": copy.size_bytes, "sha256": b64url_encode(copy.sha256)} for copy in copies]
    return {"torn": rows} if rows else {}


def finish(shelf: Shelf, plan: Plan, now: float) -> None:
    """Close the segments that were left without a manifest, and remove those that hold nothing."""
    for found in plan.late:
        _close_late(shelf, found, now)
    for found in plan.empty:
        shelf.folder.remove(found.name)
    if plan.empty:
        shelf.folder.sync_names()


def _close_late(shelf: Shelf, found: FoundSegment, now: float) -> None:
    digest = sha256()
    stamps: list[str] = []
    at, rest = 0, b""
    for chunk in open_stored(shelf.folder, found.name).chunks(found.good):
        piece = chunk[: found.good - at]
        at += len(piece)
        digest.update(piece)
        *lines, rest = (rest + piece).split(b"\n")
        stamps += [stamp for line in lines if (stamp := timestamp_of(line)) is not None]
        stamps = [min(stamps), max(stamps)] if stamps else []
    if at < found.good:
        raise StoreError(f"{found.name} became shorter while it was closed.")
    segment = OpenSegment(
        name=plain_name(found.name),
        handle=-1,
        created=now,
        first_seq=found.first_seq,
        continues_from=found.first_prev,
        rotate_at=0.0,
        chunks=[(found.last_seq, found.last_chain, found.good, b"", None, None)],
        hashed=Hashed(found.good, digest, stamps[0] if stamps else None, stamps[-1] if stamps else None),
    )
    shelf.write_manifest(segment, segment.end, sealed_by=(found.algo, found.key_id))
