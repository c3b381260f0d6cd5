"""What a plan says, done on the store.

Hazard: a crash may end this anywhere, and the next open must find a log that it can go on with. So a torn tail is
copied, durably, before it is cut; whole files are synced before anything is written behind them; and manifests come
last, when the `recovery` entry that names the copies is in the log.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import StoreError
from fapilog_tamper.layout import torn_name
from fapilog_tamper.payload import control_payload
from fapilog_tamper.recovery.facts import TornCopy
from fapilog_tamper.writer.segment import Hashed, OpenSegment
from fapilog_tamper.writer.shelf import timestamp_of, write_far

if TYPE_CHECKING:
    from fapilog_tamper.recovery.facts import FoundSegment, StreamFacts
    from fapilog_tamper.recovery.plan import Plan
    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.shelf import Shelf

__all__ = ["close_late", "mend", "recovery_payload", "restore_payload"]

_CHUNK: Final = 1 << 20


def mend(folder: Store, facts: StreamFacts, plan: Plan) -> tuple[TornCopy, ...]:
    """Bring the ends of the segments in order; return the copies of torn tails that lie beside them."""
    copies = [copy for found in plan.late for copy in found.copies]
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
    for found in facts.segments:
        if not found.closed and not found.first_seq and found.defect is None:
            folder.remove(found.name)
    folder.sync_names()
    return tuple(copies)


def _sync(folder: Store, name: str) -> None:
    handle = folder.open(name)
    try:
        folder.sync(handle)
    finally:
        folder.close(handle)


def _copy_tail(folder: Store, found: FoundSegment) -> TornCopy:
    tail = folder.read(found.name, found.good)
    number = 1
    while True:
        name = torn_name(found.name, number)
        try:
            handle = folder.create(name)
            break
        except FileExistsError:
            number += 1
    try:
        _, problem = write_far(folder, handle, tail, 0)
        if problem is not None:
            raise problem
        folder.sync(handle)
    finally:
        folder.close(handle)
    folder.sync_names()
    return TornCopy(name, len(tail), sha256(tail).digest())


def recovery_payload(plan: Plan, copies: tuple[TornCopy, ...], ts: str) -> bytes:
    """Return the `recovery` entry of a plan."""
    members: dict[str, object] = {
        "ts": ts,
        "reason": plan.reason,
        "after_seq": plan.seq,
        "after_chain_hash": b64url_encode(plan.chain_hash),
    }
    if copies:
        members["torn"] = [
            {"file": copy.file, "size_bytes": copy.size_bytes, "sha256": b64url_encode(copy.sha256)} for copy in copies
        ]
    if plan.unsigned is not None:
        members["unsigned"] = list(plan.unsigned)
    return control_payload("recovery", **members)


def restore_payload(plan: Plan, ts: str, reason: str, by: str) -> bytes:
    """Return the `restore` entry of a plan."""
    lost_seq, lost_chain = plan.lost or (0, b"")
    return control_payload(
        "restore",
        ts=ts,
        reason=reason,
        by=by,
        after_seq=plan.seq,
        after_chain_hash=b64url_encode(plan.chain_hash),
        lost_seq=lost_seq,
        lost_chain_hash=b64url_encode(lost_chain),
    )


def close_late(shelf: Shelf, found: FoundSegment, now: float) -> None:
    """Write the manifest of a segment that was left without one."""
    digest = sha256()
    stamps: list[str] = []
    at, rest = 0, b""
    while at < found.good:
        chunk = shelf.folder.read(found.name, at, min(_CHUNK, found.good - at))
        if not chunk:
            raise StoreError(f"{found.name} became shorter while it was closed.")
        at += len(chunk)
        digest.update(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        stamps += [stamp for line in lines if (stamp := timestamp_of(line)) is not None]
        stamps = [min(stamps), max(stamps)] if stamps else []
    segment = OpenSegment(
        name=found.name,
        handle=-1,
        created=now,
        first_seq=found.first_seq,
        continues_from=found.first_prev,
        rotate_at=0.0,
        chunks=[(found.last_seq, found.last_chain, found.good, b"", None, None)],
        hashed=Hashed(found.good, digest, stamps[0] if stamps else None, stamps[-1] if stamps else None),
    )
    shelf.write_manifest(segment, segment.end, sealed_by=(found.algo, found.key_id))
