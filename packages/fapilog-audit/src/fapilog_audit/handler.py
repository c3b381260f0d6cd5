"""`AuditHandler`: records of the standard library's logging become audit events.

logging.getLogger("shop.audit").addHandler(AuditHandler(trail))
logging.getLogger("shop.audit").info("invoice %s was read", 17, extra={"user_id": "u-1", "event_type": "data_access"})
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.doors import Door, placed
from fapilog_audit.kinds import AuditEventType, AuditLogLevel, parse_event_type
from fapilog_audit.sink.mapping import AUDIT_LEVEL, SECURITY_LEVEL
from fapilog_audit.writes import check_durability

if TYPE_CHECKING:
    from fapilog_audit.trail import AuditTrail
    from fapilog_tamper.writer.promise import Durability

__all__ = ["AuditHandler"]

_OURS: Final = ("fapilog_audit", "fapilog_tamper")
_THREADS: Final = ("sealed-log ", "audit trail ", "audit backend ", "audit alerts ")
"""What threads of a trail are called. One that waited for an event would wait for itself, or alert without end."""

_LEVELS: Final = (
    (logging.CRITICAL, AuditLogLevel.CRITICAL),
    (logging.ERROR, AuditLogLevel.ERROR),
    (logging.WARNING, AuditLogLevel.WARNING),
    (logging.INFO, AuditLogLevel.INFO),
)
_SECURITY: Final = {"AUDIT": AUDIT_LEVEL, "SECURITY": SECURITY_LEVEL}
"""Levels that fapilog adds, by name."""

RECORD: Final = "logging.record"
"""The event type of records that say nothing else: nobody knows what a line of text reports."""

_TYPES: Final[dict[AuditLogLevel, AuditEventType | str]] = {
    AuditLogLevel.CRITICAL: AuditEventType.ERROR_OCCURRED,
    AuditLogLevel.ERROR: AuditEventType.ERROR_OCCURRED,
}
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class AuditHandler(logging.Handler):
    """Records each log record in an audit trail, in whatever thread it comes from.

    The event is stored when the logging call returns, so the call may wait for the disk, in a coroutine too, where the
    loop waits with it; `durability="accepted"` avoids that, and promises less. No formatter is used: the message is
    `record.getMessage()`. What `extra` gives stands in the field of its name (`user_id`, `event_type`, `outcome`, ...),
    the members of `metadata` and all else in the metadata of the event.

    Records of this package are passed over, and those that storing events gives rise to: what is logged while an event
    is being stored in the same thread, and in threads of a trail, by its backend and alert handlers, too.

    A failure goes to `logging.Handler.handleError`. Closing the handler does not stop the trail.

    Args:
        trail: where events go.
        name: which of the named trails, in place of `trail`; without both, the default one, made with the first record.
        level: records below it are passed over.
        event_type: of records that do not name one. By default it is `error_occurred` for errors,
            `fapilog.audit` and `fapilog.security` for the levels AUDIT and SECURITY, `logging.record` for everything
            else.
        durability: the promise of each event, instead of the policy's and the trail's.

    Raises:
        ConfigError: something that cannot work.
    """

    def __init__(
        self,
        trail: AuditTrail | None = None,
        *,
        name: str | None = None,
        level: int | str = logging.NOTSET,
        event_type: AuditEventType | str | None = None,
        durability: Durability | None = None,
    ) -> None:
        super().__init__(level)
        self._door = Door(trail, name)
        self._event_type = None if event_type is None else parse_event_type(event_type)
        self._durability = None if durability is None else check_durability(durability)
        self._here = threading.local()

    def createLock(self) -> None:  # noqa: N802 (of logging)
        """Have no lock: trails take events from any thread; one that waits for a disk must not hold up the others."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Record what the filters let through; without the lock that logging holds meanwhile."""
        passed = self.filter(record)
        if not passed:
            return False
        self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Record an event."""
        if _is_ours(record) or getattr(self._here, "busy", False):
            return
        self._here.busy = True
        try:
            fields = _fields_of(record)
            level = AuditLogLevel(fields.pop("log_level"))
            given = fields.pop("event_type", None) or self._event_type or _SECURITY.get(record.levelname)
            kind = given or _TYPES.get(level, RECORD)
            if self._durability is not None:
                fields.setdefault("durability", self._durability)
            trail = self._door.open_now()
            trail.log(kind, record.getMessage(), log_level=level, **fields)
        except RecursionError:
            # Handling it would make it worse (bpo-36272).
            raise
        except Exception:  # noqa: BLE001 (whatever it is: logging has one place for it, and the application goes on)
            self.handleError(record)
        finally:
            self._here.busy = False


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OURS or (record.threadName or "").startswith(_THREADS)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    more = given.pop("metadata", None)
    event_type, level = given.pop("event_type", None), given.pop("log_level", None)
    fields = placed({**more, **given} if isinstance(more, Mapping) else given | {"metadata_": more})
    fields.setdefault("component", record.name)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        fields["error"] = error
    return {**fields, "event_type": event_type, "log_level": level or _level_of(record)}


def _level_of(record: logging.LogRecord) -> AuditLogLevel:
    if record.levelname in _SECURITY:
        return AuditLogLevel.SECURITY
    return next((level for floor, level in _LEVELS if record.levelno >= floor), AuditLogLevel.DEBUG)
