"""The memory store: what is synced survives a power cut, what is not may be lost, and every way of losing occurs."""

from __future__ import annotations

import errno
import random
import threading

import pytest
from support.logs import HMAC, K1, write_stream

from fapilog_tamper import Code, verify_path
from fapilog_tamper.store.base import Store
from fapilog_tamper.testing import MemoryDisk, MemoryStore

PAGE = 4096
SEEDS = range(300)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.make()
    return made


def put(store: Store, name: str, content: bytes = b"", *, synced: bool = True) -> int:
    handle = store.create(name)
    if content:
        store.write(handle, content, 0)
    if synced:
        store.sync(handle)
        store.sync_names()
    return handle


def cuts(store: MemoryStore, name: str = "a") -> list[bytes | None]:
    """What is found of a file after many power cuts, None where it is gone."""
    found = [store.disk.power_cut(random.Random(seed)).image() for seed in SEEDS]
    return [image.get(name) for image in found]


def tables(store: MemoryStore) -> set[tuple[str, ...]]:
    """Which names are found after many power cuts."""
    return {tuple(sorted(store.disk.power_cut(random.Random(seed)).image())) for seed in SEEDS}


def test_it_is_a_store(store):
    assert isinstance(store, Store)
    assert str(store.child("state")) == "memory:/state"


def test_synced_bytes_under_a_synced_name_survive_every_power_cut(store):
    put(store, "a", b"x" * 10_000)
    assert set(cuts(store)) == {b"x" * 10_000}


def test_bytes_written_over_synced_ones_are_old_or_new_page_by_page(store):
    handle = put(store, "a", b"o" * 3 * PAGE)
    store.write(handle, b"n" * 3 * PAGE, 0)
    found = {"".join(chr(one[page * PAGE]) for page in range(3)) for one in cuts(store)}
    assert found == {"ooo", "oon", "ono", "onn", "noo", "non", "nno", "nnn"}
    assert {len(one) for one in cuts(store)} == {3 * PAGE}


def test_a_later_page_may_reach_the_disk_without_an_earlier_one(store):
    handle = put(store, "a")
    for page in range(4):
        store.write(handle, bytes([65 + page]) * PAGE, page * PAGE)
    found = [one for one in cuts(store) if len(one) == 4 * PAGE]
    assert any(one[:PAGE] == bytes(PAGE) and one[-PAGE:] == b"D" * PAGE for one in found)
    assert any(one == bytes(4 * PAGE) for one in found)


def test_the_size_is_one_that_the_file_had_or_a_page_boundary_in_a_write(store):
    handle = put(store, "a", b"x" * 100)
    store.write(handle, b"y" * 50, 100)
    store.write(handle, b"z" * 9000, 150)
    assert {len(one) for one in cuts(store)} == {100, 150, 4096, 8192, 9150}


def test_a_page_holds_the_synced_bytes_or_those_behind_some_write_and_zeros_where_it_grew(store):
    handle = put(store, "a", b"x" * 100)
    store.write(handle, b"y" * 50, 100)
    store.write(handle, b"z" * 50, 150)
    whole = b"x" * 100 + b"y" * 50 + b"z" * 50
    expected = {whole[:known].ljust(size, b"\x00")[:size] for known in (100, 150, 200) for size in (100, 150, 200)}
    assert set(cuts(store)) == expected


def test_small_pages_tear_what_large_ones_keep_together():
    store = MemoryStore(MemoryDisk(page=512))
    store.make()
    put(store, "a", b"o" * PAGE)
    store.write(store.open("a"), b"n" * PAGE, 0)
    assert any(len(set(one)) == 2 for one in cuts(store))


def test_a_sync_in_between_covers_what_was_written_before_it_and_nothing_after(store):
    handle = put(store, "a", b"one")
    store.write(handle, b"two", 3)
    store.sync(handle)
    store.write(handle, b"three", 6)
    found = set(cuts(store))
    assert {one[:6] for one in found} == {b"onetwo"}
    assert b"onetwo" in found
    assert b"onetwothree" in found


