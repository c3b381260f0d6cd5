"""Segments at work: when one is closed and the next begun, how they are named, and how they are compressed."""

from __future__ import annotations

import gzip
import threading
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from unit.sealer.scene import (
    DAY,
    ED,
    K1,
    NOON,
    blocks_of,
    content,
    events_of,
    faulty,
    fill,
    has_manifest,
    head_of,
    lines_of,
    manifest_of,
    memory,
    open_log,
    segments,
    until,
    verified,
)

from fapilog_tamper import Rotation, StoreError
from fapilog_tamper.layout import is_segment_name, manifest_name, segment_name
from fapilog_tamper.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.keys import SigningKey

TODAY = datetime.fromtimestamp(NOON, UTC).date()


def names(*numbers: int, day: date = TODAY) -> list[str]:
    return [segment_name("log", day, number) for number in numbers]


def after(days: int) -> date:
    return datetime.fromtimestamp(NOON + days * DAY, UTC).date()


# When.


@pytest.mark.parametrize("inline", [True, False])
def test_a_segment_is_closed_at_midnight_utc(inline: bool) -> None:  # noqa: FBT001 (a column)
    folder, clock = memory(), FakeClock(NOON)
    with open_log(folder, clock=clock, inline=inline) as log:
        for hours in (0, 11.99, 12.01, 23, 36.01):
            clock.set(NOON + hours * 3600)
            log.append({"hours": hours})
        assert segments(folder) == [*names(0), *names(0, day=after(1)), *names(0, day=after(2))]
        until(lambda: has_manifest(folder, segments(folder)[1]))
        assert not has_manifest(folder, segments(folder)[2])
    assert [manifest_of(folder, name).record_count for name in segments(folder)] == [2, 2, 1]
    verified(folder)


def test_a_segment_stays_open_over_midnight_where_that_is_asked_for() -> None:
    folder, clock = memory(), FakeClock(NOON)
    with open_log(folder, clock=clock, rotation=Rotation(daily=False)) as log:
        for _ in range(3):
            log.append({})
            clock.advance(DAY)
    assert segments(folder) == names(0)
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("durability", ["accepted", "written", "synced"])
def test_no_segment_grows_beyond_max_bytes(durability: str, inline: bool) -> None:  # noqa: FBT001 (a column)
    folder, clock = memory(), FakeClock(NOON)
    rotation = Rotation(max_bytes=4096)
    with open_log(folder, clock=clock, rotation=rotation, durability=durability, inline=inline) as log:
        for number in range(60):
            log.append({"n": number, "x": "x" * (number * 7 % 400)})
    sizes = [folder.size(name) for name in segments(folder)]
    lines = lines_of(folder)
    assert max(sizes) <= 4096
    assert len(sizes) > 5
    firsts = [len(lines[manifest_of(folder, name).first_seq - 1]) for name in segments(folder)]
    assert all(size + first > 4096 for size, first in zip(sizes, firsts[1:], strict=False)), "closed too early"
    assert [event["n"] for event in events_of(folder)] == list(range(60))
    verified(folder)


def test_an_entry_that_is_larger_than_max_bytes_has_a_segment_of_its_own() -> None:
    folder = memory()
    with open_log(folder, clock=FakeClock(NOON), rotation=Rotation(max_bytes=4096)) as log:
        for size in (10, 9000, 10, 9000, 9000):
            log.append({"x": "x" * size})
    assert [manifest_of(folder, name).record_count for name in segments(folder)] == [1, 1, 1, 1, 1]
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
def test_a_segment_is_closed_when_it_is_max_age_old(inline: bool) -> None:  # noqa: FBT001 (a column)
    folder, clock = memory(), FakeClock(NOON)
    with open_log(folder, clock=clock, rotation=Rotation(max_age=60), inline=inline) as log:
        for seconds in (0, 59, 60, 119, 121, 300):
            clock.set(NOON + seconds)
            log.append({})
    assert [manifest_of(folder, name).record_count for name in segments(folder)] == [2, 2, 1, 1]
    verified(folder)


def test_a_segment_that_is_due_is_closed_without_a_further_entry() -> None:
    folder = memory()
    with open_log(folder, rotation=Rotation(max_age=0.05)) as log:
        log.append({})
        until(lambda: has_manifest(folder, segments(folder)[0]))
        until(lambda: log.stats.heads)
        assert head_of(folder).seq == 1
        assert len(segments(folder)) == 1
    verified(folder)


def test_rotate_closes_the_segment_and_the_next_entry_begins_one() -> None:
    folder = memory()
    with open_log(folder, clock=FakeClock(NOON)) as log:
        log.append({})
        log.rotate()
        assert has_manifest(folder, names(0)[0])
        assert segments(folder) == names(0)
        log.append({})
        assert segments(folder) == names(0, 1)
    verified(folder)


