"""`fapilog-audit export`: events for somebody else, oldest first."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapilog_audit.cli.asking import build_query
from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Component,
    Control,
    Folder,
    Levels,
    NoColor,
    Quiet,
    Request,
    Since,
    Tenant,
    TextFilter,
    Types,
    Until,
    User,
    check_folder,
    reading_reported,
)
from fapilog_audit.cli.query import tell_unreadable
from fapilog_tamper.cli.output import Exit, errors_reported, fail, format_count, parse_path, say
from fapilog_tamper.cli.progress import watched_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_audit.cli.out import Out
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading import Query

__all__ = ["export"]


class ExportForm(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    CSV = "csv"


def export(  # noqa: PLR0913 (every option has a name)
    folder: Folder = DEFAULT_FOLDER,
    *,
    form: Annotated[ExportForm, typer.Option("--format", "-f", help="The sealed lines, or a table.")] = (
        ExportForm.JSONL
    ),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write to a new file."),
    ] = None,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    levels: Levels = None,
    user: User = None,
    component: Component = None,
    request: Request = None,
    tenant: Tenant = None,
    text: TextFilter = None,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="At most so many events; 0 is all.")] = 0,
    control: Control = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Export events, all of them unless filtered, the oldest first.

    jsonl is the sealed lines byte for byte: fapilog-tamper verify FILE --export verifies them. With --control a full
    export has every entry, so that nothing is missing between its lines. csv has one header for all events; metadata
    and the like are JSON in a cell, and a cell that a spreadsheet would take for a formula begins with an apostrophe.
    The file of -o must not exist, and gets its name only when it is whole.

    \b
    Examples:
      fapilog-audit export --control -o all.jsonl
      fapilog-tamper verify all.jsonl --export --key file:audit.jwk
      fapilog-audit export audit_logs/ --format csv --since 2026-11-01 --until 2026-11-30 -o november.csv

    \b
    Exit codes:
      0 done   2 usage   3 something could not be read, and is not in the export   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        asked = build_query(
            since=since,
            until=until,
            types=types,
            levels=levels,
            user=user,
            component=component,
            request=request,
            tenant=tenant,
            text=text,
            control=control,
            limit=limit,
            newest_first=False,
        )
        check_folder(folder)
        run = _Export(folder, asked, form)
        _write(run, output, quiet=quiet, no_color=no_color)
        if not quiet:
            where = "" if output is None else f" to {output}"
            say(f"exported {format_count(run.count, 'event')}{where}")
        tell_unreadable(run.unreadable)
        raise typer.Exit(Exit.INCOMPLETE if run.unreadable else Exit.DONE)


def _write(run: "_Export", output: Path | None, *, quiet: bool, no_color: bool) -> None:
    from fapilog_audit.cli.out import open_out

    try:
        with (
            open_out(output, run.folder) as out,
            watched_progress(quiet=quiet or output is None, no_color=no_color, doing="exporting") as tick,
            reading_reported(),
        ):
            run.write(out, tick)
    except KeyboardInterrupt:
        kept = f"{output} was not made" if output is not None else "what was written so far is not all"
        fail(f"interrupted after {format_count(run.count, 'event')}; {kept}.", code=Exit.INTERRUPTED)


class _Export:
    """One export, and what is known at its end."""

    def __init__(self, folder: Path, query: "Query", form: ExportForm) -> None:
        self.folder = folder
        self._query = query
        self._form = form
        self.count = 0
        self.unreadable = 0

    def write(self, out: "Out", tick: "Callable[[int, int], None] | None") -> None:
        """Write all; `tick` is told the bytes of the lines that are done, and of those of the folder."""
        from fapilog_audit.cli.events import event_blocks

        if self._form is ExportForm.CSV:
            from fapilog_audit.cli.cells import csv_header

            out.write_bytes(csv_header().encode())
        total = 0 if tick is None else self._stored_bytes()
        done = 0
        for block in event_blocks(self.folder, self._query, self._skip):
            self.count += len(block)
            if not out.write_bytes(self._bytes(block)):
                return
            if tick is not None:
                done += sum(len(event.sealed_line or b"") for event in block)
                tick(done, max(total, done))

    def _stored_bytes(self) -> int:
        from fapilog_audit.reading.folder import find_streams

        return sum(segment.stored_bytes() for segments in find_streams(self.folder).values() for segment in segments)

    def _skip(self) -> None:
        self.unreadable += 1

    def _bytes(self, block: "list[AuditEvent]") -> bytes:
        if self._form is ExportForm.JSONL:
            return b"".join(event.sealed_line or b"" for event in block)
        from fapilog_audit.cli.cells import csv_rows

        return csv_rows(block).encode("utf-8", "backslashreplace")
