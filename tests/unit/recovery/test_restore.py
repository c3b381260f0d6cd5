"""What `restore` goes on behind, what it puts on record, and that the log opens again afterwards."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

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
    codes,
    controls_of,
    crashed,
    files_of,
    fill,
    head_of,
    head_path,
    intact,
    manifest_path,
    notes,
    remove_segment,
    segments,
    seqs_of,
    state_of,
    verdict,
)

from fapilog_tamper import HeadError, Outcome, RollbackError, SealedLog, SealKeyError, StoreError
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import split
from fapilog_tamper.layout import torn_name

if TYPE_CHECKING:
    from pathlib import Path

WHY = {"reason": "the disk was replaced", "by": "ops"}


def restored(folder: Path, key: Key = K1, **options: str) -> dict[str, object]:
    """Restore a log that is refused, append, close, open again; return the `restore` entry."""
    with pytest.raises((RollbackError, HeadError)):
        SealedLog.open(folder, key=key)
    receipt = SealedLog.restore(folder, key=key, **WHY, **options)
    entry: dict[str, object] = controls_of(folder, "restore")[-1]
    assert receipt.seq == entry["after_seq"] + 1
    for _ in range(2):
        fill(folder, 1, key)
    assert head_of(folder).seq == receipt.seq + 2
    return entry


def rolled_back(folder: Path, key: Key, count: int = 1) -> None:
    """Lose the last segments of a log, and leave its head."""
    for path in segments(folder)[-count:]:
        remove_segment(path)


@EACH_KEY
def test_a_restore_names_what_the_refused_head_spoke_of(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    good = state_of(tmp_path)
    fill(tmp_path, 3, key)
    lost = state_of(tmp_path)
    rolled_back(tmp_path, key)
    entry = restored(tmp_path, key)
    assert entry.pop("ts")
    assert entry == {
        "kind": "restore",
        **WHY,
        "after_seq": 3,
        "after_chain_hash": b64url_encode(good.chain_hash),
        "lost_seq": 6,
        "lost_chain_hash": b64url_encode(lost.chain_hash),
    }
    assert "restored" in notes(intact(tmp_path, key))


@EACH_KEY
def test_what_was_tampered_before_is_a_note_afterwards(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    rolled_back(tmp_path, key)
    assert verdict(tmp_path, key).outcome is Outcome.TAMPERED
    restored(tmp_path, key)
    report = intact(tmp_path, key)
    assert "restored" in notes(report)


@EACH_KEY
def test_a_log_may_be_restored_a_second_time(key: Key, tmp_path: Path) -> None:
    for lost_seq in (6, 9):
        while head_path(tmp_path).exists() is False or head_of(tmp_path).seq < lost_seq:
            fill(tmp_path, 1, key)
        rolled_back(tmp_path, key)
        restored(tmp_path, key)
    assert len(controls_of(tmp_path, "restore")) == 2
    intact(tmp_path, key)


@EACH_KEY
def test_claims_of_other_streams_are_excused_for_good(key: Key, tmp_path: Path) -> None:
    """Another stream's head goes on to speak of the lost entry; the second restore does not forget the first."""
    fill(tmp_path, 3, key)
    fill(tmp_path, 5, key)
    fill(tmp_path, 1, key, stream="other")
    rolled_back(tmp_path, key)
    restored(tmp_path, key)
    for _ in range(5):
        fill(tmp_path, 1, key)
    rolled_back(tmp_path, key, 2)
    restored(tmp_path, key)
    assert "restored" in notes(intact(tmp_path, key))
    fill(tmp_path, 10, key)
    fill(tmp_path, 1, key)
    assert "restored" in notes(intact(tmp_path, key))


