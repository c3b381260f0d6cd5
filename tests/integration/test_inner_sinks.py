"""Inner sinks: what gets sealed records beside the sealed log, each verifiable alone, in an order the log proves.

What an inner sink does not take is warned of once and unhealthy; the event is sealed all the same.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import subprocess
import sys
import warnings
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from fapilog import Settings, get_logger
from fapilog.plugins.sinks.rotating_file import RotatingFileSink, RotatingFileSinkConfig
from integration.loopback import PUSH, dead_end, receiver, until

from fapilog_tamper import ConfigError, Keyring, Outcome, SealedSink, Verifier, verify_path
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.pipeline import forwarding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {"hmac": HmacKey("k1", bytes(range(32))), "ed25519": Ed25519SigningKey("ed-2026", bytes(range(100, 132)))}
HMAC = KEYS["hmac"]
RING = Keyring(list(KEYS.values()))
VERIFIER = Verifier(RING)
both_ways = pytest.mark.parametrize("serialized", [False, True])


def start_logger(folder: Path, inner: Any, config: Any = None, key: Any = HMAC, **core: Any) -> tuple[Any, SealedSink]:
    """Return a real logger whose only sink seals and sends on to `inner`."""
    sink = SealedSink(directory=folder, key=key, inner_sink=inner, inner_config=config or {}, exit_drain=False)
    return get_logger(sinks=[sink], settings=Settings(core=core), reuse=False), sink


def log_and_drain(log: Any, count: int = 25) -> None:
    for n in range(count):
        log.info("an event", n=n)
    asyncio.run(log.stop_and_drain())


def log_one(log: Any, then: Callable[[], object]) -> None:
    """Log an event and wait until something is so."""
    log.info("an event", n=0)
    until(then)


def lines_of(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def require_sealed(folder: Path, count: int) -> list[dict[str, Any]]:
    """Accept a log that is intact with this number of events; return its records."""
    report = verify_path(folder, keyring=RING, require_manifests=True, require_end=True)
    assert report.outcome is Outcome.INTACT, report.findings
    records = [json.loads(line) for line in lines_of(folder)]
    assert len([one for one in records if "log" in one]) == count
    return records


def require_received(folder: Path, received: list[dict[str, Any]], count: int = 25) -> None:
    """Accept records that verify one by one, and whose place the sealed log proves."""
    sealed = {(one["integrity"]["stream"], one["integrity"]["seq"]): one for one in require_sealed(folder, count)}
    assert [VERIFIER.verify_record(one) for one in received] == [True] * count
    places = [(one["integrity"]["stream"], one["integrity"]["seq"]) for one in received]
    assert len(set(places)) == count
    assert [sealed[place] for place in places] == received
    assert [sealed[place]["integrity"]["chain_hash"] for place in places] == [
        one["integrity"]["chain_hash"] for one in received
    ]
    in_order = sorted(received, key=lambda one: one["integrity"]["seq"])
    assert in_order == [one for one in sealed.values() if "log" in one]
    if len(sealed) == count:
        assert VERIFIER.verify_chain(in_order).outcome is Outcome.INTACT


def changes_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the record with one thing changed, in each way."""
    other = "A" + record["integrity"]["chain_hash"][1:]
    other = other if other != record["integrity"]["chain_hash"] else "B" + other[1:]
    ways: list[tuple[tuple[str, ...], Any]] = [
        (("log", "message"), "another"),
        (("log", "level"), "DEBUG"),
        (("log", "data", "n"), 99),
        (("log", "data", "more"), 1),
        (("schema_version",), "1.2"),
        (("integrity", "seq"), record["integrity"]["seq"] + 1),
        (("integrity", "stream"), "other"),
        (("integrity", "chain_hash"), other),
        (("integrity", "prev_chain_hash"), other),
        (("integrity", "mac"), "A" * len(record["integrity"]["mac"])),
        (("integrity",), None),
    ]
    changed = []
    for path, value in ways:
        copy = deepcopy(record)
        place = copy
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        changed.append(copy)
    return changed


