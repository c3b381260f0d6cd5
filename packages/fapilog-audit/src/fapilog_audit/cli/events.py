"""Events in the forms of the command line: a line of text each, JSON, JSON Lines, and the sealed lines."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.cli.options import EventForm
from fapilog_audit.stamp import format_time
from fapilog_tamper.cli.output import printable, render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.text import Text

    from fapilog_audit.cli.out import Out
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading import Query

__all__ = ["BLOCK", "EventWriter", "event_blocks", "event_members"]

BLOCK: Final = 256
"""Events that are written at once."""

_SCHEMA_VERSION: Final = "1.0"

_LEVEL_STYLES: Final = {
    "debug": "dim",
    "info": "",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
    "security": "bold magenta",
}

_LONGEST: Final = 200
_WIDEST: Final = 60
"""Cells that a column is widened to; what is longer moves the rest of its line."""
_NOTHING: Final = "-"
_DEEPEST: Final = 64
"""Levels of brackets that any reader of JSON takes."""


def event_blocks(folder: "Path", query: "Query", unreadable: Callable[[], object]) -> "Iterator[list[AuditEvent]]":
    """Yield all events of a query in blocks, as they are found; `unreadable` is called for a line that holds none."""
    from fapilog_audit.reading import iter_events

    events = iter_events(folder, query, unreadable=unreadable)
    while block := list(islice(events, BLOCK)):
        yield block


class EventWriter:
    """Writes events as they are found; `count` is how many were written."""

    def __init__(self, out: "Out", form: EventForm, *, colour: bool) -> None:
        self._out = out
        self._form = form
        self._colour = colour
        self._widths: list[int] = []
        self.count = 0

    def begin(self) -> None:
        """Write what stands before the events."""
        if self._form is EventForm.JSON:
            self._out.write(f'{{"schema_version": "{_SCHEMA_VERSION}", "events": [', "utf-8")

    def add(self, events: Sequence["AuditEvent"]) -> bool:
        """Write events; tell whether more is taken."""
        if not events:
            return True
        if self._form is EventForm.LINE:
            self.count += len(events)
            return self._out.write_bytes(b"".join(event.sealed_line or b"" for event in events))
        if self._form is EventForm.TEXT:
            self.count += len(events)
            return self._out.write(render(self._rows(events), colour=self._colour))
        pieces = []
        for event in events:
            text = json.dumps(event_members(event))
            if self._form is EventForm.JSON:
                text = f"{',' if self.count else ''}\n{text}"
            else:
                text += "\n"
            self.count += 1
            pieces.append(text)
        return self._out.write("".join(pieces), "utf-8")

    def end(self, **members: object) -> None:
        """Write what stands behind the events; `members` go into the JSON object."""
        if self._form is EventForm.JSON:
            rest = json.dumps(members)[1:]
            self._out.write(f"{chr(10) if self.count else ''}], {rest}\n", "utf-8")

    def _rows(self, events: Iterable["AuditEvent"]) -> list["Text"]:
        from rich.cells import cell_len
        from rich.text import Text

        rows = [_cells(event) for event in events]
        # Columns of later blocks are as wide as those before them, or wider.
        known = self._widths or [0] * len(rows[0])
        columns = zip(*rows, strict=True)
        self._widths = [
            max(width, *(min(cell_len(cell), _WIDEST) for cell in column))
            for width, column in zip(known, columns, strict=True)
        ]
        return [_row(Text, cell_len, row, self._widths) for row in rows]


def _row(text: "type[Text]", cell_len: Callable[[str], int], row: Sequence[str], widths: Sequence[int]) -> "Text":
    line = text()
    last = len(row) - 1
    for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
        padding = "" if at == last else " " * (max(0, width - cell_len(cell)) + 2)
        line.append(cell, _LEVEL_STYLES.get(cell, "") if at == 1 else None)
        line.append(padding)
    return line


def _cells(event: "AuditEvent") -> tuple[str, ...]:
    cells = (
        format_time(event.timestamp),
        str(event.log_level),
        str(event.event_type),
        event.user_id or event.actor or _NOTHING,
        event.message,
        event.outcome or _NOTHING,
        event.event_id or _NOTHING,
    )
    return tuple(printable(cell, _LONGEST) for cell in cells)


def event_members(event: "AuditEvent") -> dict[str, Any]:
    """Return what the stored line says, its integrity block included; an entry of the log itself in words of events.

    Of a line that is nested deeper than programs read JSON, the line as text stands for what it holds.
    """
    line = event.sealed_line or b"{}"
    stored = _parse(line)
    if stored is None:
        told = ("event_id", "event_type", "log_level", "message")
        rest = {"timestamp": format_time(event.timestamp), "line": line.decode("utf-8", "backslashreplace")}
        return {name: str(getattr(event, name)) for name in told} | rest
    if not event.is_control:
        return stored
    return {**event.to_members(), "integrity": stored.get("integrity")}


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the members of a line, None where they are nested too deep. What JSON has no number for stays text."""
    try:
        members: dict[str, Any] = json.loads(line, parse_constant=str, parse_float=_real)
    except RecursionError:
        return None
    # Lines of a trail have few brackets: most are not walked through.
    return None if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(members) > _DEEPEST else members


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inner for item in items]
    return depth


def _real(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text
