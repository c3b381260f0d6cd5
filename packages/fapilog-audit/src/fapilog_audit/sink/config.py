"""What the sink is told: `AuditSinkConfig`, and reading it in each of the ways in which fapilog and people give it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator

from fapilog_audit.backends.file import FileStorageBackend
from fapilog_audit.errors import ConfigError
from fapilog_audit.kinds import ComplianceLevel, parse_compliance_level
from fapilog_audit.policy import CompliancePolicy, OnStorageFailure
from fapilog_audit.settings import Compression, TrailSettings
from fapilog_audit.trail import AuditTrail
from fapilog_tamper.keys import anchored_uri
from fapilog_tamper.writer.promise import Durability

if TYPE_CHECKING:
    from fapilog_audit.backends.base import StorageBackend

__all__ = ["AuditSinkConfig", "TrailPlan", "parse_sink_config"]

_POLICY: Final = frozenset(each.name for each in fields(CompliancePolicy))


class AuditSinkConfig(BaseModel):
    """The settings of `AuditSink`: those of `AuditTrail` and of `CompliancePolicy`, which explain them, in one.

    Give it to the sink positionally or as `config=`; the same names may be given as keywords, and as a dict under
    `sink_config.extra["audit"]`. Only what differs from the rest:

    Attributes:
        policy: a policy, or its fields by name, in place of the single fields below.
        durability: a promise for each level, as in a policy; or one promise, that of the trail, which the policy may
            exceed.
        compliance_level: another name of `level`.
        encrypt_logs: another name of `encrypt_audit_logs`.
        exit_drain: drain the loggers of fapilog when the process ends, see `fapilog_tamper.install_exit_drain`.

    Raises:
        ConfigError: an option that there is not, or one that cannot work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    # Of the trail. What is `Any` is checked by the trail, which takes more than a type can say.
    policy: Any = None
    storage_path: Path | None = None
    backend: Any = None
    storage_backend: Any = None
    name: str | None = None
    key: Any = None
    old_keys: Sequence[str] = ()
    state_dir: Path | None = None
    durability: Durability | dict[str, Durability] | None = None
    timeout: float = 5.0
    inline: bool = True
    max_bytes: int | None = 256 << 20
    compress: Compression = "none"
    max_buffer_bytes: int = 8 << 20
    strict: bool = False
    on_alert: Any = ()

    # Of the policy.
    level: ComplianceLevel = ComplianceLevel.BASIC
    compliance_level: ComplianceLevel | None = None
    enabled: bool = True
    retention_days: int = 365
    archive_after_days: int = 90
    encrypt_audit_logs: bool = False
    encrypt_logs: bool = False
    require_integrity_check: bool = True
    audit_access_roles: Sequence[str] = ("admin", "auditor")
    gdpr_data_subject_rights: bool = False
    hipaa_minimum_necessary: bool = False
    sox_change_control: bool = False
    real_time_alerts: bool = True
    alert_on_critical_errors: bool = True
    alert_on_security_events: bool = True
    on_storage_failure: OnStorageFailure = "contain"
    audit_reads: bool = False
    lifecycle_events: bool = False

    exit_drain: bool = True

    @model_validator(mode="wrap")
    @classmethod
    def _refused_in_our_words(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        if isinstance(given, Mapping):
            for name in given:
                if name not in cls.model_fields:
                    raise ConfigError(f"audit sink has no option {name!r}.", hint=_nearest(str(name)))
        try:
            config = validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "configuration"
            what = str(first["msg"]).removeprefix("Value error, ")
            raise ConfigError(f"audit sink: {where}: {what}.", hint="Correct the option.") from None
        config.plan()
        return config

    @field_validator("storage_path", "state_dir", mode="before")
    @classmethod
    def _named_folder(cls, value: object) -> object:
        if value == "":
            raise ValueError("it is empty; write . for the working folder")
        return value

    @field_validator("storage_path", "state_dir")
    @classmethod
    def _anchored(cls, value: Path | None) -> Path | None:
        # A program may change its folder before the first event.
        return None if value is None else value.absolute()

    @field_validator("timeout", "max_bytes", "max_buffer_bytes", "retention_days", "archive_after_days", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(f"it is {value}, not a number")  # noqa: TRY004 (pydantic lets a TypeError through)
        return value

    @field_validator("level", "compliance_level", mode="before")
    @classmethod
    def _known_level(cls, value: object) -> object:
        return None if value is None else parse_compliance_level(value)

    @field_validator("key")
    @classmethod
    def _anchored_key(cls, value: object) -> object:
        return anchored_uri(value) if isinstance(value, str) else value

    @field_validator("old_keys", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("old_keys")
    @classmethod
    def _anchored_keys(cls, value: Sequence[str]) -> Sequence[str]:
        return tuple(anchored_uri(text) for text in value)

    def plan(self) -> TrailPlan:
        """Return the trail that is described; raises ConfigError where none can be."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        per_level = isinstance(self.durability, Mapping)
        of_trail = {name: given[name] for name in TrailSettings.names() if name in given}
        if per_level:
            del of_trail["durability"]
        if self.backend is not None and self.storage_backend is not None:
            raise ConfigError("backend and storage_backend were both given.", hint="They are one parameter; give one.")
        backend = self.storage_backend if self.backend is None else self.backend
        settings = TrailSettings(**of_trail)
        if not isinstance(backend, FileStorageBackend):
            # Else it says where the files are.
            settings = replace(settings, storage_path=settings.folder)
        return TrailPlan(self._policy(given, per_level=per_level), settings, backend)

    def _policy(self, given: Mapping[str, Any], *, per_level: bool) -> CompliancePolicy:
        of_policy = {name: value for name, value in given.items() if name in _POLICY}
        if not per_level:
            of_policy.pop("durability", None)
        other = self.compliance_level
        if other is not None and of_policy.setdefault("level", other) != other:
            raise ConfigError(
                f"level is {self.level}, and compliance_level is {other}.", hint="They are one option; give one."
            )
        if self.encrypt_logs:
            of_policy["encrypt_audit_logs"] = True
        if self.policy is not None and of_policy:
            raise ConfigError(
                f"policy and {min(of_policy)} were both given.", hint="Give that field in the policy, or no policy."
            )
        policy = CompliancePolicy(**of_policy) if self.policy is None else self.policy
        if not isinstance(policy, CompliancePolicy):
            policy = CompliancePolicy.from_dict(policy)
        policy.require_possible()
        return policy


@dataclass(frozen=True, slots=True)
class TrailPlan:
    """A trail that is not made yet; equal plans are of one trail."""

    policy: CompliancePolicy
    settings: TrailSettings
    backend: StorageBackend | None

    @property
    def has_backend(self) -> bool:
        """Whether events go elsewhere than to files."""
        return self.backend is not None and not isinstance(self.backend, FileStorageBackend)

    def make(self) -> AuditTrail:
        """Return the trail; nothing is opened. Raises ConfigError where it cannot work."""
        settings = {name: getattr(self.settings, name) for name in TrailSettings.names()}
        return AuditTrail(self.policy, backend=self.backend, **settings)


def parse_sink_config(config: object, given: Mapping[str, object]) -> AuditSinkConfig:
    """Return the configuration of a sink from what its constructor was called with.

    Args:
        config: the positional argument or `config=`: None, an `AuditSinkConfig`, a mapping, or another model or
            dataclass with the same names.
        given: the other keywords, which count before those in `config`.

    Raises:
        ConfigError: an option that there is not, or one that cannot work.
    """
    return AuditSinkConfig.model_validate({**_members(config), **given})


def _members(config: object) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, AuditSinkConfig):
        return {name: getattr(config, name) for name in config.model_fields_set}
    if isinstance(config, BaseModel):
        return {name: value for name, value in dict(config).items() if value is not None}
    if is_dataclass(config) and not isinstance(config, type | CompliancePolicy):
        return {each.name: getattr(config, each.name) for each in fields(config)}
    if isinstance(config, Mapping):
        inner = config.get("config")
        return _members(inner) if inner is not None and len(config) == 1 else dict(config)
    raise ConfigError(
        f"audit sink cannot be configured with a {type(config).__name__}.",
        hint="Give an AuditSinkConfig, a dict or keywords; a policy as policy=.",
    )


def _nearest(name: str) -> str:
    known = sorted(AuditSinkConfig.model_fields)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."
