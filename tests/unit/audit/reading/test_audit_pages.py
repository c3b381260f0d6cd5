"""Pages of events: which, in what order, each once, whatever the folder looks like."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from unit.audit.reading.trails import (
    NOON,
    SMALL,
    WRITER,
    all_pages,
    breaks,
    canonical,
    compress,
    crash,
    event,
    moment,
    numbers,
    seal_lines,
    stored_lines,
    write,
    write_side_by_side,
)

from fapilog_audit import errors
from fapilog_audit.reading import Query, count_events, iter_events, read_events, scan
from fapilog_tamper import SealedLog
from fapilog_tamper.entry import split
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import manifest_name
from fapilog_tamper.payload import control_payload
from fapilog_tamper.rotation import Rotation

WHOLE = Rotation(daily=False, max_bytes=None)
KEYS = HmacKey("k1", bytes(range(32))), HmacKey("k2", bytes(range(32, 64)))


def oldest(folder, **asked):
    return read_events(folder, Query(limit=None, newest_first=False, **asked))


def newest(folder, **asked):
    return read_events(folder, Query(limit=None, **asked))


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["none", "gzip", "zstd"])
def test_the_newest_come_first_over_all_segments(tmp_path, packing):
    write(tmp_path, map(event, range(50)), compress=packing)
    assert len(list(tmp_path.glob("*.manifest.json"))) > 3
    page = read_events(tmp_path, Query(limit=7))
    assert numbers(page) == [49, 48, 47, 46, 45, 44, 43]
    assert numbers(oldest(tmp_path)) == list(range(50))
    assert numbers(newest(tmp_path)) == list(range(50))[::-1]


def test_streams_are_merged_by_time(tmp_path):
    write_side_by_side(tmp_path, [map(event, range(0, 60, 2)), map(event, range(1, 60, 2))])
    assert len({one.stream for one in oldest(tmp_path)}) == 2
    assert numbers(oldest(tmp_path)) == list(range(60))
    assert numbers(newest(tmp_path)) == list(range(60))[::-1]


def test_a_clock_that_goes_back_leaves_a_stream_in_its_order(tmp_path):
    back = [event(n, seconds=n if n < 15 else n - 10) for n in range(30)]
    write_side_by_side(tmp_path, [back, [event(n + 100, seconds=n + 0.5) for n in range(30)]])
    for events in (oldest(tmp_path), newest(tmp_path)[::-1]):
        first = [one for one in events if one.stream == "audit"]
        assert [one.sequence_number for one in first] == list(range(1, 31))
        assert len(events) == 60


def test_events_without_a_time_are_returned_in_their_place(tmp_path):
    events = [event(n) for n in range(6)]
    events[3]["timestamp"] = 1763640003
    write(tmp_path, events)
    assert numbers(oldest(tmp_path)) == list(range(6))
    assert numbers(newest(tmp_path)) == list(range(6))[::-1]
    assert numbers(oldest(tmp_path, start_time=moment(0))) == [0, 1, 2, 4, 5]


def test_equal_times_are_in_one_order_on_every_page(tmp_path):
    write_side_by_side(tmp_path, [[event(n, seconds=0) for n in range(k, k + 10)] for k in (0, 10, 20)])
    for newest_first in (True, False):
        whole = numbers(read_events(tmp_path, Query(limit=None, newest_first=newest_first)))
        paged = [n for page in all_pages(tmp_path, limit=3, newest_first=newest_first) for n in numbers(page)]
        assert paged == whole


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("packing", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("limit", [1, 3, 10, 79, 80, 81])
def test_all_pages_together_are_all_events_each_once(tmp_path, newest_first, packing, limit):
    rng = random.Random(limit)
    parts = [[event(n, seconds=n + rng.uniform(-5, 5)) for n in range(k, 80, 2)] for k in (0, 1)]
    write_side_by_side(tmp_path, parts, compress=packing)
    pages = all_pages(tmp_path, limit=limit, newest_first=newest_first)
    assert all(len(page) == limit for page in pages[:-1])
    together = [one for page in pages for one in page]
    whole = read_events(tmp_path, Query(limit=None, newest_first=newest_first))
    assert numbers(together) == numbers(whole)
    assert sorted(numbers(together)) == list(range(80))
    assert whole.cursor is None


def test_no_cursor_is_given_when_nothing_is_left(tmp_path):
    write(tmp_path, map(event, range(5)))
    assert read_events(tmp_path, Query(limit=4)).cursor
    assert read_events(tmp_path, Query(limit=5)).cursor is None
    assert read_events(tmp_path, Query(limit=6)).cursor is None


def test_what_is_written_after_the_first_page_is_not_in_the_pages_behind_it(tmp_path):
    with SealedLog.open(tmp_path, key=None, stream="audit", rotation=SMALL) as log:
        for n in range(20):
            log.append(event(n))
        first = read_events(tmp_path, Query(limit=5))
        # In the open segment, in new ones, and in a stream that begins now.
        for n in range(20, 60):
            log.append(event(n))
        write(tmp_path, [event(99, seconds=3)])
        rest = read_events(tmp_path, Query(limit=None, cursor=first.cursor))
    assert numbers(first + rest) == list(range(20))[::-1]


def test_a_stream_of_which_the_first_page_had_nothing_has_its_end_there_too(tmp_path):
    quiet = SealedLog.open(tmp_path, key=None, stream="audit")
    quiet.append(event(0))
    write(tmp_path, map(event, range(1, 10)))
    first = read_events(tmp_path, Query(limit=3))
    quiet.append(event(10))
    rest = read_events(tmp_path, Query(limit=None, cursor=first.cursor))
    quiet.close()
    assert numbers(first + rest) == list(range(10))[::-1]


def test_pages_from_the_oldest_go_on_into_what_was_written_since(tmp_path):
    with SealedLog.open(tmp_path, key=None, stream="audit", rotation=SMALL) as log:
        for n in range(20):
            log.append(event(n))
        first = read_events(tmp_path, Query(limit=15, newest_first=False))
        for n in range(20, 40):
            log.append(event(n))
        write(tmp_path, [event(n) for n in range(40, 45)])
        rest = read_events(tmp_path, Query(limit=None, newest_first=False, cursor=first.cursor))
    assert numbers(first + rest) == list(range(45))


@pytest.mark.parametrize("newest_first", [True, False])
def test_compressing_between_two_pages_changes_nothing(tmp_path, newest_first):
    write(tmp_path, map(event, range(60)))
    whole = numbers(read_events(tmp_path, Query(limit=None, newest_first=newest_first)))
    got, cursor = [], None
    for path in [None, *sorted(tmp_path.glob("*.jsonl"))]:
        if path is not None:
            compress(path)
        page = read_events(tmp_path, Query(limit=4, newest_first=newest_first, cursor=cursor))
        got, cursor = got + numbers(page), page.cursor
    got += numbers(read_events(tmp_path, Query(limit=None, newest_first=newest_first, cursor=cursor)))
    assert got == whole


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("asked", [{}, {"event_type": "data_access"}])
def test_a_page_that_ended_while_a_line_was_being_written_goes_on_before_it(tmp_path, asked, packed):
    write(tmp_path, map(event, range(3, 12)), rotation=WHOLE)
    write_side_by_side(tmp_path / "b", [[], [event(n) for n in range(3)]], rotation=WHOLE)
    path = next((tmp_path / "b").glob("audit.w2_*.jsonl"))
    whole = path.read_bytes()
    live = tmp_path / path.name
    live.write_bytes(whole[:-30])
    # Nothing of the live segment is on the first page, only where it ends.
    first = read_events(tmp_path, Query(limit=2, **asked))
    live.write_bytes(whole)
    if packed:
        compress(live)
    else:
        (tmp_path / "audit.w2_2999-12-31.jsonl").write_bytes(whole)
    rest = read_events(tmp_path, Query(limit=None, cursor=first.cursor, **asked))
    assert numbers(first + rest) == [11, 10, 9, 8, 7, 6, 5, 4, 3, 1, 0]
    assert rest.unreadable == 0


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_segment_that_is_taken_away_between_two_pages_leaves_the_others(tmp_path, newest_first):
    write(tmp_path, map(event, range(60)))
    names = [path.name for path in tmp_path.glob("*.jsonl")]
    whole = read_events(tmp_path, Query(limit=None, newest_first=newest_first))
    first = read_events(tmp_path, Query(limit=30, newest_first=newest_first))
    kept = {line for lines in stored_lines(tmp_path).values() for line in lines}
    gone = next(name for name in names if first[-1].sealed_line in (tmp_path / name).read_bytes())
    kept -= set((tmp_path / gone).read_bytes().splitlines(keepends=True))
    (tmp_path / gone).unlink()
    rest = read_events(tmp_path, Query(limit=None, newest_first=newest_first, cursor=first.cursor))
    assert numbers(rest) == [one.metadata["n"] for one in whole[30:] if one.sealed_line in kept]


@pytest.mark.parametrize("newest_first", [True, False])
def test_iterating_gives_what_the_pages_give(tmp_path, newest_first):
    write_side_by_side(tmp_path, [map(event, range(0, 60, 2)), map(event, range(1, 60, 2))])
    asked = {"newest_first": newest_first, "event_type": "data_access"}
    found = list(iter_events(tmp_path, Query(limit=None, **asked)))
    assert numbers(found) == numbers(read_events(tmp_path, Query(limit=None, **asked)))
    assert len(list(iter_events(tmp_path, Query(limit=7, **asked)))) == 7


def test_more_than_may_be_held_of_a_packed_segment_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_HELD", 10_000)
    write(tmp_path, map(event, range(400)), compress="gzip", rotation=WHOLE)
    assert len(list(tmp_path.glob("*.gz"))) == 1
    assert numbers(newest(tmp_path)) == list(range(400))[::-1]
    assert numbers(newest(tmp_path, text="event")) == list(range(400))[::-1]
    assert not breaks(newest(tmp_path)[::-1])


# --- while others write ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_while_processes_write_each_reading_is_without_holes(tmp_path, packing):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log"), packing, "1200"]
    writers = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "tests"}) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        forwards, pages = oldest(tmp_path / "log"), all_pages(tmp_path / "log", limit=400)
        together = [one for page in pages for one in page][::-1]
        assert not breaks(forwards)
        assert not breaks(together)
        assert sum(page.unreadable for page in (forwards, *pages)) == 0
        count_events(tmp_path / "log", Query())
    assert len(oldest(tmp_path / "log")) == count_events(tmp_path / "log", Query()) == 2400


# --- whole segments that are passed over -----------------------------------------------------------------------------


def test_a_range_of_time_holds_both_its_ends(tmp_path):
    write(tmp_path, map(event, range(60)))
    assert numbers(oldest(tmp_path, start_time=moment(20), end_time=moment(23))) == [20, 21, 22, 23]
    assert numbers(newest(tmp_path, start_time=moment(57))) == [59, 58, 57]
    assert numbers(newest(tmp_path, end_time=NOON)) == [0]


def test_segments_out_of_the_range_are_not_opened(tmp_path):
    write(tmp_path, map(event, range(60)))
    for path in sorted(tmp_path.glob("*.jsonl"))[:2]:
        path.write_bytes(b"not even a log\n" * 300)
    assert read_events(tmp_path, Query(start_time=moment(55), limit=None)).unreadable == 0
    assert read_events(tmp_path, Query(limit=None)).unreadable > 0


@pytest.mark.parametrize("spoiled", [b"", b"{}\n", b"not a manifest\n", None])
def test_a_segment_without_a_manifest_that_can_be_read_is_never_passed_over(tmp_path, spoiled):
    write(tmp_path, map(event, range(60)))
    for path in tmp_path.glob("*.manifest.json"):
        path.unlink() if spoiled is None else path.write_bytes(spoiled)
    assert numbers(oldest(tmp_path, start_time=moment(20), end_time=moment(23))) == [20, 21, 22, 23]


def test_the_manifest_of_another_segment_says_nothing(tmp_path):
    write(tmp_path, map(event, range(60)))
    first, *_, last = sorted(tmp_path.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    (tmp_path / manifest_name(first.name)).write_bytes((tmp_path / manifest_name(last.name)).read_bytes())
    assert 1 in numbers(oldest(tmp_path, end_time=moment(3)))


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        (["2026-11-20T12:00:00Z", "2026-11-20T12:00:00.9Z"], "2026-11-20T12:00:00.000000Z"),
        (["2026-11-20T20:00:00+09:00", "2026-11-20T09:30:00-05:00"], "2026-11-20T11:00:00Z"),
        (["2026-11-20T20:00:00+09:00", "2026-11-20T09:30:00-05:00"], "2026-11-20T14:30:00Z"),
        (["tomorrow", "2026-11-20T12:00:00Z"], "2026-11-20T12:00:00Z"),
        (["2026-11-20T12:00:00Z", "9999-12-31T23:59:59-05:00"], "2026-11-20T12:00:00Z"),
    ],
)
def test_times_that_were_written_in_another_way_are_found(tmp_path, written, asked):
    write(tmp_path, [event(n, timestamp=text) for n, text in enumerate(written)])
    assert any(one.timestamp for one in oldest(tmp_path, start_time=asked, end_time=asked))


# --- control entries -------------------------------------------------------------------------------------------------


def make_controlled(folder, **settings):
    """Write events with a rotation of the key at the end of a segment, in the middle, and a crash."""
    crash(folder, 0, 12)
    write(folder, map(event, range(12, 30)), **settings)
    assert "recovery" in str(stored_lines(folder))


@pytest.mark.parametrize("packing", ["none", "gzip"])
def test_control_entries_are_no_events_but_stand_before_theirs(tmp_path, packing):
    make_controlled(tmp_path, compress=packing)
    events = oldest(tmp_path)
    assert numbers(events) == list(range(30))
    assert sum(len(one.control_lines) for one in events) > 0
    assert not breaks(events)
    assert not breaks(newest(tmp_path)[::-1])
    paged = [one for page in all_pages(tmp_path, limit=1) for one in page]
    assert not breaks(paged[::-1])


@pytest.mark.parametrize("packing", ["none", "zstd"])
@pytest.mark.parametrize("rotations", [1, 30])
def test_control_entries_at_the_border_of_segments_are_found(tmp_path, packing, rotations):
    given = {"key": KEYS[0], "stream": "audit", "rotation": SMALL, "compress": packing}
    with SealedLog.open(tmp_path, **given) as log:
        log.append(event(0))
        for turn in range(1, rotations + 1):
            log.rotate_key(KEYS[turn % 2])
        log.append(event(1))
    events = oldest(tmp_path)
    assert numbers(events) == [0, 1]
    assert len(events[1].control_lines) == 2 * rotations
    assert not breaks(events)
    assert newest(tmp_path)[0].control_lines == events[1].control_lines


@pytest.mark.parametrize("packed", [True, False])
def test_more_control_entries_than_a_block_holds_stand_before_their_event(tmp_path, packed):
    controls = [control_payload("gap", count=n, ts=moment(0)) for n in range(700)]
    lines = seal_lines([canonical(event(0)), *controls, canonical(event(1))])
    path = tmp_path / "audit_2026-11-20.jsonl"
    path.write_bytes(b"".join(lines))
    if packed:
        compress(path)
    for events in (oldest(tmp_path), newest(tmp_path)[::-1], newest(tmp_path, text="event")[::-1]):
        assert numbers(events) == [0, 1]
        assert events[1].control_lines == tuple(lines[1:-1])
    assert count_events(tmp_path, Query()) == 2


def test_control_entries_can_be_asked_for(tmp_path):
    make_controlled(tmp_path)
    with_them = oldest(tmp_path, include_control=True)
    assert [one.sequence_number for one in with_them] == list(range(1, len(with_them) + 1))
    assert not any(one.control_lines for one in with_them)
    assert {one.event_type for one in with_them if one.is_control} == {"sealed_log.recovery"}
    only = oldest(tmp_path, include_control=True, event_type="sealed_log.recovery")
    assert only
    assert all(one.is_control for one in only)
    assert oldest(tmp_path, include_control=True, component="sealed_log") == only
    assert oldest(tmp_path, include_control=True, text="torn") == only
    assert not oldest(tmp_path, text="torn")
    assert oldest(tmp_path, include_control=True, user_id="u") == []


def test_control_entries_are_found_by_their_time(tmp_path):
    make_controlled(tmp_path)
    # The recovery was now, the events are of another day: no manifest tells of it.
    found = oldest(tmp_path, include_control=True, start_time="2026-11-20T23:00:00Z")
    assert [one.is_control for one in found] == [True]


# --- what is not an event --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
def test_lines_that_hold_no_event_are_counted_once_over_all_pages(tmp_path, newest_first):
    write(tmp_path, map(event, range(10)))
    path = next(tmp_path.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    foreign = seal_lines([b'{"msg":"of somebody else"}'])
    lines[3:3] = [b"garbage\n", b"\n", b'{"event_type":"data_access"}\n', b"[1]\n", b"\xff\xfe\n", *foreign]
    lines[1] = lines[1].replace(b'"event_type":"data_access"', b'"event_type":"data"')
    path.write_bytes(b"".join(lines))
    pages = all_pages(tmp_path, limit=2, newest_first=newest_first)
    assert sorted(numbers(one for page in pages for one in page)) == [0, *range(2, 10)]
    assert sum(page.unreadable for page in pages) == 7
    assert len(list(iter_events(tmp_path, Query(limit=None)))) == 9


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("size", [70_000, 1_100_000, 1_200_000, 3_000_000])
def test_a_line_of_any_size_is_passed_over(tmp_path, newest_first, size):
    write(tmp_path, map(event, range(6)))
    path = next(tmp_path.glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"x" * size + b"\n", *lines[3:]]))
    pages = all_pages(tmp_path, limit=2, newest_first=newest_first)
    assert sorted(numbers(one for page in pages for one in page)) == list(range(6))
    assert sum(page.unreadable for page in pages) == 1


@pytest.mark.parametrize("newest_first", [True, False])
def test_long_lines_at_both_ends_are_passed_over(tmp_path, newest_first):
    write(tmp_path, map(event, range(6)))
    path = next(tmp_path.glob("*.jsonl"))
    long = b"y" * 2_500_000 + b"\n"
    path.write_bytes(long + path.read_bytes() + long)
    page = read_events(tmp_path, Query(limit=None, newest_first=newest_first))
    assert sorted(numbers(page)) == list(range(6))
    assert page.unreadable == 2


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_torn_end_counts_only_where_nobody_writes_any_more(tmp_path, newest_first):
    write(tmp_path, map(event, range(6)))
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"event_id":')
    asked = Query(limit=None, newest_first=newest_first)
    assert read_events(tmp_path, asked).unreadable == 1
    (tmp_path / manifest_name(path.name)).unlink()
    page = read_events(tmp_path, asked)
    assert (len(page), page.unreadable) == (6, 0)


@pytest.mark.parametrize("newest_first", [True, False])
def test_damaged_packed_data_costs_what_stands_behind_the_damage(tmp_path, newest_first):
    write(tmp_path, map(event, range(60)), compress="gzip")
    path = min(tmp_path.glob("*.gz"), key=lambda one: len(one.name))
    path.write_bytes(path.read_bytes()[:-40])
    page = read_events(tmp_path, Query(limit=None, newest_first=newest_first))
    assert page.unreadable == 1
    assert set(numbers(page)) >= set(range(20, 60))


def test_lines_that_stand_in_two_segments_for_a_moment_are_one_event(tmp_path):
    # What a writer leaves between copying unsynced lines to a new segment and cutting them off in the old one.
    lines = seal_lines([bytes(str(event(n)).replace("'", '"'), "ascii") for n in range(10)])
    (tmp_path / "audit_2026-11-20.jsonl").write_bytes(b"".join(lines[:8]))
    (tmp_path / "audit_2026-11-20.1.jsonl").write_bytes(b"".join(lines[5:]))
    assert numbers(oldest(tmp_path)) == list(range(10))
    assert numbers(newest(tmp_path)) == list(range(10))[::-1]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_has_no_events(tmp_path):
    page = read_events(tmp_path / "none", Query())
    assert (list(page), page.cursor, page.unreadable) == ([], None, 0)
    assert read_events(tmp_path, Query()) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(errors.ConfigError, match="cannot be listed"):
        read_events(tmp_path / "log", Query())


def test_events_without_any_time_are_in_no_range(tmp_path):
    timeless = [event(n, timestamp=n) for n in range(30)]
    write(tmp_path, timeless)
    assert numbers(oldest(tmp_path)) == list(range(30))
    assert oldest(tmp_path, end_time=moment(5)) == []


STRANGER = """
import os, sys
from pathlib import Path
from fapilog_audit.errors import ConfigError
from fapilog_audit.reading import Follower, Query, read_events
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1])
follower = Follower(folder)
print(len(follower.poll()))
for ask in (follower.poll, lambda: read_events(folder, Query()), lambda: read_events(folder / "shut", Query())):
    try:
        ask()
    except ConfigError as error:
        print(error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX rights")
def test_what_may_not_be_read_is_an_error_and_not_left_out():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_side_by_side(folder, [map(event, range(3)), map(event, range(5))])
        for path in folder.glob("audit*"):
            path.chmod(0o644)
        next(folder.glob("audit.w2*.jsonl")).chmod(0)
        (folder / "shut").mkdir(mode=0)
        done = subprocess.run([sys.executable, "-c", STRANGER, name], capture_output=True, text=True, check=True)
    returned, *errors_said = done.stdout.splitlines()
    assert returned == "3"
    assert ["cannot be read" in said for said in errors_said] == [True, True, False]
    assert "cannot be listed" in errors_said[2]


def test_only_regular_files_of_the_folder_itself_are_read(tmp_path):
    folder, other = tmp_path / "log", tmp_path / "other"
    write(folder, [event(0)])
    write(other, [event(1)])
    write(folder / "sub", [event(2)])
    (folder / "dir_2026-11-20.jsonl").mkdir()
    (folder / "link_2026-11-20.jsonl").symlink_to(next(other.glob("*.jsonl")))
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe_2026-11-20.jsonl")
    assert numbers(oldest(folder)) == [0]


def test_a_link_under_the_plain_name_of_a_packed_segment_is_not_taken_for_it(tmp_path):
    folder, other = tmp_path / "log", tmp_path / "other"
    write(folder, [event(0)])
    write(other, [event(1)])
    path = next(folder.glob("*.jsonl"))
    compress(path)
    path.symlink_to(next(other.glob("*.jsonl")))
    assert numbers(oldest(folder)) == numbers(newest(folder)) == [0]


def test_files_with_names_of_their_own_are_in_the_order_of_their_entries(tmp_path):
    write(tmp_path, map(event, range(40)))
    first = min(tmp_path.glob("*.jsonl"), key=lambda path: len(path.name))
    first.rename(tmp_path / "zz-old.jsonl")
    assert sorted(numbers(oldest(tmp_path))) == list(range(40))
    paged = [n for page in all_pages(tmp_path, limit=3) for n in numbers(page)]
    assert sorted(paged) == list(range(40))


def test_all_files_of_a_stream_may_have_names_of_their_own(tmp_path):
    write(tmp_path, map(event, range(40)))
    paths = sorted(tmp_path.glob("*.jsonl"), key=split_first)
    for index, path in enumerate(paths):
        path.rename(tmp_path / f"{9 - index}.jsonl")
    assert numbers(oldest(tmp_path)) == list(range(40))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "foreign.jsonl").write_bytes(b"hello\n")
    assert numbers(newest(tmp_path)) == list(range(40))[::-1]


def split_first(path):
    return split(path.read_bytes().splitlines(keepends=True)[0])[1].seq
