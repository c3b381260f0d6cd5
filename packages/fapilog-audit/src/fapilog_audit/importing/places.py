"""Where an import reads and where it may write: the old files in order, and the refusals."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

import orjson

from fapilog_audit.errors import ConfigError
from fapilog_audit.importing.report import LeftOut
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import STATE_FOLDER, is_manifest_name, is_segment_name, parse_head_name

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BEGUN", "FINISHED", "check_places", "find_old_files"]

BEGUN: Final = "fapilog_audit.import.begun"
FINISHED: Final = "fapilog_audit.import.finished"

_OLD_NAME: Final = re.compile(r"audit_(\d{4}-\d\d-\d\d)\.jsonl", re.ASCII)
_LOOKED_AT: Final = 1 << 21


def find_old_files(old: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return the files of an old trail by date, and what else is in its folder.

    Raises:
        ConfigError: the folder is not there, cannot be read, or holds no old trail.
    """
    try:
        if not old.is_dir():
            raise ConfigError(f"{old} is no folder.", hint="Name the folder that holds audit_YYYY-MM-DD.jsonl files.")
        found: list[Path] = []
        left_out: list[LeftOut] = []
        for path in sorted(old.iterdir(), key=lambda path: path.name):
            reason = _objection(path)
            if reason:
                left_out.append(LeftOut(path.name, reason))
            else:
                found.append(path)
    except OSError as error:
        name = error.filename or old
        raise ConfigError(
            f"{name} cannot be read: {error.strerror or error}.", hint="Nothing was imported; mend that first."
        ) from error
    if not found:
        others = ", ".join(one.name for one in left_out[:5])
        raise ConfigError(
            f"{old} holds no file audit_YYYY-MM-DD.jsonl of an old trail"
            f"{f', but {others}' if others else ': it is empty'}.",
            hint="Name the storage_path of the old trail.",
        )
    return found, left_out


def _objection(path: Path) -> str:
    """Return why something is no file of an old trail, empty where it is one."""
    if path.is_dir():
        return "a folder"
    matched = _OLD_NAME.fullmatch(path.name)
    if matched is None:
        return "not named audit_YYYY-MM-DD.jsonl"
    try:
        date.fromisoformat(matched[1])
    except ValueError:
        return "not named after a day that exists"
    if not path.is_file():
        return "no regular file"
    with path.open("rb") as file:
        first = file.readline(_LOOKED_AT)
    try:
        split(first)
    except FormatError:
        return ""
    return "a segment of a sealed log already"


def check_places(old: Path, new: Path, state_dir: Path | None) -> None:
    """Accept the folders of an import.

    Raises:
        ConfigError: one is inside the other, or the new one holds a log.
    """
    try:
        for place, what in ((new, "the new folder"), (state_dir, "state_dir")):
            if place is not None and _is_within(place, old):
                raise ConfigError(
                    f"{what}, {place}, is {old} or inside it.", hint="Nothing is written to the old folder."
                )
        if _is_within(old, new):
            raise ConfigError(f"the old folder, {old}, is inside the new one, {new}.", hint="Choose an empty folder.")
        names = sorted(path.name for path in new.iterdir()) if new.exists() else []
        heads = [path.name for path in state_dir.iterdir()] if state_dir is not None and state_dir.exists() else []
    except OSError as error:
        raise ConfigError(
            f"{error.filename or new} cannot be used: {error.strerror or error}.", hint="Choose an empty folder."
        ) from error
    logs = [name for name in names if is_segment_name(name) or is_manifest_name(name) or name == STATE_FOLDER]
    if logs:
        raise _occupied(new, logs)
    if any(parse_head_name(name) for name in heads):
        raise ConfigError(
            f"{state_dir} holds the head of a log.", hint="Choose another state_dir: each log has its own."
        )


def _is_within(inner: Path, outer: Path) -> bool:
    """Tell whether one folder is the other or inside it, whatever the paths are spelled like."""
    resolved = inner.resolve()
    return any(place.exists() and outer.exists() and place.samefile(outer) for place in (resolved, *resolved.parents))


def _occupied(new: Path, logs: list[str]) -> ConfigError:
    if _is_unfinished(new, logs):
        return ConfigError(
            f"{new} holds an import that was begun and not finished.",
            hint="Import once more into an empty folder; an import cannot be continued.",
        )
    return ConfigError(f"{new} holds a log already ({logs[0]}).", hint="Choose an empty folder.")


def _is_unfinished(new: Path, logs: list[str]) -> bool:
    begun = finished = False
    for name in logs:
        path = new / name
        if not is_segment_name(name) or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                for line in file:
                    # Parsing only what may be one of the two: a log is long.
                    if BEGUN.encode() in line or FINISHED.encode() in line:
                        kind = _type_of(line)
                        begun, finished = begun or kind == BEGUN, finished or kind == FINISHED
        except OSError:
            return False
    return begun and not finished


def _type_of(line: bytes) -> object:
    try:
        members = orjson.loads(line)
    except ValueError:
        return None
    return members.get("event_type") if isinstance(members, dict) else None
