"""The rules of ISO/IEC 27001:2022: the controls of its Annex A."""

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
        "must be enabled: logs are protected, and records are protected from falsification",
        "ISO/IEC 27001:2022 Annex A 8.15, 5.33",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: access to information is restricted",
        "ISO/IEC 27001:2022 Annex A 8.3",
    ),
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _A_YEAR,
        "should be >= 365: no number is set; a year is common",
        "ISO/IEC 27001:2022 Annex A 8.15",
        "warning",
    ),
    Rule(
        "real_time_alerts",
        lambda policy: policy.real_time_alerts,
        "should be enabled: systems are monitored for anomalous behaviour",
        "ISO/IEC 27001:2022 Annex A 8.16",
        "warning",
    ),
    Rule(
        "encrypt_audit_logs",
        lambda policy: policy.encrypt_audit_logs,
        "cannot be enabled yet, and rules for the use of cryptography are asked for: until then the encryption of the"
        " volume answers it",
        "ISO/IEC 27001:2022 Annex A 8.24",
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule(
        "encryption_in_transit",
        lambda settings: settings.encryption_in_transit,
        "must be true where the rules for the use of cryptography say so",
        "ISO/IEC 27001:2022 Annex A 8.24",
    ),
    Rule(
        "encryption_at_rest",
        lambda settings: settings.encryption_at_rest,
        "must be true where the rules for the use of cryptography say so",
        "ISO/IEC 27001:2022 Annex A 8.24",
    ),
    Rule(
        "allow_default_credentials",
        lambda settings: not settings.allow_default_credentials,
        "must be false: authentication information is managed",
        "ISO/IEC 27001:2022 Annex A 5.17",
    ),
    Rule(
        "allowed_data_classifications",
        lambda settings: any(name.strip() for name in settings.allowed_data_classifications),
        "must name at least one: information is classified",
        "ISO/IEC 27001:2022 Annex A 5.12",
    ),
    Rule(
        "pii_redaction_enabled",
        lambda settings: settings.pii_redaction_enabled,
        "should be enabled: data is masked as the rules for access ask",
        "ISO/IEC 27001:2022 Annex A 8.11",
        "warning",
    ),
)
