"""Writer slots and locks: a second writer gets a stream of its own, and none of them can vanish."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from unit.sealer.scene import (
    ED,
    K1,
    KEYRING,
    blocks_of,
    events_of,
    fill,
    has_manifest,
    head_of,
    lines_of,
    manifest_of,
    memory,
    open_log,
    python,
    run,
    segments,
    verified,
)

from fapilog_tamper import ConfigError, Outcome, RollbackError, SealedLog, StoreError, verify_path
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.store.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_writer_gets_a_slot_and_a_third_the_next() -> None:
    folder = memory()
    with open_log(folder) as one, open_log(folder) as two, open_log(folder) as three:
        logs = (one, two, three)
        assert [log.stream for log in logs] == ["log", "log.w2", "log.w3"]
        assert [log.append({}).stream for log in logs] == ["log", "log.w2", "log.w3"]
        assert [log.head.stream for log in logs] == ["log", "log.w2", "log.w3"]
        assert "'log.w2'" in repr(two)
    assert {one.stream: one.entries for one in verified(folder).streams} == {"log": 1, "log.w2": 1, "log.w3": 1}


def test_a_freed_slot_is_taken_again_lowest_first_and_goes_on() -> None:
    folder = memory()
    one, two, three = (open_log(folder) for _ in range(3))
    for log in (one, two, three):
        log.append({})
    two.close()
    one.close()
    with open_log(folder) as again, open_log(folder) as further:
        assert (again.stream, further.stream) == ("log", "log.w2")
        assert again.append({}).seq == further.append({}).seq == 2
    three.close()
    verified(folder)


def test_a_writer_in_another_process_gets_a_slot(tmp_path: Path) -> None:
    code = """
log = SealedLog.open(folder, key=key)
log.append({})
print(log.stream, flush=True)
sys.stdin.read()
"""
    with python(code, tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "log\n"
        with open_log(tmp_path) as log:
            assert log.append({}).stream == "log.w2"
        _, errors = child.communicate("")
    assert child.returncode == 0, errors
    verified(tmp_path)
    with open_log(tmp_path) as log:
        assert log.stream == "log"


def test_writers_that_open_at_the_same_time_get_different_slots(tmp_path: Path) -> None:
    logs: list[SealedLog] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        log = open_log(tmp_path)
        log.append({})
        logs.append(log)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert sorted(log.stream for log in logs) == ["log", *(f"log.w{number}" for number in range(2, 7))]
    verified(tmp_path)


@pytest.mark.parametrize("stream", ["log.w2", "log.r1", "log.w2.r3", "log.w007"])
def test_names_of_the_writer_cannot_be_opened(stream: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong to the writer") as caught:
        open_log(tmp_path / "log", stream=stream)
    assert caught.value.hint
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("is_open", [True, False])
def test_two_streams_that_differ_by_case_only_are_refused(is_open: bool) -> None:  # noqa: FBT001
    folder = memory()
    with open_log(folder, stream="audit") as log:
        log.append({})
        if is_open:
            with pytest.raises(ConfigError, match="differs from stream audit by case only"):
                open_log(folder, stream="Audit")
    with pytest.raises(ConfigError, match="differs from stream audit by case only"):
        open_log(folder, stream="Audit")
    verified(folder)


# What ties them together.


def test_head_and_manifest_say_where_the_other_streams_stand() -> None:
    folder = memory()
    last = fill(folder, stream="a")[-1]
    fill(folder, stream="b")
    said = (("a", 3, last.chain),)
    assert tuple(map(tuple, head_of(folder, "b").others)) == said
    assert tuple(map(tuple, manifest_of(folder, segments(folder, "b")[0]).others)) == said
    assert not head_of(folder, "a").others


def test_others_are_sorted_and_name_slots_too() -> None:
    folder = memory()
    with open_log(folder) as one, open_log(folder) as two:
        two.append({})
        one.append({})
        two.close()
        fill(folder, stream="b")
        one.close()
    fill(folder, stream="a")
    assert [claim[0] for claim in head_of(folder, "a").others] == ["b", "log", "log.w2"]
    verified(folder)


def test_a_slot_whose_files_all_vanish_is_missed_by_the_verifier(tmp_path: Path) -> None:
    with open_log(tmp_path) as one, open_log(tmp_path) as two:
        two.append({})
        two.close()
        one.append({})
    for path in [*tmp_path.glob("log.w2*"), *(tmp_path / STATE_FOLDER).glob("log.w2*")]:
        path.unlink()
    report = verify_path(tmp_path, keyring=KEYRING)
    assert report.outcome is Outcome.UNDETERMINED
    assert [finding.code.value for finding in report.findings] == ["stream-missing"]


def test_a_slot_whose_files_all_vanished_is_not_begun_again() -> None:
    folder = memory()
    with open_log(folder) as one, open_log(folder) as two:
        two.append({})
        two.close()
        one.append({})
    state = folder.child(STATE_FOLDER)
    for store in (folder, state):
        for name in store.names():
            if name.startswith("log.w2"):
                store.remove(name)
    with open_log(folder), pytest.raises(RollbackError, match="log speaks of entry 1"):
        open_log(folder)


def test_a_second_state_folder_is_found_out_when_its_writer_begins_a_segment() -> None:
    folder = memory()
    other = open_log(folder, state_dir=memory())
    fill(folder)
    with pytest.raises(StoreError, match=r"another writer, with another state folder.*one state folder"):
        other.append({})
    with pytest.raises(StoreError, match="takes no more"):
        other.append({})
    with pytest.raises(StoreError, match="could not be closed"):
        other.close()
    verified(folder)
    assert len(lines_of(folder)) == 3


# Slots that nobody holds.


def test_a_slot_that_a_crash_left_is_recovered_when_the_stream_is_opened(tmp_path: Path) -> None:
    code = """
