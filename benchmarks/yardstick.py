"""The yardstick of every figure: a tight loop in the same run, and the event that all of them write.

The tight loop is what nobody could do faster in Python without giving up the work: build an event of thirteen fields,
orjson, two SHA-256, one HMAC, one write per 256 lines. Ratios travel between machines, absolute figures do not.
"""

from __future__ import annotations

import hmac
import os
import statistics
import tempfile
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from fapilog_tamper.entry import GENESIS
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = bytes(range(32))
KEY = HmacKey("bench", SECRET)
ED = Ed25519SigningKey("bench-ed", SECRET)

# getrusage would count the memory of the process that started this one; VmHWM begins anew with exec.
PEAK = """
import re
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def event(number: int) -> dict[str, object]:
    return {
        "action": "read",
        "actor": "u-1234567",
        "client_ip": "203.0.113.7",
        "component": "billing",
        "event_type": "data_access",
        "message": "the user looked at the record",
        "n": number,
        "outcome": "success",
        "request_id": "0123456789abcdef0123456789abcdef",
        "resource": "/v1/customers/4711/invoices/2026-11",
        "session_id": "fedcba9876543210fedcba9876543210",
        "timestamp": "2026-11-20T12:00:00.000000Z",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    }


def rate(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def warm_up(megabytes: int = 96) -> None:
    """Have the page cache take pages that were used just now.

    On a virtual machine a page that the guest never touched costs ten times one that it gave back a moment ago. The
    same before each measurement: otherwise whoever comes first pays for all.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))


def tight_loop(folder: Path, count: int = 100_000) -> float:
    warm_up()
    fd = os.open(folder / "tight", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def loop() -> None:
        prev, lines = GENESIS, []
        for number in range(count):
            raw = orjson.dumps(event(number), option=orjson.OPT_SORT_KEYS)
            prev = sha256(prev + sha256(raw).digest()).digest()
            mac = hmac.digest(SECRET, prev, "sha256")
            lines.append(raw[:-1] + b',"mac":"' + mac.hex().encode() + b'"}\n')
            if len(lines) == 256:
                os.write(fd, b"".join(lines))
                lines.clear()

    try:
        return rate(count, loop)
    finally:
        os.close(fd)


def show(name: str, per_second: float, tight: float, remark: str = "") -> None:
    print(f"{name:46} {per_second:12,.0f} /s {per_second / tight:7.2f}x   {remark}", flush=True)


class Bench:
    """Runs each measurement in a fresh folder, beside a tight loop of its own, some rounds each."""

    def __init__(self, folder: Path, rounds: int, count: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.count = count
        self._number = 0

    def fresh(self) -> Path:
        self._number += 1
        return self.folder / str(self._number)

    def run(self, name: str, work: Callable[[Path], tuple[float, str]], bar: float | None = None) -> None:
        rates, ratios, remark = [], [], ""
        for _ in range(self.rounds):
            tight = tight_loop(self.folder, 50_000)
            warm_up()
            per_second, remark = work(self.fresh())
            rates.append(per_second)
            ratios.append(per_second / tight)
        ratio = statistics.median(ratios)
        per_second = statistics.median(rates)
        goal = "" if bar is None else f"bar {bar:.2f}{'' if ratio >= bar else ' MISSED'}; "
        show(name, per_second, per_second / ratio, goal + remark)


def spread(laps: list[float]) -> str:
    laps = sorted(laps)
    points = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return ", ".join(f"{name} {laps[int(len(laps) * at)] * 1e6:,.0f} µs" for name, at in points.items())


class Stalls:
    """Has one write stand still for `seconds`, some four times a second."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._write = os.pwrite

    def __enter__(self) -> None:
        if not self._seconds:
            return
        write, seconds = self._write, self._seconds
        due = time.monotonic() + 0.1

        def slow(fd: int, data: bytes, offset: int) -> int:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + seconds + 0.25
                time.sleep(seconds)
            return write(fd, data, offset)

        os.pwrite = slow

    def __exit__(self, *_: object) -> None:
        os.pwrite = self._write
