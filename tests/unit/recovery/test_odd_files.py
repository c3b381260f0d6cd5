"""Compressed, damaged, left over, foreign and oddly named files in the folder of a log that opens."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from unit.recovery.scene import (
    EACH_KEY,
    K1,
    Key,
    add_bytes,
    assert_true_manifests,
    controls_of,
    crashed,
    files_of,
    fill,
    goes_on,
    head_of,
    head_path,
    intact,
    manifest_of,
    manifest_path,
    segments,
    write_head,
)

from fapilog_tamper import RollbackError, SealedLog

if TYPE_CHECKING:
    from pathlib import Path


def refused(folder: Path, key: Key, error: type[Exception], message: str = "", **options: Any) -> None:
    before = files_of(folder)
    with pytest.raises(error, match=message or None) as caught:
        SealedLog.open(folder, key=key, **options)
    assert type(caught.value) is error
    assert files_of(folder) == before


# Compressed segments.


@EACH_KEY
@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_compressed_segments_behind_the_head_are_adopted(compress: str, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key, compress=compress)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key, compress=compress)
    head_path(tmp_path).write_bytes(old)
    fill(tmp_path, 1, key)
    assert head_of(tmp_path).seq == 7
    intact(tmp_path, key)


@EACH_KEY
@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_compressed_segment_without_manifest_gets_a_true_one(compress: str, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key, compress=compress)
    [path] = segments(tmp_path)
    before = manifest_of(path)
    manifest_path(path).unlink()
    fill(tmp_path, 1, key)
    after = manifest_of(path)
    same = ("file", "size_bytes", "file_sha256", "first_seq", "last_seq", "root_chain_hash", "first_ts", "last_ts")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    intact(tmp_path, key)


@pytest.mark.parametrize("damage", ["cut", "garbage", "two members", "bomb", "torn inside"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_damaged_compressed_segment_is_refused(damage: str, closed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    fill(tmp_path, 3, compress="gzip")
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, compress="gzip")
    head_path(tmp_path).write_bytes(old)
    path = segments(tmp_path)[-1]
    raw, plain = path.read_bytes(), gzip.decompress(path.read_bytes())
    path.write_bytes(
        {
            "cut": raw[:-20],
            "garbage": b"garbage",
            "two members": raw + raw,
            "bomb": gzip.compress(plain + bytes(1 << 24)),
            "torn inside": gzip.compress(plain + b"half"),
        }[damage]
    )
    if not closed:
        manifest_path(path).unlink()
    refused(tmp_path, K1, RollbackError, path.name)


def test_a_plain_segment_beside_its_compressed_copy_is_the_one_that_counts(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    [path] = segments(tmp_path)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    with SealedLog.open(tmp_path, key=K1, compress="gzip") as log:
        log.append({})
    assert not path.exists()
    intact(tmp_path)


# Other things in the folder.


@EACH_KEY
def test_leftovers_of_replaced_files_do_no_harm(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    last = segments(folder)[-1]
    for path in (head_path(folder), manifest_path(last), last.with_name(f"{last.name}.gz")):
        path.with_name(f"{path.name}.tmp").write_bytes(b"garbage")
    assert goes_on(folder, key) == []


@EACH_KEY
def test_directories_with_the_names_of_segments_do_no_harm(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    for name in ("log_9999-12-31.jsonl", "log_9999-12-31.1.jsonl", "log_0001-01-01.jsonl"):
        (folder / name).mkdir()
    assert goes_on(folder, key) == []


@EACH_KEY
def test_a_link_that_leads_nowhere_does_no_harm(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    (folder / "log_9999-12-31.jsonl").symlink_to(folder / "nowhere")
    assert goes_on(folder, key) == []


STREAMS = ["a/b", "é", "日本", "x.jsonl", "x.tmp", "x.torn-1", "log_2026-01-01", ".hidden", "a..b", "~", "[x]*?", "con"]


@pytest.mark.parametrize("stream", STREAMS)
def test_odd_names_of_streams_are_recovered_like_others(stream: str, tmp_path: Path) -> None:
    folder = crashed(tmp_path, stream=stream)
    other = crashed(tmp_path / "more", stream="log")
    for path in (*segments(other), *(manifest_path(path) for path in segments(other)), head_path(other)):
        if path.exists():
            shutil.copy(path, folder / path.relative_to(other))
    add_bytes(segments(folder, stream)[-1], b"half")
    fill(folder, 1, stream=stream)
    assert len(controls_of(folder, stream=stream)) == 1
    assert_true_manifests(folder, stream)
    fill(folder, 1)
    intact(folder)


def test_heads_of_other_streams_that_cannot_be_read_are_no_evidence(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    state = head_path(tmp_path).parent
    for name, content in {"a": b"garbage", "b": b"", "c": b"[" * 100_000}.items():
        (state / f"{name}.chainstate").write_bytes(content)
    (state / "d.chainstate").mkdir()
    fill(tmp_path, 1)
    assert (head_of(tmp_path).seq, head_of(tmp_path).others) == (4, ())


def test_a_claim_under_a_wrong_mac_is_no_evidence(tmp_path: Path) -> None:
    from dataclasses import replace

    from fapilog_tamper.keys import HmacKey

    fill(tmp_path, 3)
    fill(tmp_path, 1, stream="other")
    lie = replace(head_of(tmp_path, "other"), others=(("log", 99, bytes(32)),))
    write_head(tmp_path, HmacKey("k1", bytes(32)), lie)
    with SealedLog.open(tmp_path, key=K1) as log:
        assert log.head.seq == 3
    write_head(tmp_path, K1, lie)
    refused(tmp_path, K1, RollbackError, "the head of stream other speaks of entry 99")
