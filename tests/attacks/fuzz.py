# ruff: noqa: T201 (a program that prints)
"""Mutate files of small logs and verify them: none may be intact, raise, or take long.

A file that says the same as before is no mutation and is counted apart. Known cuts, of whole lines from a log that
nobody attests, may be intact if the report names the gap. Every file is made from the seed and its number alone:
`--only N` shows one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from attacks.explain import explain
from attacks.model import is_head, is_manifest
from attacks.mutations import PLAIN, RARE, Mutation
from support.logs import SITUATIONS, Image, Shape, Situation, gzipped, make_log, write_stream

from fapilog_tamper import verify_path
from fapilog_tamper.verify.log import verify_lines

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fapilog_tamper.verify.report import VerifyReport

LIMIT = 10.0
"""Seconds that one file may take."""

LONG_AGO = 1_700_000_000
FILE = "log.jsonl"
FOLDERS = 12
"""One in so many files is mutated in a folder on the disk, the others in memory."""

RARELY = 400


@dataclass(frozen=True)
class Base:
    """A log to be mutated: one file in memory, or a folder."""

    name: str
    situation: Situation
    image: Image
    folder: bool


@cache
def bases() -> tuple[tuple[Base, ...], tuple[Base, ...]]:
    """Return the logs in memory and the folders."""
    single, folders = [], []
    for situation in SITUATIONS:
        for entries in (2, 3, 5):
            stream = write_stream("audit", situation, segments=1, entries=entries, seed=entries)
            image = {FILE: b"".join(stream.lines)}
            single.append(Base(f"{situation.name} {entries}", situation, image, folder=False))
        for shape in (Shape(), Shape(others=False), Shape(manifests=False, head=False, others=False)):
            log = make_log(situation, shape, segments=2, entries=3)
            for kind in ("", ".gz", ".zst"):
                image = {
                    name if is_document(name) else name + kind: pack(kind, name, raw) for name, raw in log.image.items()
                }
                folders.append(Base(f"{situation.name} {shape.name} {kind}", situation, image, folder=True))
    return tuple(single), tuple(folders)


@cache
def honest_files(situation: Situation) -> tuple[bytes, ...]:
    """Return the plain files of all logs under the keys of a situation."""
    names = {key.key_id for key in situation.keys}
    logs = [base for base in (*bases()[0], *bases()[1]) if names >= {key.key_id for key in base.situation.keys}]
    return tuple(
        dict.fromkeys(
            unpack(name, raw) or b""
            for base in logs
            for name, raw in base.image.items()
            if not is_document(name) and bool(base.situation.keys) == bool(situation.keys)
        )
    )


def is_document(name: str) -> bool:
    """Tell whether a file is a head or a manifest."""
    return is_head(name) or is_manifest(name)


def pack(kind: str, name: str, raw: bytes) -> bytes:
    """Return the bytes of a file as they are stored."""
    if not kind or is_document(name):
        return raw
    return gzipped(raw) if kind == ".gz" else zstd.compress(raw, 1)


def unpack(name: str, raw: bytes) -> bytes | None:
    """Return the logical bytes of a file, None where they cannot be read to their end."""
    try:
        if raw[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(raw, 1 << 24)
            return data if unpacker.eof and not unpacker.unused_data else None
        if raw[:4] == b"\x28\xb5\x2f\xfd":
            zunpacker = zstd.ZstdDecompressor()
            data = zunpacker.decompress(raw, 1 << 24)
            return data if zunpacker.eof and not zunpacker.unused_data else None
    except (zlib.error, zstd.ZstdError):
        return None
    return raw


@dataclass
class Mutant:
    """One mutated log. `kind` names the mutation."""

    base: Base
    kind: str
    name: str
    data: bytes

    @property
    def image(self) -> Image:
        """All its files."""
        return self.base.image | {self.name: self.data}


def mutate(seed: int, number: int) -> Mutant:
    """Return the mutant of a number; it depends on nothing else."""
    rng = random.Random(f"{seed}/{number}")
    single, folders = bases()
    base = rng.choice(folders if number % FOLDERS == 0 else single)
    name = rng.choice(list(base.image))
    data = base.image[name]
    kind = ""
    if name.endswith((".gz", ".zst")) and rng.randrange(2):
        kind = name[name.rfind(".") :]
        data = unpack(name, data) or b""
    label, data = _twist(rng, base, data)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        data = rng.choice(PLAIN)(data, rng) if data else data
    packed = {".gz": gzipped, ".zst": lambda raw: zstd.compress(raw, 1)}.get(kind, bytes)(data)
    return Mutant(base, label, name, packed)


def _twist(rng: random.Random, base: Base, data: bytes) -> tuple[str, bytes]:
    if rng.randrange(RARELY) == 0:
        mutation: Mutation = rng.choice(RARE)
        return mutation.__name__, mutation(data, rng)
    index = rng.randrange(len(PLAIN) + 1)
    if index == len(PLAIN):
        return "splice", _splice(rng, data)
    return PLAIN[index].__name__, PLAIN[index](data, rng)


def _splice(rng: random.Random, data: bytes) -> bytes:
    """Put lines, or any piece, of another log into this one."""
    single, folders = bases()
    other = rng.choice(list(rng.choice(rng.choice([single, folders])).image.values()))
    rows, mine = other.splitlines(keepends=True), data.splitlines(keepends=True)
    at = rng.randrange(len(mine) + 1)
    start = rng.randrange(len(rows))
    piece = rows[start : start + rng.choice([1, 1, 2, 5])]
    if rng.randrange(4) == 0:
        cut, end = rng.randrange(len(data) + 1), rng.randrange(len(other))
        return data[:cut] + other[end:]
    return b"".join(mine[:at] + piece + mine[at + rng.choice([0, len(piece)]) :])


class Disk:
    """Folders of the logs in memory file system; each holds its log as it was, but for the file under test."""

    def __init__(self) -> None:
        shm = Path("/dev/shm")  # noqa: S108 (memory, where there is such a folder)
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shm if shm.is_dir() else None))
        self._folders: dict[str, Path] = {}

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self.home)

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[Path]:
        """Give the folder of a mutant."""
        base = mutant.base
        folder = self._folders.get(base.name) or self._write(base)
        path = folder / mutant.name
        try:
            path.write_bytes(mutant.data)
            # A file that was just written may still be growing, and is waited for.
            os.utime(path, (LONG_AGO, LONG_AGO))
            yield folder if base.folder else path
        finally:
            path.write_bytes(base.image[mutant.name])

    def _write(self, base: Base) -> Path:
        folder = self._folders[base.name] = self.home / str(len(self._folders))
        for name, data in base.image.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder


def verify(mutant: Mutant, disk: Disk, *, deep: bool) -> VerifyReport:
    """Verify a mutant: in memory where whole lines stand in one plain file, else on the disk."""
    keyring = mutant.base.situation.keyring
    if not mutant.base.folder and mutant.data.endswith(b"\n") and not deep:
        rows = [line + b"\n" for line in mutant.data.split(b"\n")[:-1]]
        return verify_lines(rows, keyring, name=mutant.name)
    with disk.holding(mutant) as path:
        return verify_path(path, keyring=keyring, deep=deep)


@dataclass
class Score:
    """What came out of some files."""

    tried: Counter[str] = field(default_factory=Counter)
    same: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    intact: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Add what came out of others."""
        for name in ("tried", "same", "cuts", "intact", "errors", "outcomes"):
            getattr(self, name).update(getattr(other, name))
        for kind, worst in other.slowest.items():
            self.slowest[kind] = max(worst, self.slowest.get(kind, worst))
        self.bad += other.bad


