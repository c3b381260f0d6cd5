"""What opening refuses: less than a head or another stream speaks of, other things, and heads not to be believed."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from unit.recovery.scene import (
    EACH_KEY,
    ED,
    K1,
    KEYED,
    Key,
    add_bytes,
    add_lines,
    crashed,
    files_of,
    fill,
    goes_on,
    head_of,
    head_path,
    lines_of,
    manifest_of,
    manifest_path,
    remove_segment,
    segments,
    state_of,
)

from fapilog_tamper import HeadError, RollbackError, SealedLog, StoreError
from fapilog_tamper.encoding import b64url_encode

if TYPE_CHECKING:
    from pathlib import Path

OVERRIDE = r"fapilog-tamper restore --reason \.\.\. --by \.\.\."


# Refusals: what a head or another stream speaks of.


def refused(folder: Path, key: Key, error: type[Exception], message: str) -> None:
    """Opening is refused, says how to override that, changes nothing, and does so again."""
    before = files_of(folder)
    for _ in range(2):
        with pytest.raises(error, match=message) as caught:
            SealedLog.open(folder, key=key)
        assert type(caught.value) is error
        caught.match(OVERRIDE)
    assert files_of(folder) == before


@EACH_KEY
def test_a_segment_that_is_shorter_than_the_head_says_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    manifest_path(path).unlink()
    path.write_bytes(b"".join(lines_of(tmp_path)[:2]))
    refused(tmp_path, key, RollbackError, "its head speaks of entry 3, the stream ends with entry 2")


@EACH_KEY
def test_a_last_segment_that_vanished_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    remove_segment(segments(tmp_path)[-1])
    refused(tmp_path, key, RollbackError, "its head speaks of entry 6")


@EACH_KEY
def test_segments_that_all_vanished_are_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    for path in segments(tmp_path):
        remove_segment(path)
    refused(tmp_path, key, RollbackError, "its head speaks of entry 3, and no segment has it")


@EACH_KEY
def test_the_heads_segment_that_vanished_before_others_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key)
    head_path(tmp_path).write_bytes(old)
    remove_segment(segments(tmp_path)[0])
    refused(tmp_path, key, RollbackError, "begins with entry 4, and what is before it is lost")


@EACH_KEY
def test_an_old_copy_of_the_folder_is_refused_by_a_head_elsewhere(key: Key, tmp_path: Path) -> None:
    folder, state = tmp_path / "log", tmp_path / "state"
    fill(folder, 3, key, state_dir=state)
    shutil.copytree(folder, tmp_path / "old")
    fill(folder, 3, key, state_dir=state)
    with pytest.raises(RollbackError, match="its head speaks of entry 6"):
        SealedLog.open(tmp_path / "old", key=key, state_dir=state)


@EACH_KEY
def test_another_history_at_the_heads_entry_is_refused(key: Key, tmp_path: Path) -> None:
    """The same first entry, and then other ones."""
    fill(tmp_path, 1, key)
    shutil.copytree(tmp_path, tmp_path / "other")
    other = tmp_path / "other"
    fill(tmp_path, 2, key)
    with SealedLog.open(other, key=key) as log:
        log.append({"else": 1})
        log.append({"else": 2})
    shutil.copy(head_path(other), head_path(tmp_path))
    shutil.rmtree(other)
    refused(tmp_path, key, RollbackError, "entry 3 is not the one that its head speaks of")


@EACH_KEY
def test_less_than_another_streams_head_says_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = files_of(tmp_path)
    fill(tmp_path, 3, key)
    fill(tmp_path, 1, key, stream="other")
    for path in segments(tmp_path):
        remove_segment(path)
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    refused(tmp_path, key, RollbackError, "the head of stream other speaks of entry 6, the stream ends with entry 3")


@EACH_KEY
def test_a_stream_that_vanished_as_a_whole_is_refused_by_the_others(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 1, key, stream="other")
    for path in segments(tmp_path):
        remove_segment(path)
    head_path(tmp_path).unlink()
    refused(tmp_path, key, RollbackError, "the head of stream other speaks of entry 3, the stream ends with entry 0")


# Refusals: the head itself.

GARBAGE = {
    "empty": b"",
    "a newline": b"\n",
    "no document": b"\x00" * 4096,
    "not json": b"{",
    "deep": b"[" * 100_000 + b"\n",
    "huge": b'{"a":"' + b"x" * (1 << 21) + b'"}\n',
    "another object": b"{}\n",
    "a number": b"1e999\n",
    "surrogates": b'{"v":"\\ud800"}\n',
}


@EACH_KEY
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_head_that_cannot_be_read_is_refused(garbage: bytes, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    head_path(tmp_path).write_bytes(garbage)
    refused(tmp_path, key, HeadError, "stream log: its head is malformed")


@EACH_KEY
def test_a_directory_in_the_place_of_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    head_path(tmp_path).unlink()
    head_path(tmp_path).mkdir()
    refused(tmp_path, key, HeadError, "its head cannot be read")


@KEYED
def test_a_head_with_a_wrong_mac_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    document = json.loads(head_path(tmp_path).read_bytes())
    document["seq"] = 2
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    head_path(tmp_path).write_bytes(text)
    refused(tmp_path, key, HeadError, "its head does not hold under key")


@EACH_KEY
def test_the_head_of_another_stream_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path / "b", 3, key, stream="other")
    shutil.copy(head_path(tmp_path / "b", "other"), head_path(tmp_path))
    shutil.rmtree(tmp_path / "b")
    refused(tmp_path, key, HeadError, "its head is that of stream other")


@EACH_KEY
@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_head_of_another_log_of_the_same_name_is_refused(count: int, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    with SealedLog.open(tmp_path / "b", key=key) as log:
        for number in range(count):
            log.append({"else": number})
    shutil.copy(head_path(tmp_path / "b"), head_path(tmp_path))
    shutil.rmtree(tmp_path / "b")
    refused(tmp_path, key, HeadError, "its head is of a stream that began with")


# No head.


@EACH_KEY
def test_a_missing_head_is_put_on_record_where_all_entries_hold(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    head_path(tmp_path).unlink()
    end = state_of(tmp_path)
    [entry] = goes_on(tmp_path, key)
    assert entry.pop("ts")
    assert entry == {
        "kind": "recovery",
        "reason": "head-missing",
        "after_seq": 6,
        "after_chain_hash": b64url_encode(end.chain_hash),
    }
    assert head_of(tmp_path).origin == manifest_of(segments(tmp_path)[0]).origin


@EACH_KEY
def test_a_crash_before_the_first_head_is_a_missing_head(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key, closed=0)
    if head_path(folder).exists():
        head_path(folder).unlink()
    add_bytes(segments(folder)[-1], b"half")
    [entry] = goes_on(folder, key)
    assert (entry["reason"], len(entry["torn"])) == ("head-missing", 1)


def test_a_missing_head_and_entries_without_a_mac_are_both_on_record(tmp_path: Path) -> None:
    folder = crashed(tmp_path, ED)
    add_lines(folder, ED, [b"{}", b"{}"], mac=False)
    head_path(folder).unlink()
    [entry] = goes_on(folder, ED)
    assert (entry["reason"], entry["unsigned"]) == ("head-missing", [5, 6])


@EACH_KEY
def test_a_missing_head_is_refused_where_an_entry_was_changed(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    head_path(tmp_path).unlink()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    refused(tmp_path, key, HeadError, "it has no head, and its entries do not all hold: .*line 2")


@EACH_KEY
def test_a_missing_head_is_refused_where_a_segment_is_missing(key: Key, tmp_path: Path) -> None:
    for _ in range(3):
        fill(tmp_path, 2, key)
    head_path(tmp_path).unlink()
    remove_segment(segments(tmp_path)[1])
    refused(tmp_path, key, HeadError, "begins with entry 5, which does not follow on")


@EACH_KEY
def test_a_missing_head_is_refused_where_only_a_manifest_is_left(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 2, key)
    head_path(tmp_path).unlink()
    segments(tmp_path)[0].unlink()
    refused(tmp_path, key, HeadError, r"manifest\.json is there, and neither a head nor an entry")


def test_a_folder_that_may_not_be_read_is_a_store_error(tmp_path: Path, monkeypatch: Any) -> None:
    fill(tmp_path, 1)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        SealedLog.open(tmp_path, key=K1)
