# ruff: noqa: T201 (a program that prints)
"""Print the attack table: every attack class in every situation and shape, many trials each.

Columns: trials; of the attacks that something left behind can show, how many were found (outcome and code as the
format asks) and located (file and line); of the others how many reports named the gap where one must be named; and
the outcomes. The exit code is 1 if anything that must be found, located or named was not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import count, cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from attacks.operators import ATTACKS, applicable
from attacks.trial import complaint, is_found, is_located, verify_folder, write_changed
from support.logs import SHAPES, SITUATIONS, Log, make_log

Cell = tuple[str, str, str]
Job = tuple[int, int, int, int]
"""An attack, a situation and a shape by their numbers, and the number of the trial."""

LOGS = 4
_numbers = count()


@dataclass
class Row:
    """What came out of the trials of one cell."""

    trials: int = 0
    visible: int = 0
    found: int = 0
    placed: int = 0
    located: int = 0
    named: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What came out of one trial."""

    invisible: bool
    found: bool
    placed: bool
    located: bool
    outcome: str
    complaint: str | None


@cache
def log_of(situation: int, shape: int, seed: str) -> Log:
    """Return one of a few logs; the attacks differ in each trial."""
    return make_log(SITUATIONS[situation], SHAPES[shape], seed=hash_of(seed))


def hash_of(text: str) -> int:
    """Return a number that depends on a text, the same in every process."""
    return random.Random(text).randrange(2**31)


def run(seed: int, folder: str, job: Job) -> Result:
    """Run one trial."""
    number, situation, shape, trial = job
    attack = ATTACKS[number]
    log = log_of(situation, shape, f"{seed}/{trial % LOGS}")
    changed = attack.run(log, random.Random(f"{seed}/{job}"))
    verdict = attack.expect(log.situation, log.shape)
    assert verdict is not None
    base = Path(folder) / f"{job}-{next(_numbers)}"
    base.mkdir()
    log_folder, heads = write_changed(changed, base)
    report = verify_folder(log, changed, log_folder, heads)
    shutil.rmtree(base)
    return Result(
        invisible=verdict.invisible,
        found=is_found(verdict, report),
        placed=bool(changed.where) and not verdict.invisible,
        located=is_located(changed, report, log_folder),
        outcome=report.outcome.value,
        complaint=complaint(changed, verdict, report, log_folder),
    )


def run_many(seed: int, folder: str, jobs: list[Job]) -> list[Result]:
    """Run some trials in one process."""
    return [run(seed, folder, job) for job in jobs]


def plan(trials: int, by: str) -> dict[Cell, list[Job]]:
    """Return the trials of every row; the attacks, or the shapes, of a row take turns."""
    cells: dict[Cell, list[tuple[int, int, int]]] = defaultdict(list)
    for number, attack in enumerate(ATTACKS):
        for situation, shape, _ in applicable(attack):
            row = (attack.group, situation.name, shape.name)
            if by == "attack":
                row = (f"{attack.group}: {attack.name}", situation.name, "all shapes")
            cells[row].append((number, SITUATIONS.index(situation), SHAPES.index(shape)))
    return {
        cell: [(*kind, trial) for trial, kind in enumerate(islice(cycle(kinds), max(trials, len(kinds))))]
        for cell, kinds in cells.items()
    }


def add(row: Row, result: Result, job: Job) -> None:
    """Count one trial."""
    row.trials += 1
    row.outcomes[result.outcome] += 1
    if result.invisible:
        row.named += result.complaint is None
    else:
        row.visible += 1
        row.found += result.found
        row.placed += result.placed
        row.located += result.placed and result.located
    if result.complaint is not None:
        row.complaints.append(f"{ATTACKS[job[0]].name}, trial {job}: {result.complaint}")


def collect(cells: dict[Cell, list[Job]], seed: int, processes: int) -> dict[Cell, Row]:
    """Run all trials."""
    home = Path("/dev/shm")  # noqa: S108 (memory, where there is such a folder)
    folder = tempfile.mkdtemp(prefix="attacks-", dir=home if home.is_dir() else None)
    rows: dict[Cell, Row] = {}
    try:
        with ProcessPoolExecutor(processes) as pool:
            futures = {cell: pool.submit(run_many, seed, folder, jobs) for cell, jobs in cells.items()}
            for number, (cell, future) in enumerate(futures.items(), 1):
                row = rows[cell] = Row()
                for job, result in zip(cells[cell], future.result(), strict=True):
                    add(row, result, job)
                print(f"\r{number} of {len(futures)} rows", end="", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    print(file=sys.stderr)
    return rows


def show(rows: dict[Cell, Row]) -> None:
    """Print the table."""
    width = max(len(cell[0]) for cell in rows)
    head = f"{'class':{width}} {'situation':18} {'shape':21} {'trials':>6} {'found':>9} {'located':>9} {'invisible':>9}"
    print(head, "outcomes")
    for (group, situation, shape), row in rows.items():
        found, located = f"{row.found}/{row.visible}", f"{row.located}/{row.placed}"
        hidden = f"{row.named}/{row.trials - row.visible}"
        outcomes = ", ".join(f"{name} {number}" for name, number in sorted(row.outcomes.items()))
        print(
            f"{group:{width}} {situation:18} {shape:21} {row.trials:6} {found:>9} {located:>9} {hidden:>9} {outcomes}"
        )


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=100, help="of each row, at least")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--by", choices=["class", "attack"], default="class", help="what a row stands for")
    options = parser.parse_args()
    rows = collect(plan(options.trials, options.by), options.seed, options.processes)
    show(rows)
    complaints = [text for row in rows.values() for text in row.complaints]
    trials, visible = sum(row.trials for row in rows.values()), sum(row.visible for row in rows.values())
    found, placed = sum(row.found for row in rows.values()), sum(row.placed for row in rows.values())
    located = sum(row.located for row in rows.values())
    print(f"\n{len(ATTACKS)} attacks, {trials} trials; found {found} of {visible}, located {located} of {placed}")
    print(
        f"invisible from what is left: {trials - visible}, of which as expected {sum(r.named for r in rows.values())}"
    )
    for text in complaints[:50]:
        print("NOT AS EXPECTED:", text)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
