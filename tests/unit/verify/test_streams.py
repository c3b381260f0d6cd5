"""Several files, one stream: overlaps, forks, superseded tails, restores, holes."""

from __future__ import annotations

import random

import pytest
from support.logs import DAY, HMAC, K1, UNKEYED_CHAIN, payload, write_stream

from fapilog_tamper import Code, NoteCode, Outcome, verify_path
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.layout import segment_name
from fapilog_tamper.payload import control_payload


def codes(report):
    return [finding.code for finding in report.findings]


def notes(report):
    return [note.code for note in report.notes]


def go_on(state, payloads, key=K1):
    lines = []
    for one in payloads:
        line, state = seal(one, state, key)
        lines.append(line)
    return lines, state


def state_behind(line):
    block = split(line)[1]
    return ChainState(block.stream, block.seq, block.chain_hash)


def control(kind, before):
    block = split(before)[1]
    return control_payload(
        kind,
        reason="test",
        by="me",
        ts="2026-11-20T12:00:00.000000Z",
        after_seq=block.seq,
        after_chain_hash=b64url_encode(block.chain_hash),
        lost_seq=block.seq + 3,
    )


def put(folder, *files):
    folder.mkdir(exist_ok=True)
    for number, lines in enumerate(files):
        (folder / segment_name("audit", DAY, number)).write_bytes(b"".join(lines))
    return folder


@pytest.fixture
def lines():
    return write_stream("audit", HMAC, segments=1, entries=12).segments[0]


def fresh(count=2):
    rng = random.Random(5)
    return [payload(rng, 100 + number) for number in range(count)]


def test_the_same_bytes_in_two_files_are_an_overlap(lines, tmp_path):
    report = verify_path(put(tmp_path / "log", lines[:8], lines[5:]), keyring=HMAC.keyring)
    assert report.valid
    assert NoteCode.OVERLAP in notes(report)
    assert report.streams[0].last_seq == 12


def test_a_copy_of_a_whole_segment_is_an_overlap(lines, tmp_path):
    report = verify_path(put(tmp_path / "log", lines, lines), keyring=HMAC.keyring)
    assert report.valid
    assert NoteCode.OVERLAP in notes(report)


@pytest.mark.parametrize("kind", ["recovery", "restore"])
@pytest.mark.parametrize("at", [4, 8], ids=["inside", "at the end"])
def test_a_tail_that_a_recovery_took_over_is_superseded(kind, at, lines, tmp_path):
    taken, _ = go_on(state_behind(lines[at - 1]), [control(kind, lines[at - 1]), *fresh(6)])
    report = verify_path(put(tmp_path / "log", lines[:10], taken), keyring=HMAC.keyring)
    assert report.valid, report.findings
    assert NoteCode.SUPERSEDED in notes(report)
    assert report.streams[0].last_seq == at + 7


def test_an_old_segment_that_comes_back_is_superseded(lines, tmp_path):
    taken, _ = go_on(state_behind(lines[3]), [control("restore", lines[3]), *fresh(9)])
    report = verify_path(put(tmp_path / "log", lines[:4], taken, lines[4:]), keyring=HMAC.keyring)
    assert report.valid, report.findings
    assert NoteCode.SUPERSEDED in notes(report)
    assert NoteCode.RESTORED in notes(report)


def test_two_histories_without_a_restore_are_a_fork(lines, tmp_path):
    other, _ = go_on(state_behind(lines[5]), fresh(3))
    report = verify_path(put(tmp_path / "log", lines, other), keyring=HMAC.keyring)
    assert report.outcome is Outcome.TAMPERED
    (finding,) = [one for one in report.findings if one.code is Code.SEQ_REPEAT]
    assert (finding.seq, finding.line, finding.file) == (7, 1, str(tmp_path / "log" / segment_name("audit", DAY, 1)))


def test_a_fork_inside_a_file_is_found_at_its_line(lines, tmp_path):
    other, _ = go_on(state_behind(lines[7]), fresh(3))
    report = verify_path(put(tmp_path / "log", lines, lines[5:8] + other), keyring=HMAC.keyring)
    (finding,) = [one for one in report.findings if one.code is Code.SEQ_REPEAT]
    assert (finding.seq, finding.line) == (9, 4)


def test_a_hole_between_segments_is_found(lines, tmp_path):
    report = verify_path(put(tmp_path / "log", lines[:4], lines[6:]), keyring=HMAC.keyring)
    assert codes(report) == [Code.SEGMENT_MISSING]
    assert (report.findings[0].expected, report.findings[0].found) == ("5", "7")


def test_a_segment_of_another_chain_is_not_linked(lines, tmp_path):
    other = write_stream("audit", HMAC, segments=1, entries=12, seed=9).segments[0]
    report = verify_path(put(tmp_path / "log", lines[:4], other[4:]), keyring=HMAC.keyring)
    assert codes(report) == [Code.LINK_BROKEN]


