"""`fapilog-audit import`: seals the files of an old trail."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fapilog_audit.cli.options import Form, JsonAlias, NoColor, Output, Quiet
from fapilog_audit.errors import StorageError
from fapilog_tamper.cli.output import Exit, Format, errors_reported, fail, format_count, format_size, parse_path, say
from fapilog_tamper.cli.progress import watched_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from fapilog_audit.importing import ImportReport

__all__ = ["import_old"]

_FEW: Final = 20
_STYLES: Final = {"valid": "bold green", "broken": "bold red"}


def import_old(  # noqa: PLR0913 (every option has a name)
    old: Annotated[
        Path, typer.Argument(metavar="OLD", parser=parse_path, help="The folder of the old trail; it is only read.")
    ],
    *,
    new: Annotated[
        Path, typer.Option("--to", metavar="NEW", parser=parse_path, help="The folder of the new log, made or empty.")
    ],
    key: Annotated[
        str | None, typer.Option(metavar="URI", help="The key to seal with: env:VAR or file:PATH. Without it: unkeyed.")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", metavar="DIR", parser=parse_path, help="Where the head is put, not in NEW."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only judge the old trail; nothing is written.")] = False,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Seal the files of an old trail as they were found, and record the verdict of their own chain.

    For the trails of fapilog.core.audit and of an earlier fapilog-audit: audit_YYYY-MM-DD.jsonl. Whatever that verdict
    is, everything is sealed: it stands in the new log, and is printed.

    \b
    Examples:
      fapilog-audit import old_logs/ --to audit_logs/ --dry-run
      fapilog-audit import old_logs/ --to audit_logs/ --key file:audit.jwk -o import-report.txt
      fapilog-audit verify audit_logs/ --key file:audit.jwk

    \b
    Exit codes:
      0 all was sealed, whatever the verdict   2 usage   3 something was left out, or not finished   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_audit.cli.tables import deliver_report

        report = _run(old, new, key, state_dir, dry_run=dry_run, quiet=quiet, no_color=no_color)
        members = report.to_dict()
        given = Format.JSON if as_json else form
        lines = _lines(old, new, report, keyed=key is not None)
        deliver_report(members, lines, form=given, output=output, read=[old, new], no_color=no_color)
        raise typer.Exit(Exit.INCOMPLETE if report.left_out else Exit.DONE)


def _run(
    old: Path,
    new: Path,
    key: str | None,
    state_dir: Path | None,
    *,
    dry_run: bool,
    quiet: bool,
    no_color: bool,
) -> "ImportReport":
    from fapilog_audit.importing import import_folder

    doing = "judging" if dry_run else "importing"
    try:
        with watched_progress(quiet=quiet, no_color=no_color, doing=doing) as progress:
            return import_folder(old, new, key=key, state_dir=state_dir, dry_run=dry_run, progress=progress)
    except StorageError as error:
        fail(error.message, error.hint, Exit.INCOMPLETE)
    except KeyboardInterrupt:
        say("error: interrupted; the import is not finished.")
        if not dry_run:
            say(f"hint: An import cannot be continued: take {new} away, and import once more.")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _lines(old: Path, new: Path, report: "ImportReport", *, keyed: bool) -> "Iterator[Text]":
    from fapilog_audit.cli.tables import heading, plain, table

    files = format_count(len(report.files), "file")
    if report.dry_run:
        yield heading(f"{old}: {files} could be imported; nothing was written")
    else:
        entries = format_count(report.entries, "entry", "entries")
        yield heading(f"{old}: {files} sealed as {entries} in {new}{'' if keyed else ', unkeyed'}")
    yield plain()
    yield heading(f"The old chain was found {report.verdict.upper()}", _STYLES.get(report.verdict, "bold yellow"))
    yield plain(report.caveat)
    rows = [
        (one.name, one.verdict, format_count(one.lines, "line"), format_size(one.size_bytes), f"sha256 {one.sha256}")
        for one in report.files
    ]
    yield from table("files", rows)
    yield from table("problems", [(text,) for text in report.problems[:_FEW]])
    if len(report.problems) > _FEW:
        yield plain(f"  and {len(report.problems) - _FEW:,} more; -f json has all of them.")
    yield from table("left out", [(one.name, one.reason) for one in report.left_out])
    if report.chain_hash is not None:
        yield plain()
        yield plain(f"The new log ends with chain hash {report.chain_hash}.")
