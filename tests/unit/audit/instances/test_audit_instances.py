"""The trails of a process: one by default, one a name, made once; a reset ends and forgets them."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fapilog_audit
from fapilog_audit import (
    AuditEvent,
    AuditTrail,
    CompliancePolicy,
    ConfigError,
    FileStorageBackend,
    StoppedError,
    audit_data_access,
    audit_error,
    audit_security_event,
    emit_compliance_alert,
    get_audit_trail,
    reset_all_audit_trails,
    reset_audit_trail,
)
from fapilog_audit.instances import get_audit_trail_now, reset_all_audit_trails_now

TYPE = "acme.test.happened"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An own working folder, none of xdist's names, and no trail before or after."""
    monkeypatch.chdir(tmp_path)
    for name in ("PYTEST_XDIST_WORKER", "FAPILOG_AUDIT_TEST_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    reset_all_audit_trails_now()
    yield tmp_path
    reset_all_audit_trails_now()


# One, and where.


async def test_the_default_trail_is_one(place):
    trail = await get_audit_trail()
    assert await get_audit_trail() is trail
    assert get_audit_trail_now() is trail
    assert (trail.storage_path.absolute(), trail.name, trail.started) == (place / "audit_logs", None, True)


async def test_each_name_has_a_trail_and_a_folder_of_its_own(place):
    trails = {name: await get_audit_trail(name=name) for name in (None, "billing", "shop.eu")}
    assert len({id(trail) for trail in trails.values()}) == 3
    assert await get_audit_trail(name="billing") is trails["billing"]
    assert trails["billing"].storage_path.absolute() == place / "audit_logs" / "billing"
    assert trails["shop.eu"].storage_path.absolute() == place / "audit_logs" / "shop.eu"
    await trails["billing"].log_event(TYPE, "m")
    assert await trails[None].count() == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "a b", "é", ".a", 7, "x" * 101])
async def test_a_name_that_could_leave_the_folder_is_an_error(name, place):
    with pytest.raises(ConfigError, match="name is"):
        await get_audit_trail(name=name)
    assert not (place / "audit_logs").exists()


async def test_each_xdist_worker_has_a_default_folder_of_its_own(place, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw3")
    assert (await get_audit_trail()).storage_path.absolute() == place / "audit_logs" / "gw3"
    assert (await get_audit_trail(name="billing")).storage_path.absolute() == place / "audit_logs" / "billing"
    await reset_audit_trail()
    assert (await get_audit_trail(storage_path="mine")).storage_path.absolute() == place / "mine"


async def test_settings_reach_the_trail(place):
    policy = CompliancePolicy(retention_days=40)
    trail = await get_audit_trail(policy, "here", max_bytes=None, timeout=3.0, durability="accepted")
    assert (trail.policy, trail.storage_path.absolute()) == (policy, place / "here")
    assert (trail.settings.max_bytes, trail.settings.timeout, trail.settings.durability) == (None, 3.0, "accepted")


async def test_a_setting_that_does_not_exist_is_an_error_on_every_call():
    for _ in range(2):
        with pytest.raises(ConfigError, match="a trail has no setting 'storage_pth'"):
            await get_audit_trail(storage_pth="x")
        await get_audit_trail()


async def test_a_trail_that_could_not_be_made_or_started_is_forgotten(place):
    with pytest.raises(ConfigError, match="encrypt_audit_logs"):
        await get_audit_trail(CompliancePolicy(encrypt_audit_logs=True))
    with pytest.raises(ConfigError, match="Compliance: "):
        await get_audit_trail(CompliancePolicy("hipaa"), strict=True)
    assert (await get_audit_trail()).policy == CompliancePolicy()


# Many at once.


async def test_concurrent_first_calls_of_tasks_make_one():
    trails = await asyncio.gather(*(get_audit_trail(name="a") for _ in range(100)))
    assert len({id(trail) for trail in trails}) == 1


def test_concurrent_first_calls_of_threads_and_loops_make_one():
    ready = threading.Barrier(16)

    def ask(number: int) -> AuditTrail:
        ready.wait()
        return get_audit_trail_now() if number % 2 else asyncio.run(get_audit_trail())

    with ThreadPoolExecutor(16) as pool:
        assert len({id(trail) for trail in pool.map(ask, range(16))}) == 1


def test_a_trail_serves_one_loop_after_another():
    for number in range(5):
        asyncio.run(audit_security_event("authentication_failed", str(number)))
    assert asyncio.run(AuditTrail().count()) == 5


async def test_while_others_log_resets_lose_nothing_and_leave_nothing_running(monkeypatch):
    seen: set[AuditTrail] = set()
    make = AuditTrail.__init__

    def remember(self, *args, **settings):
        make(self, *args, **settings)
        seen.add(self)

    monkeypatch.setattr(AuditTrail, "__init__", remember)
    over = threading.Event()

    def log(number: int) -> list[str]:
        async def some() -> list[str]:
            return [await audit_data_access("r", "read", user_id=str(number)) for _ in range(20)]

        found: list[str] = []
        while not over.is_set():
            found += asyncio.run(some())
        return found

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(log, number) for number in range(3)]
        for number in range(20):
            await asyncio.sleep(0)
            await (reset_all_audit_trails() if number % 2 else reset_audit_trail())
        over.set()
        ids = [event_id for one in running for event_id in one.result()]
    await reset_all_audit_trails()
    assert [trail for trail in seen if trail.started] == []
    reader = AuditTrail()
    assert {one.event_id for one in await reader.get_events(limit=None)} == set(ids)
    assert len(set(ids)) == len(ids)
    assert await reader.verify_chain_from_storage()


