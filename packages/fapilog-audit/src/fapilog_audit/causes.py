"""An exception as an event tells of it: what it is and what it says, with its causes; no stack, no values of variables.

Stacks name paths and quote lines of code; whoever wants them in an audit trail passes them as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fapilog_audit.kinds import AuditLogLevel

__all__ = ["describe_error", "error_fields", "error_level"]

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
        return {"message": error}
    described = _describe(error)
    causes = _causes(error)
    if causes:
        described["causes"] = causes
    return described


def error_fields(error: object) -> dict[str, Any]:
    """Return what the context of a FapilogError says of who and where."""
    context = getattr(error, "context", None)
    if not isinstance(error, BaseException) or context is None:
        return {}
    fields = {name: getattr(context, name, None) for name in _HOST_FIELDS}
    fields["component"] = getattr(context, "component_name", None) or getattr(context, "plugin_name", None)
    return {name: text for name, text in fields.items() if isinstance(text, str) and text}


def error_level(error: object) -> AuditLogLevel:
    """Return how grave an error is: what a FapilogError says, else `error`."""
    severity = _word(getattr(getattr(error, "context", None), "severity", None))
    return _LEVELS.get(severity or "", AuditLogLevel.ERROR)


def _describe(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {"type": kind.__qualname__, "message": _text(error)}
    if kind.__module__ != "builtins":
        described["module"] = kind.__module__
    context = getattr(error, "context", None)
    for name in ("category", "severity", "recovery_strategy", "error_id"):
        word = _word(getattr(context, name, None))
        if word is not None:
            described[name] = word
    extra = getattr(context, "metadata", None)
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
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (the code of an exception that is broken itself; the event must not be lost)
        return f"<its text cannot be made: {type(broken).__name__}>"


def _word(value: object) -> str | None:
    word = getattr(value, "value", value)
    return word if isinstance(word, str) else None
