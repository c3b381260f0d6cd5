"""Files of records that left the log: brought back to lines, put in order, and verified.

What was sent on arrives in any order, more than once, and respelled. So each record is brought back to its line
(`received`), the lines are sorted by stream and seq, and those are verified as an extract of a log; reports speak of
the files of the caller, and of the number of a record in its file. Where the log is given, too, each record must be one
of its entries to the letter. Lines, their order and what the log has of them stand in a private folder that is removed
at the end, so that any number of records is read in bounded memory.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from errno import EIO
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from fapilog_tamper.cli.output import format_count
from fapilog_tamper.cli.received import received_lines
from fapilog_tamper.entry import split
from fapilog_tamper.errors import ConfigError, FormatError
from fapilog_tamper.verify.inventory import take_stock
from fapilog_tamper.verify.log import VerifyInterrupted, verify_path
from fapilog_tamper.verify.report import (
    HINTS,
    Code,
    FileReport,
    Finding,
    Note,
    NoteCode,
    Outcome,
    StreamReport,
    VerifyReport,
    append_finding,
)
from fapilog_tamper.verify.source import ExtraBytesError, SourceError, open_source, whole_lines
from fapilog_tamper.verify.verdict import outcome_of
from fapilog_tamper.verify.verifier import Verifier

if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import BinaryIO

    from fapilog_tamper.keys import Keyring

__all__ = ["verify_records"]

_TABLES: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    # `number`: of the record in its file; `start` and `size`: where its line is kept; `known`: see below.
    "CREATE TABLE records (stream, seq INTEGER, digest, file INTEGER, number INTEGER, start, size, known INTEGER)",
    # Where the lines of the sorted file come from.
    "CREATE TABLE sorted (line INTEGER PRIMARY KEY, file INTEGER, number INTEGER)",
)
_MARK: Final = (
    "UPDATE records SET known = max(known, CASE digest WHEN ? THEN ? ELSE ? END) WHERE stream = ? AND seq = ?"
)
_HERE, _HELD = 1, 2
"""What the log knows of a record: it has an entry of that place; it has this very entry."""


def verify_records(paths: Sequence[Path], keyring: "Keyring | None", **options: Any) -> VerifyReport:  # noqa: ANN401
    """Verify files of records as an extract of a log; where folders are given too, against the logs in them.

    Args:
        paths: files of records, and folders of sealed logs.
        keyring: the keys to trust.
        **options: as for `verify_path`; they hold for the folders, and for the records where there is no folder.

    Raises:
        ConfigError: there is no file of records.
        OSError: the private folder cannot be used.
        VerifyInterrupted: on Ctrl-C, with the report so far.
    """
    import sqlite3

    # os.path answers for any path where Path raises.
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112
    files = [path for path in dict.fromkeys(paths) if path not in folders]
    if not files:
        raise ConfigError("no file of records was given.", hint="Name the files that hold them, beside the folders.")
    with TemporaryDirectory(prefix="fapilog-tamper-") as name:
        place = Path(name) / "records.db"
        try:
            with closing(sqlite3.connect(place, isolation_level=None)) as database:
                records = _Records(database, Path(name), files)
                if not folders:
                    return _verify_alone(records, keyring, options)
                # The log behind the records: what was received then stands in what is read of the log.
                report = verify_path(folders, keyring=keyring, **options)
                return _Comparison(records, Verifier(keyring), report).report(folders)
        except sqlite3.Error as error:
            raise OSError(EIO, str(error), str(place)) from error


@dataclass(slots=True)
class _File:
    """A file of the caller: how many records it has, and why there are no more."""

    name: str
    count: int = 0
    problems: list[Finding] = field(default_factory=list)


class _Records:
    """The lines of all records, and what is known of each."""

    def __init__(self, database: "Connection", folder: Path, files: Iterable[Path]) -> None:
        self.database = database
        self.files = [_File(str(file)) for file in files]
        self.sorted = folder / "sorted.jsonl"
        self._kept = folder / "lines"
        for statement in _TABLES:
            database.execute(statement)
        with self._kept.open("wb") as kept:
            for number, file in enumerate(self.files):
                database.execute("BEGIN")
                # One statement for all records of a file; they are read while it runs.
                rows = ((*_place(line), number, count, *_keep(line, kept)) for count, line in _numbered(file))
                database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, 0)", rows)
                database.execute("COMMIT")

    def line(self, start: int, size: int) -> bytes:
        """Return the line that is kept there."""
        with self._kept.open("rb") as kept:
            kept.seek(start)
            return kept.read(size)

    def sort(self) -> dict[int, int]:
        """Write the lines in the order of their seqs, each once; return how often each file repeats one."""
        repeats: Counter[int] = Counter()
        last: tuple[object, ...] = ()
        rows = self.database.execute(
            "SELECT stream, seq, digest, file, number, start, size FROM records "
            "ORDER BY stream IS NULL, stream, seq, CASE WHEN stream NOTNULL THEN digest END, file, number"
        )
        line = 0
        self.database.execute("BEGIN")
        with self._kept.open("rb") as kept, self.sorted.open("wb") as target:
            for stream, seq, digest, file, number, start, size in rows:
                if stream is not None and (stream, seq, digest) == last:
                    repeats[file] += 1
                    continue
                last = (stream, seq, digest)
                kept.seek(start)
                target.write(kept.read(size))
                line += 1
                self.database.execute("INSERT INTO sorted VALUES (?, ?, ?)", (line, file, number))
        self.database.execute("COMMIT")
        return repeats

    def origins(self, first: int, last: int) -> Iterator[tuple[str, int]]:
        """Yield the file and the number in it of the lines `first` to `last` of the sorted file."""
        rows = self.database.execute(
            "SELECT file, number FROM sorted WHERE line BETWEEN ? AND ? ORDER BY line", (first, last)
        )
        for file, number in rows:
            yield self.files[file].name, number

    def problems(self) -> list[Finding]:
        """Return why files were not read to their end."""
        return [problem for file in self.files for problem in file.problems]

    def file_reports(self) -> Iterator[FileReport]:
        """Say what was read of each file."""
        for number, file in enumerate(self.files):
            stream, low, high, size = self.database.execute(
                "SELECT MIN(stream), MIN(seq), MAX(seq), SUM(size) FROM records WHERE file = ?", (number,)
            ).fetchone()
            yield FileReport(file.name, stream, low, high, file.count, size or 0, "lines" if file.count else "nothing")


def _numbered(file: _File) -> Iterator[tuple[int, bytes]]:
    """Yield number and line of each record of a file."""
    try:
        with open_source(Path(file.name)) as source:
            for line in received_lines(source):
                if not line.endswith(b"\n"):
                    text = "a torn tail: the last line has no newline, and is no record"
                    file.problems.append(Finding(Code.TORN_TAIL, text, file.name, file.count + 1))
                    return
                file.count += 1
                yield file.count, line
    except SourceError as error:
        code = Code.LINE_MALFORMED if isinstance(error, ExtraBytesError) else Code.UNREADABLE
        file.problems.append(Finding(code, str(error), file.name, file.count + 1 if file.count else None))
        return
    if not file.count:
        file.problems.append(Finding(Code.EMPTY, "there is no record in it", file.name))


def _place(line: bytes) -> tuple[str | None, int | None, bytes]:
    digest = sha256(line).digest()
    try:
        block = split(line)[1]
    except FormatError:
        return None, None, digest
    return block.stream, block.seq, digest


def _keep(line: bytes, kept: "BinaryIO") -> tuple[int, int]:
    start = kept.tell()
    kept.write(line)
    return start, len(line)


# Records by themselves.


def _verify_alone(records: _Records, keyring: "Keyring | None", options: dict[str, Any]) -> VerifyReport:
    repeats = records.sort()
    if not records.sorted.stat().st_size:
        return _empty_report(records)
    try:
        report = verify_path(records.sorted, keyring=keyring, **{**options, "export": True})
    except VerifyInterrupted as stopped:
        stopped.report = _named(stopped.report, records)
        raise
    report = _named(report, records)
    notes = [
        Note(NoteCode.OVERLAP, f"{format_count(count, 'record')} more than once", records.files[file].name)
        for file, count in sorted(repeats.items())
    ]
    return _with(replace(report, notes=(*report.notes, *notes)), records.problems())


def _empty_report(records: _Records) -> VerifyReport:
    report = VerifyReport(Outcome.UNDETERMINED, (), (), (), tuple(records.file_reports()), (), 0, 0)
    return _with(report, records.problems())


def _named(report: VerifyReport, records: _Records) -> VerifyReport:
    """Return a report that speaks of the files of the caller."""
    path, names = str(records.sorted), [file.name for file in records.files]
    whole = names[0] if len(names) == 1 else f"{len(names)} files"
    findings: list[Finding] = []
    counts: Counter[tuple[Code, str | None]] = Counter()
    suppressed = report.suppressed
    for one in report.findings:
        for file, number in _origins(one, records, whole):
            place = replace(one, file=file, message=one.message.replace(path, whole), line=number, last_line=None)
            if not append_finding(findings, place, counts):
                suppressed += 1
    return replace(
        report,
        findings=tuple(findings),
        suppressed=suppressed,
        notes=tuple(_named_note(note, records, whole) for note in report.notes),
        files=tuple(records.file_reports()),
        not_checked=tuple(text.replace(path, whole) for text in report.not_checked),
    )


def _named_note(note: Note, records: _Records, whole: str) -> Note:
    file, number = next(_origins(note, records, whole))
    return replace(note, file=file, line=number, message=note.message.replace(str(records.sorted), whole))


def _origins(one: Finding | Note, records: _Records, whole: str) -> Iterator[tuple[str | None, int | None]]:
    """Yield file and number of the records that are spoken of: a run of sorted lines may come from anywhere."""
    last = one.last_line if isinstance(one, Finding) else None
    if one.file != str(records.sorted):
        yield one.file, one.line
    elif one.line is None:
        yield whole, None
    else:
        yield from records.origins(one.line, last or one.line)


def _with(report: VerifyReport, findings: Sequence[Finding]) -> VerifyReport:
    """Return a report with more findings."""
    more = (replace(one, hint=one.hint or HINTS[one.code]) for one in findings)
    every = sorted((*report.findings, *more), key=lambda one: (one.file or "", one.line or 0, one.seq or 0, one.code))
    return replace(report, findings=tuple(every), outcome=outcome_of(every))


# Records against their log.


class _Comparison:
    """Holds records against the log that they are said to be of."""

    def __init__(self, records: _Records, verifier: Verifier, report: VerifyReport) -> None:
        self._records = records
        self._database = records.database
        self._verifier = verifier
        self._log = report
        self._streams = {stream.stream: stream for stream in report.streams}

    def report(self, folders: Sequence[Path]) -> VerifyReport:
        """Return the report of the log with what is to be said of the records."""
        self._database.execute("CREATE INDEX places ON records (stream, seq)")
        wanted = self._wanted()
        for scope in take_stock(folders):
            for segment in scope.segments:
                self._look_up(segment.path, wanted)
        findings, suppressed = self._judge_unknown()
        joined = replace(
            self._log,
            notes=(*self._log.notes, *self._notes()),
            files=(*self._log.files, *self._records.file_reports()),
            suppressed=self._log.suppressed + suppressed,
        )
        return _with(joined, [*self._records.problems(), *findings])

    def _wanted(self) -> dict[str, tuple[int, int]]:
        """Return the least and the greatest seq of the records of each stream."""
        rows = self._database.execute(
            "SELECT stream, MIN(seq), MAX(seq) FROM records WHERE stream IS NOT NULL GROUP BY stream"
        )
        return {stream: (low, high) for stream, low, high in rows}

    def _look_up(self, path: Path, wanted: Mapping[str, tuple[int, int]]) -> None:
        """Mark the records that are entries of a segment, and those in whose place it has others."""
        self._database.execute("BEGIN")
        for stream, seq, digest in _entries(path):
            low, high = wanted.get(stream, (1, 0))
            if low <= seq <= high:
                self._database.execute(_MARK, (digest, _HELD, _HERE, stream, seq))
        self._database.execute("COMMIT")

    def _judge_unknown(self) -> tuple[list[Finding], int]:
        """Return what is wrong with the records that are not in the log, and how many findings are not kept."""
        findings: list[Finding] = []
        counts: Counter[tuple[Code, str | None]] = Counter()
        suppressed = 0
        rows = self._database.execute(
            "SELECT stream, seq, file, number, start, size, known FROM records WHERE known < ? ORDER BY file, number",
            (_HELD,),
        )
        for stream, seq, file, number, start, size, known in rows:
            line = self._records.line(start, size)
            code, text = self._judge(line, seq, self._streams.get(stream or ""), other=known == _HERE)
            finding = Finding(code, text, self._records.files[file].name, number, seq)
            if not append_finding(findings, finding, counts):
                suppressed += 1
        return findings, suppressed

    def _judge(self, line: bytes, seq: int | None, stream: StreamReport | None, *, other: bool) -> tuple[Code, str]:
        alone = self._verifier.verify_chain([line]).findings
        defect = next((one for one in alone if one.code.outcome is Outcome.TAMPERED), None)
        if defect is not None or seq is None:
            return (Code.LINE_MALFORMED, "no record") if defect is None else (defect.code, defect.message)
        if other:
            return Code.SEQ_REPEAT, "another entry than the one that the log has in this place"
        if stream is None:
            return Code.STREAM_MISSING, "the log has nothing of the stream of this record"
        if seq < stream.first_seq:
            return Code.ENTRIES_MISSING, f"the log begins later, at seq {stream.first_seq}"
        unread = any(one.code is Code.UNREADABLE for one in self._log.findings)
        if unread or not self._verifier.verify_record(line):
            return Code.ENTRIES_MISSING, "the log has no entry in the place of this record"
        return (
            Code.SEGMENT_MISSING,
            "the log lacks the entry of this record: it was removed, or the log is an older copy",
        )

    def _notes(self) -> Iterator[Note]:
        rows = self._database.execute(
            "SELECT file, stream, COUNT(*), MIN(seq), MAX(seq) FROM records WHERE known = ? GROUP BY file, stream",
            (_HELD,),
        )
        for file, stream, count, low, high in rows:
            text = f"{format_count(count, 'record')} that the log has: stream {stream}, between seq {low} and {high}"
            yield Note(NoteCode.OVERLAP, text, self._records.files[file].name)


def _entries(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield stream, seq and digest of the lines of a segment; what is wrong with it is said elsewhere."""
    if not path.exists():
        # A writer may have compressed it since.
        path = next((other for end in (".gz", ".zst") if (other := Path(f"{path}{end}")).exists()), path)
    try:
        with open_source(path) as source:
            for block in whole_lines(source.chunks()):
                for line in block.data.splitlines(keepends=True) if block.kind == "lines" else ():
                    try:
                        entry = split(line)[1]
                    except FormatError:
                        continue
                    yield entry.stream, entry.seq, sha256(line).digest()
    except SourceError:
        return
