"""`IntegrityEnricher` as fapilog calls it: the block, what it is over, options, keys that come and go."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import time
import types
import uuid
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from fapilog.core.serialization import serialize_envelope
from fapilog.plugins.enrichers import enrich_parallel
from fapilog.plugins.loader import load_plugin
from fapilog.plugins.metadata import PluginMetadata, validate_fapilog_compatibility
from fapilog.testing import validate_enricher, validate_plugin_lifecycle

from fapilog_tamper import ConfigError, IntegrityEnricher, Keyring, SealKeyError, TamperConfig, Verifier
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.pipeline import enricher as module

if TYPE_CHECKING:
    from pathlib import Path

K1 = HmacKey("k1", bytes(range(32)))
ED = Ed25519SigningKey("ed", bytes(range(32)))
PLAIN = HmacKey("fapilog", bytes(range(32)))
VERIFIER = Verifier(Keyring([K1, ED.verifying_key(), PLAIN]))
EVENT = {
    "timestamp": "2026-11-20T12:00:00.000Z",
    "level": "INFO",
    "message": "m",
    "logger": "root",
    "context": {"message_id": "a"},
    "diagnostics": {"origin": "native"},
    "data": {"n": 1},
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAPILOG_TAMPER_KEY", raising=False)
    made: list[IntegrityEnricher] = []

    def build(**options: Any) -> IntegrityEnricher:
        made.append(IntegrityEnricher(**{"key": K1, "state_dir": tmp_path / "state", "exit_drain": False, **options}))
        return made[-1]

    yield build
    for enricher in made:
        asyncio.run(enricher.stop())


def enrich(enricher: IntegrityEnricher, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Enrich events as fapilog does, with fapilog's own function."""

    async def work() -> list[dict[str, Any]]:
        return [await enrich_parallel(event, [enricher]) for event in events]

    return asyncio.run(work())


def stored(event: dict[str, Any]) -> dict[str, Any]:
    """The event as a sink of fapilog writes it, read again."""
    return json.loads(bytes(serialize_envelope(event).data))


def assert_sealed(event: dict[str, Any]) -> None:
    assert VERIFIER.verify_record(stored(event))
    assert VERIFIER.verify_record(bytes(serialize_envelope(event).data))
    assert VERIFIER.verify_record(event)
    assert VERIFIER.verify_record(json.loads(json.dumps(event)))


def test_an_event_carries_its_block_where_fapilog_keeps_it_and_for_sinks_that_get_dicts(make):
    (event,) = enrich(make(), EVENT)
    block = event["diagnostics"]["integrity"]
    assert list(block) == ["v", "stream", "seq", "prev_chain_hash", "chain_hash", "algo", "key_id", "mac"]
    assert event["integrity"] == block
    assert (block["seq"], block["key_id"], block["algo"]) == (1, "k1", "HMAC-SHA256")
    assert block["stream"].startswith("events.r")
    assert_sealed(event)
    assert {**event, "integrity": None, "diagnostics": EVENT["diagnostics"]} == {**EVENT, "integrity": None}


def test_events_are_one_chain(make):
    events = enrich(make(), *[EVENT | {"data": {"n": number}} for number in range(20)])
    assert VERIFIER.verify_chain([stored(event) for event in events]).valid
    assert VERIFIER.verify_chain(events).valid


def test_concurrent_events_get_a_seq_each(make):
    enricher = make()

    async def work() -> list[dict[str, Any]]:
        return await asyncio.gather(*(enrich_parallel(copy.deepcopy(EVENT), [enricher]) for _ in range(200)))

    events = asyncio.run(work())
    assert sorted(event["integrity"]["seq"] for event in events) == list(range(1, 201))
    assert VERIFIER.verify_chain(sorted(events, key=lambda event: event["integrity"]["seq"])).valid


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: dict[Any, Any]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


