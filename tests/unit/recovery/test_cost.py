"""Opening behind a clean close costs the same for every log: one head, one manifest, no line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from unit.recovery.scene import EACH_KEY, K1, Key, add_bytes, crashed, fill, segments

from fapilog_tamper import Keyring, Rotation, SealedLog
from fapilog_tamper.layout import head_name, is_segment_name, manifest_name
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.testing import Faults, FaultyStore, MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


class Reads:
    """A store that remembers which files were read."""

    def __init__(self, inner: MemoryStore | FileStore) -> None:
        self.inner = inner
        self.faults = Faults()
        self.names: list[str] = []

    def store(self) -> FaultyStore:
        store, names = FaultyStore(self.inner, self.faults), self.names
        meet = self.faults.meet

        def note(method: str, about: tuple[str, ...], size: int = 0) -> object:
            if method == "read":
                names.extend(about)
            return meet(method, about, size)

        self.faults.meet = note  # type: ignore[method-assign,assignment]
        return store


def calls_of_open(folder: MemoryStore | FileStore, key: Key) -> tuple[dict[str, int], list[str]]:
    reads = Reads(folder)
    log = SealedLog.open(reads.store(), key=key)
    found = dict(reads.faults.calls), list(reads.names)
    log.close()
    return found


def many_segments(key: Key, count: int) -> MemoryStore:
    folder = MemoryStore(path=("log",))
    for _ in range(count):
        fill(folder, 2, key)
    return folder


@EACH_KEY
def test_an_open_behind_a_clean_close_reads_one_head_and_one_manifest(key: Key) -> None:
    folder = many_segments(key, 3)
    last = max((name for name in folder.names() if is_segment_name(name)), key=lambda name: (len(name), name))
    _, names = calls_of_open(folder, key)
    assert names == [head_name("log"), manifest_name(last)]


@EACH_KEY
def test_the_cost_of_an_open_does_not_grow_with_the_segments(key: Key) -> None:
    few, many = (calls_of_open(many_segments(key, count), key)[0] for count in (2, 40))
    assert few == many
    assert sum(few.values()) < 20


def test_no_line_of_a_large_log_is_read(tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=K1, durability="accepted", rotation=Rotation(max_bytes=8 << 20)) as log:
        for number in range(200_000):
            log.append({"n": number})
    calls, names = calls_of_open(FileStore(tmp_path), K1)
    assert [name for name in names if is_segment_name(name)] == []
    assert calls["read"] == 2
    with SealedLog.open(tmp_path, key=K1) as log:
        assert log.head.seq == 200_000


@EACH_KEY
def test_an_open_and_a_close_write_nothing(key: Key) -> None:
    calls, _ = calls_of_open(many_segments(key, 2), key)
    assert not {"create", "open", "write", "sync", "truncate", "replace", "rename", "remove"} & calls.keys()


@EACH_KEY
def test_a_recovered_log_that_was_closed_opens_at_the_same_cost(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    add_bytes(segments(folder)[-1], b"half")
    segments(folder)[-1].with_name("log_9999-12-31.jsonl").write_bytes(b"")
    fill(folder, 1, key)
    assert calls_of_open(FileStore(folder), key)[0]["read"] == 2


def test_a_restored_log_that_was_closed_opens_at_the_same_cost(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    path.with_name(manifest_name(path.name)).unlink()
    SealedLog.restore(tmp_path, key=K1, reason="test", by="test")
    assert calls_of_open(FileStore(tmp_path), K1)[0]["read"] == 2


def test_a_keyring_for_older_entries_costs_nothing() -> None:
    folder = many_segments(None, 3)
    reads = Reads(folder)
    SealedLog.open(reads.store(), key=None, keyring=Keyring([K1])).close()
    assert reads.faults.calls["read"] == 2


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_compressed_end_is_not_unpacked(compress: str) -> None:
    folder = MemoryStore(path=("log",))
    fill(folder, 3, K1, compress=compress)
    [name] = [name for name in folder.names() if is_segment_name(name)]
    assert not name.endswith(".jsonl")
    _, names = calls_of_open(folder, K1)
    assert name not in names