def test_a_truncation_may_be_undone_until_it_is_synced(store):
    handle = put(store, "a", b"x" * 3 * PAGE)
    store.truncate(handle, 10)
    kept = b"x" * 10
    undone = {b"x" * 3 * PAGE, kept + bytes(PAGE - 10) + b"x" * 2 * PAGE}
    assert set(cuts(store)) == {kept} | undone
    store.sync(handle)
    assert set(cuts(store)) == {kept}


def test_what_a_kept_truncation_cut_off_never_shows_up_in_a_file_that_grew_again(store):
    before = 3 * PAGE - 5
    handle = put(store, "a", b"x" * before)
    store.truncate(handle, PAGE + 10)
    store.write(handle, b"y" * (2 * PAGE), PAGE + 10)
    assert {len(found) for found in cuts(store)} == {before, PAGE + 10, 2 * PAGE, 3 * PAGE, 3 * PAGE + 10}
    for found in cuts(store):
        if len(found) == before:
            assert found[2 * PAGE :] == b"x" * (PAGE - 5)
        else:
            assert b"x" not in found[PAGE + 10 :]


def test_a_file_can_be_lengthened_by_zeros(store):
    handle = put(store, "a", b"x")
    store.truncate(handle, 5)
    assert store.read("a") == b"x\x00\x00\x00\x00"
    assert set(cuts(store)) == {b"x", b"x\x00\x00\x00\x00"}


def test_bytes_behind_a_gap_leave_zeros_in_it(store):
    handle = put(store, "a", b"x")
    store.write(handle, b"y", 3)
    assert store.read("a") == b"x\x00\x00y"


def test_what_a_failed_sync_dropped_stays_visible_and_never_reaches_the_disk(store):
    handle = put(store, "a", b"one")
    store.write(handle, b"two", 3)
    store.lose(handle)
    store.sync(handle)
    assert store.read("a") == b"onetwo"
    assert set(cuts(store)) == {b"one\x00\x00\x00"}
    store.lose(handle)
    assert set(cuts(store)) == {b"one\x00\x00\x00"}


def test_a_synced_file_whose_name_was_not_synced_may_be_gone(store):
    store.sync(put(store, "a", b"x", synced=False))
    assert set(cuts(store)) == {None, b"x"}


def test_a_name_may_be_there_without_the_bytes_of_its_file(store):
    put(store, "a", b"x", synced=False)
    store.sync_names()
    assert set(cuts(store)) == {b"", b"x", b"\x00"}


def test_a_removed_name_may_come_back_with_its_synced_bytes(store):
    put(store, "a", b"x")
    store.remove("a")
    assert set(cuts(store)) == {None, b"x"}
    store.sync_names()
    assert set(cuts(store)) == {None}


def test_a_rename_happens_to_both_names_or_to_neither(store):
    put(store, "a", b"moved")
    put(store, "b", b"pushed out")
    store.rename("a", "b")
    images = [store.disk.power_cut(random.Random(seed)).image() for seed in SEEDS]
    before, after = {"a": b"moved", "b": b"pushed out"}, {"b": b"moved"}
    assert before in images
    assert after in images
    assert all(image in (before, after) for image in images)


def test_operations_on_one_name_are_kept_in_their_order_and_others_independently(store):
    put(store, "a", synced=False)
    put(store, "b", synced=False)
    store.rename("a", "c")
    store.remove("b")
    # Of a: nothing, created, renamed. Of b: nothing or removed, or created.
    assert tables(store) == {(), ("a",), ("c",), ("b",), ("a", "b"), ("b", "c")}


def test_a_name_that_was_created_again_is_not_given_to_the_earlier_file_out_of_order(store):
    put(store, "a", b"first")
    store.rename("a", "b")
    put(store, "a", b"second", synced=False)
    for seed in SEEDS:
        image = store.disk.power_cut(random.Random(seed)).image()
        assert b"first" in image.values()
        assert image.get("b", b"first") == b"first"


