"""Records that left the log: what brings them back to their line, and what must never."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from fapilog_tamper import Code, Keyring, Outcome, Verifier, canonicalize
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.envelope import stored_envelope
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.payload import encode_payload
from fapilog_tamper.verify.records import record_line

KEY = HmacKey("k1", bytes(range(32)))
VERIFIER = Verifier(Keyring([KEY]))
EVENT = {
    "timestamp": "2026-11-20T09:30:13.226Z",
    "level": "INFO",
    "message": "größe 😀 <tag>",
    "logger": "root",
    "context": {"message_id": "m-1", "correlation_id": None},
    "diagnostics": {"origin": "native", "pid": 7},
    "data": {"n": 1, "half": 0.5, "big": 1e18, "list": [1, {"a": True}], "text": 'a "integrity": {"seq":1}'},
}
UNSEALED = {"status": "unsealed"}
BINDING = {"stream": "events", "key_id": "k1"}


def sealed_line(event: dict[str, Any] = EVENT, state: ChainState | None = None) -> bytes:
    return seal(encode_payload(stored_envelope(event)), state or ChainState("events.r1"), KEY)[0]


def with_block(event: dict[str, Any], block: Any) -> dict[str, Any]:
    event = copy.deepcopy(event)
    event.setdefault("diagnostics", {})["integrity"] = block
    return event


def sealed() -> dict[str, Any]:
    """What the sealed sink sends on."""
    return json.loads(sealed_line())


def stored() -> dict[str, Any]:
    """What a sink of fapilog writes of an event with the block of an enricher."""
    return {"log": with_block(EVENT, sealed()["integrity"]), "schema_version": "1.1"}


def flat() -> dict[str, Any]:
    """What a sink that takes dicts is given."""
    block = sealed()["integrity"]
    return {**with_block(EVENT, block), "integrity": copy.deepcopy(block)}


SHAPES = {"sealed": sealed, "stored": stored, "flat": flat}
every_shape = pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
moved_blocks = pytest.mark.parametrize("make", [stored, flat], ids=["stored", "flat"])


def texts(record: dict[str, Any]) -> list[str]:
    """A record in spellings that JSON systems use."""
    return [
        json.dumps(record),
        json.dumps(record, separators=(",", ":")),
        json.dumps(record, ensure_ascii=False, indent=2, sort_keys=True),
        json.dumps(dict(reversed(record.items())), separators=(",", ":")).replace("1000000000000000000", "1e18"),
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member and element, at any depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, one in inner for place in [(*path, name), *places(one, (*path, name))]]


def at(record: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        record = record[name]
    return record


def codes(*records: Any) -> list[Code]:
    return [one.code for one in VERIFIER.verify_chain(records).findings]


@every_shape
def test_a_record_of_each_shape_is_brought_back_to_its_line(make):
    assert record_line(make()) == sealed_line()
    assert VERIFIER.verify_record(make())
    assert VERIFIER.verify_chain([make()]).valid


@every_shape
def test_order_space_and_escapes_say_nothing(make):
    for text in texts(make()):
        assert VERIFIER.verify_record(json.loads(text))


@moved_blocks
def test_text_of_an_event_may_be_respelled(make):
    for text in texts(make()):
        assert VERIFIER.verify_record(text)
        assert VERIFIER.verify_record(f" {text}\r\n".encode())
        assert VERIFIER.verify_chain([text]).valid


def test_text_of_an_event_that_ends_as_a_line_does_is_no_line():
    record = flat()
    group = record["diagnostics"]
    group["integrity"] = dict(reversed(group["integrity"].items()))
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    assert text.endswith('"}}')
    assert VERIFIER.verify_record(text)


def test_text_of_a_sealed_record_must_be_the_line_to_the_letter():
    line = sealed_line()
    assert VERIFIER.verify_record(line)
    assert VERIFIER.verify_record(line.decode().removesuffix("\n"))
    for text in texts(sealed()):
        assert text.encode() + b"\n" != line
        assert not VERIFIER.verify_record(text)
        assert record_line(text) == text.encode() + b"\n"


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0.5, 0.50), (1e18, 10**18), (True, True)])
@every_shape
def test_numbers_are_values_and_not_spellings(make, one, other):
    event = {**EVENT, "data": {"n": one}}
    block = json.loads(sealed_line(event))["integrity"]
    record = make()
    inner = record if make is flat else record["log"]
    inner["data"] = {"n": other}
    if make is sealed:
        record["integrity"] = block
    else:
        inner["diagnostics"]["integrity"] = {**block, "seq": 1.0}
        if make is flat:
            record["integrity"] = block
    assert VERIFIER.verify_record(record)


@every_shape
def test_a_record_with_any_member_changed_is_not_true(make):
    record = make()
    changes = 0
    for path in places(record):
        old = at(record, path)
        for new in (None, "other", 2, 0.25, [], {}, {"a": 1}, not old, [old], str(old)):
            if canonicalize(new) == canonicalize(old):
                continue
            changed = copy.deepcopy(record)
            at(changed, path[:-1])[path[-1]] = new
            assert not VERIFIER.verify_record(changed), (path, new)
            assert not VERIFIER.verify_chain([changed]).valid, (path, new)
            changes += 1
    assert changes > 150


@every_shape
def test_a_record_with_any_member_gone_is_not_true(make):
    record = make()
    for path in places(record):
        changed = copy.deepcopy(record)
        del at(changed, path[:-1])[path[-1]]
        assert not VERIFIER.verify_record(changed), path
        assert not VERIFIER.verify_chain([changed]).valid, path


@every_shape
def test_a_record_with_a_member_added_anywhere_is_not_true(make):
    record = make()
    objects = [path for path in [(), *places(record)] if isinstance(at(record, path), dict)]
    for path in objects:
        for name in ("extra", "", "Level", "sealed_log", "schema_version", "$truncated", "tags"):
            if name in at(record, path):
                continue
            changed = copy.deepcopy(record)
            at(changed, path)[name] = "smuggled"
            assert not VERIFIER.verify_record(changed), (path, name)


def test_what_fapilog_does_not_store_is_not_under_the_seal():
    record = flat() | {"note": "was not there"}
    assert stored_envelope(record) == stored_envelope(flat())
    assert not VERIFIER.verify_record(record)
    assert Code.PAYLOAD_CHANGED in codes(record)


def test_the_two_blocks_of_an_event_must_be_one():
    for name, value in [("seq", 2), ("seq", True), ("mac", "A" * 43), ("stream", "other"), ("more", 1)]:
        record = flat()
        record["integrity"][name] = value
        assert not VERIFIER.verify_record(record), name
        record = flat()
        record["diagnostics"]["integrity"][name] = value
        assert not VERIFIER.verify_record(record), name
    for other in (None, {}, [], UNSEALED, BINDING, "block"):
        assert not VERIFIER.verify_record(flat() | {"integrity": other})
        assert not VERIFIER.verify_record({**with_block(flat(), other)})


def test_a_block_in_another_place_covers_what_it_covered():
    """The same event in another shape is the same event; anything else in it is not."""
    block = sealed()["integrity"]
    assert VERIFIER.verify_record({"log": EVENT, "schema_version": "1.1", "integrity": block})
    for record in (
        {**EVENT, "integrity": block},
        {"log": EVENT | {"integrity": block}, "schema_version": "1.1"},
        {"log": {**EVENT, "data": EVENT["data"] | {"integrity": block}}, "schema_version": "1.1"},
        {"log": with_block(EVENT, block)},
        {"log": with_block(EVENT, block), "schema_version": "1.0"},
        {"log": with_block(EVENT, block), "schema_version": "1.1", "integrity": block},
        {"log": {"log": with_block(EVENT, block)}, "schema_version": "1.1"},
        {"event": flat()},
        {"log": flat(), "schema_version": "1.1"},
        {"log": [with_block(EVENT, block)], "schema_version": "1.1"},
        with_block(stored(), block),
        flat() | {"log": EVENT},
        flat() | {"schema_version": "1.1"},
    ):
        assert not VERIFIER.verify_record(record), record
        assert not VERIFIER.verify_chain([record]).valid


def test_an_entry_whose_own_content_has_a_block_is_sealed_with_it():
    """An event with a binding, or with the seal of another log, that was sealed as it was."""
    for inner in (BINDING, sealed()["integrity"], UNSEALED):
        event = with_block(EVENT, inner)
        line = sealed_line(event)
        assert VERIFIER.verify_record(line)
        assert VERIFIER.verify_record(json.loads(line))
        flat_line, _ = seal(encode_payload(event), ChainState("a"), KEY)
        assert VERIFIER.verify_record(flat_line)
        assert VERIFIER.verify_record(json.loads(flat_line))
        changed = json.loads(line)
        changed["log"]["diagnostics"]["integrity"] = {**inner, "stream": "other"}
        assert not VERIFIER.verify_record(changed)


@pytest.mark.parametrize("block", [UNSEALED, BINDING, {}, None, [], 5, "integrity"])
def test_a_record_without_a_seal_is_found(block):
    for record in (
        {"log": with_block(EVENT, block), "schema_version": "1.1"},
        {**with_block(EVENT, block), "integrity": block},
        {**EVENT, "integrity": block},
        with_block(EVENT, block),
        EVENT,
        {"log": EVENT, "schema_version": "1.1"},
        {"integrity": block},
    ):
        for form in (record, json.dumps(record), json.dumps(record).encode()):
            assert not VERIFIER.verify_record(form)
            assert codes(sealed_line(), form) == [Code.INTEGRITY_MISSING], form


def test_an_event_of_a_later_version_is_undetermined():
    record = stored()
    record["log"]["diagnostics"]["integrity"]["v"] = 2
    report = VERIFIER.verify_chain([record])
    assert report.outcome is Outcome.UNDETERMINED
    assert Code.VERSION_UNKNOWN in codes(record)


@pytest.mark.parametrize("make", [stored, flat], ids=["stored", "flat"])
def test_a_name_twice_is_never_passed_over(make):
    text = json.dumps(make())
    assert VERIFIER.verify_record(text)
    for old, new in [
        ('"message": ', '"message": "lie", "message": '),
        ('"level": ', '"level": "ERROR", "level": '),
        ('"seq": ', '"seq": 5, "seq": '),
        ('"integrity": ', '"integrity": null, "integrity": '),
        ('"diagnostics": ', '"diagnostics": {}, "diagnostics": '),
        ('"n": ', '"n": 99, "\\u006e": '),
    ]:
        assert old in text
        assert not VERIFIER.verify_record(text.replace(old, new, 1)), old
        assert not VERIFIER.verify_chain([text.replace(old, new, 1)]).valid, old


def test_a_number_that_no_double_holds_is_not_taken_for_the_one_beside_it():
    text = json.dumps(stored())
    assert '"n": 1,' in text
    for spelling in ("1.0", "1e0", "10E-1", "1.0000000000000000"):
        assert VERIFIER.verify_record(text.replace('"n": 1,', f'"n": {spelling},')), spelling
    for spelling in (
        "1.00000000000000000000001",
        "0.99999999999999999999",
        "9007199254740993",
        "NaN",
        "1" * 5000,
        "-1",
    ):
        assert not VERIFIER.verify_record(text.replace('"n": 1,', f'"n": {spelling},')), spelling
    block = json.loads(sealed_line(EVENT | {"data": {"n": 0}}))["integrity"]
    zero = json.dumps({"log": with_block(EVENT | {"data": {"n": 0}}, block), "schema_version": "1.1"})
    assert VERIFIER.verify_record(zero.replace('"n": 0', '"n": -0.0e5'))
    assert not VERIFIER.verify_record(zero.replace('"n": 0', '"n": 1e-999'))


def test_a_lone_surrogate_is_not_the_sign_that_stands_for_one():
    line = sealed_line(EVENT | {"message": "what?"})
    assert VERIFIER.verify_record(line.decode())
    assert not VERIFIER.verify_record(line.decode().replace("what?", "what\ud800"))
    event = EVENT | {"message": "\ufffd"}
    record = {"log": with_block(event, json.loads(sealed_line(event))["integrity"]), "schema_version": "1.1"}
    assert VERIFIER.verify_record(record)
    record["log"]["message"] = "\ud800"
    assert not VERIFIER.verify_record(record)
    assert not VERIFIER.verify_record(json.dumps(record))


@pytest.mark.parametrize(
    "junk",
    [
        b"", b"\n", b"\x00", b"\xff\xfe{", b"[1]", b"{", b'{"a":', b"null", b"{}{}", b"\xef\xbb\xbf{}",
        b"[" * 100_000, b'{"log":' * 5000, "\ud800", "NaN", None, 5, [1], (), object(), {1: 2}, {"a": object()},
        {"a": {1}}, {"a": float("inf")}, {"a": b"bytes"}, {"\ud800": 1}, {"a": (1,)}, {"a": 2**2000},
    ],
)  # fmt: skip
def test_junk_is_no_record_and_raises_nothing(junk):
    assert not VERIFIER.verify_record(junk)
    assert not VERIFIER.verify_chain([junk]).valid
    assert record_line(junk).endswith(b"\n")


def test_junk_at_the_end_is_not_taken_for_a_torn_tail():
    assert codes(sealed_line(), {"a": {1}}) == [Code.LINE_MALFORMED]


def test_values_deeper_than_an_entry_can_be_are_no_record():
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    assert record_line({"a": deep}) == b"null\n"


def test_entries_that_were_appended_as_bytes_may_come_as_they_stood():
    raw = b'{"b":1,"a":{"y":"\xc3\xa4","x":[2,1.5]}}'
    line, _ = seal(raw, ChainState("log"), KEY)
    assert VERIFIER.verify_record(json.loads(line))
    assert record_line(json.loads(line)) == line
    changed = json.loads(line) | {"b": 2}
    assert not VERIFIER.verify_record(changed)


def test_a_chain_of_records_of_every_shape_is_one_chain():
    state, records = ChainState("events.r1"), []
    for number in range(6):
        event = EVENT | {"data": {"n": number}}
        line, state = seal(encode_payload(stored_envelope(event)), state, KEY)
        block = json.loads(line)["integrity"]
        shapes: list[Any] = [line, {"log": with_block(event, block), "schema_version": "1.1"}]
        shapes.append({**with_block(event, block), "integrity": block})
        records.append(shapes[number % 3] if number < 3 else json.dumps(shapes[number % 2 + 1]))
    assert VERIFIER.verify_chain(records).valid
    assert codes(*records[:2], *records[3:]) == [Code.SEQ_GAP]
