"""Tables of text, and a report that goes to stdout or to a file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.cli.output import Format, check_output, printable, render, use_colour, write_file, write_stdout

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["deliver_report", "heading", "plain", "table"]

_SCHEMA_VERSION: Final = "1.0"


def heading(text: str, style: str = "bold") -> "Text":
    """Return a line that stands out."""
    from rich.text import Text

    return Text(printable(text), style)


def plain(text: str = "") -> "Text":
    """Return a line."""
    from rich.text import Text

    return Text(printable(text))


def table(title: str, rows: Iterable[Sequence[object]]) -> "Iterator[Text]":
    """Give an empty line, a title and its rows, their cells under each other; nothing where there are no rows."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        return
    yield Text()
    yield heading(title)
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield Text(f"  {'  '.join(padded).rstrip()}")


def deliver_report(
    members: dict[str, object],
    lines: "Iterable[Text]",
    *,
    form: Format,
    output: Path | None,
    read: Sequence[Path],
    no_color: bool,
) -> None:
    """Write a report to where it is wanted.

    Args:
        members: its JSON, without `schema_version`.
        lines: its text.
        form: which of the two.
        output: a file, else stdout.
        read: what the command reads: nothing is written there.
        no_color: no colours.
    """
    if output is not None:
        check_output(output, read, [])
    if form is Format.JSON:
        text = f"{json.dumps({'schema_version': _SCHEMA_VERSION, **members}, indent=2)}\n"
    else:
        text = render(list(lines), colour=output is None and use_colour(no_color=no_color))
    if output is None:
        write_stdout(text, "utf-8" if form is Format.JSON else None)
    else:
        write_file(output, text)
