"""What the days of a policy mean for a folder: which segments are due for the archive or for deletion, and why.

It reads names, sizes and manifests, never entries, and neither writes, moves nor deletes. Signatures are not checked:
whoever acts on a plan verifies the folder first.

Days are those of the calendar in UTC, and count from the last event of a segment: with its last event on 1 March, a
segment is due after 30 days from 31 March on. Where one cannot tell, the segment is kept.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from fapilog_audit.errors import ConfigError
from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import is_segment_name, manifest_name, parse_segment_name, plain_name
from fapilog_tamper.manifest import Manifest, parse_manifest
from fapilog_tamper.verify.source import SourceError, read_small

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fapilog_audit.policy import CompliancePolicy

__all__ = ["RetentionAction", "RetentionItem", "retention_plan"]

RetentionAction = Literal["keep", "archive", "delete"]

_Place = tuple[str, date, int]
_NOWHERE: Final[_Place] = ("", date.min, 0)


@dataclass(frozen=True, slots=True)
class RetentionItem:
    """One segment of a plan.

    Attributes:
        file: its name in the folder.
        action: what is due today.
        due: since when it is due; of a segment that is kept, when something is; None where nobody can tell.
        why: the reason, for people.
        first: the time of its first event, where the manifest tells it.
        last: the time that it counts from.
        size_bytes: its size on the disk.
        entries: how many the manifest counts, control entries of the log included.
    """

    file: str
    action: RetentionAction
    due: date | None
    why: str
    first: datetime | None = None
    last: datetime | None = None
    size_bytes: int = 0
    entries: int | None = None


class _UnclearError(Exception):
    """Nobody can tell when this segment is due; the message says why."""


def retention_plan(
    folder: str | os.PathLike[str], policy: CompliancePolicy, *, today: date | None = None
) -> list[RetentionItem]:
    """Return what is due for each segment of a folder, sub-folders left out, in the order of streams and days.

    Args:
        folder: the folder of the trail.
        policy: its `retention_days` and `archive_after_days` count, whether it is enabled or not.
        today: the day of the plan, in UTC; without it, that of the clock.

    Raises:
        ConfigError: there is no such folder, or it cannot be listed.
    """
    path, day = Path(folder), today or datetime.now(UTC)
    if isinstance(day, datetime):
        day = day.astimezone(UTC).date()
    found = _list_segments(path)
    newest = _newest(found)
    items: list[RetentionItem] = []
    for name in sorted(found, key=lambda name: (_place(name), name)):
        status = found[name]
        try:
            manifest = _manifest_of(path, name, status, is_newest=name in newest)
            items.append(_plan(name, status, manifest, policy, day))
        except _UnclearError as unclear:
            items.append(RetentionItem(name, "keep", None, str(unclear), size_bytes=status.st_size))
    return items


def _list_segments(folder: Path) -> dict[str, os.stat_result]:
    try:
        with os.scandir(folder) as entries:
            named = [entry for entry in entries if is_segment_name(entry.name)]
            statuses = [(entry.name, _status(entry)) for entry in named]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{folder} cannot be listed: {reason}.", hint="Give the folder of a trail.") from None
    return {name: status for name, status in statuses if status is not None and not stat.S_ISDIR(status.st_mode)}


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        # A writer that compresses has just replaced it.
        return None


def _place(name: str) -> _Place:
    return parse_segment_name(plain_name(name)) or _NOWHERE


def _newest(names: Iterable[str]) -> set[str]:
    """Return the newest segment of each stream: the one that may be open."""
    newest: dict[str, tuple[_Place, str]] = {}
    for name in names:
        place = _place(name)
        newest[place[0]] = max(newest.get(place[0], (place, name)), (place, name))
    return {name for place, name in newest.values() if place != _NOWHERE}


def _manifest_of(folder: Path, name: str, status: os.stat_result, *, is_newest: bool) -> Manifest:
    if not stat.S_ISREG(status.st_mode):
        raise _UnclearError("not a regular file")
    sidecar = manifest_name(name)
    try:
        manifest = parse_manifest(read_small(folder / sidecar, MAX_DOCUMENT))
    except SourceError as error:
        if not error.absent:
            raise _UnclearError(f"its manifest cannot be read: {error}") from None
        if is_newest:
            raise _UnclearError("open: it has no manifest yet") from None
        raise _UnclearError("its manifest is missing: see fapilog-audit verify") from None
    except FormatError as error:
        raise _UnclearError(f"its manifest cannot be read: {error.message}") from None
    plain = plain_name(name)
    if manifest.file != plain:
        raise _UnclearError(f"its manifest is of another segment, {manifest.file}")
    if name == plain and status.st_size != manifest.size_bytes:
        raise _UnclearError(f"it has {status.st_size} bytes, and by its manifest {manifest.size_bytes}")
    return manifest


def _plan(
    name: str, status: os.stat_result, manifest: Manifest, policy: CompliancePolicy, today: date
) -> RetentionItem:
    last, what = _parse_time(manifest.last_ts), "last event"
    if last is None:
        last, what = _parse_time(manifest.closed_ts), "no time of an event is known; closed"
    if last is None:
        raise _UnclearError("its manifest tells no time")
    deletion, archiving = _later(last, policy.retention_days), _later(last, policy.archive_after_days)
    counted = f"{what} on {last.date()}"
    action: RetentionAction = "keep"
    due, why = min(deletion, archiving), f"{counted}, and nothing is due yet"
    if deletion <= today:
        action, due, why = "delete", deletion, f"{counted}, and retention_days is {policy.retention_days}"
    elif archiving <= today:
        action, due, why = "archive", archiving, f"{counted}, and archive_after_days is {policy.archive_after_days}"
    return RetentionItem(
        file=name,
        action=action,
        due=due,
        why=why,
        first=_parse_time(manifest.first_ts),
        last=last,
        size_bytes=status.st_size,
        entries=manifest.record_count,
    )


def _parse_time(text: str | None) -> datetime | None:
    """Return the time that a text spells; without a zone it is in UTC."""
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _later(moment: datetime, days: int) -> date:
    try:
        return moment.date() + timedelta(days=days)
    except OverflowError:
        return date.max
