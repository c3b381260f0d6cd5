"""Verification: one event, a list of them, a whole storage; on the class and on a trail that knows its keys."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys

import pytest

from fapilog_audit import AuditEvent, AuditTrail
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey

TYPE = "acme.test.happened"
HMAC, OTHER_HMAC = HmacKey("k1", bytes(range(32))), HmacKey("k1", bytes(range(1, 33)))
ED, OTHER_ED = Ed25519SigningKey("ed", bytes(range(32))), Ed25519SigningKey("ed", bytes(range(1, 33)))
KEYS = {"unkeyed": None, "hmac": HMAC, "ed25519": ED}
WRONG = {"hmac": OTHER_HMAC, "ed25519": OTHER_ED}


@pytest.fixture(params=KEYS)
def key(request):
    return KEYS[request.param]


async def fill(folder, count=8, key=None, **settings):
    async with AuditTrail(storage_path=folder, key=key, **settings) as trail:
        for n in range(count):
            await trail.log_event(TYPE, f"event {n}", user_id=f"u-{n % 2}", n=n)
    return await all_of(folder)


async def all_of(folder, **asked):
    return await AuditTrail(storage_path=folder).get_events(**{"limit": None, "newest_first": False, **asked})


def crash(folder, count=3, key="None", tail=b""):
    code = f"""
import sys, os
from fapilog_audit import AuditTrail
from fapilog_tamper.keys import *
trail = AuditTrail(storage_path=sys.argv[1], key={key})
for n in range({count}):
    trail.log("acme.test.happened", "of a crash", n=n)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", code, folder], check=False)
    assert done.returncode == 1
    if tail:
        with max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns).open("ab") as file:
            file.write(tail)


def forge(events):
    """Return a chain of other events, sealed anew without any key."""
    state, forged = ChainState("audit"), []
    for one in events:
        payload = split(one.sealed_line)[0].replace(b'"event ', b'"forged ')
        line, state = seal(payload, state, None)
        forged.append(AuditEvent.from_line(line))
    return forged


# One event.


async def test_each_event_verifies_alone(key, tmp_path):
    events = await fill(tmp_path, key=key)
    trail = AuditTrail(storage_path=tmp_path, key=key)
    for one in events:
        assert trail.verify_event(one) is True
        assert AuditTrail.verify_event(one, key=key) is True
        assert AuditTrail.verify_event(one, keyring=trail.keyring()) is True


@pytest.mark.parametrize("name", WRONG)
async def test_without_the_right_key_a_keyed_event_is_not_verified(name, tmp_path):
    event = (await fill(tmp_path, 1, key=KEYS[name]))[0]
    assert AuditTrail.verify_event(event) is False
    assert AuditTrail.verify_event(event, key=WRONG[name]) is False
    assert AuditTrail(storage_path=tmp_path, key=WRONG[name]).verify_event(event) is False
    assert AuditTrail(storage_path=tmp_path, key=WRONG[name]).verify_event(event, key=KEYS[name]) is True


@pytest.mark.parametrize("name", WRONG)
async def test_an_unkeyed_event_is_not_verified_by_who_expects_a_key(name, tmp_path):
    event = (await fill(tmp_path, 1))[0]
    assert AuditTrail.verify_event(event, key=KEYS[name]) is False


async def test_a_public_key_is_enough(tmp_path):
    event = (await fill(tmp_path, 1, key=ED))[0]
    assert AuditTrail.verify_event(event, key=ED.verifying_key()) is True
    assert AuditTrail.verify_chain([event], key=[ED.verifying_key()])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message", "another"),
        ("message", 17),
        ("user_id", None),
        ("log_level", "debug"),
        ("event_type", "data_access"),
        ("metadata", {}),
        ("contains_pii", True),
        ("regulatory_tags", ["x"]),
        ("event_id", "x"),
        ("timestamp", None),
        ("later_member", 1),
    ],
)
async def test_an_event_that_was_changed_in_memory_is_not_verified(name, value, key, tmp_path):
    events = await fill(tmp_path, 3, key=key)
    trail = AuditTrail(storage_path=tmp_path, key=key)
    setattr(events[1], name, value)
    assert trail.verify_event(events[1]) is False
    result = trail.verify_chain(events)
    assert (result.valid, result.first_invalid_sequence) == (False, 2)
    assert "it was changed since" in result.error_message


