"""What to do with what was found: a pure function for each of the two ways to open a stream.

`plan_opening` follows the table of spec section 7 and refuses what a crash cannot have left. `plan_restore` is the
override: it goes on behind the last entry that can be believed, and puts on record what it passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS
from fapilog_tamper.errors import HeadError, RollbackError, SealKeyError, StoreError
from fapilog_tamper.recovery.facts import is_excused
from fapilog_tamper.recovery.history import BrokenHistoryError, History, follow, trace_back

if TYPE_CHECKING:
    from fapilog_tamper.head import Head
    from fapilog_tamper.recovery.facts import FoundClaim, FoundSegment, StreamFacts

__all__ = ["Plan", "plan_opening", "plan_restore"]

_OVERRIDE: Final = (
    "Verify the folder; to go on with what is there, on record: fapilog-tamper restore --reason ... --by ..."
)


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
        empty: files to be removed: a crash left no entry in them.
        lost: what a `restore` passes over: seq and chain hash that the refused head speaks of.
        excused: what other streams say, and a `restore` contradicts.
    """

    seq: int = 0
    chain_hash: bytes = GENESIS
    origin: bytes = b""
    first_seq: int = 1
    reason: str | None = None
    unsigned: tuple[int, int] | None = None
    repairs: tuple[FoundSegment, ...] = ()
    late: tuple[FoundSegment, ...] = ()
    empty: tuple[FoundSegment, ...] = ()
    lost: tuple[int, bytes] | None = None
    excused: tuple[FoundClaim, ...] = ()


def plan_opening(facts: StreamFacts) -> Plan:
    """Return how to go on with a stream.

    Raises:
        HeadError: the head cannot be believed, or there is none and the entries do not all hold.
        RollbackError: entries that a head or another stream speaks of are not there, or something else stands there.
        SealKeyError: the stream is keyed, and the caller has not its key.
    """
    _require_key(facts)
    if facts.head_problem is not None:
        raise _head_error(facts, facts.head_problem)
    for found in facts.segments:
        _require_known(facts, found.unknown_key)
        if found.defect is not None:
            raise _refusal(facts, f"{found.name}: {found.defect}")
    try:
        history = follow(facts.entries)
    except BrokenHistoryError as error:
        raise _refusal(facts, str(error)) from None
    if facts.head is None:
        _check_without_head(facts, history)
    else:
        _check_head(facts, facts.head, history)
    _check_claims(facts, history)
    plan = _go_on(facts, history)
    if facts.pinned is not None and plan.origin != facts.pinned:
        # Without this, who can remove a keyed stream can put an unkeyed one, with its head, in its place.
        began = f"began with {b64url_encode(plan.origin)}" if plan.seq else "has no entry"
        raise _head_error(facts, f"it {began}, and the keyring says that it began with {b64url_encode(facts.pinned)}")
    return plan


def _go_on(facts: StreamFacts, history: History) -> Plan:
    head, segments = facts.head, facts.segments
    at_hand = head is not None and not history.pieces
    seq = head.seq if head is not None and at_hand else history.seq
    unsigned = _unsigned(facts, history)
    torn = any(found.torn or found.copies for found in segments)
    reason = "crash" if torn or unsigned else None
    if facts.keyed and seq and not history.keyed_from and (head is None or head.key_id is None):
        # Anybody may have made this: the key must not cover it in silence.
        reason, unsigned = "unkeyed", (_first_seq(head, history), seq)
    return Plan(
        seq=seq,
        chain_hash=head.chain_hash if head is not None and at_hand else history.chain(seq) or GENESIS,
        origin=_origin(facts, history),
        first_seq=_first_seq(head, history),
        reason="head-missing" if head is None and seq else reason,
        unsigned=unsigned,
        repairs=tuple(found for found in segments if found.torn or found.newline_missing),
        late=tuple(found for found in facts.entries if not found.closed),
        empty=tuple(found for found in segments if not (found.first_seq or found.closed)),
    )


def _first_seq(head: Head | None, history: History) -> int:
    if head is not None:
        return head.first_seq
    return history.pieces[0][0].first_seq if history.pieces else 1


def _unsigned(facts: StreamFacts, history: History) -> tuple[int, int] | None:
    """Return the entries that a keyed writer adopts and that no mac covers."""
    if not (facts.keyed and history.keyed_from):
        return None
    covered = history.covered(0 if facts.head is None else facts.head.seq)
    return (covered + 1, history.seq) if history.last_event > covered else None


def _require_key(facts: StreamFacts) -> None:
    keyed = (facts.head is not None and facts.head.key_id is not None) or facts.unknown_key is not None
    if (keyed or any(found.keyed_from for found in facts.segments)) and not facts.keyed:
        raise SealKeyError(
            f"stream {facts.stream} is keyed, and no key was given.",
            hint="Open it with its key, or open a stream of another name.",
        )
    _require_known(facts, facts.unknown_key)


def _require_known(facts: StreamFacts, key_id: str | None) -> None:
    if key_id is not None:
        raise SealKeyError(
            f"stream {facts.stream} is under key {key_id}, and {', '.join(facts.key_ids) or 'no key'} was given.",
            hint="Open it with that key, or with a keyring that has it, or open a stream of another name.",
        )


