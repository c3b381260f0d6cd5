"""What is validated beside the policy: how the application handles data, and where the trail lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from fapilog_audit.policy import CompliancePolicy

__all__ = ["AuditConfig", "DataHandlingSettings"]


class DataHandlingSettings(BaseModel):
    """What the application says of itself. It is compared with the rules; nothing here switches anything on."""

    model_config = ConfigDict(extra="forbid")

    pii_redaction_enabled: bool = True
    phi_redaction_enabled: bool = False
    encryption_at_rest: bool = True
    encryption_in_transit: bool = True
    allow_default_credentials: bool = False
    min_password_length: int = Field(default=12, ge=8)
    allowed_data_classifications: list[str] = Field(
        default_factory=lambda: ["public", "internal", "confidential", "restricted"]
    )


def _parse_policy(value: object) -> object:
    return CompliancePolicy.from_dict(value) if isinstance(value, Mapping) else value


class AuditConfig(BaseModel):
    """A policy and what surrounds it. A mapping for `policy` is read as `CompliancePolicy.from_dict` reads it.

    Raises:
        ConfigError: a bad field of the policy.
    """

    model_config = ConfigDict(extra="forbid")

    policy: Annotated[InstanceOf[CompliancePolicy], BeforeValidator(_parse_policy)]
    data_handling: DataHandlingSettings | None = None
    storage_path: Path | None = None
