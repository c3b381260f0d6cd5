"""Power cuts: a small log is written to a disk in memory that loses its power at a random call, then opened again.

One trial goes through up to three lives of a log: each ends in a cut, the next begins with the recovery of what is
left, and may be cut in the middle of that. What `synced` has promised in any life must be there in all later ones.
Half of the trials run without threads, and are the same each time; the others have the worker's and the packer's.
"""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from faults.checking import KEYS, Promised, lost_of, require_not_tampered, require_recovers, ring_of

from fapilog_tamper import HeadError, Receipt, RollbackError, Rotation, SealedLog, StoreError
from fapilog_tamper.testing import FakeClock, Faults, FaultyStore, MemoryDisk, MemoryStore
from fapilog_tamper.writer import worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.sealer import Durability
    from fapilog_tamper.testing.disk import FolderPath

PROMISES: tuple[Durability, ...] = ("accepted", "written", "synced")
SIZES = (0, 20, 300, 1500, 3500)


@dataclass
class Outcome:
    """What one trial saw."""

    cuts: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    promised: int = 0
    unsynced: int = 0
    lost: int = 0


class Plug:
    """Takes the power away before the call number `at`, and remembers what was promised by then."""

    def __init__(self, rng: random.Random, at: int, promised: Promised) -> None:
        self.synced = promised
        self.others: Promised = {}
        self.left: MemoryDisk | None = None
        self.before = "the end"
        self.promised: Promised = {}
        self.unsynced: Promised = {}
        self._rng = rng
        self._calls_left = at

    def meet(self, disk: MemoryDisk, call: str) -> None:
        """Count a call that is about to be made."""
        with disk.mutex:
            self._calls_left -= 1
            if self._calls_left == 0:
                self.pull(disk, call)

    def pull(self, disk: MemoryDisk, call: str) -> None:
        """Cut the power, unless it is cut already."""
        with disk.mutex:
            if self.left is None:
                self.left, self.before = disk.power_cut(self._rng), call
                self.promised, self.unsynced = dict(self.synced), dict(self.others)


class PluggedStore(MemoryStore):
    """A memory store on a disk with a plug. A `replace` is seen in its steps."""

    def __init__(self, disk: MemoryDisk, plug: Plug, path: FolderPath = ()) -> None:
        super().__init__(disk, path)
        self.plug = plug

    def child(self, name: str) -> PluggedStore:
        return PluggedStore(self.disk, self.plug, (*self.path, name))

    def create(self, name: str) -> int:
        self.plug.meet(self.disk, "create")
        return super().create(name)

    def write(self, handle: int, data: bytes, offset: int) -> int:
        self.plug.meet(self.disk, "write")
        return super().write(handle, data, offset)

    def sync(self, handle: int) -> None:
        self.plug.meet(self.disk, "sync")
        super().sync(handle)

    def truncate(self, handle: int, size: int) -> None:
        self.plug.meet(self.disk, "truncate")
        super().truncate(handle, size)

    def rename(self, old: str, new: str) -> None:
        self.plug.meet(self.disk, "rename")
        super().rename(old, new)

    def remove(self, name: str) -> None:
        self.plug.meet(self.disk, "remove")
        super().remove(name)

    def sync_names(self) -> None:
        self.plug.meet(self.disk, "sync_names")
        super().sync_names()


