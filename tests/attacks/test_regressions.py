"""Defects that the attack matrix found once."""

from __future__ import annotations

from support.logs import ED_LATE, HMAC, OTHER_ED, SHAPES, gzipped, make_log, write_image

from fapilog_tamper import Keyring, verify_path


def test_late_seals_under_a_wrong_key_are_undetermined_where_nothing_else_is_signed(tmp_path):
    folder = write_image(make_log(ED_LATE, SHAPES[-1]).image, tmp_path / "log")
    report = verify_path(folder, keyring=Keyring([OTHER_ED]))
    assert report.outcome == "undetermined", report.findings
    assert "key-unknown" in {finding.code for finding in report.findings}


def test_a_packed_segment_longer_than_its_manifest_says_is_called_that(tmp_path):
    log = make_log(HMAC)
    file = log.main.file(1)
    data = log.image.pop(file).replace(b'"n":7', b'"n":7777')
    folder = write_image(log.image | {f"{file}.gz": gzipped(data)}, tmp_path / "log")
    report = verify_path(folder, keyring=HMAC.keyring)
    assert report.outcome == "tampered"
    mismatch = next(finding for finding in report.findings if finding.code == "manifest-mismatch")
    assert "unpacks to more than" in mismatch.message
    assert {"payload-changed"} <= {finding.code for finding in report.findings}
    assert "segment-missing" not in {finding.code for finding in report.findings}


def test_one_stream_alone_is_still_held_to_what_the_others_say_of_it(tmp_path):
    log = make_log(HMAC)
    stream = log.main
    for name in [name for name in log.image if "audit" in name and "audit.w2" not in name]:
        if name == stream.file(2) or "manifest" in name or "chainstate" in name:
            del log.image[name]
    folder = write_image(log.image, tmp_path / "log")
    report = verify_path(folder, keyring=HMAC.keyring, stream="audit")
    assert {"segment-missing"} == {finding.code for finding in report.findings}
    assert [one.stream for one in report.streams] == ["audit"]
