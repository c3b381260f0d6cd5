"""A program with several loggers on one log.

    python tests/integration/matrix/sharing.py FOLDER REPORTS HOW END

HOW: `one sink` for both loggers, or `two sinks` with the same options. The first logger is drained in the middle, the
second goes on. END: `plain`, `drain` or `signal`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from functools import wraps
from typing import Any

import fapilog

from fapilog_tamper import SealedSink

HALF = 300


def watch_for(number: int) -> threading.Event:
    """Return what is set when the sink has written an event, here the last one of the second logger."""
    written, inner = threading.Event(), SealedSink.write

    @wraps(inner)
    async def write(sink: SealedSink, entry: Any) -> None:
        await inner(sink, entry)
        if entry["data"]["n"] == number:
            written.set()

    setattr(SealedSink, "write", write)  # noqa: B010 (a method, which no type checker lets us set)
    return written


def main(folder: str, reports: int, how: str, end: str) -> None:
    settings = fapilog.Settings(core={"max_queue_size": 10_000})
    # Not at midnight: one segment is expected.
    options = {"directory": folder, "key_id": "matrix", "interval_seconds": 86_400}
    sinks = [SealedSink(**options)]
    sinks.append(sinks[0] if how == "one sink" else SealedSink(**options))
    first, second = (
        fapilog.get_logger(name, settings=settings, sinks=[sink]) for name, sink in zip("ab", sinks, strict=True)
    )

    def log(logger: fapilog.SyncLoggerFacade, number: int) -> None:
        message = f"event {number}"
        logger.info(message, n=number)
        os.write(reports, b"accepted %d\n" % number)

    written = watch_for(HALF - 2)
    for number in range(HALF):
        log(first if number % 2 else second, number)
    written.wait()
    asyncio.run(first.stop_and_drain())
    for number in range(HALF, 2 * HALF):
        log(second, number)
    if end == "drain":
        asyncio.run(second.stop_and_drain())
    elif end == "signal":
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
