"""Sealing and verifying: rates as ratios to a tight loop in the same run. Nothing is asserted."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from yardstick import ED, KEY, PEAK, event, rate, show, tight_loop

from fapilog_tamper import Keyring, SealedLog, verify_path
from fapilog_tamper.entry import GENESIS, prepare_seal
from fapilog_tamper.payload import encode_payload

if TYPE_CHECKING:
    from fapilog_tamper.keys import Ed25519SigningKey, HmacKey


def write_lines(path: Path, count: int) -> None:
    seal, prev = prepare_seal("audit", KEY), GENESIS
    with path.open("wb") as file:
        for number in range(1, count + 1):
            line, prev = seal(encode_payload(event(number)), number, prev)
            file.write(line)


def seal_rate(key: HmacKey | Ed25519SigningKey | None, *, mac: bool = True, count: int = 100_000) -> float:
    seal = prepare_seal("audit", key, mac=mac)
    payload = encode_payload(event(1))

    def loop() -> None:
        prev = GENESIS
        for number in range(1, count + 1):
            _, prev = seal(payload, number, prev)

    return rate(count, loop)


def encode_rate(count: int = 100_000) -> float:
    def loop() -> None:
        for number in range(count):
            encode_payload(event(number))

    return rate(count, loop)


PROBE = (
    PEAK
    + """
import json, resource, sys, time
from fapilog_tamper import Keyring, verify_path
from fapilog_tamper.keys import HmacKey
if __name__ == "__main__":
    start = time.perf_counter()
    report = verify_path(sys.argv[1], keyring=Keyring([HmacKey("bench", bytes(range(32)))]), jobs=int(sys.argv[2]))
    assert report.valid, report.findings
    print(json.dumps({"seconds": time.perf_counter() - start, "entries": report.entries,
        "rss": peak(), "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}))
"""
)


def probe(path: Path, jobs: int) -> dict[str, float]:
    """Verify in a process of its own, so that its memory is that of verifying alone."""
    done = subprocess.run([sys.executable, "-c", PROBE, str(path), str(jobs)], capture_output=True, check=True)
    return json.loads(done.stdout)


def bare_memory() -> int:
    done = subprocess.run([sys.executable, "-c", PEAK + "print(peak())"], capture_output=True, check=True)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tights = [tight_loop(folder) for _ in range(options.rounds)]
        tight = statistics.median(tights)
        print(f"{'':44} {'rate':>15} {'x tight':>8}")
        show(
            "tight loop (the yardstick)", tight, tight, f"of {options.rounds}: {min(tights):,.0f} to {max(tights):,.0f}"
        )
        show("encode_payload", encode_rate(), tight)
        show("seal, HMAC-SHA256", seal_rate(KEY), tight)
        show("seal, unkeyed", seal_rate(None), tight)
        show("seal, Ed25519 without mac (inside a commit)", seal_rate(ED, mac=False), tight)
        show("seal, Ed25519 signing each entry", seal_rate(ED, count=5_000), tight)
        bare = bare_memory()
        for records in options.records:
            path = folder / f"{records}.jsonl"
            write_lines(path, records)
            rows: dict[int, list[dict[str, float]]] = {1: [], 2: []}
            near: list[float] = []
            for _ in range(options.rounds):
                near.append(tight_loop(folder))
                for jobs, done in rows.items():
                    done.append(probe(path, jobs))
            speeds = {jobs: statistics.median(records / one["seconds"] for one in done) for jobs, done in rows.items()}
            for jobs, done in rows.items():
                above = max(max(one["rss"], one["children"]) for one in done) - bare
                pairs = zip(done, near, strict=True)
                ratio = statistics.median(records / one["seconds"] / yard for one, yard in pairs)
                remark = f"{ratio:.2f}x beside its own loop; peak {above / 1024:.0f} MiB above the bare interpreter"
                remark += f"; {speeds[jobs] / speeds[1]:.2f} times one worker" if jobs > 1 else ""
                show(f"verify {records:,} lines, {jobs} worker{'s' * (jobs > 1)}", speeds[jobs], tight, remark)
        hash_rate(folder, tight)


def hash_rate(folder: Path, tight: float) -> None:
    """The signed whole-file hash instead of the lines."""
    count = 200_000
    with SealedLog.open(folder / "hashed", key=KEY) as log:
        for number in range(count):
            log.append(event(number))
    start = time.perf_counter()
    report = verify_path(folder / "hashed", keyring=Keyring([KEY]))
    seconds = time.perf_counter() - start
    assert report.files[0].checked == "signed hash"
    megabytes = report.size_bytes / seconds / 1e6
    show(f"verify {count:,} lines by signed hash", count / seconds, tight, f"{megabytes:,.0f} MB/s")


if __name__ == "__main__":
    main()
