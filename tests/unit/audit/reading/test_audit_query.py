"""What can be asked, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fapilog_audit import errors
from fapilog_audit.kinds import AuditEventType, AuditLogLevel
from fapilog_audit.reading import Query
from fapilog_audit.reading.cursor import Place, format_cursor


def test_without_anything_all_is_asked_for_a_hundred_at_a_time_the_newest_first():
    query = Query()
    assert (query.limit, query.newest_first, query.types, query.levels, query.start) == (100, True, None, None, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (datetime(2026, 11, 20, 12), "2026-11-20T12:00:00.000000Z"),  # noqa: DTZ001 (what is asked here)
        (datetime(2026, 11, 20, 12, tzinfo=UTC), "2026-11-20T12:00:00.000000Z"),
        (datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=2))), "2026-11-20T12:00:00.000000Z"),
        ("2026-11-20T14:00:00+02:00", "2026-11-20T12:00:00.000000Z"),
        ("2026-11-20T12:00:00", "2026-11-20T12:00:00.000000Z"),
        ("2026-11-20", "2026-11-20T00:00:00.000000Z"),
    ],
)
def test_times_are_taken_in_any_zone_and_are_utc_without_one(given, kept):
    assert Query(start_time=given).start == kept


@pytest.mark.parametrize("given", ["data_access", AuditEventType.DATA_ACCESS, ["data_access"], {"data_access"}])
def test_one_type_or_several_are_taken(given):
    assert Query(event_type=given).types == ("data_access",)


@pytest.mark.parametrize("given", ["ERROR", AuditLogLevel.ERROR, ("error", "error")])
def test_levels_are_taken_in_capitals_too(given):
    assert Query(log_level=given).levels == ("error",)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"start_time": "2026-11-20", "end_time": "2026-11-19"}, "is after end_time"),
        ({"start_time": "yesterday"}, "start_time is 'yesterday'"),
        ({"end_time": 5}, "end_time is 5"),
        ({"start_time": datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))}, "start_time is"),
        ({"event_type": "data_acces"}, "event_type is 'data_acces'"),
        ({"event_type": []}, "event_type is"),
        ({"event_type": 7}, "event_type is 7"),
        ({"event_type": "sealed_log.recovery"}, "is an entry of the log itself"),
        ({"log_level": "eror"}, "log_level is 'eror'"),
        ({"log_level": ["info", "eror"]}, "log_level is 'eror'"),
        ({"user_id": 5}, "user_id is 5"),
        ({"text": ""}, "text is ''"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": -1}, "limit is -1"),
        ({"limit": True}, "limit is True"),
        ({"limit": "5"}, "limit is '5'"),
        ({"newest_first": 1}, "newest_first is 1"),
        ({"include_control": None}, "include_control is None"),
        ({"cursor": "hello"}, "cursor is 'hello'"),
        ({"cursor": ""}, "cursor is ''"),
        ({"cursor": 5}, "cursor is 5"),
        ({"cursor": "e30"}, "cursor is 'e30'"),
        ({"cursor": format_cursor({"audit": Place("", "a", -1)}, newest_first=True)}, "cursor is"),
        ({"cursor": format_cursor({"audit": Place("", 5, 0)}, newest_first=True)}, "cursor is"),
        ({"cursor": format_cursor({}, newest_first=False)}, "the other order"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_to_do(asked, says):
    with pytest.raises(errors.ConfigError, match=says) as caught:
        Query(**asked)
    assert caught.value.hint
    assert caught.value.hint in str(caught.value)


def test_control_entries_can_be_asked_for_by_their_type():
    assert Query(event_type="sealed_log.key", include_control=True).types == ("sealed_log.key",)
