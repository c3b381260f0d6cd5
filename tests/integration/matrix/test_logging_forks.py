"""A fork when there is a logger: the parent loses nothing and nothing is stored twice; a child logs to its own slot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from integration.matrix.checking import KEY_TEXT, check_intact, numbers
from integration.matrix.forked import FIRST_OF_CHILD, HALF, OF_CHILD
from integration.matrix.running import REPORTS, Program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")

FORKED = Path(__file__).with_name("forked.py")
PARENT = list(range(2 * HALF))
CHILD = list(range(FIRST_OF_CHILD, FIRST_OF_CHILD + OF_CHILD))


@pytest.mark.parametrize("how", ["logs", "silent", "drains", "process"])
def test_parent_and_child_lose_nothing(how, tmp_path):
    log = tmp_path / "log"
    env = {"FAPILOG_TAMPER_KEY": KEY_TEXT}
    told = Program(FORKED, str(log), REPORTS, how, folder=tmp_path / "run", env=env).finish()
    assert (told.code, told.stderr, told.stdout) == (0, "", "")
    assert told.words == {"child": "0"}
    expected = PARENT if how == "silent" else PARENT + CHILD
    assert sorted(told.accepted) == expected
    assert sorted(numbers(log)) == expected
    check_intact(log)