@contextmanager
def without_threads() -> Iterator[None]:
    """Let no thread start, as at interpreter exit: callers do the worker's steps."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with patch.object(threading.Thread, "start", refuse):
        yield


class Life:
    """One life of a log, from opening to the power cut."""

    def __init__(self, rng: random.Random, disk: MemoryDisk, how: str, clock: FakeClock, promised: Promised) -> None:
        self.rng, self.disk, self.how, self.clock = rng, disk, how, clock
        self.plug = Plug(rng, rng.choice((rng.randint(1, 20), rng.randint(1, 150))), promised)
        self.faults = Faults()
        self.store = FaultyStore(PluggedStore(disk, self.plug), self.faults)
        self.options: dict[str, Any] = {
            "keyring": ring_of(how),
            "rotation": Rotation(max_bytes=rng.choice((4096, 6000, 20_000))),
            "compress": rng.choice(("none", "gzip", "zstd")),
            "inline": rng.random() < 0.8,
            "clock": clock,
        }
        self.logs: list[SealedLog] = []

    def live(self) -> None:
        """Write until the power is cut, or close and cut it then."""
        if self.rng.random() < 0.2:
            self.break_something()
        self.open_log()
        try:
            for _ in range(self.rng.randint(2, 14)):
                if self.plug.left is not None or not self.logs:
                    break
                self.do_something(self.rng.choice(self.logs))
        finally:
            self.faults.clear()
            for log in list(self.logs):
                self.close_log(log)
        self.plug.pull(self.disk, "the end")

    def open_log(self) -> None:
        key = self.rng.choice(KEYS[self.how]) if KEYS[self.how] else None
        failed = self.faults.failed.total()
        try:
            self.logs.append(SealedLog.open(self.store, key=key, **self.options))
        except StoreError as error:
            # A planned fault in the middle of opening is told, and opening again must do. A refusal is something else.
            if self.faults.failed.total() == failed or isinstance(error, RollbackError | HeadError):
                raise
            self.faults.clear()
            self.logs.append(SealedLog.open(self.store, key=key, **self.options))

    def close_log(self, log: SealedLog) -> None:
        self.logs.remove(log)
        stream, seq = log.stream, log.head.seq
        log.close()
        self.keep_all(stream, seq)

    def do_something(self, log: SealedLog) -> None:
        action = self.rng.choices(
            (self.append, self.burst, self.flush, self.rotate, self.rotate_key, self.more_or_less, self.clock_moves),
            (8, 2, 2, 2, 1, 1, 1),
        )[0]
        if self.rng.random() < 0.1:
            self.break_something()
        action(log)

    def break_something(self) -> None:
        if self.rng.random() < 0.6:
            self.faults.fail("sync", lost=True, times=self.rng.choice((1, 1, 2)), after=self.rng.randint(0, 2))
        else:
            self.faults.fail(
                self.rng.choice(("sync_names", "replace", "write", "create", "rename", "remove", "truncate")),
                error=self.rng.choice((errno.ENOSPC, errno.EIO)),
                done=self.rng.random() < 0.5,
                after=self.rng.randint(0, 3),
            )

    def event(self) -> dict[str, object]:
        return {"n": self.rng.randrange(1000), "text": "x" * self.rng.choice(SIZES), "timestamp": str(self.clock())}

    def append(self, log: SealedLog) -> None:
        promise = self.rng.choice(PROMISES)
        for _ in range(self.rng.choice((1, 1, 3))):
            self.keep([log.append(self.event(), durability=promise)], promise)

    def burst(self, log: SealedLog) -> None:
        """Several coroutines at once, of all promises."""

        async def all_of_them() -> None:
            async def one(promise: Any) -> None:
                self.keep([await log.append_async(self.event(), durability=promise)], promise)

            await asyncio.gather(*(one(self.rng.choice(PROMISES)) for _ in range(6)))

        asyncio.run(all_of_them())

    def flush(self, log: SealedLog) -> None:
        seq = log.head.seq
        log.flush()
        self.keep_all(log.stream, seq)

    def rotate(self, log: SealedLog) -> None:
        seq = log.head.seq
        log.rotate()
        self.keep_all(log.stream, seq)

    def rotate_key(self, log: SealedLog) -> None:
        others = [key for key in KEYS[self.how] if key != log._settings.key]
        if others:
            receipt = log.rotate_key(self.rng.choice(others))
            self.keep([receipt], "synced")
            self.keep_all(receipt.stream, receipt.seq)

    def more_or_less(self, log: SealedLog) -> None:
        if len(self.logs) < 2:
            self.open_log()
        else:
            self.close_log(log)

    def clock_moves(self, log: SealedLog) -> None:
        self.clock.advance(self.rng.choice((1, 3600, 90_000, -90_000)))

    def keep(self, receipts: list[Receipt], promise: str) -> None:
        with self.disk.mutex:
            to = self.plug.synced if promise == "synced" else self.plug.others
            to.update({(receipt.stream, receipt.seq): receipt.chain for receipt in receipts})

    def keep_all(self, stream: str, upto: int) -> None:
        with self.disk.mutex:
            for place in [place for place in self.plug.others if place[0] == stream and place[1] <= upto]:
                self.plug.synced[place] = self.plug.others.pop(place)


def cut_power(seed: int) -> Outcome:
    """Run one trial; raise where a promise was broken."""
    rng = random.Random(f"power cut {seed}")
    how = rng.choice(tuple(KEYS))
    disk = MemoryDisk(page=rng.choice((512, 4096)))
    clock = FakeClock()
    outcome = Outcome()
    promised: Promised = {}
    threads = without_threads() if seed % 2 else nullcontext()
    with threads, patch.object(worker, "_HEAD_SECONDS", 0.002):
        for _ in range(rng.choice((1, 1, 2, 3))):
            life = Life(rng, disk, how, clock, promised)
            life.live()
            assert life.plug.left is not None
            disk, promised = life.plug.left, life.plug.promised
            outcome.cuts[life.plug.before] += 1
            outcome.found[require_not_tampered(disk, how)] += 1
            outcome.unsynced += len(life.plug.unsynced)
            outcome.lost += len(lost_of(life.plug.unsynced, disk.image()))
    outcome.promised = len(promised)
    require_recovers(disk, how, promised)
    return outcome


def table(outcomes: list[Outcome]) -> str:
    """Return where the power was cut, and what was lost, in words."""
    cuts = sum((one.cuts for one in outcomes), Counter[str]())
    found = sum((one.found for one in outcomes), Counter[str]())
    lines = [f"power cut before {call:<12}{count:>7}" for call, count in cuts.most_common()]
    lines += [f"{what} before it was opened again: {count}" for what, count in found.most_common()]
    promised, unsynced = sum(one.promised for one in outcomes), sum(one.unsynced for one in outcomes)
    lost, losing = sum(one.lost for one in outcomes), sum(one.lost > 0 for one in outcomes)
    lines.append(
        f"{len(outcomes)} trials; receipts: {promised} synced, 0 lost; {unsynced} others at the time of a cut, "
        f"{lost} of them lost, in {losing} trials"
    )
    return "\n".join(lines)
