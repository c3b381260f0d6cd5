"""The rules of PCI DSS v4.0.1: systems that touch payment cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.general import syncs_grave_events
from fapilog_audit.compliance.rule import Rule

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES"]

_TWELVE_MONTHS: Final = 365
_THREE_MONTHS: Final = 90
_LEAST_PASSWORD: Final = 12

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _TWELVE_MONTHS,
        "must be >= 365: audit logs are kept at least 12 months",
        "PCI DSS v4.0.1 10.5.1",
    ),
    Rule(
        "archive_after_days",
        lambda policy: policy.archive_after_days >= _THREE_MONTHS,
        "must be >= 90: the last three months must be immediately available",
        "PCI DSS v4.0.1 10.5.1",
    ),
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: changes of existing log data must be detected",
        "PCI DSS v4.0.1 10.3.4",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: reading is limited to those with a job-related need",
        "PCI DSS v4.0.1 10.3.1",
    ),
    Rule(
        "audit_reads",
        lambda policy: policy.audit_reads,
        "should be enabled: all access to audit logs is logged, and else only reads that name a role are",
        "PCI DSS v4.0.1 10.2.1.3",
        "warning",
    ),
    Rule(
        "lifecycle_events",
        lambda policy: policy.lifecycle_events,
        "should be enabled: starting and stopping of audit logs is logged",
        "PCI DSS v4.0.1 10.2.1.6",
        "warning",
    ),
    Rule(
        "real_time_alerts",
        lambda policy: policy.real_time_alerts,
        "should be enabled: audit logs are reviewed by automated mechanisms, and alerts can be one of them",
        "PCI DSS v4.0.1 10.4.1.1",
        "warning",
    ),
    Rule(
        "encrypt_audit_logs",
        lambda policy: policy.encrypt_audit_logs,
        "cannot be enabled yet, and card numbers must be unreadable wherever they are stored: keep them out of events,"
        " for until then the encryption of the volume answers the rest and, on fixed disks, not this",
        "PCI DSS v4.0.1 3.5.1, 3.5.1.2",
        "warning",
    ),
    Rule(
        "durability",
        syncs_grave_events,
        "should leave security and critical events synced: audit logs are protected from destruction, and a power cut"
        " loses what is less",
        "PCI DSS v4.0.1 10.3",
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule(
        "encryption_at_rest",
        lambda settings: settings.encryption_at_rest,
        "required for PCI DSS: card numbers are unreadable wherever they are stored",
        "PCI DSS v4.0.1 3.5.1",
    ),
    Rule(
        "encryption_in_transit",
        lambda settings: settings.encryption_in_transit,
        "must be true: strong cryptography protects card numbers on open, public networks",
        "PCI DSS v4.0.1 4.2.1",
    ),
    Rule(
        "allow_default_credentials",
        lambda settings: not settings.allow_default_credentials,
        "must be false: default passwords of vendors are changed, or the accounts are removed or disabled",
        "PCI DSS v4.0.1 2.2.2",
    ),
    Rule(
        "min_password_length",
        lambda settings: settings.min_password_length >= _LEAST_PASSWORD,
        "must be >= 12",
        "PCI DSS v4.0.1 8.3.6",
    ),
)
