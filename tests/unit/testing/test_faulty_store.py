"""The faulty store: which calls fail, how often, with what, and what of their work is done."""

from __future__ import annotations

import errno
import random
import threading
import time

import pytest

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.store.base import Store
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.testing import Faults, FaultyStore, MemoryStore
from fapilog_tamper.testing.plan import FAILING, REPLACE_STEPS


@pytest.fixture
def inner() -> MemoryStore:
    made = MemoryStore()
    made.make()
    handle = made.create("there")
    made.write(handle, b"0123", 0)
    made.sync(handle)
    made.close(handle)
    made.sync_names()
    return made


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def store(inner, faults) -> FaultyStore:
    return FaultyStore(inner, faults)


CALLS = {
    "make": lambda store, handle: store.child("new").make(),
    "names": lambda store, handle: store.names(),
    "size": lambda store, handle: store.size("there"),
    "read": lambda store, handle: store.read("there"),
    "create": lambda store, handle: store.create("new"),
    "open": lambda store, handle: store.open("there"),
    "write": lambda store, handle: store.write(handle, b"xyz", 4),
    "sync": lambda store, handle: store.sync(handle),
    "truncate": lambda store, handle: store.truncate(handle, 1),
    "replace": lambda store, handle: store.replace("there", b"new"),
    "rename": lambda store, handle: store.rename("there", "new"),
    "remove": lambda store, handle: store.remove("there"),
    "sync_names": lambda store, handle: store.sync_names(),
    "lock": lambda store, handle: store.lock("new"),
}
CHANGING = {
    "make": lambda disk: ("new",) in disk.folders,
    "create": lambda disk: "new" in disk.image(),
    "write": lambda disk: disk.image().get("there") == b"0123xyz",
    "truncate": lambda disk: disk.image().get("there") == b"0",
    "replace": lambda disk: disk.image().get("there") == b"new",
    "rename": lambda disk: set(disk.image()) == {"new"},
    "remove": lambda disk: not disk.image(),
    "lock": lambda disk: "new" in disk.image(),
}


def test_it_is_a_store_and_every_call_of_one_can_fail(store):
    assert isinstance(store, Store)
    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert set(CALLS) == methods - {"child", "close"} == {*FAILING, "lock"}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("done", [False, True], ids=["nothing done", "done"])
def test_a_call_fails_once_with_its_error_and_does_all_or_nothing(store, inner, faults, method, done):
    handle = store.open("there")
    faults.fail(method, error=errno.ENOSPC, done=done)
    with pytest.raises(OSError, match="planned") as caught:
        CALLS[method](store, handle)
    assert caught.value.errno == errno.ENOSPC
    assert faults.failed == {method: 1}
    if method in CHANGING:
        assert CHANGING[method](inner.disk) is done
    if not done:
        CALLS[method](store, handle)
        assert CHANGING.get(method, lambda disk: True)(inner.disk)


@pytest.mark.parametrize("done", [False, True])
def test_a_sync_that_failed_has_synced_or_not(store, inner, faults, done):
    handle = store.open("there")
    store.write(handle, b"xyz", 4)
    faults.fail("sync", done=done)
    with pytest.raises(OSError, match="planned"):
        store.sync(handle)
    found = {inner.disk.power_cut(random.Random(seed)).image()["there"] for seed in range(50)}
    assert (found == {b"0123xyz"}) is done


@pytest.mark.parametrize("done", [False, True])
def test_a_sync_of_names_that_failed_has_synced_or_not(store, inner, faults, done):
    store.rename("there", "new")
    faults.fail("sync_names", done=done)
    with pytest.raises(OSError, match="planned"):
        store.sync_names()
    found = {tuple(inner.disk.power_cut(random.Random(seed)).image()) for seed in range(50)}
    assert (found == {("new",)}) is done


def test_a_handle_that_the_caller_never_saw_is_given_back(store, inner, faults):
    before = len(inner.disk._open)
    for method in ("create", "open"):
        faults.fail(method, done=True)
        with pytest.raises(OSError, match="planned"):
            CALLS[method](store, None)
    assert len(inner.disk._open) == before


