"""What an entry of fapilog says, in the words of a trail: pure functions.

An entry is what fapilog gives to a sink: `timestamp`, `level`, `message`, `logger` and the groups `context`, `data` and
`diagnostics`. Any of them may be missing, and values may be anything. Nothing that the application said is lost: what
is no field of an event becomes metadata, under its own name, or `data.<name>` where that name is taken. Of diagnostics
only the exception is kept, without its stack, for the reasons that `causes` has. The entry is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from fapilog_audit.errors import ConfigError
from fapilog_audit.kinds import AuditEventType, AuditLogLevel, parse_event_type, parse_log_level

__all__ = ["AUDIT_LEVEL", "SECURITY_LEVEL", "MappedEntry", "map_entry"]

AUDIT_LEVEL: Final = "fapilog.audit"
"""The type of what is logged at the level AUDIT."""

SECURITY_LEVEL: Final = "fapilog.security"
"""The type of what is logged at the level SECURITY: not every such event is a violation, and a trail is for good."""

_KINDS: Final[Mapping[str, tuple[AuditEventType | str, AuditLogLevel]]] = {
    "DEBUG": (AuditEventType.DATA_ACCESS, AuditLogLevel.DEBUG),
    "INFO": (AuditEventType.DATA_ACCESS, AuditLogLevel.INFO),
    "WARNING": (AuditEventType.COMPLIANCE_CHECK, AuditLogLevel.WARNING),
    "WARN": (AuditEventType.COMPLIANCE_CHECK, AuditLogLevel.WARNING),
    "ERROR": (AuditEventType.ERROR_OCCURRED, AuditLogLevel.ERROR),
    "CRITICAL": (AuditEventType.ERROR_OCCURRED, AuditLogLevel.CRITICAL),
    "FATAL": (AuditEventType.ERROR_OCCURRED, AuditLogLevel.CRITICAL),
    "AUDIT": (AUDIT_LEVEL, AuditLogLevel.SECURITY),
    "SECURITY": (SECURITY_LEVEL, AuditLogLevel.SECURITY),
}
_OTHER: Final = (AuditEventType.DATA_ACCESS, AuditLogLevel.INFO)

_TEXTS: Final = (
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "tenant_id",
    "client_ip",
    "user_agent",
    "component",
    "operation",
    "outcome",
    "data_classification",
)
_SWITCHES: Final = ("contains_pii", "contains_phi")
_TRACE: Final = ("trace_id", "span_id")
_AS_TEXT: Final = (int, float, Decimal, UUID, IPv4Address, IPv6Address)

_TAKEN: Final = frozenset(
    {"self", "event_type", "message", "log_level", "error", "regulatory_tags", "durability"}
    | {*_TEXTS, *_SWITCHES, *_TRACE}
)
"""Fields of an event and parameters of `log_event`: no metadata can be passed to it under these names."""

_HANDLED: Final = frozenset({"timestamp", "level", "message", "logger", "context", "data", "diagnostics", "integrity"})
_NO_NAME: Final = "root"
"""What fapilog calls a logger that nobody named."""


@dataclass(frozen=True, slots=True)
class MappedEntry:
    """An entry as it is recorded.

    Attributes:
        arguments: the keyword arguments of `AuditTrail.log_event`, metadata among them.
        trace: `trace_id` and `span_id` where they are known, for `audit_context`.
    """

    arguments: dict[str, Any]
    trace: dict[str, str]


def map_entry(entry: Mapping[str, Any]) -> MappedEntry:
    """Return how an entry is recorded; docs/how-to/audit-sink.md has the table."""
    given = _Given(entry)
    event_type, log_level = given.kind()
    arguments: dict[str, Any] = {
        "event_type": event_type,
        "message": str(entry.get("message", "")),
        "log_level": log_level,
    }
    trace = {name: text for name in _TRACE if (text := given.take_text(name)) is not None}
    arguments.update({name: text for name in _TEXTS if (text := given.take_text(name)) is not None})
    arguments.update({name: switch for name in _SWITCHES if (switch := given.take_switch(name)) is not None})
    if "request_id" not in arguments and (request := given.take_text("correlation_id")) is not None:
        arguments["request_id"] = request
    logger = _text(entry.get("logger"))
    if "component" not in arguments and logger not in (None, _NO_NAME):
        arguments["component"] = logger
    tags = given.take_tags()
    if tags:
        arguments["regulatory_tags"] = tags
    error = given.take_error()
    if error is not None:
        arguments["error"] = error
    return MappedEntry({**given.rest(), **arguments}, trace)


class _Given:
    """What an entry holds and nobody has taken yet."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = entry
        self._data = _members(entry.get("data"))
        self._context = _members(entry.get("context"))
        self._own: dict[str, Any] = {}
        """Metadata that is not the application's."""
        if entry.get("timestamp") is not None:
            self._own["logged_at"] = entry["timestamp"]
        message_id = self._context.pop("message_id", None)
        if message_id is not None:
            self._own["message_id"] = message_id

    def kind(self) -> tuple[AuditEventType | str, AuditLogLevel]:
        """Return type and level, by the level of the entry unless the application says otherwise."""
        word = str(self._entry.get("level") or "").strip().upper()
        event_type, log_level = _KINDS.get(word, _OTHER)
        event_type = self._take_parsed("audit_event_type", parse_event_type, event_type)
        log_level = self._take_parsed("audit_log_level", parse_log_level, log_level)
        if word and word != log_level.upper():
            self._own["level"] = word
        return event_type, log_level

    def _take_parsed(self, name: str, parse: Any, else_: Any) -> Any:  # noqa: ANN401 (a word of one set or the other)
        """Return what the application says of its own; what is no such word stays metadata."""
        for group in (self._data, self._context):
            value = group.get(name)
            for spelled in (value, value.lower()) if isinstance(value, str) else ():
                with suppress(ConfigError):
                    word = parse(spelled)
                    del group[name]
                    return word
        return else_

    def take_text(self, name: str) -> str | None:
        """Return a field that is text, of data or else of the context."""
        data, context = self._data, self._context
        found = None
        if name in data:
            found = _taken_text(data, name)
        if name in context and (found is None or _text(context[name]) == found):
            # What both say is said once; what they say differently is kept as metadata.
            found = _taken_text(context, name)
        return found

    def take_switch(self, name: str) -> bool | None:
        """Return a field that is True or False."""
        for group in (self._data, self._context):
            if isinstance(group.get(name), bool):
                return bool(group.pop(name))
        return None

    def take_tags(self) -> list[str] | None:
        """Return the regulatory tags."""
        for group in (self._data, self._context):
            value = group.get("regulatory_tags")
            given = [value] if isinstance(value, str) else value
            if isinstance(given, list | tuple | set | frozenset):
                tags = [text for tag in given if (text := _text(tag)) is not None]
                if len(tags) == len(given):
                    del group["regulatory_tags"]
                    return sorted(tags) if isinstance(given, set | frozenset) else tags
        return None

    def take_error(self) -> BaseException | dict[str, Any] | str | None:
        """Return the exception that was logged, else what the application calls `error`."""
        exception = _members(_members(self._entry.get("diagnostics")).get("exception"))
        if exception:
            return _described(exception)
        error = self._data.get("error")
        if isinstance(error, Mapping):
            error = _members(error)
        if not isinstance(error, BaseException | dict | str) or not error:
            return None
        del self._data["error"]
        return error

    def rest(self) -> dict[str, Any]:
        """Return what is left, as metadata."""
        kept = self._own
        groups = {
            "data": self._data,
            "context": {name: value for name, value in self._context.items() if value is not None},
            "metadata": _members(self._entry.get("metadata")),
            "entry": self._strangers(),
        }
        for group, members in groups.items():
            for name, value in members.items():
                place = name
                while place in _TAKEN or place in kept:
                    place = f"{group}.{place}"
                kept[place] = value
        return kept

    def _strangers(self) -> dict[str, Any]:
        """Return what stands beside the groups, and groups that are none."""
        shaped = {name for name in ("context", "data", "metadata") if isinstance(self._entry.get(name), Mapping)}
        left_out = (_HANDLED - {"context", "data"}) | shaped
        return {str(name): value for name, value in self._entry.items() if name not in left_out and value is not None}


def _members(group: object) -> dict[str, Any]:
    return {str(name): value for name, value in group.items()} if isinstance(group, Mapping) else {}


def _text(value: object) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str(value) or None
    return str(value) if isinstance(value, _AS_TEXT) and not isinstance(value, bool) else None


def _taken_text(group: dict[str, Any], name: str) -> str | None:
    """Return a member as text and take it out; one that is neither text nor empty stays."""
    value = group[name]
    text = _text(value)
    if text is not None or value is None or isinstance(value, str):
        del group[name]
    return text


def _described(exception: Mapping[str, Any]) -> dict[str, Any]:
    described = {
        name: str(exception[f"error.{name}"]) for name in ("type", "message") if exception.get(f"error.{name}")
    }
    cause = exception.get("error.cause")
    return {**described, "causes": [{"type": str(cause)}]} if cause else described