def _check_without_head(facts: StreamFacts, history: History) -> None:
    if not history.pieces:
        if facts.traces:
            raise _head_error(facts, f"{facts.traces[0]} is there, and neither a head nor an entry")
    elif facts.keyed and not history.keyed_from:
        # Who can remove a head can put anything unkeyed in the place of a keyed stream.
        raise _head_error(facts, "there is no head, and its entries are unkeyed")


def _check_head(facts: StreamFacts, head: Head, history: History) -> None:
    if not history.pieces:
        if head.first_seq <= head.seq:
            raise _refusal(facts, f"its head speaks of entry {head.seq}, and no segment has it")
        return
    _origin(facts, history)
    first, end = history.pieces[0][0], history.seq
    if first.first_seq > max(head.seq, head.first_seq):
        raise _refusal(facts, f"{first.name} begins with entry {first.first_seq}, and what is before it is lost")
    if head.seq > end:
        raise _refusal(facts, f"its head speaks of entry {head.seq}, the stream ends with entry {end}")
    if history.chain(head.seq) != head.chain_hash:
        raise _refusal(facts, f"entry {head.seq} is not the one that its head speaks of")
    keyed_from = history.keyed_from
    if head.key_id is None and 0 < keyed_from <= head.seq:
        raise _head_error(facts, f"its head is unkeyed, and entry {keyed_from} is keyed")
    if head.key_id is not None and end > head.seq and not 0 < keyed_from <= head.seq + 1:
        raise _refusal(facts, f"entry {head.seq + 1}, behind what its keyed head speaks of, is unkeyed")


def _check_claims(facts: StreamFacts, history: History) -> None:
    head = facts.head
    end = head.seq if head is not None and not history.pieces else history.seq
    for claim in facts.claims:
        if is_excused(claim, head):
            continue
        if claim.seq > end:
            text = f"the head of stream {claim.source} speaks of entry {claim.seq}, the stream ends with entry {end}"
            raise _rollback(facts, text)
        at_end = head is not None and claim.seq == head.seq
        chain = head.chain_hash if head is not None and at_end else history.chain(claim.seq)
        if chain is not None and chain != claim.chain_hash:
            raise _rollback(facts, f"the head of stream {claim.source} speaks of another entry {claim.seq}")


def _origin(facts: StreamFacts, history: History) -> bytes:
    head = facts.head
    known = _known_origin([found for found, _ in history.pieces])
    if head is None:
        if history.pieces and not known:
            raise _head_error(facts, "there is no head, and its first entry is not there")
        return known
    if known and head.origin != known:
        text = f"its head is of a stream that began with {b64url_encode(head.origin)}, this one with "
        raise _head_error(facts, f"{text}{b64url_encode(known)}")
    return head.origin


def _known_origin(segments: list[FoundSegment]) -> bytes:
    return next((origin for found in segments if (origin := found.chain(1) or found.origin)), b"")


def _refusal(facts: StreamFacts, what: str) -> StoreError:
    if facts.head is None:
        return _head_error(facts, f"it has no head, and its entries do not all hold: {what}")
    return _rollback(facts, what)


def _rollback(facts: StreamFacts, what: str) -> RollbackError:
    return RollbackError(f"stream {facts.stream}: {what}.", hint=_OVERRIDE)


def _head_error(facts: StreamFacts, what: str) -> HeadError:
    return HeadError(f"stream {facts.stream}: {what}.", hint=_OVERRIDE)


def plan_restore(facts: StreamFacts) -> Plan:
    """Return how to go on behind the last entry that can be believed, whatever a head says.

    Raises:
        SealKeyError: the stream is keyed, and the caller has not its key.
    """
    _require_key(facts)
    head, entries = facts.head, facts.entries
    believed = _believed(facts)
    if not believed:
        _require_known(facts, next((found.unknown_key for found in facts.segments if found.unknown_key), None))
    best = max(believed, key=lambda found: found.authenticated, default=None)
    seq = 0 if best is None else best.authenticated
    history = History() if best is None else trace_back(believed, best, seq)
    claims = [(claim.seq, claim.chain_hash) for claim in facts.claims]
    spoken = max([*claims, *([(head.seq, head.chain_hash)] if head is not None else [])], default=(0, GENESIS))
    origin = _known_origin([found for found, _ in history.pieces]) or (b"" if head is None else head.origin)
    first = min((found.first_seq for found in believed), default=1) if head is None else head.first_seq
    unmet = (one for one in facts.claims if one.seq > seq or history.chain(one.seq) not in (None, one.chain_hash))
    return Plan(
        seq=seq,
        chain_hash=history.chain(seq) or GENESIS,
        origin=origin if best is not None else b"",
        first_seq=min(first, seq + 1),
        reason="restore",
        repairs=tuple(f for f in facts.segments if (f.torn or f.newline_missing) and f.defect is None),
        late=tuple(
            f for f in entries if not (f.closed or f.defect) and f.authenticated == f.last_seq and f in believed
        ),
        empty=tuple(f for f in facts.segments if not (f.first_seq or f.closed or f.defect)),
        lost=spoken,
        excused=tuple(unmet),
    )


def _believed(facts: StreamFacts) -> list[FoundSegment]:
    """Return the segments with entries to go on behind: anybody can put unkeyed ones beside a keyed stream."""
    entries = [found for found in facts.entries if found.authenticated >= found.first_seq]
    keyed = [found for found in entries if found.keyed_from]
    if not keyed and (facts.head is None or facts.head.key_id is None):
        return entries
    first = min((found.keyed_from for found in keyed), default=0)
    return [found for found in entries if found.keyed_from or found.last_seq < first]
