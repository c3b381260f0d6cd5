"""The rules of the GDPR, Regulation (EU) 2016/679."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.rule import Rule

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES"]

_TEN_YEARS: Final = 3653

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "gdpr_data_subject_rights",
        lambda policy: policy.gdpr_data_subject_rights,
        "required: a person may ask which data on them is held",
        "GDPR art. 15",
    ),
    Rule(
        "retention_days",
        lambda policy: policy.retention_days <= _TEN_YEARS,
        "should be no longer than the purpose needs: no number is set, and more than ten years (3653) needs a written"
        " reason",
        "GDPR art. 5(1)(e)",
        "warning",
    ),
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: integrity of personal data must be ensured",
        "GDPR art. 5(1)(f)",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: personal data must be protected from unauthorised reading",
        "GDPR art. 5(1)(f)",
    ),
    Rule(
        "encrypt_audit_logs",
        lambda policy: policy.encrypt_audit_logs,
        "cannot be enabled yet, and encryption is asked for where it suits the risk: until then the encryption of the"
        " volume answers it",
        "GDPR art. 32(1)(a)",
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule(
        "pii_redaction_enabled",
        lambda settings: settings.pii_redaction_enabled,
        "required: logs should hold no more personal data than they need",
        "GDPR art. 5(1)(c)",
    ),
    Rule(
        "encryption_in_transit",
        lambda settings: settings.encryption_in_transit,
        "must be true where it suits the risk",
        "GDPR art. 32(1)(a)",
    ),
    Rule(
        "encryption_at_rest",
        lambda settings: settings.encryption_at_rest,
        "must be true where it suits the risk",
        "GDPR art. 32(1)(a)",
    ),
)
