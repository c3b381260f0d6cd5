"""The public API of fapilog-audit as a user types it; read by mypy and pyright, never run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import fapilog_audit
from fapilog_audit import (
    AccessError,
    AuditChainVerificationResult,
    AuditError,
    AuditEvent,
    AuditEventType,
    AuditLogLevel,
    AuditTrail,
    ComplianceLevel,
    CompliancePolicy,
    ConfigError,
    EventPage,
    FileStorageBackend,
    IntegrityError,
    Query,
    RetentionItem,
    StoppedError,
    StorageBackend,
    StorageError,
    audit_context,
    audit_data_access,
    audit_error,
    audit_security_event,
    emit_compliance_alert,
    get_audit_trail,
    load_policy,
    log_error,
    log_security_event,
    reset_all_audit_trails,
    reset_audit_trail,
)
from fapilog_audit.schema import load_schema
from fapilog_tamper import VerifyReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_tamper import Keyring
    from fapilog_tamper.keys import SigningKey


class Store:
    """A backend of somebody's own: it needs no base class."""

    async def write(self, event: AuditEvent) -> None: ...

    async def flush(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, query: Query) -> Sequence[AuditEvent]:
        return []


class NoStore:
    """Lacks flush and close."""

    async def write(self, event: AuditEvent) -> None: ...


def policies(path: Path) -> CompliancePolicy:
    policy = CompliancePolicy(
        ComplianceLevel.PCI_DSS,
        audit_access_roles=["auditor"],
        on_storage_failure="raise",
        durability={"security": "synced", AuditLogLevel.INFO: "accepted"},
    )
    assert_type(load_policy(path), CompliancePolicy)
    assert_type(load_policy("policy.toml"), CompliancePolicy)
    assert_type(CompliancePolicy.from_dict(policy.to_dict()), CompliancePolicy)
    CompliancePolicy(on_storage_failure="ignore")  # type: ignore[arg-type]
    policy.enabled = False  # type: ignore[misc]
    return policy


def trails(path: Path, policy: CompliancePolicy, key: SigningKey) -> AuditTrail:
    def on_alert(event: AuditEvent) -> None: ...

    async def also(event: AuditEvent) -> None: ...

    AuditTrail()
    AuditTrail(policy, path)
    AuditTrail(policy, "audit_logs", Store())
    AuditTrail(storage_backend=FileStorageBackend(path), on_alert=[on_alert, also])
    trail = AuditTrail(policy, name="billing", key=key, old_keys=["file:old.jwk"], durability="synced", compress="zstd")
    AuditTrail(key="env:AUDIT_KEY", max_bytes=None, timeout=1, strict=True, inline=False, state_dir="state")
    AuditTrail(backend=NoStore())  # type: ignore[arg-type]
    AuditTrail(durability="always")  # type: ignore[arg-type]
    AuditTrail(key=b"secret")  # type: ignore[arg-type]
    assert_type(trail.policy, CompliancePolicy)
    assert_type(trail.storage_path, Path)
    assert_type(trail.name, str | None)
    assert_type(trail.started, bool)
    _backend: StorageBackend = Store()
    return trail


async def life(trail: AuditTrail) -> None:
    await trail.start()
    assert_type(await trail.drain(), list[str])
    assert_type(await trail.drain(timeout=1), list[str])
    assert_type(await trail.stop(timeout=1), list[str])
    await trail.cleanup()
    async with AuditTrail() as opened:
        assert_type(opened, AuditTrail)
    with AuditTrail() as also:
        assert_type(also, AuditTrail)
    assert_type(trail.health().ok, bool)
    assert_type(await trail.get_statistics(), dict[str, Any])


async def writing(trail: AuditTrail, error: Exception, event: AuditEvent) -> None:
    assert_type(await trail.log_event(AuditEventType.DATA_ACCESS, "m"), str)
    await trail.log_event(
        "acme.payment.approved",
        "m",
        log_level="critical",
        component="c",
        operation="o",
        outcome="success",
        error=error,
        actor="a",
        user_id="u",
        session_id="s",
        request_id="r",
        tenant_id="t",
        client_ip="192.0.2.1",
        user_agent="curl",
        contains_pii=True,
        contains_phi=False,
        data_classification="confidential",
        regulatory_tags={"gdpr"},
        durability="synced",
        invoice=17,
        lines=[1, 2],
    )
    assert_type(trail.log("acme.payment.approved", "m", error={"code": 7}, invoice=17), str)
    assert_type(await trail.log_error(error, operation="o", component="c", n=1), str)
    assert_type(await trail.log_security_event("authentication_failed", "m", user_id="u", client_ip="::1"), str)
    assert_type(await trail.log_data_access("invoice 17", "read", user_id="u", contains_pii=True), str)
    assert_type(await trail.log_change("limit", {"a": 1}, {"a": 2}, reason="asked for"), str)
    trail.alert(event)
    with audit_context(user_id="u", tenant_id="t", actor="job"):
        pass
    await trail.log_event("acme.x", "m", "info")  # type: ignore[call-arg]
    await trail.log_event("acme.x", "m", durability="always")  # type: ignore[arg-type]
    await trail.log_event("acme.x", "m", log_level=3)  # type: ignore[arg-type]
    await trail.log_error("text")  # type: ignore[arg-type]
    audit_context(user="u")  # type: ignore[call-arg]


