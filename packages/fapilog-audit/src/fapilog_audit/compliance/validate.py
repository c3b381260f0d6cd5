"""Validation: a policy, the handling of data, or both, against the tables of their framework."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from fapilog.core.plugin_config import ValidationIssue, ValidationResult

from fapilog_audit.compliance import gdpr, general, hipaa, iso27001, pci_dss, soc2, sox
from fapilog_audit.compliance.rule import find_issues
from fapilog_audit.kinds import ComplianceLevel, parse_compliance_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_audit.compliance.rule import Rule
    from fapilog_audit.compliance.settings import AuditConfig, DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = [
    "DATA_RULES",
    "POLICY_RULES",
    "validate_audit_config",
    "validate_compliance_policy",
    "validate_data_handling",
]

POLICY_RULES: Final[Mapping[ComplianceLevel, tuple[Rule[CompliancePolicy], ...]]] = {
    ComplianceLevel.NONE: (),
    ComplianceLevel.BASIC: (),
    ComplianceLevel.SOX: sox.POLICY_RULES,
    ComplianceLevel.HIPAA: hipaa.POLICY_RULES,
    ComplianceLevel.GDPR: gdpr.POLICY_RULES,
    ComplianceLevel.PCI_DSS: pci_dss.POLICY_RULES,
    ComplianceLevel.SOC2: soc2.POLICY_RULES,
    ComplianceLevel.ISO27001: iso27001.POLICY_RULES,
}
"""What each framework asks of a policy, beside the general rules."""

DATA_RULES: Final[Mapping[ComplianceLevel, tuple[Rule[DataHandlingSettings], ...]]] = {
    ComplianceLevel.NONE: (),
    ComplianceLevel.BASIC: (),
    ComplianceLevel.SOX: sox.DATA_RULES,
    ComplianceLevel.HIPAA: hipaa.DATA_RULES,
    ComplianceLevel.GDPR: gdpr.DATA_RULES,
    ComplianceLevel.PCI_DSS: pci_dss.DATA_RULES,
    ComplianceLevel.SOC2: soc2.DATA_RULES,
    ComplianceLevel.ISO27001: iso27001.DATA_RULES,
}
"""What each framework asks of the handling of data, beside the general rules."""


def validate_compliance_policy(policy: CompliancePolicy) -> ValidationResult:
    """Return what a policy lacks by its own framework; `ok` is False where an issue is an error.

    A policy that is not enabled promises nothing, and has no issues.
    """
    result = ValidationResult(ok=True)
    if policy.enabled:
        for issue in find_issues((*POLICY_RULES[policy.level], *general.POLICY_RULES), policy):
            result.add_issue(issue)
    return result


def validate_data_handling(*, level: ComplianceLevel, settings: DataHandlingSettings) -> ValidationResult:
    """Return what the handling of data lacks under a framework; `ok` is False where an issue is an error.

    Raises:
        ConfigError: there is no such framework.
    """
    result = ValidationResult(ok=True)
    for issue in find_issues((*DATA_RULES[parse_compliance_level(level)], *general.DATA_RULES), settings):
        result.add_issue(issue)
    return result


def validate_audit_config(audit: AuditConfig) -> ValidationResult:
    """Return what a policy, the handling of data and the storage path lack together.

    Fields of the handling of data are named `data_handling.<field>`. The storage path is looked at, and not written to.
    """
    result = validate_compliance_policy(audit.policy)
    if not audit.policy.enabled:
        return result
    if audit.data_handling is not None:
        for issue in validate_data_handling(level=audit.policy.level, settings=audit.data_handling).issues:
            issue.field = f"data_handling.{issue.field}"
            result.add_issue(issue)
    # os.path answers for any path where Path raises: NUL, folders without rights.
    place = audit.storage_path
    if place is not None and os.path.exists(place) and not os.path.isdir(place):  # noqa: PTH110, PTH112
        result.add_issue(ValidationIssue(field="storage_path", message=f"{place} is not a folder"))
    return result
