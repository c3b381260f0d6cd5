"""How the check goes on behind a defect: each one named once, none hidden by another, no false alarm behind it."""

from __future__ import annotations

import gzip

import pytest
from support.logs import DAY, HMAC, K1, K2, SHAPES, head_of, make_log, manifest_of, write_image, write_stream

from fapilog_tamper import Code, Keyring, Outcome, verify_path
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.head import format_head
from fapilog_tamper.keys import Ed25519SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, segment_name
from fapilog_tamper.manifest import format_manifest
from fapilog_tamper.verify.source import MAX_LINE

LINES = write_stream("audit", HMAC, segments=1, entries=12).segments[0]
NEWER = b'{"integrity":{"v":2}}\n'


def verify(tmp_path, data, **options):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(data)
    return verify_path(path, keyring=HMAC.keyring, **options)


def places(report):
    return [(one.code, one.line) for one in report.findings]


@pytest.mark.parametrize("junk", [NEWER, b"garbage\n", b"\n", b"{}\n"])
def test_junk_does_not_hide_a_deletion_further_on(junk, tmp_path):
    lines = [*LINES[:2], junk, *LINES[2:5], *LINES[6:]]
    report = verify(tmp_path, b"".join(lines))
    assert report.outcome is Outcome.TAMPERED
    assert (Code.SEQ_GAP, 7) in places(report)


@pytest.mark.parametrize("junk", [b"garbage\n", b"\n", b"x" * (MAX_LINE + 1) + b"\n"])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_line_that_was_overwritten_is_one_finding(junk, at, tmp_path):
    report = verify(tmp_path, b"".join([*LINES[:at], junk, *LINES[at + 1 :]]))
    assert places(report) == [(Code.LINE_MALFORMED, at + 1)]


@pytest.mark.parametrize("junk", [b"garbage\n", b"\n\n"])
def test_junk_before_a_segment_is_no_hole(junk, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"".join(LINES[:4]))
    count = junk.count(b"\n")
    (tmp_path / "b.jsonl").write_bytes(junk + b"".join(LINES[4 + count :]))
    report = verify_path(tmp_path, keyring=HMAC.keyring)
    assert {one.code for one in report.findings} == {Code.LINE_MALFORMED}


def test_many_findings_of_one_kind_do_not_push_out_the_one_that_decides(tmp_path):
    wrong = Keyring([K1, type(K2)("k2", bytes(40))])
    state, lines = ChainState("audit"), []
    for number in range(1200):
        line, state = seal(b'{"n":%d}' % number, state, (K1, K2)[number % 2])
        lines.append(line)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    assert verify_path(path, keyring=wrong).outcome is Outcome.UNDETERMINED
    lines[1100] = lines[1100].replace(b"1100", b"1101", 1)
    path.write_bytes(b"".join(lines))
    report = verify_path(path, keyring=wrong)
    assert (Code.PAYLOAD_CHANGED, 1101) in places(report)
    assert report.outcome is Outcome.TAMPERED


@pytest.mark.parametrize("key", [K1, None])
def test_entry_1_has_nothing_before_it(key, tmp_path):
    line, _ = seal(b'{"a":1}', ChainState("audit", 0, bytes(range(32))), key)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(line)
    report = verify_path(path, keys=None if key is None else [key])
    assert (Code.LINK_BROKEN, 1) in places(report)


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00" * (2 << 20),
        b"\x00" * 700,
        LINES[8][:-1],
        LINES[8][:30],
        b"\n",
        b"\n\n\n",
        b"x" * (MAX_LINE + 5),
    ],
)
def test_a_tail_that_a_crash_may_leave_is_torn(tail, tmp_path):
    report = verify(tmp_path, b"".join(LINES[:8]) + tail)
    assert places(report) == [(Code.TORN_TAIL, 9)]
    assert report.outcome is Outcome.UNDETERMINED


@pytest.mark.parametrize("size", [1 << 10, 3 << 20])
def test_a_hole_that_ends_at_a_sector_makes_all_behind_it_torn(size, tmp_path):
    begin = b"".join(LINES[:8])
    hole = b"\x00" * (size - len(begin) % 512)
    report = verify(tmp_path, begin + hole + b"".join(LINES[9:]))
    assert places(report) == [(Code.TORN_TAIL, 9)]
    moved = verify(tmp_path, begin + hole + b"\x00" + b"".join(LINES[9:]))
    assert places(moved)[0] == (Code.LINE_MALFORMED, 9)


@pytest.mark.parametrize("tail", [b"\x00" * 700, LINES[8][:-1], b"\n"])
def test_no_tail_is_torn_where_somebody_speaks_of_later_entries(tail, tmp_path):
    log = make_log(HMAC, SHAPES[3], segments=1, entries=12)
    name = log.main.file(0)
    log.image[name] = b"".join(log.main.segments[0][:8]) + tail
    report = verify_path(write_image(log.image, tmp_path / "log"), keyring=HMAC.keyring)
    assert report.outcome is Outcome.TAMPERED
    assert {Code.LINE_MALFORMED, Code.SEGMENT_MISSING} <= {one.code for one in report.findings}


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 40_000])
@pytest.mark.parametrize("before", [0, 3, 8])
def test_the_longest_line_is_the_same_wherever_it_stands(size, before, tmp_path):
    state = ChainState("audit", before, split(LINES[before - 1])[1].chain_hash) if before else ChainState("audit")
    spare = size - len(seal(b'{"a":""}', state, K1)[0])
    line, _ = seal(b'{"a":"' + b"x" * spare + b'"}', state, K1)
    assert len(line) == size
    report = verify(tmp_path, b"".join(LINES[:before]) + line)
    assert places(report) == ([] if size <= MAX_LINE else [(Code.LINE_MALFORMED, before + 1)])


