"""An exception as an event tells of it: what it is and what it says, with its causes; no stack, no values of variables.

Stacks name paths and quote lines of code; whoever wants them in an audit trail passes them as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from fapilog_audit.kinds import AuditLogLevel

__all__ = ["describe_error", "error_fields", "error_level", "error_text"]

_MOST_CAUSES: Final = 5
_HOST_FIELDS: Final = ("user_id", "session_id", "request_id")
_LEVELS: Final = {
    "critical": AuditLogLevel.CRITICAL,
    "high": AuditLogLevel.ERROR,
    "medium": AuditLogLevel.WARNING,
    "low": AuditLogLevel.INFO,
    "info": AuditLogLevel.INFO,
}


def describe_error(error: BaseException | Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the `error` of an event. A FapilogError brings its category, severity and id."""
    if isinstance(error, Mapping):
        return dict(error)
    if not isinstance(error, BaseException):
        return {} if type(error) is str and not error else {"message": error}
    described = _describe(error)
    causes = _causes(error)
    if causes:
        described["causes"] = causes
    if isinstance(error, BaseExceptionGroup):
        described["exceptions"] = [_describe(one) for one in error.exceptions[:_MOST_CAUSES]]
    return described


def error_text(error: object) -> str:
    """Return what an error says: its `message`, where it has one, else its text."""
    message = _get(error, "message")
    return message if isinstance(message, str) and message else _text(error)


def error_fields(error: object) -> dict[str, Any]:
    """Return what the context of a FapilogError says of who and where."""
    context = _get(error, "context")
    if not isinstance(error, BaseException) or context is None:
        return {}
    fields = {name: _get(context, name) for name in _HOST_FIELDS}
    names = (_get(context, "component_name"), _get(context, "plugin_name"))
    fields["component"] = next((name for name in names if isinstance(name, str) and name), None)
    return {name: text for name, text in fields.items() if isinstance(text, str) and text}


def error_level(error: object) -> AuditLogLevel:
    """Return how grave an error is: what a FapilogError says, else `error`."""
    severity = _word(_get(_get(error, "context"), "severity"))
    return _LEVELS.get(severity or "", AuditLogLevel.ERROR)


def _describe(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {"type": kind.__qualname__, "message": _text(error)}
    if kind.__module__ != "builtins":
        described["module"] = kind.__module__
    context = _get(error, "context")
    for name in ("category", "severity", "recovery_strategy", "error_id"):
        word = _word(_get(context, name))
        if word is not None:
            described[name] = word
    extra = _get(context, "metadata")
    if "category" in described and isinstance(extra, Mapping) and extra:
        described["metadata"] = dict(extra)
    return described


def _causes(error: BaseException) -> list[dict[str, Any]]:
    causes: list[dict[str, Any]] = []
    seen = {id(error)}
    cause = _cause_of(error)
    while cause is not None and id(cause) not in seen and len(causes) < _MOST_CAUSES:
        causes.append(_describe(cause))
        seen.add(id(cause))
        cause = _cause_of(cause)
    return causes


def _cause_of(error: BaseException) -> BaseException | None:
    # Properties of a broken exception may raise, or be anything.
    cause = _get(error, "__cause__") or (None if _get(error, "__suppress_context__") else _get(error, "__context__"))
    return cause if isinstance(cause, BaseException) else None


def _get(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 (a property of an exception that is broken itself)
        return None


def _text(error: object) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (the code of an exception that is broken itself; the event must not be lost)
        return f"<its text cannot be made: {type(broken).__name__}>"


def _word(value: object) -> str | None:
    word = value.value if isinstance(value, Enum) else value
    return word if isinstance(word, str) else None
