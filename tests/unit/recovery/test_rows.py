"""The table of spec section 7, row by row, on real files: what the next open does, and what the verifier says then."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from unit.recovery.scene import (
    EACH_KEY,
    ED,
    K1,
    K2,
    Key,
    add_bytes,
    add_lines,
    assert_true_manifests,
    controls_of,
    crashed,
    cut,
    files_of,
    fill,
    goes_on,
    head_of,
    head_path,
    intact,
    manifest_of,
    manifest_path,
    notes,
    segments,
    seqs_of,
    state_of,
    torn_row,
)

from fapilog_tamper import Keyring, RollbackError, SealedLog
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.layout import torn_name
from fapilog_tamper.payload import control_payload
from fapilog_tamper.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

# Nothing behind the head, or nothing at all.


@EACH_KEY
def test_nothing_at_all_is_the_beginning_of_a_stream(key: Key, tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=key) as log:
        assert log.head == ChainState("log")
        assert log.append({}).seq == 1
    intact(tmp_path, key)


@EACH_KEY
def test_nothing_behind_the_head_goes_on_in_a_new_segment(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [old], before = segments(tmp_path), files_of(tmp_path)
    with SealedLog.open(tmp_path, key=key) as log:
        assert log.head.seq == 3
        assert files_of(tmp_path) == before
        log.append({})
    assert old.read_bytes() == before[old.name]
    assert len(segments(tmp_path)) == 2
    assert controls_of(tmp_path) == []
    intact(tmp_path, key)


# Entries behind the head.


@EACH_KEY
def test_covered_entries_behind_the_head_are_adopted(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    assert head_of(folder).seq == 3
    assert goes_on(folder, key) == []
    assert seqs_of(folder) == [1, 2, 3, 4, 5, 6]
    assert_true_manifests(folder)


@EACH_KEY
def test_entries_in_later_closed_segments_are_adopted(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    fill(tmp_path, 2, key)
    fill(tmp_path, 2, key)
    head_path(tmp_path).write_bytes(old)
    assert goes_on(tmp_path, key) == []
    assert seqs_of(tmp_path) == list(range(1, 10))


def test_entries_of_a_process_that_ended_without_a_word_are_adopted(tmp_path: Path) -> None:
    code = (
        "import os, sys; from fapilog_tamper import SealedLog; from fapilog_tamper.keys import HmacKey\n"
        "log = SealedLog.open(sys.argv[1], key=HmacKey('k1', bytes(range(32))))\n"
        "for n in range(50): log.append({'n': n})\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert segments(tmp_path)
    # The head is a second away: whether it was written does not matter.
    goes_on(tmp_path)
    assert seqs_of(tmp_path)[:50] == list(range(1, 51))


def test_entries_that_no_mac_covers_are_adopted_on_record(tmp_path: Path) -> None:
    folder = crashed(tmp_path, ED)
    add_lines(folder, ED, [b'{"a":1}', b'{"a":2}', b'{"a":3}'], mac=False)
    end = state_of(folder)
    [entry] = goes_on(folder, ED)
    assert entry.pop("ts")
    assert entry == {
        "kind": "recovery",
        "reason": "crash",
        "after_seq": 7,
        "after_chain_hash": b64url_encode(end.chain_hash),
        "unsigned": [5, 7],
    }
    report = intact(folder, ED)
    assert "adopted" in " ".join(note.message for note in report.notes)


def test_a_seal_at_the_very_end_is_not_adopted_as_unsigned(tmp_path: Path) -> None:
    folder = crashed(tmp_path, ED)
    add_lines(folder, ED, [b'{"a":1}'], mac=False)
    state = state_of(folder)
    from fapilog_tamper.writer.signer import Signer

    add_lines(folder, ED, [Signer("log", ED, 0).seal_payload(state.seq, state.chain_hash)], mac=False)
    assert goes_on(folder, ED) == []


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["whole", "without its newline"])
def test_an_hmac_entry_without_a_mac_is_no_entry_of_a_writer(ending: bytes, tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    add_lines(folder, K1, [b'{"a":1}'], mac=False)
    path = segments(folder)[-1]
    if ending:
        with pytest.raises(RollbackError, match="no mac, where key k1 macs each entry"):
            SealedLog.open(folder, key=K1)
        return
    # Without its newline it is a torn tail like any other.
    cut(path, 1)
    [entry] = goes_on(folder)
    assert entry["after_seq"] == 4


# A last entry whole but for its newline.


@EACH_KEY
@pytest.mark.parametrize("behind", [1, 2])
def test_a_last_entry_whole_but_for_its_newline_is_adopted(behind: int, key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    if behind == 2:
        add_lines(folder, key, [b"{}"])
    path = segments(folder)[-1]
    content = path.read_bytes()
    cut(path, 1)
    assert goes_on(folder, key) == []
    assert path.read_bytes() == content
    assert_true_manifests(folder)


# Torn tails.

TAILS = {
    "half a line": b'{"a":1,"integ',
    "zeros to the end": bytes(100),
    "half a line and zeros": b'{"a":' + bytes(600),
    "blank lines": b"\n\n\n",
    "a newline": b"\n",
    "half a line of other bytes": b"\xff\x00\xfe{",
}


@EACH_KEY
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_a_torn_tail_is_copied_cut_and_put_on_record(tail: bytes, key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    good, end = path.read_bytes(), state_of(folder)
    add_bytes(path, tail)
    [entry] = goes_on(folder, key)
    copy = path.with_name(torn_name(path.name, 1))
    assert copy.read_bytes() == tail
    assert path.read_bytes() == good
    assert entry.pop("ts")
    assert entry == {
        "kind": "recovery",
        "reason": "crash",
        "after_seq": end.seq,
        "after_chain_hash": b64url_encode(end.chain_hash),
        "torn": [torn_row(copy)],
    }
    assert_true_manifests(folder)


@EACH_KEY
def test_a_hole_of_zeros_tears_off_what_stands_behind_it(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    good = path.read_bytes()
    add_lines(folder, key, [b"{}"])
    lost = path.read_bytes()[len(good) :]
    hole = bytes(512 - len(good) % 512 + 512)
    path.write_bytes(good + hole + lost)
    [entry] = goes_on(folder, key)
    assert path.read_bytes() == good
    assert path.with_name(torn_name(path.name, 1)).read_bytes() == hole + lost
    assert entry["after_seq"] == 4


def test_zeros_that_end_nowhere_special_are_no_torn_tail(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    path = segments(folder)[-1]
    good = path.read_bytes()
    add_lines(folder, K1, [b"{}"])
    lost = path.read_bytes()[len(good) :]
    path.write_bytes(good + bytes(512 - len(good) % 512 + 5) + lost)
    with pytest.raises(RollbackError, match=path.name):
        SealedLog.open(folder, key=K1)


@EACH_KEY
def test_a_first_line_that_is_torn_leaves_no_segment(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key, closed=0)
    [path] = segments(folder)
    path.write_bytes(path.read_bytes()[:20])
    [entry] = goes_on(folder, key)
    copy = path.with_name(torn_name(path.name, 1))
    assert (entry["after_seq"], entry["torn"]) == (0, [torn_row(copy)])
    assert not path.exists()
    assert seqs_of(folder)[0] == 1


@EACH_KEY
def test_a_torn_first_line_behind_a_clean_close_leaves_no_segment(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    path.write_bytes(path.read_bytes()[:20])
    [entry] = goes_on(folder, key)
    assert (entry["after_seq"], entry["torn"]) == (3, [torn_row(path.with_name(torn_name(path.name, 1)))])
    assert not path.exists()


@EACH_KEY
def test_an_empty_segment_is_removed(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    path.write_bytes(b"")
    assert goes_on(folder, key) == []
    assert not path.exists()


def test_the_next_torn_tail_has_the_next_number(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    path = segments(folder)[-1]
    path.with_name(torn_name(path.name, 1)).write_bytes(b"of a recovery that crashed")
    add_bytes(path, b"half")
    [entry] = goes_on(folder)
    copies = [path.with_name(torn_name(path.name, number)) for number in (1, 2)]
    assert copies[1].read_bytes() == b"half"
    assert entry["torn"] == [torn_row(copy) for copy in copies]


def test_a_second_crash_gives_a_second_record(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    first = segments(folder)[-1]
    add_bytes(first, b"one")
    log = SealedLog.open(folder, key=K1)
    log.append({})
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    log.close()
    second = segments(again)[-1]
    add_bytes(second, b"two")
    [entry] = goes_on(again)
    assert entry["torn"] == [torn_row(second.with_name(torn_name(second.name, 1)))]
    assert [row["file"] for found in controls_of(again) for row in found["torn"]] == [
        torn_name(first.name, 1),
        torn_name(second.name, 1),
    ]


def test_a_copy_that_no_record_names_yet_is_named_by_the_next_open(tmp_path: Path) -> None:
    """The crash came when the tail was cut and the `recovery` entry was not written."""
    folder = crashed(tmp_path)
    path = segments(folder)[-1]
    copy = path.with_name(torn_name(path.name, 1))
    copy.write_bytes(b"half")
    [entry] = goes_on(folder)
    assert entry["torn"] == [torn_row(copy)]


@EACH_KEY
def test_a_torn_tail_in_front_of_what_the_head_attests_is_no_torn_tail(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    [path] = segments(tmp_path)
    manifest_path(path).unlink()
    cut(path, 10)
    before = files_of(tmp_path)
    with pytest.raises(RollbackError, match=path.name) as caught:
        SealedLog.open(tmp_path, key=key)
    assert "restore --reason" in caught.value.hint
    assert files_of(tmp_path) == before


# Segments and their manifests.


def test_a_new_segment_has_a_greater_name_than_all_before(tmp_path: Path) -> None:
    clock = FakeClock()
    fill(tmp_path, 1, clock=clock)
    clock.advance(-10 * 86_400)
    fill(tmp_path, 1, clock=clock)
    clock.advance(20 * 86_400)
    fill(tmp_path, 1, clock=clock)
    assert seqs_of(tmp_path) == [1, 2, 3]
    intact(tmp_path)


@EACH_KEY
@pytest.mark.parametrize("which", [[0], [1], [2], [0, 2], [0, 1, 2]], ids=str)
def test_a_segment_without_manifest_gets_one(which: list[int], key: Key, tmp_path: Path) -> None:
    for _ in range(3):
        fill(tmp_path, 2, key)
    for number in which:
        manifest_path(segments(tmp_path)[number]).unlink()
    assert goes_on(tmp_path, key) == []
    assert_true_manifests(tmp_path)


def test_a_late_manifest_has_the_times_of_the_events(tmp_path: Path) -> None:
    folder = crashed(tmp_path, behind=5)
    path = segments(folder)[-1]
    fill(folder, 1)
    manifest = manifest_of(path)
    assert (manifest.first_ts, manifest.last_ts) == ("u0000", "u0004")


def test_a_late_manifest_of_a_segment_longer_than_one_read_is_true(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    add_lines(folder, K1, [b'{"a":"' + b"x" * 60_000 + b'"}'] * 40)
    fill(folder, 1)
    assert_true_manifests(folder)
    intact(folder)


def test_a_late_manifest_under_a_new_key_names_the_key_of_the_entries(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    path = segments(folder)[-1]
    fill(folder, 1, K2, keyring=Keyring([K1]))
    manifest = manifest_of(path)
    assert (manifest.key_id, manifest.signature_key_id) == ("k1", "k2")
    intact(folder)


@EACH_KEY
def test_a_failed_sync_may_leave_the_same_entries_twice(key: Key, tmp_path: Path) -> None:
    """The old segment was not cut before the crash, and a part of its lost pages came back as zeros."""
    folder = crashed(tmp_path, key)
    old = segments(folder)[-1]
    add_lines(folder, key, [b'{"a":1}'])
    twice = old.read_bytes().splitlines(keepends=True)[-1]
    new = old.with_name(old.name.replace(".jsonl", ".9.jsonl") if old.name.count(".") == 1 else _next(old.name))
    new.write_bytes(twice)
    add_lines(folder, key, [b'{"a":2}'])
    add_bytes(old, bytes(700))
    [entry] = goes_on(folder, key)
    assert (entry["after_seq"], len(entry["torn"])) == (6, 1)
    assert "overlap" in notes(intact(folder, key))
    assert_true_manifests(folder)


def _next(name: str) -> str:
    stem, number, _ = name.rsplit(".", 2)
    return f"{stem}.{int(number) + 1}.jsonl"


def test_a_payload_may_look_like_a_record_of_the_writer(tmp_path: Path) -> None:
    """What a caller appends as raw bytes is his; opening does not trust it."""
    folder = crashed(tmp_path)
    end = state_of(folder)
    line, _ = seal(control_payload("restore", after_seq=1), ChainState("log", 1, bytes(32)), K1)
    add_bytes(segments(folder)[-1], line)
    with pytest.raises(RollbackError):
        SealedLog.open(folder, key=K1)
    assert end.seq == 4