# http


@both_ways
@pytest.mark.parametrize("batch_size", [1, 10])
@pytest.mark.parametrize("batch_format", ["array", "ndjson", "wrapped"])
@pytest.mark.parametrize("kind", KEYS)
def test_what_an_http_server_receives_verifies_one_by_one_in_the_order_of_the_log(
    tmp_path, serialized, batch_size, batch_format, kind
):
    with receiver() as server:
        config = {"endpoint": server.url, "batch_size": batch_size, "batch_format": batch_format}
        log, sink = start_logger(tmp_path, "http", config, KEYS[kind], serialize_in_flush=serialized)
        log_and_drain(log)
        assert sink.health() is None
        received = server.records("logs" if batch_format == "wrapped" else None)
    require_received(tmp_path, received)
    assert len(server.requests) == {1: 25, 10: 3}[batch_size]
    assert [VERIFIER.verify_record(changed) for changed in changes_of(received[7])] == [False] * 11


@both_ways
def test_records_that_arrive_in_any_order_are_put_in_order_by_the_log(tmp_path, serialized):
    with receiver() as server:
        core = {"serialize_in_flush": serialized, "sink_concurrency": 16, "worker_count": 4}
        log, _ = start_logger(tmp_path, "http", {"endpoint": server.url}, **core)
        log_and_drain(log, 100)
        require_received(tmp_path, server.records(), 100)


def test_an_http_sink_from_settings_of_fapilog_gets_sealed_records(tmp_path, monkeypatch):
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", bytes(range(32)).hex())
    with receiver() as server:
        sealed = {"inner_sink": "http", "inner_config": {"endpoint": server.url}, "directory": str(tmp_path)}
        sealed |= {"key_id": "k1", "exit_drain": False}
        settings = Settings(
            core={"sinks": ["sealed"]}, plugins={"allow_external": True}, sink_config={"extra": {"sealed": sealed}}
        )
        log_and_drain(get_logger(settings=settings, reuse=False))
        require_received(tmp_path, server.records())


@both_ways
def test_a_batch_that_is_held_back_is_sent_when_the_logger_is_drained(tmp_path, serialized):
    with receiver() as server:
        config = {"endpoint": server.url, "batch_size": 1000, "batch_timeout_seconds": 3600}
        log, _ = start_logger(tmp_path, "http", config, serialize_in_flush=serialized)
        for n in range(25):
            log.info("an event", n=n)
        until(lambda: len(lines_of(tmp_path)) == 25)
        assert server.requests == []
        asyncio.run(log.stop_and_drain())
        require_received(tmp_path, server.records())
        assert len(server.requests) == 1


PLAIN_EXIT = """
import json, sys
from fapilog import Settings, get_logger
from fapilog_tamper import SealedSink
from fapilog_tamper.keys import HmacKey
folder, inner, config, serialized = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4] == "True"
sink = SealedSink(directory=folder, key=HmacKey("k1", bytes(range(32))), inner_sink=inner, inner_config=config)
log = get_logger(sinks=[sink], settings=Settings(core={"serialize_in_flush": serialized}), reuse=False)
for n in range(25):
    log.info("an event", n=n)
"""


def run_to_plain_exit(folder: Path, inner: str, config: dict[str, Any], *, serialized: bool) -> bytes:
    """Have a process log 25 events and come to a plain exit; return what it wrote to stdout."""
    command = [sys.executable, "-W", "error", "-c", PLAIN_EXIT, str(folder), inner, json.dumps(config), str(serialized)]
    return subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE).stdout


def test_a_batch_that_is_held_back_is_sent_at_a_plain_exit(tmp_path):
    with receiver() as server:
        config = {"endpoint": server.url, "batch_size": 1000, "batch_timeout_seconds": 3600}
        run_to_plain_exit(tmp_path, "http", config, serialized=False)
        require_received(tmp_path, server.records())


# Other sinks of fapilog.


