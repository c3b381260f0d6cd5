"""`CompliancePolicy`: what a trail records, how sure of it one can be, who may read it, and how long it is kept.

A policy is a checked value: whatever cannot be meant is a `ConfigError` at construction. What each field does, and what
it does not, is in docs/reference/policy.md; what a framework asks of the fields is in `fapilog_audit.compliance`.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from fapilog_audit.errors import ConfigError
from fapilog_audit.kinds import AuditLogLevel, ComplianceLevel, parse_compliance_level, parse_log_level
from fapilog_tamper.verify.source import SourceError, read_small
from fapilog_tamper.writer.promise import Durability

if TYPE_CHECKING:
    import os

__all__ = ["SYNCED_FRAMEWORKS", "SYNCED_LEVELS", "CompliancePolicy", "OnStorageFailure", "load_policy"]

OnStorageFailure = Literal["contain", "raise", "block"]

SYNCED_FRAMEWORKS: Final = frozenset({ComplianceLevel.SOX, ComplianceLevel.HIPAA, ComplianceLevel.PCI_DSS})
SYNCED_LEVELS: Final = frozenset({AuditLogLevel.SECURITY, AuditLogLevel.CRITICAL})
"""Events of these levels are synced under those frameworks, unless the policy says otherwise."""

_DURABILITIES: Final = get_args(Durability)
_ON_STORAGE_FAILURE: Final = get_args(OnStorageFailure)
_DAYS: Final = ("retention_days", "archive_after_days")
_SWITCHES: Final = (
    "enabled",
    "encrypt_audit_logs",
    "require_integrity_check",
    "gdpr_data_subject_rights",
    "hipaa_minimum_necessary",
    "sox_change_control",
    "real_time_alerts",
    "alert_on_critical_errors",
    "alert_on_security_events",
    "audit_reads",
    "lifecycle_events",
)
_MAX_FILE: Final = 1 << 16


class _Roles(tuple[str, ...]):
    """Roles that cannot be changed, and are equal to the list of the same: earlier versions had a list."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(tuple(other) if isinstance(other, list) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