def test_bytes_behind_a_compressed_segment_are_named_with_and_without_manifest(tmp_path):
    for shape in (SHAPES[0], SHAPES[-1]):
        log = make_log(HMAC, shape)
        folder = write_image(log.image, tmp_path / shape.name)
        path = folder / log.main.file(1)
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()) + gzip.compress(b"x\n"))
        path.unlink()
        report = verify_path(folder, keyring=HMAC.keyring)
        assert [one.code for one in report.findings] == [Code.LINE_MALFORMED]


def test_a_damaged_compressed_segment_is_not_the_one_its_manifest_describes(tmp_path):
    for shape, code in ((SHAPES[0], Code.MANIFEST_MISMATCH), (SHAPES[-1], Code.UNREADABLE)):
        log = make_log(HMAC, shape)
        folder = write_image(log.image, tmp_path / shape.name)
        path = folder / log.main.file(2)
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-4])
        path.unlink()
        assert code in [one.code for one in verify_path(folder, keyring=HMAC.keyring).findings]


def test_an_export_of_keyed_and_unkeyed_streams_is_no_downgrade(tmp_path):
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(LINES[:4] + LINES[6:] + _unkeyed("notes")))
    report = verify_path(path, export=True)
    assert report.outcome is Outcome.UNDETERMINED
    assert {one.code for one in report.findings} == {Code.KEY_UNKNOWN, Code.ENTRIES_MISSING}


def _unkeyed(name):
    state, lines = ChainState(name), []
    for number in range(3):
        line, state = seal(b'{"n":%d}' % number, state, None)
        lines.append(line)
    return lines


def test_an_export_beside_the_heads_of_its_log_need_not_reach_them(tmp_path):
    folder = write_image(make_log(HMAC).image, tmp_path / "log")
    export = folder / "export.jsonl"
    export.write_bytes(b"".join(LINES[:5][::-1]))
    report = verify_path(export, keyring=HMAC.keyring, export=True)
    assert Outcome.TAMPERED is not report.outcome


def test_an_export_that_a_given_head_goes_beyond_is_undetermined(tmp_path):
    folder = write_image(make_log(HMAC).image, tmp_path / "log")
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join((folder / segment_name("audit", DAY)).read_bytes().splitlines(keepends=True)))
    report = verify_path(export, keyring=HMAC.keyring, export=True, head=folder / STATE_FOLDER / head_name("audit"))
    assert [one.code for one in report.findings] == [Code.ENTRIES_MISSING]


def test_an_unkeyed_head_from_before_a_stream_was_keyed_is_no_downgrade(tmp_path):
    stream = write_stream("audit", HMAC, segments=1, entries=0)
    state, first, second = ChainState("audit"), [], []
    for number in range(6):
        line, state = seal(b'{"n":%d}' % number, state, None if number < 3 else K1)
        (first if number < 3 else second).append(line)
        if number == 2:
            stream.segments, stream.state = [first], state
            head = format_head(head_of(stream, None))
    image = {stream.file(0): b"".join(first), stream.file(1): b"".join(second)}
    image[f"{STATE_FOLDER}/{head_name('audit')}"] = head
    report = verify_path(write_image(image, tmp_path / "log"), keyring=HMAC.keyring)
    assert report.valid, report.findings


@pytest.mark.parametrize("keyring", [HMAC.keyring, None], ids=["with key", "without"])
def test_a_pruned_log_may_keep_its_old_manifests(keyring, tmp_path):
    import dataclasses

    from fapilog_tamper.head import parse_head, sign_head

    log = make_log(HMAC, SHAPES[1])
    name = f"{STATE_FOLDER}/{head_name('audit')}"
    head = dataclasses.replace(parse_head(log.image[name]), first_seq=6)
    log.image[name] = format_head(sign_head(head, K1))
    del log.image[log.main.file(0)]
    report = verify_path(write_image(log.image, tmp_path / "log"), keyring=keyring)
    assert {one.code for one in report.findings} == (set() if keyring else {Code.KEY_UNKNOWN})


def test_a_manifest_signed_by_another_trusted_key_is_good(tmp_path):
    other = Ed25519SigningKey("manifests", bytes(range(7, 39)))
    log = make_log(HMAC, SHAPES[-1])
    for stream in log.streams:
        for index in range(3):
            log.image[stream.file(index) + ".manifest.json"] = format_manifest(manifest_of(stream, index, other))
    report = verify_path(write_image(log.image, tmp_path / "log"), keys=[K1, other])
    assert report.valid, report.findings
    assert {one.checked for one in report.files} == {"signed hash"}


def test_nothing_but_malformed_lines_is_tampered(tmp_path):
    assert verify(tmp_path, b"a\nb\n").outcome is Outcome.TAMPERED
    assert verify(tmp_path, b"[" * 10_000 + b"\n").outcome is Outcome.TAMPERED
    assert verify(tmp_path, b'{"integrity":{}}\n{"integrity":{"stream":5}}\n').outcome is Outcome.TAMPERED
