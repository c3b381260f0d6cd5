"""A program that forks when it has a logger and an open log; parent and child both log, and end on their own.

    python tests/integration/matrix/forked.py FOLDER REPORTS HOW

HOW: what the child does.

    logs        makes a logger of its own on the same log, logs and leaves by sys.exit
    silent      leaves by sys.exit at once: the logger of its parent is not its own
    drains      as `logs`, but drains and leaves by os._exit, as forking servers do
    process     as `logs`, in a `multiprocessing.Process`
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fapilog
from integration.matrix.sharing import watch_for

from fapilog_tamper import SealedSink

HALF, OF_CHILD, FIRST_OF_CHILD = 300, 100, 1000
QUEUED = 50
"""Events that wait in the queue of the parent, or are being written, when it forks; its log is open then."""

HANGS = 40
"""Seconds; then SIGALRM ends a child."""


def make_logger(folder: str, name: str) -> fapilog.SyncLoggerFacade:
    settings = fapilog.Settings(core={"max_queue_size": 10_000})
    return fapilog.get_logger(name, settings=settings, sinks=[SealedSink(directory=folder, key_id="matrix")])


def log(logger: fapilog.SyncLoggerFacade, reports: int, numbers: range) -> None:
    for number in numbers:
        message = f"event {number}"
        logger.info(message, n=number)
        os.write(reports, b"accepted %d\n" % number)


def child(folder: str, reports: int, how: str) -> None:
    signal.alarm(HANGS)
    if how == "silent":
        sys.exit(0)
    logger = make_logger(folder, "child")
    log(logger, reports, range(FIRST_OF_CHILD, FIRST_OF_CHILD + OF_CHILD))
    if how == "drains":
        asyncio.run(logger.stop_and_drain())
        os._exit(0)
    if how == "logs":
        sys.exit(0)


def fork(folder: str, reports: int, how: str) -> int:
    """Return how the child ended."""
    if how == "process":
        process = multiprocessing.get_context("fork").Process(target=child, args=(folder, reports, how))
        process.start()
        process.join()
        return process.exitcode or 0
    pid = os.fork()
    if pid == 0:
        child(folder, reports, how)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: str, reports: int, how: str) -> None:
    logger = make_logger(folder, "parent")
    written = watch_for(HALF - 1)
    log(logger, reports, range(HALF))
    written.wait()
    log(logger, reports, range(HALF, HALF + QUEUED))
    os.write(reports, b"child %d\n" % fork(folder, reports, how))
    log(logger, reports, range(HALF + QUEUED, 2 * HALF))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
