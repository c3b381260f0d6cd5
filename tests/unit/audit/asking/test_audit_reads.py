"""What a trail can be asked: each filter, pages, one event, counting, following; on any trail, started or not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from fapilog_audit import AuditError, AuditEvent, AuditTrail, CompliancePolicy, ConfigError
from fapilog_tamper.keys import HmacKey

TYPE = "acme.test.happened"
SOON = 30.0


async def fill(folder, count=10, **settings):
    """Log events that differ in every field a query asks for; return them oldest first."""
    async with AuditTrail(storage_path=folder, on_alert=lambda event: None, **settings) as trail:
        for n in range(count):
            await trail.log_event(
                [TYPE, "data_access"][n % 2],
                f"event {n}",
                log_level=["info", "warning", "security"][n % 3],
                user_id=f"u-{n % 2}",
                component=f"c-{n % 3}",
                request_id=f"r-{n}",
                tenant_id=f"t-{n % 5}",
                n=n,
                note="Straße" if n == 7 else "plain",
            )
        return await trail.get_events(limit=None, newest_first=False)


def ns(events):
    return [one.metadata["n"] for one in events]


FILTERS = {
    "event_type": ({"event_type": TYPE}, lambda n: n % 2 == 0),
    "event types": ({"event_type": [TYPE, "data_access"]}, lambda n: True),
    "log_level": ({"log_level": "WARNING"}, lambda n: n % 3 == 1),
    "log levels": ({"log_level": {"info", "security"}}, lambda n: n % 3 != 1),
    "user_id": ({"user_id": "u-1"}, lambda n: n % 2),
    "component": ({"component": "c-2"}, lambda n: n % 3 == 2),
    "request_id": ({"request_id": "r-4"}, lambda n: n == 4),
    "tenant_id": ({"tenant_id": "t-3"}, lambda n: n % 5 == 3),
    "text": ({"text": "sTRAßE"}, lambda n: n == 7),
    "text of a message": ({"text": "event 3"}, lambda n: n == 3),
    "several": ({"user_id": "u-1", "log_level": "info"}, lambda n: n % 2 and n % 3 == 0),
    "nothing": ({"user_id": "nobody"}, lambda n: False),
    "none": ({}, lambda n: True),
}


@pytest.mark.parametrize(("filters", "wanted"), FILTERS.values(), ids=FILTERS)
async def test_each_filter_finds_and_counts_what_it_says(filters, wanted, tmp_path):
    await fill(tmp_path)
    trail = AuditTrail(storage_path=tmp_path)
    expected = [n for n in range(10) if wanted(n)]
    assert ns(await trail.get_events(**filters)) == expected[::-1]
    assert ns(await trail.get_events(**filters, newest_first=False)) == expected
    assert await trail.count(**filters) == len(expected)


async def test_a_range_of_time_holds_both_its_ends(tmp_path):
    events = await fill(tmp_path)
    trail = AuditTrail(storage_path=tmp_path)
    start, end = events[3].timestamp, events[6].timestamp
    for ends in ((start, end), (start.isoformat(), end.isoformat())):
        found = await trail.get_events(*ends, newest_first=False)
        assert ns(found) == [one.metadata["n"] for one in events if start <= one.timestamp <= end]


async def test_filters_may_be_given_by_place_in_the_order_of_earlier_versions(tmp_path):
    await fill(tmp_path)
    trail = AuditTrail(storage_path=tmp_path)
    found = await trail.get_events(None, None, TYPE, "info", "u-0", "c-0", "r-6", "t-1", "event", 5, *[False, None])
    assert ns(found) == [6]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_pages_hold_each_event_once_while_others_are_written(newest_first, tmp_path):
    await fill(tmp_path)
    async with AuditTrail(storage_path=tmp_path) as trail:
        found, cursor, pages = [], None, 0
        while True:
            page = await trail.get_events(user_id="u-1", limit=2, newest_first=newest_first, cursor=cursor)
            found += ns(page)
            cursor, pages = page.cursor, pages + 1
            await trail.log_event(TYPE, "later", user_id="someone else", n=99)
            if cursor is None:
                break
    assert found == ([9, 7, 5, 3, 1] if newest_first else [1, 3, 5, 7, 9])
    assert pages >= 3


async def test_the_newest_hundred_are_the_default(tmp_path):
    await fill(tmp_path, 105)
    found = await AuditTrail(storage_path=tmp_path).get_events()
    assert ns(found) == list(range(104, 4, -1))
    assert found.cursor is not None


async def test_one_event_by_its_id(tmp_path):
    events = await fill(tmp_path)
    trail = AuditTrail(storage_path=tmp_path)
    for one in (events[0], events[9]):
        assert (await trail.get_event(one.event_id)).sealed_line == one.sealed_line
    assert await trail.get_event("no-such-id") is None
    with pytest.raises(ConfigError, match="event_id is ''"):
        await trail.get_event("")


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": "9"},
        {"event_type": "typo"},
        {"log_level": "typo"},
        {"user_id": ""},
        {"start_time": "soon"},
        {"start_time": "2026-01-02", "end_time": "2026-01-01"},
        {"cursor": "nonsense"},
        {"newest_first": "no"},
        {"text": 7},
    ],
    ids=str,
)
async def test_a_filter_that_cannot_be_meant_is_an_error(wrong, tmp_path):
    with pytest.raises(ConfigError):
        await AuditTrail(storage_path=tmp_path).get_events(**wrong)


async def test_a_filter_that_does_not_exist_is_an_error(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    with pytest.raises(ConfigError, match="user_idd"):
        await trail.count(user_idd="u")
    with pytest.raises(ConfigError, match=r"filter: .*color"):
        await anext(trail.tail(color="red"))


def crash(folder):
    code = "import sys, os; from fapilog_audit import AuditTrail\n"
    code += "AuditTrail(storage_path=sys.argv[1]).log('acme.test.happened', 'm'); os._exit(1)"
    subprocess.run([sys.executable, "-c", code, folder], check=False)
    with next(folder.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"torn')


async def test_entries_of_the_log_itself_are_asked_for(tmp_path):
    crash(tmp_path)
    await fill(tmp_path, 1)
    trail = AuditTrail(storage_path=tmp_path)
    assert await trail.count() == 2
    with_control = await trail.get_events(include_control=True)
    control = [one for one in with_control if one.is_control]
    assert [one.event_type for one in control] == ["sealed_log.recovery"]
    assert len(with_control) == 3
    assert await trail.get_events(event_type="sealed_log.recovery", include_control=True) == control


# Not started, missing, unreadable.


async def test_asking_writes_nothing_and_takes_no_lock(tmp_path):
    await fill(tmp_path)
    trail = AuditTrail(storage_path=tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")}
    await trail.get_events()
    await trail.count()
    await trail.get_event("x")
    await trail.verify_chain_from_storage()
    trail.retention_plan()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")} == before
    assert not trail.started


async def test_of_storage_that_is_missing_nothing_is_found_and_nothing_is_made(tmp_path):
    trail = AuditTrail(storage_path=tmp_path / "none")
    assert await trail.get_events() == []
    assert await trail.count() == 0
    assert await trail.get_event("x") is None
    result = await trail.verify_chain_from_storage()
    assert (result.valid, result.events_checked, result.report) == (False, 0, None)
    assert "is not there: nothing was verified" in result.error_message
    with pytest.raises(ConfigError, match="none cannot be listed"):
        trail.retention_plan()
    assert not (tmp_path / "none").exists()


async def test_storage_that_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    trail = AuditTrail(storage_path=tmp_path / "file")
    with pytest.raises(ConfigError, match="file cannot be listed"):
        await trail.get_events()
    assert not await trail.verify_chain_from_storage()


async def test_sub_folders_are_other_trails(tmp_path):
    await fill(tmp_path / "sub")
    await fill(tmp_path, 2)
    assert await AuditTrail(storage_path=tmp_path).count() == 2


async def test_a_trail_reads_what_it_has_just_logged(tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        for _ in range(20):
            event_id = await trail.log_event(TYPE, "m")
            assert (await trail.get_events(limit=1))[0].event_id == event_id


async def test_a_stopped_trail_can_be_read(tmp_path):
    trail = AuditTrail(storage_path=tmp_path)
    await trail.log_event(TYPE, "m")
    await trail.stop()
    assert await trail.count() == 1


async def test_a_retention_plan_speaks_of_the_trails_segments(tmp_path):
    await fill(tmp_path)
    plan = AuditTrail(CompliancePolicy(retention_days=40), storage_path=tmp_path).retention_plan()
    assert [one.action for one in plan] == ["keep"]


# Following.

WRITER = """
import sys
from fapilog_audit import AuditTrail
with AuditTrail(storage_path=sys.argv[1]) as trail:
    print("ready", flush=True)
    for line in sys.stdin:
        trail.log("acme.test.happened", line.strip(), user_id=line.strip())
