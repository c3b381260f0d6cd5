"""What the doors for code that knows nothing of fapilog share: which trail, and where what they were given belongs.

The middleware, the logging handler and the decorator look their trail up with each event, so that one that was reset,
or made later, is the one that gets it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.errors import ConfigError
from fapilog_audit.instances import find_audit_trail, get_audit_trail, get_audit_trail_now
from fapilog_audit.trail import AuditTrail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper.errors import HintedError

__all__ = ["CONTEXT_FIELDS", "Door", "metadata_of", "placed", "record"]

CONTEXT_FIELDS: Final = ("actor", "user_id", "session_id", "tenant_id")
"""Who does something: what `audit_context` takes besides the request itself."""

_FIELDS: Final = frozenset(
    {
        *CONTEXT_FIELDS,
        "request_id",
        "client_ip",
        "user_agent",
        "component",
        "operation",
        "outcome",
        "contains_pii",
        "contains_phi",
        "data_classification",
        "regulatory_tags",
        "durability",
    }
)
_TAKEN: Final = frozenset({"self", "event_type", "message", "log_level", "error"})
"""Parameters of `log_event` that metadata cannot be called."""

_begun: Final[set[asyncio.Task[str]]] = set()


class Door:
    """The trail that a door leads to: the one given, else the instance of a name."""

    __slots__ = ("_given", "name")

    def __init__(self, trail: AuditTrail | None, name: str | None) -> None:
        if trail is not None and not isinstance(trail, AuditTrail):
            raise ConfigError(f"trail is {trail!r:.80}.", hint="Give an AuditTrail, or the name of one.")
        if trail is not None and name is not None:
            raise ConfigError("trail and name were both given.", hint="Give one of them.")
        self._given = trail
        self.name = name

    @property
    def trail(self) -> AuditTrail | None:
        """The trail, as far as it exists."""
        return self._given or find_audit_trail(self.name)

    async def open(self) -> AuditTrail:
        """Return the trail; make it where it does not exist."""
        return self.trail or await get_audit_trail(name=self.name)

    def open_now(self) -> AuditTrail:
        """As `open`, for code that is no coroutine; may wait for the disk."""
        return self.trail or get_audit_trail_now(self.name)

    def must_raise(self, error: HintedError) -> bool:
        """Tell whether an event that is not recorded is an error of the code that it is about, not a warning."""
        trail = self.trail
        return trail is None or isinstance(error, ConfigError) or trail.policy.on_storage_failure == "raise"


def placed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords for `log_event`; a name that it has for something else gets an underscore at its end."""
    return {f"{name}_" if name in _TAKEN else name: value for name, value in given.items() if value is not None}


def metadata_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords for `log_event` that all end up in its metadata."""
    return {f"{name}_" if name in _TAKEN or name in _FIELDS else name: value for name, value in given.items()}


async def record(trail: AuditTrail, event_type: str, message: str, fields: Mapping[str, Any]) -> str:
    """Record an event, to the end even if the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(trail.log_event(event_type, message, **fields))
    # The loop itself has weak references only.
    _begun.add(task)
    task.add_done_callback(_begun.discard)
    return await asyncio.shield(task)
