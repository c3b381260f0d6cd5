"""The audit trail: rates of `log_event` as ratios to the tight loop, and what bursts do to an event loop.

Each figure stands beside a tight loop that ran a moment before it. The *floor* is what the parts of one event cost
behind each other without any engine. A burst runs beside a ticker of 1 ms; its gaps are held against those of the same
ticker in an idle loop, in the same run. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from yardstick import ED, KEY, Bench, Stalls, rate, spread

from fapilog_audit import AuditEventType, AuditTrail, CompliancePolicy
from fapilog_audit.encode import EventEncoder, encode_members
from fapilog_tamper.entry import GENESIS, prepare_seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_tamper.keys import SigningKey

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
POLICY = CompliancePolicy(real_time_alerts=False)


def fields(number: int) -> dict[str, Any]:
    """The event of the yardstick, in the words of `log_event`."""
    return {
        "component": "billing",
        "operation": "read",
        "outcome": "success",
        "user_id": "u-1234567",
        "session_id": "fedcba9876543210fedcba9876543210",
        "request_id": "0123456789abcdef0123456789abcdef",
        "client_ip": "203.0.113.7",
        "user_agent": AGENT,
        "resource": "/v1/customers/4711/invoices/2026-11",
        "n": number,
    }


def floor(count: int) -> Callable[[Path], tuple[float, str]]:
    encoder = EventEncoder(POLICY)

    def work(path: Path) -> tuple[float, str]:
        seal = prepare_seal("audit", KEY)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)

        def loop() -> None:
            prev, offset = GENESIS, 0
            for number in range(1, count + 1):
                members = encoder.members(
                    AuditEventType.DATA_ACCESS,
                    "the user looked at the record",
                    "info",
                    "billing",
                    "read",
                    "success",
                    None,
                    None,
                    "u-1234567",
                    "fedcba9876543210fedcba9876543210",
                    "0123456789abcdef0123456789abcdef",
                    None,
                    "203.0.113.7",
                    AGENT,
                    None,
                    None,
                    None,
                    None,
                )
                metadata = {"resource": "/v1/customers/4711/invoices/2026-11", "n": number}
                line, prev = seal(encode_members(members, metadata).payload, number, prev)
                os.pwrite(fd, line, offset)
                offset += len(line)

        try:
            return rate(count, loop), "members, encode, seal, write; no engine"
        finally:
            os.close(fd)

    return work


def trail_at(path: Path, key: SigningKey | None, **options: Any) -> AuditTrail:
    return AuditTrail(POLICY, path, key=key, timeout=30, **options)


def coroutines(
    number: int, count: int, *, key: SigningKey | None = KEY, durability: Any = None, **options: Any
) -> Callable[[Path], tuple[float, str]]:
    async def run(path: Path, laps: list[float]) -> float:
        clock = time.perf_counter

        async def caller() -> None:
            for at in range(count // number):
                begun = clock()
                await trail.log_event(
                    AuditEventType.DATA_ACCESS, "the user looked at the record", durability=durability, **fields(at)
                )
                laps.append(clock() - begun)

        async with trail_at(path, key, **options) as trail:
            begun = clock()
            await asyncio.gather(*[caller() for _ in range(number)])
            return count // number * number / (clock() - begun)

    def work(path: Path) -> tuple[float, str]:
        laps: list[float] = []
        return asyncio.run(run(path, laps)), spread(laps)

    return work


def threads(number: int, count: int) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        laps: list[list[float]] = [[] for _ in range(number)]
        with trail_at(path, KEY) as trail:

            def caller(mine: list[float]) -> None:
                clock = time.perf_counter
                for at in range(count // number):
                    begun = clock()
                    trail.log(AuditEventType.DATA_ACCESS, "the user looked at the record", **fields(at))
                    mine.append(clock() - begun)

            workers = [threading.Thread(target=caller, args=(mine,)) for mine in laps]

            def run() -> None:
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()

            per_second = rate(count // number * number, run)
        return per_second, spread([lap for mine in laps for lap in mine])

    return work


def handed_over(number: int, count: int) -> Callable[[Path], tuple[float, str]]:
    """What it would be to give each event to a thread, as `asyncio.to_thread` does."""

    async def run(path: Path, laps: list[float]) -> float:
        clock = time.perf_counter

        async def caller() -> None:
            for at in range(count // number):
                begun = clock()
                await asyncio.to_thread(
                    trail.log, AuditEventType.DATA_ACCESS, "the user looked at the record", **fields(at)
                )
                laps.append(clock() - begun)

        async with trail_at(path, KEY) as trail:
            begun = clock()
            await asyncio.gather(*[caller() for _ in range(number)])
            return count // number * number / (clock() - begun)

    def work(path: Path) -> tuple[float, str]:
        laps: list[float] = []
        return asyncio.run(run(path, laps)), spread(laps)

    return work


class Ticker:
    """Ticks every millisecond, and notes by how much each tick was late."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        self.gaps.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.01)
        self._task.cancel()

    async def _tick(self) -> None:
        clock = time.perf_counter
        last = clock()
        while True:
            await asyncio.sleep(0.001)
            now = clock()
            self.gaps.append(now - last - 0.001)
            last = now


