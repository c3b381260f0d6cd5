"""Processes, threads, event loops and forks that append to one folder at the same time, and the check of all of it.

    python tests/concurrency/soak.py --rounds 10

The tests run the same code once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from concurrency.crowd import command
from concurrency.ledger import (
    KEY,
    Line,
    check_intact,
    check_others,
    check_receipts,
    files_of,
    heads_of,
    lines_of,
    receipts_in,
)

from fapilog_tamper import SealedLog
from fapilog_tamper.encoding import b64url_encode

SHAPES = ("mixed", "forks", "execs", "plain", "plain", "plain", "plain", "plain")


@dataclass(frozen=True)
class Figures:
    """What a round came to."""

    appends: int
    streams: int
    segments: int
    appending: float
    checking: float

    def __str__(self) -> str:
        rate = self.appends / self.appending
        return (
            f"{self.appends} appends, {self.streams} streams, {self.segments} segments: {self.appending:.1f} s "
            f"({rate:.0f} a second), checked in {self.checking:.1f} s"
        )


def run(
    base: Path, *, appends: int, shapes: tuple[str, ...] = SHAPES, max_bytes: int = 256 << 10, limit: float = 600.0
) -> Figures:
    """Have one process for each shape append, and check what stands in the folder then.

    Args:
        base: an empty folder.
        appends: of each process, its children included.
        shapes: what each process does; `crowd` knows them.
        max_bytes: of a segment.
        limit: seconds after which a process that still runs has hung.
    """
    folder, results = base / "log", base / "results"
    results.mkdir(parents=True)
    begun = time.perf_counter()
    crowd = [
        subprocess.Popen(
            command(folder, results, f"p{number}", appends, shape=shape, max_bytes=max_bytes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, shape in enumerate(shapes)
    ]
    try:
        floor = dict(_ready(process) for process in crowd)
        outputs = _go(crowd, limit)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert [process.returncode for process in crowd] == [0] * len(crowd), outputs
    assert outputs == [("", "")] * len(crowd)
    assert len(floor) == len(crowd)
    ended = time.perf_counter()

    streams = check(folder, results, floor)
    total = sum(line.of is not None for lines in streams.values() for line in lines)
    assert total == appends * len(shapes)
    segments = len(list(folder.glob("*.manifest.json")))
    return Figures(total, len(streams), segments, ended - begun, time.perf_counter() - ended)


def _ready(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], process.stderr.read()
    return words[1], int(words[2])


def _go(crowd: list[subprocess.Popen[str]], limit: float) -> list[tuple[str, str]]:
    """Let all begin at once, and return what they said."""
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=limit) for process in crowd]


def check(folder: Path, results: Path, floor: dict[str, int]) -> dict[str, list[Line]]:
    """Check a folder whose writers have all closed it; `floor` as for `check_others`."""
    streams = lines_of(files_of(folder))
    check_receipts(streams, receipts_in(*results.iterdir()))
    check_others(folder, floor, streams)
    check_intact(folder, jobs=2)
    # Who appends and closes now finds all others closed, and quotes where they ended.
    with SealedLog.open(folder, key=KEY) as log:
        last = log.append({"caller": "last", "n": 0})
    said = {stream: (seq, b64url_encode(chain)) for stream, seq, chain in heads_of(folder)[last.stream].others}
    ends = {stream: (lines[-1].seq, lines[-1].chain_hash) for stream, lines in streams.items()}
    assert said == {stream: end for stream, end in ends.items() if stream != last.stream}
    check_intact(folder, jobs=2)
    return streams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--appends", type=int, default=20_000, help="of each process")
    args = parser.parse_args()
    for number in range(1, args.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="soak-") as base:
            sys.stdout.write(f"round {number}: {run(Path(base), appends=args.appends)}\n")


if __name__ == "__main__":
    main()