async def reading(trail: AuditTrail, moment: datetime) -> None:
    page = await trail.get_events(moment, "2026-11-20", [AuditEventType.DATA_ACCESS, "acme.x"], "info", limit=5)
    assert_type(page, EventPage)
    assert_type(page.cursor, str | None)
    assert_type(page[0], AuditEvent)
    await trail.get_events(cursor=page.cursor, newest_first=False, role="auditor", include_control=True)
    assert_type(await trail.get_event("id", role="auditor"), AuditEvent | None)
    assert_type(await trail.count(user_id="u"), int)
    assert_type(await trail.get_subject_events("u"), EventPage)
    assert_type(trail.retention_plan(), list[RetentionItem])
    async for event in trail.tail(from_start=True, user_id="u"):
        assert_type(event, AuditEvent)
    await trail.get_events(limit="5")  # type: ignore[arg-type]
    await trail.get_events(color="red")  # type: ignore[call-arg]


async def verifying(trail: AuditTrail, events: list[AuditEvent], key: SigningKey, ring: Keyring) -> None:
    assert_type(trail.verify_event(events[0]), bool)
    assert_type(AuditTrail.verify_event(events[0], key=key), bool)
    assert_type(trail.verify_chain(events), AuditChainVerificationResult)
    assert_type(AuditTrail.verify_chain(iter(events), keyring=ring), AuditChainVerificationResult)
    result = await trail.verify_chain_from_storage()
    assert_type(result, AuditChainVerificationResult)
    assert_type(result.valid, bool)
    assert_type(result.events_checked, int)
    assert_type(result.first_invalid_sequence, int | None)
    assert_type(result.error_message, str | None)
    assert_type(result.report, VerifyReport | None)
    assert_type(result.notes, tuple[str, ...])
    assert_type(result.keyed, bool)
    result.valid = True  # type: ignore[misc]
    AuditTrail.verify_event(events)  # type: ignore[arg-type]
    AuditTrail.verify_chain(events[0])  # type: ignore[arg-type]


def events(event: AuditEvent) -> None:
    assert_type(event.event_id, str)
    assert_type(event.timestamp, datetime)
    assert_type(event.event_type, AuditEventType | str)
    assert_type(event.log_level, AuditLogLevel)
    assert_type(event.user_id, str | None)
    assert_type(event.regulatory_tags, list[str])
    assert_type(event.metadata, dict[str, Any])
    assert_type(event.error, dict[str, Any] | None)
    assert_type(event.sealed_line, bytes | None)
    assert_type(event.sequence_number, int | None)
    assert_type((event.previous_hash, event.checksum, event.signature), tuple[str | None, str | None, str | None])
    assert_type(AuditEvent.from_line(b""), AuditEvent)
    assert_type(event.to_members(), dict[str, Any])
    assert_type(load_schema(), dict[str, Any])
    assert_type(fapilog_audit.__version__, str)


async def instances(policy: CompliancePolicy, error: Exception, event: AuditEvent) -> None:
    assert_type(await get_audit_trail(), AuditTrail)
    assert_type(await get_audit_trail(policy, "logs", name="billing", timeout=1), AuditTrail)
    assert_type(await audit_error(error, operation="o", name="billing", n=1), str)
    assert_type(await audit_security_event("authentication_failed", "m", user_id="u", name="billing"), str)
    assert_type(await audit_data_access("r", "read", user_id="u", name="billing"), str)
    assert_type(await log_error(error), str)
    assert_type(await log_security_event("authentication_failed", "m"), str)
    await emit_compliance_alert(event, name="billing")
    await reset_audit_trail("billing")
    await reset_all_audit_trails()
    await audit_error("text")  # type: ignore[arg-type]


def errors(error: StorageError) -> None:
    assert_type((error.message, error.hint, error.event_id, error.pending), tuple[str, str, str, bool])
    roots: list[type[AuditError]] = [AccessError, ConfigError, IntegrityError, StoppedError, StorageError]
    assert_type(roots, list[type[AuditError]])
