"""How a log ends: what `close` leaves behind, in which order, and what it says when it cannot."""

from __future__ import annotations

import errno
import os
import random
import stat
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    K1,
    KEYRING,
    blocks_of,
    events_of,
    faulty,
    files_of,
    fill,
    has_manifest,
    head_of,
    lines_of,
    manifest_of,
    memory,
    open_log,
    posix,
    segments,
    until,
    verified,
)

from fapilog_tamper import RollbackError, StoreError, verify_path
from fapilog_tamper.head import format_head
from fapilog_tamper.layout import STATE_FOLDER, head_name, manifest_name
from fapilog_tamper.testing import assert_intact

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.keys import HmacKey


def test_the_manifest_describes_the_segment() -> None:
    folder = memory()
    fill(folder)
    with open_log(folder) as log:
        log.append({"timestamp": "b"})
        log.append({"timestamp": 5})
        log.append({"x": {"timestamp": "0"}})
        log.append(b'{"timestamp":"a"}')
        log.append({"timestamp": "c"})
    name = segments(folder)[1]
    manifest, blocks = manifest_of(folder, name), blocks_of(folder)
    assert (manifest.first_seq, manifest.last_seq, manifest.record_count) == (4, 8, 5)
    assert (manifest.first_ts, manifest.last_ts) == ("a", "c")
    assert (manifest.file, manifest.size_bytes) == (name, folder.size(name))
    assert manifest.file_sha256 == sha256(folder.read(name)).digest()
    assert manifest.created_ts <= manifest.closed_ts
    assert (manifest.continues_from, manifest.root_chain_hash) == (blocks[2].chain_hash, blocks[-1].chain_hash)
    assert manifest.origin == blocks[0].chain_hash
    verified(folder)


@pytest.mark.parametrize("stamp", [1_700_000_000, 0, -5, None, [], {"timestamp": "x"}])
def test_a_timestamp_that_is_no_string_is_none(stamp: Any) -> None:
    folder = memory()
    with open_log(folder) as log:
        log.append({"timestamp": stamp})
    manifest = manifest_of(folder, segments(folder)[0])
    assert (manifest.first_ts, manifest.last_ts) == (None, None)
    verified(folder)


@pytest.mark.parametrize("stamp", ["\u00e9", "x" * 70_000, "a" * 65, "\ud800", 'q"\\'])
def test_the_manifest_has_timestamps_as_the_payload_has_them(stamp: str) -> None:
    """What was cut, replaced or escaped in the payload is so in the manifest; the deep verifier compares."""
    folder = memory()
    with open_log(folder) as log:
        log.append({"timestamp": stamp})
    assert manifest_of(folder, segments(folder)[0]).first_ts == events_of(folder)[0]["timestamp"]
    verified(folder)


def test_a_log_without_entries_leaves_no_segment_and_no_head() -> None:
    folder = memory()
    open_log(folder).close()
    assert folder.names() == []
    assert folder.child(STATE_FOLDER).names() == ["log.lock"]


def test_opening_and_closing_without_an_entry_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    before = files_of(tmp_path)
    open_log(tmp_path).close()
    assert files_of(tmp_path) == before
    verified(tmp_path)


def test_closing_twice_does_nothing() -> None:
    folder = memory()
    log = open_log(folder)
    log.append({})
    log.close()
    log.close()
    verified(folder)


@pytest.mark.parametrize("call", ["append", "rotate", "rotate_key"])
def test_a_closed_log_takes_nothing(call: str) -> None:
    folder = memory()
    with open_log(folder) as log:
        log.append({})
    with pytest.raises(StoreError, match=r"closed. Open it again"):
        {"append": lambda: log.append({}), "rotate": log.rotate, "rotate_key": lambda: log.rotate_key(K1)}[call]()
    assert not log.health()
    verified(folder)


async def test_a_closed_log_takes_nothing_from_coroutines() -> None:
    async with open_log(memory()) as log:
        pass
    with pytest.raises(StoreError, match="closed"):
        await log.append_async({})


def test_leaving_the_block_by_an_error_closes_the_log() -> None:
    folder = memory()
    with pytest.raises(ZeroDivisionError), open_log(folder) as log:  # noqa: PT012 (the block is the rule)
        log.append({})
        raise ZeroDivisionError
    verified(folder)


async def test_leaving_an_async_block_closes_the_log() -> None:
    folder = memory()
    async with open_log(folder) as log:
        await log.append_async({})
    verified(folder)


