"""Without a usable key each write fails, with the reason; nothing is stored unsealed, and what was sealed stays so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from integration.matrix.checking import KEY_TEXT, check_intact, numbers, write_key_file
from integration.matrix.keyless import EVENTS, FIRST_OF_SECOND, VARIABLE
from integration.matrix.running import REPORTS, Program

KEYLESS = Path(__file__).with_name("keyless.py")
METHODS = {False: "write", True: "write_serialized"}
REASON = {None: f"environment variable {VARIABLE} is not set", "too short": "not a key; found 30 bytes"}


def run(tmp_path, *, how, serialized, gone=None, key=None):
    """Run the program; return the lines it reported, and what it said."""
    key_file = write_key_file(tmp_path / "keys")
    job = {"folder": str(tmp_path / "log"), "how": how, "serialized": serialized, "gone": gone}
    text = json.dumps({**job, "key_file": str(key_file), "reports": REPORTS}).replace(f'"{REPORTS}"', REPORTS)
    program = Program(KEYLESS, text, folder=tmp_path / "run", env={} if key is None else {VARIABLE: key})
    told = program.finish()
    assert (told.code, told.stdout) == (0, "")
    assert "Traceback" not in told.stderr
    return program.lines, told.stderr


def check_refused(lines, stderr, *, serialized, reason):
    """Each write was refused with the reason, fapilog printed the events to stderr, and one warning says why."""
    refused = [line for line in lines if line.startswith(("refused", "returned"))]
    assert len(refused) == EVENTS
    for line in refused:
        assert line.startswith(f"refused {METHODS[serialized]} event not sealed: "), line
        assert reason in line, line
    assert lines[-2:] == [f"drained {EVENTS} 0", "health False"]
    warnings = [line for line in stderr.splitlines() if "RuntimeWarning" in line]
    assert len(warnings) == 1
    assert "sealed sink: no event is stored: " in warnings[0]
    assert reason in warnings[0]


def check_nothing_unsealed(tmp_path, numbers):
    """No file has the events, but for what fapilog prints to stderr itself."""
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != tmp_path / "run" / "stderr":
            content = path.read_bytes()
            assert not any(b'"event %d"' % number in content for number in numbers), path


@pytest.mark.parametrize("serialized", [False, True])
@pytest.mark.parametrize(
    ("how", "key"), [("typed", None), ("extra", None), ("program", None), ("program", "too short")]
)
def test_each_write_fails_closed(key, how, serialized, tmp_path):
    key_text = None if key is None else "00" * 15
    lines, stderr = run(tmp_path, how=how, serialized=serialized, key=key_text)
    check_refused(lines, stderr, serialized=serialized, reason=REASON[key])
    check_nothing_unsealed(tmp_path, range(FIRST_OF_SECOND, FIRST_OF_SECOND + EVENTS))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("serialized", [False, True])
@pytest.mark.parametrize(("how", "gone"), [("typed", "variable"), ("extra", "file"), ("program", "file")])
def test_when_the_key_goes_away_writes_fail_and_the_old_log_stays_intact(how, gone, serialized, tmp_path):
    lines, stderr = run(tmp_path, how=how, serialized=serialized, gone=gone, key=KEY_TEXT)
    at = lines.index("gone")
    before = [f"returned {METHODS[serialized]}"] * EVENTS
    assert lines[:at] == [*before, f"drained {EVENTS} 0", "health True"]
    reason = "key.jwk" if gone == "file" else REASON[None]
    check_refused(lines[at:], stderr, serialized=serialized, reason=reason)
    check_nothing_unsealed(tmp_path, range(FIRST_OF_SECOND, FIRST_OF_SECOND + EVENTS))
    assert numbers(tmp_path / "log") == list(range(EVENTS))
    check_intact(tmp_path / "log")
