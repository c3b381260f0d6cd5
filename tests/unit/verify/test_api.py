"""The verifier as programs call it: paths, records, chains, repeated checks, workers, Ctrl-C."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from support.logs import (
    ED,
    ED_COMMIT,
    ED_LATE,
    HMAC,
    K1,
    K2,
    OTHER_ED,
    SHAPES,
    SITUATIONS,
    UNKEYED_CHAIN,
    make_log,
    write_image,
    write_stream,
)

from fapilog_tamper import (
    Code,
    ConfigError,
    Keyring,
    NoteCode,
    Outcome,
    SealKeyError,
    TrustedKey,
    Verifier,
    VerifyInterrupted,
    run_self_check,
    verify_chain_across_files,
    verify_path,
)
from fapilog_tamper.entry import split
from fapilog_tamper.layout import STATE_FOLDER, head_name
from fapilog_tamper.verify import segment as segment_module


def codes(report):
    return [finding.code for finding in report.findings]


@pytest.fixture
def folder(tmp_path):
    return write_image(make_log(HMAC).image, tmp_path / "log")


@pytest.fixture
def lines():
    return write_stream("audit", HMAC, segments=1, entries=10).segments[0]


def test_keys_may_be_uris_keys_or_a_keyring(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_KEY", K1.secret.hex())
    for keys in (["env:LOG_KEY?kid=k1&alg=HMAC-SHA256"], "env:LOG_KEY?kid=k1&alg=HMAC-SHA256", [K1], K1):
        assert verify_path(folder, keys=keys).valid
    assert verify_path(str(folder), keyring=Keyring([K1])).valid


def test_options_that_contradict_each_other_are_refused(folder):
    with pytest.raises(ConfigError, match="both given"):
        verify_path(folder, keys=[K1], keyring=Keyring([K1]))
    with pytest.raises(ConfigError, match="jobs is -1"):
        verify_path(folder, jobs=-1)
    with pytest.raises(SealKeyError):
        verify_path(folder, keys=["env:NOT_SET_ANYWHERE"])


@pytest.mark.parametrize("situation", [one for one in SITUATIONS if one.keys], ids=lambda one: one.name)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_keyed_log_without_its_key_is_undetermined(situation, shape, tmp_path):
    path = write_image(make_log(situation, shape).image, tmp_path / "log")
    report = verify_path(path)
    assert report.outcome is Outcome.UNDETERMINED
    assert set(codes(report)) == {Code.KEY_UNKNOWN}


def test_a_wrong_key_is_told_from_a_change(tmp_path):
    for situation, wrong in ((HMAC, type(K1)("k1", bytes(40))), (ED_COMMIT, OTHER_ED), (ED_LATE, OTHER_ED)):
        path = write_image(make_log(situation).image, tmp_path / situation.name)
        report = verify_path(path, keys=[wrong])
        assert report.outcome is Outcome.UNDETERMINED
        assert codes(report) == [Code.KEY_UNKNOWN]
        assert "the two look the same" in report.findings[0].message


def test_keys_that_fit_nothing_say_so_of_an_unkeyed_log(tmp_path):
    path = write_image(make_log(UNKEYED_CHAIN).image, tmp_path / "log")
    assert set(codes(verify_path(path, keys=[K1]))) == {Code.UNKEYED}
    assert NoteCode.UNKEYED_CHAIN in [note.code for note in verify_path(path).notes]


def test_a_key_holds_for_its_streams_and_seqs_only(folder):
    assert verify_path(folder, keyring=Keyring([TrustedKey(K1, streams=["audit"])])).valid
    other = verify_path(folder, keyring=Keyring([TrustedKey(K1, streams=["payments"])]))
    assert other.outcome is Outcome.TAMPERED
    assert Code.KEY_EXPIRED in codes(other)
    ended = verify_path(folder, keyring=Keyring([TrustedKey(K1, last_seq=7)]), deep=True)
    assert (Code.KEY_EXPIRED, 8) in [(one.code, one.seq) for one in ended.findings]


def test_an_origin_in_the_trust_file_pins_the_life_of_a_stream(folder):
    origin = verify_path(folder, keys=[K1]).streams[0].origin
    assert verify_path(folder, keyring=Keyring([K1], origins={"audit": origin})).valid
    other = Keyring([K1], origins={"audit": "A" * 43})
    assert codes(verify_path(folder, keyring=other)) == [Code.ROLLBACK]


def test_one_file_of_a_log_is_intact_by_itself(folder):
    for path in folder.glob("*.jsonl"):
        report = verify_path(path, keys=[K1])
        assert report.valid, (path, report.findings)
    middle = folder / "audit_2026-11-20.1.jsonl"
    assert NoteCode.BEGINS_LATE in [note.code for note in verify_path(middle, keys=[K1]).notes]


def test_the_head_beside_a_file_shows_that_its_end_is_cut(folder):
    last = folder / "audit_2026-11-20.2.jsonl"
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    (folder / "audit_2026-11-20.2.jsonl.manifest.json").unlink()
    assert codes(verify_path(last, keys=[K1])) == [Code.SEGMENT_MISSING]


def test_the_files_of_a_list_are_one_log_in_any_order(folder):
    files = sorted(folder.glob("audit_*.jsonl"))
    assert verify_chain_across_files(files[::-1], Keyring([K1])).valid
    without = verify_chain_across_files([files[0], files[1]], Keyring([K1]))
    assert without.streams[0].segments == 2
    assert Code.SEGMENT_MISSING in codes(
        verify_chain_across_files([path for path in files if ".1." not in path.name], Keyring([K1]))
    )


def test_a_head_from_elsewhere_must_be_reached(folder, tmp_path):
    name = head_name("audit")
    kept = shutil.copy(folder / STATE_FOLDER / name, tmp_path / "kept")
    assert verify_path(folder, keys=[K1], head=kept, require_end=True).valid
    old = write_image(make_log(HMAC, segments=2).image, tmp_path / "old")
    assert verify_path(old, keys=[K1]).valid
    assert Code.SEGMENT_MISSING in codes(verify_path(old, keys=[K1], head=[kept]))


def test_what_is_required_and_missing_is_undetermined(tmp_path):
    path = write_image(make_log(HMAC, SHAPES[-1]).image, tmp_path / "log")
    assert verify_path(path, keys=[K1]).valid
    for option, code in (("require_manifests", Code.MANIFEST_MISSING), ("require_end", Code.END_NOT_ATTESTED)):
        report = verify_path(path, keys=[K1], **{option: True})
        assert report.outcome is Outcome.UNDETERMINED
        assert set(codes(report)) == {code}


def test_one_stream_can_be_asked_for(folder):
    report = verify_path(folder, keys=[K1], stream="audit.w2")
    assert report.valid
    assert [one.stream for one in report.streams] == ["audit.w2"]
    assert codes(verify_path(folder, keys=[K1], stream="other")) == [Code.EMPTY]


@pytest.mark.parametrize("path", ["nothing", "nul\x00", ""])
def test_a_path_that_is_not_there_is_undetermined(path, tmp_path):
    target = tmp_path / path if path else tmp_path
    assert verify_path(target, keys=[K1]).outcome is Outcome.UNDETERMINED


def test_the_signed_hash_is_named_and_deep_reads_the_lines(folder):
    assert {one.checked for one in verify_path(folder, keys=[K1]).files} == {"signed hash"}
    assert {one.checked for one in verify_path(folder, keys=[K1], deep=True).files} == {"lines"}
    assert {one.checked for one in verify_path(folder).files} == {"lines"}


def test_deep_finds_what_is_wrong_with_a_payload(tmp_path):
    from fapilog_tamper.entry import ChainState, seal

    state, made = ChainState("audit"), []
    for raw in (
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"b":{"integrity":1},"integrity":1}',
        b'{"n":' + b"9" * 5000 + b"}",
    ):
        line, state = seal(raw, state, K1)
        made.append(line)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(made))
    assert verify_path(path, keys=[K1]).valid
    report = verify_path(path, keys=[K1], deep=True)
    assert [(one.code, one.line, one.last_line) for one in report.findings] == [(Code.LINE_MALFORMED, 2, 4)]
    assert [(note.code, note.line) for note in report.notes if note.code is NoteCode.DUPLICATE_KEY] == [
        (NoteCode.DUPLICATE_KEY, 1)
    ]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("damage", ["none", "edit", "cut", "drop", "blank", "torn", "head"])
def test_workers_and_parts_do_not_change_the_report(situation, damage, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_module, "PART_SIZE", 400)
    log = make_log(situation, SHAPES[2] if damage in ("torn", "blank") else SHAPES[3], entries=40)
    name = log.main.file(1)
    data = log.image[name]
    log.image[name] = {
        "none": data,
        "edit": data.replace(b'"n":50', b'"n":51', 1).replace(b"data_access", b"data_excess", 1),
        "cut": data[: len(data) // 2],
        "drop": b"".join(data.splitlines(keepends=True)[:20] + data.splitlines(keepends=True)[21:]),
        "blank": data + b"\n\n",
        "torn": data[:-3],
        "head": data,
    }[damage]
    path = write_image(log.image, tmp_path / "log")
    alone = verify_path(path, keyring=situation.keyring)
    assert alone.valid == (damage in ("none", "head"))
    with ThreadPoolExecutor(2) as threads:
        assert verify_path(path, keyring=situation.keyring, executor=threads) == alone
    assert verify_path(path, keyring=situation.keyring, jobs=3) == alone


def test_any_executor_will_do_and_stays_open(folder):
    with ProcessPoolExecutor(1) as pool:
        assert verify_path(folder, keys=[K1], executor=pool) == verify_path(folder, keys=[K1])
        assert pool.submit(int, "1").result() == 1


def test_progress_reaches_the_end(folder):
    seen = []
    verify_path(folder, keys=[K1], progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_ctrl_c_hands_over_what_was_checked(folder):
    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(VerifyInterrupted) as caught:
        verify_path(folder, keys=[K1], progress=interrupt)
    report = caught.value.report
    assert report.outcome is not Outcome.INTACT
    assert 0 < len(report.files) < 6
    assert any("interrupted" in text for text in report.not_checked)


def test_the_report_is_json_and_travels(folder):
    report = verify_path(folder, keys=[K1])
    members = json.loads(report.to_json())
    assert members["schema_version"] == "1.0"
    assert (members["outcome"], members["valid"]) == ("intact", True)
    assert members["counts"]["entries"] == 30
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 (our own bytes)


def test_a_file_name_that_is_no_text_does_not_spoil_the_report(tmp_path, lines):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad-\xff-name.jsonl"))
    path.write_bytes(lines[0] + b"garbage\n")
    report = verify_path(path, keys=[K1])
    assert report.outcome is Outcome.TAMPERED
    json.loads(report.to_json())


def test_records_are_verified_one_by_one(lines):
    verifier = Verifier(Keyring([K1]))
    for line in lines:
        assert verifier.verify_record(line)
        assert verifier.verify_record(line.decode().rstrip("\n"))
        assert verifier.verify_record(json.loads(line))
    assert not Verifier(Keyring([K2])).verify_record(lines[0])
    assert not Verifier().verify_record(lines[0])
    unkeyed = write_stream("audit", UNKEYED_CHAIN, segments=1).segments[0][0]
    assert Verifier().verify_record(unkeyed)
    assert not verifier.verify_record(unkeyed)


@pytest.mark.parametrize(
    "record",
    [
        b"", b"{}", "", "[]", {}, {"integrity": {}}, {"integrity": None}, "\ud800",
        {"integrity": {"status": "unsealed"}},
        {"integrity": {"v": 1, "stream": 5}}, {"integrity": {"v": {1}}}, b"\x00" * 50, {1: 2, "integrity": []},
    ],
)  # fmt: skip
def test_what_is_no_record_is_not_true(record):
    assert not Verifier(Keyring([K1])).verify_record(record)
    assert not Verifier(Keyring([K1])).verify_chain([record]).valid


def test_a_changed_record_is_not_true(lines):
    verifier = Verifier(Keyring([K1]))
    record = json.loads(lines[2])
    assert not verifier.verify_record(record | {"n": 99})
    assert not verifier.verify_record(record | {"integrity": record["integrity"] | {"seq": 4}})
    assert not verifier.verify_record(record | {"integrity": record["integrity"] | {"extra": 4}})


def test_a_chain_of_records_is_judged_like_a_file(lines):
    verifier = Verifier(Keyring([K1]))
    assert verifier.verify_chain(json.loads(line) for line in lines).valid
    report = verifier.verify_chain([*lines[:3], *lines[4:]])
    assert [(one.code, one.line, one.seq) for one in report.findings] == [(Code.SEQ_GAP, 4, 5)]
    assert codes(verifier.verify_chain([])) == [Code.EMPTY]


async def test_a_file_is_verified_with_the_manifest_given(folder, tmp_path):
    verifier = Verifier(Keyring([K1]))
    away = tmp_path / "away.jsonl"
    away.write_bytes((folder / "audit_2026-11-20.jsonl").read_bytes())
    manifest = folder / "audit_2026-11-20.jsonl.manifest.json"
    report = await verifier.verify_file(away, manifest)
    assert report.valid
    assert report.files[0].checked == "signed hash"
    other = await verifier.verify_file(away, folder / "audit_2026-11-20.1.jsonl.manifest.json")
    assert Code.MANIFEST_MISMATCH in codes(other)
    assert Code.UNREADABLE in codes(await verifier.verify_file(away, tmp_path / "none"))


async def test_the_self_check_reports_a_finding_once(folder):
    found: list = []
    rounds = asyncio.Event()

    async def on_finding(finding):
        found.append(finding.code)
        rounds.set()

    task = asyncio.create_task(run_self_check(folder, Keyring([K1]), interval=0.001, on_finding=on_finding))
    path = folder / "audit_2026-11-20.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2', 1))
    await rounds.wait()
    for _ in range(20):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(found) == sorted(set(found))
    assert Code.PAYLOAD_CHANGED in found


async def test_the_self_check_needs_an_interval(folder):
    with pytest.raises(ConfigError):
        await run_self_check(folder, None, interval=0, on_finding=print)


@pytest.mark.parametrize("order", ["newest first", "shuffled", "mixed", "filtered"])
def test_an_export_is_grouped_and_sorted(order, tmp_path):
    log = make_log(HMAC)
    first, second = (stream.lines for stream in log.streams)
    picked = {
        "newest first": first[::-1],
        "shuffled": first[::2] + first[1::2],
        "mixed": [line for pair in zip(first, second, strict=True) for line in pair],
        "filtered": first[:4] + first[6:],
    }[order]
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(picked))
    assert verify_path(path, keys=[K1]).outcome is Outcome.TAMPERED
    report = verify_path(path, keys=[K1], export=True)
    if order == "filtered":
        assert codes(report) == [Code.ENTRIES_MISSING]
        assert report.outcome is Outcome.UNDETERMINED
    else:
        assert report.valid, report.findings
    changed = [line.replace(b'"n":3', b'"n":4') for line in picked]
    path.write_bytes(b"".join(changed))
    assert Code.PAYLOAD_CHANGED in codes(verify_path(path, keys=[K1], export=True))


def test_a_compressed_segment_is_its_manifests_segment(folder):
    for path in folder.glob("audit_*.jsonl"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    report = verify_path(folder, keys=[K1])
    assert report.valid, report.findings
    assert {one.checked for one in report.files} == {"signed hash"}


def test_both_a_segment_and_its_compressed_copy_are_an_overlap(folder):
    path = folder / "audit_2026-11-20.jsonl"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    report = verify_path(folder, keys=[K1])
    assert report.valid, report.findings
    assert NoteCode.OVERLAP in [note.code for note in report.notes]


def test_late_seals_of_entries_far_back_are_looked_up(tmp_path, monkeypatch):
    from fapilog_tamper.verify import macs

    monkeypatch.setattr(macs, "_WINDOW", 1)
    monkeypatch.setattr(segment_module, "PART_SIZE", 300)
    log = make_log(ED_LATE, SHAPES[-1], entries=30)
    path = write_image(log.image, tmp_path / "log")
    alone = verify_path(path, keys=[ED])
    assert alone.valid
    with ThreadPoolExecutor(1) as threads:
        assert verify_path(path, keys=[ED], executor=threads) == alone


def test_a_late_seal_in_the_next_segment_counts(tmp_path):
    stream = write_stream("audit", ED_LATE, segments=1, entries=6)
    lines = stream.segments[0]
    seal_at = max(number for number, line in enumerate(lines) if b'"sealed_log"' in line)
    for name, part in (("a.jsonl", lines[:seal_at]), ("b.jsonl", lines[seal_at:])):
        (tmp_path / name).write_bytes(b"".join(part))
    report = verify_path(tmp_path, keys=[ED])
    assert report.valid, report.findings
    assert report.streams[0].authenticated_through == split(lines[seal_at])[1].seq - 1


def test_a_manifest_alone_does_not_attest_an_end_that_is_required(tmp_path):
    folder = write_image(make_log(HMAC, SHAPES[2]).image, tmp_path / "log")
    assert verify_path(folder, keys=[K1]).valid
    assert set(codes(verify_path(folder, keys=[K1], require_end=True))) == {Code.END_NOT_ATTESTED}


def test_a_wrong_file_given_as_head_accuses_nobody(folder, tmp_path):
    (tmp_path / "wrong").write_text("{}")
    report = verify_path(folder, keys=[K1], head=tmp_path / "wrong")
    assert codes(report) == [Code.UNREADABLE]
    assert "right file" in report.findings[0].hint
