"""What an import found and did: `ImportReport`, and the facts of each old file, as they are put on record, too."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

__all__ = ["CAVEAT", "FileFacts", "ImportReport", "LeftOut", "OldVerdict", "worst"]

OldVerdict = Literal["valid", "broken", "unverifiable", "empty"]

CAVEAT: Final = (
    "The old chain has no key: anyone who could write to the folder could recompute it, and lines that were removed "
    "from the end of a run leave no trace. Valid means that it is consistent, not that nobody changed it."
)

_MOST_TOLD: Final = 20
"""Breaks of one file that are told one by one; all are counted."""
_WORST_FIRST: Final[tuple[OldVerdict, ...]] = ("broken", "unverifiable", "valid", "empty")


@dataclass(slots=True)
class FileFacts:
    """One old file, as it was found.

    Attributes:
        name: its name.
        size_bytes: its size.
        sha256: the hash of its bytes, in hex.
        lines: its lines, a last one without a line end included.
        crlf: its lines end as on Windows.
        final_newline: the last line has a line end.
        verdict: of its own chain: `broken` where a line was changed, is missing, repeated or cannot be read;
            `unverifiable` where lines have no checksum; `empty` without any event.
        first_invalid_line: the first break, from 1.
        first_invalid_sequence: the `sequence_number` that stands there.
        reason: what is wrong there.
        breaks: how many there are.
        problems: the first of them, in words.
        runs: runs that begin in this file: starts of the writing process.
        unordered: lines that stand before the line that they name, which is how concurrent events were written.
        skipped: gaps in the numbers across which the links hold: events that could not be written.
        torn: lines whose writer was stopped in the middle.
        unchecked: lines without a checksum.
        respelled: lines whose members are those that were hashed, in another spelling.
    """

    name: str
    size_bytes: int = 0
    sha256: str = ""
    lines: int = 0
    crlf: bool = False
    final_newline: bool = True
    verdict: OldVerdict = "empty"
    first_invalid_line: int | None = None
    first_invalid_sequence: int | None = None
    reason: str | None = None
    breaks: int = 0
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    unordered: int = 0
    skipped: int = 0
    torn: int = 0
    unchecked: int = 0
    respelled: int = 0

    def add_break(self, line: int, sequence: int | None, why: str) -> None:
        """Take note of a break."""
        self.breaks += 1
        if self.first_invalid_line is None or line < self.first_invalid_line:
            self.first_invalid_line, self.first_invalid_sequence, self.reason = line, sequence, why
        if len(self.problems) < _MOST_TOLD:
            number = "" if sequence is None else f" (sequence {sequence})"
            self.problems.append(f"{self.name}, line {line}{number}: {why}")

    def judge(self, events: int) -> None:
        """Set the verdict, of so many lines that hold an event."""
        if self.breaks:
            self.verdict = "broken"
        elif self.unchecked:
            self.verdict = "unverifiable"
        else:
            self.verdict = "valid" if events else "empty"

    def to_dict(self) -> dict[str, Any]:
        """Return the members, without those that say nothing."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != []}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the old folder that is not imported, and why."""

    name: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """The result of an import.

    Attributes:
        files: the old files, in the order of the import.
        left_out: what else lies in the old folder.
        entries: entries of the new log that hold old lines; 0 in a dry run.
        kept_as_bytes: of these, entries that are no audit events and hold the bytes of a line that no log can take.
        verdict: of the old chain as a whole.
        first_invalid_file: the first break: its file,
        first_invalid_line: its line,
        first_invalid_sequence: and the `sequence_number` that stands there.
        problems: what is wrong, in words, the first of each file.
        runs: starts of the old writing processes.
        interleaved: runs that began while another one still wrote: two processes at once.
        caveat: what the verdict cannot say.
        dry_run: nothing was written.
        chain_hash: what stands for the whole new log: the chain hash of its last entry, `finished`.
    """

    files: list[FileFacts] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    entries: int = 0
    kept_as_bytes: int = 0
    verdict: OldVerdict = "empty"
    first_invalid_file: str | None = None
    first_invalid_line: int | None = None
    first_invalid_sequence: int | None = None
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    interleaved: int = 0
    caveat: str = CAVEAT
    dry_run: bool = False
    chain_hash: str | None = None

    def conclude(self) -> None:
        """Draw the sum of the files."""
        self.verdict = worst([facts.verdict for facts in self.files])
        self.runs = sum(facts.runs for facts in self.files)
        self.problems = [problem for facts in self.files for problem in facts.problems]
        for facts in self.files:
            rest = facts.breaks - len(facts.problems)
            if rest:
                self.problems.append(f"{facts.name}: {rest} more")
        first = next((facts for facts in self.files if facts.breaks), None)
        if first is not None:
            self.first_invalid_file = first.name
            self.first_invalid_line = first.first_invalid_line
            self.first_invalid_sequence = first.first_invalid_sequence

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values, for JSON."""
        return asdict(self) | {"files": [facts.to_dict() for facts in self.files]}


def worst(verdicts: list[OldVerdict]) -> OldVerdict:
    """Return what holds of all: one break breaks, one unverifiable file leaves the whole unverified."""
    return next((verdict for verdict in _WORST_FIRST if verdict in verdicts), "empty")