def test_rotate_takes_what_was_only_accepted_along() -> None:
    folder = memory()
    with open_log(folder, clock=FakeClock(NOON), durability="accepted") as log:
        for number in range(20):
            log.append({"n": number})
        log.rotate()
        assert manifest_of(folder, names(0)[0]).record_count == 20
    verified(folder)


def test_rotate_without_an_open_segment_does_nothing() -> None:
    folder = memory()
    with open_log(folder) as log:
        log.rotate()
        assert segments(folder) == []
        log.append({})
        log.rotate()
        log.rotate()
    assert len(segments(folder)) == 1
    verified(folder)


def test_rotate_that_does_not_work_in_time_says_why() -> None:
    folder = faulty()
    with open_log(folder) as log:
        log.append({})
        folder.faults.fail("replace", error=28, times=None, name="*.manifest.json")
        with pytest.raises(StoreError, match=r"could not be closed in time: .*No space left"):
            log.rotate(timeout=0.05)
        folder.faults.clear()
        log.append({})
    verified(folder)


@pytest.mark.parametrize("key", [K1, ED], ids=["hmac", "ed25519"])
def test_threads_that_append_over_many_rotations_make_one_chain(key: SigningKey) -> None:
    folder = memory()
    with open_log(folder, key, rotation=Rotation(max_bytes=4096)) as log:
        threads = [threading.Thread(target=lambda: [log.append({"x": "x" * 200}) for _ in range(60)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            log.rotate()
        for thread in threads:
            thread.join()
    assert len(events_of(folder)) == 240
    assert [block.seq for block in blocks_of(folder)] == list(range(1, len(lines_of(folder)) + 1))
    verified(folder, key)


# Names.


def test_names_go_on_in_order_when_the_clock_goes_back() -> None:
    folder, clock = memory(), FakeClock(NOON)
    for days in (0, -1, 3, 2, -10, 3, 4):
        clock.set(NOON + days * DAY)
        fill(folder, 2, clock=clock)
    ahead = after(3)
    assert segments(folder) == [*names(0, 1), *names(0, 1, 2, 3, day=ahead), *names(0, day=after(4))]
    assert [block.seq for block in blocks_of(folder)] == list(range(1, 15))
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
def test_a_clock_that_goes_back_in_an_open_log_changes_no_order(inline: bool) -> None:  # noqa: FBT001 (a column)
    folder, clock = memory(), FakeClock(NOON)
    with open_log(folder, clock=clock, rotation=Rotation(max_age=3600), inline=inline) as log:
        for hours in (0, -5, -48, 2, 1, -100, 30, 29):
            clock.set(NOON + hours * 3600)
            log.append({"hours": hours})
    assert [event["hours"] for event in events_of(folder)] == [0, -5, -48, 2, 1, -100, 30, 29]
    assert [block.seq for block in blocks_of(folder)] == list(range(1, 9))
    verified(folder)


def test_numbers_go_on_beyond_nine_in_their_order() -> None:
    folder, clock = memory(), FakeClock(NOON)
    for _ in range(2):
        with open_log(folder, clock=clock) as log:
            for _ in range(6):
                log.append({})
                log.rotate()
    assert segments(folder) == names(*range(12))
    assert [block.seq for block in blocks_of(folder)] == list(range(1, 13))
    verified(folder)


def test_the_name_of_a_compressed_segment_is_not_used_again() -> None:
    folder, clock = memory(), FakeClock(NOON)
    for _ in range(3):
        fill(folder, 1, clock=clock, compress="gzip")
    assert segments(folder) == [f"{name}.gz" for name in names(0, 1, 2)]
    verified(folder)


def test_the_name_of_a_segment_that_is_gone_is_not_used_again_where_its_manifest_is() -> None:
    folder, clock = memory(), FakeClock(NOON)
    with open_log(folder, clock=clock) as log:
        log.append({})
        log.rotate()
        folder.remove(names(0)[0])
        log.append({})
        log.rotate()
        folder.remove(names(1)[0])
        log.append({})
    assert segments(folder) == names(2)


def test_a_file_that_is_in_the_way_is_left_alone() -> None:
    folder = memory()
    with open_log(folder, clock=FakeClock(NOON)) as log:
        folder.close(folder.create(names(0)[0]))
        log.append({})
    assert (folder.size(names(0)[0]), len(lines_of(folder))) == (0, 1)
    assert segments(folder) == names(0, 1)
    verified(folder)


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_nothing_but_segments_ends_in_jsonl(compress: str, tmp_path: Path) -> None:
    with open_log(tmp_path, compress=compress) as log, open_log(tmp_path) as second:
        for _ in range(3):
            second.append({})
            log.append({})
            log.rotate()
    found = [path.name for path in tmp_path.rglob("*") if path.name.endswith(".jsonl")]
    expected = [*segments(tmp_path), *segments(tmp_path, "log.w2")]
    assert sorted(found) == sorted(name for name in expected if name.endswith(".jsonl"))
    assert list(tmp_path.rglob("*.tmp")) == []


# Compression.


@pytest.mark.parametrize(("compress", "ending"), [("gzip", ".gz"), ("zstd", ".zst")])
def test_closed_segments_are_compressed_beside_their_manifests(compress: str, ending: str, tmp_path: Path) -> None:
    clock = FakeClock(NOON)
    plain = memory()
    fill(plain, clock=clock)
    fill(tmp_path, clock=clock, compress=compress)
    assert segments(tmp_path) == [names(0)[0] + ending]
    assert content(tmp_path, segments(tmp_path)[0]) == plain.read(names(0)[0])
    assert (tmp_path / manifest_name(names(0)[0])).read_bytes() == plain.read(manifest_name(names(0)[0]))
    verified(tmp_path)


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_the_open_segment_is_plain_and_those_before_are_compressed_meanwhile(compress: str) -> None:
    folder = memory()
    with open_log(folder, clock=FakeClock(NOON), compress=compress) as log:
        log.append({})
        log.rotate()
        log.append({})
        until(lambda: segments(folder)[0] not in names(0))
        assert segments(folder)[1:] == names(1)
    assert not [name for name in folder.names() if name.endswith(".jsonl")]
    verified(folder)


def test_a_stream_goes_on_behind_a_compressed_segment() -> None:
    folder = memory()
    for compress in ("gzip", "zstd", "none", "gzip"):
        fill(folder, compress=compress)
    assert [block.seq for block in blocks_of(folder)] == list(range(1, 13))
    verified(folder)


def test_the_next_open_compresses_what_was_left_plain() -> None:
    folder, clock = memory(), FakeClock(NOON)
    for _ in range(2):
        fill(folder, clock=clock)
    open_log(folder, compress="gzip").close()
    assert segments(folder) == [f"{name}.gz" for name in names(0, 1)]
    verified(folder)


@pytest.mark.parametrize(
    ("method", "name"),
    [("create", "*.gz.tmp"), ("write", "*.gz.tmp"), ("sync", "*.gz.tmp"), ("rename", "*.gz"), ("remove", "*.jsonl")],
)
@pytest.mark.parametrize("done", [False, True])
def test_a_failure_while_compressing_harms_nothing_and_the_next_open_tries_again(
    method: str,
    name: str,
    done: bool,  # noqa: FBT001 (a column)
) -> None:
    folder, clock = faulty(), FakeClock(NOON)
    folder.faults.fail(method, name=name, done=done)
    fill(folder, clock=clock, compress="gzip")
    assert folder.faults.failed[method] == 1
    verified(folder)
    fill(folder, clock=clock, compress="gzip")
    assert {one for one in folder.names() if is_segment_name(one)} == {f"{one}.gz" for one in names(0, 1)}
    assert not [one for one in folder.names() if one.endswith(".tmp")]
    verified(folder)


def test_the_plain_file_goes_only_after_the_compressed_one_is_on_the_disk() -> None:
    folder = memory()
    fill(folder, clock=FakeClock(NOON), compress="gzip")
    name = f"log/{names(0)[0]}"
    steps = list(folder.disk.journal)
    at = [steps.index(f"sync {name}.gz.tmp"), steps.index(f"rename {name}.gz.tmp {name}.gz")]
    at += [steps.index("sync_names memory:/log", at[-1]), steps.index(f"remove {name}")]
    assert at == sorted(at)


def test_a_segment_that_is_not_what_its_manifest_says_is_not_compressed() -> None:
    folder, clock = memory(), FakeClock(NOON)
    fill(folder, clock=clock)
    fill(folder, clock=clock)
    raw = folder.read(names(0)[0]).replace(b'"n":1', b'"n":7')
    folder.replace(names(0)[0], raw)
    open_log(folder, compress="gzip").close()
    assert segments(folder) == [names(0)[0], names(1)[0] + ".gz"]
    assert folder.read(names(0)[0]) == raw


def test_what_a_crash_left_of_a_compression_is_written_over() -> None:
    folder, clock = memory(), FakeClock(NOON)
    fill(folder, clock=clock)
    folder.replace(f"{names(0)[0]}.gz.tmp", b"half of something" * 100)
    open_log(folder, compress="gzip").close()
    assert gzip.decompress(folder.read(f"{names(0)[0]}.gz")).count(b"\n") == 3
    assert not [one for one in folder.names() if one.endswith(".tmp")]
    verified(folder)


def test_appends_do_not_wait_for_compression() -> None:
    folder = faulty()
    with open_log(folder, compress="gzip") as log, folder.faults.hold("write", name="*.gz.tmp") as held:
        log.append({})
        log.rotate()
        assert held.reached.wait(20)
        assert log.append({}, durability="synced").seq == 2
        log.rotate()
    verified(folder)
