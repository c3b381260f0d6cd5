"""`import_folder`: seals the files of an old trail as they were found.

The old files are read twice: first to judge them, so that what is known of each stands in the new log before its
lines, then to seal them. Stream `audit` of the new log holds, in this order: `fapilog_audit.import.begun`; for each
file `fapilog_audit.import.file` with its facts, and its lines; `fapilog_audit.import.finished`. Without the last, the
import was not finished. A line that can be a payload is one, byte for byte; any other is kept as
`fapilog_audit.import.line`. Nothing is dropped, so that the old files can be made of the new log again.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_audit.errors import StorageError
from fapilog_audit.event import AuditEvent
from fapilog_audit.importing.chain import Chain, Place
from fapilog_audit.importing.lines import OldLine, State, cut_lines, read_line
from fapilog_audit.importing.places import BEGUN, FINISHED, check_places, find_old_files
from fapilog_audit.importing.report import FileFacts, ImportReport
from fapilog_audit.kinds import AuditLogLevel, ComplianceLevel
from fapilog_tamper import PayloadError, SealedLog, StoreError, canonicalize
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.keys import SigningKey, open_signing_key
from fapilog_tamper.payload import MAX_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapilog_audit.importing.lines import Line

__all__ = ["import_folder"]

STREAM: Final = "audit"

_FILE: Final = "fapilog_audit.import.file"
_LINE: Final = "fapilog_audit.import.line"
_MOST_TEXT: Final = 64 << 10
_PIECE: Final = 512 << 10
"""Bytes of a line in one entry: in base64 they fit into a payload."""
_STEP: Final = 1 << 20
"""Bytes between two calls of `progress`."""
_MOST_NAMES: Final = 100
_ANEW: Final = "Mend that, and import once more into an empty folder."


def import_folder(
    old: str | Path,
    new: str | Path,
    *,
    key: str | SigningKey | None,
    state_dir: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> ImportReport:
    """Seal the trail that `fapilog.core.audit` or an earlier fapilog-audit wrote, and record what its own chain says.

    The old folder is only read. A few lines are held in memory, whatever its size.

    Args:
        old: the folder of the old trail.
        new: the folder of the new log, without a log in it; it is made.
        key: a key URI or a signing key; None for an unkeyed chain, which anyone can recompute.
        state_dir: where the head is put; `.fapilog` in the new folder unless set.
        progress: called with the bytes that are done and the bytes to do.
        dry_run: judge only; nothing is written.

    Raises:
        ConfigError: the folders cannot be used so; nothing was written.
        SealKeyError: the key cannot be used; nothing was written.
        StorageError: an old file changed meanwhile, or the new log could not be written; the import is not finished.
    """
    old, new = Path(old), Path(new)
    state = None if state_dir is None else Path(state_dir)
    files, left_out = find_old_files(old)
    check_places(old, new, state)
    signing = None if key is None else open_signing_key(key)
    report = ImportReport(left_out=left_out, dry_run=dry_run)
    try:
        pace = _Pace(progress, sum(path.stat().st_size for path in files) * (1 if dry_run else 2))
        _judge(files, report, pace)
        if not dry_run:
            with SealedLog.open(new, key=signing, stream=STREAM, state_dir=state, max_payload=MAX_LIMIT) as log:
                _seal(log, old, files, report, pace)
    except OSError as error:
        raise StorageError(f"{error.filename or old}: {error.strerror or error}.", hint=_ANEW) from error
    except StoreError as error:
        raise StorageError(f"{new}: {error.message}", hint=_ANEW) from error
    return report


@dataclass(slots=True)
class _Pace:
    """Tells how far the import is."""

    tell: Callable[[int, int], None] | None
    total: int
    done: int = 0
    told: int = 0

    def add(self, count: int, *, end: bool = False) -> None:
        self.done += count
        if self.tell is not None and (end or self.done - self.told >= _STEP):
            self.told = self.done
            self.tell(self.done, max(self.total, self.done))


# Judging.


def _judge(files: list[Path], report: ImportReport, pace: _Pace) -> None:
    chain = Chain()
    events = []
    for path in files:
        facts = FileFacts(path.name)
        report.files.append(facts)
        events.append(_read_file(path, facts, chain, len(report.files) - 1, pace))
        _take_facts(chain, report.files)
    chain.finish()
    _take_facts(chain, report.files)
    for facts, count in zip(report.files, events, strict=True):
        facts.judge(count)
    report.interleaved = chain.interleaved
    report.conclude()


def _read_file(path: Path, facts: FileFacts, chain: Chain, number: int, pace: _Pace) -> int:
    """Read a file through; return how many of its lines hold something."""
    digest = hashlib.sha256()
    count = 0
    with path.open("rb") as file:
        for line in cut_lines(file):
            digest.update(line.raw)
            facts.size_bytes += len(line.raw)
            facts.final_newline = line.raw.endswith(b"\n")
            if line.number == 1:
                facts.crlf = line.raw.endswith(b"\r\n")
            if line.part == 1:
                facts.lines += 1
                read = _read_line(line)
                count += read.state is not State.BLANK
                _take_line(facts, line.number, read)
                chain.take(Place(number, line.number), read)
            pace.add(len(line.raw))
    facts.sha256 = digest.hexdigest()
    pace.add(0, end=True)
    return count


def _read_line(line: Line) -> OldLine:
    return OldLine(State.DAMAGED, why="it is too long to be judged") if line.more else read_line(line.raw)


def _take_line(facts: FileFacts, number: int, read: OldLine) -> None:
    facts.torn += read.behind_torn or read.state is State.TORN
    facts.unchecked += read.state is State.UNCHECKED
    facts.respelled += read.respelled and read.state is State.GOOD
    if read.state is State.CHANGED:
        facts.add_break(number, read.sequence, f"changed: {read.why}")
    elif read.state is State.DAMAGED:
        facts.add_break(number, None, f"damaged: {read.why}")


def _take_facts(chain: Chain, files: list[FileFacts]) -> None:
    for fact in chain.facts:
        facts = files[fact.place.file]
        if fact.kind == "begun":
            facts.runs += 1
        elif fact.kind == "unordered":
            facts.unordered += 1
        elif fact.kind == "skipped":
            facts.skipped += 1
        else:
            facts.add_break(fact.place.line, fact.sequence, f"{fact.kind}: {fact.text}")
    chain.facts.clear()


# Sealing.


def _seal(log: SealedLog, old: Path, files: list[Path], report: ImportReport, pace: _Pace) -> None:
    size = sum(facts.size_bytes for facts in report.files)
    sums = {"files": len(files), "size_bytes": size, "lines": sum(facts.lines for facts in report.files)}
    chain = {"verdict": report.verdict, "runs": report.runs, "interleaved": report.interleaved, "caveat": report.caveat}
    others = {"left_out": len(report.left_out), "left_out_names": [one.name for one in report.left_out[:_MOST_NAMES]]}
    begun = _event(BEGUN, f"import of {old} begun", folder=str(old), **sums, **others, **chain)
    log.append(begun, durability="synced")
    for path, facts in zip(files, report.files, strict=True):
        text = f"{facts.name} was found {facts.verdict}; its lines follow"
        log.append(_event(_FILE, text, verdict=facts.verdict, file=facts.to_dict()), durability="accepted")
        _seal_file(log, path, facts, report, pace)
    text = f"import of {old} finished; its own chain is {report.verdict}"
    counts = {"entries": report.entries, "kept_as_bytes": report.kept_as_bytes}
    last = log.append(_event(FINISHED, text, **sums, **counts, **chain), durability="synced")
    report.chain_hash = b64url_encode(last.chain)


def _seal_file(log: SealedLog, path: Path, facts: FileFacts, report: ImportReport, pace: _Pace) -> None:
    digest = hashlib.sha256()
    ending = b"\r\n" if facts.crlf else b"\n"
    with path.open("rb") as file:
        for line in cut_lines(file):
            digest.update(line.raw)
            _seal_line(log, line, facts, ending, report)
            pace.add(len(line.raw))
    pace.add(0, end=True)
    if digest.hexdigest() != facts.sha256:
        raise StorageError(
            f"{path} changed while it was imported; the import is not finished.",
            hint="Stop what writes to it, and import once more into an empty folder.",
        )


def _seal_line(log: SealedLog, line: Line, facts: FileFacts, ending: bytes, report: ImportReport) -> None:
    """Seal a line as it is, without its line end, which is that of the file; else keep its bytes."""
    text = line.raw.removesuffix(ending)
    if not line.is_whole:
        reason = "it is too long"
    elif text == line.raw and line.raw.endswith(b"\n"):
        reason = "its line end is another than that of the first line"
    else:
        try:
            log.append(text, durability="accepted")
        except PayloadError as error:
            reason = error.message
        else:
            report.entries += 1
            return
    for payload in _kept(line, facts.name, reason):
        log.append(payload, durability="accepted")
        report.entries += 1
        report.kept_as_bytes += 1


def _kept(line: Line, name: str, reason: str) -> Iterator[bytes]:
    """Yield the events that hold the bytes of a line, its line end included."""
    said = f"line {line.number} of {name} is kept as bytes: {reason}"[:500]
    place = {"file": name, "line": line.number, "reason": reason[:300]}
    text = _text(line.raw)
    if text is not None:
        yield _event(_LINE, said, **place, text=text)
        return
    for at in range(0, len(line.raw), _PIECE):
        encoded = b64encode(line.raw[at : at + _PIECE]).decode()
        yield _event(_LINE, said, **place, base64=encoded)


def _text(raw: bytes) -> str | None:
    """Return what can stand in JSON as text and be made these bytes again."""
    if len(raw) > _MOST_TEXT:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _event(kind: str, message: str, **metadata: object) -> bytes:
    broken = metadata.get("verdict") == "broken"
    event = AuditEvent(
        event_type=kind,
        message=message,
        log_level=AuditLogLevel.WARNING if broken else AuditLogLevel.INFO,
        component="fapilog_audit.import",
        compliance_level=ComplianceLevel.NONE,
        metadata=metadata,
    )
    return canonicalize(event.to_members())
