"""The text of a report: the verdict first, then what it rests on, then what a reader must know."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from fapilog_tamper.cli.output import format_count, format_size, printable
from fapilog_tamper.verify.report import HINTS, FileReport, Finding, Note, Outcome, StreamReport, VerifyReport

__all__ = ["FEW", "report_lines", "verdict_line"]

FEW: Final = 20
"""Findings, notes and the like that are shown one by one; the others are counted."""

_STYLES: Final = {Outcome.INTACT: "bold green", Outcome.TAMPERED: "bold red", Outcome.UNDETERMINED: "bold yellow"}
_HEADING: Final = "bold"
_FAINT: Final = "dim"


def verdict_line(report: VerifyReport, *, interrupted: bool = False) -> Text:
    """Return the verdict and, in short, what it is about."""
    counts = (
        format_count(report.entries, "entry", "entries"),
        format_count(len(report.streams), "stream"),
        format_count(len(report.files), "file"),
    )
    total = len(report.findings) + report.suppressed
    findings = f"{format_count(total, 'finding')} in " if total else ""
    line = Text()
    line.append(report.outcome.upper(), _STYLES[report.outcome])
    line.append(f"  {findings}{counts[0]} of {counts[1]} in {counts[2]}")
    if interrupted:
        line.append("; interrupted, this is what was checked so far")
    elif report.outcome is Outcome.UNDETERMINED:
        line.append("; nothing proves a change, but not everything could be checked")
    return line


def report_lines(report: VerifyReport, *, verbose: bool) -> list[Text]:
    """Return the report behind its verdict line.

    Args:
        report: what was found.
        verbose: all findings and notes, and every file.
    """
    return [
        *_finding_lines(report, verbose=verbose),
        *_section("notes", [_note(note) for note in report.notes], verbose=verbose),
        *_section("streams", [_stream(stream) for stream in report.streams], verbose=verbose),
        *(_section("files", [_file(file) for file in report.files], verbose=True) if verbose else ()),
        *_section("not checked", [printable(text) for text in report.not_checked], verbose=verbose),
        Text(),
        Text(_totals(report), _FAINT),
    ]


def _finding_lines(report: VerifyReport, *, verbose: bool) -> Iterator[Text]:
    # A reader who sees only the first must see the gravest.
    findings = sorted(report.findings, key=lambda one: one.code.outcome is not Outcome.TAMPERED)
    shown = findings if verbose else findings[:FEW]
    for finding in shown:
        yield Text()
        yield from _finding(finding)
    left = len(findings) - len(shown)
    if left:
        codes = Counter(finding.code.value for finding in findings[len(shown) :])
        listed = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        yield Text()
        yield Text(f"and {format_count(left, 'more finding')}: {listed}. -v shows all of them.", _HEADING)
    if report.suppressed:
        yield Text()
        yield Text(f"and {format_count(report.suppressed, 'more finding')} that were counted and not kept.", _HEADING)


def _finding(finding: Finding) -> Iterator[Text]:
    line = Text()
    line.append(finding.code.value, _STYLES[finding.code.outcome])
    if finding.file is not None:
        line.append(f"  {printable(finding.place())}")
    if finding.seq is not None:
        line.append(f"  seq {finding.seq}")
    yield line
    yield Text(f"  {printable(finding.message)}")
    for name, value in (("expected", finding.expected), ("found", finding.found)):
        if value is not None:
            yield Text(f"  {name + ':':9} {printable(value)}")
    yield Text(f"  hint:     {printable(finding.hint or HINTS[finding.code])}", _FAINT)


def _section(title: str, items: Sequence[str], *, verbose: bool) -> Iterator[Text]:
    if not items:
        return
    yield Text()
    yield Text(title, _HEADING)
    shown = items if verbose else items[:FEW]
    for item in shown:
        yield Text(f"  {item}")
    if len(shown) < len(items):
        yield Text(f"  and {len(items) - len(shown):,} more; -v shows all of them.")


def _note(note: Note) -> str:
    place = "" if note.file is None else f" ({printable(note.file)}{'' if note.line is None else f':{note.line}'})"
    return f"{note.code.value}: {printable(note.message)}{place}"


def _stream(stream: StreamReport) -> str:
    if stream.authenticated_through:
        keys = ", ".join(printable(key_id) for key_id in stream.key_ids)
        through = f"authenticated through seq {stream.authenticated_through} (keys: {keys})"
    else:
        through = "not authenticated"
    end = "nobody" if stream.end_attested_by is None else stream.end_attested_by
    return (
        f"{printable(stream.stream)}: seq {stream.first_seq}..{stream.last_seq}, "
        f"{format_count(stream.entries, 'entry', 'entries')} in {format_count(stream.segments, 'segment')}; {through}; "
        f"end attested by {end}"
    )


def _file(file: FileReport) -> str:
    held = "no entry" if file.stream is None else f"{printable(file.stream)} seq {file.first_seq}..{file.last_seq}"
    size = format_size(file.size_bytes)
    entries = format_count(file.entries, "entry", "entries")
    return f"{printable(file.file)}: {held}, {entries}, {size}, checked: {file.checked}"


def _totals(report: VerifyReport) -> str:
    rate = f" ({report.entries / report.duration:,.0f} entries/s)" if report.duration > 0 and report.entries else ""
    size = format_size(report.size_bytes)
    return f"{format_count(report.entries, 'entry', 'entries')}, {size} in {report.duration:.2f} s{rate}"