def test_a_lock_that_the_caller_never_saw_is_given_back(store, faults):
    faults.fail("lock", done=True)
    with pytest.raises(OSError, match="planned"):
        store.lock("l")
    assert store.lock("l") is not None


def test_a_lock_is_that_of_the_inner_store(store, inner):
    lock = store.lock("l")
    assert inner.lock("l") is None
    lock.release()
    assert inner.lock("l") is not None


def test_a_failed_sync_may_lose_what_was_written_though_the_next_one_succeeds(store, inner, faults):
    handle = store.open("there")
    store.write(handle, b"xyz", 4)
    faults.fail("sync", lost=True)
    with pytest.raises(OSError, match="planned"):
        store.sync(handle)
    store.sync(handle)
    assert store.read("there") == b"0123xyz"
    assert inner.disk.power_cut(random.Random(1)).image() == {"there": b"0123\x00\x00\x00"}


def test_only_a_store_that_can_lose_bytes_is_asked_to(tmp_path, faults):
    store = FaultyStore(FileStore(tmp_path), faults)
    handle = store.create("a")
    faults.fail("sync", lost=True)
    with pytest.raises(ConfigError, match="cannot lose"):
        store.sync(handle)
    store.close(handle)


def test_a_write_may_be_short(store, inner, faults):
    handle = store.open("there")
    faults.short(2, times=2)
    assert store.write(handle, b"xyz", 4) == 2
    assert store.write(handle, b"z", 6) == 1
    assert store.write(handle, b"abc", 7) == 3
    assert inner.read("there") == b"0123xyzabc"
    assert not faults.failed


def test_a_write_may_do_a_part_and_fail(store, inner, faults):
    handle = store.open("there")
    faults.fail("write", part=2, error=errno.EDQUOT)
    with pytest.raises(OSError, match="planned") as caught:
        store.write(handle, b"xyz", 4)
    assert caught.value.errno == errno.EDQUOT
    assert caught.value.filename == "there"
    assert inner.read("there") == b"0123xy"


@pytest.mark.parametrize("steps", range(1, REPLACE_STEPS + 1))
def test_a_replace_may_stop_after_each_step_and_leaves_the_old_or_the_new_file(store, inner, faults, steps):
    inner.create("there.tmp")
    faults.fail("replace", part=steps)
    with pytest.raises(OSError, match="planned"):
        store.replace("there", b"new")
    assert inner.read("there") == (b"new" if steps == REPLACE_STEPS else b"0123")
    found = {inner.disk.power_cut(random.Random(seed)).image()["there"] for seed in range(50)}
    assert found == ({b"0123", b"new"} if steps == REPLACE_STEPS else {b"0123"})
    left = inner.disk.image().get("there.tmp")
    assert left == {1: b"", 2: b"new", 3: b"new", 4: None}[steps]
    store.replace("there", b"newer")
    assert inner.disk.image() == {"there": b"newer"}


def test_so_many_calls_pass_and_so_many_fail(store, faults):
    faults.fail("size", after=2, times=3)
    assert [outcome(lambda: store.size("there")) for _ in range(7)] == [4, 4, None, None, None, 4, 4]


def test_all_calls_fail_for_ever_as_on_a_dead_machine(store, faults):
    faults.fail("*", after=1, times=None)
    handle = store.open("there")
    for method in FAILING:
        with pytest.raises(OSError, match="planned"):
            CALLS[method](store, handle)
    assert store.lock("l") is not None
    store.close(handle)
    faults.clear()
    assert store.size("there") == 4


def outcome(call):
    try:
        return call()
    except OSError:
        return None


def test_a_fault_may_be_about_some_files_only_by_handle_too(store, faults):
    handles = [store.create(name) for name in ("a.jsonl", "a.lock")]
    faults.fail("*", times=None, name="*.jsonl")
    with pytest.raises(OSError, match="planned"):
        store.write(handles[0], b"x", 0)
    assert store.write(handles[1], b"x", 0) == 1
    with pytest.raises(OSError, match="planned"):
        store.rename("there", "b.jsonl")
    store.sync_names()


