"""A program that logs from its main thread as fast as it can, until it is ended; the tests send the signals.

    python tests/integration/matrix/ending.py FOLDER REPORTS HOW [signal]

HOW says when the exit drain is installed, or at what moment the signal comes:

    sink        by the sink, as always
    before      before there is a logger; the sink does not
    after       when there is a logger; the sink does not
    locked      the program sends itself the signal while its main thread holds the lock of fapilog's queue
    enveloped   while its main thread makes an event of fapilog's
    held        the sink waits until standard input is closed; `draining` is told when the logger is, and `signals` is
                how many have come

With `signal` it then waits for one, else it ends.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import fapilog

from fapilog_tamper import SealedSink, install_exit_drain

if TYPE_CHECKING:
    from types import FrameType

CAPACITY = 200_000
MOST = 20_000
FEW = 300
AIM = 50
"""The event in whose middle the program sends itself the signal."""

PLACES = {"locked": "NonBlockingRingQueue.try_enqueue", "enveloped": "build_envelope"}


def log_all(reports: int, logger: fapilog.SyncLoggerFacade, most: int) -> None:
    for number in range(most):
        message = f"event {number}"
        logger.info(message, n=number)
        os.write(reports, b"accepted %d\n" % number)


def aim(how: str) -> None:
    """Send the signal from within the main thread, in the middle of a call of fapilog's."""
    calls = 0

    def trace(frame: FrameType, event: str, given: Any) -> Any:
        nonlocal calls
        if frame.f_code.co_qualname != PLACES[how]:
            return None
        calls += 1
        return trace_lines if calls == AIM else None

    def trace_lines(frame: FrameType, event: str, given: Any) -> Any:
        if event == "line" and (how != "locked" or frame.f_locals["self"]._lock.locked()):
            sys.settrace(None)
            frame.f_trace = None
            os.kill(os.getpid(), signal.SIGTERM)
        return trace_lines

    sys.settrace(trace)


def hold(reports: int) -> None:
    """Have the sink wait for the parent, and tell of signals."""
    inner, handler, came = SealedSink.write, signal.getsignal(signal.SIGTERM), itertools.count(1)

    @wraps(inner)
    async def write(sink: SealedSink, entry: Any) -> None:
        os.read(0, 1)
        await inner(sink, entry)

    def noted(number: int, frame: FrameType | None) -> None:
        os.write(reports, b"signals %d\n" % next(came))
        handler(number, frame)  # type: ignore[operator, misc]

    setattr(SealedSink, "write", write)  # noqa: B010 (a method, which no type checker lets us set)
    signal.signal(signal.SIGTERM, noted)


def tell_of_drain(reports: int, logger: Any) -> None:
    """Tell when the logger is told to end."""
    inner = logger.stop_and_drain

    async def stop_and_drain() -> Any:
        os.write(reports, b"draining\n")
        return await inner()

    logger.stop_and_drain = stop_and_drain


def main(folder: str, reports: int, how: str, *, waits: bool) -> None:
    if how == "before":
        install_exit_drain()
    sink = SealedSink(directory=folder, key_id="matrix", exit_drain=how not in {"before", "after"})
    settings = fapilog.Settings(core={"max_queue_size": CAPACITY})
    if how == "held":
        hold(reports)
    logger = fapilog.get_logger(settings=settings, sinks=[sink])
    if how == "after":
        install_exit_drain()
    if how in PLACES:
        aim(how)
    if how == "held":
        tell_of_drain(reports, logger)
    log_all(reports, logger, MOST if waits and how != "held" else FEW)
    while waits:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], waits="signal" in sys.argv)
