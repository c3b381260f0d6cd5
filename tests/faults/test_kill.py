"""`kill -9` at twenty moments; `make soak` has three hundred."""

from __future__ import annotations

import os

import pytest
from faults.killing import PHASES, kill_once

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_survives_a_kill(tmp_path, seed):
    kill = kill_once(tmp_path / "trial", seed)
    if seed % 2 == 0:
        assert kill.aim.split(",")[0] in kill.phases


def test_the_aimed_kills_fall_into_all_phases():
    assert {PHASES[seed // 2 % len(PHASES)] for seed in range(0, 20, 2)} == set(PHASES)
