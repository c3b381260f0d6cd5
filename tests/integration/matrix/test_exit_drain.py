"""The exit drain may be installed before and after loggers are made, and by the sink itself."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from integration.matrix.checking import KEY_TEXT, check_intact, check_stored
from integration.matrix.running import REPORTS, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the ends are those of POSIX")

ENDING = Path(__file__).with_name("ending.py")
ENV = {"FAPILOG_TAMPER_KEY": KEY_TEXT}


@pytest.mark.parametrize("how", ["sink", "before", "after"])
def test_a_plain_exit_drains(how, tmp_path):
    told = Program(ENDING, str(tmp_path / "log"), REPORTS, how, folder=tmp_path / "run", env=ENV).finish()
    assert (told.code, told.stderr, told.stdout) == (0, "", "")
    check_stored(tmp_path / "log", told.accepted)
    assert len(told.accepted) == 300
    check_intact(tmp_path / "log")


@pytest.mark.parametrize("how", ["before", "after"])
def test_sigterm_drains(how, tmp_path):
    program = Program(ENDING, str(tmp_path / "log"), REPORTS, how, "signal", folder=tmp_path / "run", env=ENV)
    program.read_until(lambda told: len(told.accepted) > 200)
    program.signal(signal.SIGTERM)
    told = program.finish()
    assert (told.code, told.stderr, told.stdout) == (-signal.SIGTERM, "", "")
    check_stored(tmp_path / "log", told.accepted, unsure=1)
    check_intact(tmp_path / "log")