def burst(folder: Path, size: int, rounds: int, how: str) -> None:
    """Print the longest gaps of a ticker beside bursts, and beside nothing."""
    longest: list[float] = []
    idle: list[float] = []
    took: list[float] = []
    stall = 0.2 if how != "normal" else 0.0

    async def run(path: Path) -> None:
        async with trail_at(path, KEY, inline=how != "stalled, inline=False") as trail:
            async with Ticker() as ticker:
                await asyncio.sleep(0.3)
            idle.append(max(ticker.gaps))
            with Stalls(stall):
                await asyncio.sleep(0.11 if stall else 0)
                async with Ticker() as ticker:
                    begun = time.perf_counter()
                    await asyncio.gather(
                        *[
                            trail.log_event(AuditEventType.DATA_ACCESS, "the user looked at the record", **fields(at))
                            for at in range(size)
                        ]
                    )
                    took.append(time.perf_counter() - begun)
            longest.append(sorted(ticker.gaps)[-2 if how == "stalled" else -1])

    # A full collection of everything that was imported takes thirty milliseconds, whoever is measured.
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        asyncio.run(run(folder / f"burst-{size}-{how}-{number}"))
    what = "second longest gap (the longest is the one held write)" if how == "stalled" else "longest gap"
    print(
        f"burst of {size:5,}, disk {how:22} {what} {statistics.median(longest) * 1e3:.1f} ms "
        f"(worst of {rounds}: {max(longest) * 1e3:.1f}); idle ticker {statistics.median(idle) * 1e3:.1f} ms; "
        f"done in {statistics.median(took) * 1e3:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=40_000)
    options = parser.parse_args()
    count = options.count
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.rounds, count)
        print(f"{'':46} {'rate':>15} {'x tight':>8}")
        bench.run("the floor", floor(count))
        bench.run("log_event written, 1 async", coroutines(1, count), bar=0.42)
        bench.run("log_event written, 256 async", coroutines(256, count))
        bench.run("log written, 1 thread", threads(1, count))
        bench.run("log written, 8 threads", threads(8, count))
        bench.run("log_event synced, 256 async", coroutines(256, count, durability="synced"))
        bench.run("log_event accepted, 1 async", coroutines(1, count, durability="accepted"))
        bench.run("log_event unkeyed, 1 async", coroutines(1, count, key=None))
        bench.run("log_event Ed25519, 1 async", coroutines(1, count, key=ED))
        bench.run("asyncio.to_thread per event, 1 async", handed_over(1, count // 10))
        bench.run("asyncio.to_thread per event, 256 async", handed_over(256, count // 4))
        for size in (100, 1000):
            for how in ("normal", "stalled", "stalled, inline=False"):
                burst(Path(name), size, max(3, options.rounds), how)


if __name__ == "__main__":
    main()