@EACH_KEY
def test_a_claim_of_the_new_history_is_not_excused(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 5, key)
    fill(tmp_path, 1, key, stream="other")
    rolled_back(tmp_path, key)
    restored(tmp_path, key)
    before = files_of(tmp_path)
    fill(tmp_path, 1, key)
    fill(tmp_path, 1, key, stream="other")
    rolled_back(tmp_path, key)
    head_path(tmp_path).write_bytes(before[str(head_path(tmp_path).relative_to(tmp_path))])
    with pytest.raises(RollbackError, match="the head of stream other speaks of entry 7"):
        SealedLog.open(tmp_path, key=key)


@EACH_KEY
def test_a_stream_that_vanished_is_restored_from_its_beginning(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 1, key, stream="other")
    rolled_back(tmp_path, key)
    entry = restored(tmp_path, key)
    assert (entry["after_seq"], entry["lost_seq"]) == (0, 3)
    assert head_of(tmp_path).origin == split(segments(tmp_path)[0].read_bytes())[1].chain_hash


@EACH_KEY
def test_a_log_without_a_head_that_can_be_believed_is_restored(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    origin = head_of(tmp_path).origin
    head_path(tmp_path).write_bytes(b"garbage")
    entry = restored(tmp_path, key)
    assert (entry["after_seq"], entry["lost_seq"]) == (3, 0)
    assert head_of(tmp_path).origin == origin
    intact(tmp_path, key)


@EACH_KEY
@pytest.mark.parametrize("closed", [True, False])
def test_a_changed_entry_is_passed_over_and_stays_where_it_is(closed: bool, key: Key, tmp_path: Path) -> None:  # noqa: FBT001
    folder = crashed(tmp_path, key, behind=0)
    fill(folder, 1, key)
    path = segments(folder)[-1]
    if not closed:
        manifest_path(path).unlink()
    add_lines(folder, key, [b'{"x":1}', b'{"x":2}', b'{"x":3}'])
    path.write_bytes(path.read_bytes().replace(b'{"x":2', b'{"x":7'))
    content = path.read_bytes()
    entry = restored(folder, key)
    assert entry["after_seq"] == 5
    assert path.read_bytes() == content
    assert manifest_path(path).exists() == closed
    report = verdict(folder, key)
    assert report.outcome is Outcome.TAMPERED
    assert {finding.file for finding in report.findings} == {str(path)}


@EACH_KEY
def test_a_changed_entry_that_is_passed_over_does_not_stop_a_second_restore(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    add_lines(folder, key, [b'{"x":1}', b'{"x":2}'])
    path = segments(folder)[-1]
    path.write_bytes(path.read_bytes().replace(b'{"x":1', b'{"x":7'))
    restored(folder, key)
    fill(folder, 2, key)
    rolled_back(folder, key)
    assert restored(folder, key)["after_seq"] == 7


def test_a_restore_goes_on_behind_the_last_entry_that_a_mac_covers(tmp_path: Path) -> None:
    """What no mac covers may be anybody's: a restore does not adopt it, and signs no manifest of it."""
    folder = crashed(tmp_path, ED)
    add_lines(folder, ED, [b"{}", b"{}"], mac=False)
    head_path(folder).write_bytes(b"garbage")
    path = segments(folder)[-1]
    assert restored(folder, ED)["after_seq"] == 4
    assert not manifest_path(path).exists()
    assert "superseded" in notes(verdict(folder, ED))
    assert verdict(folder, ED).outcome is Outcome.INTACT


@EACH_KEY
def test_a_torn_tail_is_copied_by_a_restore_too(key: Key, tmp_path: Path) -> None:
    folder = crashed(tmp_path, key)
    path = segments(folder)[-1]
    add_bytes(path, b"half")
    head_path(folder).write_bytes(b"garbage")
    entry = restored(folder, key)
    copy = path.with_name(torn_name(path.name, 1))
    assert copy.read_bytes() == b"half"
    assert [row["file"] for row in entry["torn"]] == [copy.name]
    assert_true_manifests(folder)
    intact(folder, key)


@KEYED
@pytest.mark.parametrize("name", ["log_0001-01-01.jsonl", "log_9999-12-31.jsonl"], ids=["first", "last"])
def test_unkeyed_entries_beside_a_keyed_stream_are_never_gone_on_with(name: str, key: Key, tmp_path: Path) -> None:
    fill(tmp_path / "forged", 9, None)
    fill(tmp_path, 3, key)
    shutil.move(segments(tmp_path / "forged")[0], tmp_path / name)
    shutil.rmtree(tmp_path / "forged")
    head_path(tmp_path).write_bytes(b"garbage")
    assert restored(tmp_path, key)["after_seq"] == 3


@KEYED
def test_a_keyed_stream_is_not_restored_without_its_key(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    rolled_back(tmp_path, key)
    before = files_of(tmp_path)
    for wrong in (None, K2):
        with pytest.raises(SealKeyError):
            SealedLog.restore(tmp_path, key=wrong, **WHY)
        head_path(tmp_path).write_bytes(b"garbage")
        with pytest.raises(SealKeyError):
            SealedLog.restore(tmp_path, key=wrong, **WHY)
        head_path(tmp_path).write_bytes(before[str(head_path(tmp_path).relative_to(tmp_path))])
    assert files_of(tmp_path) == before


def test_entries_under_an_unknown_key_behind_known_ones_are_passed_over(tmp_path: Path) -> None:
    folder = crashed(tmp_path)
    add_lines(folder, K2, [b"{}"])
    with pytest.raises(SealKeyError, match="under key k2, and k1 was given"):
        SealedLog.open(folder, key=K1)
    SealedLog.restore(folder, key=K1, **WHY)
    assert controls_of(folder, "restore")[0]["after_seq"] == 4
    fill(folder, 1)
    assert verdict(folder).outcome is Outcome.INTACT


def test_a_stream_that_a_writer_has_is_not_restored(tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=K1), pytest.raises(StoreError, match="a writer has stream log open"):
        SealedLog.restore(tmp_path, key=K1, **WHY)


def test_a_slot_is_restored_by_its_own_name(tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=K1), SealedLog.open(tmp_path, key=K1) as two:
        two.append({})
    head_path(tmp_path, "log.w2").write_bytes(b"garbage")
    receipt = SealedLog.restore(tmp_path, key=K1, stream="log.w2", **WHY)
    assert (receipt.stream, receipt.seq) == ("log.w2", 2)
    assert len(controls_of(tmp_path, "restore", "log.w2")) == 1
    intact(tmp_path)


@EACH_KEY
def test_a_restore_that_crashed_before_its_head_is_refused_and_done_again(key: Key, tmp_path: Path) -> None:
    fill(tmp_path, 3, key)
    fill(tmp_path, 3, key)
    old = head_path(tmp_path).read_bytes()
    rolled_back(tmp_path, key)
    SealedLog.restore(tmp_path, key=key, **WHY)
    head_path(tmp_path).write_bytes(old)
    assert restored(tmp_path, key)["after_seq"] == 4
    assert seqs_of(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    intact(tmp_path, key)


@EACH_KEY
def test_a_restore_of_a_stream_without_its_beginning_keeps_what_the_head_says_of_it(key: Key, tmp_path: Path) -> None:
    for _ in range(3):
        fill(tmp_path, 2, key)
    origin = head_of(tmp_path).origin
    remove_segment(segments(tmp_path)[0])
    remove_segment(segments(tmp_path)[-1])
    restored(tmp_path, key)
    assert (head_of(tmp_path).origin, head_of(tmp_path).first_seq) == (origin, 1)
    assert codes(verdict(tmp_path, key)) == {"segment-missing"}


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / ".fapilog" / "log.lock").unlink()
    (tmp_path / ".fapilog" / "log.lock").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        SealedLog.restore(tmp_path, key=K1, **WHY)
    with pytest.raises(StoreError, match="cannot be opened"):
        SealedLog.open(tmp_path, key=K1)
