"""A crash at every call of an opening that recovers from a crash: the next open loses nothing and refuses nothing."""

from __future__ import annotations

import random
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from unit.recovery.scene import EACH_KEY, ED, K1, KEYRING, Key, add_lines, crashed, segments

from fapilog_tamper import Outcome, SealedLog, StoreError, verify_path
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import is_segment_name, manifest_name
from fapilog_tamper.testing import Faults, FaultyStore, MemoryDisk, MemoryStore, assert_intact

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.verify.report import VerifyReport

LOG = ("log",)
ALLOWED_BEFORE = {"torn-tail", "unauthenticated-tail"}


def wreck(tmp_path: Path, key: Key) -> MemoryDisk:
    """Return a disk with much to recover: no late manifest, a torn tail, uncovered entries, an empty segment."""
    folder = crashed(tmp_path, key)
    if key is ED:
        add_lines(folder, key, [b'{"bare":1}', b'{"bare":2}'], mac=False)
    path = segments(folder)[-1]
    with path.open("ab") as file:
        file.write(b'{"torn":')
    path.with_name("log_9998-12-31.jsonl").write_bytes(b"")
    manifest_path = path.with_name(manifest_name(segments(folder)[0].name))
    manifest_path.unlink()
    image, disk = MemoryDisk.load(folder), MemoryDisk()
    disk.folders = {(*LOG, *place): held for place, held in image.folders.items()}
    return disk


def open_under(disk: MemoryDisk, key: Key, faults: Faults) -> bool:
    """Open, append one entry to be synced, and leave without a word; tell whether no call failed."""
    store = FaultyStore(MemoryStore(disk, LOG), faults)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            log = SealedLog.open(store, key=key, timeout=0.02)
        except StoreError:
            return False
        try:
            log.append({"after": "recovery"}, durability="synced", timeout=0.02)
        except StoreError:
            return False
        finally:
            failed = faults.failed.total()
            leave(log, faults)
    return not failed


def leave(log: SealedLog, faults: Faults) -> None:
    """Stop the thread of a log, and let nothing that it still does reach the disk."""
    faults.fail("*", times=None)
    with suppress(StoreError):
        log.close(0.02)


def verdict(disk: MemoryDisk, key: Key, tmp_path: Path) -> VerifyReport:
    disk.dump(tmp_path, LOG)
    return verify_path(tmp_path, keyring=None if key is None else KEYRING)


def entries(disk: MemoryDisk) -> dict[int, bytes]:
    """Return the chain hashes of the entries that are there, by seq."""
    found = {}
    for name, content in disk.image(LOG).items():
        if is_segment_name(name):
            for line in content.splitlines(keepends=True):
                try:
                    block = split(line)[1]
                except FormatError:
                    continue
                found[block.seq] = block.chain_hash
    return found


def torn_bytes(disk: MemoryDisk) -> bool:
    return any(content == b'{"torn":' for name, content in disk.image(LOG).items() if ".torn-" in name)


def check(disk: MemoryDisk, key: Key, tmp_path: Path, kept: dict[int, bytes]) -> None:
    """What a crash left is no proof of a change, opens, and holds everything; and it does so once more."""
    before = verdict(disk, key, tmp_path / "before")
    assert before.outcome is not Outcome.TAMPERED, before.findings
    assert {finding.code.value for finding in before.findings} <= ALLOWED_BEFORE
    store = MemoryStore(disk, LOG)
    for _ in range(2):
        with SealedLog.open(store, key=key) as log:
            log.append({"once": "more"})
    ring = None if key is None else KEYRING
    report = assert_intact(store, ring, require_end=True, require_manifests=True, deep=True)
    found = entries(disk)
    assert {seq: found.get(seq) for seq in kept} == kept
    assert torn_bytes(disk)
    if key is ED:
        assert "adopted" in " ".join(note.message for note in report.notes)


@EACH_KEY
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
def test_a_crash_at_any_call_of_a_recovery_is_recovered_from(done: bool, key: Key, tmp_path: Path) -> None:  # noqa: FBT001
    start = wreck(tmp_path, key)
    kept = entries(start)
    after = 0
    while True:
        disk = start.kill()
        faults = Faults()
        faults.fail("*", after=after, times=None, done=done)
        ended = open_under(disk, key, faults)
        check(disk.kill(), key, tmp_path / f"{after}-kill", kept)
        check(disk.power_cut(random.Random(after)), key, tmp_path / f"{after}-cut", kept)
        after += 1
        if ended:
            break
    assert after > 25