def test_a_replaced_file_is_durable_when_the_call_returns(store):
    put(store, "a", b"old")
    store.replace("a", b"new")
    assert set(cuts(store)) == {b"new"}
    assert tables(store) == {("a",)}


@pytest.mark.parametrize("seed", range(40))
def test_every_power_cut_of_a_random_history_is_legal(store, seed):
    """Checked against all versions of each page and all sizes that the history has, without truncations."""
    rng = random.Random(seed)
    handle = put(store, "a", rng.randbytes(rng.randrange(3 * PAGE)))
    start = store.read("a")
    states = [start]
    for _ in range(rng.randrange(1, 12)):
        offset = rng.randint(0, store.size("a"))
        store.write(handle, rng.randbytes(rng.choice((1, 40, 700, 9000))), offset)
        states.append(store.read("a"))
    least, most = len(start), len(states[-1])
    sizes = {len(state) for state in states} | {at for at in range(0, most, PAGE) if at > least}
    for found in cuts(store)[:60]:
        assert len(found) in sizes
        for at in range(0, len(found), PAGE):
            page = found[at : at + PAGE]
            assert any(page == state[at : at + PAGE].ljust(PAGE, b"\x00")[: len(page)] for state in states)


def test_a_power_cut_is_a_function_of_the_state_and_the_seed(store):
    handle = put(store, "a", b"x" * 9000)
    store.write(handle, b"y" * 30_000, 5)
    put(store, "b", b"z", synced=False)
    one, two = (store.disk.power_cut(random.Random(7)).image() for _ in range(2))
    assert one == two


def test_what_was_found_after_a_power_cut_is_there_to_stay(store):
    put(store, "a", b"x" * 9000, synced=False)
    disk = store.disk.power_cut(random.Random(3))
    assert {str(disk.power_cut(random.Random(seed)).image()) for seed in SEEDS} == {str(disk.image())}


def test_a_power_cut_keeps_folders_that_were_made(store):
    store.child("state").make()
    disk = store.disk.power_cut(random.Random(1))
    assert MemoryStore(disk, ("state",)).names() == []


def test_a_killed_process_leaves_all_that_it_wrote_and_can_still_lose_it(store):
    put(store, "a", b"written", synced=False)
    disk = store.disk.kill()
    assert disk.image() == {"a": b"written"}
    images = [disk.power_cut(random.Random(seed)).image() for seed in SEEDS]
    assert {} in images
    assert {"a": b""} in images
    assert {"a": b"written"} in images


def test_a_killed_process_changes_nothing_any_more(store):
    handle = put(store, "a", b"before")
    renamed = put(store, "b", b"b")
    disk = store.disk.kill()
    store.write(handle, b"behind", 6)
    store.truncate(renamed, 0)
    store.rename("b", "c")
    store.remove("a")
    store.sync_names()
    assert disk.image() == {"a": b"before", "b": b"b"}
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        MemoryStore(disk).write(handle, b"x", 0)
    assert caught.value.errno == errno.EBADF


def test_a_file_is_one_file_on_the_next_disk_too(store):
    """A rename that is not synced yet has the file under two names, one in each table."""
    put(store, "a", b"x")
    store.rename("a", "b")
    after = MemoryStore(store.disk.kill())
    handle = after.open("b")
    after.write(handle, b"y", 1)
    after.sync(handle)
    assert set(cuts(after, "a")) == {None, b"xy"}


@pytest.mark.parametrize("end", ["kill", "power_cut"])
def test_locks_are_free_on_the_next_disk(store, end):
    assert store.lock("l") is not None
    assert store.lock("l") is None
    disk = store.disk.kill() if end == "kill" else store.disk.power_cut(random.Random(1))
    assert MemoryStore(disk).lock("l") is not None
    assert store.lock("l") is None


def test_an_abandoned_lock_stays_with_its_holder(store):
    lock = store.lock("l")
    lock.abandon()
    lock.release()
    assert store.lock("l") is None


def test_stores_of_one_disk_share_files_and_locks(store):
    other = MemoryStore(store.disk)
    put(store, "a", b"x")
    assert other.read("a") == b"x"
    assert store.lock("l") is not None
    assert other.lock("l") is None


