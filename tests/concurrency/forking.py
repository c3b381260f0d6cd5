"""A process that is busy with threads and event loops, and forks in the middle; the tests start it.

    python tests/concurrency/forking.py FOLDER RESULTS HOW

It prints what its children and itself found, and each receipt goes into a file of RESULTS.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from concurrency.crowd import ending_child
from concurrency.ledger import KEY, Receipts, run_all

from fapilog_tamper import Rotation, SealedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS, LOOPS, BEFORE, AFTER, OF_CHILD, CHILDREN = 8, 2, 50, 150, 60, 6
HANGS = 40
CHILD_HANGS = 15
"""Seconds; then SIGALRM ends the process, with a trace of what hangs."""


class Parent:
    """The log, and threads and loops that append to it while their process forks."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.results = results
        self.log = SealedLog.open(folder, key=KEY, rotation=Rotation(max_bytes=16 << 10), compress="gzip")
        self.receipts = Receipts(results / "parent.receipts")
        self.busy = threading.Barrier(THREADS + LOOPS + 1)
        self.forked = threading.Event()

    def _append(self, caller: str) -> None:
        for n in range(BEFORE):
            self.receipts.keep(caller, n, self.log.append({"caller": caller, "n": n}))
        self.busy.wait()
        n = BEFORE
        while n < BEFORE + AFTER or not self.forked.is_set():
            self.receipts.keep(caller, n, self.log.append({"caller": caller, "n": n}))
            n += 1

    def _loop(self, caller: str) -> None:
        async def append() -> None:
            for n in range(BEFORE):
                self.receipts.keep(caller, n, await self.log.append_async({"caller": caller, "n": n}))
            await asyncio.to_thread(self.busy.wait)
            n = BEFORE
            while n < BEFORE + AFTER or not self.forked.is_set():
                self.receipts.keep(caller, n, await self.log.append_async({"caller": caller, "n": n}))
                n += 1

        asyncio.run(append())

    def while_busy(self, fork: Callable[[], None]) -> None:
        """Fork when all are in the middle of it."""

        def fork_then_say() -> None:
            self.busy.wait()
            try:
                fork()
            finally:
                self.forked.set()

        threads = [threading.Thread(target=self._append, args=(f"t{number}",)) for number in range(THREADS)]
        loops = [threading.Thread(target=self._loop, args=(f"l{number}",)) for number in range(LOOPS)]
        run_all([*threads, *loops, threading.Thread(target=fork_then_say)])

    def child(self, name: str) -> None:
        """What a forked child does: append, to a slot of its own."""
        signal.alarm(CHILD_HANGS)
        receipts = Receipts(self.results / f"{name}.receipts")
        for n in range(OF_CHILD):
            receipts.keep(name, n, self.log.append({"caller": name, "n": n}))
        assert self.log.stats.accepted == OF_CHILD
        assert self.log.stream != "log"
        assert self.log.health()

    def async_child(self, name: str) -> None:
        """What a forked child does in a loop of its own."""
        signal.alarm(CHILD_HANGS)
        receipts = Receipts(self.results / f"{name}.receipts")

        async def append() -> None:
            for n in range(OF_CHILD):
                receipts.keep(name, n, await self.log.append_async({"caller": name, "n": n}, durability="synced"))

        asyncio.run(append())


@contextmanager
def inside(log: SealedLog) -> Iterator[None]:
    """Have a thread hold what it would hold in the middle of an append or an opening.

    A fork takes a copy of the locks along, held for ever, because it does not take the thread.
    """
    held, done, parent = threading.Event(), threading.Event(), os.getpid()

    def hold() -> None:
        assert log._opened is not None
        with log._opening, log._opened.engine.mutex:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        if os.getpid() == parent:
            done.set()
            thread.join()


def fork_inside(log: SealedLog) -> int:
    with inside(log):
        return os.fork()


def child_process(parent: Parent, name: str) -> None:
    """The target of `multiprocessing`, which forgets to close the log."""
    parent.child(name)


def os_fork(parent: Parent) -> None:
    pids = []
    for number in range(CHILDREN):
        if (pid := fork_inside(parent.log)) == 0:
            with ending_child():
                (parent.async_child if number % 2 else parent.child)(f"c{number}")
                parent.log.close()
        pids.append(pid)
    report([os.waitpid(pid, 0)[1] for pid in pids])


def fork_context(parent: Parent) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child_process, args=(parent, f"c{number}")) for number in range(CHILDREN)]
    for child in children:
        with inside(parent.log):
            child.start()
    for child in children:
        child.join()
    report([child.exitcode for child in children])


def silent_children(parent: Parent, use: Callable[[SealedLog], object]) -> None:
    """Children that append nothing."""
    pids = []
    for _ in range(CHILDREN):
        if (pid := fork_inside(parent.log)) == 0:
            with ending_child():
                signal.alarm(CHILD_HANGS)
                use(parent.log)
        pids.append(pid)
    report([os.waitpid(pid, 0)[1] for pid in pids])


def grandchildren(parent: Parent) -> None:
    if (pid := fork_inside(parent.log)) == 0:
        with ending_child():
            parent.child("c0")
            if (grandchild := fork_inside(parent.log)) == 0:
                with ending_child():
                    parent.child("c1")
                    parent.log.close()
            status = os.waitpid(grandchild, 0)[1]
            parent.log.close()
            assert status == 0, status
    report([os.waitpid(pid, 0)[1]])


def killed(parent: Parent) -> None:
    """A child that is killed with -9 while it appends: nobody closes its slot."""
    reader, writer = os.pipe()
    if (pid := fork_inside(parent.log)) == 0:
        with ending_child():
            append_for_ever(parent, writer)
    os.close(writer)
    assert os.read(reader, 1) == b"."
    os.kill(pid, signal.SIGKILL)
    report([os.waitpid(pid, 0)[1]])


def append_for_ever(parent: Parent, writer: int) -> NoReturn:
    receipts = Receipts(parent.results / "c0.receipts")
    n = 0
    while True:
        receipts.keep("c0", n, parent.log.append({"caller": "c0", "n": n}))
        n += 1
        if n == OF_CHILD:
            os.write(writer, b".")


def report(statuses: list[int | None]) -> None:
    sys.stdout.write(f"{' '.join(map(str, statuses))}\n")
    sys.stdout.flush()


USES: dict[str, Callable[[SealedLog], object]] = {
    "nothing": lambda log: None,
    "close": SealedLog.close,
    "flush": SealedLog.flush,
    "stats": lambda log: log.stats,
    "health": SealedLog.health,
    "repr": repr,
}
WAYS: dict[str, Callable[[Parent], None]] = {
    "os.fork": os_fork,
    "multiprocessing": fork_context,
    "grandchildren": grandchildren,
    "killed, parent open": killed,
    "killed, parent closed": killed,
    **{name: partial(silent_children, use=use) for name, use in USES.items()},
}


def main() -> None:
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(HANGS)
    folder, results, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    parent = Parent(folder, results)
    parent.while_busy(lambda: WAYS[how](parent))
    assert parent.log.stream == "log"
    assert parent.log.health()
    if how == "killed, parent open":
        # The slot that the child left is the first free one.
        SealedLog.open(folder, key=KEY).close()
    parent.log.close()
    if how == "killed, parent closed":
        # The first free slot is the parent's; the child's is recovered beside it.
        SealedLog.open(folder, key=KEY).close()


if __name__ == "__main__":
    main()
