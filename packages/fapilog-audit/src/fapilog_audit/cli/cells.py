"""Events as CSV (RFC 4180): one header for all, and no cell that a spreadsheet would take for a formula."""

import csv
import json
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import TYPE_CHECKING, Final

from fapilog_audit.event import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HEADER", "csv_header", "csv_rows"]

_SEALED: Final = ("stream", "sequence_number", "checksum")
_MEMBERS: Final = tuple(AuditEvent.model_fields)
HEADER: Final = (*_MEMBERS, *_SEALED, "other")
"""`other` has, as JSON, the members of a line that this version does not know."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""With these a cell begins that a spreadsheet may compute (CWE-1236)."""


def csv_header() -> str:
    """Return the first line."""
    return _text([HEADER])


def csv_rows(events: "Sequence[AuditEvent]") -> str:
    """Return a line for each event."""
    return _text(_cells(event) for event in events)


def _text(rows: Iterable[Iterable[str]]) -> str:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def _cells(event: AuditEvent) -> Iterator[str]:
    from fapilog_audit.cli.events import event_members

    members = event_members(event)
    members.pop("integrity", None)
    sealed = {name: getattr(event, name) for name in _SEALED}
    for name in _MEMBERS:
        yield _cell(members.pop(name, None))
    for name in _SEALED:
        yield _cell(sealed[name])
    yield _cell(members or None)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text