def test_an_unkeyed_segment_behind_a_keyed_one_is_a_downgrade(lines, tmp_path):
    tail, _ = go_on(state_behind(lines[3]), fresh(3), key=None)
    report = verify_path(put(tmp_path / "log", lines[:4], tail), keyring=HMAC.keyring)
    assert (Code.MAC_MISSING, 1, 3) in [(one.code, one.line, one.last_line) for one in report.findings]


def test_a_stream_may_become_keyed(tmp_path):
    plain = write_stream("audit", UNKEYED_CHAIN, segments=1, entries=3).segments[0]
    tail, _ = go_on(state_behind(plain[-1]), fresh(3))
    for name, files in {"one": [plain + tail], "two": [plain, tail]}.items():
        report = verify_path(put(tmp_path / name, *files), keyring=HMAC.keyring)
        assert report.valid, report.findings
        assert report.streams[0].authenticated_through == 6


def test_a_beginning_that_is_not_there_is_noted(lines, tmp_path):
    report = verify_path(put(tmp_path / "log", lines[6:]), keyring=HMAC.keyring)
    assert report.valid
    assert NoteCode.BEGINS_LATE in notes(report)
    assert "stream audit before seq 7" in report.not_checked


def test_what_the_writer_put_on_record_is_noted(lines, tmp_path):
    payloads = [
        control_payload("recovery", reason="crash", unsigned=[11, 12], after_seq=12),
        control_payload("gap", count=5, reason="disk full"),
        control_payload("unknown kind", a=1),
    ]
    more, _ = go_on(state_behind(lines[-1]), payloads)
    for jobs in (1, 2):
        report = verify_path(put(tmp_path / "log", lines + more), keyring=HMAC.keyring, jobs=jobs)
        assert report.valid
        assert [(note.code, note.line) for note in report.notes][:2] == [
            (NoteCode.ADOPTED, 13),
            (NoteCode.LOSS_RECORDED, 14),
        ]


def test_a_manifest_of_a_superseded_segment_is_no_rollback(lines, tmp_path):
    from support.logs import Stream, manifest_of

    from fapilog_tamper.manifest import format_manifest

    taken, _ = go_on(state_behind(lines[3]), [control("restore", lines[3]), *fresh(9)])
    folder = put(tmp_path / "log", lines, taken)
    old = Stream("audit", [lines])
    (folder / f"{old.file(0)}.manifest.json").write_bytes(format_manifest(manifest_of(old, 0, K1)))
    report = verify_path(folder, keyring=HMAC.keyring)
    assert report.valid, report.findings
    assert NoteCode.SUPERSEDED in notes(report)


def test_what_may_stand_in_an_unreadable_file_is_not_missing(lines, tmp_path):
    folder = put(tmp_path / "log", lines[:4], lines[4:8], lines[8:])
    middle = folder / segment_name("audit", DAY, 1)
    middle.write_bytes(b"\x1f\x8b\x08\x00 damaged")
    report = verify_path(folder, keyring=HMAC.keyring)
    assert report.outcome is Outcome.UNDETERMINED
    assert codes(report) == [Code.UNREADABLE, Code.ENTRIES_MISSING]


def test_heads_of_other_streams_do_not_matter_to_a_file(tmp_path):
    from support.logs import make_log, write_image

    from fapilog_tamper import Keyring, TrustedKey

    folder = write_image(make_log(HMAC).image, tmp_path / "log")
    keyring = Keyring([TrustedKey(K1, streams=["audit"])])
    (folder / ".fapilog" / "other.chainstate").write_bytes(
        (folder / ".fapilog" / "audit.chainstate").read_bytes().replace(b'"audit"', b'"other"')
    )
    assert verify_path(folder / segment_name("audit", DAY, 2), keyring=keyring).valid
    assert not verify_path(folder, keyring=keyring).valid


@pytest.mark.parametrize("attested", ["head", "manifest", "both"])
def test_a_forged_recovery_does_not_borrow_the_word_of_the_head(attested, tmp_path):
    from support.logs import ED, ED_COMMIT, Stream, head_of, manifest_of

    from fapilog_tamper.head import format_head
    from fapilog_tamper.manifest import format_manifest

    stream = write_stream("audit", ED_COMMIT, segments=1, entries=12)
    lines = stream.segments[0]
    state, forged = state_behind(lines[4]), []
    for one in [control("recovery", lines[4]), *fresh(6)]:
        line, state = seal(one, state, ED, mac=False)
        forged.append(line)
    folder = put(tmp_path / "log", lines, forged)
    if attested != "manifest":
        (folder / ".fapilog").mkdir()
        (folder / ".fapilog" / "audit.chainstate").write_bytes(format_head(head_of(stream, ED)))
    if attested != "head":
        old = Stream("audit", [lines])
        (folder / f"{old.file(0)}.manifest.json").write_bytes(format_manifest(manifest_of(old, 0, ED)))
    report = verify_path(folder, keyring=ED_COMMIT.keyring)
    assert codes(report) == [Code.UNAUTHENTICATED_TAIL]
    assert report.streams[0].authenticated_through == 5
    assert report.streams[0].end_attested_by is None


