"""Ctrl-C, wherever it hits: the log goes on, no seq is given twice, and no receipt is broken."""

from __future__ import annotations

import dis
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from concurrency import interrupting
from concurrency.ledger import KEY, Kept, check_intact, check_receipts, files_of, kept, lines_of, receipts_in

import fapilog_tamper
from fapilog_tamper import Rotation, SealedLog
from fapilog_tamper.testing import FakeClock, MemoryDisk, MemoryStore, assert_intact

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from fapilog_tamper import Receipt

OURS = str(Path(fapilog_tamper.__file__).parent)


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent to a process of its own")
@pytest.mark.parametrize("threads", [0, 3])
def test_a_log_goes_on_after_any_number_of_signals(threads, tmp_path):
    count, rng = 400, random.Random(threads)
    results = tmp_path / "results"
    results.mkdir()
    program = [
        sys.executable,
        "-W",
        "error",
        # A signal between `os.scandir` and its `with` leaves the iterator to the collector.
        "-W",
        "ignore:unclosed scandir:ResourceWarning",
        interrupting.__file__,
        tmp_path / "log",
        results,
        str(count),
        str(threads),
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"r"
        moment = threading.Event()
        answer = b"."
        while answer:
            # One signal at a time, at any moment.
            moment.wait(rng.uniform(0, 0.003))
            process.send_signal(signal.SIGINT)
            answer = process.stdout.read(1)
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")
    streams = lines_of(files_of(tmp_path / "log"))
    receipts = receipts_in(*results.glob("*.receipts"))
    unsure = [("main", int(word)) for word in (results / "unsure").read_text().split()]
    check_receipts(streams, receipts, unsure=unsure)
    check_intact(tmp_path / "log")


LOOKING = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD", "RESUME"}


def handlers(code: CodeType, offset: int) -> list[tuple[int, int]]:
    """Return where errors of an instruction go to."""
    return [(one.start, one.target) for one in dis._parse_exception_table(code) if one.start <= offset < one.end]


class Interrupt:
    """Raises KeyboardInterrupt at the n-th point of a call where the interpreter looks for signals.

    Those points are behind calls, at jumps back and at the start of functions; between them no signal is noticed.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.raised_in = ""
        self._points: dict[CodeType, set[int]] = {}

    def _points_of(self, code: CodeType) -> set[int]:
        if code not in self._points:
            steps = list(dis.get_instructions(code))
            self._points[code] = {
                after.offset
                for looking, after in itertools.pairwise(steps)
                if looking.opname in LOOKING
                # The error is raised one step late here, which must not be on the other side of a `try` or `with`.
                and handlers(code, looking.offset) == handlers(code, after.offset)
            }
        return self._points[code]

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and self.left >= 0 and frame.f_lasti in self._points_of(frame.f_code):
            if self.left == 0:
                self.left = -1
                self.raised_in = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise KeyboardInterrupt
            self.left -= 1
        return self._trace

    def during(self, call: Callable[[], Receipt | None]) -> tuple[Receipt | None, bool]:
        """Do the call and return what it returned, and whether it was interrupted."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return call(), False
        except KeyboardInterrupt:
            return None, True
        finally:
            sys.settrace(before)


CALLS: dict[str, Callable[[SealedLog], Receipt | None]] = {
    "accepted": lambda log: log.append({"caller": "c", "n": 1}, durability="accepted"),
    "written": lambda log: log.append({"caller": "c", "n": 1}),
    "synced": lambda log: log.append({"caller": "c", "n": 1}, durability="synced"),
    "behind another": lambda log: (log.append({"caller": "c", "n": 1}, durability="accepted"), log.flush())[1],
    "rotate": SealedLog.rotate,
    "full": lambda log: log.append({"caller": "c", "n": 1, "pad": "x" * 3900}),
}


def attempt(call: Callable[[SealedLog], Receipt | None], at: int) -> bool:
    """Interrupt a call at its n-th point, go on, and check the log; tell whether there was such a point."""
    disk = MemoryDisk()
    log = SealedLog.open(MemoryStore(disk), key=KEY, clock=FakeClock(), rotation=Rotation(max_bytes=4096), timeout=5.0)
    receipts: list[Kept] = [kept("c", 0, log.append({"caller": "c", "n": 0}))]
    interrupt = Interrupt(at)
    receipt, interrupted = interrupt.during(lambda: call(log))
    if receipt is not None:
        receipts.append(kept("c", 1, receipt))
    try:
        for n, promise in enumerate(("written", "accepted", "synced", "written"), 2):
            receipts.append(kept("c", n, log.append({"caller": "c", "n": n}, durability=promise)))
        log.rotate()
        log.close()
        streams = lines_of(dict(disk.image()))
        check_receipts(streams, receipts, unsure=[("c", 1)])
        assert_intact(disk, KEY, require_end=True, require_manifests=True)
    except Exception as error:
        raise AssertionError(f"Ctrl-C at point {at}, {interrupt.raised_in}") from error
    return interrupted


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_at_each_point_of_a_call_breaks_nothing(call):
    at = 0
    while attempt(CALLS[call], at):
        at += 1
    assert at > 20
