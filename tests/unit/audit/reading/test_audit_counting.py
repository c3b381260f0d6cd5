"""Numbers: how many events are wanted, and what a folder holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.audit.reading.trails import NOON, crash, event, seal_lines, write, write_side_by_side

from fapilog_audit import errors
from fapilog_audit.reading import FolderStats, Query, count_events, folder_stats, iter_events


@pytest.mark.parametrize("packing", ["none", "gzip"])
def test_all_events_are_counted_without_limit_and_cursor(tmp_path, packing):
    write_side_by_side(tmp_path, [map(event, range(150)), map(event, range(100))], compress=packing)
    assert count_events(tmp_path, Query(limit=3)) == 250
    assert count_events(tmp_path, Query(newest_first=False)) == 250


def test_control_entries_count_only_when_asked_for(tmp_path):
    crash(tmp_path, 0, 12)
    write(tmp_path, map(event, range(12, 30)))
    assert count_events(tmp_path, Query()) == 30
    assert count_events(tmp_path, Query(include_control=True)) == 31
    assert count_events(tmp_path, Query(include_control=True, event_type="sealed_log.recovery")) == 1


def test_lines_that_hold_no_event_do_not_count(tmp_path):
    foreign = seal_lines([b'{"msg":"other"}', b'{"event_type":"data_access"}', b'{"message":"x"}'])
    write(tmp_path, map(event, range(5)))
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(
        path.read_bytes() + b"garbage\n" + b'{"event_type":"a.b","message":"unsealed"}\n' + b"".join(foreign)
    )
    assert count_events(tmp_path, Query()) == 5
    assert count_events(tmp_path, Query(event_type="data_access")) == 5


@pytest.mark.parametrize("asked", [{}, {"user_id": "u-1"}, {"text": "EVENT 1"}, {"event_type": "data_export"}])
def test_as_many_are_counted_as_are_found(tmp_path, asked):
    kinds = ("data_access", "data_export", "config_changed")
    write(tmp_path, [event(n, user_id=f"u-{n % 4}", event_type=kinds[n % 3]) for n in range(90)], compress="zstd")
    query = Query(limit=None, **asked)
    assert count_events(tmp_path, query) == len(list(iter_events(tmp_path, query))) > 0


def test_what_a_folder_holds(tmp_path):
    crash(tmp_path, 0, 3)
    write_side_by_side(
        tmp_path,
        [
            [event(n, log_level="ERROR") for n in range(3, 40)],
            [event(7, event_type="acme.pay.ok", timestamp="2026-11-20T13:00:00+02:00")],
        ],
    )
    path = tmp_path / "zz.jsonl"
    path.write_bytes(b"garbage\n")
    stats = folder_stats(tmp_path)
    assert stats.events == 41
    assert stats.control_entries == 1
    assert stats.unreadable == 1
    assert stats.by_type == {"acme.pay.ok": 1, "data_access": 40}
    assert stats.by_level == {"error": 37, "info": 4}
    assert stats.by_stream == {"audit": 40, "audit.w2": 1}
    assert (stats.first_time, stats.last_time) == (NOON - timedelta(hours=1), NOON + timedelta(seconds=39))
    assert stats.segments == len(list(tmp_path.glob("*.jsonl")))
    assert stats.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
    assert stats.streams == 3


def test_an_absent_folder_holds_nothing(tmp_path):
    assert folder_stats(tmp_path / "none") == FolderStats()
    assert count_events(tmp_path / "none", Query()) == 0


def test_a_file_cannot_be_counted(tmp_path):
    (tmp_path / "log").write_bytes(b"")
    for ask in (folder_stats, lambda folder: count_events(folder, Query())):
        with pytest.raises(errors.ConfigError, match="cannot be listed"):
            ask(tmp_path / "log")
