"""What `AuditSink` can be told, and in which ways."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fapilog_audit import (
    AuditSinkConfig,
    AuditTrail,
    ComplianceLevel,
    CompliancePolicy,
    ConfigError,
    FileStorageBackend,
)
from fapilog_audit.settings import TrailSettings
from fapilog_audit.sink.config import parse_sink_config
from fapilog_tamper.keys import HmacKey

KEY = HmacKey("k1", bytes(range(32)))


def alert(event: object) -> None:
    """Hear of an alert."""


class Backend:
    """A backend that keeps nothing."""

    async def write(self, event: object) -> None: ...
    async def flush(self) -> None: ...
    async def close(self) -> None: ...


OF_TRAIL: dict[str, Any] = {
    "name": "n",
    "key": KEY,
    "old_keys": ("env:OLD",),
    "durability": "synced",
    "timeout": 1.5,
    "inline": False,
    "max_bytes": 1 << 20,
    "compress": "gzip",
    "max_buffer_bytes": 5000,
    "strict": True,
    "on_alert": alert,
}
OF_POLICY: dict[str, Any] = {
    "level": ComplianceLevel.HIPAA,
    "enabled": False,
    "retention_days": 3000,
    "archive_after_days": 10,
    "require_integrity_check": False,
    "audit_access_roles": ("boss",),
    "gdpr_data_subject_rights": True,
    "hipaa_minimum_necessary": True,
    "sox_change_control": True,
    "real_time_alerts": False,
    "alert_on_critical_errors": False,
    "alert_on_security_events": False,
    "on_storage_failure": "raise",
    "audit_reads": True,
    "lifecycle_events": True,
}


def test_every_parameter_of_a_trail_and_every_field_of_a_policy_is_an_option_with_its_default():
    known = {name: field.get_default() for name, field in AuditSinkConfig.model_fields.items()}
    parameters = {name: one.default for name, one in inspect.signature(AuditTrail).parameters.items()}
    of_policy = {each.name: each.default for each in fields(CompliancePolicy)}
    assert {name: known[name] for name in parameters} == parameters
    assert {name: known[name] for name in of_policy} == of_policy
    assert known.keys() - parameters.keys() - of_policy.keys() == {"compliance_level", "encrypt_logs", "exit_drain"}
    assert known["encrypt_logs"] is False


def test_no_option_goes_untested():
    places = {"policy", "storage_path", "state_dir", "backend", "storage_backend"}
    others = {"compliance_level", "encrypt_logs", "encrypt_audit_logs", "exit_drain"}
    assert AuditSinkConfig.model_fields.keys() == OF_TRAIL.keys() | OF_POLICY.keys() | places | others


@pytest.mark.parametrize("name", OF_TRAIL)
def test_an_option_of_the_trail_reaches_it(name):
    trail = AuditSinkConfig(**{name: OF_TRAIL[name]}).plan().make()
    assert getattr(trail.settings, name) == OF_TRAIL[name] != getattr(TrailSettings(), name)
    assert trail.policy == CompliancePolicy()


@pytest.mark.parametrize("name", OF_POLICY)
def test_an_option_of_the_policy_reaches_it(name):
    policy = AuditSinkConfig(**{name: OF_POLICY[name]}).plan().make().policy
    assert policy == CompliancePolicy(**{name: OF_POLICY[name]}) != CompliancePolicy()


def test_places_are_those_of_the_moment_in_which_they_were_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = AuditSinkConfig(storage_path="a", state_dir="s", key="file:k.jwk", old_keys="file:old.jwk")
    plan = AuditSinkConfig().plan()
    monkeypatch.chdir("/")
    trail = config.plan().make()
    assert trail.storage_path == tmp_path / "a"
    assert trail.settings.state_dir == tmp_path / "s"
    assert trail.settings.key == f"file:{tmp_path}/k.jwk"
    assert trail.settings.old_keys == (f"file:{tmp_path}/old.jwk",)
    assert plan.make().storage_path == tmp_path / "audit_logs"


@pytest.mark.parametrize("name", ["backend", "storage_backend"])
def test_a_backend_is_one_parameter_with_two_names(name):
    backend = Backend()
    assert AuditSinkConfig(**{name: backend}).plan().make().given_backend is backend
    with pytest.raises(ConfigError, match="both given"):
        AuditSinkConfig(backend=backend, storage_backend=Backend())


def test_a_file_backend_says_where_the_files_are(tmp_path):
    assert AuditSinkConfig(backend=FileStorageBackend(tmp_path / "b")).plan().make().storage_path == tmp_path / "b"


def test_one_promise_is_that_of_the_trail_and_the_policy_may_exceed_it():
    plan = AuditSinkConfig(durability="accepted", level="sox").plan()
    assert plan.settings.durability == "accepted"
    assert plan.policy.promises("accepted") | {"security": "synced", "info": "accepted"} == plan.policy.promises(
        "accepted"
    )


def test_promises_by_level_are_those_of_the_policy():
    plan = AuditSinkConfig(durability={"info": "synced"}).plan()
    assert plan.settings.durability is None
    assert plan.policy.durability == {"info": "synced"}


@pytest.mark.parametrize(
    "given", [{"compliance_level": "PCI-DSS"}, {"level": "pci_dss", "compliance_level": "pci_dss"}]
)
def test_compliance_level_is_the_level(given):
    assert AuditSinkConfig(**given).plan().policy.level is ComplianceLevel.PCI_DSS


@pytest.mark.parametrize("policy", [CompliancePolicy(level="sox"), {"level": "sox"}])
def test_a_policy_is_one_or_its_fields(policy):
    assert AuditSinkConfig(policy=policy).plan().policy == CompliancePolicy(level="sox")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"storge_path": "x"}, "audit sink has no option 'storge_path'. Did you mean storage_path?"),
        ({"Retention_Days": 1}, "Did you mean retention_days?"),
        ({"xyzzy": 1}, "It has alert_on_critical_errors"),
        ({"encrypt_logs": True}, "encrypt_audit_logs: is True, and encryption comes with"),
        ({"encrypt_audit_logs": True}, "encrypt_audit_logs: is True, and encryption comes with"),
        ({"policy": {"encrypt_audit_logs": True}}, "encrypt_audit_logs: is True, and encryption comes with"),
        ({"level": "hipa"}, "compliance level is 'hipa'."),
        ({"level": "hipaa", "compliance_level": "sox"}, "level is hipaa, and compliance_level is sox."),
        ({"policy": {"level": "sox"}, "retention_days": 1}, "policy and retention_days were both given."),
        ({"policy": CompliancePolicy(), "compliance_level": "sox"}, "policy and level were both given."),
        ({"policy": {"lvl": 1}}, "policy has no field 'lvl'."),
        ({"policy": "sox"}, "policy is 'sox', not a table."),
        ({"timeout": -1}, "timeout: timeout is -1.0."),
        ({"timeout": "soon"}, "audit sink: timeout: Input should be a valid number"),
        ({"retention_days": True}, "audit sink: retention_days: it is True, not a number."),
        ({"storage_path": ""}, "audit sink: storage_path: it is empty"),
        ({"on_storage_failure": "ignore"}, "audit sink: on_storage_failure: Input should be 'contain', 'raise' or"),
        ({"durability": {"loud": "synced"}}, "log_level is 'loud'."),
        ({"durability": "sync"}, "audit sink: durability"),
        ({"old_keys": [1]}, "audit sink: old_keys"),
        ({"on_alert": [7]}, "on_alert is 7."),
        ({"name": "a/b"}, "name is 'a/b'."),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ConfigError) as caught:
        AuditSinkConfig(**given)
    assert message in str(caught.value)


class Model(BaseModel):
    storage_path: str = "m"
    name: str | None = None


@dataclass
class Plain:
    storage_path: str = "m"


@pytest.mark.parametrize(
    "config",
    [
        {"storage_path": "m"},
        {"config": {"storage_path": "m"}},
        AuditSinkConfig(storage_path=Path("m").absolute()),
        {"config": AuditSinkConfig(storage_path=Path("m").absolute())},
        Model(),
        Plain(),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_configuration_may_be_given_in_many_forms(config):
    parsed = parse_sink_config(config, {"retention_days": 7})
    assert (parsed.storage_path, parsed.retention_days) == (Path("m").absolute(), 7)
    assert parsed.model_fields_set == {"storage_path", "retention_days"}


def test_keywords_count_before_the_configuration():
    assert parse_sink_config({"retention_days": 7}, {"retention_days": 8}).retention_days == 8
    assert parse_sink_config(None, {}) == AuditSinkConfig()


@pytest.mark.parametrize("config", [7, "audit_logs", CompliancePolicy(), AuditSinkConfig])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(ConfigError, match="cannot be configured with a"):
        parse_sink_config(config, {})
