"""Appending: rates as ratios to the tight loop, latencies, loop gaps, CPU, memory; and neighbours in the same run.

Each figure stands beside a tight loop that ran a moment before it. The *floor* is what the parts of an append cost one
behind the other without any engine: encode, seal, one write a line, the running hash. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from yardstick import ED, KEY, PEAK, Bench, Stalls, event, rate, spread

from fapilog_tamper import SealedLog
from fapilog_tamper.entry import GENESIS, prepare_seal
from fapilog_tamper.payload import encode_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_tamper.keys import SigningKey

CALLERS = (1, 16, 256)
THREADS = (1, 8)


def floor(count: int) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        seal, digest = prepare_seal("log", KEY), sha256()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)

        def loop() -> None:
            prev, offset = GENESIS, 0
            for number in range(1, count + 1):
                line, prev = seal(encode_payload(event(number)), number, prev)
                os.pwrite(fd, line, offset)
                digest.update(line)
                offset += len(line)

        try:
            return rate(count, loop), "encode, seal, write, hash; no engine"
        finally:
            os.close(fd)

    return work


def threads(
    number: int, count: int, key: SigningKey | None = KEY, **options: Any
) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        laps: list[list[float]] = [[] for _ in range(number)]
        with SealedLog.open(path, key=key, **options) as log:

            def caller(mine: list[float]) -> None:
                clock = time.perf_counter
                for at in range(count // number):
                    begun = clock()
                    log.append(event(at))
                    mine.append(clock() - begun)

            workers = [threading.Thread(target=caller, args=(mine,)) for mine in laps]
            cpu = time.process_time()

            def run() -> None:
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()

            done = count // number * number
            per_second = rate(done, run)
            cpu = (time.process_time() - cpu) / done
        return per_second, f"{spread([lap for mine in laps for lap in mine])}; CPU {cpu * 1e6:.1f} µs an event"

    return work


def coroutines(
    number: int, count: int, *, stall: float = 0.0, key: SigningKey | None = KEY, **options: Any
) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        laps: list[float] = []
        gaps: list[float] = []
        with SealedLog.open(path, key=key, **options) as log, Stalls(stall):
            per_second = asyncio.run(_callers(log, number, count // number, laps, gaps))
        longest = sorted(gaps)[-3:][::-1]
        text = ", ".join(f"{gap * 1e3:.1f}" for gap in longest)
        return per_second, f"{spread(laps)}; longest loop gaps {text} ms"

    return work


async def _callers(log: SealedLog, number: int, each: int, laps: list[float], gaps: list[float]) -> float:
    clock = time.perf_counter
    running = True

    async def tick() -> None:
        last = clock()
        while running:
            await asyncio.sleep(0.0005)
            now = clock()
            gaps.append(now - last - 0.0005)
            last = now

    async def caller() -> None:
        for at in range(each):
            begun = clock()
            await log.append_async(event(at))
            laps.append(clock() - begun)

    ticker = asyncio.create_task(tick())
    start = clock()
    await asyncio.gather(*[caller() for _ in range(number)])
    seconds = clock() - start
    running = False
    await ticker
    return number * each / seconds


def stdlib_logging(count: int) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        logger = logging.Logger("bench")  # noqa: LOG001 (one of its own, without the handlers of a root)
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)

        def loop() -> None:
            for at in range(count):
                logger.info(orjson.dumps(event(at)).decode())

        try:
            return rate(count, loop), "no integrity at all"
        finally:
            handler.close()

    return work


def sqlite_chain(count: int, every: int) -> Callable[[Path], tuple[float, str]]:
    def work(path: Path) -> tuple[float, str]:
        base = sqlite3.connect(path, isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=NORMAL")
        base.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, payload BLOB, chain BLOB)")

        def loop() -> None:
            prev = GENESIS
            for at in range(count):
                if at % every == 0:
                    base.execute("BEGIN")
                raw = orjson.dumps(event(at), option=orjson.OPT_SORT_KEYS)
                prev = sha256(prev + sha256(raw).digest()).digest()
                base.execute("INSERT INTO log VALUES (?, ?, ?)", (at + 1, raw, prev))
                if at % every == every - 1:
                    base.execute("COMMIT")
            if base.in_transaction:
                base.execute("COMMIT")

        try:
            return rate(count, loop), "SHA-256 chain without a key"
        finally:
            base.close()

    return work


MEMORY = (
    PEAK
    + """
import json, sys, time
sys.path.insert(0, sys.argv[3])
from yardstick import KEY, event
from fapilog_tamper import SealedLog
log, done, seconds = SealedLog.open(sys.argv[1], key=KEY), 0, {}
for upto in (10_000, int(sys.argv[2]) - 10_000, int(sys.argv[2])):
    start = time.perf_counter()
    for number in range(done, upto):
        log.append(event(number))
    seconds[upto] = (time.perf_counter() - start) / max(1, upto - done)
    done = upto
log.close()
start = time.perf_counter()
log = SealedLog.open(sys.argv[1], key=KEY)
opened = time.perf_counter() - start
log.close()
print(json.dumps({"peak": peak(), "first": seconds[10_000], "last": seconds[int(sys.argv[2])], "open": opened}))
"""
)


def growth(folder: Path, records: int) -> None:
    """What a long log costs: memory, and the last entries against the first."""
    here = str(Path(__file__).parent)
    program = [sys.executable, "-c", MEMORY, str(folder / "growth"), str(records), here]
    found = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)
    bare = int(subprocess.run([sys.executable, "-c", PEAK + "print(peak())"], capture_output=True, check=True).stdout)
    print(
        f"{records:,} events: peak {(found['peak'] - bare) / 1024:.0f} MiB above the bare interpreter; "
        f"the last 10,000 took {found['last'] / found['first']:.2f} times the first 10,000; "
        f"opened again in {found['open'] * 1e3:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    count = options.count
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.rounds, count)
        print(f"{'':46} {'rate':>15} {'x tight':>8}")
        bench.run("the floor", floor(count))
        bench.run("written, 1 thread", threads(1, count), bar=0.60)
        bench.run("written, 8 threads", threads(8, count), bar=0.20)
        for number in CALLERS:
            bench.run(f"written, {number} async", coroutines(number, count), bar=0.50 if number == 256 else None)
        for number in CALLERS:
            bar = 0.40 if number == 256 else None
            synced = coroutines(number, count if number == 256 else count // 20, durability="synced")
            bench.run(f"synced, {number} async", synced, bar=bar)
        for number in THREADS:
            bench.run(f"synced, {number} threads", threads(number, count // 20, durability="synced"))
            bench.run(f"accepted, {number} threads", threads(number, count, durability="accepted"))
        bench.run("written, inline=False, 1 thread", threads(1, count // 10, inline=False))
        bench.run("written, inline=False, 256 async", coroutines(256, count, inline=False))
        bench.run("written, Ed25519, 1 thread", threads(1, count, key=ED))
        bench.run("written, unkeyed, 1 thread", threads(1, count, key=None))
        bench.run("written, 256 async, 200 ms stalls", coroutines(256, count, stall=0.2))
        bench.run("the same, inline=False", coroutines(256, count, stall=0.2, inline=False))
        bench.run("stdlib logging and orjson", stdlib_logging(count))
        bench.run("SQLite WAL chain, commit per event", sqlite_chain(count // 4, 1))
        bench.run("SQLite WAL chain, commit per 256", sqlite_chain(count, 256))
        growth(Path(name), options.records)


if __name__ == "__main__":
    main()
