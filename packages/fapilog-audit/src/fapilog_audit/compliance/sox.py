"""The rules of SOX, the Sarbanes-Oxley Act of 2002: the records behind financial reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_audit.compliance.general import syncs_grave_events
from fapilog_audit.compliance.rule import OUR_OWN, Rule

if TYPE_CHECKING:
    from fapilog_audit.compliance.settings import DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = ["DATA_RULES", "POLICY_RULES"]

_SEVEN_YEARS: Final = 7 * 365

POLICY_RULES: Final[tuple[Rule[CompliancePolicy], ...]] = (
    Rule(
        "sox_change_control",
        lambda policy: policy.sox_change_control,
        "required: internal control over financial reporting commonly rests on changes that name their reason and"
        " their author",
        "SOX section 404",
    ),
    Rule(
        "retention_days",
        lambda policy: policy.retention_days >= _SEVEN_YEARS,
        "should be >= 2555, seven years of 365 days: the rule binds the accountants who audit, and companies commonly"
        " keep as long",
        "SOX section 802, 17 CFR 210.2-06",
        "warning",
    ),
    Rule(
        "require_integrity_check",
        lambda policy: policy.require_integrity_check,
        "must be enabled: records that were altered or falsified must be found",
        "SOX section 802, 18 U.S.C. 1519",
    ),
    Rule(
        "durability",
        syncs_grave_events,
        "should leave security and critical events synced: a power cut loses what is less",
        OUR_OWN,
        "warning",
    ),
)

DATA_RULES: Final[tuple[Rule[DataHandlingSettings], ...]] = ()