class TooSlowError(Exception):
    """A file took longer than `LIMIT`."""


@contextmanager
def alarm() -> Iterator[None]:
    """Raise `TooSlowError` in files that never end, where there are signals."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def ring(*_: object) -> None:
        raise TooSlowError

    old = signal.signal(signal.SIGALRM, ring) if usable else None
    try:
        yield
    finally:
        if usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)


def _start_clock() -> None:
    if signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, signal.SIG_IGN, None):
        signal.setitimer(signal.ITIMER_REAL, 2 * LIMIT)


def run(seed: int, numbers: Iterable[int]) -> Score:
    """Try some files in this process."""
    score, disk = Score(), Disk()
    try:
        with alarm():
            for number in numbers:
                _try(seed, number, disk, score)
    finally:
        disk.close()
    return score


def _try(seed: int, number: int, disk: Disk, score: Score) -> None:
    mutant = mutate(seed, number)
    kind = mutant.kind
    if mutant.data == mutant.base.image[mutant.name]:
        score.same[kind] += 1
        return
    score.tried[kind] += 1
    started = time.perf_counter()
    try:
        _start_clock()
        report = verify(mutant, disk, deep=number % 16 == 0)
    except Exception:  # noqa: BLE001 (whatever it is, it is what is looked for)
        score.errors[kind] += 1
        score.bad.append(f"{number} {mutant.base.name} {mutant.name}: {traceback.format_exc()}")
        return
    took = time.perf_counter() - started
    score.slowest[kind] = max((took, number), score.slowest.get(kind, (0.0, 0)))
    score.outcomes[report.outcome.value] += 1
    if took > LIMIT:
        score.errors[kind] += 1
        score.bad.append(f"{number} {mutant.base.name} {mutant.name}: {took:.1f} s")
    if report.valid:
        _judge_intact(mutant, number, report, score)


def _judge_intact(mutant: Mutant, number: int, report: VerifyReport, score: Score) -> None:
    kind, base = mutant.kind, mutant.base
    if unpack(mutant.name, mutant.data) == unpack(mutant.name, base.image[mutant.name]) or _is_the_writers(mutant):
        score.tried[kind] -= 1
        score.same[kind] += 1
        return
    plain = [{name: unpack(name, raw) for name, raw in image.items()} for image in (base.image, mutant.image)]
    reason = explain(base.situation, plain[0], plain[1], report, honest_files(base.situation))
    if reason is None:
        score.cuts[kind] += 1
    else:
        score.intact[kind] += 1
        score.bad.append(f"{number} {base.name} {mutant.name} by {kind}: intact, and {reason}")


def _is_the_writers(mutant: Mutant) -> bool:
    """Tell whether a spliced document is one that the writer signed of this very log: another true word about it."""

    def segments(image: Image) -> dict[str, bytes]:
        return {name: raw for name, raw in image.items() if not is_document(name)}

    logs = [base for base in bases()[1] if base.situation is mutant.base.situation]
    same = [base.image for base in logs if segments(base.image) == segments(mutant.base.image)]
    return is_document(mutant.name) and any(image.get(mutant.name) == mutant.data for image in same)


def show(score: Score, seconds: float) -> None:
    """Print what came out, by kind of mutation."""
    print(
        f"{'mutation':10} {'files':>9} {'intact':>7} {'errors':>7} {'known cuts':>11} {'no change':>10} {'slowest':>10}"
    )
    for kind in sorted(score.tried):
        worst = score.slowest.get(kind, (0.0, 0))[0]
        columns = f"{score.tried[kind]:9} {score.intact[kind]:7} {score.errors[kind]:7} {score.cuts[kind]:11}"
        print(f"{kind:10} {columns} {score.same[kind]:10} {1000 * worst:7.1f} ms")
    tried, outcomes = score.tried.total(), dict(sorted(score.outcomes.items()))
    print(f"\n{tried} files tried: {score.intact.total()} intact, {score.errors.total()} tracebacks or too slow")
    print(f"{score.cuts.total()} known cuts that the report names, {score.same.total()} files that said the same")
    print(f"outcomes {outcomes}; {seconds:.0f} s, {tried / seconds:.0f} files/s")
    for text in score.bad[:20]:
        print("BAD:", text)


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="try this number only, and show what came out")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.only is not None:
        mutant = mutate(options.seed, options.only)
        print(mutant.base.name, mutant.name, mutant.kind, mutant.data[:4000])
        score = run(options.seed, [options.only])
    else:
        score = fuzz(options.files, options.seed, options.processes)
    show(score, time.perf_counter() - started)
    return 1 if score.bad else 0


def fuzz(files: int, seed: int, processes: int) -> Score:
    """Try mutants until `files` were tried; numbers that change nothing are made up for."""
    score, done, step = Score(), 0, 1000
    with ProcessPoolExecutor(processes) as pool:
        while (left := files - score.tried.total()) > 0:
            step = max(1, min(5000, left // processes))
            parts = [range(at, min(at + step, done + left)) for at in range(done, done + left, step)]
            for part in pool.map(run, [seed] * len(parts), parts):
                score.add(part)
                print(f"\r{score.tried.total()} of {files}, {len(score.bad)} bad", end="", file=sys.stderr, flush=True)
            done += left
    print(file=sys.stderr)
    return score


if __name__ == "__main__":
    sys.exit(main())
