"""Folders that change while they are verified: no false alarm, no traceback."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest
from support.logs import HMAC, K1, make_log, write_image, write_stream

from fapilog_tamper import Code, NoteCode, Outcome, verify_path
from fapilog_tamper.verify.segment import Expectation, SegmentTask, check_segment

WRITER = """
import os, sys, time
from fapilog_tamper.entry import GENESIS, prepare_seal
from fapilog_tamper.keys import HmacKey
seal, prev = prepare_seal("audit", HmacKey("k1", bytes(range(32)))), GENESIS
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number in range(1, 10**9):
    line, prev = seal(b'{"n":%d}' % number, number, prev)
    # In two writes, so that half a line stands at the end most of the time.
    os.write(fd, line[:40])
    if number == 2:
        print("go", flush=True)
    if number > 500:
        time.sleep(0.0005)
    os.write(fd, line[40:])
"""


def test_a_file_that_is_being_written_is_never_an_alarm(tmp_path):
    path = tmp_path / "audit_2026-11-20.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        try:
            writer.stdout.readline()
            reports = [verify_path(tmp_path, keys=[K1]) for _ in range(25)]
        finally:
            writer.kill()
    assert all(report.valid for report in reports), [report.findings for report in reports if not report.valid]
    assert any(note.code is NoteCode.LIVE for report in reports for note in report.notes)


def test_a_segment_that_is_compressed_meanwhile_is_found_again(tmp_path):
    data = b"".join(write_stream("audit", HMAC, segments=1).segments[0])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    task = SegmentTask(tmp_path / "a.jsonl", Expectation("a.jsonl", "audit"), HMAC.keyring)
    assert check_segment(task).lines.spans[0].last_seq == 5


def test_a_segment_that_vanishes_is_unreadable(tmp_path):
    task = SegmentTask(tmp_path / "a.jsonl", Expectation("a.jsonl"), HMAC.keyring)
    assert check_segment(task).error[0] is Code.UNREADABLE


def test_a_link_in_a_folder_is_passed_over_and_said(tmp_path):
    log = make_log(HMAC)
    folder = write_image(log.image, tmp_path / "log")
    path = folder / log.main.file(1)
    away = path.rename(tmp_path / "away")
    path.symlink_to(away)
    report = verify_path(folder, keys=[K1])
    assert report.outcome is Outcome.TAMPERED
    assert NoteCode.PASSED_OVER in [note.code for note in report.notes]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX rights")
def test_what_may_not_be_read_is_undetermined(tmp_path):
    code = """
import os, sys
from fapilog_tamper import verify_path
from fapilog_tamper.keys import HmacKey
os.setgid(65534)
os.setuid(65534)
report = verify_path(sys.argv[1], keys=[HmacKey("k1", bytes(range(32)))])
print(report.outcome.value, *[finding.code.value for finding in report.findings])
"""
    import os
    import tempfile
    from pathlib import Path

    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        log = make_log(HMAC)
        folder = write_image(log.image, top / "log")
        (folder / log.main.file(0)).chmod(0)
        # No root can read these from here on: the program gives up its rights before it reads.
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] in ("undetermined", "tampered")
        assert "unreadable" in done.stdout
        folder.chmod(0)
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == "undetermined"
        folder.chmod(0o755)
