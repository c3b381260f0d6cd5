"""`fapilog-tamper doctor`: whether a logger of fapilog seals what it is given, and what fapilog hides if not."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from fapilog_tamper.cli.output import (
    Exit,
    Format,
    check_apart,
    check_output,
    errors_reported,
    fail,
    format_count,
    parse_path,
    printable,
    render,
    say,
    use_colour,
    write_file,
    write_stdout,
)
from fapilog_tamper.errors import ConfigError, ExamineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.pipeline.doctor.findings import Finding, Report

__all__ = ["doctor"]

_STYLES: Final = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
_VERDICTS: Final = {"faulty": "bold red", "remarks": "bold yellow", "healthy": "bold green"}


def doctor(
    *,
    settings: Annotated[
        str | None,
        typer.Option(
            "--settings",
            metavar="MODULE:ATTR",
            help="Settings or a logger of fapilog, or a function that returns one. The current folder is searched.",
        ),
    ] = None,
    env: Annotated[
        bool, typer.Option("--env", help="The environment, as get_logger() takes it; so unless --settings is given.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write the report.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write the report to a file."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long the logger may take to write the probes.")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict line.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Find out whether a fapilog logger seals what it is given.

    Builds the logger as your service does, sends four events through it, reads the files of the sealed log back and
    verifies them. Reports what fapilog hides: plugins that it leaves out, settings that it ignores, lost events.

    It WRITES into the log that it checks: events with the message "fapilog-tamper doctor probe" stay there. Importing
    MODULE runs its code.

    \b
    Examples:
      fapilog-tamper doctor
      fapilog-tamper doctor --settings shop.logging:settings
      fapilog-tamper doctor --settings shop.logging:make_logger -f json -o report.json

    \b
    Exit codes:
      0 no error found   1 an error found   2 usage   3 the check could not be made   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        if settings is not None and env:
            fail("--settings and --env contradict each other.", "Give one of them.")
        if output is not None:
            check_output(output, (), ())
        report = _examined(settings, timeout)
        text = _text(
            report, Format.JSON if as_json else form, quiet=quiet and output is None, output=output, no_color=no_color
        )
        if output is None:
            write_stdout(text, None if form is Format.TEXT and not as_json else "utf-8")
        else:
            if report.checked.folder is not None:
                check_apart(output, [Path(report.checked.folder)])
            if not quiet:
                say(_verdict(report).plain)
            write_file(output, text)
        raise typer.Exit(report.exit_code)


def _examined(settings: str | None, timeout: float) -> "Report":
    if "" not in sys.path:
        # The command is a script in another folder; `python -m` has this one already.
        sys.path.insert(0, "")
    try:
        from fapilog_tamper.pipeline.doctor.examine import examine
        from fapilog_tamper.pipeline.draining import drain_loggers
    except ImportError as error:
        fail(f"fapilog cannot be imported: {error}.", "Install fapilog 0.18.1 or a later 0.18.", Exit.INCOMPLETE)
    try:
        # What loggers of the module write to stdout would stand in the report.
        with redirect_stdout(sys.stderr):
            report = examine(settings, timeout=timeout)
            drain_loggers(timeout)
    except ConfigError as error:
        fail(error.message, error.hint)
    except ExamineError as error:
        fail(error.message, error.hint, Exit.INCOMPLETE)
    return report


def _text(report: "Report", form: Format, *, quiet: bool, output: Path | None, no_color: bool) -> str:
    if form is Format.JSON:
        return f"{report.to_json()}\n"
    colour = output is None and use_colour(no_color=no_color)
    lines = [_verdict(report)] if quiet else [_verdict(report), *_lines(report)]
    return render(lines, colour=colour)


def _verdict(report: "Report") -> Text:
    counted = [(name, sum(one.severity.value == name for one in report.findings)) for name in _STYLES]
    findings = ", ".join(format_count(count, name) for name, count in counted if count) or "no finding"
    checked = report.checked
    line = Text()
    line.append(report.verdict.upper(), _VERDICTS[report.verdict.value])
    line.append(f"  {findings}; {len(checked.found)} of {format_count(len(checked.sent), 'probe')} in the sealed log")
    if checked.verification is not None:
        line.append(f", which is {checked.verification}")
    return line


def _lines(report: "Report") -> "Iterator[Text]":
    for finding in report.findings:
        yield Text()
        yield from _finding(finding)
    checked = report.checked
    yield Text()
    yield Text("checked", "bold")
    rows = {
        "configuration": checked.configuration,
        "logger": checked.logger,
        "sinks": ", ".join(checked.sinks),
        "enrichers": ", ".join(checked.enrichers),
        "redactors": ", ".join(checked.redactors),
        "filters": ", ".join(checked.filters),
        "sealed log": checked.folder and f"{checked.folder}, stream {checked.stream}, key {checked.key_id or 'none'}",
        "probes": f"sent {', '.join(checked.sent) or 'none'}; found {', '.join(checked.found) or 'none'}",
    }
    for name, value in rows.items():
        yield Text(f"  {name + ':':14} {printable(value or 'none')}")
    if report.not_checked:
        yield Text()
        yield Text("not checked", "bold")
        yield from (Text(f"  {printable(one)}") for one in report.not_checked)


def _finding(finding: "Finding") -> "Iterator[Text]":
    line = Text()
    line.append(finding.code.value, _STYLES[finding.severity.value])
    line.append(f"  {finding.severity.value}")
    yield line
    yield Text(f"  {printable(finding.what)}")
    yield Text(f"  {printable(finding.why)}")
    yield Text(f"  {'fix:':9} {printable(finding.fix)}")
    if finding.env:
        yield Text(f"  {'or set:':9} {printable(finding.env)}")