@both_ways
def test_each_line_on_stdout_verifies(tmp_path, serialized):
    out = run_to_plain_exit(tmp_path, "stdout_json", {}, serialized=serialized)
    assert out.splitlines() == lines_of(tmp_path)
    assert [VERIFIER.verify_record(line) for line in out.splitlines()] == [True] * 25
    require_received(tmp_path, [json.loads(line) for line in out.splitlines()])


@both_ways
def test_a_rotating_file_of_fapilog_gets_each_line_as_it_stands_in_the_log(tmp_path, serialized):
    inner = RotatingFileSink(RotatingFileSinkConfig(directory=tmp_path / "plain", max_bytes=8192))
    log, sink = start_logger(tmp_path / "log", inner, serialize_in_flush=serialized)
    log_and_drain(log)
    assert sink.health() is None
    files = sorted((tmp_path / "plain").iterdir(), key=lambda path: (len(path.name), path.name))
    assert len(files) > 1
    assert [line for path in files for line in path.read_bytes().splitlines()] == lines_of(tmp_path / "log")
    require_sealed(tmp_path / "log", 25)


@both_ways
def test_a_routing_sink_gives_sealed_records_to_its_children_by_level(tmp_path, serialized):
    with receiver() as errors, receiver() as others:
        config = {
            "routes": {"ERROR": ["http", "rotating_file"], "*": ["webhook"]},
            "sink_configs": {
                "http": {"endpoint": errors.url},
                "webhook": {"endpoint": others.url},
                "rotating_file": {"config": RotatingFileSinkConfig(directory=tmp_path / "plain")},
            },
        }
        log, sink = start_logger(tmp_path / "log", "routing", config, serialize_in_flush=serialized)
        for n in range(10):
            (log.error if n % 3 == 0 else log.info)("an event", n=n)
        asyncio.run(log.stop_and_drain())
        assert sink.health() is None
        assert sorted(one["log"]["data"]["n"] for one in errors.records()) == [0, 3, 6, 9]
        assert {one["log"]["level"] for one in others.records()} == {"INFO"}
        require_received(tmp_path / "log", errors.records() + others.records(), 10)
        [path] = (tmp_path / "plain").iterdir()
        assert [json.loads(line) for line in path.read_bytes().splitlines()] == errors.records()


@both_ways
def test_loki_gets_lines_that_verify_under_the_label_of_their_level(tmp_path, serialized):
    with receiver(204) as server:
        config = {"url": server.url, "batch_size": 10, "labels": {"service": "shop"}, "batch_timeout_seconds": 3600}
        log, sink = start_logger(tmp_path, "loki", config, serialize_in_flush=serialized)
        for n in range(25):
            (log.error if n % 5 == 0 else log.info)("an event", n=n)
        asyncio.run(log.stop_and_drain())
        assert sink.health() is None
        assert {path for path, _, _ in server.requests} == {PUSH}
        pushed = server.pushed()
    assert [VERIFIER.verify_record(line) for _, line in pushed] == [True] * 25
    assert {line.encode() for _, line in pushed} == set(lines_of(tmp_path))
    for labels, line in pushed:
        assert labels == {"service": "shop", "level": json.loads(line)["log"]["level"]}
    require_received(tmp_path, [json.loads(line) for _, line in pushed])


@both_ways
def test_a_webhook_gets_signed_requests_with_sealed_records(tmp_path, serialized):
    with receiver() as server:
        config = {"endpoint": server.url, "secret": "of the webhook"}
        log, _ = start_logger(tmp_path, "webhook", config, serialize_in_flush=serialized)
        log_and_drain(log)
        require_received(tmp_path, server.records())
    for _, headers, body in server.requests:
        signed = f"{headers['x-fapilog-timestamp']}.{body.decode()}".encode()
        wanted = "sha256=" + hmac.new(b"of the webhook", signed, "sha256").hexdigest()
        assert headers["x-fapilog-signature-256"] == wanted


# Own sinks.


