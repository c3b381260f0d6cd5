"""Whether events are what was sealed: one event, a list of them, a whole storage.

The verifier is that of fapilog-tamper; here its report becomes the answer that an audit trail gives. `valid` is True
for an intact chain only: what could not be checked is not valid, and `error_message` says what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from fapilog_audit.event import AuditEvent
from fapilog_tamper.errors import HintedError
from fapilog_tamper.layout import is_segment_name, manifest_name, parse_segment_name, plain_name
from fapilog_tamper.names import base_stream
from fapilog_tamper.verify.log import verify_lines, verify_path
from fapilog_tamper.verify.report import NoteCode, Outcome
from fapilog_tamper.verify.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fapilog_tamper.keys import Keyring
    from fapilog_tamper.verify.report import Finding, VerifyReport

__all__ = ["AuditChainVerificationResult", "check_chain", "check_event", "check_folder", "check_open_segments"]


@dataclass(frozen=True, slots=True)
class AuditChainVerificationResult:
    """The answer to a verification; false in a condition unless the chain is intact.

    Attributes:
        valid: the chain is intact. An unkeyed one is, too, and `notes` says what that is worth.
        events_checked: lines that were looked at, entries of the log itself included.
        first_invalid_sequence: where the first defect stands, as far as it has a place.
        error_message: what is wrong, or what could not be checked.
        report: everything that was found; None where there was nothing to verify.
    """

    valid: bool
    events_checked: int
    first_invalid_sequence: int | None = None
    error_message: str | None = None
    report: VerifyReport | None = None

    def __bool__(self) -> bool:
        return self.valid

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the verdict."""
        return () if self.report is None else tuple(note.message for note in self.report.notes)

    @property
    def keyed(self) -> bool:
        """Whether keys stand behind the whole verdict; anyone can recompute an unkeyed chain."""
        if self.report is None:
            return False
        return all(note.code is not NoteCode.UNKEYED_CHAIN for note in self.report.notes)


def check_event(event: AuditEvent, keyring: Keyring | None) -> bool:
    """Tell whether one event, looked at alone, is what was sealed: its line, and each member of it."""
    line = event.sealed_line
    return line is not None and _says_its_line(event, line) and Verifier(keyring).verify_record(line)


def check_chain(events: Iterable[AuditEvent], keyring: Keyring | None) -> AuditChainVerificationResult:
    """Verify events as a chain, oldest or newest first; those of several streams as a chain each."""
    given = list(events)
    if not given:
        return AuditChainVerificationResult(valid=False, events_checked=0, error_message="there are no events.")
    streams: dict[str, list[AuditEvent]] = {}
    for event in given:
        line = event.sealed_line
        if line is None or not _says_its_line(event, line):
            what = "was never stored" if line is None else "is not what its line says; it was changed since"
            message = f"event {event.event_id} {what}."
            return AuditChainVerificationResult(
                valid=False,
                events_checked=len(given),
                first_invalid_sequence=event.sequence_number,
                error_message=message,
            )
        streams.setdefault(event.stream or "", []).append(event)
    results = [_check_stream(stream, found, keyring) for stream, found in streams.items()]
    checked = sum(result.events_checked for result in results)
    worst = next((result for result in results if not result.valid), results[0])
    return AuditChainVerificationResult(
        valid=worst.valid,
        events_checked=checked,
        first_invalid_sequence=worst.first_invalid_sequence,
        error_message=worst.error_message,
        report=worst.report,
    )


def _check_stream(stream: str, events: Sequence[AuditEvent], keyring: Keyring | None) -> AuditChainVerificationResult:
    seqs = [event.sequence_number or 0 for event in events]
    descending = len(seqs) > 1 and seqs[0] > seqs[1]
    ordered = list(reversed(events)) if descending else events
    seqs = [event.sequence_number or 0 for event in ordered]
    wrong = next((after for before, after in pairwise(seqs) if after <= before), None)
    if wrong is not None:
        message = f"the events of {stream} are not in order: {wrong} stands behind a later one, or twice."
        return AuditChainVerificationResult(
            valid=False, events_checked=len(events), first_invalid_sequence=wrong, error_message=message
        )
    runs = _runs(ordered)
    results = [_result(verify_lines(lines, keyring)) for _, lines in runs]
    checked = sum(result.events_checked for result in results)
    worst = next((result for result in results if not result.valid), results[0])
    if not worst.valid or len(runs) == 1:
        return replace(worst, events_checked=checked)
    first = runs[1][0]
    message = (
        f"undetermined: entries of {stream} right before {first} are not in the list, so its chain cannot be shown; "
        "give all events, unfiltered. verify_chain_from_storage() tells whether they were removed."
    )
    return AuditChainVerificationResult(
        valid=False, events_checked=checked, first_invalid_sequence=first, error_message=message
    )


def _runs(events: Sequence[AuditEvent]) -> list[tuple[int, list[bytes]]]:
    """Return the lines that stand without a gap, and the seq of the first event of each such run."""
    runs: list[tuple[int, list[bytes]]] = []
    last: int | None = None
    for event in events:
        seq = event.sequence_number or 0
        # What stands before the first event is not asked for.
        before = () if last is None or seq == last + 1 else event.control_lines
        if last is None or seq != last + len(before) + 1:
            runs.append((seq, []))
            before = ()
        runs[-1][1].extend((*before, event.sealed_line or b""))
        last = seq
    return runs


def check_folder(folder: Path, keyring: Keyring | None, *, heads: Sequence[Path] = ()) -> AuditChainVerificationResult:
    """Verify a whole folder, which must reach the heads given; takes no lock, writes nothing."""
    if not folder.exists():
        message = f"{folder} is not there: nothing was verified."
        return AuditChainVerificationResult(valid=False, events_checked=0, error_message=message)
    return _result(verify_path(folder, keyring=keyring, head=list(heads) or None))


def _result(report: VerifyReport) -> AuditChainVerificationResult:
    if report.valid:
        return AuditChainVerificationResult(valid=True, events_checked=report.entries, report=report)
    first = _first(report)
    return AuditChainVerificationResult(
        valid=False,
        events_checked=report.entries,
        first_invalid_sequence=None if first is None else first.seq,
        error_message=report.outcome.value if first is None else f"{report.outcome}: {first.message}",
        report=report,
    )


def _first(report: VerifyReport) -> Finding | None:
    """Return the first finding that the outcome rests on, one with a place before others."""
    grave = [finding for finding in report.findings if finding.code.outcome is report.outcome]
    placed = sorted((finding for finding in grave if finding.seq is not None), key=lambda one: one.seq or 0)
    return next(iter([*placed, *grave]), None)


def _says_its_line(event: AuditEvent, line: bytes) -> bool:
    """Tell whether nobody changed the event after it was read."""
    try:
        # A member that was given a value of another type makes pydantic warn.
        return AuditEvent.from_line(line).model_dump() == event.model_dump(warnings=False)
    except HintedError:
        return False


def check_open_segments(folder: Path, stream: str, keyring: Keyring | None) -> str | None:
    """Return what is wrong with the segments that nobody closed, None where nothing speaks against them.

    After a clean end there are none; closed ones have a manifest, and `verify` looks at them.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return None
    files = [
        folder / name
        for name in sorted(names)
        if is_segment_name(name) and manifest_name(name) not in names and _is_of(name, stream)
    ]
    if not files:
        return None
    report = verify_path(files, keyring=keyring)
    return _result(report).error_message if report.outcome is Outcome.TAMPERED else None


def _is_of(name: str, stream: str) -> bool:
    place = parse_segment_name(plain_name(name))
    return place is not None and base_stream(place[0]) == stream
