"""One fault after the other: a scenario that makes every kind of call, with the n-th of them failing.

The scenario writes, rotates, compresses, rotates keys, closes and opens again. A fault is met once (the disk is well
again), or for good (the disk is dead from there on); in either flavour: nothing was done, or all was done and then
failed, or a part. After it the log is closed, or its process is killed, and everything written must be there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from faults.checking import KEYS, Promised, require_not_tampered, require_recovers, ring_of
from faults.cutting import without_threads

from fapilog_tamper import Receipt, Rotation, SealedLog, StoreError
from fapilog_tamper.testing import FakeClock, Faults, FaultyStore, MemoryDisk, MemoryStore
from fapilog_tamper.testing.plan import REPLACE_STEPS

FLAVOURS: dict[str, dict[str, Any]] = {
    "nothing done": {},
    "done and then failed": {"done": True},
}
PARTS: dict[str, list[dict[str, Any]]] = {
    "write": [{"part": 1}, {"part": 200}],
    "replace": [{"part": step} for step in range(1, REPLACE_STEPS + 1)],
    "sync": [{"lost": True}],
}
SHORT = 0.02
LONG = 20.0


@dataclass
class Walk:
    """What one run of the scenario saw."""

    written: Promised = field(default_factory=dict)
    synced: Promised = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    errors: int = 0


class Scenario:
    """The scenario on one disk under one plan of faults. `patient`: the disk will be well again, so none is told."""

    def __init__(self, how: str, faults: Faults, *, patient: bool) -> None:
        self.how, self.faults, self.patient = how, faults, patient
        self.disk = MemoryDisk()
        self.seen = Walk()
        self._store = FaultyStore(MemoryStore(self.disk), faults)
        self._keys = KEYS[how] or (None,)

    def play(self) -> None:
        """Write, with everything that makes another kind of call."""
        log = self._open(self._keys[0])
        if log is None:
            return
        self._fill(log, 6)
        self._ask(log.rotate)
        self._fill(log, 3)
        if KEYS[self.how]:
            self._ask(lambda: log.rotate_key(self._keys[1]))
        self._fill(log, 2)
        self._ask(log.flush)
        self._close(log)
        again = self._open(self._keys[-1])
        if again is not None:
            self._fill(again, 2)
            self._close(again)

    @property
    def _timeout(self) -> float:
        return LONG if self.patient else SHORT

    def _open(self, key: Any) -> SealedLog | None:
        for _ in range(2):
            try:
                return SealedLog.open(
                    self._store,
                    key=key,
                    keyring=ring_of(self.how),
                    rotation=Rotation(max_bytes=4096),
                    compress="gzip",
                    timeout=self._timeout,
                    clock=FakeClock(),
                )
            except StoreError:
                # Opening is not retried by itself; the caller does.
                self.seen.errors += 1
        assert not self.patient, "the second opening failed, too"
        return None

    def _fill(self, log: SealedLog, count: int) -> None:
        for number in range(count):
            promise: Any = ("written", "synced", "accepted")[number % 3]
            self._ask(lambda n=number, p=promise: self._keep(log.append({"n": n, "x": "x" * 900}, durability=p), p))

    def _keep(self, receipt: Receipt, promise: str) -> None:
        place = receipt.stream, receipt.seq
        if promise != "accepted":
            self.seen.written[place] = receipt.chain
        if promise == "synced":
            self.seen.synced[place] = receipt.chain

    def _ask(self, what: Any) -> None:
        try:
            what()
        except StoreError as error:
            self.seen.errors += 1
            self.seen.told |= set(error.seqs)
            if self.patient:
                raise

    def _close(self, log: SealedLog) -> None:
        self._ask(log.close)


def walk(
    how: str, number: int, flavour: dict[str, Any], *, times: int | None, method: str = "*", threads: bool
) -> bool:
    """Let call `number` fail, and say whether there was one; raise where a promise was broken."""
    faults = Faults()
    faults.fail(method, after=number, times=times, **flavour)
    scenario = Scenario(how, faults, patient=times == 1)
    _play(scenario, threads=threads)
    if not faults.failed:
        return False
    seen = scenario.seen
    assert seen.told.isdisjoint(seq for _, seq in seen.written)
    rng = random.Random(f"{how} {number} {flavour} {times}")
    # Each end of a process takes as long to check as the other: they come by turns.
    killed = number % 3 > 0 or times is None
    left = scenario.disk.kill() if killed else scenario.disk.power_cut(rng)
    require_not_tampered(left, how)
    require_recovers(left, how, seen.written if killed else seen.synced)
    return True


def _play(scenario: Scenario, *, threads: bool) -> None:
    if threads:
        scenario.play()
        return
    with without_threads():
        scenario.play()