class Writes:
    """A sink that can do nothing but write."""

    name = "mine"

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    async def write(self, entry: dict[str, Any]) -> None:
        self.records.append(entry)


class WritesBytes(Writes):
    """A sink that takes bytes, too."""

    async def write_serialized(self, view: Any) -> None:
        assert not bytes(view.data).endswith(b"\n")
        self.records.append(json.loads(bytes(view.data)))


@both_ways
@pytest.mark.parametrize("kind", [Writes, WritesBytes])
def test_an_own_sink_gets_records_that_verify(tmp_path, serialized, kind):
    inner = kind()
    log, sink = start_logger(tmp_path, inner, serialize_in_flush=serialized)
    log_and_drain(log)
    assert sink.health() is None
    require_received(tmp_path, inner.records)


class SlowStart(Writes):
    """Notes what was written before it was started, and how often it was."""

    def __init__(self) -> None:
        super().__init__()
        self.started = self.stopped = 0
        self.early = 0

    async def start(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1

    async def write(self, entry: dict[str, Any]) -> None:
        self.early += not self.started
        await super().write(entry)


@both_ways
def test_an_own_sink_is_started_once_and_stopped_once(tmp_path, serialized):
    inner = SlowStart()
    log, _ = start_logger(tmp_path, inner, serialize_in_flush=serialized)
    log_and_drain(log)
    assert (inner.started, inner.stopped, inner.early) == (1, 1, 0)


class Fails(Writes):
    """A sink of which one method fails."""

    def __init__(self, failing: str, error: Exception | None) -> None:
        super().__init__()
        self.failing = failing
        self.error = error

    def _try(self, what: str) -> bool | None:
        if what != self.failing:
            return None
        if self.error is None:
            return False
        raise self.error

    async def start(self) -> None:
        self._try("start")

    async def stop(self) -> None:
        self._try("stop")

    async def write(self, entry: dict[str, Any]) -> bool | None:
        return self._try("write")


FAILURES = [
    ("start", OSError("no route")),
    ("write", OSError("no route")),
    ("write", AttributeError("no route")),
    ("write", None),
]


@both_ways
@pytest.mark.parametrize(("failing", "error"), FAILURES)
def test_an_inner_sink_that_fails_costs_no_seal_and_one_warning(tmp_path, capsys, serialized, failing, error):
    """Nor does fapilog hear of it: its circuit breaker, which skips a sink after five failures, stays closed."""
    core = {"serialize_in_flush": serialized, "sink_circuit_breaker_enabled": True}
    log, sink = start_logger(tmp_path, Fails(failing, error), **core)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        log.info("an event", n=0)
        until(lambda: told)
        assert asyncio.run(sink.health_check()) is False
        assert "the inner sink mine fails (" in sink.health()
        for n in range(1, 25):
            log.info("an event", n=n)
        asyncio.run(log.stop_and_drain())
    why = "it said that it did not take it" if error is None else f"{type(error).__name__}: no route"
    assert [str(one.message) for one in told if one.category is RuntimeWarning] == [
        f"sealed sink: the inner sink mine fails ({why}); events are sealed all the same."
    ]
    asyncio.run(sink.stop())
    require_sealed(tmp_path, 25)
    assert "an event" not in capsys.readouterr().err  # where fapilog prints what a sink refused


def test_an_inner_sink_that_fails_to_stop_is_warned_of(tmp_path):
    log, sink = start_logger(tmp_path, Fails("stop", OSError("no route")))
    with pytest.warns(RuntimeWarning, match=r"the inner sink mine fails \(OSError: no route\)"):
        log_and_drain(log)
    assert "no route" in sink.health()
    asyncio.run(sink.stop())
    require_sealed(tmp_path, 25)


def test_an_inner_sink_that_works_again_is_healthy_again(tmp_path):
    inner = Fails("write", OSError("no route"))
    log, sink = start_logger(tmp_path, inner)
    with pytest.warns(RuntimeWarning, match="the inner sink mine fails"):
        log_one(log, lambda: sink.health() is not None)
    inner.failing = "nothing"
    log.info("an event", n=1)
    until(lambda: sink.health() is None)
    asyncio.run(log.stop_and_drain())
    require_sealed(tmp_path, 2)


@both_ways
@pytest.mark.parametrize("batch_size", [1, 10])
@pytest.mark.parametrize("name", ["http", "webhook"])
@pytest.mark.parametrize("answer", ["500", "nobody there"])
def test_a_server_that_takes_nothing_is_one_warning_and_unhealthy(
    tmp_path, capsys, serialized, answer, name, batch_size
):
    core = {"serialize_in_flush": serialized, "sink_circuit_breaker_enabled": True}
    with receiver(500) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        config = {"endpoint": server.url if answer == "500" else dead_end(), "batch_size": batch_size}
        log, sink = start_logger(tmp_path, name, config, **core)
        if batch_size == 1:
            log_one(log, lambda: sink.health() is not None)
        log_and_drain(log, 25 - (batch_size == 1))
        assert f"the inner sink {name} fails (" in sink.health()
        assert asyncio.run(sink.health_check()) is False
        asyncio.run(sink.stop())
    assert [one.category for one in told] == [RuntimeWarning]
    assert f"the inner sink {name} fails (" in str(told[0].message)
    require_sealed(tmp_path, 25)
    assert "an event" not in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["500", "nobody there"])
