"""The settings of `SealedLog.open`: each is checked before anything is made, and each is read by something."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    ED,
    K1,
    NOON,
    blocks_of,
    content,
    faulty,
    fill,
    head_of,
    manifest_of,
    memory,
    open_log,
    payloads_of,
    posix,
    segments,
    verified,
)

from fapilog_tamper import ConfigError, Keyring, PayloadError, Rotation, SealedLog, SealKeyError, StoreError
from fapilog_tamper.layout import STATE_FOLDER, manifest_name
from fapilog_tamper.testing import FakeClock, MemoryStore, assert_intact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stream", "log.w2"),
        ("stream", "log.r1"),
        ("durability", "fsync"),
        ("durability", None),
        ("durability", ["synced"]),
        ("inline", "no"),
        ("rotation", "daily"),
        ("rotation", 4096),
        ("compress", "bzip2"),
        ("compress", None),
        ("compress", True),
        ("max_payload", 0),
        ("max_payload", 255),
        ("max_payload", 2**20 + 1),
        ("max_payload", 1000.0),
        ("max_payload", True),
        ("max_payload", None),
        ("max_buffer_bytes", 0),
        ("max_buffer_bytes", 4095),
        ("max_buffer_bytes", 8192.0),
        ("max_buffer_bytes", None),
        ("on_full", "drop"),
        ("on_full", None),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", None),
        ("timeout", "30"),
        ("timeout", True),
        ("file_mode", 0o1000),
        ("file_mode", "640"),
        ("file_mode", -1),
        ("folder_mode", 0o1000),
        ("folder_mode", None),
        ("keyring", ["file:k1.key"]),
        ("clock", NOON),
        ("restart", 1),
        ("restart", None),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_made(
    setting: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        SealedLog.open(tmp_path / "log", **{"key": K1, setting: value})
    assert caught.value.hint
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("setting", ["folder", "state_dir"])
def test_a_place_that_is_none_is_refused(setting: str, tmp_path: Path) -> None:
    places: dict[str, Any] = {"folder": tmp_path / "log", setting: 5}
    with pytest.raises(ConfigError) as caught:
        SealedLog.open(**places, key=K1)
    assert caught.value.hint
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("timeout", [0, 5, 1e12, math.inf])
def test_any_time_may_be_set(timeout: float) -> None:
    """Zero only where nothing waits; close is told another."""
    folder = memory()
    log = open_log(folder, timeout=timeout)
    log.append({})
    if timeout:
        log.append({}, durability="synced")
        log.close()
    else:
        log.close(10)
    verified(folder)


@pytest.mark.parametrize("timeout", [-1, math.nan, "1", True])
def test_a_time_of_an_append_that_cannot_be_is_refused_before_the_event_is_accepted(timeout: Any) -> None:
    with open_log(memory(), inline=False) as log:
        with pytest.raises(ConfigError):
            log.append({}, timeout=timeout)
        assert log.head.seq == 0


# Each is read.


def test_folder_is_where_segments_are_put(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", str(tmp_path / "b")):
        fill(folder)
    assert len(segments(tmp_path / "a")) == len(segments(tmp_path / "b")) == 1


def test_folder_may_be_any_store() -> None:
    folder = MemoryStore()
    fill(folder)
    assert len(segments(folder)) == 1
    verified(folder)


@pytest.mark.parametrize("key", [K1, ED, None])
def test_key_is_what_entries_are_sealed_under(key: Any) -> None:
    folder = memory()
    fill(folder, key=key)
    assert {block.key_id for block in blocks_of(folder)} == {None if key is None else key.key_id}


def test_stream_is_in_entries_and_names() -> None:
    folder = memory()
    fill(folder, stream="audit")
    assert segments(folder, "audit")
    assert {block.stream for block in blocks_of(folder, "audit")} == {"audit"}
    assert head_of(folder, "audit").stream == "audit"


@pytest.mark.parametrize("durability", ["written", "synced"])
def test_durability_is_what_an_append_promises(durability: Any) -> None:
    folder = faulty()
    with open_log(folder, durability=durability) as log:
        log.append({})
        assert folder.faults.calls["sync"] == (durability == "synced")


class Watched(MemoryStore):
    """Notes which thread writes to segments."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[str] = set()
        self._segments: set[int] = set()

    def child(self, name: str) -> MemoryStore:
        return MemoryStore(self.disk, (*self.path, name))

    def create(self, name: str) -> int:
        handle = super().create(name)
        if name.endswith(".jsonl"):
            self._segments.add(handle)
        return handle

    def write(self, handle: int, data: bytes, offset: int) -> int:
        if handle in self._segments:
            self.writers.add(threading.current_thread().name)
        return super().write(handle, data, offset)


