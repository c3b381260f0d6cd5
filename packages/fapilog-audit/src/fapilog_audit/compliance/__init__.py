"""What frameworks ask of a policy, as tables of rules, and the validation against them.

One module a framework; each rule names the clause it comes from. It is no legal advice: docs/explanation/compliance.md.
"""

from __future__ import annotations

from fapilog_audit.compliance.settings import AuditConfig, DataHandlingSettings
from fapilog_audit.compliance.validate import validate_audit_config, validate_compliance_policy, validate_data_handling

__all__ = [
    "AuditConfig",
    "DataHandlingSettings",
    "validate_audit_config",
    "validate_compliance_policy",
    "validate_data_handling",
]
