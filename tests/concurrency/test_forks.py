"""Forks in the middle of threads and event loops: the parent goes on, children append to slots of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from concurrency import forking
from concurrency.ledger import check_intact, check_receipts, files_of, heads_of, lines_of, receipts_in

from fapilog_tamper.encoding import b64url_encode

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")

CHILDREN = [f"c{number}" for number in range(forking.CHILDREN)]
TWO_GENERATIONS = ["c0", "c1"]


def fork(tmp_path: Path, how: str) -> list[int]:
    """Run the program and return how its children ended."""
    (tmp_path / "results").mkdir()
    # From Python 3.12 on forking beside threads is deprecated; here it is what the test is about.
    python = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", forking.__file__]
    done = subprocess.run(
        [*python, tmp_path / "log", tmp_path / "results", how], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [int(word) for word in done.stdout.split()]


def check(tmp_path: Path, children: list[str], *, unsure: list[tuple[str, int]] | None = None) -> None:
    folder, results = tmp_path / "log", tmp_path / "results"
    streams, receipts = lines_of(files_of(folder)), receipts_in(*results.iterdir())
    check_receipts(streams, receipts, unsure=unsure or [])
    check_intact(folder)
    callers = {f"t{number}" for number in range(forking.THREADS)} | {f"l{number}" for number in range(forking.LOOPS)}
    assert {one.caller for one in receipts} == callers | set(children)
    for one in receipts:
        assert (one.stream == "log") == (one.caller in callers), one


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_children_append_to_slots_of_their_own(how, tmp_path):
    assert fork(tmp_path, how) == [0] * forking.CHILDREN
    check(tmp_path, CHILDREN)


@pytest.mark.parametrize("use", forking.USES)
def test_a_child_that_appends_nothing_leaves_no_trace(use, tmp_path):
    assert fork(tmp_path, use) == [0] * forking.CHILDREN
    check(tmp_path, [])
    assert heads_of(tmp_path / "log").keys() == {"log"}


def test_a_child_of_a_child_has_a_third_slot(tmp_path):
    assert fork(tmp_path, "grandchildren") == [0]
    check(tmp_path, TWO_GENERATIONS)
    assert heads_of(tmp_path / "log").keys() == {"log", "log.w2", "log.w3"}


@pytest.mark.parametrize("how", ["killed, parent open", "killed, parent closed"])
def test_the_slot_of_a_killed_child_is_recovered_by_whoever_opens_next(how, tmp_path):
    assert fork(tmp_path, how) == [signal.SIGKILL]
    done = receipts_in(tmp_path / "results" / "c0.receipts")[-1]
    check(tmp_path, ["c0"], unsure=[("c0", done.n + 1)])
    child = lines_of(files_of(tmp_path / "log"))["log.w2"]
    head = heads_of(tmp_path / "log")["log.w2"]
    assert (head.seq, b64url_encode(head.chain_hash)) == (child[-1].seq, child[-1].chain_hash)
    assert head.seq >= done.seq