@pytest.mark.parametrize("inline", [True, False])
def test_inline_lets_callers_write(inline: bool) -> None:  # noqa: FBT001 (the setting)
    folder = Watched()
    with open_log(folder, inline=inline) as log:
        for _ in range(20):
            log.append({})
        wrote = set(folder.writers)
    assert (threading.current_thread().name in wrote) == inline
    verified(folder)


def test_rotation_decides_when_segments_end() -> None:
    folder = memory()
    fill(folder, 40, rotation=Rotation(max_bytes=4096))
    assert len(segments(folder)) > 2


@pytest.mark.parametrize(("compress", "ending"), [("none", ".jsonl"), ("gzip", ".gz"), ("zstd", ".zst")])
def test_compress_is_what_closed_segments_are_compressed_with(compress: str, ending: str) -> None:
    folder = memory()
    fill(folder, compress=compress)
    [name] = segments(folder)
    assert name.endswith(ending)
    assert content(folder, name).count(b"\n") == 3


@pytest.mark.parametrize("as_store", [True, False])
def test_state_dir_is_where_heads_and_locks_are_put(as_store: bool, tmp_path: Path) -> None:  # noqa: FBT001 (a column)
    state: Any = memory() if as_store else tmp_path / "state"
    fill(tmp_path / "log", state_dir=state)
    assert not (tmp_path / "log" / STATE_FOLDER).exists()
    assert head_of(tmp_path / "log", state=state).seq == 3


def test_keyring_has_the_keys_of_earlier_entries() -> None:
    folder = memory()
    fill(folder)
    with pytest.raises(SealKeyError):
        fill(folder, key=ED)
    fill(folder, key=ED, keyring=Keyring([K1]))
    verified(folder)


def test_max_payload_is_the_bound_of_payloads() -> None:
    folder = memory()
    with open_log(folder, max_payload=300) as log:
        with pytest.raises(PayloadError, match="300"):
            log.append(b'{"a":"' + b"x" * 300 + b'"}')
        log.append({"a": "x" * 1000})
    assert "[cut " in payloads_of(folder)[0]["a"]
    with open_log(folder, max_payload=100_000) as log:
        log.append(b'{"a":"' + b"x" * 90_000 + b'"}')
    assert len(payloads_of(folder)[1]["a"]) == 90_000
    verified(folder)


@pytest.mark.parametrize(("size", "waits"), [(4096, True), (1 << 20, False)])
def test_max_buffer_bytes_is_the_bound_of_what_waits(size: int, waits: bool) -> None:  # noqa: FBT001 (a column)
    folder = faulty()
    with open_log(folder, durability="accepted", inline=False, max_buffer_bytes=size) as log:
        outcomes = []
        with folder.faults.hold("write"):
            for _ in range(6):
                try:
                    log.append({"x": "x" * 1000}, timeout=0.01)
                except StoreError as error:
                    outcomes.append(error)
        assert bool(outcomes) == waits
    verified(folder)


@pytest.mark.parametrize("on_full", ["wait", "raise"])
def test_on_full_decides_what_happens_beyond(on_full: Any) -> None:
    folder = faulty()
    with open_log(folder, durability="accepted", inline=False, max_buffer_bytes=4096, on_full=on_full) as log:
        with folder.faults.hold("write"):
            for _ in range(6):
                with suppress(StoreError):
                    log.append({"x": "x" * 1000}, timeout=0.01)
        assert bool(log.stats.refused) == (on_full == "raise")
    verified(folder)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("promise", "call"), [("written", "write"), ("written", "create"), ("synced", "sync")])
def test_on_failure_decides_whether_a_disk_that_refuses_is_waited_for(promise: Any, call: str, inline: bool) -> None:  # noqa: FBT001 (a column)
    folder = faulty()
    with open_log(folder, inline=inline, durability=promise, on_failure="raise", timeout=300) as log:
        folder.faults.fail(call, times=None)
        for seq in (1, 2):
            # Waits for ever where the failure is not told.
            with pytest.raises(StoreError, match="fails") as caught:
                log.append({})
            assert caught.value.seqs == (seq,)
        folder.faults.clear()
        log.flush(10)
        log.append({})
    assert len(payloads_of(folder)) == 3
    verified(folder)


