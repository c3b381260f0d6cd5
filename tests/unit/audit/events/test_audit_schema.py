"""The JSON schema of the stored line: it ships, it is true of what a trail writes, and it names what an event has."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from unit.audit.events.recording import TYPE, lines

from fapilog_audit import AuditEvent, AuditEventType, AuditLogLevel, AuditTrail, ComplianceLevel, CompliancePolicy
from fapilog_audit.schema import load_schema
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey

KEYS = {"unkeyed": None, "hmac": HmacKey("k1", bytes(32)), "ed25519": Ed25519SigningKey("ed", bytes(32))}
SCHEMA = load_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
EVERYTHING = {
    "component": "billing",
    "operation": "read",
    "outcome": "success",
    "error": {"type": "ValueError", "message": "no"},
    "actor": "job-7",
    "user_id": "u-1",
    "session_id": "s-1",
    "request_id": "r-1",
    "tenant_id": "t-1",
    "client_ip": "192.0.2.1",
    "user_agent": "curl/8",
    "contains_pii": True,
    "contains_phi": False,
    "data_classification": "confidential",
    "regulatory_tags": ["gdpr"],
    "n": 1,
}
ODD = {"user_id": 17, "message_of": b"\xff", "outcome": {"a": {1, 2}}, "contains_pii": "yes", "regulatory_tags": [3]}


def problems(line: bytes) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(json.loads(line))]


def line_of(folder, **changes) -> dict:
    with AuditTrail(storage_path=folder) as trail:
        trail.log(TYPE, "m", **EVERYTHING)
    return {**json.loads(lines(folder)[0]), **changes}


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("level", ["basic", "none"])
def test_every_line_that_a_trail_writes_follows_the_schema(key, level, tmp_path):
    with AuditTrail(CompliancePolicy(level, lifecycle_events=True), storage_path=tmp_path, key=key) as trail:
        for kind in [*AuditEventType, TYPE, "a-1.b_2.C3"]:
            trail.log(kind, f"{kind} \u2028 é 😀")
        for grade in AuditLogLevel:
            trail.log(TYPE, "", log_level=grade, **EVERYTHING)
            trail.log(TYPE, {"no": "text"}, log_level=grade, **ODD)
        trail.log(TYPE, "m", error=ExceptionGroup("several", [ValueError(1), KeyError("k")]))
        trail.log(TYPE, "x" * 200_000, user_agent="y" * 200_000, error={str(n): n for n in range(20_000)})
        trail.log(TYPE, "m", regulatory_tags=range(20_000), **{f"k{n}": ["z" * 9] for n in range(20_000)})
    written = lines(tmp_path)
    assert len(written) == 22 + 2 * len(AuditLogLevel) + 3 + 2
    assert [problems(line) for line in written] == [[]] * len(written)


def test_the_members_of_the_schema_are_the_fields_of_an_event():
    assert SCHEMA["properties"].keys() - {"integrity"} == AuditEvent.model_fields.keys()


def test_the_words_of_the_schema_are_those_of_the_package():
    words = SCHEMA["properties"]
    assert words["event_type"]["anyOf"][0]["enum"] == [str(one) for one in AuditEventType]
    assert words["log_level"]["enum"] == [str(one) for one in AuditLogLevel]
    assert words["compliance_level"]["enum"] == [str(one) for one in ComplianceLevel]


def test_what_every_event_has_is_required(tmp_path):
    with AuditTrail(storage_path=tmp_path) as trail:
        trail.log(TYPE, "")
    assert set(SCHEMA["required"]) == json.loads(lines(tmp_path)[0]).keys()


def test_a_member_that_nobody_knows_is_allowed(tmp_path):
    assert VALIDATOR.is_valid(line_of(tmp_path, later_member=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", ""),
        ("user_id", None),
        ("component", None),
        ("metadata", {}),
        ("error", None),
        ("regulatory_tags", []),
        ("event_id", "241ecabe-da02-453d-b4ee-ffc933dd3be6"),
        ("timestamp", "2026-11-20T12:00:00Z"),
        ("timestamp", "2026-11-20T12:00:00.000000+00:00"),
        ("event_type", "data_acess"),
        ("event_type", "sealed_log.gap"),
        ("log_level", "INFO"),
        ("compliance_level", "pci-dss"),
        ("contains_pii", None),
        ("message", None),
        ("sealed_log", {}),
        ("integrity", {}),
    ],
)
def test_what_no_trail_writes_is_refused(name, value, tmp_path):
    line = line_of(tmp_path)
    assert VALIDATOR.is_valid(line)
    assert not VALIDATOR.is_valid({**line, name: value})


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_a_line_without_a_required_member_is_refused(name, tmp_path):
    line = line_of(tmp_path)
    del line[name]
    assert not VALIDATOR.is_valid(line)


@pytest.mark.parametrize("change", [{"mac": "A" * 43}, {"algo": "HMAC-SHA256"}, {"seq": 0}, {"prev_chain_hash": "A"}])
def test_an_integrity_block_that_cannot_be_is_refused(change, tmp_path):
    line = line_of(tmp_path)
    line["integrity"] |= change
    assert not VALIDATOR.is_valid(line)


def test_each_caller_gets_a_schema_of_its_own():
    load_schema().clear()
    assert load_schema() == SCHEMA
