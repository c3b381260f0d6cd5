"""`AuditSink` as fapilog calls it: self-start, both write paths, what it shares, storage that fails, its end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fapilog.core import diagnostics
from fapilog.core.errors import SinkWriteError
from fapilog.core.serialization import SerializedView, serialize_envelope
from fapilog.plugins.loader import PluginLoadError, PluginNotFoundError, ValidationMode, load_plugin
from fapilog.plugins.metadata import PluginMetadata, validate_fapilog_compatibility
from fapilog.testing import validate_plugin_lifecycle, validate_sink

from fapilog_audit import AuditSink, AuditSinkConfig, AuditTrail, ConfigError, StorageError
from fapilog_audit.context import current_context
from fapilog_audit.sink import plugin as module
from fapilog_audit.sink import sharing
from fapilog_tamper.keys import HmacKey

if TYPE_CHECKING:
    from fapilog_audit import AuditEvent

KEY = HmacKey("k1", bytes(range(32)))
ENTRY: dict[str, Any] = {
    "timestamp": "2026-11-20T12:00:00.000Z",
    "level": "INFO",
    "message": "m",
    "logger": "root",
    "context": {"message_id": "i", "correlation_id": None},
    "diagnostics": {},
    "data": {},
}


def make(folder: Path, **options: Any) -> AuditSink:
    return AuditSink(**{"storage_path": folder, "exit_drain": False, **options})


def entry(number: int = 0, **members: Any) -> dict[str, Any]:
    return {**ENTRY, "data": {"n": number}, **members}


def view(event: dict[str, Any]) -> SerializedView:
    return SerializedView(data=serialize_envelope(event).data)


async def put(sink: AuditSink, *numbers: int) -> None:
    for number in numbers:
        await sink.write(entry(number))


async def refused(attempt: Any, why: str = "event not recorded") -> SinkWriteError:
    """Return the error with which a sink refuses an event."""
    with pytest.raises(SinkWriteError, match=why) as caught:
        await attempt
    return caught.value


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what is on the disk, without asking the trail."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


async def check(folder: Path, numbers: list[int], *, key: HmacKey | None = None, streams: int = 1) -> list[AuditEvent]:
    """Check that these events are stored, each once, in an intact chain; return them in order."""
    trail = AuditTrail(storage_path=folder, key=key)
    result = await trail.verify_chain_from_storage()
    assert result.valid, result.report
    assert len(result.report.streams) == streams
    events = await trail.get_events(limit=10_000, newest_first=False)
    assert sorted(event.metadata["n"] for event in events) == sorted(numbers)
    return events


@pytest.fixture
def unwritable(tmp_path):
    """A folder that cannot be made, until the file in its way is removed."""
    (tmp_path / "in the way").write_text("")
    return tmp_path / "in the way" / "log"


# The plugin.


def test_it_is_loaded_by_its_entry_point(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [point] = metadata.entry_points(group="fapilog.sinks", name="audit")
    assert point.value == "fapilog_audit:AuditSink" == module.PLUGIN_METADATA["entry_point"]
    sink = load_plugin("fapilog.sinks", "audit", {}, validation_mode=ValidationMode.STRICT, allow_external=True)
    assert type(sink) is AuditSink
    assert sink.trail.storage_path == tmp_path / "audit_logs"


@pytest.mark.parametrize("config", [{"name": "n"}, {"config": {"name": "n"}}, {"config": AuditSinkConfig(name="n")}])
def test_it_is_loaded_with_keywords_and_with_a_configuration(config):
    assert load_plugin("fapilog.sinks", "audit", config, allowlist=["audit"]).trail.name == "n"


def test_the_gates_of_fapilog_hold():
    with pytest.raises(PluginNotFoundError):
        load_plugin("fapilog.sinks", "audit", {}, allow_external=False)


def test_the_metadata_is_that_of_a_plugin_for_this_fapilog(monkeypatch, tmp_path):
    told = PluginMetadata(**module.PLUGIN_METADATA)
    assert validate_fapilog_compatibility(told)
    assert told.name == AuditSink.name
    said: list[Any] = []
    monkeypatch.setattr(diagnostics, "warn", lambda *what, **more: said.append((what, more)))
    load_plugin("fapilog.sinks", "audit", {"storage_path": tmp_path})
    assert [what for what, _ in said] == [("plugins", "loading external plugin")]


async def test_it_passes_the_checks_of_fapilog(tmp_path):
    validate_sink(make(tmp_path)).raise_if_invalid()
    (await validate_plugin_lifecycle(make(tmp_path))).raise_if_invalid()


@pytest.mark.filterwarnings("ignore:audit sink has no option 'storge_path'.*leaves this sink out:RuntimeWarning")
def test_an_option_that_there_is_not_is_an_error():
    with pytest.raises(ConfigError, match=r"Did you mean storage_path\?"):
        AuditSink(storge_path="x")
    with pytest.raises(PluginLoadError, match=r"Did you mean storage_path\?"):
        load_plugin("fapilog.sinks", "audit", {"storge_path": "x"})


def test_what_fapilog_would_pass_over_in_silence_is_told():
    with (
        pytest.warns(RuntimeWarning, match="no option 'storge_path'.*leaves this sink out"),
        pytest.raises(ConfigError),
    ):
        AuditSink(storge_path=1)


def test_what_only_the_trail_refuses_is_an_error_and_told():
    with pytest.warns(RuntimeWarning, match="backend is 7"), pytest.raises(ConfigError):
        AuditSink(backend=7)


# Writing.


@pytest.mark.parametrize("serialized", [False, True])
async def test_an_event_is_on_the_disk_when_write_returns_and_nobody_started_the_sink(tmp_path, serialized):
    sink = make(tmp_path)
    await (sink.write_serialized(view(entry(7))) if serialized else sink.write(entry(7)))
    [line] = lines(tmp_path)
    assert line["metadata"] == {"n": 7, "logged_at": ENTRY["timestamp"], "message_id": "i"}
    await sink.stop()


async def test_both_paths_record_the_same(tmp_path):
    sink = make(tmp_path)
    event = entry(1, level="AUDIT", context={"user_id": "u", "trace_id": "t"}, logger="shop")
    await sink.write(event)
    await sink.write_serialized(view(event))
    first, second = [{**line, "event_id": "", "timestamp": "", "integrity": ""} for line in lines(tmp_path)]
    assert first == second
    assert first["trace_id"] == "t"
    await sink.stop()


async def test_start_and_stop_may_be_called_any_number_of_times(tmp_path):
    sink = make(tmp_path)
    await sink.stop()
    await asyncio.gather(*(sink.start() for _ in range(16)))
    await asyncio.gather(*(sink.write(entry(number)) for number in range(16)))
    await asyncio.gather(*(sink.stop() for _ in range(16)))
    await sink.stop()
    await check(tmp_path, list(range(16)))


async def test_an_event_after_the_stop_opens_the_trail_again(tmp_path):
    sink = make(tmp_path, key=KEY)
    for number in range(3):
        await sink.write(entry(number))
        await sink.stop()
    assert await sink.health_check()
    await check(tmp_path, [0, 1, 2], key=KEY)


async def test_a_trail_that_somebody_else_stopped_is_started_again(tmp_path):
    sink = make(tmp_path)
    for number in range(3):
        await sink.write(entry(number))
        await sink.trail.stop()
    await check(tmp_path, [0, 1, 2])


async def test_the_trace_is_that_of_the_entry_only(tmp_path):
    sink = make(tmp_path)
    await asyncio.gather(*(sink.write(entry(n, context={"trace_id": f"t{n}", "span_id": f"s{n}"})) for n in range(8)))
    assert current_context() == {}
    await sink.write(entry(8))
    await sink.stop()
    for event in await check(tmp_path, list(range(9))):
        number = event.metadata["n"]
        assert (event.trace_id, event.span_id) == ((f"t{number}", f"s{number}") if number < 8 else (None, None))


async def test_numbers_of_any_size_keep_their_digits_on_the_way_through_bytes(tmp_path):
    sink = make(tmp_path)
    await sink.write_serialized(SerializedView(data=b'{"log": {"data": {"n": 1, "big": %d}}}' % 10**29))
    await sink.stop()
    [event] = await check(tmp_path, [1])
    assert event.metadata["big"] == str(10**29)


@pytest.mark.parametrize("data", [b"\x00\xff", b"7", b'{"log": 7', b"[" * 100_000], ids=["binary", "7", "cut", "deep"])
async def test_bytes_that_are_no_event_are_kept(tmp_path, data):
    sink = make(tmp_path)
    await sink.write_serialized(SerializedView(data=data))
    await sink.stop()
    [line] = lines(tmp_path)
    assert line["message"] == "what fapilog gave is no event"
    assert "$base64" in line["metadata"]


class Hostile:
    """Fails in the way that fapilog takes for a success."""

    def __str__(self) -> str:
        raise AttributeError("no")


class NoView:
    data = property(lambda self: self.nothing)

    def __bytes__(self) -> bytes:
        raise AttributeError("no")


@pytest.mark.filterwarnings("ignore:audit sink. event not recorded:RuntimeWarning")
@pytest.mark.parametrize("given", [entry(message=Hostile()), {"data": {Hostile(): 1}}, 7], ids=["text", "name", "7"])
async def test_no_other_error_than_that_of_a_sink_comes_out(tmp_path, given):
    assert (await refused(make(tmp_path).write(given))).context.plugin_name == "audit"


@pytest.mark.filterwarnings("ignore:audit sink. event not recorded:RuntimeWarning")
@pytest.mark.parametrize("given", [NoView(), object()], ids=["attribute", "type"])
async def test_no_attribute_error_comes_out_where_it_would_pass_for_a_success(tmp_path, given):
    await refused(make(tmp_path).write_serialized(given))


async def test_only_the_first_failure_of_a_row_is_told(tmp_path):
    sink = make(tmp_path)

    async def fail() -> int:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await refused(sink.write(7))  # type: ignore[arg-type]
        return len(told)

    assert [await fail(), await fail()] == [1, 0]
    await sink.write(entry())
    assert await fail() == 1
    await sink.stop()


async def test_nothing_is_recorded_under_a_policy_that_is_not_enabled(tmp_path):
    sink = make(tmp_path, enabled=False)
    with pytest.warns(RuntimeWarning, match="not enabled"):
        await sink.write(entry())
    assert lines(tmp_path) == []
    assert not await sink.health_check()


# Storage that does not work.


@pytest.mark.filterwarnings("ignore:audit trail .* cannot be opened:RuntimeWarning")
async def test_contained_events_are_stored_as_soon_as_that_works(unwritable):
    sink = make(unwritable)
    with pytest.warns(RuntimeWarning, match="kept to be stored later"):
        await put(sink, *range(5))
    assert not await sink.health_check()
    unwritable.parent.unlink()
    await sink.stop()
    await check(unwritable, list(range(5)))
    assert await sink.health_check()


@pytest.mark.filterwarnings("ignore:audit trail .* (cannot be opened|kept to be stored):RuntimeWarning")
async def test_events_that_wait_outlive_the_stop(unwritable):
    sink = make(unwritable)
    await put(sink, 1)
    with pytest.warns(RuntimeWarning, match="1 events are not stored yet, but kept"):
        await sink.stop()
    unwritable.parent.unlink()
    await put(sink, 2)
    assert await sink.trail.drain(30) == []
    await sink.stop()
    await check(unwritable, [1, 2])


async def test_a_policy_may_have_the_failure_raised(unwritable):
    sink = make(unwritable, on_storage_failure="raise")
    await sink.start()
    with pytest.warns(RuntimeWarning, match="audit sink: event not recorded: .*in the way"):
        await refused(sink.write(entry()), "in the way")
    await refused(sink.write_serialized(view(entry())), "in the way")
    assert "in the way" in str(await sink.health())
    unwritable.parent.unlink()
    assert await sink.health() is None
    await put(sink, 1)
    await sink.stop()
    await check(unwritable, [1])


@pytest.mark.filterwarnings("ignore:audit sink. event not recorded:RuntimeWarning")
async def test_health_looks_again_where_a_trail_could_not_be_opened_again(tmp_path):
    folder, moved = tmp_path / "log", tmp_path / "moved"
    sink = make(folder, on_storage_failure="raise")
    await put(sink, 1)
    await sink.stop()
    folder.rename(moved)
    folder.write_text("")
    await refused(sink.write(entry(2)))
    assert not await sink.health_check()
    folder.unlink()
    moved.rename(folder)
    assert await sink.health_check()
    await sink.stop()
    await check(folder, [1])


@pytest.mark.filterwarnings("ignore:audit sink. event not recorded:RuntimeWarning")
async def test_a_start_that_failed_is_not_tried_again_with_every_event(unwritable, monkeypatch):
    monkeypatch.setattr(sharing, "_AGAIN", 1e9)
    sink = make(unwritable, on_storage_failure="raise")
    first = await refused(sink.write(entry(1)))
    unwritable.parent.unlink()
    assert (await refused(sink.write(entry(2)))).__cause__ is first.__cause__
    await sink.start()
    await put(sink, 3)
    await sink.stop()
    await check(unwritable, [3])


class Broken:
    """A backend that stores nothing."""

    async def write(self, event: object) -> None:
        raise OSError("no")

    async def flush(self) -> None: ...
    async def close(self) -> None: ...


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
async def test_a_storage_error_is_the_cause(tmp_path):
    sink = make(tmp_path, backend=Broken(), on_storage_failure="raise", timeout=0.1)
    assert isinstance((await refused(sink.write(entry(1)))).__cause__, StorageError)
    await sink.stop()
    await sink.trail.stop(0.1)


@pytest.mark.filterwarnings("ignore:audit sink. event not recorded:RuntimeWarning")
async def test_a_key_that_comes_later_is_used_and_nothing_goes_unsealed(tmp_path, monkeypatch):
    monkeypatch.delenv("LATE", raising=False)
    sink = make(tmp_path / "log", key="env:LATE?kid=k1&alg=HMAC-SHA256")
    await refused(sink.write(entry(1)), "LATE is not set")
    assert not list(tmp_path.glob("log/*.jsonl"))
    assert not await sink.health_check()
    monkeypatch.setenv("LATE", bytes(range(32)).hex())
    assert await sink.health_check()
    await put(sink, 2)
    await sink.stop()
    [event] = await check(tmp_path / "log", [2], key=KEY)
    assert event.signature is not None


async def test_a_strict_policy_with_issues_records_nothing_and_says_so(tmp_path):
    sink = make(tmp_path, strict=True, level="hipaa", retention_days=1)
    assert "retention_days" in str(await sink.health())
    with pytest.warns(RuntimeWarning, match="retention_days"):
        await refused(sink.write(entry()), "retention_days")
    assert not await sink.health_check()


async def test_an_issue_with_the_policy_refuses_no_event_where_warnings_are_errors(tmp_path, capsys):
    sink = make(tmp_path, level="hipaa", retention_days=1)
    await put(sink, 1)
    await sink.stop()
    assert "UserWarning: Compliance: retention_days" in capsys.readouterr().err
    await check(tmp_path, [1])


async def test_a_sink_that_was_never_used_is_well_if_its_storage_can_be_opened(tmp_path, unwritable):
    good = make(tmp_path / "log")
    assert await good.health_check()
    await good.stop()
    with pytest.warns(RuntimeWarning, match="cannot be opened"):
        assert not await make(unwritable).health_check()


async def test_to_ask_for_the_health_of_a_closed_trail_takes_no_writer_slot(tmp_path):
    sink = make(tmp_path)
    await put(sink, 1)
    await sink.stop()
    assert await sink.health_check()
    async with AuditTrail(storage_path=tmp_path) as trail:
        await trail.log_event("acme.x", "m", n=2)
    await check(tmp_path, [1, 2], streams=1)


# One trail for all that are told the same.


def test_equal_sinks_share_a_trail(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = AuditSinkConfig(storage_path="log", level="sox").plan().policy
    trail = make(Path("log"), level="sox").trail
    assert make(tmp_path / "log", compliance_level="SOX", exit_drain=True).trail is trail
    assert make(tmp_path / "log", policy=policy).trail is trail
    assert make(tmp_path / "log", policy=policy, key=KEY).trail is not trail
    assert make(tmp_path / "log").trail is not trail
    assert make(tmp_path / "other", policy=policy).trail is not trail


async def test_a_trail_is_closed_when_the_last_of_its_sinks_leaves(tmp_path):
    first, second = make(tmp_path, key=KEY), make(tmp_path, key=KEY)
    await first.write(entry(1))
    await second.write(entry(2))
    await first.stop()
    assert list(tmp_path.glob("*.manifest.json")) == []
    await second.stop()
    assert len(list(tmp_path.glob("*.manifest.json"))) == 1
    await check(tmp_path, [1, 2], key=KEY)


class Keeping:
    """A backend that keeps events, and notes what is done to it."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    async def write(self, event: AuditEvent) -> None:
        self.calls.append(event.metadata["n"])

    async def flush(self) -> None: ...

    async def close(self) -> None:
        self.calls.append("close")


