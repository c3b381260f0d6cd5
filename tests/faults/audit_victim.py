"""The program that `audit_killing` kills: it logs from threads and tasks, and says each id that was acknowledged.

It ends only by being killed. With `--backend FILE` it has a backend that appends each line to that file.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import warnings
from typing import Any

from fapilog_audit import AuditTrail, CompliancePolicy

TYPE = "acme.test.happened"
PROMISES = (None, None, None, "written", "synced")


class Appending:
    """A backend of one file. A line is one write, so that a kill tears none."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def write(self, event: Any) -> None:
        os.write(self._fd, event.sealed_line)

    async def flush(self) -> None:
        os.fsync(self._fd)

    async def close(self) -> None:
        pass


def say(event_id: str) -> None:
    os.write(1, f"{event_id}\n".encode())


def fields(rng: random.Random) -> dict[str, Any]:
    return {"durability": rng.choice(PROMISES), "text": "x" * rng.choice((0, 10, 300, 3000))}


def in_thread(trail: AuditTrail, seed: int) -> None:
    rng = random.Random(seed)
    while True:
        say(trail.log(TYPE, f"thread {seed}", **fields(rng)))


async def in_tasks(trail: AuditTrail, seed: int) -> None:
    rng = random.Random(seed)

    async def one() -> None:
        say(await trail.log_event(TYPE, f"task {seed}", **fields(rng)))

    while True:
        await asyncio.gather(*(one() for _ in range(rng.randint(1, 30))))


def main(folder: str, seed: str, key: str, backend: str) -> None:
    warnings.simplefilter("ignore")
    where: dict[str, Any] = (
        {"backend": Appending(backend), "state_dir": folder} if backend else {"storage_path": folder}
    )
    trail = AuditTrail(CompliancePolicy(), key=key or None, max_bytes=60_000, **where)
    os.write(1, b"ready\n")
    for number in range(2):
        threading.Thread(target=in_thread, args=(trail, int(seed) * 10 + number), daemon=True).start()
    threading.Thread(target=lambda: asyncio.run(in_tasks(trail, int(seed) * 10 + 5)), daemon=True).start()
    asyncio.run(in_tasks(trail, int(seed) * 10 + 6))


if __name__ == "__main__":
    main(*sys.argv[1:])