def test_a_loki_that_takes_nothing_is_one_warning_and_unhealthy(tmp_path, answer):
    with receiver(500) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        config = {"url": server.url if answer == "500" else dead_end(), "max_retries": 1, "batch_size": 1}
        log, sink = start_logger(tmp_path, "loki", config)
        log_and_drain(log)
        assert "the inner sink loki fails (" in sink.health()
        asyncio.run(sink.stop())
    assert [one.category for one in told] == [RuntimeWarning]
    require_sealed(tmp_path, 25)


def test_a_server_that_comes_back_gets_what_comes_then(tmp_path):
    with receiver(500) as server:
        log, sink = start_logger(tmp_path, "http", {"endpoint": server.url})
        with pytest.warns(RuntimeWarning, match="the inner sink http fails"):
            log_one(log, lambda: sink.health() is not None)
        server.status = 200
        log.info("an event", n=1)
        until(lambda: sink.health() is None)
        asyncio.run(log.stop_and_drain())
        assert VERIFIER.verify_record(server.records()[-1])
    require_sealed(tmp_path, 2)


class Hangs(Writes):
    """A sink that takes nothing while it hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = True
        self.tries = 0

    async def write(self, entry: dict[str, Any]) -> None:
        self.tries += 1
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        await super().write(entry)


@both_ways
def test_an_inner_sink_that_hangs_does_not_hold_up_the_events_behind(tmp_path, monkeypatch, serialized):
    monkeypatch.setattr(forwarding, "_PATIENCE", 0.1)
    monkeypatch.setattr(forwarding, "_PAUSE", 3600)
    inner = Hangs()
    log, sink = start_logger(tmp_path, inner, serialize_in_flush=serialized)
    with pytest.warns(RuntimeWarning, match="it took nothing for 0.1 seconds, and gets nothing for 3600") as told:
        log_and_drain(log)
    assert len(told) == 1
    assert inner.tries == 1
    assert "the inner sink mine fails (" in sink.health()
    asyncio.run(sink.stop())
    require_sealed(tmp_path, 25)


@both_ways
def test_an_inner_sink_that_hung_is_tried_again_after_a_while(tmp_path, monkeypatch, serialized):
    monkeypatch.setattr(forwarding, "_PATIENCE", 0.1)
    monkeypatch.setattr(forwarding, "_PAUSE", 0.2)
    inner = Hangs()
    log, sink = start_logger(tmp_path, inner, serialize_in_flush=serialized)
    with pytest.warns(RuntimeWarning, match="the inner sink mine fails .it took nothing for 0.1 seconds") as told:
        log_one(log, lambda: sink.health() is not None)
    assert len(told) == 1
    inner.hangs = False
    count = 1

    def works_again():
        nonlocal count
        log.info("an event", n=count)
        count += 1
        return sink.health() is None

    until(works_again)
    asyncio.run(log.stop_and_drain())
    require_sealed(tmp_path, count)
    assert inner.records
    assert all(map(VERIFIER.verify_record, inner.records))


class OnlyStarts(Writes):
    """A sink that has nothing to stop."""

    started = stopped = 0

    async def start(self) -> None:
        self.started += 1


class OnlyStops(Writes):
    """A sink that has nothing to start."""

    started = stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize(("kind", "calls"), [(OnlyStarts, (1, 0)), (OnlyStops, (0, 1))])
def test_an_own_sink_need_not_have_both_ends(tmp_path, kind, calls):
    inner = kind()
    log, sink = start_logger(tmp_path, inner)
    log_and_drain(log)
    assert (inner.started, inner.stopped, sink.health()) == (*calls, None)
    require_received(tmp_path, inner.records)


# What cannot be an inner sink.


@pytest.mark.parametrize(
    ("inner", "config", "why"),
    [
        ("no_such_sink", {}, "inner sink no_such_sink: "),
        ("http", {}, "inner sink http: "),
        ("http", {"endpoint": "http://localhost", "endpiont": 1}, "inner sink http: "),
        (5, {}, "inner_sink is a int"),
        (Writes(), {"directory": "x"}, "inner_config is given for a sink that is made already"),
    ],
)
def test_an_inner_sink_that_cannot_be_made_is_refused_and_warned_of(tmp_path, inner, config, why):
    with pytest.warns(RuntimeWarning, match=why), pytest.raises(ConfigError, match=why) as caught:
        SealedSink(directory=tmp_path, key=HMAC, inner_sink=inner, inner_config=config, exit_drain=False)
    assert caught.value.hint


@both_ways
def test_nothing_is_written_before_the_start_has_ended(tmp_path, serialized):
    inner = SlowStart()
    log, _ = start_logger(tmp_path, inner, serialize_in_flush=serialized, sink_concurrency=16, worker_count=4)
    log_and_drain(log)
    assert (inner.started, inner.stopped, inner.early) == (1, 1, 0)


class StartsLate(SlowStart):
    tries = 0

    async def start(self):
        self.tries += 1
        if self.tries < 3:
            raise OSError("not yet")
        self.started += 1


def test_a_start_that_failed_is_tried_again(tmp_path):
    inner = StartsLate()
    log, _ = start_logger(tmp_path, inner)
    with pytest.warns(RuntimeWarning, match="not yet"):
        log_and_drain(log)
    assert (inner.started, inner.early) == (1, 0)


def test_a_failure_is_no_write_error_where_warnings_are_errors(tmp_path, capsys):
    log, _ = start_logger(tmp_path, Fails("write", OSError("no route")))
    log_and_drain(log)
    said = capsys.readouterr().err
    assert said.startswith("RuntimeWarning: sealed sink: the inner sink")
    assert said.count("\n") == 1


class Stubborn(Writes):
    """Does not let itself be cancelled the first time; where it writes, nor the second."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    async def write(self, entry: dict[str, Any]) -> None:
        if self.where == "write":
            await self.hang(2)

    async def stop(self) -> None:
        if self.where == "stop":
            await self.hang(1)

    async def hang(self, times: int) -> None:
        for _ in range(times):
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("where", ["write", "stop"])
def test_a_sink_that_hangs_costs_neither_a_seal_nor_the_end_of_the_segment(tmp_path, where, monkeypatch):
    monkeypatch.setattr(forwarding, "_PATIENCE", 0.2)
    log, sink = start_logger(tmp_path, Stubborn(where))
    with pytest.warns(RuntimeWarning, match="the inner sink mine fails"):
        log_and_drain(log)
    assert "the inner sink mine fails" in str(sink.health())
    require_sealed(tmp_path, 25)
