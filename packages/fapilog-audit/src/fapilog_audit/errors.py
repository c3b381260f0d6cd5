"""The exceptions of this package.

    AuditError
    ├── ConfigError      a policy, a setting or an argument that cannot work (a fapilog_tamper.ConfigError, too)
    ├── AccessError      the policy does not let this role read
    ├── StorageError     an event is not stored; it says whether it will be
    ├── StoppedError     the trail was stopped
    └── IntegrityError   what is stored is not what was sealed, and the policy does not go on from there

Every error carries a `hint`: one sentence that says what to do next. `str(error)` ends with it.
"""

from __future__ import annotations

from fapilog_tamper.errors import ConfigError as TamperConfigError
from fapilog_tamper.errors import HintedError

__all__ = ["AccessError", "AuditError", "ConfigError", "IntegrityError", "StoppedError", "StorageError"]


class AuditError(HintedError):
    """Root of all errors that this package raises on purpose."""


class ConfigError(AuditError, TamperConfigError):
    """A policy, a setting or an argument cannot work as given."""


class AccessError(AuditError, PermissionError):
    """The policy does not let this role read."""

    default_hint = "Name one of the roles in audit_access_roles."


class StorageError(AuditError):
    """An event is not stored.

    Attributes:
        event_id: the event.
        pending: it is sealed and kept in memory, and stored as soon as that works: do not log it again.
    """

    default_hint = "Mend the storage; trail.health() says what does not work."
    event_id: str = ""
    pending: bool = False


class StoppedError(AuditError, RuntimeError):
    """The trail was stopped, or the process is ending."""

    default_hint = "Make a new AuditTrail, or call start() again."


class IntegrityError(AuditError):
    """What is stored is not what was sealed."""

    default_hint = "See what was changed: fapilog-audit verify FOLDER."