async def test_a_member_changed_deep_inside_is_seen(tmp_path):
    event = (await fill(tmp_path, 1))[0]
    event.metadata["n"] = 7
    assert AuditTrail.verify_event(event) is False


async def test_a_changed_line_is_not_verified(key, tmp_path):
    event = (await fill(tmp_path, 1, key=key))[0]
    changed = AuditEvent.from_line(event.sealed_line.replace(b"event 0", b"event 9"))
    assert AuditTrail(storage_path=tmp_path, key=key).verify_event(changed) is False


def test_an_event_that_was_never_stored_is_not_verified():
    event = AuditEvent(event_type=TYPE, message="m")
    assert AuditTrail.verify_event(event) is False
    result = AuditTrail.verify_chain([event])
    assert not result
    assert "was never stored" in result.error_message


# Lists.


async def test_all_events_are_a_chain_in_either_order(key, tmp_path):
    events = await fill(tmp_path, key=key)
    trail = AuditTrail(storage_path=tmp_path, key=key)
    for given in (events, events[::-1], tuple(events), events[2:5], events[-1:], events[4:1:-1]):
        result = trail.verify_chain(given)
        assert (result.valid, result.events_checked) == (True, len(given)), result.error_message
        assert (result.first_invalid_sequence, result.error_message) == (None, None)
        assert result.keyed is (key is not None)
        assert AuditTrail.verify_chain(iter(given), key=key)


async def test_an_unkeyed_chain_is_valid_and_says_what_that_is_worth(tmp_path):
    events = await fill(tmp_path)
    for result in (
        AuditTrail.verify_chain(events),
        await AuditTrail(storage_path=tmp_path).verify_chain_from_storage(),
    ):
        assert result.valid
        assert not result.keyed
        assert any("unkeyed: anyone can recompute" in note for note in result.notes)


def test_no_events_are_no_chain():
    result = AuditTrail.verify_chain([])
    assert (result.valid, result.events_checked, result.error_message) == (False, 0, "there are no events.")
    assert not result.keyed


CHANGES = {
    "removed": (lambda e: e[:3] + e[4:], 5),
    "swapped": (lambda e: [*e[:3], e[4], e[3], *e[5:]], 4),
    "swapped at the start": (lambda e: [e[1], e[0], *e[2:]], None),
    "moved": (lambda e: [*e[1:], e[0]], 1),
    "twice": (lambda e: e[:3] + e[2:], 3),
    "twice, later": (lambda e: [*e, e[3]], 4),
}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("change", "place"), CHANGES.values(), ids=CHANGES)
async def test_a_list_that_was_tampered_with_is_no_chain(change, place, backwards, key, tmp_path):
    events = await fill(tmp_path, key=key)
    trail = AuditTrail(storage_path=tmp_path, key=key)
    result = trail.verify_chain(change(events)[:: -1 if backwards else 1])
    assert not result.valid
    assert result.error_message
    assert result.first_invalid_sequence is not None
    if place is not None and not backwards:
        assert result.first_invalid_sequence == place


async def test_an_event_that_stands_twice_is_called_that(tmp_path):
    events = await fill(tmp_path, 3)
    result = AuditTrail.verify_chain([events[0], events[1], events[1], events[2]])
    assert result.error_message == "the events of audit are not in order: 2 stands behind a later one, or twice."


@pytest.mark.parametrize("at", [0, 3, 7])
async def test_an_event_of_another_trail_breaks_the_chain(at, key, tmp_path):
    events, others = await fill(tmp_path / "a", key=key), await fill(tmp_path / "b", key=key)
    events[at] = others[at]
    result = AuditTrail.verify_chain(events, key=key)
    assert (result.valid, result.first_invalid_sequence) == (False, max(at + 1, 2))
    assert result.error_message.startswith("tampered: ")


