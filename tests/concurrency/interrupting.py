"""A process whose main thread appends while somebody presses Ctrl-C; `test_interrupts` starts it.

    python tests/concurrency/interrupting.py FOLDER RESULTS COUNT THREADS

It says `.` for each SIGINT that it got, one at a time, and ends when it has had COUNT of them in the middle of a call.
An event whose append was interrupted is never appended again, and its number goes into RESULTS/unsure.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from concurrency.ledger import KEY, Receipts

from fapilog_tamper import Rotation, SealedLog

HANGS = 60.0
PROMISES = ("written", "written", "written", "accepted", "synced")


class Main:
    """The main thread: appends, and now and then flushes or rotates."""

    def __init__(self, log: SealedLog, results: Path) -> None:
        self.log = log
        self.results = results
        self.receipts: list[tuple[int, object]] = []
        self.numbers = itertools.count()
        self.interrupted = 0
        self.armed = False
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, signum: int, frame: object) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt
        os.write(1, b".")

    def run(self, count: int) -> None:
        while self.interrupted < count:
            try:
                self.armed = True
                self._go_on()
            except KeyboardInterrupt:
                self.interrupted += 1
                os.write(1, b".")

    def _go_on(self) -> None:
        log, numbers, receipts = self.log, self.numbers, self.receipts
        while True:
            n = next(numbers)
            receipts.append((n, log.append({"caller": "main", "n": n}, durability=PROMISES[n % len(PROMISES)])))
            if n % 100 == 0:
                log.flush()
            if n % 250 == 0:
                log.rotate()

    def report(self) -> None:
        kept = Receipts(self.results / "main.receipts")
        for n, receipt in self.receipts:
            kept.keep("main", n, receipt)
        unsure = set(range(next(self.numbers))) - {n for n, _ in self.receipts}
        (self.results / "unsure").write_text(" ".join(map(str, sorted(unsure))))


def append_beside(log: SealedLog, receipts: Receipts, caller: str, end: threading.Event) -> None:
    for n in itertools.count():
        if end.is_set():
            return
        receipts.keep(caller, n, log.append({"caller": caller, "n": n}))


def main() -> None:
    faulthandler.dump_traceback_later(HANGS, exit=True)
    folder, results, count, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    end = threading.Event()
    log = SealedLog.open(folder, key=KEY, rotation=Rotation(max_bytes=64 << 10))
    beside = Receipts(results / "beside.receipts")
    others = [
        threading.Thread(target=append_beside, args=(log, beside, f"t{number}", end)) for number in range(threads)
    ]
    for other in others:
        other.start()
    first = Main(log, results)
    os.write(1, b"r")
    first.run(count)
    # What comes now would hit the interpreter on its way out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The log goes on: without any further Ctrl-C an append of each promise is kept.
    for promise in ("accepted", "written", "synced"):
        n = next(first.numbers)
        first.receipts.append((n, log.append({"caller": "main", "n": n}, durability=promise)))
    assert log.health(), log.health().reason
    end.set()
    for other in others:
        other.join()
    first.report()
    log.close()


if __name__ == "__main__":
    main()
