"""`SealedSink` as fapilog calls it: what is stored of any value, self-start, failing closed, health, its end."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import gzip
import json
import threading
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from fapilog import Settings, get_logger
from fapilog.core.errors import SinkWriteError
from fapilog.core.serialization import SerializedView, serialize_envelope
from fapilog.plugins.loader import load_plugin
from fapilog.plugins.metadata import PluginMetadata, validate_fapilog_compatibility
from fapilog.testing import validate_plugin_lifecycle, validate_sink
from pydantic import BaseModel

from fapilog_tamper import Keyring, Outcome, SealedSink, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import is_segment_name
from fapilog_tamper.pipeline import sink as module

K1 = HmacKey("k1", bytes(range(32)))
RING = Keyring([K1, HmacKey("fapilog", bytes(range(32)))])
EVENT = {"timestamp": "2026-11-20T12:00:00.000Z", "level": "INFO", "message": "m", "logger": "root"}
EMPTY = {"context": {}, "diagnostics": {}, "data": {}}


def make(folder: Path, **options: Any) -> SealedSink:
    return SealedSink(**{"directory": folder, "key": K1, "exit_drain": False, **options})


def put(folder: Path, *events: Any, serialized: bool = False, **options: Any) -> list[dict[str, Any]]:
    """Write events, close the log, verify it, and return the payloads."""

    async def work() -> None:
        sink = make(folder, **options)
        for event in events:
            await (sink.write_serialized(SerializedView(data=event)) if serialized else sink.write(event))
        await sink.stop()

    asyncio.run(work())
    return payloads(folder)


def payloads(folder: Path) -> list[dict[str, Any]]:
    report = verify_path(folder, keyring=RING, require_end=True, require_manifests=True, deep=True)
    assert report.outcome is Outcome.INTACT, report.findings
    return [json.loads(split(line)[0]) for line in lines(folder)]


def lines(folder: Path) -> list[bytes]:
    found = [path for path in folder.iterdir() if path.is_file() and is_segment_name(path.name)]
    every = [line for path in found for line in path.read_bytes().splitlines(keepends=True)]
    return sorted(every, key=lambda line: (split(line)[1].stream, split(line)[1].seq))


# What is stored.


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Item(BaseModel):
    name: str


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while isinstance(value, dict):
        value, depth = value.get("a"), depth + 1
    return depth


VALUES = [
    (Decimal("1.10"), "1.10"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (b"\x00\xff", {"$base64": "AP8"}),
    (bytearray(b"\x00\xff"), {"$base64": "AP8"}),
    (memoryview(b"\x00\xff"), {"$base64": "AP8"}),
    ({2: "a", None: "b", True: "c", 1.5: "d"}, {"2": "a", "null": "b", "true": "c", "1.5": "d"}),
    ({1: "a", "1": "b"}, {"1": "a", "1#2": "b"}),
    ({(1, 2): "a"}, {"[1,2]": "a"}),
    (2**53 - 1, 2**53 - 1),
    (2**53, str(2**53)),
    (2**64, str(2**64)),
    (-(10**40), str(-(10**40))),
    ("a\ud800b", "a\ufffdb"),
    (Path("a/b"), "a/b"),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    (dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC), "2026-11-20T12:00:00.000000Z"),
    (dt.date(2026, 11, 20), "2026-11-20"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Colour.RED, "red"),
    (Point(1), {"x": 1}),
    (Item(name="n"), {"name": "n"}),
    ((1, (2,)), [1, [2]]),
]


@pytest.mark.parametrize(("value", "stored"), VALUES, ids=[type(value).__name__ for value, _ in VALUES])
def test_a_dict_keeps_what_the_serializer_of_fapilog_would_lose(tmp_path, value, stored):
    [payload] = put(tmp_path, {**EVENT, "data": {"v": value}})
    assert payload == {"log": {**EVENT, **EMPTY, "data": {"v": stored}}, "schema_version": "1.1"}


def test_a_dict_keeps_objects_as_what_they_say_of_themselves(tmp_path):
    [payload] = put(tmp_path, {**EVENT, "data": {"v": object()}})
    assert payload["log"]["data"]["v"]["$type"] == "builtins.object"


def test_nesting_and_cycles_are_cut_and_not_refused(tmp_path):
    cycle: dict[str, Any] = {"n": 1}
    cycle["a"] = cycle
    deep, cyclic = put(tmp_path, {**EVENT, "data": nested(1000)}, {**EVENT, "data": cycle})
    assert 50 < depth_of(deep["log"]["data"]) < 64
    assert "$truncated" in json.dumps(deep)
    assert cyclic["log"]["data"] == {"n": 1, "a": "$truncated"}


def test_an_event_that_is_too_large_is_cut(tmp_path):
    [payload] = put(tmp_path, {**EVENT, "message": "x" * 200_000})
    assert payload["log"]["message"].endswith("]")
    assert "…[cut " in payload["log"]["message"]


@pytest.mark.parametrize("value", [value for value, _ in VALUES[:4]], ids=["Decimal", "set", "frozenset", "bytes"])
def test_a_real_logger_brings_such_values_to_the_log(tmp_path, value):
    """On the dict path, and where fapilog cannot serialise the event and falls back to it."""
    stored = next(stored for one, stored in VALUES if one is value)
    for serialized in (False, True):
        folder = tmp_path / str(serialized)
        core = {"serialize_in_flush": serialized, "redactors": []}
        log = get_logger(sinks=[make(folder)], settings=Settings(core=core), reuse=False)
        log.info("m", v=value)
        asyncio.run(log.stop_and_drain())
        [payload] = payloads(folder)
        assert payload["log"]["data"]["v"] == stored


def test_members_of_enrichers_at_the_top_are_kept(tmp_path):
    class Tenant:
        name = "tenant"

        async def enrich(self, event: Any) -> dict[str, Any]:
            return {"tenant": {"id": 7}, "tags": ["a"]}

    log = get_logger(sinks=[make(tmp_path)], settings=Settings(core={"redactors": []}), reuse=False)
    log.enable_enricher(Tenant())
    log.info("m")
    asyncio.run(log.stop_and_drain())
    [payload] = payloads(tmp_path)
    assert payload["log"]["tenant"] == {"id": 7}
    assert payload["log"]["tags"] == ["a"]


def test_what_is_no_log_event_is_stored_as_it_is(tmp_path):
    probe = {"level": "INFO", "message": "self-test", "metadata": {"n": 1}}
    assert put(tmp_path, probe, {}) == [probe, {}]


def test_what_would_pass_for_a_seal_is_renamed(tmp_path):
    payload, control = put(tmp_path, {"integrity": {"v": 1}}, {"sealed_log": {"kind": "gap"}})
    assert payload == {"integrity_": {"v": 1}}
    assert control == {"sealed_log_": {"kind": "gap"}}


def test_the_event_is_not_changed(tmp_path):
    event = {**EVENT, "data": {"a": {1, 2}}, "integrity": {"v": 1}}
    kept = dict(event)
    put(tmp_path, event)
    assert event == kept


def test_bytes_of_fapilog_and_the_dict_they_were_made_of_are_stored_alike(tmp_path):
    event = {**EVENT, **EMPTY, "data": {"z": 1.5, "a": ["é", None, True], "b": {"c": 10**15}}}
    [first] = put(tmp_path / "a", event)
    put(tmp_path / "b", serialize_envelope(event).data, serialized=True)
    assert [split(line)[0] for line in lines(tmp_path / "a")] == [split(line)[0] for line in lines(tmp_path / "b")]
    assert first["log"]["data"] == event["data"]


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (b'{"b": 1,\n "a": 2.0}', b'{"a":2,"b":1}'),
        (b"{}", b"{}"),
        (b' {"a":"\\u00e9"} ', '{"a":"é"}'.encode()),
        (b'{"a":12345678901234567890123}', b'{"a":"12345678901234567890123"}'),
        (b'{"a":18446744073709551615}', b'{"a":"18446744073709551615"}'),
        (b'{"a":9007199254740991}', b'{"a":9007199254740991}'),
        (b'{"a":-12345678901234567890123,"b":1.5}', b'{"a":"-12345678901234567890123","b":1.5}'),
        (b'{"a":0.1234567890123456789}', b'{"a":0.12345678901234568}'),
        (b'{"a":"12345678901234567890"}', b'{"a":"12345678901234567890"}'),
        (b'{"integrity":{"v":1}}', b'{"integrity_":{"v":1}}'),
        (b'{"log":{},"other":1,"schema_version":"1.1"}', b'{"log":{},"other":1,"schema_version":"1.1"}'),
    ],
)
def test_bytes_that_are_one_object_are_stored_in_canonical_form(tmp_path, data, stored):
    put(tmp_path, data, serialized=True)
    assert [split(line)[0] for line in lines(tmp_path)] == [stored]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b"1",
        b'"text"',
        b'{"a":1',
        b'{"a":1}{"b":2}',
        b"\xff\xfe",
        b"\x00",
        gzip.compress(b'{"a":1}', mtime=0),
        b'{"a":12345678901234567890' * 3,
        b"[" * 100_000,
        b'{"a":12345678901234567890,"b":' + b"[" * 100_000,
    ],
    ids=range(13),
)
def test_other_bytes_are_stored_as_bytes(tmp_path, data):
    [payload] = put(tmp_path, data, serialized=True, max_payload=1 << 20)
    assert list(payload) == ["$base64"]
    text = payload["$base64"]
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize("view", [b'{"a":1}', bytearray(b'{"a":1}'), memoryview(b'{"a":1}')])
def test_a_view_may_be_any_kind_of_bytes(tmp_path, view):
    async def work() -> None:
        sink = make(tmp_path)
        await sink.write_serialized(view)
        await sink.write_serialized(SerializedView(data=view))
        await sink.stop()

    asyncio.run(work())
    assert payloads(tmp_path) == [{"a": 1}] * 2


class Noting(SealedSink):
    """Notes which way events came."""

    async def write(self, entry: Any) -> None:
        self.ways.append("dict")
        await super().write(entry)

    async def write_serialized(self, view: Any) -> None:
        self.ways.append("bytes")
        await super().write_serialized(view)


@pytest.mark.parametrize(("serialized", "value", "way"), [(0, 1, "dict"), (1, 1, "bytes"), (1, {1}, "dict")])
def test_a_real_logger_calls_it_either_way(tmp_path, serialized, value, way):
    """What tests with serialize_in_flush stand on: events of plain values come as bytes."""
    sink = Noting(directory=tmp_path, key=K1, exit_drain=False)
    sink.ways = []
    core = {"serialize_in_flush": bool(serialized), "redactors": []}
    log = get_logger(sinks=[sink], settings=Settings(core=core), reuse=False)
    for _ in range(5):
        log.info("m", v=value)
    asyncio.run(log.stop_and_drain())
    assert sink.ways == [way] * 5
    assert len(payloads(tmp_path)) == 5


# What fapilog is told.


class Hostile(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise AttributeError("hostile")

    def __iter__(self) -> Any:
        raise AttributeError("hostile")

    def __len__(self) -> int:
        raise AttributeError("hostile")


@pytest.mark.parametrize("given", [None, object(), Hostile()], ids=["None", "object", "hostile"])
@pytest.mark.parametrize("method", ["write", "write_serialized"])
def test_nothing_but_a_write_error_comes_out(tmp_path, method, given):
    """fapilog takes an AttributeError out of write_serialized for a success."""

    async def work() -> None:
        sink = make(tmp_path)
        with pytest.raises(SinkWriteError, match="event not sealed: ") as caught:
            await getattr(sink, method)(given)
        assert caught.value.context.plugin_name == "sealed"
        assert caught.value.__cause__ is not None
        await sink.write(EVENT)
        await sink.stop()

    asyncio.run(work())
    assert len(payloads(tmp_path)) == 1


class BrokenKey(HmacKey):
    """A key whose service is gone."""

    def verifying_key(self) -> Any:
        raise AttributeError("the service is gone")


def test_a_key_that_breaks_is_a_write_error(tmp_path):
    async def work() -> None:
        sink = make(tmp_path, key=BrokenKey("k1", bytes(range(32))))
        for _ in range(2):
            with pytest.raises(SinkWriteError, match="the service is gone"):
                await sink.write_serialized(SerializedView(data=b"{}"))

    asyncio.run(work())


@pytest.mark.parametrize(
    ("variable", "why"), [(None, "FAPILOG_TAMPER_KEY is not set"), ("short", "FAPILOG_TAMPER_KEY")]
)
def test_without_a_usable_key_every_write_fails_and_nothing_is_written(tmp_path, monkeypatch, variable, why):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY", raising=False)
    if variable is not None:
        monkeypatch.setenv("FAPILOG_TAMPER_KEY", variable)

    async def work() -> None:
        sink = make(tmp_path / "log", key=None)
        await sink.start()
        for _ in range(3):
            with pytest.raises(SinkWriteError, match=why):
                await sink.write(EVENT)
            with pytest.raises(SinkWriteError, match=why):
                await sink.write_serialized(SerializedView(data=b"{}"))
        assert why in str(sink.health())
        assert await sink.health_check() is False
        await sink.stop()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(work())
    assert [one.category for one in told] == [RuntimeWarning]
    assert f"sealed sink: no event is stored: environment variable {why.split()[0]}" in str(told[0].message)
    assert not (tmp_path / "log").exists()


def test_a_key_that_comes_later_is_used_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.delenv("FAPILOG_TAMPER_KEY", raising=False)

    async def work() -> None:
        sink = make(tmp_path, key=None)
        with pytest.warns(RuntimeWarning, match="no event is stored"), pytest.raises(SinkWriteError):
            await sink.write(EVENT)
        monkeypatch.setenv("FAPILOG_TAMPER_KEY", bytes(range(32)).hex())
        for _ in range(1000):
            if await sink.health_check():
                break
            await asyncio.sleep(0.01)
        await sink.write(EVENT)
        await sink.stop()

    asyncio.run(work())
    assert len(payloads(tmp_path)) == 1


# Beginning and end.


@pytest.mark.parametrize("starts", [0, 1, 16])
def test_it_may_be_started_never_once_or_sixteen_times_at_once(tmp_path, starts):
    async def work() -> None:
        sink = make(tmp_path)
        await asyncio.gather(*(sink.start() for _ in range(starts)))
        await asyncio.gather(*(sink.write(EVENT) for _ in range(50)))
        await sink.stop()

    asyncio.run(work())
    assert [split(line)[1].seq for line in lines(tmp_path)] == list(range(1, 51))
    assert len(payloads(tmp_path)) == 50


def test_many_loops_may_write_at_once(tmp_path):
    sink = make(tmp_path)

    async def work() -> None:
        await asyncio.gather(*(sink.write(EVENT) for _ in range(50)))

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [split(line)[1].seq for line in lines(tmp_path)] == list(range(1, 201))
    assert {split(line)[1].stream for line in lines(tmp_path)} == {"fapilog"}
    assert len(payloads(tmp_path)) == 200


def test_the_end_of_the_loop_closes_the_log(tmp_path):
    async def work() -> None:
        await make(tmp_path).write(EVENT)

    asyncio.run(work())
    assert len(payloads(tmp_path)) == 1


def test_it_may_be_stopped_twice_and_goes_on_with_the_next_event(tmp_path):
    async def work() -> None:
        sink = make(tmp_path)
        await sink.stop()
        await sink.write(EVENT)
        await sink.stop()
        await sink.stop()
        await sink.write(EVENT)
        await sink.stop()

    asyncio.run(work())
    assert [split(line)[1].seq for line in lines(tmp_path)] == [1, 2]
    assert len(payloads(tmp_path)) == 2
    assert len(list(tmp_path.glob("*.manifest.json"))) == 2


# Health and name.


def test_health_in_every_state(tmp_path):
    async def work() -> None:
        sink = make(tmp_path)
        assert sink.health() is None  # never used
        await sink.start()
        assert sink.health() is None  # started
        await sink.write(EVENT)
        assert sink.health() is None  # writing
        await sink.rotate()
        assert sink.health() is None  # between two segments
        await sink.stop()
        assert await sink.health_check() is True  # stopped, and able to go on
        await sink.stop()

    asyncio.run(work())
    with pytest.warns(RuntimeWarning, match="not enabled"):
        off = make(tmp_path, enabled=False)
    assert off.health() == "the sink is not enabled"
    assert asyncio.run(off.health_check()) is False


def test_health_tells_of_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    sink = make(tmp_path / "file" / "log")
    with pytest.warns(RuntimeWarning, match="no event is stored"):
        assert "cannot be opened for writing" in str(sink.health())

    async def work() -> None:
        with pytest.raises(SinkWriteError, match="cannot be opened for writing"):
            await sink.write(EVENT)

    asyncio.run(work())


def test_it_says_which_stream_and_key_events_are_bound_to(tmp_path):
    async def work() -> None:
        sink = make(tmp_path, filename_prefix="shop")
        assert sink.stream == "shop"
        assert sink.binding() == {"stream": "shop", "key_id": "k1"}
        await sink.stop()

    asyncio.run(work())


def test_its_repr_names_stream_and_folder_and_no_key(tmp_path):
    sink = make(tmp_path, filename_prefix="shop")
    assert repr(sink) == f"<SealedSink 'shop' in {str(tmp_path)!r}>"
    with pytest.warns(RuntimeWarning, match="not enabled"):
        assert repr(make(tmp_path, enabled=False)).endswith(", not enabled>")


@pytest.mark.parametrize("serialized", [False, True])
def test_not_enabled_it_passes_events_unsealed_to_a_folder_of_their_own(tmp_path, serialized):
    with pytest.warns(RuntimeWarning, match="it is not enabled, so events are stored unsealed; set enabled=True"):
        sink = make(tmp_path, enabled=False, filename_prefix="shop")
    log = get_logger(sinks=[sink], settings=Settings(core={"serialize_in_flush": serialized}), reuse=False)
    for n in range(5):
        log.info("m", n=n)
    asyncio.run(log.stop_and_drain())
    [path] = (tmp_path / "unsealed").iterdir()
    assert path.name.startswith("shop-")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["log"]["data"]["n"] for record in records] == list(range(5))
    assert all("integrity" not in record for record in records)
    assert [path.name for path in tmp_path.iterdir()] == ["unsealed"]


def test_not_enabled_it_passes_events_unsealed_to_the_inner_sink(tmp_path):
    class Mine:
        name = "mine"
        got: list[Any] = []  # noqa: RUF012 (one test, one list)

        async def write(self, entry: Any) -> None:
            self.got.append(entry)

    with pytest.warns(RuntimeWarning, match="not enabled"):
        sink = make(tmp_path, enabled=False, inner_sink=Mine())
    asyncio.run(sink.write({**EVENT, "data": {"v": Decimal("1.1"), 1: {2}}}))
    assert Mine.got[0]["log"]["data"] == {"v": "1.1", "1": "{2}"}
    assert list(tmp_path.iterdir()) == []


# As a plugin.


def test_the_validators_of_fapilog_find_nothing(tmp_path):
    result = validate_sink(make(tmp_path))
    assert (result.valid, result.errors, result.warnings) == (True, [], [])
    result = asyncio.run(validate_plugin_lifecycle(make(tmp_path)))
    assert (result.valid, result.errors, result.warnings) == (True, [], [])


def test_its_metadata_are_those_of_a_plugin_for_this_fapilog():
    metadata = PluginMetadata(**module.PLUGIN_METADATA)
    assert validate_fapilog_compatibility(metadata)
    assert (metadata.name, metadata.plugin_type) == (SealedSink.name, "sink")
    place, _, name = metadata.entry_point.partition(":")
    assert (place, name) == (SealedSink.__module__, SealedSink.__name__)
    compatibility = {"min_fapilog_version": "0.19.0"}
    assert not validate_fapilog_compatibility(
        PluginMetadata(**{**module.PLUGIN_METADATA, "compatibility": compatibility})
    )


def test_there_is_one_plugin_in_its_module():
    """fapilog compares the name of each class with the metadata of the module."""
    plugins = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    assert [one for one in plugins if hasattr(one, "write")] == [SealedSink]


@pytest.mark.parametrize("name", ["sealed", "Sealed"])
def test_fapilog_finds_it_by_its_name(tmp_path, name):
    sink = load_plugin("fapilog.sinks", name, {"directory": tmp_path, "exit_drain": False})
    assert type(sink) is SealedSink
    sink._started = True  # as fapilog does


@pytest.mark.parametrize("data", [b'{"a":1e400}', b'{"a":"\\ud800"}'])
def test_json_that_a_strict_reader_refuses_is_read(tmp_path, data):
    [payload] = put(tmp_path, data, serialized=True)
    assert "$base64" not in payload
