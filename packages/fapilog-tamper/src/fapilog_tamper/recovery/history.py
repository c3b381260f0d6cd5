"""One chain through the segments of a stream: which entries of which segment count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fapilog_tamper.entry import GENESIS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fapilog_tamper.recovery.facts import FoundSegment

__all__ = ["BrokenHistoryError", "History", "follow", "trace_back"]

_TAKES_OVER: Final = ("recovery", "restore")


class BrokenHistoryError(Exception):
    """The segments are not one chain; the message says where."""


@dataclass(slots=True)
class History:
    """Segments in the order of their entries, each with the last entry of it that counts."""

    pieces: list[tuple[FoundSegment, int]] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """The last entry, 0 for none."""
        return self.pieces[-1][1] if self.pieces else 0

    def add(self, found: FoundSegment) -> None:
        """Go on with a segment; what was there of its entries counts no more."""
        first = found.first_seq
        self.pieces = [(old, min(upto, first - 1)) for old, upto in self.pieces if old.first_seq < first]
        self.pieces.append((found, found.last_seq))

    def chain(self, seq: int) -> bytes | None:
        """Return the chain hash of an entry, None where it is not known."""
        for found, upto in reversed(self.pieces):
            if found.first_seq - 1 <= seq <= upto:
                chain = found.chain(seq)
                if chain is not None:
                    return chain
        return None

    def covered(self, attested: int) -> int:
        """Return the last entry that a mac, a seal, or who attests that one covers."""
        covered = attested
        for found, upto in self.pieces:
            covered = max(covered, min(upto, found.authenticated))
            for seq, chain in found.seals.items():
                if self.chain(seq) == chain:
                    covered = max(covered, seq)
        return covered

    @property
    def last_event(self) -> int:
        """The last entry that is no bare seal."""
        return max((min(upto, found.last_event) for found, upto in self.pieces), default=0)

    @property
    def keyed_from(self) -> int:
        """The first keyed entry that is known of, 0 for none."""
        return min((found.keyed_from for found, upto in self.pieces if 0 < found.keyed_from <= upto), default=0)


def follow(segments: Iterable[FoundSegment]) -> History:
    """Follow the chain through segments; a later history that a `recovery` or `restore` begins takes over.

    Raises:
        BrokenHistoryError: a segment does not follow on those before.
    """
    history = History()
    for found in segments:
        if not history.pieces:
            if found.first_seq == 1 and found.first_prev != GENESIS:
                raise BrokenHistoryError(f"{found.name} begins with an entry 1 that is linked to another before it")
            history.add(found)
            continue
        last, _ = history.pieces[-1]
        if found.first_seq > history.seq + 1 or history.chain(found.first_seq - 1) != found.first_prev:
            text = f"{found.name} begins with entry {found.first_seq}, which does not follow on {last.name}"
            raise BrokenHistoryError(text)
        if _is_same(history, found):
            if found.last_seq > history.seq:
                history.add(found)
        elif found.first_kind in _TAKES_OVER:
            history.add(found)
        else:
            text = f"{found.name} has other entries from {found.first_seq} on than the segments before it"
            raise BrokenHistoryError(text)
    return history


def _is_same(history: History, found: FoundSegment) -> bool:
    """Tell whether a segment says nothing else of the entries that it has in common with those before."""
    upto = min(history.seq, found.last_seq)
    return upto < found.first_seq or history.chain(upto) == found.chain(upto)


def trace_back(segments: Iterable[FoundSegment], last: FoundSegment, seq: int) -> History:
    """Return the history that ends with entry `seq` of `last`, as far back as it can be followed."""
    pieces = [(last, seq)]
    for found in sorted(segments, key=lambda one: one.first_seq, reverse=True):
        later, _ = pieces[-1]
        before = later.first_seq - 1
        if found.first_seq <= before and found.chain(before) == later.first_prev:
            pieces.append((found, before))
    return History(pieces[::-1])