async def test_leaving_an_async_block_by_an_error_closes_the_log() -> None:
    folder = memory()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 (the block is the rule)
        async with open_log(folder) as log:
            await log.append_async({})
            raise ZeroDivisionError
    verified(folder)


def test_closing_writes_what_was_only_accepted() -> None:
    folder = memory()
    log = open_log(folder, durability="accepted")
    for number in range(50):
        log.append({"n": number})
    log.close()
    assert len(events_of(folder)) == 50
    verified(folder)


def test_a_closed_log_survives_any_power_cut() -> None:
    folder = memory()
    fill(folder)
    for seed in range(30):
        disk = folder.disk.power_cut(random.Random(seed))
        disk.folders = {path[1:]: held for path, held in disk.folders.items() if path[:1] == ("log",)}
        assert assert_intact(disk, K1, require_end=True, require_manifests=True).entries == 3


def test_repr_tells_stream_place_seq_key_promise_and_state(tmp_path: Path) -> None:
    log = open_log(tmp_path, stream="audit", durability="synced")
    log.append({})
    assert repr(log) == f"<SealedLog 'audit' in {str(tmp_path)!r}, seq 1, key k1, synced, open>"
    log.close()
    assert repr(log).endswith("seq 1, key k1, synced, closed>")
    with open_log(tmp_path, None, stream="plain") as log:
        assert "unkeyed, written, open>" in repr(log)
    assert K1.secret.hex() not in repr(log)


def test_repr_tells_of_trouble() -> None:
    folder = faulty()
    with open_log(folder, timeout=0.05) as log:
        folder.faults.fail("write", error=errno.ENOSPC, times=None)
        with pytest.raises(StoreError):
            log.append({})
        assert "in trouble: write fails (No space left" in repr(log)
        folder.faults.clear()
        log.flush(20)


def test_nothing_is_attested_before_it_is_synced() -> None:
    """Section 7 of the format: the segment and its name, then the manifest, then the head."""
    folder = memory()
    log = open_log(folder)
    log.append({"a": 1})
    log.close()
    segment, head = f"log/{segments(folder)[0]}", f"log/{STATE_FOLDER}/{head_name('log')}"
    # A head may be written while the log is open, after one more sync; what counts is who comes first.
    words = [entry.split() for entry in folder.disk.journal]
    steps = [" ".join(word[:2]) for word in words if word[0] in ("write", "sync", "sync_names", "rename")]
    wrote, synced = steps.index(f"write {segment}"), steps.index(f"sync {segment}")
    named = steps.index("sync_names memory:/log", synced)
    manifest, headed = steps.index(f"rename {segment}.manifest.json.tmp"), steps.index(f"rename {head}.tmp")
    assert wrote < synced < named < manifest
    assert named < headed


