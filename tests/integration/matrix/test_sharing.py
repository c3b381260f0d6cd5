"""Two loggers on one log: one is drained while the other goes on, and nothing of either is lost."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from integration.matrix.checking import KEY_TEXT, check_intact, check_stored, payloads
from integration.matrix.running import REPORTS, Program
from integration.matrix.sharing import HALF

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the ends are those of POSIX")

SHARING = Path(__file__).with_name("sharing.py")
CODE_OF = {"plain": 0, "drain": 0, "signal": -signal.SIGTERM}


@pytest.mark.parametrize("end", list(CODE_OF))
@pytest.mark.parametrize("how", ["one sink", "two sinks"])
def test_a_drained_logger_takes_nothing_from_the_one_that_goes_on(how, end, tmp_path):
    log = tmp_path / "log"
    env = {"FAPILOG_TAMPER_KEY": KEY_TEXT}
    told = Program(SHARING, str(log), REPORTS, how, end, folder=tmp_path / "run", env=env).finish()
    assert (told.code, told.stderr, told.stdout) == (CODE_OF[end], "", "")
    assert told.accepted == list(range(2 * HALF))
    check_stored(log, told.accepted)
    check_intact(log)
    # The first logger did not close the log under the second.
    assert len(list(log.glob("*.jsonl"))) == 1
    loggers = {(payload["log"]["logger"], payload["log"]["data"]["n"]) for payload in payloads(log)}
    assert {number for name, number in loggers if name == "a"} == set(range(1, HALF, 2))
