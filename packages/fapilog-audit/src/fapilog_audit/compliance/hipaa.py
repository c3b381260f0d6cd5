"""The rules of HIPAA: the Security Rule and the Privacy Rule, 45 CFR part 164."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.general import syncs_grave_events
from fapilog_audit.compliance.rule import Rule

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES"]

_SIX_YEARS: Final = 6 * 365

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "hipaa_minimum_necessary",
        lambda policy: policy.hipaa_minimum_necessary,
        "required: each read must name a role, so that nobody sees more than the role needs",
        "45 CFR 164.502(b)",
    ),
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _SIX_YEARS,
        "should be >= 2190, six years of 365 days: required documentation is kept six years, and audit logs are"
        " commonly counted to it",
        "45 CFR 164.316(b)(2)(i)",
        "warning",
    ),
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: health information must be protected from improper alteration",
        "45 CFR 164.312(c)(1)",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: only those with access rights may read",
        "45 CFR 164.312(a)(1)",
    ),
    Rule(
        "encrypt_audit_logs",
        lambda policy: policy.encrypt_audit_logs,
        "cannot be enabled yet, and encryption is addressable: until then the encryption of the volume answers it",
        "45 CFR 164.312(a)(2)(iv)",
        "warning",
    ),
    Rule(
        "durability",
        syncs_grave_events,
        "should leave security and critical events synced: a power cut loses what is less, and activity must be"
        " recorded",
        "45 CFR 164.312(b)",
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule(
        "phi_redaction_enabled",
        lambda settings: settings.phi_redaction_enabled,
        "required: logs should hold no more health information than they need",
        "45 CFR 164.502(b)",
    ),
    Rule(
        "encryption_in_transit",
        lambda settings: settings.encryption_in_transit,
        "must be true: addressable, so leave it off only with a written reason",
        "45 CFR 164.312(e)(2)(ii)",
    ),
    Rule(
        "encryption_at_rest",
        lambda settings: settings.encryption_at_rest,
        "must be true: addressable, so leave it off only with a written reason",
        "45 CFR 164.312(a)(2)(iv)",
    ),
)