async def test_a_backend_is_closed_only_with_the_trail(tmp_path):
    backend = Keeping()
    sink = make(tmp_path, backend=backend)
    for number in range(3):
        await put(sink, number)
        await sink.stop()
    assert backend.calls == [0, 1, 2]
    await sink.trail.stop()
    assert backend.calls == [0, 1, 2, "close"]


def test_a_trail_that_a_lost_sink_left_open_is_shared_all_the_same(tmp_path, caplog):
    for number in range(3):
        # Not asyncio.run, which ends what still runs: the sink would hear of it.
        loop = asyncio.new_event_loop()
        loop.run_until_complete(make(tmp_path).write(entry(number)))
        loop.close()
        del loop
        gc.collect()
    asyncio.run(make(tmp_path).trail.stop())
    asyncio.run(check(tmp_path, [0, 1, 2]))
    assert {record.message.partition("!")[0] for record in caplog.records} == {"Task was destroyed but it is pending"}


def test_loops_that_end_and_loops_that_write_meet_without_loss(tmp_path):
    """Each loop closes the trail at its end, under the feet of the others."""
    failures: list[BaseException] = []

    def run(first: int) -> None:
        async def some(at: int) -> None:
            sink = make(tmp_path)
            for number in range(at, at + 5):
                await sink.write(entry(number))
            await sink.stop()

        try:
            for at in range(first, first + 50, 5):
                asyncio.run(some(at))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(first,)) for first in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    asyncio.run(make(tmp_path).stop())
    asyncio.run(make(tmp_path).trail.stop())
    asyncio.run(check(tmp_path, list(range(200))))


def test_the_end_of_a_loop_closes_the_trail(tmp_path):
    asyncio.run(make(tmp_path, key=KEY).write(entry(1)))
    assert len(list(tmp_path.glob("*.manifest.json"))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_trail_of_its_own(tmp_path):
    sink = make(tmp_path, key=KEY)
    asyncio.run(sink.write(entry(1)))
    parent = sink.trail
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(sink.write(entry(2)))
            code = 0 if sink.trail is not parent and sharing.shared_trail(sink.config.plan()).trail is sink.trail else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    asyncio.run(sink.write(entry(3)))
    asyncio.run(check(tmp_path, [1, 2, 3], key=KEY))


def test_it_shows_what_it_writes_to(tmp_path):
    assert repr(make(tmp_path)) == f"<AuditSink <AuditTrail '{tmp_path}', basic, unkeyed, not started>>"
