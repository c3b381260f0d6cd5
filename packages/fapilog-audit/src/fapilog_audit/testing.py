"""For the tests of applications: what was recorded, and whether the chain holds.

    assert_audited(trail, "acme.user.update", user_id="u-1", outcome="success")
    assert_chain_intact(trail)

Plain functions that read the files, for tests with and without a loop. Nothing here needs a test framework; the pytest
plugin has the trail for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from fapilog_audit.backends.file import FileStorageBackend
from fapilog_audit.errors import ConfigError
from fapilog_audit.event import AuditEvent
from fapilog_audit.kinds import AuditEventType, parse_event_type
from fapilog_audit.reading import Query, read_events
from fapilog_audit.trail import AuditTrail
from fapilog_tamper.testing.check import assert_intact

if TYPE_CHECKING:
    import os

    from fapilog_tamper.keys import Keyring
    from fapilog_tamper.verify.log import KeyLike
    from fapilog_tamper.verify.report import VerifyReport

__all__ = ["assert_audited", "assert_chain_intact", "recorded_events"]

_SHOWN: Final = 20
_MEMBERS: Final = frozenset(AuditEvent.model_fields)


def recorded_events(trail: AuditTrail | str | os.PathLike[str]) -> list[AuditEvent]:
    """Return all events of a trail or a folder, oldest first.

    Raises:
        ConfigError: the trail has a backend of its own: what that holds is for its tests.
    """
    folder = _folder(trail)
    return list(read_events(folder, Query(limit=None, newest_first=False))) if folder.exists() else []


@overload
def assert_audited(
    trail: AuditTrail | str | os.PathLike[str],
    event_type: AuditEventType | str | None = None,
    *,
    count: None = None,
    **fields: Any,  # noqa: ANN401 (values of any field)
) -> AuditEvent: ...


@overload
def assert_audited(
    trail: AuditTrail | str | os.PathLike[str],
    event_type: AuditEventType | str | None = None,
    *,
    count: int,
    **fields: Any,  # noqa: ANN401 (values of any field)
) -> list[AuditEvent]: ...


def assert_audited(
    trail: AuditTrail | str | os.PathLike[str],
    event_type: AuditEventType | str | None = None,
    *,
    count: int | None = None,
    **fields: Any,
) -> AuditEvent | list[AuditEvent]:
    """Return the newest event of this type with these fields; with `count`, all of them.

    Args:
        trail: the trail, or the folder of one.
        event_type: the type; None: any.
        count: how many there must be; 0: none.
        fields: what must stand in the event: its fields, and by any other name its metadata. `metadata` and `error` may
            be given as a mapping of some of their members.

    Raises:
        AssertionError: there is none, or another number; the message shows what was recorded.
    """
    wanted = dict(fields) if event_type is None else {"event_type": parse_event_type(event_type), **fields}
    events = recorded_events(trail)
    found = [event for event in events if all(_says(event, name, value) for name, value in wanted.items())]
    if count is None and found:
        return found[-1]
    if count is not None and len(found) == count:
        return found
    raise AssertionError(_explain(wanted, events, len(found), count))


def assert_chain_intact(
    trail: AuditTrail | str | os.PathLike[str], *, key: KeyLike | Iterable[KeyLike] | Keyring | None = None
) -> VerifyReport:
    """Verify all that a trail has stored, and return the report.

    Args:
        trail: the trail, or the folder of one.
        key: the key or keys; those of the trail unless given.

    Raises:
        AssertionError: the outcome is not `intact`; the message has the findings and what was not checked.
    """
    folder = _folder(trail)
    if key is None and isinstance(trail, AuditTrail):
        key = trail.keyring()
    if not folder.exists():
        raise AssertionError(f"{folder} is not there: nothing was recorded.")
    return assert_intact(folder, key)


def _folder(trail: AuditTrail | str | os.PathLike[str]) -> Path:
    """Return the folder, with everything in it that was accepted."""
    if not isinstance(trail, AuditTrail):
        return Path(trail)
    if not isinstance(trail.given_backend, FileStorageBackend | None):
        raise ConfigError(
            f"{trail!r} hands its events to a backend.", hint="Ask the backend, or give the test a trail without one."
        )
    # A loop may be running in this thread; waiting for a coroutine takes another.
    waiting = threading.Thread(target=lambda: asyncio.run(trail.drain()))
    waiting.start()
    waiting.join()
    return trail.storage_path


def _says(event: AuditEvent, name: str, value: object) -> bool:
    found = _value(event, name)
    if isinstance(found, Mapping) and isinstance(value, Mapping) and name in _MEMBERS:
        return all(key in found and found[key] == each for key, each in value.items())
    return bool(found == value)


def _value(event: AuditEvent, name: str) -> object:
    return getattr(event, name) if name in _MEMBERS else event.metadata.get(name)


def _explain(wanted: Mapping[str, Any], events: list[AuditEvent], found: int, count: int | None) -> str:
    what = ", ".join(f"{name}={_shown(value)}" for name, value in wanted.items()) or "of any kind"
    number = "no event" if found == 0 else "1 event" if found == 1 else f"{found} events"
    lines = [f"{number} with {what}" + ("" if count is None else f"; expected {count}") + "."]
    if not events:
        return f"{lines[0]} Nothing was recorded."
    lines.append(f"Recorded, {len(events)} in all:")
    names = [name for name in wanted if name not in ("event_type", "message")]
    for event in events[-_SHOWN:]:
        facts = "".join(f"  {name}={_shown(_value(event, name))}" for name in names)
        lines.append(f"  {event.event_type}  {event.message!r:.80}{facts}")
    if len(events) > _SHOWN:
        lines.append(f"  and {len(events) - _SHOWN} before these")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return f"{str(value) if isinstance(value, AuditEventType) else value!r:.80}"
