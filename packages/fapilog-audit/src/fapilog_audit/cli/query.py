"""`fapilog-audit query`: the events that match."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from fapilog_audit.cli.asking import build_query
from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Component,
    Control,
    Cursor,
    EventForm,
    Folder,
    JsonAlias,
    Levels,
    NoColor,
    Output,
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
from fapilog_tamper.cli.output import Exit, errors_reported, format_count, say, use_colour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_audit.cli.events import EventWriter
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading import Query

__all__ = ["query", "tell_unreadable"]

_PAGE: Final = 10_000
"""Events that are held at once; a page of packed segments is read from the begin of the segment."""
_LONGEST_CURSOR: Final = 900


def query(  # noqa: PLR0913 (every option has a name)
    folder: Folder = DEFAULT_FOLDER,
    *,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    levels: Levels = None,
    user: User = None,
    component: Component = None,
    request: Request = None,
    tenant: Tenant = None,
    text: TextFilter = None,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="At most so many events; 0 is all.")] = 100,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest events, oldest first.")] = False,
    cursor: Cursor = None,
    control: Control = False,
    form: Annotated[EventForm, typer.Option("--format", "-f", help="How to write events.")] = EventForm.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show events, the newest first.

    All filters must hold. Text has a line for each event: time, level, type, who, message, outcome, id. json is one
    object with the stored lines and the cursor to go on, jsonl has one of them a line, and line is the sealed lines
    byte for byte: fapilog-tamper verify --export verifies them. Takes no lock and needs no key; verifies nothing.

    \b
    Examples:
      fapilog-audit query --since 2h --level error --level critical
      fapilog-audit query audit_logs/ --user u-17 --type data_export --since yesterday
      fapilog-audit query --text invoice --limit 0 -f json | jq '.events[].message'
      fapilog-audit query --request r-9 -f line > r-9.jsonl

    \b
    Exit codes:
      0 done   2 usage   3 something could not be read   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        form = EventForm.JSON if as_json else form
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
            newest_first=not oldest_first,
            cursor=cursor,
        )
        check_folder(folder)
        _show(folder, asked, form, output, quiet=quiet, no_color=no_color)


class _Pages:
    """The events of a query, read page by page, and what is known at its end."""

    def __init__(self, folder: Path, query: "Query") -> None:
        self._folder = folder
        self._query = query
        self.cursor: str | None = None
        self.unreadable = 0

    def blocks(self) -> "Iterator[list[AuditEvent]]":
        """Yield events in blocks."""
        if self._query.limit is None:
            from fapilog_audit.cli.events import event_blocks

            yield from event_blocks(self._folder, self._query, self._count)
            return
        from fapilog_audit.cli.events import BLOCK
        from fapilog_audit.reading import read_events

        left, query = self._query.limit, self._query
        while left:
            page = read_events(self._folder, replace(query, limit=min(left, _PAGE)))
            self.unreadable += page.unreadable
            self.cursor = page.cursor
            left -= len(page)
            for start in range(0, len(page), BLOCK):
                yield page[start : start + BLOCK]
            if page.cursor is None:
                return
            query = replace(query, cursor=page.cursor)

    def _count(self) -> None:
        self.unreadable += 1


def _show(
    folder: Path, asked: "Query", form: EventForm, output: Path | None, *, quiet: bool, no_color: bool
) -> NoReturn:
    from fapilog_audit.cli.events import EventWriter
    from fapilog_audit.cli.out import open_out

    pages = _Pages(folder, asked)
    interrupted = False
    with open_out(output, folder) as out:
        writer = EventWriter(out, form, colour=output is None and use_colour(no_color=no_color))
        writer.begin()
        try:
            with reading_reported():
                for block in pages.blocks():
                    if not writer.add(block):
                        break
        except KeyboardInterrupt:
            if output is not None:
                raise
            interrupted = True
        unreadable = pages.unreadable
        # A second Ctrl-C ends it at once.
        writer.end(cursor=pages.cursor, unreadable=unreadable, interrupted=interrupted)
    if interrupted:
        say(f"error: interrupted; {format_count(writer.count, 'event')} shown so far.")
        raise typer.Exit(Exit.INTERRUPTED)
    if not quiet:
        _tell_more(writer, pages.cursor, form)
    tell_unreadable(unreadable)
    raise typer.Exit(Exit.INCOMPLETE if unreadable else Exit.DONE)


def _tell_more(writer: "EventWriter", cursor: str | None, form: EventForm) -> None:
    if not writer.count:
        say("No event matches.")
    if cursor is None:
        return
    if len(cursor) <= _LONGEST_CURSOR:
        say(f"There may be more. Go on with: --cursor {cursor}")
    elif form is not EventForm.JSON:
        say("There may be more. The cursor to go on is long: -f json has it.")


def tell_unreadable(count: int) -> None:
    """Say that lines were met which hold no event."""
    if count:
        say(f"error: {format_count(count, 'line')} could not be read as events.")
        say("hint: See what they are: fapilog-audit verify FOLDER.")
