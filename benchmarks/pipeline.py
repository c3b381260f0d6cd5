"""What sealing costs inside fapilog: CPU time per event of the whole pipeline, sealed sink against `rotating_file`.

Each measurement is a process of its own that logs through a real logger and drains it; the sinks take turns, so that
both see the same machine. The bar is a ratio of 1.15. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

from yardstick import SECRET

WORK = """
import asyncio, json, resource, sys
from fapilog import Settings, get_logger

sink, count, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
serialized, options = json.loads(sys.argv[4]), json.loads(sys.argv[5])
settings = Settings(
    core={"sinks": [sink], "max_queue_size": count + 1000, "serialize_in_flush": serialized, "log_level": "INFO"},
    plugins={"allow_external": True},
    sink_config={"rotating_file": {"directory": directory}, "extra": {"sealed": {"directory": directory, **options}}},
)
logger = get_logger(settings=settings)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


for number in range(500):
    logger.info("warming up", n=number)
before = cpu()
for number in range(count):
    logger.info("the user looked at the record", n=number, user="u-17", resource="/v1/customers/4711", outcome="ok")
result = asyncio.run(logger.stop_and_drain())
assert result.dropped == 0, result
print(json.dumps((cpu() - before) / count * 1e6))
"""

CASES = (
    ("dicts, HMAC-SHA256", False, {}),
    ("serialized, HMAC-SHA256", True, {}),
    ("dicts, Ed25519", False, {"algorithm": "Ed25519"}),
    ("dicts, gzip", False, {"compress_rotated": True}),
    ("dicts, a new chain each segment", False, {"rotate_chain": True}),
)


def cost(sink: str, count: int, *, serialized: bool, options: dict[str, object]) -> float:
    """Return the microseconds of CPU time that an event costs."""
    env = {**os.environ, "FAPILOG_TAMPER_KEY": SECRET.hex()}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", WORK, sink, str(count), folder, json.dumps(serialized), json.dumps(options)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000)
    args = parser.parse_args()
    print("CPU time per event of the whole pipeline; bar: at most 1.15 of rotating_file")
    for name, serialized, options in CASES:
        pairs = [
            (
                cost("rotating_file", args.count, serialized=serialized, options={}),
                cost("sealed", args.count, serialized=serialized, options=options),
            )
            for _ in range(args.rounds)
        ]
        ratios = sorted(sealed / plain for plain, sealed in pairs)
        plain, sealed = (statistics.median(column) for column in zip(*pairs, strict=True))
        text = f"{name:<34} {sealed:6.0f} µs against {plain:4.0f} µs   {statistics.median(ratios):.2f}"
        print(f"{text}   ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
