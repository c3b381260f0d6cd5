"""One process of a crowd that appends to one folder; `soak` starts it, and `run` in there says what it is to do.

It opens the log, has a head and a manifest of its first entry written, prints `ready <stream> <seq>`, waits for a
line on its standard input, and appends. How, its shape says:

    plain       in the main thread
    mixed       16 threads and 4 event loops share the log
    forks       forked children that exec nothing append too, in slots of their own
    execs       programs that were started from it append too
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from concurrency.ledger import KEY, Receipts, run_all

from fapilog_tamper import Rotation, SealedLog

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS, LOOPS, TASKS = 16, 4, 8
CHILDREN = 2


class Member:
    """One process, and what it has to do."""

    def __init__(self, folder: Path, results: Path, name: str, appends: int, max_bytes: int) -> None:
        self.folder, self.results, self.name, self.appends = folder, results, name, appends
        self.max_bytes = max_bytes
        self.receipts = Receipts(results / f"{name}.receipts")
        self.log = SealedLog.open(folder, key=KEY, rotation=Rotation(max_bytes=max_bytes), compress="gzip")

    def append(self, caller: str, count: int, first: int = 0) -> None:
        """Append as one caller."""
        for n in range(first, first + count):
            self.receipts.keep(caller, n, self.log.append({"caller": caller, "n": n}))

    def plain(self) -> None:
        self.append(self.name, self.appends - 1, 1)

    def mixed(self) -> None:
        share = (self.appends - 1) // (THREADS + LOOPS)
        rest = self.appends - 1 - share * (THREADS + LOOPS)
        start = threading.Barrier(THREADS + LOOPS)
        threads = [partial(self._in_thread, start, f"{self.name}-t{number}", share) for number in range(THREADS)]
        loops = [partial(self._in_loop, start, f"{self.name}-l{number}", share) for number in range(LOOPS)]
        run_all(threading.Thread(target=target) for target in (*threads, *loops))
        self.append(self.name, rest, 1)

    def _in_thread(self, start: threading.Barrier, caller: str, count: int) -> None:
        start.wait()
        self.append(caller, count)

    def _in_loop(self, start: threading.Barrier, caller: str, count: int) -> None:
        async def task(number: int) -> None:
            for n in range(number, count, TASKS):
                name = f"{caller}-{number}"
                self.receipts.keep(name, n, await self.log.append_async({"caller": name, "n": n}))

        async def tasks() -> None:
            await asyncio.gather(*(task(number) for number in range(TASKS)))

        start.wait()
        asyncio.run(tasks())

    def forks(self) -> None:
        share = (self.appends - 1) // (2 * CHILDREN)
        pids = []
        for number in range(CHILDREN):
            self.append(self.name, share, 1 + number * share)
            if (pid := os.fork()) == 0:
                with ending_child():
                    self.append(f"{self.name}-c{number}", share)
                    self.log.close()
            pids.append(pid)
        self.append(self.name, self.appends - 1 - 2 * CHILDREN * share, 1 + CHILDREN * share)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * CHILDREN

    def execs(self) -> None:
        share = (self.appends - 1) // (2 * CHILDREN)
        children = []
        for number in range(CHILDREN):
            self.append(self.name, share, 1 + number * share)
            child = f"{self.name}-c{number}"
            words = command(self.folder, self.results, child, share, shape="plain", max_bytes=self.max_bytes)
            children.append(subprocess.Popen([*words, "--at-once"]))
        self.append(self.name, self.appends - 1 - 2 * CHILDREN * share, 1 + CHILDREN * share)
        assert [child.wait() for child in children] == [0] * CHILDREN


class ending_child:  # noqa: N801 (used as a statement)
    """The body is all that a forked child does: it ends there, and says by its exit status how."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
        os._exit(0 if error is None else 1)


def command(folder: Path, results: Path, name: str, appends: int, *, shape: str, max_bytes: int) -> list[str]:
    """Return the words that start a process of the crowd."""
    # From Python 3.12 on forking beside threads is deprecated; here it is what the test is about.
    python = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", str(Path(__file__))]
    return [*python, str(folder), str(results), name, str(appends), shape, str(max_bytes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("folder", "results"):
        parser.add_argument(name, type=Path)
    parser.add_argument("name")
    parser.add_argument("appends", type=int)
    parser.add_argument("shape", choices=["plain", "mixed", "forks", "execs"])
    parser.add_argument("max_bytes", type=int)
    parser.add_argument("--at-once", action="store_true", help="wait for nobody")
    args = parser.parse_args()
    member = Member(args.folder, args.results, args.name, args.appends, args.max_bytes)
    shapes: dict[str, Callable[[], None]] = {
        "plain": member.plain,
        "mixed": member.mixed,
        "forks": member.forks,
        "execs": member.execs,
    }
    with member.log:
        member.append(args.name, 1)
        if not args.at_once:
            member.log.rotate()
            sys.stdout.write(f"ready {member.log.stream} {member.log.head.seq}\n")
            sys.stdout.flush()
            sys.stdin.readline()
        shapes[args.shape]()


if __name__ == "__main__":
    main()