"""


async def next_of(followed):
    return await asyncio.wait_for(anext(followed), SOON)


@pytest.mark.parametrize("from_start", [False, True])
async def test_tail_follows_another_process(from_start, tmp_path):
    await fill(tmp_path, 2)
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert await writer.stdout.readline() == b"ready\n"
    followed = AuditTrail(storage_path=tmp_path).tail(from_start=from_start)
    if from_start:
        assert [(await next_of(followed)).message for _ in range(2)] == ["event 0", "event 1"]
    else:
        waiting = asyncio.ensure_future(anext(followed))
        while not waiting.done():
            # Until it follows, what is written is not of its time.
            writer.stdin.write(b"early\n")
            await asyncio.wait([waiting], timeout=0.05)
        assert waiting.result().message == "early"
    for word in ("one", "two", "three"):
        writer.stdin.write(f"{word}\n".encode())
        while (event := await next_of(followed)).message == "early":
            pass
        assert event.message == word
        assert AuditTrail.verify_event(event)
    writer.stdin.close()
    assert await asyncio.wait_for(writer.wait(), SOON) == 0
    await followed.aclose()


async def test_tail_filters(tmp_path):
    await fill(tmp_path)
    followed = AuditTrail(storage_path=tmp_path).tail(from_start=True, user_id="u-1")
    assert [(await next_of(followed)).metadata["n"] for _ in range(5)] == [1, 3, 5, 7, 9]
    await followed.aclose()


async def test_tail_waits_for_storage_that_is_not_there_yet(tmp_path):
    followed = AuditTrail(storage_path=tmp_path / "later").tail(from_start=True)
    waiting = asyncio.ensure_future(anext(followed))
    await asyncio.sleep(0)
    await fill(tmp_path / "later", 1)
    assert (await asyncio.wait_for(waiting, SOON)).message == "event 0"
    await followed.aclose()


# Backends.


class Readable:
    """Keeps events in a list, and finds them again."""

    def __init__(self):
        self.events: list[AuditEvent] = []

    async def write(self, event):
        self.events.append(event)

    async def flush(self):
        """Nothing waits here."""

    async def close(self):
        """Nothing is held here."""

    async def read(self, query):
        found = [one for one in self.events if query.include_control or not one.is_control]
        found = [one for one in found if query.user_id in (None, one.user_id)]
        found = [one for one in found if query.text is None or query.text.encode() in one.sealed_line]
        return (found[::-1] if query.newest_first else found)[: query.limit]


class Unreadable(Readable):
    read = None


class WriteOnly:
    async def write(self, event):
        """Keeps nothing."""

    flush = close = write

    async def flush(self):  # noqa: F811 (the protocol's)
        """Nothing waits here."""

    close = flush


async def test_a_backend_that_can_be_read_answers(tmp_path):
    backend = Readable()
    async with AuditTrail(backend=backend, state_dir=tmp_path) as trail:
        ids = [await trail.log_event(TYPE, f"m{n}", user_id=f"u-{n % 2}") for n in range(6)]
        assert await trail.drain(SOON) == []
        assert [one.message for one in await trail.get_events(user_id="u-1")] == ["m5", "m3", "m1"]
        assert await trail.count(user_id="u-0") == 3
        assert (await trail.get_event(ids[2])).message == "m2"
        assert await trail.get_event("nobody") is None
        result = await trail.verify_chain_from_storage()
        assert (result.valid, result.events_checked) == (True, 6)


async def test_a_gap_in_a_backend_is_tampering(tmp_path):
    backend = Readable()
    async with AuditTrail(backend=backend, state_dir=tmp_path) as trail:
        for n in range(6):
            await trail.log_event(TYPE, f"m{n}")
        await trail.drain(SOON)
        del backend.events[2]
        result = await trail.verify_chain_from_storage()
    assert (result.valid, result.first_invalid_sequence) == (False, 4)
    assert result.error_message.startswith("tampered")


@pytest.mark.parametrize("key", [None, HmacKey("k", bytes(32))])
@pytest.mark.parametrize("stopped", [False, True])
async def test_an_end_that_was_cut_off_a_backend_is_found(tmp_path, key, stopped):
    backend = Readable()
    trail = AuditTrail(backend=backend, state_dir=tmp_path, key=key)
    for n in range(6):
        await trail.log_event(TYPE, f"m{n}", durability="synced")
    await trail.drain(SOON)
    if stopped:
        await trail.stop()
        assert (await trail.verify_chain_from_storage()).valid
        del backend.events[4:]
        result = await trail.verify_chain_from_storage()
        assert not result.valid
        assert result.error_message.startswith("tampered")
        backend.events.clear()
        assert not (await trail.verify_chain_from_storage()).valid
    else:
        assert (await trail.verify_chain_from_storage()).valid
        await trail.stop()


async def test_what_a_backend_did_not_take_yet_is_not_missing(tmp_path):
    class Shut(Readable):
        shut = False

        async def write(self, event):
            if self.shut:
                raise OSError("shut")
            self.events.append(event)

    backend = Shut()
    trail = AuditTrail(backend=backend, state_dir=tmp_path)
    for n in range(3):
        await trail.log_event(TYPE, f"m{n}")
    assert await trail.drain(SOON) == []
    backend.shut = True
    with pytest.warns(RuntimeWarning, match="refuses"):
        await trail.log_event(TYPE, "m3", durability="synced")
    result = await trail.verify_chain_from_storage()
    assert (result.valid, result.events_checked) == (True, 4)
    backend.shut = False
    assert await trail.stop() == []


async def test_a_backend_without_cursors_is_verified_whole(tmp_path):
    backend = Readable()
    async with AuditTrail(backend=backend, state_dir=tmp_path) as trail:
        for n in range(1200):
            await trail.log_event(TYPE, f"m{n}", durability="accepted")
        assert await trail.drain(SOON) == []
        result = await trail.verify_chain_from_storage()
        assert (result.valid, result.events_checked) == (True, 1200)


async def test_a_backend_that_cannot_be_read_says_so(tmp_path):
    async with AuditTrail(backend=WriteOnly(), state_dir=tmp_path) as trail:
        for ask in (trail.get_events, trail.count, trail.verify_chain_from_storage):
            with pytest.raises(AuditError, match="WriteOnly cannot be read"):
                await ask()
        with pytest.raises(AuditError, match="WriteOnly cannot be read"):
            await trail.get_event("x")
        with pytest.raises(AuditError, match="only a trail in files can be followed"):
            await anext(trail.tail())
