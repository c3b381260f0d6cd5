"""The options that several commands have, and the folder that they all read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from fapilog_audit.errors import ConfigError
from fapilog_tamper.cli.output import Exit, Format, fail, io_errors_reported, parse_path

__all__ = [
    "DEFAULT_FOLDER",
    "Component",
    "Control",
    "Cursor",
    "EventForm",
    "Folder",
    "Form",
    "JsonAlias",
    "Keys",
    "Levels",
    "NoColor",
    "Output",
    "Quiet",
    "Request",
    "Since",
    "Tenant",
    "TextFilter",
    "Trust",
    "Types",
    "Until",
    "User",
    "check_folder",
    "reading_reported",
]

DEFAULT_FOLDER: Final = Path("audit_logs")


class EventForm(StrEnum):
    """How events are written."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    LINE = "line"


Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", parser=parse_path, help="The folder of the trail."),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: RFC 3339, 15m, 2h, 7d (ago), today, yesterday. All in UTC."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Up to then; a day counts to its end.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type. May be given again.")
]
Levels = Annotated[
    list[str] | None, typer.Option("--level", metavar="LEVEL", help="Only events of this level. May be given again.")
]
User = Annotated[str | None, typer.Option(metavar="ID", help="Only events with this user_id.")]
Component = Annotated[str | None, typer.Option(metavar="NAME", help="Only events of this component.")]
Request = Annotated[str | None, typer.Option(metavar="ID", help="Only events with this request_id.")]
Tenant = Annotated[str | None, typer.Option(metavar="ID", help="Only events with this tenant_id.")]
TextFilter = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Only events that hold this text, in capitals or not.")
]
Control = Annotated[bool, typer.Option("--control", help="Entries of the sealed log itself, too.")]
Cursor = Annotated[str | None, typer.Option(metavar="WORD", help="Go on where an earlier query ended.")]
Form = Annotated[Format, typer.Option("--format", "-f", help="How to write it.")]
JsonAlias = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write to a file.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="URI", help="A key to trust: env:VAR or file:PATH[?kid=K&alg=A]. May be given again."
    ),
]
Trust = Annotated[
    Path | None,
    typer.Option(metavar="FILE", parser=parse_path, help="A trust file: keys, and for which streams and seqs."),
]


def check_folder(folder: Path) -> None:
    """End the command if there is no such folder, or it may not be listed."""
    try:
        with os.scandir(folder):
            return
    except FileNotFoundError:
        fail(f"{folder} is not there.", "Name the folder of the trail: its storage_path, audit_logs unless set.")
    except NotADirectoryError:
        fail(f"{folder} is not a folder.", "Name the folder of the trail; for one file there is fapilog-tamper.")
    except OSError as error:
        fail(f"{folder} cannot be read: {error.strerror}.", "Give yourself the right to.", Exit.INCOMPLETE)


@contextmanager
def reading_reported() -> Iterator[None]:
    """Turn what cannot be read into one clear line and its exit code; the arguments were accepted before."""
    with io_errors_reported():
        try:
            yield
        except ConfigError as error:
            fail(error.message, error.hint, Exit.INCOMPLETE)
