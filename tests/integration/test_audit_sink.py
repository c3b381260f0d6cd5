"""`AuditSink` through the real logger: what is accepted is stored, each event once, whatever ends the process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fapilog
import pytest
from fapilog import Settings, get_async_logger, get_logger
from fapilog.core import presets
from integration.matrix.running import REPORTS, Program

from fapilog_audit import AuditSink, AuditTrail
from fapilog_tamper.keys import HmacKey

if TYPE_CHECKING:
    from fapilog_audit import AuditEvent

PROGRAM = Path(__file__).with_name("audit_programs") / "logging_service.py"
KEY = HmacKey("k1", bytes(range(32)))
KEY_URI = "env:AUDIT_KEY?kid=k1&alg=HMAC-SHA256"
ENV = {"AUDIT_KEY": bytes(range(32)).hex()}
posix = pytest.mark.skipif(sys.platform == "win32", reason="the ends are those of POSIX")


def settings(folder: Path, core: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(
        core={"sinks": ["audit"], "max_queue_size": 60_000, "protected_queue_size": 60_000, **(core or {})},
        plugins={"allow_external": True},
        sink_config={"extra": {"audit": {"storage_path": str(folder), **options}}},
    )


def stored(folder: Path, *, key: HmacKey | None = None, streams: int = 1) -> list[AuditEvent]:
    """Return what is in the trail, which must be intact, in the order of the chain."""

    async def read() -> list[AuditEvent]:
        trail = AuditTrail(storage_path=folder, key=key)
        result = await trail.verify_chain_from_storage()
        assert result.valid, result.report
        assert len(result.report.streams) == streams
        return await trail.get_events(limit=100_000, newest_first=False)

    return asyncio.run(read())


def numbers(events: list[AuditEvent]) -> list[int]:
    return sorted(event.metadata["n"] for event in events)


# In this process.

CORES: dict[str, dict[str, Any]] = {
    "default": {},
    "serialized": {"serialize_in_flush": True},
    "concurrent": {"sink_concurrency": 8, "worker_count": 2},
    "concurrent, serialized": {"sink_concurrency": 8, "worker_count": 2, "serialize_in_flush": True},
    "parallel": {"sink_parallel_writes": True},
    "redacted": {"redactors": ["field_mask", "regex_mask", "url_credentials"]},
}


@pytest.mark.parametrize("key", [None, KEY], ids=["unkeyed", "keyed"])
@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_all_events_are_stored_once_when_the_logger_is_drained(core, key, tmp_path):
    given = {} if key is None else {"key": key}
    logger = get_logger(settings=settings(tmp_path, core, **given), reuse=False)
    for number in range(200):
        logger.info("read", n=number)
    asyncio.run(logger.stop_and_drain())
    assert numbers(stored(tmp_path, key=key)) == list(range(200))


@pytest.mark.parametrize("preset", sorted(presets.PRESETS))
def test_presets_bring_all_events(preset, tmp_path):
    logger = get_logger(preset=preset, sinks=[AuditSink(storage_path=tmp_path)], reuse=False)
    for number in range(100):
        logger.warning("odd", n=number)
    asyncio.run(logger.stop_and_drain())
    assert numbers(stored(tmp_path)) == list(range(100))


async def test_an_async_logger_brings_all_events(tmp_path):
    logger = await get_async_logger(settings=settings(tmp_path), reuse=False)
    for number in range(200):
        await logger.info("read", n=number)
    await logger.drain()
    assert numbers(await asyncio.to_thread(stored, tmp_path)) == list(range(200))


def test_the_runtime_context_brings_all_events(tmp_path):
    with ExitStack() as stack:
        logger = stack.enter_context(fapilog.runtime(settings=settings(tmp_path)))
        for number in range(200):
            logger.info("read", n=number)
    asyncio.run(fapilog.clear_logger_cache())
    assert numbers(stored(tmp_path)) == list(range(200))


@pytest.mark.parametrize("serialized", [False, True])
def test_who_and_what_of_an_entry_are_fields_of_the_event(serialized, tmp_path):
    core = {"serialize_in_flush": serialized}
    logger = get_logger("shop", settings=settings(tmp_path, core, level="hipaa"), reuse=False)
    bound = logger.bind(request_id="r-1", tenant_id="acme")
    bound.info(
        "record read",
        user_id="u-1",
        session_id="s-1",
        client_ip="10.0.0.1",
        user_agent="curl",
        trace_id="t-1",
        span_id="sp-1",
        audit_event_type="data_export",
        contains_phi=True,
        data_classification="confidential",
        regulatory_tags=["hipaa"],
        event_type="mine",
        n=1,
    )
    asyncio.run(logger.stop_and_drain())
    [event] = stored(tmp_path)
    assert event.model_dump(exclude={"event_id", "timestamp", "metadata"}, exclude_defaults=True, mode="json") == {
        "event_type": "data_export",
        "message": "record read",
        "component": "shop",
        "user_id": "u-1",
        "session_id": "s-1",
        "request_id": "r-1",
        "tenant_id": "acme",
        "client_ip": "10.0.0.1",
        "user_agent": "curl",
        "trace_id": "t-1",
        "span_id": "sp-1",
        "contains_phi": True,
        "data_classification": "confidential",
        "compliance_level": "hipaa",
        "regulatory_tags": ["hipaa"],
    }
    assert event.metadata.keys() == {"n", "data.event_type", "logged_at", "message_id"}


def test_an_exception_that_is_logged_is_the_error_of_the_event(tmp_path):
    logger = get_logger(settings=settings(tmp_path), reuse=False)
    try:
        int("x")
    except ValueError:
        logger.exception("it failed", n=1)
    asyncio.run(logger.stop_and_drain())
    [event] = stored(tmp_path)
    assert event.error == {"type": "ValueError", "message": "invalid literal for int() with base 10: 'x'"}
    assert b"Traceback" not in event.sealed_line


@pytest.mark.parametrize(
    ("method", "event_type", "level"),
    [
        ("debug", "data_access", "debug"),
        ("warning", "compliance_check", "warning"),
        ("error", "error_occurred", "error"),
        ("critical", "error_occurred", "critical"),
        ("audit", "fapilog.audit", "security"),
        ("security", "fapilog.security", "security"),
    ],
)
def test_the_level_of_the_logger_decides(method, event_type, level, tmp_path):
    core = {"log_level": "DEBUG"}
    logger = get_logger(settings=settings(tmp_path, core, real_time_alerts=False), reuse=False)
    getattr(logger, method)("m", n=1)
    asyncio.run(logger.stop_and_drain())
    [event] = stored(tmp_path)
    assert (event.event_type, event.log_level) == (event_type, level)


def test_loggers_of_several_names_write_one_stream(tmp_path):
    loggers = [get_logger(name, settings=settings(tmp_path), reuse=False) for name in ("a", "b", "c")]
    for number in range(150):
        loggers[number % 3].info("read", n=number)
    for logger in loggers:
        asyncio.run(logger.stop_and_drain())
    events = stored(tmp_path)
    assert numbers(events) == list(range(150))
    assert {event.component for event in events} == {"a", "b", "c"}


def test_a_logger_that_comes_later_goes_on_in_the_same_stream(tmp_path):
    for number in range(3):
        logger = get_logger(settings=settings(tmp_path, key=KEY), reuse=False)
        logger.info("read", n=number)
        asyncio.run(logger.stop_and_drain())
    assert numbers(stored(tmp_path, key=KEY)) == [0, 1, 2]


@pytest.mark.parametrize("serialized", [False, True])
@pytest.mark.filterwarnings("ignore:audit (trail|sink):RuntimeWarning")
def test_events_that_cannot_be_stored_are_when_that_works(serialized, tmp_path):
    (tmp_path / "in the way").write_text("")
    folder = tmp_path / "in the way" / "log"
    sink = AuditSink(storage_path=folder)
    logger = get_logger(settings=Settings(core={"serialize_in_flush": serialized}), sinks=[sink], reuse=False)
    for number in range(50):
        logger.info("read", n=number)
    assert asyncio.run(logger.stop_and_drain()).dropped == 0
    (tmp_path / "in the way").unlink()
    assert asyncio.run(sink.trail.drain(30)) == []
    asyncio.run(sink.trail.stop())
    assert numbers(stored(folder)) == list(range(50))


@pytest.mark.filterwarnings("ignore:audit (trail|sink):RuntimeWarning")
def test_a_failure_that_is_raised_has_fapilog_print_the_event(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    sink = AuditSink(storage_path=tmp_path / "file" / "log", on_storage_failure="raise")
    logger = get_logger(sinks=[sink], reuse=False)
    logger.info("nobody stores this")
    asyncio.run(logger.stop_and_drain())
    assert "nobody stores this" in capfd.readouterr().err


def test_the_health_of_the_logger_tells_of_the_sink(tmp_path):
    logger = get_logger(settings=settings(tmp_path), reuse=False)
    assert asyncio.run(logger.check_health()).all_healthy
    assert asyncio.run(logger.self_test())["ok"]
    asyncio.run(logger.stop_and_drain())
    assert [event.message for event in stored(tmp_path)] == ["self_test"]


def test_what_the_environment_says_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("FAPILOG_CORE__SINKS", '["audit"]')
    monkeypatch.setenv("FAPILOG_PLUGINS__ALLOW_EXTERNAL", "true")
    told = {"audit": {"storage_path": str(tmp_path), "level": "soc2", "key": KEY_URI}}
    monkeypatch.setenv("FAPILOG_SINK_CONFIG__EXTRA", json.dumps(told))
    monkeypatch.setenv("AUDIT_KEY", ENV["AUDIT_KEY"])
    logger = get_logger(settings=Settings(), reuse=False)
    logger.info("read", n=1)
    asyncio.run(logger.stop_and_drain())
    [event] = stored(tmp_path, key=KEY)
    assert event.compliance_level == "soc2"


@pytest.mark.filterwarnings("ignore:Using .httpx.")
def test_a_request_to_a_fastapi_service_is_recorded_with_its_id(tmp_path):
    fastapi = pytest.importorskip("fastapi")
    from fapilog.fastapi import LoggingMiddleware, RequestContextMiddleware
    from fastapi.testclient import TestClient

    @asynccontextmanager
    async def lifespan(app):
        app.state.fapilog_logger = await get_async_logger("api", settings=settings(tmp_path), reuse=False)
        yield
        await app.state.fapilog_logger.drain()

    app = fastapi.FastAPI(lifespan=lifespan)
    app.add_middleware(LoggingMiddleware)
    app.add_middleware(RequestContextMiddleware)

    @app.get("/invoices/{number}")
    async def invoice(number: int) -> dict[str, int]:
        await app.state.fapilog_logger.info("invoice read", user_id="u-1", invoice=number)
        return {"invoice": number}

    with TestClient(app) as client:
        client.get("/invoices/4711", headers={"x-request-id": "r-1"})
    events = stored(tmp_path)
    assert {event.message for event in events} == {"invoice read", "request_completed"}
    assert {event.request_id for event in events} == {"r-1"}
    assert {event.component for event in events} == {"api"}


# Ends of processes.


def program(folder: Path, **job: Any) -> Program:
    job["options"] = {"storage_path": str(folder / "log"), **job.get("options", {})}
    return Program(PROGRAM, REPORTS, json.dumps(job), folder=folder, env=ENV)


@posix
@pytest.mark.parametrize(
    ("end", "code"), [("exit", 0), ("sys.exit", 3), ("exception", 1), ("drain", 0), ("signal", -signal.SIGTERM)]
)
@pytest.mark.parametrize("logger", ["sync", "async"])
@pytest.mark.parametrize("made", ["instance", "extra"])
def test_whatever_ends_the_process_all_events_are_stored(made, logger, end, code, tmp_path):
    running = program(tmp_path, end=end, logger=logger, made=made, options={"key": KEY_URI})
    if end == "signal":
        running.read_until(lambda told: "ready" in told.words)
        running.signal(signal.SIGTERM)
    told = running.finish()
    assert (told.code, told.stdout) == (code, "")
    assert ("on purpose" in told.stderr) if end == "exception" else told.stderr == ""
    assert numbers(stored(tmp_path / "log", key=KEY)) == list(range(200)) == told.accepted
    assert len(list((tmp_path / "log").glob("*.manifest.json"))) == 1


@posix
@pytest.mark.parametrize("core", [CORES["serialized"], CORES["concurrent"], CORES["concurrent, serialized"]], ids=str)
def test_a_plain_exit_stores_all_events_on_every_path(core, tmp_path):
    told = program(tmp_path, end="exit", made="extra", core=core, loggers=2).finish()
    assert (told.code, told.stderr) == (0, "")
    assert numbers(stored(tmp_path / "log")) == list(range(400)) == told.accepted


@posix
def test_the_runtime_context_stores_all_events_before_the_process_ends(tmp_path):
    told = program(tmp_path, end="exit", logger="runtime", made="extra").finish()
    assert (told.code, told.stderr) == (0, "")
    assert numbers(stored(tmp_path / "log")) == list(range(200))


@posix
@pytest.mark.parametrize("on_storage_failure", ["contain", "block"])
def test_a_backend_has_all_events_when_the_process_ends_and_is_closed_once(on_storage_failure, tmp_path):
    options = {"on_storage_failure": on_storage_failure}
    told = program(tmp_path, end="exit", backend=True, loggers=2, options=options).finish()
    assert (told.code, told.stderr) == (0, "")
    calls = (tmp_path / "backend").read_text().split()
    assert sorted(int(call) for call in calls if call.isdigit()) == list(range(400))
    assert (calls[-2:], calls.count("close")) == (["flush", "close"], 1)


@posix
def test_a_trail_that_was_there_before_does_not_end_those_of_sinks_first(tmp_path):
    told = program(tmp_path, end="exit", trail_first=True).finish()
    assert (told.code, told.stderr) == (0, "")
    assert numbers(stored(tmp_path / "log")) == list(range(200))


@posix
def test_a_process_that_is_killed_leaves_what_was_written_and_the_next_goes_on(tmp_path):
    running = program(tmp_path, end="signal", options={"key": KEY_URI})
    running.read_until(lambda told: "ready" in told.words)
    running.signal(signal.SIGKILL)
    assert running.finish().code == -signal.SIGKILL
    told = program(tmp_path, end="exit", first=1000, options={"key": KEY_URI}).finish()
    assert told.code == 0
    found = numbers(stored(tmp_path / "log", key=KEY))
    assert len(found) == len(set(found))
    assert found[-200:] == list(range(1000, 1200))
    assert set(found[:-200]) <= set(range(200))


@posix
def test_two_processes_at_the_same_time_write_two_streams_and_lose_nothing(tmp_path):
    both = [program(tmp_path, end="signal", first=first, count=500) for first in (0, 500)]
    for running in both:
        running.read_until(lambda told: "ready" in told.words)
    for running in both:
        running.signal(signal.SIGTERM)
    assert [running.finish().stderr for running in both] == ["", ""]
    events = stored(tmp_path / "log", streams=2)
    assert numbers(events) == list(range(1000))


@posix
def test_events_that_wait_at_a_plain_exit_are_told_of(tmp_path):
    (tmp_path / "log").write_text("")
    options = {"storage_path": str(tmp_path / "log" / "sub")}
    told = program(tmp_path, end="exit", count=10, options=options).finish()
    assert told.code == 0
    assert "10 events are not stored at exit" in told.stderr