VALUES = {
    "datetime": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    "naive": dt.datetime(2026, 1, 2),  # noqa: DTZ001 (what users log)
    "date": dt.date(2026, 1, 2),
    "duration": dt.timedelta(seconds=3),
    "decimal": decimal.Decimal("1.50"),
    "set": {3, 1, 2},
    "tuple": (1, (2, 3)),
    "bytes": b"\xff\x00",
    "nan": float("nan"),
    "infinity": [float("inf"), float("-inf")],
    "huge": 10**40,
    "64 bits": [2**53, 2**63, 2**64 - 1, -(2**63)],
    "large doubles": [1e15, 1e16, 2.0**60, 1e18, 1e20, 1.5e300, -1e17],
    "small doubles": [5e-324, 1e-7, -0.0, 0.1 + 0.2, 1 / 3],
    "surrogate": "\ud800 and \udfff",
    "control": "\x00\x1f\x7f\u2028",
    "emoji": "😀é",
    "enum": Colour.RED,
    "uuid": uuid.UUID(int=5),
    "path": pathlib.PurePosixPath("/a"),
    "object": object(),
    "broken": Broken(),
    "dataclass": Point(1, {2: 3}),
    "mapping": types.MappingProxyType({"a": 1}),
    "other names": {1: "a", None: "b", (1, 2): "c", "n": {True: 1, "x": {2.5: 3}}, "1": "taken"},
    "deep": [[[[[[[[{"a": [{}]}]]]]]]]],
    "integrity": {"integrity": {"seq": 1}, "sealed_log": 1},
    "none": None,
    "large": "x" * 200_000,
    "many": {f"name {number}": number for number in range(20_000)},
    "wide": list(range(50_000)),
    "large and deep": {"a": {"b": ["y" * 90_000] * 3, "c": {str(number): "z" for number in range(9000)}}},
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("group", ["data", "context", "diagnostics"])
def test_any_value_is_stored_as_it_was_sealed(make, name, group):
    for members in ({"value": VALUES[name]}, {"inner": {"value": VALUES[name]}, "n": 1}):
        (event,) = enrich(make(), {**copy.copy(EVENT), group: dict(members)})
        assert_sealed(event)


@pytest.mark.parametrize(
    "change",
    [
        {"message": "x" * 300_000},
        {"message": "x" * 300_000, "data": {"y" * 60_000: 1, "z": "y" * 60_000}},
        {"message": 5, "level": 7},
        {"message": "\ud800"},
        {"data": None, "context": "text"},
        {"data": {str(number): number for number in range(30_000)}, "context": {"c": "y" * 100_000}},
        {"diagnostics": {"integrity": {"seq": 7, "more": 1}, "origin": "native"}},
        {"tags": ["a", "b"]},
    ],
    ids=",".join,
)
def test_any_event_is_stored_as_it_was_sealed(make, change):
    (event,) = enrich(make(), copy.deepcopy(EVENT) | change)
    assert_sealed(event)
    assert "$value" not in event["data"]


@pytest.mark.parametrize("limit", [256, 1000, 5000])
def test_an_event_is_cut_to_its_limit_and_still_stored(make, limit):
    data = {f"n{number}": "x" * number for number in range(400)}
    (event,) = enrich(make(max_payload=limit), EVENT | {"data": data})
    assert_sealed(event)
    assert len(json.dumps(event["data"])) < limit + 300


def test_what_the_caller_changes_later_is_not_in_the_record(make):
    """fapilog keeps what was logged by reference until it is written."""
    inner: dict[str, Any] = {"step": 1, "list": [1]}
    enricher, event = make(), {**EVENT, "data": {"inner": inner, "list": inner["list"]}}

    async def work() -> dict[str, Any]:
        result = await enricher.enrich(dict(event))
        inner["step"], inner["new"] = 2, True
        inner["list"].append(2)
        from fapilog.plugins.enrichers import _deep_merge

        return _deep_merge(event, result)

    merged = asyncio.run(work())
    assert merged["data"] == {"inner": {"step": 1, "list": [1]}, "list": [1]}
    assert_sealed(merged)
    assert inner == {"step": 2, "list": [1, 2], "new": True}


def test_the_objects_of_the_caller_are_left_alone(make):
    inner = {1: {"a": decimal.Decimal(1)}, "large": "x" * 100_000}
    before = copy.deepcopy(inner)
    enrich(make(), EVENT | {"data": {"inner": inner}})
    assert inner == before


def test_a_changed_record_is_not_true(make):
    (event,) = enrich(make(), EVENT)
    for name, value in [("message", "other"), ("level", "ERROR"), ("timestamp", "2026-11-20T12:00:00.001Z")]:
        assert not VERIFIER.verify_record(event | {name: value})
        assert not VERIFIER.verify_record(stored(event | {name: value}))
    for group in ("data", "context", "diagnostics"):
        assert not VERIFIER.verify_record(stored(event | {group: event[group] | {"extra": 1}}))


# Keys.


def test_without_a_key_events_pass_and_say_that_they_are_unsealed(make):
    enricher = make(key=None)
    with pytest.warns(
        RuntimeWarning, match="events are not sealed: environment variable FAPILOG_TAMPER_KEY is not set"
    ):
        first, *others = enrich(enricher, EVENT, EVENT, EVENT)
    for event in (first, *others):
        assert event["integrity"] == event["diagnostics"]["integrity"] == {"status": "unsealed"}
        assert not VERIFIER.verify_record(event)
        assert not VERIFIER.verify_record(stored(event))
    codes = [one.code.value for one in VERIFIER.verify_chain([stored(first), others[0]]).findings]
    assert codes == ["integrity-missing"]
    assert not asyncio.run(enricher.health_check())


def test_a_key_that_comes_later_is_used(make, monkeypatch):
    enricher = make(key=None)
    with pytest.warns(RuntimeWarning, match="not sealed"):
        assert not VERIFIER.verify_record(enrich(enricher, EVENT)[0])
    monkeypatch.setenv("FAPILOG_TAMPER_KEY", K1.secret.hex())
    deadline = time.monotonic() + 10
    event = enrich(enricher, EVENT)[0]
    while "seq" not in event["integrity"] and time.monotonic() < deadline:
        event = enrich(enricher, EVENT)[0]
    assert event["integrity"]["seq"] == 1
    assert_sealed(event)
    assert asyncio.run(enricher.health_check())


def test_a_key_that_stays_away_is_warned_of_once(make, monkeypatch):
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    with pytest.warns(RuntimeWarning, match="not sealed") as said:
        enrich(make(key=None), *[EVENT] * 5)
    assert len(said) == 1


class Service:
    """A key in a service that does not always answer."""

    key_id, algorithm, down = "k1", K1.algorithm, False

    def sign(self, message: bytes) -> bytes:
        if self.down:
            raise SealKeyError("the service does not answer.")
        return K1.sign(message)

    def verifying_key(self) -> Any:
        return K1.verifying_key()


def test_while_a_key_does_not_answer_events_are_marked_and_the_chain_has_no_gap(make):
    service = Service()
    enricher = make(key=service)
    first = enrich(enricher, EVENT)
    service.down = True
    with pytest.warns(RuntimeWarning, match="not sealed: the service does not answer") as said:
        unsealed = enrich(enricher, EVENT, EVENT)
    service.down = False
    assert len(said) == 1
    assert [event["integrity"] for event in unsealed] == [{"status": "unsealed"}] * 2
    assert VERIFIER.verify_chain(first + enrich(enricher, EVENT)).valid


@pytest.mark.parametrize(
    ("options", "key_id", "algo"),
    [
        ({"key": ED}, "ed", "Ed25519"),
        ({"key": "env:THE_KEY?kid=ed&alg=Ed25519"}, "ed", "Ed25519"),
        ({"key": None, "key_env_var": "THE_KEY", "key_id": "ed", "algorithm": "ed25519"}, "ed", "Ed25519"),
        ({"key": None, "key_env_var": "THE_KEY", "algorithm": "sha256", "key_id": "k1"}, "k1", "HMAC-SHA256"),
        ({"key": None, "key_env_var": "THE_KEY"}, "fapilog", "HMAC-SHA256"),
    ],
)
def test_the_key_and_its_algorithm_are_those_that_were_asked_for(make, monkeypatch, options, key_id, algo):
    monkeypatch.setenv("THE_KEY", K1.secret.hex())
    (event,) = enrich(make(**options), EVENT)
    assert (event["integrity"]["key_id"], event["integrity"]["algo"]) == (key_id, algo)
    assert_sealed(event)


# Options.


@pytest.mark.parametrize(
    "build",
    [
        lambda options: IntegrityEnricher(TamperConfig(enabled=True, **options)),
        lambda options: IntegrityEnricher(config=TamperConfig(enabled=True, **options)),
        IntegrityEnricher,
        lambda options: IntegrityEnricher(config=options),
        lambda options: IntegrityEnricher({"config": options}),
        lambda options: IntegrityEnricher(**options),
        lambda options: load_plugin("fapilog.enrichers", "integrity", options),
    ],
)
def test_options_come_in_every_way_that_fapilog_and_people_have(tmp_path, build):
    enricher = build({"key": K1, "state_dir": tmp_path, "exit_drain": False})
    assert_sealed(enrich(enricher, EVENT)[0])
    asyncio.run(enricher.stop())
    assert (tmp_path / "events.chain").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strem": "a"}, "Did you mean stream"),
        ({"stream": ""}, "stream"),
        ({"stream": "a.r5"}, "belong to the writer"),
        ({"stream": "a\x00"}, "stream name"),
        ({"algorithm": "md5"}, "algorithm"),
        ({"max_payload": 5}, "max_payload"),
        ({"key_provider": "vault"}, "neither env nor file"),
    ],
)
def test_an_option_that_cannot_work_is_an_error_that_is_also_warned_of(options, said):
    with pytest.warns(RuntimeWarning, match="leaves the enricher out"), pytest.raises(Exception, match=said) as caught:
        IntegrityEnricher(**options)
    assert isinstance(caught.value, ConfigError) or "stream name" in str(caught.value)


