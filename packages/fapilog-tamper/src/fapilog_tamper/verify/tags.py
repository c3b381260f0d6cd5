"""Macs and signatures under a keyring: what one is worth, and the tally that tells a wrong key from a wrong mac."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from fapilog_tamper.keys.keyring import Macs

if TYPE_CHECKING:
    from fapilog_tamper.keys.keyring import Keyring

__all__ = ["TagStatus", "Tally", "check_tag"]


_MOST_UNKNOWN: Final = 100
_OTHER_KEYS: Final = "(and others)"


class TagStatus(Enum):
    """What a mac or signature is worth."""

    VALID = auto()
    INVALID = auto()
    MISSING = auto()
    LATER = auto()
    UNKNOWN_KEY = auto()
    WRONG_ALGO = auto()
    EXPIRED = auto()


@dataclass(slots=True)
class Tally:
    """How often the macs under each key held and failed in a run; failing seals are counted apart."""

    valid: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    seals: Counter[str] = field(default_factory=Counter)

    def add_unknown(self, key_id: str, count: int = 1) -> None:
        """Count entries under a key that was not given; names beyond the first hundred share one count."""
        known = key_id in self.unknown or len(self.unknown) < _MOST_UNKNOWN
        self.unknown[key_id if known else _OTHER_KEYS] += count

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.valid.update(other.valid)
        self.invalid.update(other.invalid)
        for key_id, count in other.unknown.items():
            self.add_unknown(key_id, count)
        self.seals.update(other.seals)

    def wrong_keys(self) -> list[str]:
        """Return the known keys under which macs failed and none held.

        One false seal and nothing else is no sign of a wrong key: anybody can put a seal into a log.
        """
        failed = {key_id for key_id in self.invalid | self.seals if self.invalid[key_id] or self.seals[key_id] > 1}
        return sorted(key_id for key_id in failed if not self.valid[key_id])


def check_tag(
    keyring: Keyring | None,
    key_id: str,
    algo: str | None,
    *,
    stream: str,
    seq: int,
    message: bytes,
    tag: bytes | None,
) -> TagStatus:
    """Judge one tag. The keyring fixes algorithm, streams, seqs and whether each entry carries a mac; no entry does."""
    trusted = None if keyring is None else keyring.get(key_id)
    if trusted is None:
        return TagStatus.UNKNOWN_KEY
    if trusted.key.algorithm != algo:
        return TagStatus.WRONG_ALGO
    if not trusted.covers(stream, seq):
        return TagStatus.EXPIRED
    if tag is None:
        return TagStatus.MISSING if trusted.macs is Macs.EACH else TagStatus.LATER
    return TagStatus.VALID if trusted.key.verify(message, tag) else TagStatus.INVALID