async def test_two_trails_in_one_list_are_no_chain(tmp_path):
    events, others = await fill(tmp_path / "a"), await fill(tmp_path / "b")
    assert not AuditTrail.verify_chain(events + others)
    assert not AuditTrail.verify_chain(events[:4] + others[4:])


@pytest.mark.parametrize("name", WRONG)
async def test_a_chain_forged_without_the_key_is_seen_by_who_has_it(name, tmp_path):
    forged = forge(await fill(tmp_path, key=KEYS[name]))
    assert AuditTrail.verify_chain(forged)
    assert not AuditTrail.verify_chain(forged).keyed
    result = AuditTrail.verify_chain(forged, key=KEYS[name])
    assert (result.valid, result.keyed) == (False, result.keyed)
    assert "key" in result.error_message
    assert not any(AuditTrail.verify_event(one, key=KEYS[name]) for one in forged)


@pytest.mark.parametrize("name", WRONG)
async def test_a_keyed_chain_without_its_key_is_undetermined_not_tampered(name, tmp_path):
    events = await fill(tmp_path, key=KEYS[name])
    for given in ({}, {"key": WRONG[name]}):
        result = AuditTrail.verify_chain(events, **given)
        assert not result.valid
        assert result.error_message.startswith("undetermined: ")


async def test_a_filtered_list_is_not_valid_and_not_called_tampered(key, tmp_path):
    await fill(tmp_path, key=key)
    trail = AuditTrail(storage_path=tmp_path, key=key)
    for newest_first in (True, False):
        result = trail.verify_chain(await trail.get_events(user_id="u-1", newest_first=newest_first))
        assert (result.valid, result.events_checked, result.first_invalid_sequence) == (False, 4, 4)
        assert result.error_message.startswith("undetermined: entries of audit right before 4 are not in the list")
        assert "unfiltered" in result.error_message


async def test_a_change_in_a_filtered_list_is_still_found(tmp_path):
    events = await fill(tmp_path, key=HMAC)
    forged = AuditEvent.from_line(events[5].sealed_line.replace(b"event 5", b"event 9"))
    result = AuditTrail.verify_chain([events[1], events[3], forged], key=HMAC)
    assert (result.valid, result.first_invalid_sequence) == (False, 6)
    assert result.error_message.startswith("tampered: ")


async def test_events_of_several_streams_are_a_chain_each(key, tmp_path):
    first = AuditTrail(storage_path=tmp_path, key=key)
    await first.log_event(TYPE, "a", n=0)
    second = AuditTrail(storage_path=tmp_path, key=key)
    for n in range(8):
        await [first, second][n % 2].log_event(TYPE, "b", n=n)
    await first.stop()
    await second.stop()
    events = await all_of(tmp_path)
    assert {one.stream for one in events} == {"audit", "audit.w2"}
    for given in (events, events[::-1], await all_of(tmp_path, newest_first=True)):
        assert AuditTrail.verify_chain(given, key=key).events_checked == 9
        assert AuditTrail.verify_chain(given, key=key)
    for one in events:
        if one.sequence_number == 2:
            assert not AuditTrail.verify_chain([other for other in events if other is not one], key=key)


# Honest histories: no false alarm.


async def look(folder, key, old=()):
    """Verify everything in every way there is; return the result for the storage."""
    trail = AuditTrail(storage_path=folder, key=key, old_keys=old)
    events = await trail.get_events(limit=None)
    for given in (events, events[::-1], await trail.get_events(limit=None, include_control=True)):
        result = trail.verify_chain(given)
        assert result.valid, result.error_message
    assert all(trail.verify_event(one) for one in events)
    result = await trail.verify_chain_from_storage()
    assert result.valid, result.error_message
    return result


async def test_restarts_leave_it_valid(key, tmp_path):
    for _ in range(5):
        await fill(tmp_path, 3, key=key)
    assert (await look(tmp_path, key)).events_checked == 15


@pytest.mark.parametrize("tail", [b"", b'{"torn":', b"\x00\xff"], ids=["whole", "torn", "garbage"])
@pytest.mark.parametrize(("key", "code"), [(None, "None"), (ED, "Ed25519SigningKey('ed', bytes(range(32)))")])
def test_a_crash_leaves_it_valid(key, code, tail, tmp_path):
    crash(tmp_path, key=code)
    for _ in range(2):
        crash(tmp_path, key=code, tail=tail)
    asyncio.run(fill(tmp_path, 2, key=key))
    result = asyncio.run(look(tmp_path, key))
    assert result.events_checked >= 11


