"""`fapilog-audit retain`: what is due for the archive or for deletion."""

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fapilog_audit.cli.options import (
    DEFAULT_FOLDER,
    Folder,
    Form,
    JsonAlias,
    NoColor,
    Output,
    check_folder,
    reading_reported,
)
from fapilog_tamper.cli.output import Exit, Format, errors_reported, fail, format_count, format_size, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from fapilog_audit.policy import CompliancePolicy
    from fapilog_audit.retention import RetentionItem

__all__ = ["retain"]

_NOTHING_DONE: Final = "Nothing was moved or deleted: this is a list. Verify the folder before you act on it."
_TITLES: Final = {"delete": "due for deletion", "archive": "due for the archive"}


def retain(  # noqa: PLR0913 (every option has a name)
    folder: Folder = DEFAULT_FOLDER,
    *,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=parse_path, help="A policy, as .json or .toml; its days count."),
    ] = None,
    retention_days: Annotated[
        int | None, typer.Option("--retention-days", metavar="N", min=0, help="Days until deletion; 365 unless set.")
    ] = None,
    archive_after_days: Annotated[
        int | None,
        typer.Option("--archive-after-days", metavar="N", min=0, help="Days until the archive; 90 unless set."),
    ] = None,
    today: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day of the plan, 2026-11-20 say; today in UTC unless set.")
    ] = None,
    form: Form = Format.TEXT,
    as_json: JsonAlias = False,
    output: Output = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="What is kept, too.")] = False,
    no_color: NoColor = False,
) -> None:
    """List what is due for the archive or for deletion, and why.

    Nothing is moved or deleted: that comes with the life-cycle work. Days count from the last event of a segment, in
    UTC. Signatures are not checked: verify the folder before you act on the list. JSON lists what is kept, too.

    \b
    Examples:
      fapilog-audit retain --policy policy.toml
      fapilog-audit retain audit_logs/ --retention-days 2190 --archive-after-days 30 -v
      fapilog-audit retain -f json | jq -r '.segments[] | select(.action == "archive") | .file'

    \b
    Exit codes:
      0 done, whatever is due   2 usage   3 something could not be read
    """  # noqa: D301 (see app)
    with errors_reported():
        from fapilog_audit.cli.tables import deliver_report
        from fapilog_audit.retention import retention_plan

        rules = _policy(policy, retention_days, archive_after_days)
        day = _day(today)
        check_folder(folder)
        with reading_reported():
            items = retention_plan(folder, rules, today=day)
        members: dict[str, object] = {
            "today": day.isoformat(),
            "retention_days": rules.retention_days,
            "archive_after_days": rules.archive_after_days,
            "segments": [_members(item) for item in items],
        }
        lines = _lines(folder, items, rules, day, verbose=verbose)
        read = [folder, *([policy] if policy else ())]
        given = Format.JSON if as_json else form
        deliver_report(members, lines, form=given, output=output, read=read, no_color=no_color)
        raise typer.Exit(Exit.DONE)


def _policy(path: Path | None, retention: int | None, archive: int | None) -> "CompliancePolicy":
    from fapilog_audit.policy import CompliancePolicy, load_policy

    days = {"retention_days": retention, "archive_after_days": archive}
    given = {name: value for name, value in days.items() if value is not None}
    if path is None:
        return CompliancePolicy.from_dict(given)
    if given:
        fail("--policy cannot be used with days.", "Give the policy, or the days, not both.")
    return load_policy(path)


def _day(text: str | None) -> date:
    if text is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"--today is {text!r:.80}.", "Give a day, such as 2026-11-20.")


def _members(item: "RetentionItem") -> dict[str, Any]:
    from fapilog_audit.stamp import format_time

    return {
        "file": item.file,
        "action": item.action,
        "due": None if item.due is None else item.due.isoformat(),
        "why": item.why,
        "first": None if item.first is None else format_time(item.first),
        "last": None if item.last is None else format_time(item.last),
        "size_bytes": item.size_bytes,
        "entries": item.entries,
    }


def _lines(
    folder: Path, items: "Sequence[RetentionItem]", rules: "CompliancePolicy", day: date, *, verbose: bool
) -> "Iterator[Text]":
    from fapilog_audit.cli.tables import heading, plain, table

    counts = Counter(item.action for item in items)
    yield heading(
        f"{folder}, {day}: {counts['delete']} due for deletion, {counts['archive']} for the archive, "
        f"of {format_count(len(items), 'segment')}"
    )
    yield plain(f"retention_days {rules.retention_days}, archive_after_days {rules.archive_after_days}")
    for action, title in _TITLES.items():
        yield from table(title, [_row(item) for item in items if item.action == action])
    kept = [item for item in items if item.action == "keep" and item.due is not None]
    if verbose:
        yield from table("kept", [_row(item) for item in kept])
    yield from table("kept, and nobody can tell until when", [_row(item) for item in items if item.due is None])
    yield plain()
    yield heading(_NOTHING_DONE)


def _row(item: "RetentionItem") -> tuple[str, ...]:
    since = "" if item.due is None else f"{'from' if item.action == 'keep' else 'since'} {item.due}"
    return item.file, format_size(item.size_bytes), since, item.why
