"""What tests of recording share: what lies in a folder, a disk that can be told to fail or to stand still, a backend.

`stored` reads the files with nothing of the package but `split`, so that what a test finds is what is there.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from fapilog_audit import AuditTrail  # noqa: TC001
from fapilog_audit.checking import check_folder
from fapilog_tamper.entry import split
from fapilog_tamper.layout import is_segment_name, parse_segment_name, plain_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapilog_audit import AuditEvent
    from fapilog_tamper import Keyring

TYPE = "acme.test.happened"
SOON = 30.0
"""Seconds after which something that must come is taken not to come."""

TESTS = Path(__file__).resolve().parents[1]


def stored(folder: Path) -> list[dict[str, Any]]:
    """Return the events in a folder in the order of their files and lines, those of the log itself left out."""
    found = []
    for line in sealed(folder):
        if line.endswith(b"\n"):
            found.append(json.loads(split(line)[0]))  # noqa: PERF401
    return [event for event in found if "sealed_log" not in event]


def ids(folder: Path) -> list[str]:
    """Return the ids of the stored events, in order."""
    return [event["event_id"] for event in stored(folder)]


def messages(folder: Path) -> list[str]:
    """Return the messages of the stored events, in order."""
    return [event["message"] for event in stored(folder)]


def sealed(folder: Path) -> list[bytes]:
    """Return all lines of a folder, those of the log itself included, stream by stream in their order."""
    found = []
    names = [path.name for path in folder.glob("*.jsonl*") if is_segment_name(path.name)]
    for name in sorted(names, key=lambda name: parse_segment_name(plain_name(name))):
        data = (folder / name).read_bytes()
        found += (gzip.decompress(data) if name.endswith(".gz") else data).splitlines(keepends=True)
    return found


def require_intact(folder: Path, keyring: Keyring | None = None) -> None:
    """Require that a folder verifies."""
    result = check_folder(folder, keyring)
    assert result.valid, result.error_message


def require_gapless(lines: list[bytes]) -> None:
    """Require that the entries of each stream have the places 1, 2, 3, each once."""
    places: dict[str, list[int]] = {}
    for line in lines:
        integrity = split(line)[1]
        places.setdefault(integrity.stream, []).append(integrity.seq)
    for stream, seqs in places.items():
        assert seqs == list(range(1, len(seqs) + 1)), stream


async def require_sum(trail: AuditTrail, **expected: int) -> None:
    """Require that what was accepted is stored, failed or pending, and how many are which."""
    statistics = await trail.get_statistics()
    counts = {name: statistics[name] for name in ("accepted", "stored", "failed", "pending")}
    assert counts["accepted"] == counts["stored"] + counts["failed"] + counts["pending"], counts
    assert {name: counts[name] for name in expected} == expected, counts


def comes_true(what: Callable[[], object], seconds: float = SOON) -> bool:
    """Wait until something is so; False where it does not come."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


class Disk:
    """What happens to calls of the system below one folder: they fail, or stand still, until they are let go.

    The calls are `open` (for writing), `write`, `sync`, `replace` (of a head, a mark or a manifest) and `mkdir`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)  # noqa: PTH100 (also where no folder can be looked at)
        self._errors: dict[str, int] = {}
        self._gates: dict[str, threading.Event] = {}
        self._after: dict[str, int] = {}
        self.held = threading.Semaphore(0)
        """Released once for each call that stands still."""
        self.calls: Counter[str] = Counter()
        self.times: list[str] = []

    def fail(self, *calls: str, error: int = errno.ENOSPC, after: int = 0) -> None:
        """Let calls fail until `mend`, behind so many that work."""
        self._errors |= dict.fromkeys(calls, error)
        self._after |= dict.fromkeys(calls, after)

    def hold(self, *calls: str) -> None:
        """Let calls stand still until `mend`."""
        self._gates |= {call: threading.Event() for call in calls}

    def mend(self) -> None:
        """Let all work again, and those that stand still go on."""
        self._errors = {}
        gates, self._gates = self._gates, {}
        for gate in gates.values():
            gate.set()

    def meet(self, call: str, path: str) -> None:
        """Do what was said of this call."""
        if not (path == self._folder or path.startswith(self._folder + os.sep)):
            return
        self.calls[call] += 1
        self.times.append(call)
        gate = self._gates.get(call)
        if gate is not None:
            self.held.release()
            gate.wait()
        if call in self._errors:
            if self._after[call] > 0:
                self._after[call] -= 1
                return
            raise OSError(self._errors[call], os.strerror(self._errors[call]), path)


def _path_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
    except OSError:
        return ""


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:  # noqa: C901
    """Let calls below a folder be watched, held and failed; all of them work again at the end."""
    one = Disk(folder)
    inner = {name: getattr(os, name) for name in ("open", "write", "pwrite", "fsync", "fdatasync", "replace", "mkdir")}

    def opening(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and not isinstance(path, int):
            one.meet("open", os.path.abspath(os.fspath(path)))  # noqa: PTH100 (see Disk)
        return inner["open"](path, flags, *args, **options)

    def on_fd(name: str, call: str) -> Callable[..., Any]:
        def met(fd: int, *args: Any) -> Any:
            one.meet(call, _path_of(fd))
            return inner[name](fd, *args)

        return met

    def on_path(name: str, call: str) -> Callable[..., Any]:
        def met(path: Any, *args: Any, **options: Any) -> Any:
            one.meet(call, os.path.abspath(os.fspath(path)))  # noqa: PTH100 (see Disk)
            return inner[name](path, *args, **options)

        return met

    patches = [
        patch.object(os, "open", opening),
        patch.object(os, "write", on_fd("write", "write")),
        patch.object(os, "pwrite", on_fd("pwrite", "write")),
        patch.object(os, "fsync", on_fd("fsync", "sync")),
        patch.object(os, "fdatasync", on_fd("fdatasync", "sync")),
        patch.object(os, "replace", on_path("replace", "replace")),
        patch.object(os, "mkdir", on_path("mkdir", "mkdir")),
    ]
    for each in patches:
        each.start()
    try:
        yield one
    finally:
        one.mend()
        for each in patches:
            each.stop()


class Kept:
    """A backend that keeps what it gets, and fails or stands still as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.lines: list[bytes] = []
        self.calls: list[str] = []
        self.failures = failures
        self.offered = 0
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[str] = set()
        self.fail_in: str | None = None

    async def write(self, event: AuditEvent) -> None:
        import asyncio

        self.offered += 1
        self.threads.add(threading.current_thread().name)
        while not self.gate.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the backend is down")
        assert event.sealed_line is not None
        self.lines.append(event.sealed_line)
        self.calls.append("write")

    async def flush(self) -> None:
        self.calls.append("flush")
        if self.fail_in == "flush":
            raise RuntimeError("flush is down")

    async def close(self) -> None:
        self.calls.append("close")
        if self.fail_in == "close":
            raise RuntimeError("close is down")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The payloads without the entries of the log itself."""
        found = [json.loads(split(line)[0]) for line in self.lines]
        return [event for event in found if "sealed_log" not in event]

    @property
    def messages(self) -> list[str]:
        """What was said, in order."""
        return [event["message"] for event in self.events]

    @property
    def ids(self) -> list[str]:
        """The events, in order."""
        return [event["event_id"] for event in self.events]


def run(code: str, *args: object, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program with our own interpreter; the tests' folder can be imported from."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, *map(str, args)],
        check=False, capture_output=True, text=True, timeout=timeout, env=env,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done