def test_a_handle_is_dead_when_it_was_closed(store):
    handle = put(store, "a")
    store.close(handle)
    store.close(handle)
    for call in (lambda: store.write(handle, b"x", 0), lambda: store.sync(handle), lambda: store.truncate(handle, 0)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_negative_numbers_are_errors_as_of_a_file_system(store):
    handle = put(store, "a", b"x")
    for call in (
        lambda: store.write(handle, b"x", -1),
        lambda: store.truncate(handle, -1),
        lambda: store.read("a", -1),
    ):
        with pytest.raises(OSError, match="Invalid argument"):
            call()


def test_a_handle_writes_to_its_file_whatever_becomes_of_the_name(store):
    handle = put(store, "a", b"x")
    store.rename("a", "b")
    put(store, "a", b"new")
    store.write(handle, b"y", 1)
    assert store.disk.image() == {"a": b"new", "b": b"xy"}


def test_a_folder_goes_out_to_real_files_and_comes_back(store, tmp_path):
    store.child("state").make()
    store.child("empty").make()
    put(store, "a", b"one")
    put(store.child("state"), "head", b"two", synced=False)
    store.disk.dump(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"one"
    assert (tmp_path / "out" / "state" / "head").read_bytes() == b"two"
    assert (tmp_path / "out" / "empty").is_dir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "out" / "a")
    loaded = MemoryDisk.load(tmp_path / "out")
    assert loaded.image() == store.disk.image() == {"a": b"one", "state/head": b"two"}
    assert loaded.power_cut(random.Random(1)).image() == loaded.image()
    assert MemoryStore(loaded, ("empty",)).names() == []


def test_a_child_goes_out_alone(store, tmp_path):
    store.child("state").make()
    put(store, "a", b"one")
    put(store.child("state"), "head", b"two")
    store.disk.dump(tmp_path / "out", ("state",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["head"]


def test_the_journal_names_the_operations_in_order(store):
    handle = put(store, "a", b"xyz")
    store.rename("a", "b")
    store.truncate(handle, 1)
    disk = store.disk.power_cut(random.Random(1))
    assert list(disk.journal) == [
        "create a",
        "write a 0+3",
        "sync a",
        "sync_names memory:/",
        "rename a b",
        "truncate a 1",
        "power cut",
    ]


def test_power_cuts_beside_a_writer_find_a_state_of_one_moment(store):
    """A writer syncs each line before it says so; what it said by the time of the cut is always found."""
    handle = put(store, "a")
    said = [0]

    def write() -> None:
        for number in range(500):
            store.write(handle, b"%07d\n" % number, number * 8)
            store.sync(handle)
            said[0] = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    for seed in range(50):
        before = said[0]
        found = store.disk.power_cut(random.Random(seed)).image()["a"]
        assert found[: before * 8] == b"".join(b"%07d\n" % number for number in range(before))
    writer.join()
    assert set(cuts(store)) == {b"".join(b"%07d\n" % number for number in range(500))}


@pytest.mark.parametrize("page", [512, PAGE])
def test_a_sealed_segment_is_found_as_a_torn_tail_behind_what_was_synced(page, tmp_path):
    outcomes = set()
    for seed in range(40):
        rng = random.Random(seed)
        stream = write_stream("audit", HMAC, segments=1, entries=60, seed=seed)
        store = MemoryStore(MemoryDisk(page=page))
        store.make()
        handle = put(store, stream.file(0))
        synced = rng.randrange(1, 60)
        store.write(handle, b"".join(stream.lines[:synced]), 0)
        store.sync(handle)
        for line in stream.lines[synced:]:
            store.write(handle, line, store.size(stream.file(0)))
        store.disk.power_cut(rng).dump(tmp_path / str(seed))
        report = verify_path(tmp_path / str(seed), keys=[K1])
        assert report.entries >= synced
        assert {finding.code for finding in report.findings} <= {Code.TORN_TAIL}
        outcomes.add(str(report.outcome))
    assert outcomes == {"intact", "undetermined"}
