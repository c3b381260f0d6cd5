"""The program that `killing` kills: it writes a log as hard as it can, says what it was promised, and where it is.

It ends only by being killed. What each append returned goes to standard output, one line each. Which phases it is in
stands in a file that the parent maps, too: one byte a phase, the number of threads in it. It can also be told to stop
itself (SIGSTOP) at a call of one phase, before it, halfway or behind it, so that the parent kills it just there.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import sys
import threading
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.checking import KEYS, ring_of

from fapilog_tamper import Receipt, Rotation, SealedLog
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.writer import worker
from fapilog_tamper.writer.packer import Packer
from fapilog_tamper.writer.shelf import Shelf
from fapilog_tamper.writer.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapilog_tamper.sealer import Durability

PHASES = ("write", "rotate", "manifest", "head", "compress", "close")
CALLS = ("pwrite", "write", "fsync", "fdatasync", "replace", "rename", "unlink", "ftruncate", "open")
PROMISES: tuple[Durability, ...] = ("accepted", "written", "written", "written", "synced")

_say = os.write


def stop_here() -> None:
    """Stop this process in this very call; a signal to the process as a whole might be taken by another thread."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class Marker:
    """Says in which phases this process is, and stops it where it was told to."""

    def __init__(self, file: str, aim: str) -> None:
        with Path(file).open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), len(PHASES))
        self._mutex = threading.Lock()
        self._mine = threading.local()
        phase, when, count = aim.split(",")
        self._phase, self._when, self._left = phase, when, int(count)

    @contextmanager
    def inside(self, phase: str) -> Iterator[None]:
        """Be in a phase."""
        at = PHASES.index(phase)
        before = getattr(self._mine, "phases", ())
        with self._mutex:
            self._map[at] += 1
        self._mine.phases = (*before, phase)
        try:
            yield
        finally:
            self._mine.phases = before
            with self._mutex:
                self._map[at] -= 1

    def watch(self, kind: type, method: str, phase: str) -> None:
        """Let a method be a phase."""
        inner = getattr(kind, method)

        @wraps(inner)
        def marked(*args: Any, **options: Any) -> Any:
            with self.inside(phase):
                return inner(*args, **options)

        setattr(kind, method, marked)

    def guard(self, call: str) -> None:
        """Let a system call stop this process when it is the one aimed at."""
        inner = getattr(os, call)

        @wraps(inner)
        def guarded(*args: Any, **options: Any) -> Any:
            if self._phase not in getattr(self._mine, "phases", ()):
                return inner(*args, **options)
            with self._mutex:
                self._left -= 1
                aimed = self._left == 0
            if aimed and self._when == "before":
                stop_here()
            if aimed and self._when == "halfway" and call in ("pwrite", "write"):
                # A process that is killed in a write may have written a part.
                inner(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                stop_here()
            try:
                return inner(*args, **options)
            finally:
                if aimed:
                    stop_here()

        setattr(os, call, guarded)


def instrument(marker: Marker) -> None:
    """Mark what belongs to each phase."""
    marker.watch(FileStore, "write", "write")
    marker.watch(Worker, "_rotate", "rotate")
    marker.watch(Shelf, "write_manifest", "manifest")
    marker.watch(Shelf, "write_head", "head")
    marker.watch(Packer, "_pack", "compress")
    marker.watch(SealedLog, "close", "close")
    for call in CALLS:
        marker.guard(call)


def say(receipt: Receipt, promise: str) -> None:
    """Say what an append returned; a line is far below PIPE_BUF, so that none is torn."""
    _say(1, f"{promise} {receipt.stream} {receipt.seq} {receipt.chain.hex()}\n".encode())


def event(rng: random.Random) -> dict[str, object]:
    return {"n": rng.randrange(10_000), "text": "x" * rng.choice((0, 30, 300, 2000)), "timestamp": "2026-11-20"}


def write_in_threads(log: SealedLog, rng: random.Random) -> None:
    """Three threads at once."""

    def write(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(15):
            promise = mine.choice(PROMISES)
            say(log.append(event(mine), durability=promise), promise)

    threads = [threading.Thread(target=write, args=(rng.random(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write_in_loop(log: SealedLog, rng: random.Random) -> None:
    """Thirty coroutines at once."""

    async def write(promise: Any) -> None:
        say(await log.append_async(event(rng), durability=promise), promise)

    async def write_all() -> None:
        await asyncio.gather(*(write(rng.choice(PROMISES)) for _ in range(30)))

    asyncio.run(write_all())


def write_alone(log: SealedLog, rng: random.Random) -> None:
    """One caller."""
    for _ in range(20):
        promise = rng.choice(PROMISES)
        say(log.append(event(rng), durability=promise), promise)


def rotate(log: SealedLog, rng: random.Random) -> None:
    """Close the segment, and say that all is promised that it holds."""
    log.rotate()


def main(folder: str, marker_file: str, how: str, seed: str, aim: str) -> None:
    """Write until killed."""
    rng = random.Random(seed)
    setattr(worker, "_HEAD_SECONDS", 0.01)  # noqa: B010 (a constant, which no type checker lets us set)
    instrument(Marker(marker_file, aim))
    key = KEYS[how][0] if KEYS[how] else None
    options: dict[str, Any] = {
        "key": key,
        "keyring": ring_of(how),
        "rotation": Rotation(max_bytes=rng.choice((4096, 20_000, 60_000))),
        "compress": "gzip",
        "inline": rng.random() < 0.8,
    }
    actions: tuple[Callable[[SealedLog, random.Random], None], ...]
    actions = (write_alone, write_in_threads, write_in_loop, rotate)
    _say(1, b"ready\n")
    while True:
        logs = [SealedLog.open(folder, **options) for _ in range(rng.choice((1, 1, 2)))]
        for _ in range(rng.randint(1, 6)):
            rng.choice(actions)(rng.choice(logs), rng)
        for log in logs:
            log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
