"""The table of spec section 7, row by row, on real files: what the next open does, and what the verifier says then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
    lines_of,
    manifest_of,
    manifest_path,
    notes,
    remove_segment,
    segments,
    seqs_of,
    state_of,
    torn_row,
)

from fapilog_tamper import HeadError, Keyring, RollbackError, SealedLog
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.layout import torn_name
from fapilog_tamper.payload import control_payload
from fapilog_tamper.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

OVERRIDE = r"fapilog-tamper restore --reason \.\.\. --by \.\.\."


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


# Neighbours.


def two_slots(tmp_path: Path) -> Path:
    """Return the image of a crash with two slots open, each with a torn tail."""
    alive, image = tmp_path / "alive", tmp_path / "crashed"
    fill(alive, 1)
    one, two = SealedLog.open(alive, key=K1), SealedLog.open(alive, key=K1)
    assert (one.stream, two.stream) == ("log", "log.w2")
    one.append({})
    two.append({})
    shutil.copytree(alive, image)
    two.close()
    one.close()
    for stream in ("log", "log.w2"):
        add_bytes(segments(image, stream)[-1], b"half")
    return image


def test_torn_tails_of_slots_that_nobody_holds_are_recovered_by_whoever_opens(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    fill(folder, 1)
    assert len(controls_of(folder)) == 1
    [entry] = controls_of(folder, stream="log.w2")
    assert entry["torn"]
    assert_true_manifests(folder, "log.w2")
    intact(folder)


def test_a_slot_that_is_held_is_left_alone(tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=K1) as one:
        one.append({})
        before = segments(tmp_path)[-1].read_bytes()
        with SealedLog.open(tmp_path, key=K1) as two:
            assert two.stream == "log.w2"
            two.append({})
        [path] = segments(tmp_path)
        assert path.read_bytes() == before
        assert not manifest_path(path).exists()
        one.append({})
    intact(tmp_path)


def test_a_neighbour_that_is_refused_warns_and_does_not_stop_the_open(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    path = segments(folder, "log.w2")[-1]
    path.write_bytes(b'{"not":"sealed"}\n' + path.read_bytes())
    content = path.read_bytes()
    with pytest.warns(RuntimeWarning, match=r"log\.w2 in .* was not recovered: .*restore --reason"):
        log = SealedLog.open(folder, key=K1)
    with log:
        assert log.stream == "log"
        log.append({})
    assert path.read_bytes() == content


def test_the_neighbours_of_another_stream_are_left_alone(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    before = {name: content for name, content in files_of(folder).items() if name.startswith("log")}
    fill(folder, 1, stream="log.other")
    after = files_of(folder)
    assert {name: after[name] for name in before} == before


def test_a_payload_may_look_like_a_record_of_the_writer(tmp_path: Path) -> None:
    """What a caller appends as raw bytes is his; opening does not trust it."""
    folder = crashed(tmp_path)
    end = state_of(folder)
    line, _ = seal(control_payload("restore", after_seq=1), ChainState("log", 1, bytes(32)), K1)
    add_bytes(segments(folder)[-1], line)
    with pytest.raises(RollbackError):
        SealedLog.open(folder, key=K1)
    assert end.seq == 4


def test_a_folder_that_may_not_be_read_is_a_store_error(tmp_path: Path, monkeypatch: Any) -> None:
    from fapilog_tamper import StoreError

    fill(tmp_path, 1)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        SealedLog.open(tmp_path, key=K1)
