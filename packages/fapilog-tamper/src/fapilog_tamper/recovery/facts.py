"""What was found of a stream, as plain values: the input of `plan`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import UNKEYED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fapilog_tamper.head import Head

__all__ = [
    "HASH_SIZE",
    "RESTORED",
    "FoundClaim",
    "FoundSegment",
    "StreamFacts",
    "TornCopy",
    "format_restored",
    "is_excused",
    "restored_behind",
]

HASH_SIZE: Final = 32

RESTORED: Final = "restored"
"""The member of a head that says what the last `restore` passed over."""


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """One segment, as its lines or its signed manifest say; where it has a defect, as the lines before that say.

    Attributes:
        name: the file.
        closed: it has a manifest.
        packed: it is compressed.
        size: bytes of the file, unpacked.
        good: bytes through the last good line.
        first_seq: of its first entry; 0 where no line is good.
        first_prev: prev_chain_hash of its first entry.
        last_seq: of its last good entry.
        last_chain: chain hash of that.
        run: the chain hashes of its entries one behind the other; empty where only the manifest was read.
        first_kind: the kind of the first entry, if that is a control entry.
        keyed_from: the first keyed entry that is known of; 0 where there is none.
        authenticated: the last entry that a mac in it covers; where it is unkeyed, the last entry.
        last_event: the last entry that is no bare seal.
        torn: why the rest of the file is taken for a torn tail, or None.
        newline_missing: the last line is whole but for its 0x0A.
        defect: the first finding in it.
        unknown_key: a key that entries are under and that was not given.
        key_id: of the last entry.
        algo: of the last entry.
        origin: what its manifest says of the stream's entry 1.
        seals: late seals of entries before it that hold: seq and chain hash.
        copies: torn tails that were copied beside it before.
    """

    name: str
    closed: bool = False
    packed: bool = False
    size: int = 0
    good: int = 0
    first_seq: int = 0
    first_prev: bytes = b""
    last_seq: int = 0
    last_chain: bytes = b""
    run: bytes = b""
    first_kind: str | None = None
    keyed_from: int = 0
    authenticated: int = 0
    last_event: int = 0
    torn: str | None = None
    newline_missing: bool = False
    defect: str | None = None
    unknown_key: str | None = None
    key_id: str | None = None
    algo: str = UNKEYED
    origin: bytes = b""
    seals: Mapping[int, bytes] = field(default_factory=dict)
    copies: tuple[TornCopy, ...] = ()

    def chain(self, seq: int) -> bytes | None:
        """Return the chain hash of an entry, or of the one before the first; None where it is not known."""
        if self.first_seq and seq == self.first_seq - 1:
            return self.first_prev
        at = (seq - self.first_seq) * HASH_SIZE
        if self.first_seq <= seq and at < len(self.run):
            return self.run[at : at + HASH_SIZE]
        return self.last_chain if seq == self.last_seq and self.first_seq else None


@dataclass(frozen=True, slots=True)
class TornCopy:
    """The copy of a torn tail."""

    file: str
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class FoundClaim:
    """Another stream's head says that this stream has an entry `seq` with this chain hash."""

    source: str
    seq: int
    chain_hash: bytes


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """All that was found of one stream.

    Attributes:
        stream: its name.
        head: its head, where it can be believed.
        head_problem: why a head that is there cannot be believed.
        unknown_key: the key of a head that cannot be checked, because it was not given.
        segments: those that had to be looked at, in the order of their names.
        claims: what the heads of other streams say.
        traces: names that show that there was a stream, where no entry is left.
        keyed: the caller has a key to go on with.
        key_ids: the keys that were given.
        pinned: the chain hash of entry 1, where the caller's keyring knows it.
    """

    stream: str
    head: Head | None = None
    head_problem: str | None = None
    unknown_key: str | None = None
    segments: tuple[FoundSegment, ...] = ()
    claims: tuple[FoundClaim, ...] = ()
    traces: tuple[str, ...] = ()
    keyed: bool = False
    key_ids: tuple[str, ...] = ()
    pinned: bytes | None = None

    @property
    def entries(self) -> list[FoundSegment]:
        """The segments that hold entries."""
        return [found for found in self.segments if found.first_seq]


def format_restored(behind: str, excused: Iterable[FoundClaim]) -> dict[str, object]:
    """Return what the head says of a restore: the last segment before it, and the claims that it contradicts."""
    claims = sorted({(claim.seq, b64url_encode(claim.chain_hash)) for claim in excused})
    return {"behind": behind, "claims": [{"seq": seq, "chain_hash": chain} for seq, chain in claims]}


def restored_behind(head: Head) -> str:
    """Return the last segment that the last restore found: whatever is the matter up to it, is on record."""
    match head.extra.get(RESTORED):
        case {"behind": str(name)}:
            return name
    return ""


def is_excused(claim: FoundClaim, head: Head | None) -> bool:
    """Tell whether a restore put on record that what the claim speaks of is lost."""
    match None if head is None else head.extra.get(RESTORED):
        case {"claims": [*claims]}:
            return {"seq": claim.seq, "chain_hash": b64url_encode(claim.chain_hash)} in claims
    return False