@dataclass(frozen=True, slots=True)
class CompliancePolicy:
    """The policy of a trail; each field is explained in docs/reference/policy.md.

    Raises:
        ConfigError: a value that cannot be meant. Values that can be meant and do not suit the framework are no error
            here: `validate_compliance_policy` finds those.
    """

    level: ComplianceLevel = ComplianceLevel.BASIC
    enabled: bool = True
    retention_days: int = 365
    archive_after_days: int = 90
    encrypt_audit_logs: bool = False
    require_integrity_check: bool = True
    audit_access_roles: Sequence[str] = ("admin", "auditor")
    gdpr_data_subject_rights: bool = False
    hipaa_minimum_necessary: bool = False
    sox_change_control: bool = False
    real_time_alerts: bool = True
    alert_on_critical_errors: bool = True
    alert_on_security_events: bool = True
    on_storage_failure: OnStorageFailure = "contain"
    # Equal policies still have equal hashes; a dict has none.
    durability: Durability | Mapping[str, Durability] | None = field(default=None, hash=False)
    audit_reads: bool = False
    lifecycle_events: bool = False

    def __post_init__(self) -> None:
        for name in _DAYS:
            _check_days(name, getattr(self, name))
        for name in _SWITCHES:
            _check_switch(name, getattr(self, name))
        _check_choice("on_storage_failure", self.on_storage_failure, _ON_STORAGE_FAILURE)
        # Frozen: only here, before anybody else has seen the policy.
        object.__setattr__(self, "level", parse_compliance_level(self.level))
        object.__setattr__(self, "audit_access_roles", _parse_roles(self.audit_access_roles))
        object.__setattr__(self, "durability", _parse_durability(self.durability))

    def require_possible(self) -> None:
        """Refuse what no trail can do yet.

        Raises:
            ConfigError: the policy asks for encryption.
        """
        if self.encrypt_audit_logs:
            raise ConfigError(
                "encrypt_audit_logs: is True, and encryption comes with the key management work; nothing is encrypted"
                " before that.",
                hint="Leave it False, and keep the audit logs on an encrypted volume until then.",
            )

    def promise_for(self, level: AuditLogLevel, default: Durability) -> Durability:
        """Return what an event of `level` is promised: what `durability` says, else what the framework asks for.

        Args:
            level: the level of the event.
            default: the promise of the trail, for events of which neither says anything.
        """
        return self.promises(default)[parse_log_level(level)]

    def promises(self, default: Durability) -> dict[AuditLogLevel, Durability]:
        """Return the promise of each level; see `promise_for`."""
        _check_choice("durability", default, _DURABILITIES)
        if isinstance(self.durability, str):
            return dict.fromkeys(AuditLogLevel, self.durability)
        promises: dict[AuditLogLevel, Durability] = dict.fromkeys(AuditLogLevel, default)
        if self.level in SYNCED_FRAMEWORKS:
            promises.update(dict.fromkeys(SYNCED_LEVELS, "synced"))
        promises.update({AuditLogLevel(level): promise for level, promise in (self.durability or {}).items()})
        return promises

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them; `from_dict` is the inverse."""
        members: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        members["level"] = str(self.level)
        members["audit_access_roles"] = list(self.audit_access_roles)
        if isinstance(self.durability, Mapping):
            members["durability"] = {str(level): promise for level, promise in self.durability.items()}
        return members

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Self:
        """Return the policy with these fields; those that are not named have their defaults.

        Raises:
            ConfigError: a name that is no field, or a value that cannot be meant.
        """
        if not isinstance(members, Mapping):
            raise ConfigError(f"policy is {_shown(members)}, not a table.", hint="Give the fields by name.")
        known = [each.name for each in fields(cls)]
        for name in members:
            if name not in known:
                raise ConfigError(f"policy has no field {_shown(name)}.", hint=_nearest(name, known))
        return cls(**members)


def load_policy(path: str | os.PathLike[str]) -> CompliancePolicy:
    """Return the policy in a JSON or TOML file, where it stands at top level or under `policy`.

    Raises:
        ConfigError: the file cannot be read, or holds no policy or a bad one; the message begins with its path.
    """
    try:
        return CompliancePolicy.from_dict(_find_policy(_read_members(Path(path))))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from None


def _read_members(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix not in (".json", ".toml"):
        raise ConfigError(
            f"its name ends with {_shown(path.suffix)}, not .json or .toml.", hint="Write the policy as JSON or TOML."
        )
    try:
        raw = read_small(path, _MAX_FILE)
    except SourceError as error:
        raise ConfigError(f"the file cannot be read: {error}.", hint="Give a file that may be read.") from None
    if len(raw) > _MAX_FILE:
        raise ConfigError(f"has more than {_MAX_FILE} bytes.", hint="Is this the right file? A policy is short.")
    try:
        text = raw.decode("utf-8-sig")
        if not text.strip():
            raise ConfigError("the file is empty.", hint="Write at least the level: level = 'basic', say.")
        members = _parse_json(text) if suffix == ".json" else tomllib.loads(text)
    except RecursionError:
        raise ConfigError("is nested too deep.", hint="A policy is one table.") from None
    except ValueError as error:
        raise ConfigError(f"is not valid {suffix[1:].upper()}: {error}.", hint="Mend the file.") from None
    if not isinstance(members, dict):
        raise ConfigError(f"holds {_shown(members)}, not a table.", hint="Give the fields of the policy by name.")
    return members


def _parse_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # The parser would take the last one, silently.
        raise ValueError("a name stands twice in one object")
    return members


def _find_policy(members: dict[str, Any]) -> Mapping[str, Any]:
    if "policy" not in members:
        if not members:
            raise ConfigError("holds no policy.", hint="Write at least the level: level = 'basic', say.")
        return members
    for each in fields(CompliancePolicy):
        if each.name in members:
            raise ConfigError(
                f"{each.name} stands beside the policy, not in it.", hint="Move it into the table named policy."
            )
    policy: Mapping[str, Any] = members["policy"]
    return policy


def _check_days(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{name} is {_shown(value)}, not a whole number of days.", hint="Give days, zero or more.")


def _check_switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {_shown(value)}.", hint="Give True or False.")


def _check_choice(name: str, value: object, choice: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choice:
        raise ConfigError(f"{name} is {_shown(value)}.", hint=f"Use one of {', '.join(choice)}.")


def _parse_roles(value: object) -> _Roles:
    hint = "Give a list of names, such as ['admin', 'auditor']."
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ConfigError(f"audit_access_roles is {_shown(value)}.", hint=hint)
    for role in value:
        if not isinstance(role, str) or not role.strip():
            raise ConfigError(f"audit_access_roles has {_shown(role)} in it.", hint=hint)
    return _Roles(value)


def _parse_durability(value: object) -> Durability | dict[str, Durability] | None:
    if not isinstance(value, Mapping):
        if value is not None:
            _check_choice("durability", value, _DURABILITIES)
        return value  # type: ignore[return-value]  # one of them: it was checked
    promises: dict[str, Durability] = {}
    for name, promise in value.items():
        level = parse_log_level(name)
        if level in promises:
            raise ConfigError(f"durability names {level} twice.", hint="Give each level once.")
        _check_choice(f"durability of {level}", promise, _DURABILITIES)
        promises[level] = promise
    return promises


def _nearest(name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name).lower(), known, n=1)
    return f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}."


def _shown(value: object) -> str:
    return f"{value!r:.80}"
