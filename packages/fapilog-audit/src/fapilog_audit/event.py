"""`AuditEvent`: one event as it is read back, or given to a backend.

The stored line is the truth; an event is a view of it. `sealed_line` holds the line byte for byte, and what the chain
says of the event (`sequence_number`, `checksum`, ...) is read from there. An event that was made by hand has no line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from fapilog_audit.errors import AuditError, ConfigError
from fapilog_audit.kinds import (
    AuditEventType,
    AuditLogLevel,
    ComplianceLevel,
    parse_compliance_level,
    parse_event_type,
    parse_log_level,
)
from fapilog_audit.stamp import format_time, new_stamp
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import Integrity, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CONTROL_PREFIX", "AuditEvent", "NotAnEventError"]

_Word = TypeVar("_Word")

_DIGITS: Final = 4000

_TEXTS: Final = (
    "event_id",
    "message",
    "component",
    "operation",
    "outcome",
    "user_id",
    "session_id",
    "request_id",
    "client_ip",
    "user_agent",
    "tenant_id",
    "actor",
    "trace_id",
    "span_id",
    "data_classification",
)

CONTROL_PREFIX: Final = "sealed_log."
"""Begins the event type of the log's own entries, `sealed_log.recovery` say."""


class NotAnEventError(AuditError):
    """A line of a sealed log that holds no audit event."""

    default_hint = "Somebody else writes to this folder; give the trail a folder of its own."


