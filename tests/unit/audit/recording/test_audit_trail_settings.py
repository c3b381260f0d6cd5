"""The settings of `AuditTrail` and the fields of `CompliancePolicy`: checked at construction, and each is read."""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import inspect
import math
import warnings
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from support.audit import SOON, TYPE, Kept, disk, messages, require_intact, sealed, stored

from fapilog_audit import AuditEventType, AuditTrail, CompliancePolicy
from fapilog_audit.errors import AccessError, ConfigError, IntegrityError, StorageError
from fapilog_tamper import Keyring
from fapilog_tamper.entry import split
from fapilog_tamper.errors import HintedError
from fapilog_tamper.keys import HmacKey

if TYPE_CHECKING:
    from pathlib import Path

K1, K2 = HmacKey("k1", bytes(range(32))), HmacKey("k2", bytes(range(50, 82)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("policy", "sox"),
        ("policy", {}),
        ("storage_path", ""),
        ("storage_path", 5),
        ("storage_path", "a\0b"),
        ("storage_path", b"logs"),
        ("backend", "files"),
        ("backend", object()),
        ("storage_backend", 5),
        ("name", ""),
        ("name", "../up"),
        ("name", "a/b"),
        ("name", ".."),
        ("name", "x" * 101),
        ("name", 5),
        ("key", 5),
        ("key", b"secret"),
        ("old_keys", "file:k"),
        ("old_keys", 5),
        ("old_keys", [5]),
        ("state_dir", ""),
        ("state_dir", 5),
        ("durability", "safe"),
        ("durability", 1),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", "5"),
        ("timeout", None),
        ("inline", "no"),
        ("inline", 1),
        ("max_bytes", 0),
        ("max_bytes", -5),
        ("max_bytes", "1M"),
        ("max_bytes", True),
        ("compress", "bzip2"),
        ("compress", None),
        ("compress", ["gzip"]),
        ("max_buffer_bytes", 0),
        ("max_buffer_bytes", 4095),
        ("max_buffer_bytes", 8192.0),
        ("max_buffer_bytes", None),
        ("strict", "yes"),
        ("strict", None),
        ("on_alert", 5),
        ("on_alert", "log"),
        ("on_alert", [print, 5]),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_made(setting, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        AuditTrail(**{setting: value})
    assert setting in str(caught.value) or setting == "storage_backend"
    assert caught.value.hint
    assert not any(tmp_path.iterdir())


# Each setting is read.


async def said(trail: AuditTrail, message: str = "m", **more: Any) -> str:
    event_id = await trail.log_event(TYPE, message, **more)
    await trail.stop()
    return event_id


async def test_policy_is_that_of_the_events(tmp_path):
    await said(AuditTrail(CompliancePolicy(level="soc2"), tmp_path))
    assert stored(tmp_path)[0]["compliance_level"] == "soc2"


async def test_storage_path_is_where_files_are_put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a", str(tmp_path / "b"), "c"):
        await said(AuditTrail(storage_path=path))
    await said(AuditTrail())
    for name in ("a", "b", "c", "audit_logs"):
        [path] = (tmp_path / name).glob("*.jsonl")
        assert path.name.startswith("audit_20")


@pytest.mark.parametrize("word", ["backend", "storage_backend"])
async def test_backend_and_storage_backend_get_the_events(tmp_path, word):
    backend = Kept()
    await said(AuditTrail(state_dir=tmp_path, **{word: backend}))
    assert backend.messages == ["m"]


async def test_name_is_the_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trail = AuditTrail(name="billing.eu")
    await said(trail)
    assert trail.name == "billing.eu"
    assert messages(tmp_path / "audit_logs" / "billing.eu") == ["m"]


@pytest.mark.parametrize("key", [K1, None])
async def test_key_is_what_events_are_sealed_under(tmp_path, key):
    await said(AuditTrail(storage_path=tmp_path, key=key))
    assert {split(line)[1].key_id for line in sealed(tmp_path)} == {None if key is None else "k1"}
    require_intact(tmp_path, None if key is None else Keyring([key]))


async def test_old_keys_are_those_of_earlier_events(tmp_path):
    from fapilog_tamper.encoding import b64url_encode

    folder = tmp_path / "logs"
    await said(AuditTrail(storage_path=folder, key=K1), "m0")
    path = tmp_path / "k1.key"
    path.write_text(b64url_encode(bytes(range(32))))
    path.chmod(0o600)
    uri = f"file:{path}?kid=k1&alg=HMAC-SHA256"
    trail = AuditTrail(storage_path=folder, key=K2, old_keys=[uri])
    await said(trail, "m1")
    assert messages(folder) == ["m0", "m1"]
    assert (await trail.verify_chain_from_storage()).valid
    assert not (await AuditTrail(storage_path=folder, key=K2).verify_chain_from_storage()).valid


async def test_state_dir_is_where_heads_and_locks_are_put(tmp_path):
    await said(AuditTrail(storage_path=tmp_path / "logs", state_dir=tmp_path / "state"))
    assert not (tmp_path / "logs" / ".fapilog").exists()
    assert (tmp_path / "state" / "audit.chainstate").exists()


@pytest.mark.parametrize(("durability", "syncs"), [(None, False), ("written", False), ("synced", True)])
async def test_durability_is_what_is_promised(tmp_path, durability, syncs):
    with disk(tmp_path) as watched:
        trail = AuditTrail(storage_path=tmp_path / "logs", durability=durability)
        await trail.start()
        await trail.log_event(TYPE, "m0")
        before = watched.calls["sync"]
        await trail.log_event(TYPE, "m1")
        assert (watched.calls["sync"] > before) == syncs
        await trail.stop()


async def test_timeout_is_how_long_an_event_waits(tmp_path):
    backend = Kept()
    backend.gate.clear()
    trail = AuditTrail(backend=backend, state_dir=tmp_path, timeout=0.05)
    await asyncio.wait_for(trail.log_event(TYPE, "m"), SOON)
    patient = AuditTrail(backend=backend, state_dir=tmp_path / "other", timeout=60)
    task = asyncio.create_task(patient.log_event(TYPE, "m"))
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done
    backend.gate.set()
    await task
    await trail.stop()
    await patient.stop()


@pytest.mark.parametrize("inline", [True, False])
def test_inline_lets_callers_write(tmp_path, inline):
    import threading

    writers: set[str] = set()
    with disk(tmp_path) as watched:
        trail = AuditTrail(storage_path=tmp_path / "logs", inline=inline)
        trail.log(TYPE, "m")
        inner = watched.meet
        watched.meet = lambda call, path: (call == "write" and path.endswith(".jsonl") and writers.add(threading.current_thread().name), inner(call, path))  # type: ignore[method-assign]  # fmt: skip  # noqa: E501
        for _ in range(20):
            trail.log(TYPE, "m")
        trail.stop_now()
    assert (threading.current_thread().name in writers) == inline


async def test_max_bytes_is_the_size_of_files(tmp_path):
    trail = AuditTrail(storage_path=tmp_path, max_bytes=4096)
    for _ in range(40):
        await trail.log_event(TYPE, "m")
    await trail.stop()
    paths = list(tmp_path.glob("*.jsonl"))
    assert len(paths) > 2
    assert all(path.stat().st_size <= 4096 for path in paths)


@pytest.mark.parametrize(("compress", "ending"), [("none", ".jsonl"), ("gzip", ".gz"), ("zstd", ".zst")])
async def test_compress_is_what_closed_files_are_compressed_with(tmp_path, compress, ending):
    await said(AuditTrail(storage_path=tmp_path, compress=compress))
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(ending)]


async def test_max_buffer_bytes_is_the_bound_of_what_waits(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    lost = {}
    for bound in (4096, 1 << 20):
        with pytest.warns(RuntimeWarning):
            trail = AuditTrail(storage_path=tmp_path / "logs", max_buffer_bytes=bound)
            for _ in range(12):
                await trail.log_event(TYPE, "m", text="x" * 1000)
            lost[bound] = (await trail.get_statistics())["failed"]
            await trail.stop(0)
    assert lost[4096] > 0 == lost[1 << 20]


@pytest.mark.parametrize("strict", [True, False])
async def test_strict_makes_issues_errors(tmp_path, strict):
    trail = AuditTrail(CompliancePolicy(level="gdpr"), tmp_path, strict=strict)
    if strict:
        with pytest.raises(ConfigError, match="Compliance: gdpr_data_subject_rights"):
            await trail.start()
    else:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await trail.start()
        assert any("Compliance: gdpr_data_subject_rights - " in str(one.message) for one in told)
        await trail.stop()


async def test_on_alert_hears_of_alerts(tmp_path):
    heard: list[str] = []
    await said(AuditTrail(storage_path=tmp_path, on_alert=lambda event: heard.append(event.message)), log_level="critical")  # fmt: skip  # noqa: E501
    assert heard == ["m"]


def test_each_setting_of_a_trail_has_a_test_here():
    names = [name for name in globals() if name.startswith("test_")]
    aliases = {"storage_backend": "backend_and_storage_backend"}
    settings = [one for one in inspect.signature(AuditTrail).parameters if one != "self"]
    missing = [one for one in settings if not any(name.startswith(f"test_{aliases.get(one, one)}_") for name in names)]
    assert missing == []


# Each field of a policy is read.


async def test_level_decides_what_is_synced_and_stands_in_events(tmp_path):
    with disk(tmp_path) as watched:
        trail = AuditTrail(CompliancePolicy(level="sox", sox_change_control=True, retention_days=2555), tmp_path / "a")
        await trail.start()
        await trail.log_event(TYPE, "m")
        before = watched.calls["sync"]
        await trail.log_event(TYPE, "m", log_level="security")
        assert watched.calls["sync"] > before
        await trail.stop()
    assert stored(tmp_path / "a")[0]["compliance_level"] == "sox"


async def test_enabled_false_records_nothing_and_says_so(tmp_path):
    trail = AuditTrail(CompliancePolicy(enabled=False), tmp_path / "logs")
    with pytest.warns(RuntimeWarning, match="not enabled"):
        await trail.start()
    assert await trail.log_event(TYPE, "m") == ""
    assert trail.log(TYPE, "m") == ""
    assert "not enabled" in trail.health().reason
    statistics = await trail.get_statistics()
    assert statistics["accepted"] == 0
    assert statistics["policy"]["enabled"] is False
    assert await trail.stop() == []
    assert not (tmp_path / "logs").exists()


async def test_retention_days_and_archive_after_days_are_what_a_plan_goes_by(tmp_path):
    from datetime import UTC, datetime, timedelta

    from fapilog_audit.retention import retention_plan

    await said(AuditTrail(storage_path=tmp_path))
    later = datetime.now(UTC).date() + timedelta(days=20)
    plans = [
        retention_plan(tmp_path, CompliancePolicy(retention_days=keep, archive_after_days=archive), today=later)
        for keep, archive in ((10, 5), (100, 5), (100, 50))
    ]
    assert len({repr(plan) for plan in plans}) == 3


def test_encrypt_audit_logs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="encryption comes with the key management") as caught:
        AuditTrail(CompliancePolicy(encrypt_audit_logs=True), tmp_path)
    assert caught.value.hint


def changed(folder: Path) -> None:
    """Kill a process that has logged, and change a byte of what it wrote."""
    from support.audit import run

    code = f"""
import os, signal
from fapilog_audit import AuditTrail
trail = AuditTrail(storage_path={str(folder)!r})
for n in range(5): trail.log({TYPE!r}, "original")
from support.audit import comes_true
from pathlib import Path
assert comes_true((Path({str(folder)!r}) / ".fapilog" / "audit.chainstate").exists)
trail.log({TYPE!r}, "later")
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(code, check=False)
    [path] = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"original", b"falsched", 1))


@pytest.mark.parametrize("on_failure", ["raise", "block"])
@pytest.mark.parametrize("require", [True, False])
def test_require_integrity_check_refuses_an_open_segment_that_was_changed(tmp_path, require, on_failure):
    """Without it the sealed log refuses what it cannot go on from, with an error of its own."""
    changed(tmp_path / "logs")
    policy = CompliancePolicy(require_integrity_check=require, on_storage_failure=on_failure)
    trail = AuditTrail(policy, tmp_path / "logs")
    for start in (trail.start_now, lambda: trail.log(TYPE, "m")):
        with pytest.raises(HintedError) as caught:
            start()
        assert isinstance(caught.value, IntegrityError) == require
        assert caught.value.hint
    trail.stop_now()
    assert "m" not in messages(tmp_path / "logs")


def test_require_integrity_check_is_told_by_a_warning_and_health_where_the_policy_contains(tmp_path):
    changed(tmp_path / "logs")
    trail = AuditTrail(storage_path=tmp_path / "logs")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trail.start_now()
    assert any("was changed" in str(one.message) for one in told)
    assert "not what was sealed" in trail.health().reason
    trail.stop_now()


async def test_require_integrity_check_finds_nothing_in_what_is_whole(tmp_path):
    folder = tmp_path / "logs"
    changed(folder)
    [path] = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"falsched", b"original"))
    async with AuditTrail(CompliancePolicy(on_storage_failure="raise"), folder) as trail:
        assert trail.health()


async def test_audit_access_roles_are_who_may_read(tmp_path):
    async with AuditTrail(CompliancePolicy(audit_access_roles=["boss"]), tmp_path) as trail:
        await trail.log_event(TYPE, "m")
        assert await trail.get_events(role="boss")
        with pytest.raises(AccessError):
            await trail.get_events(role="auditor")


@pytest.mark.parametrize("switch", ["gdpr_data_subject_rights", "hipaa_minimum_necessary"])
def test_gdpr_data_subject_rights_and_hipaa_minimum_necessary_are_asked_for_by_their_frameworks(switch):
    from fapilog_audit.compliance import validate_compliance_policy

    level = switch.split("_", 1)[0]
    for value in (True, False):
        issues = validate_compliance_policy(CompliancePolicy(level=level, **{switch: value})).issues
        assert (switch in {issue.field for issue in issues}) == (not value)


@pytest.mark.parametrize("control", [True, False])
async def test_sox_change_control_marks_changes_that_are_not_explained(tmp_path, control):
    trail = AuditTrail(CompliancePolicy(sox_change_control=control), tmp_path)
    await trail.log_event(AuditEventType.CONFIG_CHANGED, "m")
    await trail.stop()
    tags = stored(tmp_path)[0].get("regulatory_tags", [])
    assert ("sox_change_control:unexplained" in tags) == control


@pytest.mark.parametrize(
    ("switches", "heard"),
    [
        ({}, {"critical", "security"}),
        ({"real_time_alerts": False}, set()),
        ({"alert_on_critical_errors": False}, {"security"}),
        ({"alert_on_security_events": False}, {"critical"}),
    ],
)
async def test_real_time_alerts_and_alert_on_critical_errors_and_alert_on_security_events(tmp_path, switches, heard):
    found: set[str] = set()
    trail = AuditTrail(CompliancePolicy(**switches), tmp_path, on_alert=lambda event: found.add(str(event.log_level)))
    for level in ("debug", "info", "warning", "error", "critical", "security"):
        await trail.log_event(TYPE, "m", log_level=level)
    await trail.stop()
    assert found == heard


async def test_on_storage_failure_decides_whether_an_event_is_refused(tmp_path):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        for policy in ("contain", "raise"):
            trail = AuditTrail(CompliancePolicy(on_storage_failure=policy), tmp_path / policy)
            await trail.start()
            broken.fail("write")
            if policy == "raise":
                with pytest.raises(StorageError):
                    await trail.log_event(TYPE, "m")
            else:
                await trail.log_event(TYPE, "m")
            broken.mend()
            await trail.stop()


async def test_durability_of_a_policy_is_by_level(tmp_path):
    with disk(tmp_path) as watched:
        trail = AuditTrail(CompliancePolicy(durability={"error": "synced"}), tmp_path / "logs")
        await trail.start()
        for level, syncs in (("info", False), ("error", True), ("critical", False)):
            await trail.log_event(TYPE, "m")
            before = watched.calls["sync"]
            await trail.log_event(TYPE, "m", log_level=level)
            assert (watched.calls["sync"] > before) == syncs, level
        await trail.stop()


@pytest.mark.parametrize("reads", [True, False])
async def test_audit_reads_puts_reads_on_record(tmp_path, reads):
    async with AuditTrail(CompliancePolicy(audit_reads=reads), tmp_path) as trail:
        await trail.log_event(TYPE, "m")
        assert [event.message for event in await trail.get_events()] == ["m"]
    assert ("audit_log_access" in {event["event_type"] for event in stored(tmp_path)}) == reads


@pytest.mark.parametrize("on", [True, False])
async def test_lifecycle_events_tell_of_start_and_stop(tmp_path, on):
    trail = AuditTrail(CompliancePolicy(lifecycle_events=on), tmp_path)
    await trail.start()
    await trail.start()
    await trail.log_event(TYPE, "m")
    await trail.stop()
    await trail.stop()
    types = [event["event_type"] for event in stored(tmp_path)]
    assert types == (["system_startup", TYPE, "system_shutdown"] if on else [TYPE])
    assert ("host" in stored(tmp_path)[0].get("metadata", {})) == on


def test_each_field_of_a_policy_has_a_test_here():
    names = "".join(name for name in globals() if name.startswith("test_"))
    assert [one.name for one in fields(CompliancePolicy) if one.name not in names] == []
