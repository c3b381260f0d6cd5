"""The audit trail that can be handed to someone who does not trust you.

    from fapilog_audit import AuditEventType, AuditTrail

    async with AuditTrail(storage_path="audit_logs", key="file:audit.jwk") as trail:
        await trail.log_event(AuditEventType.DATA_ACCESS, "invoice 17 was read", user_id="u-1")

    assert (await trail.verify_chain_from_storage()).valid

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from fapilog_audit.version import __version__

if TYPE_CHECKING:
    from fapilog_audit.asgi import AuditMiddleware
    from fapilog_audit.backends import FileStorageBackend, StorageBackend
    from fapilog_audit.checking import AuditChainVerificationResult
    from fapilog_audit.compliance import (
        AuditConfig,
        DataHandlingSettings,
        validate_audit_config,
        validate_compliance_policy,
        validate_data_handling,
    )
    from fapilog_audit.context import audit_context
    from fapilog_audit.decorator import audited
    from fapilog_audit.errors import (
        AccessError,
        AuditError,
        ConfigError,
        IntegrityError,
        StoppedError,
        StorageError,
    )
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.handler import AuditHandler
    from fapilog_audit.instances import (
        audit_data_access,
        audit_error,
        audit_security_event,
        emit_compliance_alert,
        get_audit_trail,
        log_error,
        log_security_event,
        reset_all_audit_trails,
        reset_audit_trail,
    )
    from fapilog_audit.kinds import AuditEventType, AuditLogLevel, ComplianceLevel
    from fapilog_audit.policy import CompliancePolicy, load_policy
    from fapilog_audit.reading import EventPage, Query
    from fapilog_audit.retention import RetentionItem, retention_plan
    from fapilog_audit.sink.config import AuditSinkConfig
    from fapilog_audit.sink.plugin import AuditSink
    from fapilog_audit.trail import AuditTrail

__all__ = [
    "AccessError",
    "AuditChainVerificationResult",
    "AuditConfig",
    "AuditError",
    "AuditEvent",
    "AuditEventType",
    "AuditHandler",
    "AuditLogLevel",
    "AuditMiddleware",
    "AuditSink",
    "AuditSinkConfig",
    "AuditTrail",
    "ComplianceLevel",
    "CompliancePolicy",
    "ConfigError",
    "DataHandlingSettings",
    "EventPage",
    "FileStorageBackend",
    "IntegrityError",
    "Query",
    "RetentionItem",
    "StoppedError",
    "StorageBackend",
    "StorageError",
    "__version__",
    "audit_context",
    "audit_data_access",
    "audit_error",
    "audit_security_event",
    "audited",
    "emit_compliance_alert",
    "get_audit_trail",
    "load_policy",
    "log_error",
    "log_security_event",
    "reset_all_audit_trails",
    "reset_audit_trail",
    "retention_plan",
    "validate_audit_config",
    "validate_compliance_policy",
    "validate_data_handling",
]

_HOMES: Final = {
    "asgi": ("AuditMiddleware",),
    "backends": ("FileStorageBackend", "StorageBackend"),
    "checking": ("AuditChainVerificationResult",),
    "compliance": (
        "AuditConfig",
        "DataHandlingSettings",
        "validate_audit_config",
        "validate_compliance_policy",
        "validate_data_handling",
    ),
    "context": ("audit_context",),
    "decorator": ("audited",),
    "errors": ("AccessError", "AuditError", "ConfigError", "IntegrityError", "StoppedError", "StorageError"),
    "event": ("AuditEvent",),
    "handler": ("AuditHandler",),
    "instances": (
        "audit_data_access",
        "audit_error",
        "audit_security_event",
        "emit_compliance_alert",
        "get_audit_trail",
        "log_error",
        "log_security_event",
        "reset_all_audit_trails",
        "reset_audit_trail",
    ),
    "kinds": ("AuditEventType", "AuditLogLevel", "ComplianceLevel"),
    "policy": ("CompliancePolicy", "load_policy"),
    "reading": ("EventPage", "Query"),
    "retention": ("RetentionItem", "retention_plan"),
    "sink.config": ("AuditSinkConfig",),
    "sink.plugin": ("AuditSink",),
    "trail": ("AuditTrail",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "backends":
        return import_module("fapilog_audit.backends")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'fapilog_audit' has no attribute {name!r}")
    value = getattr(import_module(f"fapilog_audit.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
