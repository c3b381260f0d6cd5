"""Attempts to have the writer go on as if nothing had happened. Each is refused, or recovered as the table says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from unit.recovery.scene import (
    EACH_KEY,
    ED,
    K1,
    K2,
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
    intact,
    lines_of,
    manifest_of,
    manifest_path,
    remove_segment,
    segments,
    seqs_of,
    state_of,
    write_head,
)

from fapilog_tamper import HeadError, Keyring, RollbackError, SealedLog, SealKeyError
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.keys import TrustedKey
from fapilog_tamper.manifest import format_manifest

if TYPE_CHECKING:
    from pathlib import Path


def refused(folder: Path, key: Key, error: type[Exception], message: str = "", **options: Any) -> None:
    before = files_of(folder)
    with pytest.raises(error, match=message or None) as caught:
        SealedLog.open(folder, key=key, **options)
    assert type(caught.value) is error
    assert files_of(folder) == before


# Heads.


@KEYED
def test_an_unkeyed_head_does_not_roll_a_keyed_stream_back(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    head = head_of(tmp_path)
    fill(tmp_path, 3, key)
    remove_segment(segments(tmp_path)[-1])
    write_head(tmp_path, None, head)
    refused(tmp_path, key, HeadError, "its head is unkeyed, and entry 1 is keyed")


@KEYED
def test_an_unkeyed_head_and_an_unkeyed_manifest_do_not_either(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    head = head_of(tmp_path)
    fill(tmp_path, 3, key)
    remove_segment(segments(tmp_path)[-1])
    [path] = segments(tmp_path)
    bare = replace(manifest_of(path), algo="SHA-256", key_id=None, signature=None, signature_algo=None)
    manifest_path(path).write_bytes(format_manifest(bare))
    write_head(tmp_path, None, head)
    refused(tmp_path, key, RollbackError, "it is keyed, and its manifest is not signed")


@KEYED
def test_unkeyed_entries_with_an_unkeyed_head_do_not_go_on_from_keyed_ones(key: Key, tmp_path: Path) -> None:
    """Everything behind a keyed segment is forged: entries, manifest and head."""
    fill(tmp_path, 3, key)
    end = state_of(tmp_path)
    forged = segments(tmp_path)[0].with_name("log_9999-01-01.jsonl")
    line, state = seal(b'{"forged":1}', end, None)
    forged.write_bytes(line)
    head = replace(head_of(tmp_path), seq=state.seq, chain_hash=state.chain_hash, segment=forged.name)
    write_head(tmp_path, None, head)
    refused(tmp_path, key, RollbackError, "unkeyed entry behind keyed ones")


@KEYED
def test_an_unkeyed_stream_without_a_head_is_not_taken_for_the_keyed_one(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, None)
    head_path(tmp_path).unlink()
    refused(tmp_path, key, HeadError, "there is no head, and its entries are unkeyed")


def test_an_unkeyed_stream_with_its_head_is_not_taken_for_one_whose_origin_is_known(tmp_path: Path) -> None:
    folder, forged = tmp_path / "log", tmp_path / "forged"
    fill(folder, 3)
    ring = Keyring([K1], origins={"log": b64url_encode(head_of(folder).origin)})
    fill(folder, 1, keyring=ring)
    fill(forged, 3, None)
    shutil.rmtree(folder)
    shutil.move(forged, folder)
    refused(folder, K1, HeadError, "and the keyring says that it began with", keyring=ring)


def test_an_unkeyed_stream_that_goes_on_under_a_key_survives_a_crash_in_between(tmp_path: Path) -> None:
    fill(tmp_path, 3, None)
    alive, image = tmp_path, tmp_path.with_name("image")
    log = SealedLog.open(alive, key=K1)
    log.append({})
    shutil.copytree(alive, image)
    log.close()
    assert goes_on(image, K1) == []
    assert seqs_of(image) == [1, 2, 3, 4, 5, 6, 7]


def test_a_head_under_a_key_that_is_not_trusted_for_the_stream_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    ring = Keyring([TrustedKey(K1, streams=("elsewhere",))])
    refused(tmp_path, K1, HeadError, "does not hold", keyring=ring)


@KEYED
def test_a_keyring_without_a_signing_key_does_not_let_an_unkeyed_writer_in(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    refused(tmp_path, None, SealKeyError, "no key was given", keyring=Keyring([K1, ED]))


# Segments behind the head, and before it.


@EACH_KEY
def test_a_changed_entry_behind_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key, behind=3)
    path = segments(folder)[-1]
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    refused(folder, key, RollbackError, "line 2: the content of the entry is not what was sealed")


@EACH_KEY
def test_a_removed_entry_behind_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key, behind=3)
    path = segments(folder)[-1]
    path.write_bytes(b"".join(line for n, line in enumerate(path.read_bytes().splitlines(keepends=True)) if n != 1))
    refused(folder, key, RollbackError, "line 2: the entry is out of its place")


@EACH_KEY
def test_a_removed_first_entry_behind_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key, behind=3)
    path = segments(folder)[-1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    refused(folder, key, RollbackError, "begins with entry 5, which does not follow on")


@EACH_KEY
def test_a_segment_removed_behind_the_head_is_refused_where_another_follows(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    head_path(tmp_path).write_bytes(old)
    remove_segment(segments(tmp_path)[1])
    refused(tmp_path, key, RollbackError, "begins with entry 7, which does not follow on")


@EACH_KEY
def test_swapped_segments_behind_the_head_are_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    head_path(tmp_path).write_bytes(old)
    one, two = segments(tmp_path)[1:]
    for first, second in ((one, two), (manifest_path(one), manifest_path(two))):
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    refused(tmp_path, key, RollbackError, "which does not follow on")


@EACH_KEY
def test_a_segment_of_another_history_behind_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    folder, other = tmp_path / "log", tmp_path / "other"
    fill(folder, 3, key)
    shutil.copytree(folder, other)
    fill(folder, 3, key)
    with SealedLog.open(other, key=key) as log:
        log.append({"else": 1})
    (folder / "log_9999-12-31.jsonl").write_bytes(segments(other)[-1].read_bytes())
    refused(folder, key, RollbackError, "has other entries from 4 on than the segments before it")


@EACH_KEY
def test_the_same_segment_twice_is_an_overlap_and_no_refusal(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    (tmp_path / "log_9999-12-31.jsonl").write_bytes(segments(tmp_path)[0].read_bytes())
    assert goes_on(tmp_path, key) == []


@EACH_KEY
def test_a_segment_of_another_stream_under_our_name_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path / "b", 3, key, stream="other")
    (tmp_path / "log_9999-12-31.jsonl").write_bytes(segments(tmp_path / "b", "other")[0].read_bytes())
    shutil.rmtree(tmp_path / "b")
    refused(tmp_path, key, RollbackError, r"log_9999-12-31\.jsonl")


@EACH_KEY
def test_a_shorter_closed_segment_of_the_head_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    path.write_bytes(b"".join(lines_of(tmp_path)[:2]))
    refused(tmp_path, key, RollbackError, "it is not what its manifest says")


@EACH_KEY
def test_bytes_behind_the_end_of_a_closed_segment_are_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    add_bytes(segments(tmp_path)[0], b"{}\n")
    refused(tmp_path, key, RollbackError, "line 4")


@KEYED
def test_an_unkeyed_entry_behind_the_head_of_a_keyed_stream_is_refused(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    add_lines(folder, None, [b'{"forged":1}'])
    refused(folder, key, RollbackError, "an unkeyed entry behind keyed ones")


@KEYED
@pytest.mark.parametrize("name", ["log_0001-01-01.jsonl", "log_9999-12-31.jsonl"], ids=["first", "last"])
def test_an_unkeyed_segment_behind_the_head_of_a_keyed_stream_is_refused(name: str, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    line, _ = seal(b'{"forged":1}', state_of(tmp_path), None)
    (tmp_path / name).write_bytes(line)
    refused(tmp_path, key, RollbackError)


@KEYED
def test_an_unkeyed_segment_is_refused_where_only_the_head_is_keyed(key: Key, tmp_path: Path) -> None:
    """The keyed segments are gone, and the forged entry is linked to what the head says."""
    fill(tmp_path, 3, key)
    line, _ = seal(b'{"forged":1}', state_of(tmp_path), None)
    remove_segment(segments(tmp_path)[0])
    (tmp_path / "log_9999-12-31.jsonl").write_bytes(line)
    refused(tmp_path, key, RollbackError, "what is before it is lost")


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["whole", "without its newline"])
def test_entries_under_an_unknown_key_are_refused(ending: bytes, tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    add_lines(folder, K2, [b"{}"])
    path = segments(folder)[-1]
    path.write_bytes(path.read_bytes()[:-1] + ending)
    refused(folder, K1, SealKeyError, "under key k2, and k1 was given")


def test_a_mac_that_is_wrong_behind_the_head_is_refused(tmp_path: Path) -> None:
    from fapilog_tamper.keys import HmacKey

    folder = crashed(tmp_path)
    add_lines(folder, HmacKey("k1", bytes(32)), [b"{}"])
    refused(folder, K1, RollbackError, "the mac does not hold under key k1")


def test_garbage_without_head_and_entries_is_no_beginning(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    [path] = segments(tmp_path)
    path.write_bytes(b"garbage\n" * 10)
    manifest_path(path).unlink()
    head_path(tmp_path).unlink()
    refused(tmp_path, K1, HeadError, "line 1")


# Torn-looking tails.


@EACH_KEY
@pytest.mark.parametrize("tail", [b"half", bytes(512), b"\n\n"], ids=["half", "zeros", "blank"])
def test_a_torn_looking_tail_in_front_of_attested_entries_is_refused(tail: bytes, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    path = segments(tmp_path)[0]
    manifest_path(path).unlink()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]) + tail)
    refused(tmp_path, key, RollbackError)


@EACH_KEY
def test_a_torn_looking_tail_in_front_of_what_another_stream_speaks_of_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key)
    fill(tmp_path, 1, key, stream="other")
    path = segments(tmp_path)[-1]
    manifest_path(path).unlink()
    path.write_bytes(path.read_bytes()[:-5])
    head_path(tmp_path).write_bytes(old)
    refused(tmp_path, key, RollbackError)


@EACH_KEY
def test_a_tail_in_front_of_whole_entries_is_no_torn_tail(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    good = path.read_bytes()
    add_lines(folder, key, [b"{}"])
    path.write_bytes(good + b"half a line\n" + path.read_bytes()[len(good) :])
    refused(folder, key, RollbackError, "line 2")


# Manifests.


@EACH_KEY
@pytest.mark.parametrize("how", ["garbage", "empty", "of another segment", "huge"])
def test_a_replaced_manifest_of_a_segment_that_is_read_is_refused(how: str, key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 3, key)
    one, two = segments(tmp_path)
    content = {"garbage": b"garbage", "empty": b"", "huge": b" " * (1 << 21)}.get(how)
    manifest_path(two).write_bytes(manifest_path(one).read_bytes() if content is None else content)
    refused(tmp_path, key, RollbackError, "manifest")
    head_path(tmp_path).write_bytes(old)
    refused(tmp_path, key, RollbackError, "manifest")


@KEYED
def test_an_unsigned_manifest_of_a_keyed_segment_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    bare = replace(manifest_of(path), algo="SHA-256", key_id=None, signature=None, signature_algo=None)
    manifest_path(path).write_bytes(format_manifest(bare))
    refused(tmp_path, key, RollbackError, "it is keyed, and its manifest is not signed")


@EACH_KEY
def test_a_manifest_of_another_stream_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key, stream="other")
    manifest_path(segments(tmp_path)[0]).write_bytes(manifest_path(segments(tmp_path, "other")[0]).read_bytes())
    refused(tmp_path, key, RollbackError, "its manifest does not hold")


@EACH_KEY
def test_garbage_in_the_place_of_the_heads_segment_is_refused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    manifest_path(path).unlink()
    path.write_bytes(b"garbage\n")
    refused(tmp_path, key, RollbackError, "line 1")


@KEYED
def test_a_manifest_of_another_key_is_refused(key: Key, tmp_path: Path) -> None:
    from fapilog_tamper.keys import HmacKey
    from fapilog_tamper.manifest import sign_manifest

    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    forged = sign_manifest(manifest_of(path), HmacKey("k1", bytes(32)))
    manifest_path(path).write_bytes(format_manifest(forged))
    refused(tmp_path, key, RollbackError, "its manifest does not hold")


def test_every_cut_of_a_crashed_log_opens_or_is_refused_with_a_reason(tmp_path: Path) -> None:
    """Whatever is cut off the last segment behind the head: recovered; into what the head attests: refused."""
    folder = crashed(tmp_path, behind=2)
    path = segments(folder)[-1]
    content = path.read_bytes()
    for size in range(0, len(content), 29):
        copy = tmp_path / f"cut-{size}"
        shutil.copytree(folder, copy)
        (copy / path.name).write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        with SealedLog.open(copy, key=K1) as log:
            assert log.head.seq in {3 + whole, 4 + whole}
            log.append({})
        intact(copy)
        shutil.rmtree(copy)


@EACH_KEY
def test_every_flipped_byte_behind_the_head_is_refused_or_on_record(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    content = path.read_bytes()
    for at in {*range(0, len(content), 5), len(content) - 1}:
        copy = tmp_path / f"flip-{at}"
        shutil.copytree(folder, copy)
        (copy / path.name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if at < len(content) - 1:
            with pytest.raises(RollbackError, match=path.name):
                SealedLog.open(copy, key=key)
        else:
            [entry] = goes_on(copy, key)
            assert len(entry["torn"]) == 1
        shutil.rmtree(copy)


def test_a_segment_that_begins_a_stream_twice_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    line, _ = seal(b'{"again":1}', ChainState("log"), K1)
    (tmp_path / "log_9999-12-31.jsonl").write_bytes(line)
    refused(tmp_path, K1, RollbackError)
