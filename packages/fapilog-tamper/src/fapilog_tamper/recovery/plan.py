"""What to do with what was found: a pure function for each of the two ways to open a stream.

`plan_opening` follows the table of spec section 7 and refuses what a crash cannot have left. `plan_restore` is the
override: it goes on behind the last entry that can be believed, and puts on record what it passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS
from fapilog_tamper.errors import HeadError, RollbackError, SealKeyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_tamper.head import Head
    from fapilog_tamper.recovery.facts import FoundClaim, FoundSegment, StreamFacts

__all__ = ["Plan", "plan_opening", "plan_restore"]

_HISTORY_KINDS = ("recovery", "restore")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to open a stream.

    Attributes:
        seq: the entry to go on behind; 0 for a new stream.
        chain_hash: of that entry.
        origin: chain hash of entry 1; empty for a new stream.
        first_seq: the lowest seq that must still be there.
        reason: of the `recovery` entry to write, None where none is needed.
        unsigned: the entries that are adopted without a mac.
        repairs: segments whose end is to be mended: torn, or without their last 0x0A.
        late: segments to be closed with a manifest now.
        lost: what a `restore` passes over: seq and chain hash that the refused head speaks of.
    """

    seq: int = 0
    chain_hash: bytes = GENESIS
    origin: bytes = b""
    first_seq: int = 1
    reason: str | None = None
    unsigned: tuple[int, int] | None = None
    repairs: tuple[FoundSegment, ...] = ()
    late: tuple[FoundSegment, ...] = ()
    lost: tuple[int, bytes] | None = None


def plan_opening(facts: StreamFacts) -> Plan:
    """Return how to go on with a stream.

    Raises:
        HeadError: the head cannot be believed, or there is none and the entries do not all hold.
        RollbackError: entries that a head or another stream speaks of are not there, or something else stands there.
        SealKeyError: the stream is keyed, and the caller has no key.
    """
    if facts.head_problem is not None:
        raise HeadError(f"stream {facts.stream}: {facts.head_problem}.")
    entries = [found for found in facts.segments if found.first_seq]
    _require_key(facts, entries)
    if facts.head is None and not entries:
        if facts.traces:
            raise HeadError(f"stream {facts.stream} has {facts.traces[0]}, and neither a head nor an entry.")
        _check_claims(facts, facts.claims, 0, [])
        torn = tuple(found for found in facts.segments if found.torn)
        return Plan(reason="crash" if torn else None, repairs=torn)
    for found in facts.segments:
        if found.defect is not None:
            raise _rolled_back(facts, f"{found.name}: {found.defect}")
    return _go_on(facts, entries)


def _go_on(facts: StreamFacts, entries: Sequence[FoundSegment]) -> Plan:
    head = facts.head
    walked = _walk(facts, entries, head)
    seq, chain = (walked[-1].last_seq, walked[-1].last_chain) if walked else _end_of(head)
    if head is not None and _chain_at(walked, head.seq, head) != head.chain_hash:
        raise _rolled_back(facts, f"its head speaks of entry {head.seq}, which is not there as the head has it")
    _check_claims(facts, facts.claims, seq, walked)
    covered = _covered(walked, 0 if head is None else head.seq)
    last_event = max([0, *(found.last_event for found in walked)])
    unsigned = (covered + 1, seq) if facts.keyed and any(f.keyed for f in walked) and last_event > covered else None
    repairs = tuple(found for found in facts.segments if found.torn or found.newline_missing)
    late = tuple(found for found in entries if not found.closed)
    torn = any(found.torn or found.copies for found in facts.segments if not found.closed)
    reason = "head-missing" if head is None else "crash" if torn or unsigned else None
    return Plan(
        seq=seq,
        chain_hash=chain,
        origin=_origin(facts, walked),
        first_seq=head.first_seq if head is not None else walked[0].first_seq,
        reason=reason,
        unsigned=unsigned,
        repairs=repairs,
        late=late,
    )


def plan_restore(facts: StreamFacts) -> Plan:
    """Return how to go on behind the last entry that can be believed, whatever a head says."""
    best, seq, chain = None, 0, GENESIS
    for found in facts.segments:
        last = _sound_end(found)
        if found.first_seq and last >= max(seq, found.first_seq):
            best, seq, chain = found, last, found.chain(last) or found.last_chain
    origins = [found.origin or found.chain(1) for found in facts.segments if found.origin or found.first_seq == 1]
    head = facts.head
    claims = [(claim.seq, claim.chain_hash) for claim in facts.claims]
    spoken = max([*claims, *([(head.seq, head.chain_hash)] if head is not None else [])], default=(0, GENESIS))
    return Plan(
        seq=seq,
        chain_hash=chain,
        origin=next((origin for origin in origins if origin), b"") if best is not None else b"",
        first_seq=1 if best is None else min(found.first_seq for found in facts.segments if found.first_seq),
        reason="restore",
        repairs=tuple(found for found in facts.segments if (found.torn or found.newline_missing) and not found.defect),
        late=tuple(found for found in facts.segments if found.first_seq and not (found.closed or found.defect)),
        lost=spoken,
    )