one, two = SealedLog.open(folder, key=key), SealedLog.open(folder, key=key)
two.append({'n': 1})
one.append({'n': 2})
os._exit(0)
"""
    run(code, tmp_path)
    assert not has_manifest(tmp_path, segments(tmp_path, "log.w2")[0])
    with open_log(tmp_path) as log:
        assert log.stream == "log"
        assert has_manifest(tmp_path, segments(tmp_path, "log.w2")[0])
    verified(tmp_path)
    assert events_of(tmp_path, "log.w2") == [{"n": 1}]


def test_an_empty_segment_that_a_crash_left_is_removed() -> None:
    folder = memory()
    fill(folder)
    folder.close(folder.create("log_2999-01-01.jsonl"))
    open_log(folder).close()
    assert "log_2999-01-01.jsonl" not in folder.names()
    verified(folder)


def test_a_slot_that_somebody_holds_is_left_alone(tmp_path: Path) -> None:
    with open_log(tmp_path) as one, open_log(tmp_path) as two:
        two.append({})
        one.append({})
        one.close()
        with open_log(tmp_path) as again:
            again.append({})
        assert not has_manifest(tmp_path, segments(tmp_path, "log.w2")[0])
        two.append({})
    assert [block.seq for block in blocks_of(tmp_path, "log.w2")] == [1, 2]
    verified(tmp_path)


def test_slots_may_be_under_different_keys() -> None:
    folder = memory()
    with open_log(folder, K1) as one, open_log(folder, ED) as two:
        one.append({})
        two.append({})
    assert {block.key_id for block in blocks_of(folder, "log.w2")} == {"ed-2026"}
    verified(folder)


def test_a_failed_opening_lets_the_slot_go() -> None:
    folder = memory()
    fill(folder)
    for _ in range(2):
        with pytest.raises(Exception, match="keyed"):
            open_log(folder, None)
    with open_log(folder) as log:
        assert log.stream == "log"


# Locks.


def test_a_lock_is_held_once_and_free_again_after_release_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = FileLock.take(path)
    assert lock is not None
    assert FileLock.take(path) is None
    lock.release()
    lock.release()
    again = FileLock.take(path)
    assert again is not None
    again.release()
    assert path.exists()


def test_a_lock_in_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock.take(tmp_path / "no" / "a.lock")