@EACH_KEY
def test_one_failing_call_of_a_recovery_is_survived(key: Key, tmp_path: Path) -> None:
    """The disk fails once: the open works or is refused as a whole, and frees the slot."""
    start = wreck(tmp_path, key)
    kept, after = entries(start), 0
    while True:
        disk = start.kill()
        faults = Faults()
        faults.fail("*", after=after)
        ended = open_under(disk, key, faults)
        assert not disk.locks
        check(disk.kill(), key, tmp_path / str(after), kept)
        after += 1
        if ended:
            break
    assert after > 25


@EACH_KEY
@pytest.mark.parametrize("seed", range(5))
def test_what_was_adopted_is_on_the_disk_before_it_is_attested(seed: int, key: Key) -> None:
    """The process was killed, its lines never synced; then the machine loses power behind a clean close."""
    disk = MemoryDisk()
    old = SealedLog.open(MemoryStore(disk, LOG), key=key)
    for number in range(20):
        old.append({"n": number, "x": "x" * 1000})
    killed = disk.kill()
    old.close()
    with SealedLog.open(MemoryStore(killed, LOG), key=key) as log:
        assert log.head.seq >= 20
    cut = killed.power_cut(random.Random(seed))
    assert_intact(MemoryStore(cut, LOG), None if key is None else KEYRING, require_end=True, require_manifests=True)
    assert set(range(1, 21)) <= entries(cut).keys()


def test_entries_that_no_mac_covers_are_never_attested_without_a_record(tmp_path: Path) -> None:
    """Were the late manifest on the disk before the `recovery` entry, a power cut could take the record away."""
    start = wreck(tmp_path, ED)
    disk = start.kill()
    order: list[str] = []
    faults = Faults()
    meet = faults.meet

    def note(method: str, names: tuple[str, ...], size: int = 0) -> object:
        order.extend(f"{method} {name}" for name in names)
        return meet(method, names, size)

    faults.meet = note  # type: ignore[method-assign,assignment]
    SealedLog.open(FaultyStore(MemoryStore(disk, LOG), faults), key=ED).close()
    new = next(name for name in order if name.startswith("create") and name.endswith(".jsonl")).removeprefix("create ")
    manifests = [at for at, what in enumerate(order) if what.startswith("replace") and "manifest" in what]
    assert order.index(f"sync {new}") < manifests[0]


def test_a_failed_open_leaves_no_thread_no_lock_and_no_file_open(tmp_path: Path) -> None:
    import threading

    disk = wreck(tmp_path, K1)
    faults = Faults()
    faults.fail("replace", times=None, name="*.manifest.json")
    with pytest.raises(StoreError, match="cannot be opened: Input/output error"):
        SealedLog.open(FaultyStore(MemoryStore(disk, LOG), faults), key=K1)
    assert not disk.locks
    assert not disk._open
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sealed-log")]


def test_a_disk_that_fails_while_neighbours_are_looked_for_does_not_stop_the_open(tmp_path: Path) -> None:
    store = FaultyStore(MemoryStore(path=LOG))
    with SealedLog.open(store, key=K1) as log:
        log.append({})
    calls = dict(store.faults.calls)
    probe = FaultyStore(store.inner)
    SealedLog.open(probe, key=K1).close()
    assert probe.faults.calls["names"] <= calls["names"]
    store.faults.fail("names", after=probe.faults.calls["names"] - 1, times=None)
    with pytest.warns(RuntimeWarning, match="other slots of log .* were not recovered"):
        log = SealedLog.open(store, key=K1)
    store.faults.clear()
    log.append({})
    log.close()
    assert_intact(store.inner, KEYRING, require_end=True)


def test_an_unkeyed_chain_of_a_crash_is_the_same_chain_afterwards(tmp_path: Path) -> None:
    disk = wreck(tmp_path, None)
    last = max(entries(disk).items())
    with SealedLog.open(MemoryStore(disk, LOG), key=None) as log:
        seq, _ = log.head.seq, log.append({})
    line, _ = seal(b"{}", ChainState("log", *last), None)
    assert split(line)[1].seq == seq
