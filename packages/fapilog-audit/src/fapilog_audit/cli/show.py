"""`fapilog-audit show`: everything about one event."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Folder,
    Form,
    JsonAlias,
    Keys,
    NoColor,
    Output,
    check_folder,
    reading_reported,
)
from fapilog_tamper.cli.output import Exit, Format, errors_reported, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from fapilog_audit.event import AuditEvent
    from fapilog_tamper.keys import Keyring

__all__ = ["show"]

_SHORTEST: Final = 8
_FEW: Final = 5
_NOT_CHECKED: Final = "not checked"
_STYLES: Final = {"intact": "bold green", "tampered": "bold red"}


def show(
    event_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id of an event, or its first 8 characters or more.")
    ],
    folder: Folder = DEFAULT_FOLDER,
    *,
    keys: Keys = None,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Show one event: what it says, its place in the chain, and whether it verifies alone.

    Alone means: its line is what was sealed. Whether anything before or behind it is missing is for verify. Without a
    key, a keyed event is shown and not checked.

    \b
    Examples:
      fapilog-audit show 01a1ff01-fd42-7dfe-abd5-4ed8ef63a68b
      fapilog-audit show 01a1ff01-fd42 audit_logs/ --key file:audit.jwk
      fapilog-audit show 01a1ff01-fd42 --json | jq .event.metadata

    \b
    Exit codes:
      0 shown   1 the event was changed   2 usage, or no such event   3 not checked, though keys were given
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_audit.cli.events import event_members
        from fapilog_audit.cli.tables import deliver_report

        if len(event_id) < _SHORTEST:
            fail(f"{event_id!r} is too short.", f"Give at least {_SHORTEST} characters of the id.")
        keyring = _open_keys(keys)
        check_folder(folder)
        with reading_reported():
            event = _find(folder, event_id)
            place = _Place(_file_of(folder, event), *_check(event, keyring))
        members = event_members(event)
        block = members.pop("integrity", None)
        report: dict[str, object] = {
            "event": members,
            "integrity": block,
            "file": place.file,
            "check": {"outcome": place.outcome, "message": place.message},
        }
        lines = _lines(members, event, place)
        given = Format.JSON if as_json else form
        deliver_report(report, lines, form=given, output=output, read=[folder], no_color=no_color)
        raise typer.Exit(_exit_code(place.outcome, keyring))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an event stands, and what looking at it alone says."""

    file: str | None
    outcome: str
    message: str


def _open_keys(uris: list[str] | None) -> "Keyring | None":
    if not uris:
        return None
    from fapilog_tamper.keys import Keyring

    return Keyring(uris)


def _find(folder: Path, event_id: str) -> "AuditEvent":
    from fapilog_audit.reading import Query, find_event, iter_events

    found = find_event(folder, event_id)
    if found is not None:
        return found
    # Ids are in the text of an event, so lines without these characters are not even parsed.
    wanted = Query(text=event_id, limit=None, newest_first=False)
    begun = {event.event_id: event for event in iter_events(folder, wanted) if event.event_id.startswith(event_id)}
    if not begun:
        fail(f"no event of {folder} has the id {event_id}.", "Look for it: fapilog-audit query --text WORD.")
    if len(begun) > 1:
        listed = ", ".join(list(begun)[:_FEW])
        fail(f"{len(begun)} events have an id that begins with {event_id}: {listed}.", "Give more of the id.")
    return begun.popitem()[1]


def _file_of(folder: Path, event: "AuditEvent") -> str | None:
    """Return the name of the segment: the last of the stream that begins with this seq or one before."""
    from fapilog_audit.reading.folder import find_streams

    seq = event.sequence_number or 0
    for segment in reversed(find_streams(folder).get(event.stream or "", [])):
        if segment.first is not None and segment.first.seq <= seq:
            return segment.name
    return None


def _check(event: "AuditEvent", keyring: "Keyring | None") -> tuple[str, str]:
    """Return the outcome for one event, and what to say of it."""
    from fapilog_tamper.verify.log import verify_lines
    from fapilog_tamper.verify.report import Outcome

    report = verify_lines([event.sealed_line or b""], keyring)
    found = report.findings[0].message if report.findings else ""
    block = event.integrity
    key = None if block is None else block.key_id
    if report.outcome is Outcome.INTACT:
        by = f"its {block.algo if block else ''} holds under the key {key}"
        return "intact", by if key else "it is what was sealed; unkeyed, which anyone can compute anew"
    if report.outcome is Outcome.UNDETERMINED and keyring is None:
        return _NOT_CHECKED, f"it is sealed under the key {key}: give --key to check it"
    return report.outcome.value, found


def _exit_code(outcome: str, keyring: "Keyring | None") -> int:
    if outcome == "tampered":
        return 1
    return Exit.INCOMPLETE if outcome == "undetermined" and keyring is not None else Exit.DONE


def _lines(members: dict[str, Any], event: "AuditEvent", place: _Place) -> "Iterator[Text]":
    from fapilog_audit.cli.tables import heading, table
    from fapilog_audit.event import AuditEvent

    yield heading(f"event {event.event_id}" if event.event_id else f"entry {event.sequence_number}")
    known = [name for name in AuditEvent.model_fields if name in members]
    others = sorted(set(members) - set(known))
    nested = [name for name in known if isinstance(members[name], dict)]
    yield from table("says", [(name, _shown(members[name])) for name in [*known, *others] if name not in nested])
    for name in nested:
        yield from table(name, [(key, _shown(value)) for key, value in members[name].items()])
    rows: list[tuple[str, object]] = [
        ("stream", event.stream),
        ("sequence_number", event.sequence_number),
        ("file", place.file or "?"),
        ("previous_hash", event.previous_hash),
        ("checksum", event.checksum),
    ]
    if event.integrity is not None:
        rows += [("algorithm", event.integrity.algo), ("key", event.integrity.key_id or "none: unkeyed")]
    yield from table("sealed", rows)
    yield heading("")
    yield heading(f"{place.outcome.upper()}: {place.message}", _STYLES.get(place.outcome, "bold yellow"))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