def test_the_fault_that_was_planned_first_is_met_first(store, faults):
    faults.fail("size", error=errno.EIO)
    faults.fail("size", error=errno.EROFS)
    codes = []
    for _ in range(2):
        with pytest.raises(OSError, match="planned") as caught:
            store.size("there")
        codes.append(caught.value.errno)
    assert codes == [errno.EIO, errno.EROFS]


def test_a_child_has_the_same_plan_and_counts(store, faults):
    child = store.child("state")
    child.make()
    faults.fail("names")
    with pytest.raises(OSError, match="planned"):
        child.names()
    assert store.names() == ["there"]
    assert faults.calls == {"make": 1, "names": 2}


def test_random_faults_come_in_every_flavour_and_only_from_the_methods_named(store, inner, faults):
    faults.random(random.Random(1), 0.5, errors=(errno.EIO, errno.ENOSPC), methods=("write", "sync"))
    handle = store.open("there")
    seen = set()
    for _ in range(200):
        inner.truncate(handle, 4)
        try:
            taken = store.write(handle, b"xyz", 4)
        except OSError as error:
            seen.add((error.errno, inner.size("there") - 4))
        else:
            seen.add((None, taken))
            assert inner.size("there") == 4 + taken
    assert seen == {(code, size) for code in (errno.EIO, errno.ENOSPC) for size in range(4)} | {
        (None, 1),
        (None, 2),
        (None, 3),
    }
    assert set(faults.failed) == {"write"}
    assert 60 < faults.failed["write"] < 120


def test_random_faults_of_replace_stop_after_each_step(store, inner, faults):
    inner.replace("there", b"old")
    faults.random(random.Random(2), 1.0, methods=("replace",))
    lefts = set()
    for _ in range(100):
        with pytest.raises(OSError, match="planned"):
            store.replace("there", b"new")
        lefts.add((inner.read("there"), inner.disk.image().get("there.tmp")))
        inner.replace("there", b"old")
        inner.remove("there.tmp")
    assert lefts == {(b"old", None), (b"old", b""), (b"old", b"new"), (b"new", None)}


def test_random_faults_of_all_methods_spare_locks(store, faults):
    faults.random(random.Random(1), 1.0)
    handle = store.inner.open("there")
    for method in FAILING:
        assert outcome(lambda: CALLS[method](store, handle)) in (None, 1, 2, 3)  # noqa: B023 (called at once)
    assert store.lock("l") is not None


def test_a_stalled_call_takes_its_time(store, faults):
    faults.stall("size", 0.02, times=1)
    begun = time.monotonic()
    assert store.size("there") == 4
    assert time.monotonic() - begun >= 0.02
    assert faults.calls["size"] == 1


def test_a_held_call_goes_on_when_it_is_released(store, inner, faults):
    handle = store.open("there")
    writer = threading.Thread(target=lambda: store.write(handle, b"xyz", 4))
    with faults.hold("write") as hold:
        writer.start()
        assert hold.reached.wait(10)
        assert inner.read("there") == b"0123"
        hold.release()
        writer.join(10)
        assert inner.read("there") == b"0123xyz"
    assert store.write(handle, b"!", 7) == 1


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda faults: faults.fail("fsync"), "no call 'fsync'"),
        (lambda faults: faults.fail("close"), "no call 'close'"),
        (lambda faults: faults.random(random.Random(1), 0.1, methods=("child",)), "no call 'child'"),
        (lambda faults: faults.fail("sync", part=1), "part=1 of sync"),
        (lambda faults: faults.fail("write", part=0), "part=0 of write"),
        (lambda faults: faults.fail("write", part=1, done=True), "part=1 of write"),
        (lambda faults: faults.fail("write", lost=True), "lost with write"),
        (lambda faults: faults.fail("sync", lost=True, done=True), "lost with sync"),
        (lambda faults: faults.short(0), "takes 0 bytes"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(faults, plan, message):
    with pytest.raises(ConfigError, match=message):
        plan(faults)
