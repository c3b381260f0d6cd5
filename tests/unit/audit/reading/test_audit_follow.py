"""Following a folder: each entry once, in the order of its stream, whatever writers do meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import defaultdict

import pytest
from unit.audit.reading.trails import (
    SMALL,
    WRITER,
    breaks,
    canonical,
    compress,
    crash,
    event,
    numbers,
    seal_lines,
    write,
    write_side_by_side,
)

from fapilog_audit import errors
from fapilog_audit.reading import Follower, follow, track
from fapilog_tamper import SealedLog
from fapilog_tamper.layout import manifest_name

NAME = "audit_2026-11-20.jsonl"


def drain(follower, limit=1000):
    events = []
    while got := follower.poll(limit):
        events += got
    # A hole is believed only when it is met again.
    return events + follower.poll(limit)


def open_log(folder, **settings):
    return SealedLog.open(folder, key=None, stream="audit", rotation=SMALL, **settings)


@pytest.mark.parametrize("packings", [("gzip", "none"), ("zstd", "gzip")])
def test_nothing_is_skipped_repeated_or_reordered_while_processes_write_at_full_speed(tmp_path, packings):
    count = 1500
    follower = Follower(tmp_path / "log")
    commands = [[sys.executable, "-c", WRITER, str(tmp_path / "log"), one, str(count)] for one in packings]
    writers = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "tests"}) for command in commands]
    events = []
    while any(writer.poll() is None for writer in writers):
        events += follower.poll(300)
    events += drain(follower)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert not breaks(events)
    by_stream = defaultdict(list)
    for one in events:
        by_stream[one.stream].append(one.metadata["n"])
    assert list(by_stream.values()) == [list(range(count))] * 2
    assert follower.unreadable == 0
    assert follower.positions == dict.fromkeys(by_stream, count)


def test_followers_that_take_turns_return_each_entry_once(tmp_path):
    done = threading.Event()

    def work():
        with open_log(tmp_path, compress="gzip") as log:
            for number in range(1500):
                log.append(event(number))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    events, positions = [], {}
    while True:
        ended = done.is_set()
        follower = Follower(tmp_path, after=positions)
        got = drain(follower, 200) if ended else follower.poll(200)
        events += got
        positions = follower.positions
        if ended:
            break
    thread.join()
    assert numbers(events) == list(range(1500))


def test_lines_of_a_live_segment_are_returned_at_once_and_only_whole(tmp_path):
    follower = Follower(tmp_path)
    lines = seal_lines(canonical(event(n)) for n in range(3))
    path = tmp_path / NAME
    path.write_bytes(lines[0] + lines[1][:40])
    assert numbers(follower.poll()) == [0]
    path.write_bytes(lines[0] + lines[1] + lines[2][:-1])
    assert numbers(follower.poll()) == [1]
    assert follower.poll() == []
    path.write_bytes(b"".join(lines))
    assert numbers(follower.poll()) == [2]
    assert follower.positions == {"audit": 3}


def test_a_limit_is_kept_and_the_rest_comes_later(tmp_path):
    write(tmp_path, map(event, range(40)))
    follower = Follower(tmp_path)
    assert numbers(follower.poll(1)) == [0]
    assert numbers(follower.poll(7)) == list(range(1, 8))
    assert numbers(drain(follower, 3)) == list(range(8, 40))


def test_a_busy_stream_does_not_hold_up_the_others(tmp_path):
    write_side_by_side(tmp_path, [map(event, range(50)), map(event, range(50))])
    follower = Follower(tmp_path)
    assert {one.stream for one in follower.poll(5) + follower.poll(5)} == {"audit", "audit.w2"}


def test_reading_goes_on_behind_what_was_read_before(tmp_path):
    write_side_by_side(tmp_path, [map(event, range(40)), map(event, range(40, 60))], compress="gzip")
    assert numbers(drain(Follower(tmp_path, after={"audit": 38}))) == [38, 39, *range(40, 60)]
    assert drain(Follower(tmp_path, after={"audit": 40, "audit.w2": 20})) == []


def test_from_the_end_only_what_is_new_is_returned(tmp_path):
    write(tmp_path, map(event, range(40)), compress="gzip")
    follower = Follower(tmp_path, from_end=True)
    assert follower.positions == {"audit": 40}
    with open_log(tmp_path) as log:
        log.append(event(40))
        assert numbers(follower.poll()) == [40]
        write(tmp_path, [event(99)])
        assert numbers(follower.poll()) == [99]


def test_from_the_end_leaves_what_was_read_before_its_place(tmp_path):
    write_side_by_side(tmp_path, [map(event, range(10)), map(event, range(10))])
    assert numbers(drain(Follower(tmp_path, after={"audit": 8}, from_end=True))) == [8, 9]


def test_from_the_end_of_an_empty_folder_is_from_the_begin(tmp_path):
    follower = Follower(tmp_path / "log", from_end=True)
    write(tmp_path / "log", [event(0)])
    assert numbers(follower.poll()) == [0]


def test_an_empty_segment_at_the_end_is_passed_over_when_looking_for_the_end(tmp_path):
    write(tmp_path, map(event, range(3)))
    (tmp_path / "audit_2999-11-20.jsonl").write_bytes(b"")
    (tmp_path / "audit_2999-11-21.jsonl").write_bytes(b"garbage\n")
    assert Follower(tmp_path, from_end=True).positions == {"audit": 3}


def test_control_entries_stand_before_their_event_also_when_another_follower_goes_on(tmp_path):
    crash(tmp_path, 0, 5)
    first = Follower(tmp_path)
    events = first.poll()
    with open_log(tmp_path) as log:
        # The recovery was read, and no event behind it.
        events += first.poll()
        second = Follower(tmp_path, after=first.positions)
        log.append(event(5))
        log.append(event(6))
    for follower in (first, second):
        more = follower.poll()
        assert [len(one.control_lines) for one in more] == [1, 0]
        assert not breaks(events + more)


def test_from_the_end_the_control_entries_there_belong_to_the_next_event(tmp_path):
    crash(tmp_path, 0, 5)
    with open_log(tmp_path) as log:
        follower = Follower(tmp_path, from_end=True)
        log.append(event(5))
        assert len(follower.poll()[0].control_lines) == 1


def test_control_entries_are_returned_when_asked_for(tmp_path):
    crash(tmp_path, 0, 5)
    write(tmp_path, [event(5)])
    events = drain(Follower(tmp_path, include_control=True))
    assert [one.sequence_number for one in events] == list(range(1, 8))
    assert sum(one.is_control for one in events) == 1


def test_a_segment_that_is_compressed_while_it_is_read_goes_on_where_it_was(tmp_path):
    write(tmp_path, map(event, range(40)))
    follower = Follower(tmp_path)
    events = follower.poll(3)
    for path in tmp_path.glob("*.jsonl"):
        compress(path)
    assert numbers(events + drain(follower)) == list(range(40))


def test_a_file_that_was_cut_and_written_again_is_read_once(tmp_path):
    lines = seal_lines(canonical(event(n)) for n in range(8))
    path = tmp_path / NAME
    path.write_bytes(b"".join(lines[:5]))
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 5
    with path.open("r+b") as file:
        file.truncate(len(lines[0]))
    assert follower.poll() == []
    with path.open("ab") as file:
        file.write(b"".join(lines[1:]))
    assert numbers(follower.poll()) == [5, 6, 7]


def test_a_file_that_was_replaced_by_another_is_read_once(tmp_path):
    lines = seal_lines(canonical(event(n)) for n in range(8))
    other = seal_lines([canonical(event(n, message="a longer message than before")) for n in range(8)])
    path = tmp_path / NAME
    path.write_bytes(b"".join(lines[:5]))
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 5
    (tmp_path / "new").write_bytes(b"".join(other))
    (tmp_path / "new").replace(path)
    assert numbers(follower.poll()) == [5, 6, 7]
    # In place: the remembered offset is in the middle of a line now.
    path.write_bytes(b"".join(seal_lines([canonical(event(n, message="y" * 77)) for n in range(10)])))
    assert numbers(follower.poll()) == [8, 9]


def test_a_file_that_was_written_anew_in_shorter_lines_is_read_from_its_begin(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"".join(seal_lines(canonical(event(n, message="x" * 300)) for n in range(8))))
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 8
    # Where reading would go on is in the middle of an entry that is new.
    path.write_bytes(b"".join(seal_lines(canonical(event(n)) for n in range(30))))
    assert numbers(follower.poll()) == list(range(8, 30))


def test_lines_that_were_copied_to_the_next_segment_are_read_once(tmp_path):
    lines = seal_lines(canonical(event(n)) for n in range(9))
    (tmp_path / NAME).write_bytes(b"".join(lines[:6]))
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 6
    (tmp_path / "audit_2026-11-20.1.jsonl").write_bytes(b"".join(lines[4:]))
    (tmp_path / NAME).write_bytes(b"".join(lines[:4]))
    assert numbers(drain(follower)) == [6, 7, 8]


def test_what_a_power_cut_left_is_waited_at_until_the_writer_has_mended_it(tmp_path):
    lines = seal_lines(canonical(event(n)) for n in range(6))
    path = tmp_path / NAME
    path.write_bytes(b"".join(lines[:2]) + bytes(600) + b"\n" + b"".join(lines[3:]))
    follower = Follower(tmp_path)
    assert numbers(drain(follower)) == [0, 1]
    with path.open("r+b") as file:
        file.truncate(len(lines[0] + lines[1]))
    with path.open("ab") as file:
        file.write(b"".join(lines[2:]))
    assert numbers(drain(follower)) == [2, 3, 4, 5]


def test_what_cannot_be_read_in_a_closed_segment_is_passed_over_and_counted(tmp_path):
    lines = seal_lines([*(canonical(event(n)) for n in range(4)), b'{"msg":"no event"}', canonical(event(5))])
    (tmp_path / NAME).write_bytes(
        b"".join(lines[:2]) + b"garbage\n\x00\n\n" + b"x" * 2_000_000 + b"\n" + lines[2] + b"{"
    )
    (tmp_path / "audit_2026-11-21.jsonl").write_bytes(b"".join(lines[3:]))
    follower = Follower(tmp_path)
    assert numbers(drain(follower)) == [0, 1, 2, 3, 5]
    assert follower.unreadable == 6


def test_a_hole_between_segments_is_believed_when_it_is_met_again(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_COARSE", -1.0)
    write(tmp_path, map(event, range(60)))
    paths = sorted(tmp_path.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    hidden = paths[1].rename(tmp_path / "hidden")
    follower = Follower(tmp_path)
    first = follower.poll()
    assert numbers(first) == list(range(len(first)))
    # As if the folder had been listed without it; its time does not tell.
    changed = tmp_path.stat().st_mtime_ns
    hidden.rename(paths[1])
    os.utime(tmp_path, ns=(changed, changed))
    assert numbers(first + drain(follower)) == list(range(60))
    paths[1].unlink()
    assert len(drain(Follower(tmp_path))) < 60


def test_a_segment_that_is_taken_away_is_left_for_those_behind_it(tmp_path):
    write(tmp_path, map(event, range(60)))
    follower = Follower(tmp_path)
    first = follower.poll(2)
    path = min(tmp_path.glob("*.jsonl"), key=lambda one: one.stat().st_mtime_ns)
    lost = path.read_bytes().count(b"\n")
    path.unlink()
    (tmp_path / manifest_name(path.name)).unlink()
    assert numbers(first + drain(follower)) == [0, 1, *range(lost, 60)]


def test_while_nothing_is_new_no_file_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_COARSE", -1.0)
    with open_log(tmp_path) as log:
        log.append(event(0))
        follower = Follower(tmp_path)
        assert len(drain(follower)) == 1

        def refuse(*_, **__):
            raise AssertionError

        with monkeypatch.context() as patched:
            patched.setattr(track, "forwards", refuse)
            patched.setattr(follow, "find_streams", refuse)
            assert follower.poll() == []
        log.append(event(1))
        assert numbers(follower.poll()) == [1]


@pytest.mark.parametrize("limit", [0, -1, None, True])
def test_a_limit_that_is_none_is_refused(tmp_path, limit):
    with pytest.raises(errors.ConfigError, match="limit is"):
        Follower(tmp_path).poll(limit)


@pytest.mark.parametrize("seq", [-1, "5", None, True])
def test_a_position_that_is_none_is_refused(tmp_path, seq):
    with pytest.raises(errors.ConfigError, match="after of audit is"):
        Follower(tmp_path, after={"audit": seq})


def test_a_file_cannot_be_followed(tmp_path):
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(errors.ConfigError, match="cannot be listed"):
        Follower(tmp_path / "log").poll()
