"""Validation: a policy, the handling of data, or both, against the tables of their framework."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.compliance import gdpr, general, hipaa, iso27001, pci_dss, soc2, sox
from fapilog_audit.compliance.rule import find_broken
from fapilog_audit.kinds import ComplianceLevel, parse_compliance_level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fapilog.core.plugin_config import ValidationResult

    from fapilog_audit.compliance.rule import Rule
    from fapilog_audit.compliance.settings import AuditConfig, DataHandlingSettings
    from fapilog_audit.policy import CompliancePolicy

__all__ = [
    "DATA_RULES",
    "POLICY_RULES",
    "broken_rules",
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
    return _result(broken_rules(policy))


def broken_rules(policy: CompliancePolicy) -> list[Rule[CompliancePolicy]]:
    """Return the rules that `validate_compliance_policy` makes its issues of."""
    if not policy.enabled:
        return []
    return list(find_broken((*POLICY_RULES[policy.level], *general.POLICY_RULES), policy))


def _result(broken: Iterable[Rule[Any]]) -> ValidationResult:
    from fapilog.core.plugin_config import ValidationResult

    result = ValidationResult(ok=True)
    for rule in broken:
        result.add_issue(rule.issue())
    return result


def validate_data_handling(*, level: ComplianceLevel, settings: DataHandlingSettings) -> ValidationResult:
    """Return what the handling of data lacks under a framework; `ok` is False where an issue is an error.

    Raises:
        ConfigError: there is no such framework.
    """
    return _result(find_broken((*DATA_RULES[parse_compliance_level(level)], *general.DATA_RULES), settings))


def validate_audit_config(audit: AuditConfig) -> ValidationResult:
    """Return what a policy, the handling of data and the storage path lack together.

    Fields of the handling of data are named `data_handling.<field>`. The storage path is looked at, and not written to.
    """
    from fapilog.core.plugin_config import ValidationIssue

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