async def test_a_running_trail_is_valid(key, tmp_path):
    async with AuditTrail(storage_path=tmp_path, key=key) as trail:
        for _ in range(5):
            await trail.log_event(TYPE, "m")
            assert await trail.verify_chain_from_storage()
        await look(tmp_path, key)


def test_several_processes_at_once_leave_it_valid(tmp_path):
    code = "import sys\nfrom fapilog_audit import AuditTrail\nwith AuditTrail(storage_path=sys.argv[1]) as trail:\n"
    code += "    for n in range(200):\n        trail.log('acme.test.happened', 'm')\n"
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(4)]
    assert [one.wait(60) for one in running] == [0] * 4
    assert asyncio.run(look(tmp_path, None)).events_checked == 800


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
async def test_closed_files_and_compression_leave_it_valid(compress, key, tmp_path):
    if compress == "zstd":
        pytest.importorskip("backports.zstd")
    async with AuditTrail(storage_path=tmp_path, key=key, compress=compress, max_bytes=4096) as trail:
        for n in range(40):
            await trail.log_event(TYPE, f"event {n}", filler="x" * 200)
    await fill(tmp_path, 2, key=key)
    assert len(list(tmp_path.glob("audit_*.manifest.json"))) > 2
    await look(tmp_path, key)


async def test_a_clock_that_goes_back_leaves_it_valid(key, tmp_path, monkeypatch):
    moments = iter([1_795_176_000, 1_795_175_000, 1_795_089_000, 1_795_262_000])
    now = [0]
    monkeypatch.setattr("fapilog_audit.stamp.time_ns", lambda: now[0] * 10**9)
    async with AuditTrail(storage_path=tmp_path, key=key) as trail:
        for now[0] in moments:
            await trail.log_event(TYPE, "m")
    await look(tmp_path, key)


def key_file(folder, name, number):
    path = folder / f"{name}.jwk"
    path.write_text(json.dumps({"kty": "oct", "kid": name, "k": b64url_encode(bytes([number]) * 32)}))
    path.chmod(0o600)
    return f"file:{path}"


async def test_after_a_change_of_keys_old_keys_verify_what_was_before(tmp_path):
    first, second = key_file(tmp_path, "k1", 1), key_file(tmp_path, "k2", 2)
    folder = tmp_path / "trail"
    await fill(folder, 3, key=first)
    await fill(folder, 3, key=second, old_keys=[first])
    assert (await look(folder, second, [first])).keyed
    trail = AuditTrail(storage_path=folder, key=second)
    result = await trail.verify_chain_from_storage()
    assert not result.valid
    assert result.error_message.startswith("undetermined")
    assert not trail.verify_chain(await trail.get_events(newest_first=False))


async def test_the_answer_is_true_or_false_in_a_condition(tmp_path):
    events = await fill(tmp_path)
    assert bool(AuditTrail.verify_chain(events)) is True
    assert bool(AuditTrail.verify_chain(events[1::2])) is False
    result = await AuditTrail(storage_path=tmp_path).verify_chain_from_storage()
    assert result.report.entries == result.events_checked == 8


async def test_random_changes_of_lists_are_never_valid(tmp_path):
    events = await fill(tmp_path, 12, key=HMAC)
    rng = random.Random(7)
    for _ in range(200):
        given = list(events)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(1, len(given) - 1)
            change = rng.choice(["remove", "repeat", "swap"])
            if change == "remove":
                del given[at]
            elif change == "repeat":
                given.insert(rng.randrange(len(given)), given[at])
            else:
                other = rng.randrange(len(given))
                given[at], given[other] = given[other], given[at]
        honest = [one.sequence_number for one in given]
        if honest in (
            list(range(honest[0], honest[0] + len(honest))),
            list(range(honest[0], honest[0] - len(honest), -1)),
        ):
            continue
        assert not AuditTrail.verify_chain(given, key=HMAC).valid
