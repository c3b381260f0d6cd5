"""A program that logs through fapilog into an audit trail, and ends as it is told.

    python tests/integration/audit_programs/logging_service.py REPORTS JOB

JOB is JSON, see `Job`. On the file descriptor REPORTS it tells `accepted N` when the logger took event N, and `ready`
when the sink has written some and it only waits for a signal.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fapilog

from fapilog_audit import AuditSink, AuditTrail

if TYPE_CHECKING:
    from fapilog_audit import AuditEvent

CAPACITY = 60_000
WRITTEN = threading.Event()


class Noting:
    """A backend that notes its calls, and the numbers of events."""

    def _note(self, text: object) -> None:
        with Path("backend").open("a") as file:
            file.write(f"{text}\n")

    async def write(self, event: AuditEvent) -> None:
        self._note(event.metadata["n"])

    async def flush(self) -> None:
        self._note("flush")

    async def close(self) -> None:
        self._note("close")


BACKEND = Noting()


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        end: `exit`, `sys.exit`, `exception`, `drain` or `signal`.
        logger: `sync`, `async` or `runtime`.
        made: how the sink is: `instance`, or by name, configured under `extra`.
        loggers: how many, each with a name of its own.
        count: events of each.
        first: the number of the first.
        core: settings of fapilog's core.
        options: of the sink.
        trail_first: use a trail of one's own before there is a sink.
        backend: give the sink a backend, which notes its calls in the file `backend`.
    """

    end: str
    logger: str = "sync"
    made: str = "instance"
    loggers: int = 1
    count: int = 200
    first: int = 0
    core: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    trail_first: bool = False
    backend: bool = False

    def arguments(self, number: int) -> dict[str, Any]:
        """Return what a logger is made with."""
        core = {"max_queue_size": CAPACITY, "protected_queue_size": CAPACITY, **self.core}
        if self.made == "instance":
            backend = {"backend": BACKEND} if self.backend else {}
            return {
                "name": f"shop.{number}",
                "settings": fapilog.Settings(core=core),
                "sinks": [AuditSink(**self.options, **backend)],
            }
        return {
            "name": f"shop.{number}",
            "settings": fapilog.Settings(
                core={**core, "sinks": ["audit"]},
                plugins={"allow_external": True},
                sink_config={"extra": {"audit": self.options}},
            ),
        }

    def numbers(self, logger: int) -> range:
        """Return the numbers of the events of a logger."""
        first = self.first + logger * self.count
        return range(first, first + self.count)


def note_writes() -> None:
    """Take note when the sink has written."""
    inner = AuditSink.write

    @wraps(inner)
    async def write(sink: AuditSink, entry: Any) -> None:
        await inner(sink, entry)
        WRITTEN.set()

    setattr(AuditSink, "write", write)  # noqa: B010 (a method, which no type checker lets us set)


def end(job: Job, reports: int) -> None:
    if job.end == "sys.exit":
        sys.exit(3)
    if job.end == "exception":
        raise RuntimeError("on purpose")
    if job.end == "signal":
        WRITTEN.wait()
        os.write(reports, b"ready\n")
        while True:
            signal.pause()


def log_all(job: Job, reports: int, loggers: list[Any]) -> None:
    for at, logger in enumerate(loggers):
        for number in job.numbers(at):
            logger.info("read", n=number, user_id=f"u-{number}")
            os.write(reports, b"accepted %d\n" % number)


def run(job: Job, reports: int) -> None:
    if job.logger == "runtime":
        with fapilog.runtime(settings=job.arguments(0)["settings"]) as logger:
            log_all(job, reports, [logger])
        return
    loggers = [fapilog.get_logger(**job.arguments(number)) for number in range(job.loggers)]
    log_all(job, reports, loggers)
    end(job, reports)
    if job.end == "drain":
        for logger in loggers:
            asyncio.run(logger.stop_and_drain())


async def run_async(job: Job, reports: int) -> None:
    logger = await fapilog.get_async_logger(**job.arguments(0))
    for number in job.numbers(0):
        await logger.info("read", n=number, user_id=f"u-{number}")
        os.write(reports, b"accepted %d\n" % number)
    if job.end == "signal":
        await asyncio.to_thread(WRITTEN.wait)
        os.write(reports, b"ready\n")
        await asyncio.Event().wait()
    end(job, reports)
    if job.end == "drain":
        await logger.drain()


async def use_a_trail(folder: str) -> None:
    async with AuditTrail(storage_path=folder) as trail:
        await trail.log_event("acme.started", "before there is a sink")


def main(reports: int, text: str) -> None:
    note_writes()
    job = Job(**json.loads(text))
    if job.trail_first:
        asyncio.run(use_a_trail("own"))
    if job.logger == "async":
        asyncio.run(run_async(job, reports))
    else:
        run(job, reports)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
