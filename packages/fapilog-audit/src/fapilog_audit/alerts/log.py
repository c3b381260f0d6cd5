"""The alert handler by default: a record of the standard library's logging, under the name `fapilog_audit.alerts`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fapilog_audit.event import AuditEvent

__all__ = ["log_alert"]

_LOGGER: Final = logging.getLogger("fapilog_audit.alerts")


def log_alert(event: AuditEvent) -> None:
    """Log that an event is worth an alert."""
    who = event.user_id or event.actor
    _LOGGER.critical(
        "audit alert: %s [%s]%s %s (event %s)",
        event.event_type,
        event.log_level,
        f" by {who}:" if who else "",
        event.message,
        event.event_id,
        extra={"audit_event_id": event.event_id, "audit_event_type": str(event.event_type)},
    )
