"""What every event takes from where it happens: who acts, for which tenant, in which request and trace.

`audit_context` is ours; what fapilog keeps in its own context variables and OpenTelemetry in its current span stands in
behind it. Neither is imported for that: what nobody has imported holds nothing.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["audit_context", "current_context"]

_context: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("fapilog_audit_context", default=None)

_HOST: Final = "fapilog.core.errors"
_HOST_NAMES: Final = ("request_id", "user_id", "session_id", "tenant_id", "trace_id", "span_id")
_SPANS: Final = "opentelemetry.trace"

_host_variables: list[tuple[str, Callable[[None], str | None]]] = []


@contextmanager
def audit_context(  # noqa: PLR0913 (fields, each by its name)
    *,
    actor: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    tenant_id: str | None = None,
    client_ip: str | None = None,
    user_agent: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    component: str | None = None,
) -> Iterator[None]:
    """Have every event of this task or thread, and of those it starts, carry these fields unless it names its own.

    Contexts nest: what the inner one does not name stays as it is.
    """
    given = {
        "actor": actor,
        "user_id": user_id,
        "session_id": session_id,
        "request_id": request_id,
        "tenant_id": tenant_id,
        "client_ip": client_ip,
        "user_agent": user_agent,
        "trace_id": trace_id,
        "span_id": span_id,
        "component": component,
    }
    token = _context.set({**(_context.get() or {}), **{name: text for name, text in given.items() if text}})
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> dict[str, Any]:
    """Return the fields that an event takes from here, as a dict of its own."""
    fields: dict[str, Any] = {}
    spans = sys.modules.get(_SPANS)
    if spans is not None:
        _add_span(spans, fields)
    if _host_variables or _HOST in sys.modules:
        for name, get in _host_variables or _find_host_variables():
            text = get(None)
            if text:
                fields[name] = text
    own = _context.get()
    if own:
        fields.update(own)
    return fields


def _add_span(spans: Any, fields: dict[str, Any]) -> None:  # noqa: ANN401 (a module that may not be there)
    # While another thread imports it, the module is there and its functions are not.
    get_current_span = getattr(spans, "get_current_span", None)
    span = None if get_current_span is None else get_current_span()
    if span is None or span is spans.INVALID_SPAN:
        return
    place = span.get_span_context()
    if place.is_valid:
        fields["trace_id"], fields["span_id"] = f"{place.trace_id:032x}", f"{place.span_id:016x}"


def _find_host_variables() -> list[tuple[str, Callable[[None], str | None]]]:
    host = sys.modules[_HOST]
    found = ((name, getattr(host, f"{name}_var", None)) for name in _HOST_NAMES)
    # While fapilog is being imported some may not be there yet.
    variables = [(name, variable.get) for name, variable in found if variable is not None]
    if len(variables) == len(_HOST_NAMES):
        _host_variables.extend(variables)
    return variables