def test_a_head_that_the_caller_vouches_for_is_not_superseded(lines, tmp_path):
    from support.logs import Stream, head_of

    from fapilog_tamper.head import format_head

    kept = tmp_path / "kept"
    kept.write_bytes(format_head(head_of(Stream("audit", [lines], state_behind(lines[-1])), K1)))
    taken, _ = go_on(state_behind(lines[3]), [control("restore", lines[3]), *fresh(9)])
    folder = put(tmp_path / "log", lines, taken)
    assert verify_path(folder, keyring=HMAC.keyring).valid
    assert Code.ROLLBACK in codes(verify_path(folder, keyring=HMAC.keyring, head=kept))


def test_a_broken_seam_ends_what_is_authenticated(lines, tmp_path):
    other = write_stream("audit", HMAC, segments=1, entries=12, seed=9).segments[0]
    report = verify_path(put(tmp_path / "log", lines[:4], other[4:]), keyring=HMAC.keyring)
    assert report.streams[0].authenticated_through == 0


def test_a_file_beside_that_cannot_be_placed_may_hold_what_follows(lines, tmp_path):
    from support.logs import Stream, head_of

    from fapilog_tamper.head import format_head

    folder = put(tmp_path / "log", lines[:8], [b"garbage\n", *lines[8:]])
    (folder / ".fapilog").mkdir()
    head = head_of(Stream("audit", [lines], state_behind(lines[-1])), K1)
    (folder / ".fapilog" / "audit.chainstate").write_bytes(format_head(head))
    assert verify_path(folder / segment_name("audit", DAY), keyring=HMAC.keyring).valid
    (folder / segment_name("audit", DAY, 1)).unlink()
    report = verify_path(folder / segment_name("audit", DAY), keyring=HMAC.keyring)
    assert codes(report) == [Code.SEGMENT_MISSING]


def test_an_interleaved_export_is_held_to_a_given_head_in_the_right_stream(tmp_path):
    from support.logs import Stream, head_of

    from fapilog_tamper.head import format_head

    first = write_stream("a", HMAC, segments=1, entries=4).segments[0]
    second = write_stream("b", HMAC, segments=1, entries=4).segments[0]
    kept = tmp_path / "kept"
    kept.write_bytes(format_head(head_of(Stream("a", [first[:2]], state_behind(first[1])), K1)))
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join([first[0], second[1], first[1], first[2], first[3]]))
    report = verify_path(export, keyring=HMAC.keyring, export=True, head=kept)
    assert Code.ROLLBACK not in codes(report)


def test_an_interrupted_run_proves_nothing_missing(tmp_path):
    from support.logs import make_log, write_image

    from fapilog_tamper import VerifyInterrupted

    folder = write_image(make_log(HMAC).image, tmp_path / "log")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(VerifyInterrupted) as caught:
        verify_path(folder, keyring=HMAC.keyring, deep=True, progress=interrupt)
    assert caught.value.report.outcome is Outcome.UNDETERMINED


@pytest.mark.parametrize("after", [5, 7])
@pytest.mark.parametrize("count", [1, 4, 30])
def test_a_superseded_history_may_be_longer_than_a_segment(after, count, tmp_path):
    lines = write_stream("audit", HMAC, segments=1, entries=20).segments[0]
    taken, _ = go_on(state_behind(lines[after - 1]), [control("recovery", lines[after - 1]), *fresh(count - 1)])
    report = verify_path(
        put(tmp_path / "log", lines[:5], lines[5:10], lines[10:15], lines[15:], taken), keyring=HMAC.keyring
    )
    assert report.valid, report.findings
    assert report.streams[0].last_seq == after + count
    assert NoteCode.SUPERSEDED in notes(report)


def test_overlapping_interleaved_extracts_accuse_nobody(tmp_path):
    first, second = (write_stream(name, HMAC, segments=1, entries=12).lines for name in ("a", "b"))
    for index, (low, high) in enumerate([(0, 10), (4, 12)]):
        mixed = [line for pair in zip(first[low:high], second[low:high], strict=True) for line in pair]
        (tmp_path / f"{index}.jsonl").write_bytes(b"".join(mixed))
    report = verify_path(sorted(tmp_path.glob("*.jsonl")), keyring=HMAC.keyring, export=True)
    assert report.outcome is Outcome.UNDETERMINED
