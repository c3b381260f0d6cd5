"""fapilog's envelope, the form in which it stores an event: `{"log": {...}, "schema_version": "1.1"}`.

An event is what a sink of fapilog is given: a flat mapping with `timestamp`, `level`, `message`, the groups `context`,
`diagnostics`, `data`, and what enrichers put beside them. Pure functions; fapilog itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

__all__ = ["SCHEMA_VERSION", "block_place", "envelope", "stored_envelope"]

SCHEMA_VERSION: Final = "1.1"

_REQUIRED: Final = ("timestamp", "level", "message")
_GROUPS: Final = ("context", "diagnostics", "data")
_STORED: Final = frozenset({*_REQUIRED, *_GROUPS, "tags", "logger"})


def envelope(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return the envelope of an event with everything that is in the event; one that is no log event as it is.

    fapilog's own envelope leaves out members that it does not know; here they stay, except for the copy of an integrity
    block that an enricher put beside the one in `diagnostics`.
    """
    if not all(name in event for name in _REQUIRED):
        return event
    log = {**event, **_shaped(event)}
    block = log.get("integrity")
    if block is not None and block == block_place(log).get("integrity"):
        del log["integrity"]
    return {"log": log, "schema_version": SCHEMA_VERSION}


def stored_envelope(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return the envelope of an event as fapilog's own sinks store it, with the members that they know."""
    known = {name: value for name, value in event.items() if name in _STORED}
    shaped = _shaped(event)
    groups = {name: shaped[name] if isinstance(shaped[name], Mapping) else {} for name in _GROUPS}
    return {"log": {**known, **shaped, **groups}, "schema_version": SCHEMA_VERSION}


def block_place(event: Mapping[str, object]) -> Mapping[str, object]:
    """Return the group of an event that holds the integrity block of an enricher, if there is one."""
    group = event.get("diagnostics")
    return group if isinstance(group, Mapping) else {}


def _shaped(event: Mapping[str, object]) -> dict[str, object]:
    shaped: dict[str, object] = {name: event.get(name, {}) for name in _GROUPS}
    shaped["timestamp"] = _time_text(event.get("timestamp"))
    for name in ("level", "message"):
        value = event.get(name)
        shaped[name] = value if isinstance(value, str) else str(value)
    return shaped


def _time_text(stamp: object) -> object:
    """Return a time in seconds as fapilog writes it; text stays as it is."""
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return stamp
    try:
        text = datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return stamp
    return text.replace("+00:00", "Z")
