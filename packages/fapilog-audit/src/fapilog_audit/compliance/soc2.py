"""The rules of SOC 2: the common criteria (CC) of the AICPA's Trust Services Criteria, 2017."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.rule import Rule

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES"]

_A_YEAR: Final = 365

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: anomalies that point to malicious acts must be found, in the logs, too",
        "SOC 2 CC7.2",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: logical access is restricted",
        "SOC 2 CC6.1",
    ),
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _A_YEAR,
        "should be >= 365: no number is set; a year is common, since a report mostly covers up to 12 months",
        "SOC 2 CC7.2",
        "warning",
    ),
    Rule(
        "real_time_alerts",
        lambda policy: policy.real_time_alerts,
        "should be enabled: systems are monitored for anomalies",
        "SOC 2 CC7.2",
        "warning",
    ),
    Rule(
        "alert_on_security_events",
        lambda policy: policy.alert_on_security_events,
        "should be enabled: security events are evaluated",
        "SOC 2 CC7.3",
        "warning",
    ),
    Rule(
        "encrypt_audit_logs",
        lambda policy: policy.encrypt_audit_logs,
        "cannot be enabled yet, and encryption is a point of focus: until then the encryption of the volume answers it",
        "SOC 2 CC6.1",
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule(
        "encryption_in_transit",
        lambda settings: settings.encryption_in_transit,
        "must be true: data is protected while it is transmitted",
        "SOC 2 CC6.7",
    ),
    Rule(
        "encryption_at_rest",
        lambda settings: settings.encryption_at_rest,
        "must be true: encryption protects data at rest",
        "SOC 2 CC6.1",
    ),
    Rule(
        "allow_default_credentials",
        lambda settings: not settings.allow_default_credentials,
        "must be false: users are identified and authenticated",
        "SOC 2 CC6.1",
    ),
)
