"""`fapilog-audit tail`: the last events, and those that come."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fapilog_audit.cli.asking import build_query
from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Component,
    Control,
    EventForm,
    Folder,
    JsonAlias,
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
from fapilog_tamper.cli.output import Exit, errors_reported, say, use_colour

if TYPE_CHECKING:
    from fapilog_audit.cli.events import EventWriter
    from fapilog_audit.reading import EventPage, Follower, Query

__all__ = ["tail"]

_POLL: Final = 0.25


def tail(  # noqa: PLR0913 (every option has a name)
    folder: Folder = DEFAULT_FOLDER,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show events as they are written, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="Begin with the last N.")] = 10,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    levels: Levels = None,
    user: User = None,
    component: Component = None,
    request: Request = None,
    tenant: Tenant = None,
    text: TextFilter = None,
    control: Control = False,
    form: Annotated[EventForm, typer.Option("--format", help="How to write events.")] = EventForm.TEXT,
    as_json: JsonAlias = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show the last events, the newest at the end, and follow the trail.

    Filters and forms are those of query. With -f every event of every process that writes to the folder is shown once,
    across new days and new files. Here -f is --follow; the form is --format.

    \b
    Examples:
      fapilog-audit tail -f
      fapilog-audit tail -f -n 0 --level security audit_logs/
      fapilog-audit tail -f --format jsonl | jq -c '{user_id, message}'

    \b
    Exit codes:
      0 done   2 usage   3 something could not be read   130 Ctrl-C, which is how following ends
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
            limit=lines,
        )
        check_folder(folder)
        _show(folder, asked, EventForm.JSON if as_json else form, follow=follow, quiet=quiet, no_color=no_color)


def _show(folder: Path, asked: "Query", form: EventForm, *, follow: bool, quiet: bool, no_color: bool) -> None:
    from fapilog_audit.cli.events import EventWriter
    from fapilog_audit.cli.out import Out

    writer = EventWriter(Out(), form, colour=use_colour(no_color=no_color))
    source = _Source(folder, asked)
    interrupted = False
    writer.begin()
    try:
        with reading_reported():
            source.run(writer, follow=follow)
    except KeyboardInterrupt:
        interrupted = True
    unreadable = source.unreadable
    writer.end(unreadable=unreadable)
    if not (writer.count or quiet or follow):
        say("No event matches.")
    tell_unreadable(unreadable)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    raise typer.Exit(Exit.INCOMPLETE if unreadable else Exit.DONE)


class _Source:
    """The last events of a folder, then those that come: each once."""

    def __init__(self, folder: Path, query: "Query") -> None:
        self._folder = folder
        self._query = query
        self._page: EventPage | None = None
        self._follower: Follower | None = None

    @property
    def unreadable(self) -> int:
        """Lines that hold no event."""
        seen = 0 if self._page is None else self._page.unreadable
        return seen + (0 if self._follower is None else self._follower.unreadable)

    def run(self, writer: "EventWriter", *, follow: bool) -> None:
        """Write the last events, and go on until the reader goes away."""
        from fapilog_audit.reading import EventPage, Follower, read_events
        from fapilog_audit.reading.matching import Matcher

        query = self._query
        follower = None
        if follow:
            # It begins before the last events are read, so that none falls between the two.
            follower = Follower(self._folder, from_end=True, include_control=query.include_control)
        self._page = EventPage() if query.limit is None else read_events(self._folder, query)
        last = list(reversed(self._page))
        if follower is not None:
            begins = follower.positions
            last = [event for event in last if (event.sequence_number or 0) <= begins.get(event.stream or "", 0)]
        more = writer.add(last)
        self._follower = follower
        matcher = Matcher(query)
        while follower is not None and more:
            events = follower.poll()
            more = writer.add([event for event in events if matcher.wants_event(event)])
            if not events:
                time.sleep(_POLL)
