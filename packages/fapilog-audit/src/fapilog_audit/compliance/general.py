"""The rules of every policy, whatever its framework; a framework's own rule on a field stands before these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.rule import Rule
from fapilog_audit.policy import SYNCED_LEVELS

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES", "syncs_grave_events"]

_LEAST_RETENTION: Final = 30
_LEAST_ARCHIVE: Final = 7
_LEAST_PASSWORD: Final = 12

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _LEAST_RETENTION,
        "must be >= 30: what happened is often asked for weeks later",
    ),
    Rule(
        "archive_after_days",
        lambda policy: policy.archive_after_days >= _LEAST_ARCHIVE,
        "must be >= 7: what is recent must be at hand",
    ),
    Rule(
        "archive_after_days",
        lambda policy: policy.archive_after_days <= policy.retention_days,
        "must be <= retention_days: what is due for deletion is never archived",
    ),
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: else a trail goes on behind a segment that was changed",
    ),
    Rule(
        "audit_access_roles",
        lambda policy: bool(policy.audit_access_roles),
        "must name at least one role: no read that names a role could be allowed",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = (
    Rule("encryption_in_transit", lambda settings: settings.encryption_in_transit, "must be true"),
    Rule("encryption_at_rest", lambda settings: settings.encryption_at_rest, "must be true"),
    Rule("allow_default_credentials", lambda settings: not settings.allow_default_credentials, "must be false"),
    Rule("min_password_length", lambda settings: settings.min_password_length >= _LEAST_PASSWORD, "must be >= 12"),
    Rule(
        "allowed_data_classifications",
        lambda settings: any(name.strip() for name in settings.allowed_data_classifications),
        "must name at least one",
    ),
)


def syncs_grave_events(policy: CompliancePolicy) -> bool:
    """Tell whether the policy leaves the promise of security and critical events at synced."""
    # Of a trail that promises as much by default, it is the policy that says less.
    promises = policy.promises("synced")
    return all(promises[level] == "synced" for level in SYNCED_LEVELS)
