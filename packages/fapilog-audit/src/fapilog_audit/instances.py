"""The trails of a process, by name: one by default, and one a name.

Whoever asks for a trail gets the one that is there. It is made, and started, with the first call; concurrent first
calls make one. Under pytest-xdist each worker has a default trail of its own, so that tests do not meet in one folder;
with the pytest plugin, trails without a `storage_path` lie in a temporary folder, which it names in the environment.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.errors import ConfigError, StoppedError
from fapilog_audit.ledger import off_loop
from fapilog_audit.policy import CompliancePolicy
from fapilog_audit.settings import TrailSettings
from fapilog_audit.trail import AuditTrail
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.kinds import AuditEventType

__all__ = [
    "audit_data_access",
    "audit_error",
    "audit_security_event",
    "emit_compliance_alert",
    "find_audit_trail",
    "get_audit_trail",
    "get_audit_trail_now",
    "log_error",
    "log_security_event",
    "reset_all_audit_trails",
    "reset_all_audit_trails_now",
    "reset_audit_trail",
]

_BACKENDS: Final = ("backend", "storage_backend")
_FOLDER: Final = "FAPILOG_AUDIT_TEST_FOLDER"
"""The environment variable that says what stands in for `audit_logs` in tests."""

_trails: Final[dict[str | None, AuditTrail]] = {}
_making = threading.RLock()


async def get_audit_trail(
    policy: CompliancePolicy | None = None,
    storage_path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    **settings: Any,  # noqa: ANN401 (those of AuditTrail)
) -> AuditTrail:
    """Return the trail of a name, the default one without; it is made and started where it does not exist.

    Args:
        policy: as for `AuditTrail`; for a trail that exists, a warning names what is different.
        storage_path: `audit_logs`, or `audit_logs/<name>`, unless given.
        name: which trail.
        settings: further settings of `AuditTrail`.
    """
    given = _given({"policy": policy, "storage_path": storage_path, **settings})
    trail = _trails.get(name)
    if trail is None or given or not trail.started:
        trail = await off_loop(lambda: _get(name, given))
    return trail


def get_audit_trail_now(
    name: str | None = None,
    **settings: Any,  # noqa: ANN401 (those of AuditTrail)
) -> AuditTrail:
    """As `get_audit_trail`, for code that is no coroutine; the policy and the folder are given by name, too."""
    return _get(name, _given(settings))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    # `max_bytes=None` means something: no limit.
    return {key: value for key, value in settings.items() if value is not None or key == "max_bytes"}


def find_audit_trail(name: str | None = None) -> AuditTrail | None:
    """Return the trail of a name, None where nobody has asked for it yet."""
    return _trails.get(name)


def _get(name: str | None, given: dict[str, Any]) -> AuditTrail:
    if not isinstance(given.get("policy", CompliancePolicy()), CompliancePolicy):
        hint = "Give a CompliancePolicy; the name of a trail is given as name=."
        raise ConfigError(f"policy is {given['policy']!r:.80}.", hint=hint)
    unknown = given.keys() - {*TrailSettings.names(), "policy", *_BACKENDS}
    if unknown:
        raise ConfigError(f"a trail has no setting {min(unknown)!r}.", hint="Use those of AuditTrail.")
    # Held while it starts: a trail that is forgotten in between would run on, and hold its folder.
    with _making:
        trail = _trails.get(name)
        if trail is not None:
            _warn_of_differences(name, trail, given)
            trail.start_now()
            return trail
        trail = _make(name, given)
        try:
            trail.start_now()
        except BaseException:
            trail.stop_now()
            raise
        _trails[name] = trail
        return trail


def _make(name: str | None, given: dict[str, Any]) -> AuditTrail:
    if not {"storage_path", *_BACKENDS} & given.keys():
        given = {**given, "storage_path": _test_folder(name)}
    return AuditTrail(name=name, **given)


def _test_folder(name: str | None) -> Path | None:
    """Return where a trail lies while tests run, None elsewhere."""
    folder, worker = os.environ.get(_FOLDER), os.environ.get("PYTEST_XDIST_WORKER")
    below = worker if name is None else name
    if folder is not None:
        return Path(folder, below or "")
    return Path("audit_logs", worker) if name is None and worker else None


def _warn_of_differences(name: str | None, trail: AuditTrail, given: dict[str, Any]) -> None:
    others = ["policy"] if given.get("policy", trail.policy) != trail.policy else []
    others += [key for key in _BACKENDS if given.get(key, trail.given_backend) is not trail.given_backend]
    mine = {key: given[key] for key in TrailSettings.names() if key in given}
    if "storage_path" in mine and Path(mine["storage_path"]).absolute() == trail.storage_path:
        # The default folder by its name.
        del mine["storage_path"]
    others += trail.settings.differences(mine)
    if others:
        what = "the default audit trail" if name is None else f"the audit trail {name}"
        warn(f"{what} exists, with another {', '.join(others)}; it stays as it is. reset_audit_trail() ends it.")


async def reset_audit_trail(name: str | None = None) -> None:
    """Stop a trail and forget it, so that the next call makes a new one."""
    await off_loop(lambda: _reset(name))


def _reset(name: str | None) -> None:
    with _making:
        trail = _trails.pop(name, None)
    if trail is not None:
        trail.stop_now()


async def reset_all_audit_trails() -> None:
    """Stop all trails and forget them."""
    await off_loop(reset_all_audit_trails_now)


def reset_all_audit_trails_now() -> None:
    """As `reset_all_audit_trails`, for code that is no coroutine."""
    with _making:
        trails = [*_trails.values()]
        _trails.clear()
    for trail in trails:
        trail.stop_now()


async def audit_error(
    error: BaseException,
    *,
    operation: str | None = None,
    component: str | None = None,
    name: str | None = None,
    **metadata: Any,  # noqa: ANN401 (see AuditTrail.log_event)
) -> str:
    """Record an exception in the trail of a name; as `AuditTrail.log_error`."""
    return await _record(
        name, lambda trail: trail.log_error(error, operation=operation, component=component, **metadata)
    )


async def audit_security_event(
    event_type: AuditEventType | str,
    message: str,
    *,
    user_id: str | None = None,
    client_ip: str | None = None,
    user_agent: str | None = None,
    name: str | None = None,
    **metadata: Any,  # noqa: ANN401 (see AuditTrail.log_event)
) -> str:
    """Record a security event in the trail of a name; as `AuditTrail.log_security_event`."""
    return await _record(
        name,
        lambda trail: trail.log_security_event(
            event_type, message, user_id=user_id, client_ip=client_ip, user_agent=user_agent, **metadata
        ),
    )


async def audit_data_access(
    resource: str,
    operation: str,
    *,
    user_id: str | None = None,
    data_classification: str | None = None,
    contains_pii: bool | None = None,
    contains_phi: bool | None = None,
    name: str | None = None,
    **metadata: Any,  # noqa: ANN401 (see AuditTrail.log_event)
) -> str:
    """Record an access to data in the trail of a name; as `AuditTrail.log_data_access`."""
    return await _record(
        name,
        lambda trail: trail.log_data_access(
            resource,
            operation,
            user_id=user_id,
            data_classification=data_classification,
            contains_pii=contains_pii,
            contains_phi=contains_phi,
            **metadata,
        ),
    )


async def emit_compliance_alert(event: AuditEvent, *, name: str | None = None) -> None:
    """Hand an event to the alert handlers of the trail of a name, whatever its policy says."""
    trail = await get_audit_trail(name=name)
    trail.alert(event)


async def _record(name: str | None, log: Callable[[AuditTrail], Awaitable[str]]) -> str:
    while True:
        trail = await get_audit_trail(name=name)
        try:
            return await log(trail)
        except StoppedError:
            if _trails.get(name) is trail:
                raise
            # It was reset in between, and the event is not recorded: the next trail gets it.


log_error = audit_error
log_security_event = audit_security_event


def _after_fork() -> None:
    global _making  # noqa: PLW0603 (a thread of the parent may hold it)
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
