"""The keys of the lines of one part: what each mac is worth, which seals hold, and when the good path may be taken."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import MAX_SEQ
from fapilog_tamper.entry import Integrity, mac_message
from fapilog_tamper.keys.keyring import Macs, TrustedKey
from fapilog_tamper.verify.control import read_seal
from fapilog_tamper.verify.report import Code
from fapilog_tamper.verify.reseal import Resealer
from fapilog_tamper.verify.tags import TagStatus, check_tag

if TYPE_CHECKING:
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.spans import Recorder, Span

__all__ = ["GoodPath", "MacJudge", "Recent"]

MAX_SEALS: Final = 10_000
_WINDOW: Final = 256
_MOST_RESEALERS: Final = 100


class Recent:
    """The chain hashes of the newest entries, for seals that speak of them. Bounded."""

    def __init__(self) -> None:
        self._runs: deque[tuple[int, list[bytes]]] = deque(maxlen=_WINDOW)

    def add(self, seq: int, chains: list[bytes]) -> None:
        """Take a run of entries from `seq` on; the list is kept."""
        if len(chains) == 1 and self._runs:
            first, last = self._runs[-1]
            if first + len(last) == seq and len(last) < _WINDOW:
                last.append(chains[0])
                return
        self._runs.append((seq, chains))

    def clear(self) -> None:
        """Forget all: the chain broke."""
        self._runs.clear()

    def chain(self, seq: int) -> bytes | None:
        """Return the chain hash of an entry, None where it is too far back."""
        return next((run[seq - at] for at, run in reversed(self._runs) if at <= seq < at + len(run)), None)


class GoodPath:
    """Re-sealing for lines like the last one, as far as lines equal to their re-sealing can be no finding."""

    def __init__(self, resealer: Resealer, status: TagStatus, last_seq: int, reach: int = 1) -> None:
        self.reach = reach
        self.resealer = resealer
        self.status = status
        self.last_seq = last_seq


class MacJudge:
    """Judges keys and macs of entries whose chain hash holds."""

    def __init__(self, keyring: Keyring | None, record: Recorder, *, keyed_before: bool) -> None:
        self._keyring = keyring
        self._record = record
        self._keyed_before = keyed_before
        self._resealers: dict[tuple[str | None, str, bool], Resealer] = {}

    def check(self, block: Integrity, span: Span) -> None:
        """Judge the mac of an entry, or that it has none."""
        if block.key_id is None:
            if span.keyed or self._keyed_before:
                self._record.defect(Code.MAC_MISSING, "an unkeyed entry behind keyed ones", block.seq)
            else:
                span.lead(self._record.out.lines, self._record.out.lines, block.seq)
            return
        status = check_tag(
            self._keyring,
            block.key_id,
            block.algo,
            stream=block.stream,
            seq=block.seq,
            message=mac_message(block.chain_hash),
            tag=block.mac,
        )
        self._judge(status, block.key_id, block, span)

    def _judge(self, status: TagStatus, key_id: str, block: Integrity, span: Span) -> None:
        tally, defect = self._record.out.tally, self._record.defect
        if status is TagStatus.VALID:
            tally.valid[key_id] += 1
            self._authenticate(span, block.seq, key_id)
        elif status is TagStatus.INVALID:
            tally.invalid[key_id] += 1
            defect(Code.MAC_INVALID, f"the mac does not hold under key {key_id}", block.seq, key_id=key_id)
        elif status is TagStatus.UNKNOWN_KEY:
            tally.add_unknown(key_id)
        elif status is TagStatus.WRONG_ALGO:
            defect(Code.ALGO_MISMATCH, f"not the algorithm of key {key_id}", block.seq, found=block.algo)
        elif status is TagStatus.EXPIRED:
            defect(Code.KEY_EXPIRED, f"key {key_id} is not trusted for this entry", block.seq)
        elif status is TagStatus.MISSING:
            defect(Code.MAC_MISSING, f"no mac, where key {key_id} macs each entry", block.seq)

    def advance(self, path: GoodPath, span: Span, count: int) -> None:
        """Count entries that took the good path; the span is at the last of them."""
        out = self._record.out
        if span.key_id is None:
            span.lead(out.lines - count + 1, out.lines, span.last_seq - count + 1)
        elif path.status is TagStatus.VALID:
            out.tally.valid[span.key_id] += count
            span.authenticated = span.last_seq
            span.reach = min(span.reach or path.reach, path.reach)
        elif path.status is TagStatus.UNKNOWN_KEY:
            out.tally.add_unknown(span.key_id, count)

    def check_seal(self, block: Integrity, control: dict[str, object], span: Span, recent: Recent) -> bool:
        """Judge a late seal; of an entry too far back, it is left to whoever can look that up. True: its mac holds."""
        out = self._record.out
        claim = read_seal(control, block, out.lines, self._keyring)
        if claim is None:
            return False
        if claim.defect is Code.MAC_INVALID and claim.seq:
            out.tally.seals[claim.key_id] += 1
        if claim.defect is not None:
            self._record.defect(claim.defect, claim.message, block.seq, key_id=claim.key_id)
            return False
        out.tally.valid[claim.key_id] += 1
        chain = recent.chain(claim.seq)
        if chain is None and len(out.seals) < MAX_SEALS:
            out.seals.append(claim)
        elif chain is None:
            out.seals_dropped += 1
        elif chain != claim.chain_hash:
            self._record.defect(Code.MAC_INVALID, f"the seal speaks of another entry {claim.seq}", block.seq)
        else:
            self._authenticate(span, claim.seq, claim.key_id)
        return True

    def _authenticate(self, span: Span, seq: int, key_id: str) -> None:
        """A mac speaks of all entries before it, back to the first that its key may sign."""
        trusted = None if self._keyring is None else self._keyring.get(key_id)
        reach = 1 if trusted is None else trusted.first_seq
        bare = max(span.authenticated + 1, span.first_seq)
        if bare < min(reach, seq + 1):
            text = f"entries {bare} to {min(reach - 1, seq)} are covered only by key {key_id}, trusted from {reach} on"
            self._record.defect(Code.UNAUTHENTICATED_TAIL, text, bare)
        span.authenticated = max(span.authenticated, seq)
        span.reach = min(span.reach or reach, reach)

    def good_path(self, block: Integrity, span: Span) -> GoodPath | None:
        """Return the good path behind this entry, None where each line must be judged by itself."""
        if block.key_id is None:
            if span.keyed or self._keyed_before:
                return None
            return GoodPath(self._resealer(block, None), TagStatus.LATER, MAX_SEQ)
        trusted = None if self._keyring is None else self._keyring.get(block.key_id)
        if trusted is None:
            # A mac that cannot be recomputed cannot be compared either.
            return None if block.mac else GoodPath(self._resealer(block, None), TagStatus.UNKNOWN_KEY, MAX_SEQ)
        if trusted.key.algorithm != block.algo or not trusted.covers(block.stream, block.seq):
            return None
        return self._known_path(block, trusted)

    def _known_path(self, block: Integrity, trusted: TrustedKey) -> GoodPath | None:
        last_seq = trusted.last_seq or MAX_SEQ
        if block.mac is None:
            late = trusted.macs is Macs.COMMIT
            return GoodPath(self._resealer(block, None), TagStatus.LATER, last_seq) if late else None
        secret = getattr(trusted.key, "secret", None)
        return GoodPath(self._resealer(block, secret), TagStatus.VALID, last_seq, trusted.first_seq) if secret else None

    def _resealer(self, block: Integrity, secret: bytes | None) -> Resealer:
        key = (block.key_id, block.algo, secret is not None)
        if key not in self._resealers:
            if len(self._resealers) >= _MOST_RESEALERS:
                self._resealers.clear()
            self._resealers[key] = Resealer(block.stream, block.algo, block.key_id, secret)
        return self._resealers[key]
