"""An event as the bytes that are sealed: the path that every event takes.

The members are those of `AuditEvent`; what is null or empty is left out. A dict of plain values is written by orjson in
one call, which for those gives RFC 8785 text; everything else goes the slow way through `encode_payload`, which refuses
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fapilog_audit.causes import describe_error, error_fields
from fapilog_audit.context import current_context
from fapilog_audit.errors import ConfigError
from fapilog_audit.fitting import fit_members, is_whole
from fapilog_audit.kinds import AuditEventType, AuditLogLevel, parse_event_type, parse_log_level
from fapilog_audit.stamp import new_stamp
from fapilog_tamper.payload import DEFAULT_LIMIT, encode_payload
from fapilog_tamper.stamps import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fapilog_audit.policy import CompliancePolicy

__all__ = ["EventEncoder", "encode_members"]

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_OURS: Final = "fapilog_audit."
_FLAT: Final = frozenset({str, int, bool, type(None)})
_SIZED: Final = frozenset({str, list, tuple, dict, set, frozenset})
_TEXTS: Final = (
    "component",
    "operation",
    "outcome",
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "tenant_id",
    "client_ip",
    "user_agent",
    "data_classification",
)
_CHANGES: Final = frozenset(
    {
        AuditEventType.CONFIG_CHANGED,
        AuditEventType.DATA_MODIFICATION,
        AuditEventType.DATA_DELETION,
        AuditEventType.PLUGIN_LOADED,
        AuditEventType.PLUGIN_UNLOADED,
    }
)


class EventEncoder:
    """Makes the members and the payload of events under one policy. Any thread may call it."""

    def __init__(self, policy: CompliancePolicy) -> None:
        self._framework = str(policy.level)
        self._change_control = policy.sox_change_control
        # A member of a StrEnum is equal to its text, so one look-up takes both. The text is a plain str for orjson.
        self._types: dict[object, str] = {member: str(member.value) for member in AuditEventType}
        self._levels: dict[object, str] = {member: str(member.value) for member in AuditLogLevel}

    def members(  # noqa: C901, PLR0912, PLR0913, PLR0917 (by place: by name, a call with all of them costs a microsecond)
        self,
        event_type: AuditEventType | str,
        message: str,
        log_level: AuditLogLevel | str,
        component: object,
        operation: object,
        outcome: object,
        error: BaseException | Mapping[str, Any] | str | None,
        actor: object,
        user_id: object,
        session_id: object,
        request_id: object,
        tenant_id: object,
        client_ip: object,
        user_agent: object,
        contains_pii: bool | None,  # noqa: FBT001 (see above)
        contains_phi: bool | None,  # noqa: FBT001 (see above)
        data_classification: object,
        regulatory_tags: Iterable[str] | None,
        reason: object = None,
    ) -> dict[str, Any]:
        """Return the members of a new event, without its metadata (`reason` is one of these).

        Raises:
            ConfigError: the type or the level is none.
        """
        members = current_context()
        if error is not None:
            members.update(error_fields(error))
            described = describe_error(error)
            if described:
                members["error"] = described
        members["event_id"], members["timestamp"] = new_stamp()
        try:
            members["event_type"] = self._types.get(event_type) or self._own_type(event_type)
            members["log_level"] = self._levels.get(log_level) or str(parse_log_level(log_level).value)
        except TypeError:
            # A list, say, which no dict looks up.
            members["event_type"], members["log_level"] = self._own_type(event_type), str(parse_log_level(log_level))
        members["message"] = "" if message is None else message
        members["compliance_level"] = self._framework
        # Written out, the same for each field: a loop over names costs three times as much. A user may be number 0.
        try:
            if component or component == 0:
                members["component"] = component
            if operation or operation == 0:
                members["operation"] = operation
            if outcome or outcome == 0:
                members["outcome"] = outcome
            if actor or actor == 0:
                members["actor"] = actor
            if user_id or user_id == 0:
                members["user_id"] = user_id
            if session_id or session_id == 0:
                members["session_id"] = session_id
            if request_id or request_id == 0:
                members["request_id"] = request_id
            if tenant_id or tenant_id == 0:
                members["tenant_id"] = tenant_id
            if client_ip or client_ip == 0:
                members["client_ip"] = client_ip
            if user_agent or user_agent == 0:
                members["user_agent"] = user_agent
            if data_classification or data_classification == 0:
                members["data_classification"] = data_classification
        except Exception:  # noqa: BLE001 (code of a value that cannot say whether it is empty: it is kept)
            texts = (component, operation, outcome, actor, user_id, session_id, request_id, tenant_id, client_ip)
            members.update(_given(zip(_TEXTS, (*texts, user_agent, data_classification), strict=True)))
        if contains_pii is not None:
            members["contains_pii"] = contains_pii
        if contains_phi is not None:
            members["contains_phi"] = contains_phi
        if regulatory_tags:
            members["regulatory_tags"] = [regulatory_tags] if isinstance(regulatory_tags, str) else [*regulatory_tags]
        if self._change_control and members["event_type"] in _CHANGES:
            _mark_change(members, reason)
        return members

    def _own_type(self, event_type: object) -> str:
        parsed = str(parse_event_type(event_type))
        if parsed.startswith(_OURS):
            # What these say, nobody but the package may say: that events were lost, or imported.
            raise ConfigError(f"event_type is {parsed}, which belongs to the package.", hint="Use another namespace.")
        return parsed


def _mark_change(members: dict[str, Any], reason: object) -> None:
    """Tag a change that says neither why nor by whom: it is recorded all the same."""
    marks = [] if _is_given(reason) else ["sox_change_control:unexplained"]
    if "user_id" not in members and "actor" not in members:
        marks.append("sox_change_control:anonymous")
    if marks:
        members["regulatory_tags"] = [*members.get("regulatory_tags", ()), *marks]


def _given(fields: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in fields if _is_given(value)}


def _is_given(value: object) -> bool:
    """Tell whether a value is neither null nor empty, without running code of its own."""
    return value is not None and not (type(value) in _SIZED and not value)


def encode_members(members: dict[str, Any], metadata: dict[str, Any] | None = None) -> Encoded:
    """Return the payload of an event.

    Args:
        members: the members; used up.
        metadata: the member of that name, kept apart because what is flat is looked at in one go.
    """
    flat = _FLAT.issuperset(map(type, members.values()))
    if metadata:
        # Beyond ASCII, orjson and RFC 8785 may differ on the order of names.
        flat = flat and _FLAT.issuperset(map(type, metadata.values())) and "".join(metadata).isascii()
        members["metadata"] = metadata
    if flat:
        try:
            payload = orjson.dumps(members, option=_OPTIONS)
        except TypeError:
            # A lone surrogate, a number beyond 2^53, a dict that another thread changes.
            payload = b""
        if payload and len(payload) <= DEFAULT_LIMIT:
            return Encoded(payload, members["timestamp"])
    payload = encode_payload(members)
    return Encoded(payload if is_whole(payload, members) else fit_members(members), members["timestamp"])