def _sound_end(found: FoundSegment) -> int:
    """Return the last entry of a segment that stands before any finding, and under a mac where there are macs."""
    if found.defect is None:
        return found.last_seq if not found.keyed else found.authenticated
    return found.first_seq + found.sound - 1


def _require_key(facts: StreamFacts, entries: Sequence[FoundSegment]) -> None:
    keyed = (facts.head is not None and facts.head.key_id is not None) or any(found.keyed for found in entries)
    if keyed and not facts.keyed:
        raise SealKeyError(
            f"stream {facts.stream} is keyed, and no key was given.",
            hint="Open it with its key, or open a stream of another name.",
        )


def _end_of(head: Head | None) -> tuple[int, bytes]:
    return (0, GENESIS) if head is None else (head.seq, head.chain_hash)


def _walk(facts: StreamFacts, entries: Sequence[FoundSegment], head: Head | None) -> list[FoundSegment]:
    """Follow the chain through the segments; a later history that a `recovery` or `restore` begins takes over."""
    walked: list[FoundSegment] = []
    for found in entries:
        before = found.first_seq - 1
        if not walked:
            begins = before == 0 or head is None or found.first_seq <= head.seq + 1
            if not begins or (before == 0 and found.first_prev != GENESIS):
                raise _rolled_back(
                    facts, f"{found.name} begins with entry {found.first_seq}, and what is before is lost"
                )
            walked.append(found)
            continue
        last = walked[-1]
        known = _chain_at(walked, before, None)
        if found.first_seq > last.last_seq + 1 or known != found.first_prev:
            text = f"{found.name} begins with entry {found.first_seq}, which does not follow on {last.name}"
            raise _rolled_back(facts, text)
        if _same(walked, found):
            if found.last_seq > last.last_seq:
                walked.append(found)
        elif found.first_kind in _HISTORY_KINDS:
            walked.append(found)
        else:
            raise _rolled_back(facts, f"{found.name} holds other entries {found.first_seq} to {last.last_seq}")
    return walked


def _same(walked: Sequence[FoundSegment], found: FoundSegment) -> bool:
    """Tell whether a segment says nothing else of the entries that it has in common with those before."""
    upto = min(walked[-1].last_seq, found.last_seq)
    return upto < found.first_seq or _chain_at(walked, upto, None) == found.chain(upto)


def _chain_at(walked: Sequence[FoundSegment], seq: int, head: Head | None) -> bytes | None:
    for found in reversed(walked):
        if found.first_seq - 1 <= seq <= found.last_seq:
            chain = found.chain(seq)
            if chain is not None:
                return chain
    if not walked and head is not None and seq == head.seq:
        return head.chain_hash
    return None


def _covered(walked: Sequence[FoundSegment], attested: int) -> int:
    """Return the last entry that a mac, a seal or the head covers."""
    covered = attested
    for found in walked:
        covered = max(covered, found.authenticated)
        for seq, chain in found.seals.items():
            if _chain_at(walked, seq, None) == chain:
                covered = max(covered, seq)
    return covered


def _check_claims(facts: StreamFacts, claims: Sequence[FoundClaim], seq: int, walked: Sequence[FoundSegment]) -> None:
    for claim in claims:
        if _is_excused(claim, facts.head):
            continue
        if claim.seq > seq:
            text = f"the head of stream {claim.source} speaks of entry {claim.seq}, the stream ends with entry {seq}"
            raise _rolled_back(facts, text)
        chain = _chain_at(walked, claim.seq, facts.head)
        if chain is not None and chain != claim.chain_hash:
            raise _rolled_back(facts, f"the head of stream {claim.source} speaks of another entry {claim.seq}")


def _is_excused(claim: FoundClaim, head: Head | None) -> bool:
    """Tell whether a restore put on record that what the claim speaks of is lost."""
    restored = None if head is None else head.extra.get("restored")
    match restored:
        case {"after_seq": int(after), "lost_seq": int(lost)}:
            return after < claim.seq <= lost
    return False


def _origin(facts: StreamFacts, walked: Sequence[FoundSegment]) -> bytes:
    head = facts.head
    named = [found.origin for found in walked if found.origin]
    first = walked[0].chain(1) if walked and walked[0].first_seq == 1 else None
    known = first or (named[0] if named else b"")
    if head is None:
        if not known:
            raise HeadError(f"stream {facts.stream} has no head, and its first entry is not there.")
        return known
    if known and head.origin != known:
        text = f"its head is of a stream that began with {b64url_encode(head.origin)}, this one with "
        raise HeadError(f"stream {facts.stream}: {text}{b64url_encode(known)}.")
    return head.origin


def _rolled_back(facts: StreamFacts, what: str) -> StoreError:
    if facts.head is None:
        return HeadError(f"stream {facts.stream} has no head, and its entries do not all hold: {what}.")
    return RollbackError(f"stream {facts.stream}: {what}.")
