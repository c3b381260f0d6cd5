"""Ids are UUIDs of version 7 that nobody gives out twice; times are RFC 3339 in UTC; both sort by time."""

from __future__ import annotations

import os
import re
import threading
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from fapilog_audit import stamp
from fapilog_audit.stamp import format_time, new_stamp

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")


def at(monkeypatch, nanoseconds: int) -> tuple[str, str]:
    monkeypatch.setattr(stamp, "time_ns", lambda: nanoseconds)
    return new_stamp()


def test_ids_and_times_have_their_form():
    for _ in range(1000):
        event_id, moment = new_stamp()
        assert ID.fullmatch(event_id)
        assert TIME.fullmatch(moment)
        assert (uuid.UUID(event_id).version, uuid.UUID(event_id).variant) == (7, uuid.RFC_4122)


def test_id_and_time_are_of_the_same_moment():
    for _ in range(1000):
        event_id, moment = new_stamp()
        parsed = datetime.fromisoformat(moment)
        milliseconds = (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        assert uuid.UUID(event_id).int >> 80 == milliseconds


def test_the_time_is_now():
    before = datetime.now(UTC)
    moment = datetime.fromisoformat(new_stamp()[1])
    assert before - timedelta(microseconds=1) <= moment <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("nanoseconds", "moment"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (999_999_999, "1970-01-01T00:00:00.999999Z"),
        (1_795_176_000_000_000_000, "2026-11-20T12:00:00.000000Z"),
        (1_795_176_000_012_003_004, "2026-11-20T12:00:00.012003Z"),
        (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999Z"),
        (1_709_251_200_000_000_000, "2024-03-01T00:00:00.000000Z"),
    ],
)
def test_a_moment_has_its_text(nanoseconds, moment, monkeypatch):
    assert at(monkeypatch, nanoseconds)[1] == moment


def test_a_later_moment_has_a_greater_id_and_time(monkeypatch):
    step, last = 244, ("", "")
    for number in range(20_000):
        found = at(monkeypatch, 1_795_175_999_999_000_000 + number * step * 2)
        assert found[0] > last[0]
        assert found[1] >= last[1]
        last = found


def test_a_clock_that_goes_back_is_followed(monkeypatch):
    at(monkeypatch, 1_795_176_000_000_000_000)
    assert at(monkeypatch, 1_795_175_000_500_000_000)[1] == "2026-11-20T11:43:20.500000Z"


def test_threads_never_get_the_same_id():
    found: list[list[str]] = []

    def take() -> None:
        found.append([new_stamp()[0] for _ in range(20_000)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event_id for ids in found for event_id in ids}) == 80_000


def test_ids_of_one_moment_differ(monkeypatch):
    assert len({at(monkeypatch, 1_795_176_000_000_000_000)[0] for _ in range(10_000)}) == 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gives_out_other_ids():
    new_stamp()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(new_stamp()[0][14:] for _ in range(50)).encode())
        os._exit(0)
    os.close(writer)
    mine = {new_stamp()[0][19:] for _ in range(200)}
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    theirs = {text[start + 5 : start + 22] for start in range(0, len(text), 22)}
    assert len(theirs) == 50
    assert not mine & theirs


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime.fromisoformat("2026-11-20T12:00:00"), "2026-11-20T12:00:00.000000Z"),
        (datetime(2026, 11, 20, 12, tzinfo=UTC), "2026-11-20T12:00:00.000000Z"),
        (datetime(2026, 11, 20, 1, 2, 3, 45, timezone(timedelta(hours=2))), "2026-11-19T23:02:03.000045Z"),
    ],
)
def test_a_datetime_is_written_in_utc_with_six_digits(moment, text):
    assert format_time(moment) == text
