"""SIGTERM at any moment: the process always ends by it, and what fapilog accepted is always stored."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest
from integration.matrix.checking import KEY_TEXT, check_intact, check_stored
from integration.matrix.ending import AIM, FEW, PLACES
from integration.matrix.running import REPORTS, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is of POSIX")

ENDING = Path(__file__).with_name("ending.py")
TRIALS = 30
MOST = 2000


def start(tmp_path, how, *more):
    env = {"FAPILOG_TAMPER_KEY": KEY_TEXT}
    return Program(ENDING, str(tmp_path / "log"), REPORTS, how, *more, folder=tmp_path / "run", env=env)


def check(tmp_path, told, code=-signal.SIGTERM):
    """The process ended by the signal, in silence, and what it logged is stored."""
    assert (told.code, told.stderr, told.stdout) == (code, "", "")
    check_stored(tmp_path / "log", told.accepted, unsure=1)
    check_intact(tmp_path / "log")


@pytest.mark.parametrize("seed", range(TRIALS))
def test_sigterm_in_the_middle_of_logging_loses_nothing_and_never_hangs(seed, tmp_path):
    program = start(tmp_path, "sink", "signal")
    wanted = random.Random(seed).randrange(1, MOST)
    program.read_until(lambda told: len(told.accepted) >= wanted)
    program.signal(signal.SIGTERM)
    check(tmp_path, program.finish())


@pytest.mark.parametrize("how", PLACES)
def test_sigterm_in_the_middle_of_a_call_of_fapilog_waits_for_its_end(how, tmp_path):
    told = start(tmp_path, how, "signal").finish()
    # The call in whose middle it came was finished first.
    assert len(told.accepted) >= AIM - 1
    check(tmp_path, told)


def test_a_second_sigterm_does_not_cut_the_drain_short(tmp_path):
    program = start(tmp_path, "held", "signal")
    program.read_until(lambda told: len(told.accepted) == FEW)
    program.signal(signal.SIGTERM)
    program.read_until(lambda told: "draining" in told.words)
    came = int(program.told.words["signals"])
    program.signal(signal.SIGTERM)
    program.read_until(lambda told: int(told.words["signals"]) > came)
    program.close_input()
    check(tmp_path, program.finish())


def test_a_process_that_is_draining_at_exit_ends_as_it_would_without_a_sigterm(tmp_path):
    program = start(tmp_path, "held")
    program.read_until(lambda told: "draining" in told.words)
    program.signal(signal.SIGTERM)
    program.read_until(lambda told: "signals" in told.words)
    program.close_input()
    check(tmp_path, program.finish(), code=0)
