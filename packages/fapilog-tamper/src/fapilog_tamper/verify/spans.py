"""What the lines of a part add up to: spans of linked entries, defects, and what is left for others to judge.

`LineResult` is plain data, so that it travels between processes. `Recorder` is the one way in which the checks on
lines report what they find.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fapilog_tamper.entry import UNKEYED
from fapilog_tamper.verify.report import Code, Finding, Note, append_finding
from fapilog_tamper.verify.tags import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper.verify.control import SealClaim

__all__ = ["Expectation", "LineResult", "Recorder", "Span", "Torn"]

MAX_NOTES: Final = 1000
_MAX_KEY_IDS: Final = 100


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a segment before its lines are read.

    `torn_behind` is the greatest seq that a head, manifest or other stream speaks of: only behind it can a torn tail
    be. None: there can be none, the segment has a manifest.
    """

    file: str
    stream: str | None = None
    keyed_before: bool = False
    torn_behind: int | None = 0
    export: bool = False
    deep: bool = False


@dataclass(slots=True)
class Span:
    """A run of entries of one stream, each linked to the one before; `broken` where a finding says it is not so.

    `authenticated` is the last entry that a mac covers, with all before it back to `reach` (0: no mac held).
    `changed`: an entry in it is not what was sealed. `scattered`: its entries do not stand line by line.

    `unkeyed_lead` is the first and last line, and first seq, of unkeyed entries before any keyed one: whether a keyed
    one stands in an earlier segment is not known here.
    """

    stream: str
    first_seq: int
    first_prev: bytes
    first_chain: bytes
    first_line: int
    last_seq: int
    last_chain: bytes
    last_line: int
    entries: int = 1
    first_kind: str | None = None
    keyed: bool = False
    authenticated: int = 0
    reach: int = 0
    last_event: int = 0
    algo: str = UNKEYED
    key_id: str | None = None
    key_ids: list[str] = field(default_factory=list)
    broken: bool = False
    changed: bool = False
    scattered: bool = False
    file: str = ""
    unkeyed_lead: tuple[int, int, int] | None = None

    def lead(self, first: int, last: int, seq: int) -> None:
        """Remember unkeyed entries before any keyed one."""
        known = self.unkeyed_lead
        self.unkeyed_lead = (first, last, seq) if known is None else (known[0], last, known[2])

    def in_order(self) -> bool:
        """Tell whether entry `first_seq + n` stands in line `first_line + n`."""
        return not (self.broken or self.scattered)

    def name_key(self, algo: str, key_id: str | None) -> None:
        """Take over the key of the newest entry."""
        self.algo, self.key_id = algo, key_id
        self.keyed = self.keyed or key_id is not None
        if key_id is not None and key_id not in self.key_ids and len(self.key_ids) < _MAX_KEY_IDS:
            self.key_ids.append(key_id)


@dataclass(frozen=True, slots=True)
class Torn:
    """A tail that a crash may have left: where it begins, and why it is taken for one."""

    line: int
    reason: str
    partial: bool = False


@dataclass(slots=True)
class LineResult:
    """All that the lines of a part said."""

    spans: list[Span] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    suppressed: int = 0
    lines: int = 0
    tally: Tally = field(default_factory=Tally)
    seals: list[SealClaim] = field(default_factory=list)
    seals_dropped: int = 0
    spans_dropped: int = 0
    torn: Torn | None = None
    malformed_before: int = 0
    malformed_after: int = 0
    inspected: bool = False
    first_ts: str | None = None
    last_ts: str | None = None
    restores: list[tuple[int, int]] = field(default_factory=list)

    def note_restore(self, control: Mapping[str, object], seq: int) -> None:
        """Remember which entries a `restore` puts on record as lost: those behind the first seq through the second."""
        lost = control.get("lost_seq")
        if control.get("kind") == "restore" and type(lost) is int and len(self.restores) < MAX_NOTES:
            self.restores.append((seq - 1, lost))


class Recorder:
    """Puts findings and notes at the line that is being checked."""

    def __init__(self, file: str, *, inspected: bool) -> None:
        self.file = file
        self.out = LineResult(inspected=inspected)
        self._counts: Counter[tuple[Code, str | None]] = Counter()

    def defect(
        self,
        code: Code,
        message: str,
        seq: int | None = None,
        *,
        expected: str | None = None,
        found: str | None = None,
        key_id: str | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        """Report a finding, at the line that is being checked or from line `first` to `last`."""
        out = self.out
        line = out.lines if first is None else first
        finding = Finding(code, message, self.file, line, seq, expected, found, last_line=last, key_id=key_id)
        if not append_finding(out.findings, finding, self._counts):
            out.suppressed += 1

    def note(self, note: Note) -> None:
        """Report a note; beyond a thousand they are dropped."""
        if len(self.out.notes) < MAX_NOTES:
            self.out.notes.append(note)
