"""The recording half of an audit trail: every way to say that something happened.

log_event -> members -> payload -> recorder (sealed log, backlog, backend) -> alert
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from fapilog_audit.alerts import AlertDelivery, log_alert
from fapilog_audit.causes import error_level, error_text
from fapilog_audit.counting import Special
from fapilog_audit.encode import EventEncoder, encode_members
from fapilog_audit.errors import ConfigError
from fapilog_audit.event import AuditEvent
from fapilog_audit.kinds import AuditEventType, AuditLogLevel
from fapilog_audit.ledger import SharedCall
from fapilog_audit.recorder import Recorder
from fapilog_tamper.writer.promise import Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fapilog_audit.backends.base import StorageBackend
    from fapilog_audit.policy import CompliancePolicy
    from fapilog_audit.settings import TrailSettings

__all__ = ["TrailWriter", "check_durability"]

_NONE: Final = object()
_DURABILITIES: Final = frozenset(get_args(Durability))
_VERBS: Final = {
    "read": AuditEventType.DATA_ACCESS,
    "write": AuditEventType.DATA_MODIFICATION,
    "update": AuditEventType.DATA_MODIFICATION,
    "delete": AuditEventType.DATA_DELETION,
    "export": AuditEventType.DATA_EXPORT,
}
_SECURITY: Final = (
    AuditLogLevel.SECURITY,
    AuditEventType.AUTHENTICATION_FAILED,
    AuditEventType.AUTHORIZATION_FAILED,
    AuditEventType.SECURITY_VIOLATION,
)


class TrailWriter(ABC):
    """What can be logged to an `AuditTrail`."""

    def __init__(
        self,
        settings: TrailSettings,
        policy: CompliancePolicy,
        backend: StorageBackend | None,
        before_opening: Callable[[], None],
    ) -> None:
        self._ready = False
        """Started, and the policy has events recorded."""
        self._idle = False
        """Started, and it has not."""
        promises = policy.promises(settings.durability or "written")
        self._promises: dict[str, Durability] = {str(level): promise for level, promise in promises.items()}
        self._encoder = EventEncoder(policy)
        self._recorder = Recorder(
            settings,
            on_failure=policy.on_storage_failure,
            framework=str(policy.level),
            backend=backend,
            before_opening=before_opening,
            count=self._count,
        )
        self._alerts = AlertDelivery(settings.handlers or (log_alert,), str(settings.folder))
        critical = Special(alerts=policy.real_time_alerts and policy.alert_on_critical_errors)
        security = Special(alerts=policy.real_time_alerts and policy.alert_on_security_events)
        error = Special(alerts=False)
        self._beginning = SharedCall(self._begin)
        # Reentrant: a signal handler may log while its thread counts.
        self._counting = threading.RLock()
        self._accepted = 0
        self._specials: dict[str, Special] = {
            AuditLogLevel.CRITICAL: critical,
            AuditLogLevel.ERROR: error,
            AuditEventType.ERROR_OCCURRED: error,
            **dict.fromkeys(_SECURITY, security),
        }
        """What is counted apart, by level or else by type."""

    def let_go(self) -> None:
        """Have locks of one's own in a child that was just forked: threads of the parent may hold those."""
        self._counting = threading.RLock()
        self._beginning.let_go()
        self._alerts.let_go()

    @abstractmethod
    def _begin(self) -> bool:
        """Start unless that is done; return whether events are recorded. Raises StoppedError."""

    async def log_event(  # noqa: PLR0913 (the fields of an event)
        self,
        event_type: AuditEventType | str,
        message: str,
        *,
        log_level: AuditLogLevel | str = AuditLogLevel.INFO,
        component: str | None = None,
        operation: str | None = None,
        outcome: str | None = None,
        error: BaseException | Mapping[str, Any] | str | None = None,
        actor: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        client_ip: str | None = None,
        user_agent: str | None = None,
        contains_pii: bool | None = None,
        contains_phi: bool | None = None,
        data_classification: str | None = None,
        regulatory_tags: Iterable[str] | None = None,
        durability: Durability | None = None,
        **metadata: Any,  # noqa: ANN401 (whatever the caller wants to keep)
    ) -> str:
        """Record an event, and return its id when the promise is kept; what happens otherwise is up to the policy.

        Fields that are not given come from `audit_context`, fapilog's context and the current span of OpenTelemetry.

        Args:
            event_type: one of `AuditEventType`, or a name of your own with a namespace: `acme.payment.approved`.
            message: what happened, for people.
            log_level: how grave it is.
            component: the part of the application.
            operation: what was being done.
            outcome: how it ended, `success` or `failure` say.
            error: an exception, or what is known of one.
            actor: who acts, where that is not the user: a service, a job.
            user_id: the user.
            session_id: the user's session.
            request_id: the request.
            tenant_id: the tenant.
            client_ip: where the request came from.
            user_agent: what it came with.
            contains_pii: the event holds personal data.
            contains_phi: the event holds health data.
            data_classification: of the data that it is about, `confidential` say.
            regulatory_tags: what else a reader should find it by.
            durability: the promise of this event, instead of the policy's and the trail's.
            metadata: everything else, under its own name.

        Raises:
            ConfigError: a type, level or durability that is none.
            StorageError: it is not stored, and the policy says `raise`.
            StoppedError: the trail was stopped.
        """
        if not self._ready and (self._idle or not await self._beginning()):
            return ""
        log = self._recorder.ledger.log
        gate = None if log is None else log.gate()
        if gate is not None and gate.must_turn():
            await gate.turn()
        members = self._encoder.members(
            event_type,
            message,
            log_level,
            component,
            operation,
            outcome,
            error,
            actor,
            user_id,
            session_id,
            request_id,
            tenant_id,
            client_ip,
            user_agent,
            contains_pii,
            contains_phi,
            data_classification,
            regulatory_tags,
            metadata.get("reason"),
        )
        event_id: str = members["event_id"]
        promise = self._promises[members["log_level"]] if durability is None else check_durability(durability)
        special = self._specials.get(members["log_level"]) or self._specials.get(members["event_type"])
        encoded = encode_members(members, metadata)
        await self._recorder.record(event_id, encoded, promise, special, gate)
        if special is not None and special.alerts:
            self._alerts.send(AuditEvent.from_payload(encoded.payload))
        return event_id

    def log(  # noqa: PLR0913 (see log_event)
        self,
        event_type: AuditEventType | str,
        message: str,
        *,
        log_level: AuditLogLevel | str = AuditLogLevel.INFO,
        component: str | None = None,
        operation: str | None = None,
        outcome: str | None = None,
        error: BaseException | Mapping[str, Any] | str | None = None,
        actor: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        client_ip: str | None = None,
        user_agent: str | None = None,
        contains_pii: bool | None = None,
        contains_phi: bool | None = None,
        data_classification: str | None = None,
        regulatory_tags: Iterable[str] | None = None,
        durability: Durability | None = None,
        **metadata: Any,  # noqa: ANN401 (see log_event)
    ) -> str:
        """As `log_event`, for code that is no coroutine; may wait for the disk."""
        if not self._ready and (self._idle or not self._begin()):
            return ""
        members = self._encoder.members(
            event_type,
            message,
            log_level,
            component,
            operation,
            outcome,
            error,
            actor,
            user_id,
            session_id,
            request_id,
            tenant_id,
            client_ip,
            user_agent,
            contains_pii,
            contains_phi,
            data_classification,
            regulatory_tags,
            metadata.get("reason"),
        )
        event_id: str = members["event_id"]
        promise = self._promises[members["log_level"]] if durability is None else check_durability(durability)
        special = self._specials.get(members["log_level"]) or self._specials.get(members["event_type"])
        encoded = encode_members(members, metadata)
        self._recorder.record_now(event_id, encoded, promise, special)
        if special is not None and special.alerts:
            self._alerts.send(AuditEvent.from_payload(encoded.payload))
        return event_id

    def _count(self, special: Special | None, by: int = 1) -> None:
        with self._counting:
            self._accepted += by
            if special is not None:
                special.count += by

    # In the words of an application.

    async def log_error(
        self,
        error: BaseException,
        *,
        operation: str | None = None,
        component: str | None = None,
        **metadata: Any,  # noqa: ANN401 (see log_event)
    ) -> str:
        """Record an exception; a FapilogError brings its severity, who and where."""
        where = {"operation": operation, "component": component}
        return await self.log_event(
            AuditEventType.ERROR_OCCURRED,
            f"Error occurred: {error_text(error)}",
            **{"log_level": error_level(error), "error": error, **metadata, **where},
        )

    async def log_security_event(
        self,
        event_type: AuditEventType | str,
        message: str,
        *,
        user_id: str | None = None,
        client_ip: str | None = None,
        user_agent: str | None = None,
        **metadata: Any,  # noqa: ANN401 (see log_event)
    ) -> str:
        """Record something that concerns security, at the level `security`."""
        fields = {"user_id": user_id, "client_ip": client_ip, "user_agent": user_agent}
        return await self.log_event(event_type, message, **{"log_level": AuditLogLevel.SECURITY, **metadata, **fields})

    async def log_data_access(
        self,
        resource: str,
        operation: str,
        *,
        user_id: str | None = None,
        data_classification: str | None = None,
        contains_pii: bool | None = None,
        contains_phi: bool | None = None,
        **metadata: Any,  # noqa: ANN401 (see log_event)
    ) -> str:
        """Record that data was read, written, updated, deleted or exported; any other verb is an access of its kind."""
        return await self.log_event(
            _VERBS.get(operation.lower(), AuditEventType.DATA_ACCESS),
            f"Data {operation} on resource: {resource}",
            operation=operation,
            user_id=user_id,
            data_classification=data_classification,
            contains_pii=contains_pii,
            contains_phi=contains_phi,
            resource=resource,
            **metadata,
        )

    async def log_change(
        self,
        resource: str,
        before: Any,  # noqa: ANN401 (whatever was changed)
        after: Any,  # noqa: ANN401 (see before)
        *,
        reason: str | None = None,
        **metadata: Any,  # noqa: ANN401 (see log_event)
    ) -> str:
        """Record a change: what was there, what is there now, and why.

        Of two mappings only the members that differ are kept. Both stand in the trail for good: leave secrets out.
        """
        kept_before, kept_after = _differing(before, after)
        facts = {"resource": resource, "before": kept_before, "after": kept_after, "reason": reason}
        return await self.log_event(
            AuditEventType.DATA_MODIFICATION,
            f"Changed: {resource}",
            **{"operation": "update", **metadata, **{name: fact for name, fact in facts.items() if fact is not None}},
        )

    def alert(self, event: AuditEvent) -> None:
        """Hand an event to the alert handlers, whatever the policy says of it."""
        self._alerts.send(event)


def check_durability(durability: Durability) -> Durability:
    """Return a promise as it was given; raises ConfigError for what is none."""
    if not isinstance(durability, str) or durability not in _DURABILITIES:
        raise ConfigError(f"durability is {durability!r:.80}.", hint="Use one of accepted, written, synced.")
    return durability


def _differing(before: object, after: object) -> tuple[object, object]:
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return before, after
    names = [name for name in {**before, **after} if _differ(before.get(name, _NONE), after.get(name, _NONE))]
    kept = [{name: one[name] for name in names if name in one} for one in (before, after)]
    return kept[0], kept[1]


def _differ(one: object, other: object) -> bool:
    try:
        return bool(one != other)
    except Exception:  # noqa: BLE001 (code of a value that cannot be compared; an array has no truth)
        return True