def test_a_stream_has_the_name_that_was_asked_for(make):
    assert enrich(make(stream="orders"), EVENT)[0]["integrity"]["stream"].startswith("orders.r")


def test_an_enricher_that_is_not_enabled_does_nothing(make):
    assert enrich(make(enabled=False), EVENT) == [EVENT]
    assert enrich(IntegrityEnricher(TamperConfig(key=K1)), EVENT) == [EVENT]


def test_it_is_a_valid_plugin(make):
    validate_enricher(make()).raise_if_invalid()
    asyncio.run(validate_plugin_lifecycle(make())).raise_if_invalid()
    metadata = PluginMetadata(**module.PLUGIN_METADATA)
    assert validate_fapilog_compatibility(metadata)
    assert (metadata.name, metadata.plugin_type) == (IntegrityEnricher.name, "enricher")


def test_stopping_and_starting_goes_on_in_the_chain(make):
    enricher = make()

    async def work() -> list[dict[str, Any]]:
        events = []
        for _ in range(3):
            await enricher.start()
            events.append(await enrich_parallel(EVENT, [enricher]))
            await enricher.stop()
            await enricher.stop()
        return events

    assert VERIFIER.verify_chain(asyncio.run(work())).valid


def test_nothing_is_said_where_all_is_well(make):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        enrich(make(), EVENT)
    assert said == []


def test_a_warning_that_is_an_error_costs_no_event_its_block(make, monkeypatch):
    """`python -W error`: what is only to be said must not end what is to be done."""
    monkeypatch.chdir(tmp := make()._options.state_dir.parent)
    (tmp / "file").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (event,) = enrich(make(state_dir=tmp / "file" / "state"), EVENT)
        (unsealed,) = enrich(make(key=None), EVENT)
    assert_sealed(event)
    assert unsealed["integrity"] == {"status": "unsealed"}
