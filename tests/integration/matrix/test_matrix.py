"""Every event that fapilog accepted is on the disk, sealed, and verifies: through every logger, setting and end."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace

import pytest
from integration.matrix.checking import (
    check_command_says_intact,
    check_intact,
    check_not_tampered,
    check_stored,
    payloads,
    verifying_key_file,
)
from integration.matrix.matrix_run import COUNT, run_row
from integration.matrix.program import CODES, IN_ADDRESS, IN_FIELD
from integration.matrix.rows import KILLED, Row, all_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the ends are those of POSIX")

ROWS = all_rows()
CODE_OF = {
    "drain": 0,
    "plain": 0,
    "exit": CODES["exit"],
    "exception": 1,
    "own sigterm": -signal.SIGTERM,
    "sigterm": -signal.SIGTERM,
    "os._exit": CODES["os._exit"],
    "kill": -signal.SIGKILL,
}
OF_NEXT_START = 20


def next_start(row):
    """How the program runs that finds what a killed one left: in the same way, and ended as programs should be."""
    return replace(row, end="drain", logger="async" if row.logger == "fastapi" else row.logger)


def check_said(row, told):
    """Nothing is said that was not asked for: no unclosed loop, no destroyed task, no lost event."""
    lines = told.stderr.splitlines()
    if row.end == "exception":
        assert lines.count("Traceback (most recent call last):") == 1
        assert lines.pop() == "RuntimeError: on purpose"
        del lines[lines.index("Traceback (most recent call last):") :]
    if row.source == "adaptive":
        lines = [line for line in lines if "'adaptive' preset is deprecated" not in line and "get_preset(" not in line]
    assert lines == []
    # Only the environment alone has fapilog put its own sink in front.
    if row.source != "environment":
        assert told.stdout == ""


def check_secrets(row, folder):
    """What is sealed is what came out of redaction."""
    text = repr(list(payloads(folder)))
    assert (IN_ADDRESS in text) is not row.redactors
    assert (IN_FIELD in text) is not row.masks_fields


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_fapilog_accepted_is_sealed_whatever_the_end(row, tmp_path):
    folder = tmp_path / "log"
    told = run_row(row, folder, tmp_path / "first")
    assert (told.code, told.stderr) == (CODE_OF[row.end], told.stderr)
    check_said(row, told)
    assert len(told.accepted) >= COUNT // 2
    assert told.words.get("dropped", "0") == "0"
    assert set(told.written) == {"write_serialized" if row.serialized else "write"}
    accepted = told.accepted
    if row.end in KILLED:
        assert told.all_written == set(accepted)
        check_not_tampered(folder, row.algorithm)
        after = run_row(next_start(row), folder, tmp_path / "second", first=100_000, count=OF_NEXT_START)
        assert (after.code, after.written.keys()) == (0, told.written.keys())
        accepted = [*accepted, *after.accepted]
    check_stored(folder, accepted, unsure=1 if told.code == -signal.SIGTERM else 0)
    check_intact(folder, row.algorithm)
    check_secrets(row, folder)


@pytest.mark.parametrize(("end", "algorithm"), [("plain", "HMAC-SHA256"), ("sigterm", "Ed25519"), ("kill", "Ed25519")])
def test_the_command_line_says_intact(end, algorithm, tmp_path):
    row = Row(source="typed", end=end, algorithm=algorithm, workers=4, concurrency=16)
    folder = tmp_path / "log"
    assert run_row(row, folder, tmp_path / "first").code == CODE_OF[end]
    if end == "kill":
        run_row(next_start(row), folder, tmp_path / "second", first=100_000, count=OF_NEXT_START)
    check_command_says_intact(folder, verifying_key_file(tmp_path, algorithm))
