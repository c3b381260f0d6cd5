"""What a verification found: codes, findings, notes and the verdict (spec section 8).

A finding is one defect with its place. Its code fixes the outcome it stands for; the report's outcome is the gravest
of them. Notes say what a reader must know and never change the outcome.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections import Counter

__all__ = [
    "HINTS",
    "SCHEMA_VERSION",
    "Code",
    "FileReport",
    "Finding",
    "Note",
    "NoteCode",
    "Outcome",
    "StreamReport",
    "VerifyReport",
    "append_finding",
]

SCHEMA_VERSION: Final = "1.0"

MAX_FINDINGS: Final = 200
"""Findings of one segment that are kept, for each code and key; the others are counted. Counting them all together
would let many findings of one kind push out the one that decides the outcome."""


class Outcome(StrEnum):
    """The verdict."""

    INTACT = "intact"
    TAMPERED = "tampered"
    UNDETERMINED = "undetermined"

    @property
    def exit_code(self) -> int:
        """The exit code of the command line: 0 intact, 1 tampered, 3 undetermined."""
        return {"intact": 0, "tampered": 1, "undetermined": 3}[self.value]


class Code(StrEnum):
    """What a finding proves, or what could not be checked."""

    LINE_MALFORMED = "line-malformed"
    INTEGRITY_MISSING = "integrity-missing"
    STREAM_CHANGED = "stream-changed"
    SEQ_GAP = "seq-gap"
    SEQ_REPEAT = "seq-repeat"
    SEQ_REGRESS = "seq-regress"
    LINK_BROKEN = "link-broken"
    PAYLOAD_CHANGED = "payload-changed"
    MAC_INVALID = "mac-invalid"
    MAC_MISSING = "mac-missing"
    ALGO_MISMATCH = "algo-mismatch"
    KEY_EXPIRED = "key-expired"
    MANIFEST_MALFORMED = "manifest-malformed"
    MANIFEST_SIGNATURE = "manifest-signature"
    MANIFEST_MISMATCH = "manifest-mismatch"
    HEAD_MALFORMED = "head-malformed"
    HEAD_MAC = "head-mac"
    SEGMENT_MISSING = "segment-missing"
    ROLLBACK = "rollback"
    KEY_UNKNOWN = "key-unknown"
    UNKEYED = "unkeyed"
    UNAUTHENTICATED_TAIL = "unauthenticated-tail"
    TORN_TAIL = "torn-tail"
    MANIFEST_MISSING = "manifest-missing"
    STREAM_MISSING = "stream-missing"
    END_NOT_ATTESTED = "end-not-attested"
    ENTRIES_MISSING = "entries-missing"
    VERSION_UNKNOWN = "version-unknown"
    UNREADABLE = "unreadable"
    EMPTY = "empty"

    @property
    def outcome(self) -> Outcome:
        """The verdict that one such finding leads to."""
        return Outcome.UNDETERMINED if self in _UNDETERMINED else Outcome.TAMPERED


_UNDETERMINED: Final = frozenset(
    {
        Code.KEY_UNKNOWN,
        Code.UNKEYED,
        Code.UNAUTHENTICATED_TAIL,
        Code.TORN_TAIL,
        Code.MANIFEST_MISSING,
        Code.STREAM_MISSING,
        Code.END_NOT_ATTESTED,
        Code.ENTRIES_MISSING,
        Code.VERSION_UNKNOWN,
        Code.UNREADABLE,
        Code.EMPTY,
    }
)

HINTS: Final[dict[Code, str]] = {
    Code.LINE_MALFORMED: "No writer stores such a line: compare it with a backup or a shipped copy.",
    Code.INTEGRITY_MISSING: "The seal was stripped from this line, or it was written past the log.",
    Code.STREAM_CHANGED: "A line of another stream stands here; for an export of several streams use --export.",
    Code.SEQ_GAP: "Entries are missing between these two lines; for an extract of a log use --export.",
    Code.SEQ_REPEAT: "An entry stands here twice, or two entries claim one place.",
    Code.SEQ_REGRESS: "Lines were moved; for a re-sorted export use --export.",
    Code.LINK_BROKEN: "Look for the entries that stood between in a backup.",
    Code.PAYLOAD_CHANGED: "Compare the line with a backup or a shipped copy to see what was changed.",
    Code.MAC_INVALID: "Whoever wrote this entry as it stands did not have the key; compare it with a backup.",
    Code.MAC_MISSING: "The entry has no mac where its key or its stream requires one.",
    Code.ALGO_MISMATCH: "The entry names another algorithm than the trusted key has.",
    Code.KEY_EXPIRED: "The key was used outside the streams or seqs that the trust file gives it.",
    Code.MANIFEST_MALFORMED: "The manifest is not as any writer stores it.",
    Code.MANIFEST_SIGNATURE: "The manifest is not signed by a key that may sign this stream.",
    Code.MANIFEST_MISMATCH: "Compare the segment with a backup; the lines named above, if any, are where it differs.",
    Code.HEAD_MALFORMED: "The head is not as any writer stores it.",
    Code.HEAD_MAC: "The head is not signed by a key that may sign this stream.",
    Code.SEGMENT_MISSING: "Look for the missing entries in a backup.",
    Code.ROLLBACK: "The log is not the one that was attested: another life of it, or an older state.",
    Code.KEY_UNKNOWN: "Give the key with --key or --trust.",
    Code.UNKEYED: "Anyone could have written this stream; if it was meant to be keyed, it was replaced.",
    Code.UNAUTHENTICATED_TAIL: "Verify a live log again in a moment; open it after a crash; else give a --head.",
    Code.TORN_TAIL: "A crash leaves such an end; all before it was checked. Keep the file as it is.",
    Code.MANIFEST_MISSING: "Drop --require-manifests, or ask for the manifest of this segment.",
    Code.STREAM_MISSING: "Another stream says that this one exists: ask for its files.",
    Code.END_NOT_ATTESTED: "Give a head with --head, or drop --require-end.",
    Code.ENTRIES_MISSING: "They may stand where it could not be looked: verify the whole, readable log to know more.",
    Code.VERSION_UNKNOWN: "Verify with a newer release.",
    Code.UNREADABLE: "Check the path and the rights, or get another copy, and verify again.",
    Code.EMPTY: "There is nothing to verify here: check the path.",
}
"""What to do next, by code."""


class NoteCode(StrEnum):
    """What a reader must know beside the outcome."""

    END_OPEN = "end-open"
    UNKEYED_CHAIN = "unkeyed-chain"
    BEGINS_LATE = "begins-late"
    SUPERSEDED = "superseded"
    OVERLAP = "overlap"
    ADOPTED = "adopted-without-mac"
    DUPLICATE_KEY = "duplicate-json-key"
    RENAMED = "renamed"
    LIVE = "live"
    PASSED_OVER = "passed-over"
    RESTORED = "restored"
    LOSS_RECORDED = "loss-recorded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect. `line` counts from 1; `last_line` is greater where the same defect stands on a run of lines."""

    code: Code
    message: str
    file: str | None = None
    line: int | None = None
    seq: int | None = None
    expected: str | None = None
    found: str | None = None
    hint: str = ""
    last_line: int | None = None
    key_id: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the finding as JSON members."""
        members = asdict(self)
        members["hint"] = self.hint or HINTS[self.code]
        members["outcome"] = self.code.outcome.value
        return members

    def place(self) -> str:
        """Return `file:line` as far as known."""
        lines = "" if self.line is None else f":{self.line}"
        if self.last_line is not None and self.line is not None and self.last_line > self.line:
            lines += f"-{self.last_line}"
        return f"{self.file or ''}{lines}"


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know that has no influence on the outcome."""

    code: NoteCode
    message: str
    file: str | None = None
    line: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What was seen of one stream.

    `authenticated_through` is the last seq that a valid mac covers, with all before it; 0 for none, and where the
    chain is broken.
    """

    stream: str
    first_seq: int
    last_seq: int
    entries: int
    origin: str | None
    key_ids: tuple[str, ...]
    authenticated_through: int
    end_attested_by: str | None
    segments: int


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was read of one file. `checked` is "lines", "signed hash" or "nothing"."""

    file: str
    stream: str | None
    first_seq: int | None
    last_seq: int | None
    entries: int
    size_bytes: int
    checked: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The whole verdict. Equal input gives an equal report, however many workers read it; `duration` apart."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]
    streams: tuple[StreamReport, ...]
    files: tuple[FileReport, ...]
    not_checked: tuple[str, ...]
    entries: int
    size_bytes: int
    duration: float = field(default=0.0, compare=False)
    suppressed: int = 0

    @property
    def valid(self) -> bool:
        """True for `intact` only: undetermined is not valid."""
        return self.outcome is Outcome.INTACT

    def to_json(self) -> str:
        """Return the report as JSON text, with `schema_version`."""
        members = {
            "schema_version": SCHEMA_VERSION,
            "outcome": self.outcome.value,
            "valid": self.valid,
            "counts": {
                "entries": self.entries,
                "files": len(self.files),
                "streams": len(self.streams),
                "size_bytes": self.size_bytes,
                "findings": len(self.findings) + self.suppressed,
                "findings_not_listed": self.suppressed,
                "notes": len(self.notes),
            },
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": [asdict(note) for note in self.notes],
            "streams": [asdict(stream) for stream in self.streams],
            "files": [asdict(file) for file in self.files],
            "not_checked": list(self.not_checked),
            "duration_seconds": round(self.duration, 6),
        }
        # ASCII only: a report may hold file names, and a terminal that shows it would obey control characters.
        return json.dumps(members, indent=2)


def append_finding(findings: list[Finding], finding: Finding, counts: Counter[tuple[Code, str | None]]) -> bool:
    """Add a finding, joined to the last one where it is the same defect on the next line.

    `counts` is the caller's memory of how many there are of each code and key.

    Returns:
        False when the list is full and the finding was dropped: the caller counts it.
    """
    if findings:
        last = findings[-1]
        same = (last.code, last.file, last.key_id) == (finding.code, finding.file, finding.key_id)
        if same and finding.line is not None and finding.line == (last.last_line or last.line or 0) + 1:
            findings[-1] = replace(last, last_line=finding.last_line or finding.line)
            return True
    kind = (finding.code, finding.key_id)
    if counts[kind] >= MAX_FINDINGS:
        return False
    counts[kind] += 1
    findings.append(finding)
    return True