@posix
@pytest.mark.parametrize("options", [{}, {"file_mode": 0o600, "folder_mode": 0o700}], ids=["default", "set"])
def test_modes_of_folders_and_files_are_those_of_the_settings(options: dict[str, int], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        fill(tmp_path / "log", state_dir=tmp_path / "state", compress="gzip", **options)
        fill(tmp_path / "log2", **options)
    finally:
        os.umask(before)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {options.get("folder_mode", 0o750)}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {options.get("file_mode", 0o640)}


def test_a_state_folder_elsewhere_holds_heads_and_locks(tmp_path: Path) -> None:
    log, state = tmp_path / "log", tmp_path / "deep" / "state"
    for _ in range(2):
        fill(log, state_dir=state)
    assert not (log / STATE_FOLDER).exists()
    verified(log, head=state / "log.chainstate")
    assert len(lines_of(log)) == 6


def test_the_head_may_lie_in_the_folder_of_the_log(tmp_path: Path) -> None:
    for _ in range(2):
        fill(tmp_path, stream="x.jsonl", state_dir=tmp_path)
    verified(tmp_path, head=tmp_path / "x.jsonl.chainstate")


@pytest.mark.parametrize("key", [K1, None], ids=["keyed", "unkeyed"])
def test_a_stream_whose_head_speaks_of_entries_that_are_gone_is_refused(key: HmacKey | None) -> None:
    """Section 7 of the format: the head's entry is absent."""
    folder = memory()
    fill(folder, key=key)
    for name in folder.names():
        folder.remove(name)
    with pytest.raises(RollbackError):
        open_log(folder, key).close()


def test_a_name_in_a_head_is_never_opened(tmp_path: Path) -> None:
    log, outside = tmp_path / "log", tmp_path / "outside"
    outside.mkdir()
    fill(log, key=None)
    [name] = segments(log)
    (log / manifest_name(name)).rename(outside / manifest_name(name))
    (log / name).rename(outside / name)
    forged = replace(head_of(log), segment=f"../outside/{name}")
    (log / STATE_FOLDER / head_name("log")).write_bytes(format_head(forged))
    before = files_of(outside)
    with suppress(StoreError):
        fill(log, key=None)
    assert files_of(outside) == before


# Disks that fail at the end.

FAULTS = {
    "segment not synced": ("sync", "*.jsonl"),
    "names not synced": ("sync_names", None),
    "no manifest": ("replace", "*.manifest.json"),
    "no head": ("replace", "*.chainstate"),
}


@pytest.mark.parametrize("done", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("sessions", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_at_closing_that_passes_is_made_good(fault: str, sessions: int, done: bool) -> None:  # noqa: FBT001
    folder = faulty()
    for _ in range(sessions):
        fill(folder)
    log = open_log(folder)
    log.append({"a": 1})
    method, name = FAULTS[fault]
    folder.faults.fail(method, name=name, done=done)
    log.close()
    assert folder.faults.failed[method] == 1
    verified(folder)
    assert len(events_of(folder)) == 3 * sessions + 1


@pytest.mark.parametrize("sessions", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_close_that_fails_says_so_and_the_next_open_goes_on(fault: str, sessions: int) -> None:
    folder = faulty()
    for _ in range(sessions):
        fill(folder)
    log = open_log(folder)
    log.append({"a": 1})
    method, name = FAULTS[fault]
    folder.faults.fail(method, name=name, times=None)
    with pytest.raises(StoreError, match="could not be closed, its end is not attested") as caught:
        log.close(timeout=0.1)
    assert (caught.value.seqs, bool(caught.value.hint)) == ((), True)
    folder.faults.clear()
    log.close()
    assert len(events_of(folder)) >= 3 * sessions
    fill(folder)
    verified(folder)
    assert len({repr(event) for event in events_of(folder)}) == 4


def test_a_close_on_a_full_disk_names_the_entries_that_are_not_stored() -> None:
    folder = faulty()
    log = open_log(folder, durability="accepted")
    log.append({"n": 1}, durability="written")
    folder.faults.fail("write", error=errno.ENOSPC, times=None, name="*.jsonl")
    for number in (2, 3):
        log.append({"n": number})
    with pytest.raises(StoreError, match=r"entries 2 to 3 were not stored: write fails \(No space left") as caught:
        log.close(timeout=0.1)
    assert caught.value.seqs == (2, 3)
    folder.faults.clear()
    fill(folder, 1)
    assert [event["n"] for event in events_of(folder)] == [1, 0]
    verified(folder)


def test_a_close_while_the_disk_stands_still_keeps_the_slot_until_the_write_has_ended() -> None:
    folder = faulty()
    log = open_log(folder, inline=False)
    log.append({"n": 1})
    with folder.faults.hold("write") as held:
        log.append({"n": 2}, durability="accepted")
        assert held.reached.wait(20)
        with pytest.raises(StoreError, match="the disk does not answer") as caught:
            log.close(timeout=0.05)
        assert caught.value.seqs == (2,)
        with open_log(folder) as other:
            assert other.stream == "log.w2"
    until(lambda: len(lines_of(folder)) == 2)
    assert verify_outcome(folder).valid


def verify_outcome(folder: Any) -> Any:
    return verified(folder, require_end=False, require_manifests=False)


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot be opened for writing.*Check the path"):
        open_log(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_log(tmp_path / "file" / "below")


def test_a_segment_that_cannot_be_made_is_made_when_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, state_dir=tmp_path / "state", timeout=0.1)
    folder.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="No such file") as caught:
        log.append({})
    assert caught.value.seqs == (1,)
    (tmp_path / "away").rename(folder)
    assert log.append({}, timeout=20).seq == 2
    log.close(20)
    verified(folder, head=tmp_path / "state" / "log.chainstate")


def test_a_log_that_was_not_closed_is_not_attested_by_a_manifest(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append({})
        assert not has_manifest(tmp_path, segments(tmp_path)[0])
        assert not verify_path(tmp_path, keyring=KEYRING, require_manifests=True).valid
