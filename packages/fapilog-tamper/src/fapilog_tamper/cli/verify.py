"""`fapilog-tamper verify`: the verdict, and everything that led to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fapilog_tamper.cli.output import (
    Exit,
    Format,
    check_output,
    errors_reported,
    io_errors_reported,
    parse_path,
    render,
    say,
    use_colour,
    write_file,
    write_stdout,
)
from fapilog_tamper.cli.progress import watched_progress
from fapilog_tamper.cli.records import verify_records
from fapilog_tamper.cli.report_text import report_lines, verdict_line
from fapilog_tamper.errors import ConfigError
from fapilog_tamper.keys import Keyring
from fapilog_tamper.verify.log import VerifyInterrupted, verify_path
from fapilog_tamper.verify.report import VerifyReport

__all__ = ["deliver", "run_verification", "verify"]


def verify(  # noqa: PLR0913 (every option has a name)
    *,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", parser=parse_path, help="Files (plain, gzip, zstd) or folders of a log."),
    ],
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="URI", help="A key to trust: env:VAR or file:PATH[?kid=K&alg=A]. May be given again."
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=parse_path, help="A trust file: keys, and for which streams and seqs."),
    ] = None,
    require_manifests: Annotated[
        bool, typer.Option("--require-manifests", help="A segment without a manifest is undetermined.")
    ] = False,
    require_end: Annotated[
        bool, typer.Option("--require-end", help="A stream whose end no head attests is undetermined.")
    ] = False,
    heads: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            metavar="FILE",
            parser=parse_path,
            help="A head kept elsewhere; the log must reach it. Repeatable.",
        ),
    ] = None,
    stream: Annotated[str | None, typer.Option(metavar="NAME", help="Verify this stream only.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every line even where a signed hash would do; look into payloads.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="The files are an extract: sort them; what is missing is undetermined.")
    ] = False,
    records: Annotated[
        bool,
        typer.Option(
            "--records", help="The files hold records that were sent on; the folders are logs to hold them against."
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=0, help="Worker processes; 0 is one a processor.")
    ] = 1,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write the report.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write the report to a file."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict line, and no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="All findings and notes, and every file.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Verify a sealed log.

    Says INTACT, TAMPERED or UNDETERMINED, and why. Trust comes from --key and --trust, never from the log. Without
    them a keyed log is undetermined. Nothing is written where the log lies.

    With --records, files hold what the sealed sink or the enricher sent on, as JSON: one record a line, arrays of them,
    an object around such an array, or any of these written for people. Each is brought back to what was sealed. What is
    missing between them is undetermined; with the folder of the log each must be one of its entries.

    \b
    Examples:
      fapilog-tamper verify logs/ --key file:audit.jwk
      fapilog-tamper verify logs/ --trust trust.json --require-end --jobs 0
      fapilog-tamper verify audit_2026-11-02.jsonl.gz --key env:AUDIT_KEY -f json -o report.json
      fapilog-tamper verify extract.jsonl --export --key file:audit.jwk.pub
      fapilog-tamper verify received.json --records --key file:audit.jwk
      fapilog-tamper verify logs/ received.json --records --key file:audit.jwk

    \b
    Exit codes:
      0 intact   1 tampered   2 usage   3 not everything could be checked   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        if output is not None:
            check_output(output, paths, [*(heads or ()), *([trust] if trust else ())])
        report, interrupted = run_verification(
            paths,
            keys,
            trust,
            require_manifests=require_manifests,
            require_end=require_end,
            heads=heads,
            stream=stream,
            jobs=jobs,
            deep=deep,
            export=export,
            records=records,
            quiet=quiet,
            no_color=no_color,
        )
        deliver(
            report,
            interrupted=interrupted,
            form=Format.JSON if as_json else form,
            output=output,
            quiet=quiet,
            verbose=verbose,
            no_color=no_color,
        )


def run_verification(  # noqa: PLR0913 (the options of the commands that verify)
    paths: Sequence[Path],
    keys: Sequence[str] | None,
    trust: Path | None,
    *,
    heads: Sequence[Path] | None,
    jobs: int,
    quiet: bool,
    no_color: bool,
    require_manifests: bool = False,
    require_end: bool = False,
    stream: str | None = None,
    deep: bool = False,
    export: bool = False,
    records: bool = False,
) -> tuple[VerifyReport, bool]:
    """Return the report, and whether Ctrl-C ended the verification before its time."""
    if records and stream is not None:
        raise ConfigError(
            "--records cannot be used with --stream.", hint="Sort the records out, or leave --stream out."
        )
    keyring = _open_keys(keys or (), trust)
    read = verify_records if records else verify_path
    try:
        with watched_progress(quiet=quiet, no_color=no_color) as progress, io_errors_reported():
            report = read(
                paths,
                keyring=keyring,
                require_manifests=require_manifests,
                require_end=require_end,
                head=heads,
                stream=stream,
                jobs=jobs,
                deep=deep,
                export=export,
                progress=progress,
            )
    except VerifyInterrupted as stopped:
        return stopped.report, True
    return report, False


def _open_keys(uris: Sequence[str], trust: Path | None) -> Keyring | None:
    if trust is None:
        return Keyring(uris) if uris else None
    loaded = Keyring.load(trust)
    return Keyring([*loaded, *uris], origins=loaded.origins)


def deliver(
    report: VerifyReport,
    *,
    interrupted: bool,
    form: Format,
    output: Path | None,
    quiet: bool,
    verbose: bool,
    no_color: bool,
) -> NoReturn:
    """Write the report to where it is wanted, and end the command with its exit code."""
    colour = use_colour(no_color=no_color)
    verdict = verdict_line(report, interrupted=interrupted)
    if form is Format.JSON:
        text = f"{report.to_json()}\n"
    elif quiet and output is None:
        text = render([verdict], colour=colour)
    else:
        lines = [verdict, *report_lines(report, verbose=verbose)]
        text = render(lines, colour=colour and output is None)
    if output is None:
        write_stdout(text, "utf-8" if form is Format.JSON else None)
    else:
        if not quiet:
            # Before the file is written: if that fails, the verdict is known all the same.
            say(verdict.plain)
        write_file(output, text)
    raise typer.Exit(Exit.INTERRUPTED if interrupted else report.outcome.exit_code)