# Later calls.


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"policy": CompliancePolicy(retention_days=40)}, "policy"),
        ({"storage_path": "elsewhere"}, "storage_path"),
        ({"timeout": 9.0}, "timeout"),
        ({"max_bytes": None}, "max_bytes"),
        ({"durability": "accepted"}, "durability"),
        ({"key": "env:NO_SUCH"}, "key"),
        (
            {"policy": CompliancePolicy(audit_reads=True), "strict": True, "compress": "gzip"},
            "policy, compress, strict",
        ),
    ],
)
async def test_a_later_call_with_other_parameters_warns_and_names_them(settings, named):
    trail = await get_audit_trail()
    with pytest.warns(RuntimeWarning, match=f"the default audit trail exists, with another {named}; it stays"):
        assert await get_audit_trail(**settings) is trail
    assert trail.policy == CompliancePolicy()


async def test_the_warning_names_the_trail():
    await get_audit_trail(name="billing")
    with pytest.warns(RuntimeWarning, match="the audit trail billing exists, with another timeout"):
        await get_audit_trail(name="billing", timeout=9.0)


async def test_a_later_call_with_the_same_parameters_is_silent(place):
    policy = CompliancePolicy(retention_days=40)
    backend = FileStorageBackend(place / "b")
    settings = {"timeout": 9.0, "max_bytes": None}
    trail = await get_audit_trail(policy, "here", **settings)
    assert await get_audit_trail(CompliancePolicy(retention_days=40), place / "here", **settings) is trail
    trail = await get_audit_trail(name="b", backend=backend)
    assert await get_audit_trail(name="b", backend=backend) is trail


async def test_the_default_folder_by_its_name_is_the_same(place):
    trail = await get_audit_trail()
    assert await get_audit_trail(storage_path="audit_logs") is trail
    assert await get_audit_trail(storage_path=place / "audit_logs") is trail


async def test_another_backend_is_named():
    await get_audit_trail(backend=FileStorageBackend("one"))
    with pytest.warns(RuntimeWarning, match="another backend"):
        await get_audit_trail(backend=FileStorageBackend("two"))


# Reset.


async def test_a_reset_stops_frees_and_forgets(place):
    old = await get_audit_trail()
    await old.log_event(TYPE, "m")
    await reset_audit_trail()
    assert not old.started
    with pytest.raises(StoppedError):
        await old.log_event(TYPE, "m")
    new = await get_audit_trail(CompliancePolicy(retention_days=40), timeout=9.0)
    assert new is not old
    assert (new.policy.retention_days, new.settings.timeout) == (40, 9.0)
    await new.log_event(TYPE, "m")
    # The folder was freed: nobody opens a second stream beside the first.
    assert {one.stream for one in await new.get_events()} == {"audit"}


async def test_a_reset_of_one_leaves_the_others():
    trails = [await get_audit_trail(name=name) for name in (None, "a", "b")]
    await reset_audit_trail("a")
    assert [trail.started for trail in trails] == [True, False, True]
    assert await get_audit_trail(name="b") is trails[2]
    await reset_audit_trail("nobody")