class AuditEvent(BaseModel):
    """One audit event. Members that this version does not know are kept."""

    model_config = ConfigDict(extra="allow")

    event_id: str = Field(default_factory=lambda: new_stamp()[0])
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    event_type: AuditEventType | str
    log_level: AuditLogLevel = AuditLogLevel.INFO
    message: str
    component: str | None = None
    operation: str | None = None
    outcome: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    client_ip: str | None = None
    user_agent: str | None = None
    tenant_id: str | None = None
    actor: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    contains_pii: bool = False
    contains_phi: bool = False
    data_classification: str | None = None
    compliance_level: ComplianceLevel = ComplianceLevel.BASIC
    regulatory_tags: list[str] = Field(default_factory=list)
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    _line: bytes | None = PrivateAttr(default=None)
    _integrity: Integrity | None = PrivateAttr(default=None)
    _before: tuple[bytes, ...] = PrivateAttr(default=())

    @field_validator("event_type", mode="before")
    @classmethod
    def _known_type(cls, value: object) -> AuditEventType | str:
        if isinstance(value, str) and value.startswith(CONTROL_PREFIX):
            return value
        return _valid(parse_event_type, value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _known_level(cls, value: object) -> AuditLogLevel:
        return _valid(parse_log_level, value)

    @field_validator("compliance_level", mode="before")
    @classmethod
    def _known_framework(cls, value: object) -> ComplianceLevel:
        return _valid(parse_compliance_level, value)

    @field_validator("timestamp")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @field_validator(*_TEXTS, mode="before")
    @classmethod
    def _as_text(cls, value: object) -> str | None:
        # Nobody refuses what a caller gives for a text; in the line it has some JSON form.
        return value if value is None or isinstance(value, str) else _text_of(value)

    @field_validator("contains_pii", "contains_phi", mode="before")
    @classmethod
    def _as_switch(cls, value: object) -> bool:
        return bool(value)

    @field_validator("regulatory_tags", mode="before")
    @classmethod
    def _as_texts(cls, value: object) -> list[str]:
        items = value if isinstance(value, list | tuple | set | frozenset) else [value]
        return [item if isinstance(item, str) else _text_of(item) for item in items]

    @field_validator("error", "metadata", mode="before")
    @classmethod
    def _as_members(cls, value: object) -> object:
        return value if value is None or isinstance(value, Mapping) else {"$value": value}

    @classmethod
    def from_line(cls, line: bytes, *, before: Iterable[bytes] = ()) -> Self:
        """Return the event of a sealed line.

        An entry of the log itself becomes an event of the type `sealed_log.<kind>`.

        Args:
            line: the line, its newline included.
            before: the control entries that stand right before it in its stream, so that a list of all events can be
                verified as a chain.

        Raises:
            FormatError: it is not a sealed line.
            NotAnEventError: it holds something else.
        """
        payload, integrity = split(line)
        try:
            members = _control(parsed) if "sealed_log" in (parsed := _parse(payload)) else parsed
            event = cls.model_validate(members)
        except (ValidationError, ValueError, TypeError, ArithmeticError, RecursionError):
            # A moment before year 1 in UTC is an OverflowError.
            raise NotAnEventError(f"entry {integrity.seq} of {integrity.stream} holds no audit event.") from None
        event._line, event._integrity, event._before = line, integrity, tuple(before)  # noqa: SLF001 (its own)
        return event

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Return the event of a payload that is not sealed yet, as it will be read back.

        Raises:
            NotAnEventError: it holds none.
        """
        try:
            return cls.model_validate(_parse(payload))
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            raise NotAnEventError("a payload holds no audit event.") from None

    @property
    def sealed_line(self) -> bytes | None:
        """The stored line, byte for byte, its newline included; None for an event that was never stored."""
        return self._line

    @property
    def control_lines(self) -> tuple[bytes, ...]:
        """The control entries of the log that stand right before this event, where the reader knows them."""
        return self._before

    @property
    def is_control(self) -> bool:
        """Whether this is an entry of the log itself, not an event."""
        return self.event_type.startswith(CONTROL_PREFIX)

    @property
    def integrity(self) -> Integrity | None:
        """The integrity block of the line."""
        return self._integrity

    @property
    def stream(self) -> str | None:
        """The stream that the event stands in: a second process writes another."""
        return None if self._integrity is None else self._integrity.stream

    @property
    def sequence_number(self) -> int | None:
        """`seq`: the place in the stream, from 1; entries of the log itself count, too."""
        return None if self._integrity is None else self._integrity.seq

    @property
    def previous_hash(self) -> str | None:
        """`prev_chain_hash`: what stands for all before this event."""
        return None if self._integrity is None else b64url_encode(self._integrity.prev_chain_hash)

    @property
    def checksum(self) -> str | None:
        """`chain_hash`: what stands for this event and all before it."""
        return None if self._integrity is None else b64url_encode(self._integrity.chain_hash)

    @property
    def signature(self) -> str | None:
        """`mac`: the HMAC or signature of the event; None without a key."""
        mac = None if self._integrity is None else self._integrity.mac
        return None if mac is None else b64url_encode(mac)

    def to_members(self) -> dict[str, Any]:
        """Return the members as they stand in a line, without those that are null, empty or a False by default."""
        members = self.model_dump(mode="json", exclude_defaults=True, exclude={"timestamp"})
        members = {name: value for name, value in members.items() if value is not None and value not in ("", [], {})}
        required = {
            "event_id": self.event_id,
            "timestamp": format_time(self.timestamp),
            "log_level": str(self.log_level),
            "message": self.message,
            "compliance_level": str(self.compliance_level),
        }
        return members | required


def _valid(parse: Callable[[object], _Word], value: object) -> _Word:
    try:
        return parse(value)
    except ConfigError as error:
        # What pydantic collects.
        raise ValueError(str(error)) from None


def _text_of(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"{value!r:.200}"


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(payload)
    except ValueError:
        # JSON that orjson refuses: lone surrogates, and numbers so long that they stay text.
        parsed = json.loads(payload, parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else digits)
    if not isinstance(parsed, dict):
        raise TypeError
    return parsed


def _control(parsed: dict[str, Any]) -> dict[str, Any]:
    control = parsed["sealed_log"]
    if not isinstance(control, dict):
        raise TypeError
    kind = control.get("kind")
    moment = next((control[name] for name in ("ts", "last_ts") if isinstance(control.get(name), str)), None)
    return {
        "event_id": "",
        "timestamp": moment or datetime.fromtimestamp(0, UTC),
        "event_type": f"{CONTROL_PREFIX}{kind}",
        "message": f"entry of the sealed log: {kind}",
        "component": "sealed_log",
        "metadata": control,
    }