@pytest.mark.parametrize("call", ["write", "sync"])
async def test_on_failure_is_told_to_coroutines(call: str) -> None:
    folder = faulty()
    with open_log(folder, durability="synced", on_failure="raise", timeout=300) as log:
        folder.faults.fail(call, times=None)
        many = await asyncio.gather(*(log.append_async({"n": n}) for n in range(20)), return_exceptions=True)
        assert [type(one) for one in many] == [StoreError] * 20
        folder.faults.clear()
        log.flush(10)
    assert len(payloads_of(folder)) == 20
    verified(folder)


def test_on_failure_takes_no_trouble_for_another() -> None:
    folder = faulty()
    with open_log(folder, on_failure="raise", timeout=300, inline=False) as log:
        log.append({})
        folder.faults.fail("sync", times=None)
        folder.faults.fail("replace", times=None)
        with pytest.raises(StoreError):
            log.append({}, durability="synced")
        log.append({})
        folder.faults.clear()
    verified(folder)


@pytest.mark.parametrize("sign_each", [True, False])
def test_sign_each_gives_every_entry_a_mac_of_its_own(sign_each: bool) -> None:  # noqa: FBT001 (the setting)
    folder = memory()
    with open_log(folder, key=ED, sign_each=sign_each) as log:
        for _ in range(20):
            log.append({})
    macs = [block.mac is not None for block in blocks_of(folder)][:20]
    assert all(macs) == sign_each
    assert_intact(folder, Keyring([ED]))


def test_timeout_is_how_long_an_append_waits() -> None:
    folder = faulty()
    with open_log(folder, inline=False, timeout=0.02) as log:
        with folder.faults.hold("write"), pytest.raises(StoreError, match="in time"):
            log.append({})
        log.flush(10)
        log.close(10)
    verified(folder)


def test_timeout_is_how_long_a_close_waits() -> None:
    folder = faulty()
    log = open_log(folder, timeout=0.02)
    log.append({})
    folder.faults.fail("sync", times=None)
    with pytest.raises(StoreError, match="could not be closed"):
        log.close()


@posix
@pytest.mark.parametrize(("setting", "kind"), [("file_mode", "files"), ("folder_mode", "folders")])
def test_modes_are_those_of_what_is_made(setting: str, kind: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        fill(tmp_path / "log", **{setting: 0o700})
    finally:
        os.umask(before)
    found = [path for path in tmp_path.rglob("*") if path.is_dir() == (kind == "folders")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o700}


def test_clock_gives_the_times_in_manifest_and_head() -> None:
    folder = memory()
    fill(folder, clock=FakeClock(NOON))
    manifest = manifest_of(folder, segments(folder)[0])
    assert manifest.created_ts == manifest.closed_ts == head_of(folder).last_updated
    assert manifest.created_ts.startswith("2027-01-15T12:00:00")


@pytest.mark.parametrize("restart", [False, True])
def test_restart_begins_a_new_chain(restart: bool) -> None:  # noqa: FBT001 (the setting)
    folder = memory()
    for _ in range(2):
        fill(folder, restart=restart)
    assert [block.seq for block in blocks_of(folder)] == list(range(1, 4 if restart else 7))
    assert len(blocks_of(folder, "log.r2")) == (3 if restart else 0)
    verified(folder)


@pytest.mark.parametrize(("compress", "ending"), [("none", ""), ("gzip", ".gz"), ("zstd", ".zst")])
def test_on_closed_hears_of_each_segment_when_nothing_is_left_to_do_with_it(compress: Any, ending: str) -> None:
    folder = memory()
    heard: list[str] = []

    def hear(name: str) -> None:
        assert threading.current_thread() is not threading.main_thread()
        assert manifest_name(name) in folder.names()
        assert name + ending in folder.names()
        heard.append(name)

    with open_log(folder, rotation=Rotation(max_bytes=4096), compress=compress, on_closed=hear) as log:
        for _ in range(40):
            log.append({"a": "x" * 100})
    assert len(heard) > 2
    assert [name + ending for name in heard] == segments(folder)


def test_each_setting_has_a_test_here() -> None:
    names = [name for name in globals() if name.startswith("test_")]
    settings = set(inspect.signature(SealedLog.open).parameters)
    aliases = {"file_mode": "modes", "folder_mode": "modes"}
    assert [
        one for one in settings if not any(name.startswith(f"test_{aliases.get(one, one)}_") for name in names)
    ] == []
