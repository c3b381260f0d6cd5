"""What an attacker without the key may put into a folder: no verdict turns, no crash, no growth without bound."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tracemalloc

import pytest
from support.logs import DAY, ED, ED_COMMIT, ED_LATE, HMAC, K1, K2, make_log, write_image, write_stream

from fapilog_tamper import Code, Keyring, NoteCode, Outcome, SealedLog, TrustedKey, Verifier, verify_path
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, block_format, chain_hash, seal, split
from fapilog_tamper.head import format_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, segment_name
from fapilog_tamper.payload import encode_payload

OLD = Ed25519SigningKey("old", bytes(range(32)))
NEW = Ed25519SigningKey("new", bytes(range(1, 33)))


def codes(report):
    return [finding.code for finding in report.findings]


def unsigned(state, key_id, algo, payload):
    """Return a line as anybody makes it: chained, labelled with a key, without a mac."""
    chain = chain_hash(state.stream, key_id, state.seq + 1, state.chain_hash, payload)
    block = block_format(state.stream.encode(), algo.encode(), key_id.encode(), mac=False)
    fields = (state.seq + 1, b64url_encode(state.chain_hash).encode(), b64url_encode(chain).encode())
    return payload[:-1] + b"," + block % fields, ChainState(state.stream, state.seq + 1, chain)


def verify(tmp_path, lines, **options):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    return verify_path(path, **options)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sealed_log":{"kind":"seal"},"event_type":"data_deletion","user_id":"victim"}',
        b'{"sealed_log":{"kind":"seal","event":"forged"}}',
        b'{"sealed_log":{"kind":"seal","key_id":"nobody","seq":1}}',
    ],
)
@pytest.mark.parametrize("situation", [HMAC, ED_COMMIT, ED_LATE], ids=lambda one: one.name)
def test_an_event_in_the_shape_of_a_seal_is_not_left_out_of_the_tail(payload, situation, tmp_path):
    log = make_log(situation)
    folder = write_image(log.image, tmp_path / "log")
    state, forged = log.main.state, []
    for _ in range(3):
        line, state = unsigned(state, ED.key_id, "Ed25519", payload)
        forged.append(line)
    (folder / segment_name("audit", DAY, 9)).write_bytes(b"".join(forged))
    keyring = Keyring([K1, ED.verifying_key()])
    report = verify_path(folder, keyring=keyring)
    assert Code.UNAUTHENTICATED_TAIL in codes(report)
    whole = [unsigned(ChainState("audit"), ED.key_id, "Ed25519", payload)[0]]
    assert verify(tmp_path, whole, keyring=keyring).outcome is Outcome.UNDETERMINED


def test_what_a_seal_says_besides_is_covered_by_no_mac(tmp_path):
    lines = write_stream("audit", ED_LATE, segments=1, entries=3).segments[0]
    assert verify(tmp_path, lines, keyring=ED_LATE.keyring).valid
    payload, block = split(lines[-1])
    state = ChainState("audit", block.seq - 1, block.prev_chain_hash)
    more, _ = unsigned(state, ED.key_id, "Ed25519", payload[:-1] + b',"event":"forged"}')
    report = verify(tmp_path, [*lines[:-1], more], keyring=ED_LATE.keyring)
    assert codes(report) == [Code.UNAUTHENTICATED_TAIL]


@pytest.mark.parametrize("parts", ["one file", "two files", "with manifest and head"])
def test_a_newer_key_does_not_speak_for_the_entries_of_an_older_one(parts, tmp_path):
    keyring = Keyring([TrustedKey(OLD, last_seq=50), TrustedKey(NEW, first_seq=51)])
    state, forged, signed = ChainState("audit"), [], []
    for number in range(50):
        line, state = unsigned(state, "old", "Ed25519", b'{"n":%d}' % number)
        forged.append(line)
    for number in range(50, 60):
        line, state = seal(b'{"n":%d}' % number, state, NEW)
        signed.append(line)
    folder = tmp_path / "log"
    folder.mkdir()
    files = [forged + signed] if parts != "two files" else [forged, signed]
    for index, lines in enumerate(files):
        (folder / segment_name("audit", DAY, index)).write_bytes(b"".join(lines))
    if parts == "with manifest and head":
        from support.logs import Stream, head_of, manifest_of

        from fapilog_tamper.manifest import format_manifest

        stream = Stream("audit", files, state)
        (folder / f"{stream.file(0)}.manifest.json").write_bytes(format_manifest(manifest_of(stream, 0, NEW)))
        (folder / STATE_FOLDER).mkdir()
        (folder / STATE_FOLDER / head_name("audit")).write_bytes(format_head(head_of(stream, NEW)))
    report = verify_path(folder, keyring=keyring)
    assert report.outcome is Outcome.UNDETERMINED
    assert Code.UNAUTHENTICATED_TAIL in codes(report)


def test_a_rotation_with_limits_on_both_keys_is_intact(tmp_path):
    keyring = Keyring([TrustedKey(OLD, last_seq=5), TrustedKey(NEW, first_seq=6)])
    state, lines = ChainState("audit"), []
    for number in range(1, 11):
        key = OLD if number <= 5 else NEW
        line, state = seal(b'{"n":%d}' % number, state, key, mac=number in (3, 5, 10))
        lines.append(line)
    assert verify(tmp_path, lines, keyring=keyring).valid


def test_a_segment_under_a_key_beyond_its_seqs_is_not_taken_by_its_hash(tmp_path):
    folder = write_image(make_log(HMAC).image, tmp_path / "log")
    report = verify_path(folder, keyring=Keyring([TrustedKey(K1, first_seq=4)]))
    assert Code.KEY_EXPIRED in codes(report)


def test_a_head_speaks_of_other_streams_only_where_its_key_may(tmp_path):
    other = HmacKey("kb", bytes(range(3, 40)))
    from support.logs import Situation, Stream, head_of

    first = write_stream("a", HMAC, segments=1, entries=3)
    second = write_stream("b", Situation("b", (other,), "each", None), segments=1, entries=4)
    folder = tmp_path / "log"
    (folder / STATE_FOLDER).mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"".join(first.lines))
    (folder / "b.jsonl").write_bytes(b"".join(second.lines))
    claim = (("b", second.state.seq, second.state.chain_hash),)
    head = head_of(Stream("a", first.segments, first.state), K1, claim)
    (folder / STATE_FOLDER / head_name("a")).write_bytes(format_head(head))
    keyring = Keyring([TrustedKey(K1, streams=["a"]), TrustedKey(other, streams=["b"])])
    report = verify_path(folder, keyring=keyring, require_end=True)
    assert codes(report) == [Code.END_NOT_ATTESTED]


@pytest.mark.parametrize(
    ("said", "changed"),
    [("NaN", float("nan")), ("1152921504606846976", 1152921504606846976), ("\ufffd", "\ud800")],
)
def test_a_record_whose_text_stands_for_another_value_is_not_true(said, changed):
    import json

    line, _ = seal(encode_payload({"n": said}), ChainState("a"), K1)
    record = json.loads(line)
    verifier = Verifier(Keyring([K1]))
    assert verifier.verify_record(record)
    assert not verifier.verify_record(record | {"n": changed})
    assert not verifier.verify_chain([record | {"n": changed}]).valid


@pytest.mark.parametrize("record", [None, 5, [1], (), object()])
def test_what_is_not_even_a_mapping_is_not_true(record):
    assert not Verifier(Keyring([K1])).verify_record(record)


def test_a_given_head_that_cannot_be_held_against_an_export_is_said(tmp_path):
    from support.logs import Stream, head_of

    kept = tmp_path / "kept"
    honest = write_stream("a", HMAC, segments=1, entries=5, seed=8)
    kept.write_bytes(format_head(head_of(Stream("a", honest.segments, honest.state), K1)))
    first = write_stream("a", HMAC, segments=1, entries=10).lines[1:]
    second = write_stream("b", HMAC, segments=1, entries=10).lines[1:]
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join(line for pair in zip(first, second, strict=True) for line in pair))
    assert not verify_path(export, keyring=HMAC.keyring, export=True, head=kept).valid


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_interleaved_streams_with_late_seals_are_exported_whole(batch, tmp_path):
    first, second = (write_stream(name, ED_LATE, segments=1, entries=12).lines for name in ("a", "b"))
    mixed = []
    for at in range(0, len(first), batch):
        mixed += first[at : at + batch] + second[at : at + batch]
    assert verify(tmp_path, mixed, keyring=ED_LATE.keyring, export=True).valid


@pytest.mark.parametrize(
    "raw",
    [
        b'{"timestamp" :"2026-01-01T00:00:00Z"}',
        b'{"time\\u0073tamp":"x"}',
        b'{"timestamp":"\\ud800x"}',
        b'{"timestamp":1700000000}',
        b'{"a":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
)
def test_raw_payloads_pass_the_deep_check(raw, tmp_path):
    with SealedLog.open(tmp_path / "log", key=K1, stream="audit") as log:
        log.append(raw)
    report = verify_path(tmp_path / "log", keys=[K1], deep=True)
    assert report.valid, report.findings


def test_how_deep_a_payload_may_nest_does_not_depend_on_who_verifies(tmp_path):
    line, _ = seal(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", ChainState("audit"), K1)
    assert verify(tmp_path, [line], keys=[K1], deep=True).valid


@pytest.mark.parametrize("member", ["count", "reason", "by", "lost_seq"])
@pytest.mark.parametrize("kind", ["gap", "restore", "recovery"])
def test_a_control_entry_full_of_brackets_is_no_crash(kind, member, tmp_path):
    deep = b"[" * 1000 + b"]" * 1000
    payload = b'{"sealed_log":{"kind":"%s","%s":%s}}' % (kind.encode(), member.encode(), deep)
    line, _ = unsigned(ChainState("audit"), "k1", "HMAC-SHA256", payload)
    assert verify(tmp_path, [line], keys=[K1]).outcome is Outcome.TAMPERED


def test_what_a_control_entry_says_is_quoted_in_short(tmp_path):
    payload = b'{"sealed_log":{"kind":"gap","count":1,"reason":"%s"}}' % (b"x" * 50_000)
    line, _ = seal(payload, ChainState("audit"), K1)
    report = verify(tmp_path, [line], keys=[K1])
    (note,) = [one for one in report.notes if one.code is NoteCode.LOSS_RECORDED]
    assert len(note.message) < 300


def peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [b"\n" * 3_000_000, b"x\n{}\n" * 60_000, b"\x00" * 30_000_000, b"x" * 30_000_000],
    ids=["blank", "two kinds in turn", "zeros", "one line"],
)
def test_bulk_is_read_in_little_memory(data, tmp_path):
    path = tmp_path / "bulk.jsonl.gz"
    path.write_bytes(gzip.compress(data))
    del data
    assert peak(lambda: verify_path(path, keys=[K1])) < 12_000_000


def test_a_key_for_each_line_is_counted_in_little_memory(tmp_path):
    state, lines = ChainState("audit"), []
    for number in range(3000):
        line, state = unsigned(state, f"key{number}", "Ed25519", b'{"a":1}')
        lines.append(line)
    report = verify(tmp_path, lines, keys=[K2])
    assert report.outcome is Outcome.UNDETERMINED
    assert len(report.findings) < 150


@pytest.mark.parametrize("beside", ["empty", "dangling"])
def test_a_file_beside_that_holds_nothing_explains_no_missing_end(beside, tmp_path):
    log = make_log(HMAC)
    folder = write_image(log.image, tmp_path / "log")
    last = folder / log.main.file(2)
    (folder / f"{last.name}.manifest.json").unlink()
    last.write_bytes(b"".join(log.main.segments[2][:-1]))
    extra = folder / "z.jsonl"
    if beside == "empty":
        extra.write_bytes(b"")
    else:
        extra.symlink_to(tmp_path / "nowhere")
    assert Code.SEGMENT_MISSING in codes(verify_path(last, keys=[K1]))


def test_a_second_writer_with_a_state_folder_of_its_own_is_noticed(tmp_path):
    from fapilog_tamper import StoreError

    first = SealedLog.open(tmp_path / "log", key=K1, state_dir=tmp_path / "s1")
    second = SealedLog.open(tmp_path / "log", key=K1, state_dir=tmp_path / "s2")
    first.append({"a": 1})
    with pytest.raises(StoreError, match="another writer"):
        second.append({"a": 2})
    with pytest.raises(StoreError, match="could not be closed"), pytest.warns(RuntimeWarning, match="another writer"):
        second.close()
    first.close()
    assert verify_path(tmp_path / "log", keys=[K1]).valid


def test_a_report_does_not_go_through_a_hard_link_into_the_log(tmp_path):
    folder = write_image(make_log(HMAC).image, tmp_path / "log")
    segment = folder / segment_name("audit", DAY)
    before = segment.read_bytes()
    os.link(segment, tmp_path / "report.txt")
    command = [sys.executable, "-m", "fapilog_tamper", "verify", str(folder), "-o", str(tmp_path / "report.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "hard links" in done.stderr
    assert segment.read_bytes() == before
