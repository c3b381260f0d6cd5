"""An event as it is read back: a view of its line."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError
from unit.audit.events.recording import TYPE, lines, members

from fapilog_audit import AuditEvent, AuditTrail
from fapilog_audit.event import NotAnEventError
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS, prepare_seal, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey

KEY = HmacKey("k1", bytes(32))


def sealed(payload: bytes) -> bytes:
    return prepare_seal("audit", None)(payload, 1, GENESIS)[0]


def event_line(**members: str) -> bytes:
    plain = {"event_id": '"e"', "event_type": '"data_access"', "message": '"m"', "timestamp": '"2026-11-20T12:00:00Z"'}
    return sealed(b"{" + ",".join(f'"{n}":{v}' for n, v in {**plain, **members}.items()).encode() + b"}")


@pytest.mark.parametrize("key", [None, KEY, Ed25519SigningKey("ed", bytes(32))], ids=["unkeyed", "hmac", "ed25519"])
async def test_the_views_of_the_integrity_block(key, tmp_path):
    async with AuditTrail(storage_path=tmp_path, key=key) as trail:
        for number in range(3):
            await trail.log_event(TYPE, str(number))
        events = await trail.get_events(newest_first=False)
    assert [one.sealed_line for one in events] == lines(tmp_path)
    assert [one.sequence_number for one in events] == [1, 2, 3]
    assert events[0].previous_hash == b64url_encode(bytes(32))
    assert [one.previous_hash for one in events[1:]] == [one.checksum for one in events[:-1]]
    for one in events:
        block = split(one.sealed_line)[1]
        assert one.checksum == b64url_encode(block.chain_hash)
        assert one.signature == (None if key is None else b64url_encode(block.mac))
        assert (one.stream, one.integrity) == ("audit", block)


def test_an_event_made_by_hand_has_no_place_in_a_chain():
    event = AuditEvent(event_type="data_access", message="m")
    assert event.sealed_line is None
    views = (event.sequence_number, event.previous_hash, event.checksum, event.signature, event.stream, event.integrity)
    assert set(views) == {None}
    assert event.timestamp.tzinfo is UTC
    assert len(event.event_id) == 36


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_a_copy_has_the_line(again):
    event = AuditEvent.from_line(event_line())
    assert again(event).sealed_line == event.sealed_line
    assert AuditTrail.verify_event(again(event))


def test_members_that_this_version_does_not_know_are_kept():
    event = AuditEvent.from_line(event_line(later="[1]"))
    assert event.later == [1]
    assert AuditTrail.verify_event(event)


def test_members_called_like_a_view_do_not_replace_it():
    names = ("sealed_line", "checksum", "sequence_number", "_line", "_integrity", "stream", "is_control")
    event = AuditEvent.from_line(event_line(**dict.fromkeys(names, '"forged"')))
    assert (event.sequence_number, event.stream, event.is_control) == (1, "audit", False)
    assert event.sealed_line.startswith(b'{"event_id"')


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ('"2026-11-20T12:00:00+02:00"', datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ('"2026-11-20T12:00:00"', datetime(2026, 11, 20, 12, tzinfo=UTC)),
    ],
)
def test_times_are_in_utc(text, moment):
    event = AuditEvent.from_line(event_line(timestamp=text))
    assert event.timestamp == moment
    assert event.timestamp.tzinfo is UTC


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"a":1}',
        b'{"sealed_log":"x"}',
        b'{"sealed_log":[]}',
        b'{"sealed_log":null}',
        b'{"sealed_log":{"kind":"gap","ts":"no time"}}',
        b'{"sealed_log":{"kind":"gap","ts":"0001-01-01T00:00:00+09:00"}}',
        b'{"event_id":"e","event_type":"data_access","message":"m","timestamp":"9999-12-31T23:59:59-05:00"}',
        b'{"event_id":"e","event_type":"no such","message":"m","timestamp":"2026-11-20T12:00:00Z"}',
        b'{"event_id":"e","event_type":"data_access","message":"m","timestamp":"2026-11-20T12:00:00Z","log_level":"x"}',
        b'{"event_id":"e","event_type":["a"],"message":"m","timestamp":"2026-11-20T12:00:00Z"}',
        b'{"event_id":"e","event_type":"data_access","message":"m","timestamp":1e400}',
        b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
    ids=range(13),
)
def test_a_line_of_something_else_is_no_event_and_never_another_error(payload):
    with pytest.raises(NotAnEventError, match="entry 1 of audit holds no audit event"):
        AuditEvent.from_line(sealed(payload))


async def test_lines_of_something_else_do_not_keep_anyone_from_reading(tmp_path):
    (tmp_path / "audit_2026-11-20.jsonl").write_bytes(b"".join([sealed(b'{"sealed_log":"x"}'), event_line()]))
    page = await AuditTrail(storage_path=tmp_path).get_events()
    assert [one.event_id for one in page] == ["e"]


@pytest.mark.parametrize("line", [b"", b"{}\n", b'{"integrity":{"v":1}}\n', b"\xff\n"])
def test_what_is_no_line_is_a_format_error(line):
    with pytest.raises(FormatError):
        AuditEvent.from_line(line)


def test_an_entry_of_the_log_itself_is_a_control_event():
    event = AuditEvent.from_line(sealed(b'{"sealed_log":{"kind":"gap","ts":"2026-11-20T12:00:00Z"}}'))
    assert (event.is_control, event.event_type, event.component) == (True, "sealed_log.gap", "sealed_log")


@pytest.mark.parametrize(
    "wrong", [{"event_type": "typo"}, {"log_level": "typo"}, {"compliance_level": "typo"}, {"event_type": None}]
)
def test_a_typo_in_an_event_by_hand_is_an_error(wrong):
    with pytest.raises(ValidationError):
        AuditEvent(**{"event_type": "data_access", "message": "m"} | wrong)


def test_to_members_leaves_out_what_is_empty():
    moment = datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=2)))
    event = AuditEvent(event_id="e", timestamp=moment, event_type="data_access", message="", user_id="", metadata={})
    assert event.to_members() == {
        "event_id": "e",
        "timestamp": "2026-11-20T12:00:00.000000Z",
        "event_type": "data_access",
        "log_level": "info",
        "compliance_level": "basic",
        "message": "",
    }


def test_to_members_gives_what_stands_in_the_line(tmp_path):
    with AuditTrail(storage_path=tmp_path) as trail:
        trail.log(TYPE, "m", user_id="u", contains_pii=True, regulatory_tags=["a"], error={"b": 1}, n=[1])
    line = lines(tmp_path)[0]
    event = AuditEvent.from_line(line)
    assert AuditEvent(**event.to_members()).model_dump() == event.model_dump()
    assert event.to_members() == members(line)
