"""`fapilog-audit stats`: what a folder holds, in numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Folder,
    Form,
    JsonAlias,
    NoColor,
    Output,
    Quiet,
    check_folder,
    reading_reported,
)
from fapilog_audit.cli.query import tell_unreadable
from fapilog_tamper.cli.output import Exit, Format, errors_reported, format_count, format_size, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.text import Text

    from fapilog_audit.reading import FolderStats

__all__ = ["stats"]


def stats(
    folder: Folder = DEFAULT_FOLDER,
    *,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Count the events of a folder by type, level and stream.

    Every line is read. The trail's own folder counts, never those in it.

    \b
    Examples:
      fapilog-audit stats
      fapilog-audit stats audit_logs/ -f json | jq .by_type

    \b
    Exit codes:
      0 done   2 usage   3 something could not be read   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_audit.cli.tables import deliver_report
        from fapilog_audit.reading import folder_stats

        check_folder(folder)
        with reading_reported():
            found = folder_stats(folder)
        given = Format.JSON if as_json else form
        lines = _lines(folder, found)
        deliver_report(_members(found), lines, form=given, output=output, read=[folder], no_color=no_color)
        if not (found.events or quiet):
            say(f"There is no event in {folder}.")
        tell_unreadable(found.unreadable)
        raise typer.Exit(Exit.INCOMPLETE if found.unreadable else Exit.DONE)


def _members(found: "FolderStats") -> dict[str, Any]:
    from dataclasses import asdict

    members: dict[str, Any] = asdict(found)
    return members | {"first_time": _time(found.first_time), "last_time": _time(found.last_time)}


def _time(moment: "datetime | None") -> str | None:
    from fapilog_audit.stamp import format_time

    return None if moment is None else format_time(moment)


def _lines(folder: Path, found: "FolderStats") -> "Iterator[Text]":
    from fapilog_audit.cli.tables import heading, plain, table

    counts = (
        format_count(found.events, "event"),
        format_count(found.streams, "stream"),
        format_count(found.segments, "segment"),
    )
    yield heading(f"{folder}: {counts[0]} of {counts[1]} in {counts[2]}, {format_size(found.bytes)}")
    if found.first_time is not None:
        yield plain(f"from {_time(found.first_time)} to {_time(found.last_time)}")
    if found.control_entries:
        yield plain(f"and {format_count(found.control_entries, 'entry', 'entries')} of the sealed log itself")
    for title, numbers in (("types", found.by_type), ("levels", found.by_level), ("streams", found.by_stream)):
        longest = max((len(f"{count:,}") for count in numbers.values()), default=0)
        ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
        yield from table(title, [(f"{count:,}".rjust(longest), name) for name, count in ordered])
