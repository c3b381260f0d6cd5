"""The closed sets of words in an audit event: its type, its level, and the framework of its policy."""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from fapilog_audit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AuditEventType",
    "AuditLogLevel",
    "ComplianceLevel",
    "parse_compliance_level",
    "parse_event_type",
    "parse_log_level",
]


class AuditEventType(StrEnum):
    """What an event reports, in families."""

    ERROR_OCCURRED = "error_occurred"
    ERROR_RECOVERED = "error_recovered"
    ERROR_ESCALATED = "error_escalated"

    AUTHENTICATION_FAILED = "authentication_failed"
    AUTHORIZATION_FAILED = "authorization_failed"
    SECURITY_VIOLATION = "security_violation"

    SYSTEM_STARTUP = "system_startup"
    SYSTEM_SHUTDOWN = "system_shutdown"
    COMPONENT_FAILURE = "component_failure"
    COMPONENT_RECOVERY = "component_recovery"

    DATA_ACCESS = "data_access"
    DATA_MODIFICATION = "data_modification"
    DATA_DELETION = "data_deletion"
    DATA_EXPORT = "data_export"

    CONFIG_CHANGED = "config_changed"
    PLUGIN_LOADED = "plugin_loaded"
    PLUGIN_UNLOADED = "plugin_unloaded"

    COMPLIANCE_CHECK = "compliance_check"
    AUDIT_LOG_ACCESS = "audit_log_access"
    RETENTION_POLICY_APPLIED = "retention_policy_applied"


class AuditLogLevel(StrEnum):
    """How grave an event is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    SECURITY = "security"


class ComplianceLevel(StrEnum):
    """The framework that a policy answers to."""

    NONE = "none"
    BASIC = "basic"
    SOX = "sox"
    HIPAA = "hipaa"
    GDPR = "gdpr"
    PCI_DSS = "pci_dss"
    SOC2 = "soc2"
    ISO27001 = "iso27001"


_Word = TypeVar("_Word", bound=StrEnum)

_OWN_TYPE: Final = re.compile(r"[A-Za-z][\w-]{0,63}(?:\.[A-Za-z0-9][\w-]{0,63}){1,7}", re.ASCII)
_RESERVED: Final = "sealed_log."

# Members of a StrEnum are found by their text: one look-up for both.
_TYPES: Final[dict[object, AuditEventType]] = {member.value: member for member in AuditEventType}
_LEVELS: Final[dict[object, AuditLogLevel]] = {member.value: member for member in AuditLogLevel}
_FRAMEWORKS: Final[dict[object, ComplianceLevel]] = {member.value: member for member in ComplianceLevel}


def parse_event_type(value: object) -> AuditEventType | str:
    """Return a type of ours as its member, one of the application's own (`acme.payment.approved`) as it is.

    Raises:
        ConfigError: it is neither.
    """
    known = _TYPES.get(value) if isinstance(value, str) else None
    if known is not None:
        return known
    if isinstance(value, str) and _OWN_TYPE.fullmatch(value) and not value.startswith(_RESERVED):
        return str(value)
    if isinstance(value, str) and value.startswith(_RESERVED):
        raise ConfigError(f"event_type is {_shown(value)}, which belongs to the log.", hint="Use another namespace.")
    meant = _nearest(value, _TYPES)
    raise ConfigError(
        f"event_type is {_shown(value)}.",
        hint=f"{meant}Use a member of AuditEventType, or a name of your own with a namespace: acme.payment.approved.",
    )


def parse_log_level(value: object) -> AuditLogLevel:
    """Return the level; names in capitals are taken, too.

    Raises:
        ConfigError: there is none.
    """
    return _parse(value, _LEVELS, "log_level")


def parse_compliance_level(value: object) -> ComplianceLevel:
    """Return the framework; `PCI-DSS` and other spellings that mean just one are taken, too.

    Raises:
        ConfigError: there is none.
    """
    return _parse(value, _FRAMEWORKS, "compliance level")


def _parse(value: object, known: dict[object, _Word], what: str) -> _Word:
    if isinstance(value, str):
        found = known.get(value) or known.get(value.strip().lower().replace("-", "_").replace(" ", "_"))
        if found is not None:
            return found
    raise ConfigError(
        f"{what} is {_shown(value)}.", hint=f"{_nearest(value, known)}Use one of {', '.join(map(str, known))}."
    )


def _nearest(value: object, known: Iterable[object]) -> str:
    """Return a question that names the word which was meant, as far as one is near."""
    found = get_close_matches(str(value).lower(), map(str, known), n=1)
    return f"Did you mean {found[0]}? " if found else ""


def _shown(value: object) -> str:
    return f"{value!r:.80}"
