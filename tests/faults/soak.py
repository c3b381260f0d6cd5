# ruff: noqa: T201 (a program that prints)
"""Kill, and cut the power, as often as one likes, and print where it fell: the long form of the tests beside this file.

    python tests/faults/soak.py --kills 300 --cuts 2000 --seed 1

The exit code is 1 if a promise was broken; the seed of each such trial is printed, and gives it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults import cutting, killing

if TYPE_CHECKING:
    from collections.abc import Callable


def kill(seed: int) -> killing.Kill:
    """Kill once."""
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        return killing.kill_once(Path(folder, "trial"), seed)


def attempt(trial: Callable[[int], Any], seed: int) -> Any:
    """Return what a trial saw, or the text of what it raised."""
    try:
        return trial(seed)
    except Exception:  # noqa: BLE001 (the other trials go on)
        return traceback.format_exc(limit=-3)


def run(name: str, trial: Callable[[int], Any], seeds: range, jobs: int) -> tuple[list[Any], int]:
    """Run trials; print those that failed, and return what the others saw, and how many failed."""
    with ProcessPoolExecutor(jobs) as pool:
        seen = list(pool.map(attempt, [trial] * len(seeds), seeds, chunksize=4))
    failed = [(seed, text) for seed, text in zip(seeds, seen, strict=True) if isinstance(text, str)]
    for seed, text in failed:
        print(f"{name} with seed {seed}:\n{text}")
    return [one for one in seen if not isinstance(one, str)], len(failed)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument(
        "--seed", type=int, default=1, help="the seed of the first trial; each further one has the next"
    )
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    # Logs in trouble say so, and trouble is what the trials are about.
    warnings.simplefilter("ignore", RuntimeWarning)
    kills, failed = run("kill", kill, range(options.seed, options.seed + options.kills), options.jobs)
    print(killing.table(kills), end="\n\n")
    cuts, more = run("power cut", cutting.cut_power, range(options.seed, options.seed + options.cuts), options.jobs)
    print(cutting.table(cuts))
    print(f"{failed} of {options.kills} kills and {more} of {options.cuts} power cuts broke a promise")
    return 1 if failed + more else 0


if __name__ == "__main__":
    sys.exit(main())