async def test_a_reset_of_all_ends_all():
    trails = [await get_audit_trail(name=name) for name in (None, "a", "b")]
    await reset_all_audit_trails()
    assert [trail.started for trail in trails] == [False] * 3
    assert await get_audit_trail() not in trails


async def test_a_trail_that_somebody_stopped_is_started_again():
    trail = await get_audit_trail()
    await trail.stop()
    assert await get_audit_trail() is trail
    await trail.log_event(TYPE, "m")


# The helpers.

HELPERS = {
    "audit_error": "log_error",
    "audit_security_event": "log_security_event",
    "audit_data_access": "log_data_access",
    "emit_compliance_alert": "alert",
    "log_error": "log_error",
    "log_security_event": "log_security_event",
}


@pytest.mark.parametrize(("helper", "method"), HELPERS.items())
def test_a_helper_takes_what_its_method_takes_and_a_name(helper, method):
    mine = dict(inspect.signature(getattr(fapilog_audit, helper)).parameters)
    name = mine.pop("name")
    assert (name.default, name.kind) == (None, inspect.Parameter.KEYWORD_ONLY)
    theirs = dict(inspect.signature(getattr(AuditTrail, method)).parameters)
    theirs.pop("self")
    assert mine == theirs
    assert inspect.iscoroutinefunction(getattr(fapilog_audit, helper))


@pytest.mark.parametrize("name", [None, "billing"])
async def test_helpers_record_in_the_trail_of_the_name(name):
    ids = [
        await audit_error(ValueError("v"), operation="o", component="c", name=name, n=1),
        await audit_security_event(
            "authentication_failed", "m", user_id="u", client_ip="::1", user_agent="a", name=name, n=2
        ),
        await audit_data_access(
            "r", "export", user_id="u", data_classification="d", contains_pii=True, contains_phi=False, name=name, n=3
        ),
    ]
    events = await (await get_audit_trail(name=name)).get_events(newest_first=False)
    assert [one.event_id for one in events] == ids
    error, security, access = events
    assert (error.error["type"], error.operation, error.component, error.metadata) == ("ValueError", "o", "c", {"n": 1})
    assert (security.log_level, security.client_ip, security.metadata) == ("security", "::1", {"n": 2})
    assert (access.event_type, access.data_classification, access.contains_pii) == ("data_export", "d", True)
    assert access.metadata == {"resource": "r", "n": 3}


async def test_an_alert_reaches_the_handlers_of_the_named_trail():
    heard: list[AuditEvent] = []
    trail = await get_audit_trail(name="a", on_alert=heard.append)
    event = AuditEvent(event_type=TYPE, message="m")
    await emit_compliance_alert(event, name="a")
    await trail.stop()
    assert heard == [event]


def test_a_helper_of_a_short_program_leaves_its_event_on_disk(place):
    code = "import asyncio; from fapilog_audit import audit_security_event as tell\n"
    code += "asyncio.run(tell('authentication_failed', 'm', user_id='u'))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert asyncio.run(AuditTrail(storage_path=place / "audit_logs").count()) == 1


# After a fork.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_logs_to_a_stream_of_its_own(place):
    trail = get_audit_trail_now()
    trail.log(TYPE, "of the parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            get_audit_trail_now().log(TYPE, "of the child")
            get_audit_trail_now(name="new").log(TYPE, "of the child")
            reset_all_audit_trails_now()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    trail.log(TYPE, "of the parent again")
    reset_all_audit_trails_now()
    reader = AuditTrail(storage_path=place / "audit_logs")
    found = asyncio.run(reader.get_events())
    by_stream = {stream: [one.message for one in found if one.stream == stream] for stream in {e.stream for e in found}}
    assert by_stream.pop("audit") == ["of the parent again", "of the parent"]
    assert list(by_stream.values()) == [["of the child"]]
    assert asyncio.run(reader.verify_chain_from_storage())
    assert asyncio.run(AuditTrail(storage_path=Path("audit_logs/new")).count()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_makes_a_trail_or_logs_leaves_no_lock_held():
    trail = get_audit_trail_now()
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            trail.log(TYPE, "m")
            get_audit_trail_now(name="other")
            asyncio.run(reset_audit_trail("other"))

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    threading.Timer(20, os._exit, (3,)).start()
                    get_audit_trail_now().log(TYPE, "c")
                    get_audit_trail_now(name="mine").log(TYPE, "c")
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
