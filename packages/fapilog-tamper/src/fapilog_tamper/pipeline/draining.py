"""The end of a process: fapilog's queues are drained, so that what was logged is sealed.

fapilog means to do that and cannot: its exit hook needs a thread when none can be had any more, and what is in the
queue is lost without a word. Its signal handler hangs when the signal comes while the main thread holds the lock of the
queue, which is likely under load. Ours needs no thread, and waits until nobody is inside fapilog.

    a plain exit, sys.exit, an uncaught exception     drained when all threads have ended, before the logs are closed
    SIGTERM, Ctrl-C where fapilog handles it           drained, then the process ends by the signal as before
    os._exit, SIGKILL, a crash                         the queue is lost; what was written is recovered next time
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 (its exit hook must be older than ours, which then runs before it)
import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import fapilog

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.pipeline import host
from fapilog_tamper.writer import exits
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["drain_loggers", "install_exit_drain", "is_installed"]

_SECONDS: Final = 10.0
_AGAIN: Final = 0.002
"""Seconds until a signal that came at a bad moment is looked at again."""

_PATIENCE: Final = 2.0
"""Seconds for which a moment may be bad: beyond, whoever is inside fapilog is not a call that ends soon."""

_INSIDE: Final = ("fapilog.core.", "fapilog_tamper.")


class _State:
    """What was installed, once a process."""

    def __init__(self) -> None:
        self.pid = 0
        self.seconds = _SECONDS
        self.signal_since: float | None = None
        self.ending = False


_state: Final = _State()


def install_exit_drain(*, timeout: float | None = None) -> None:
    """Have the loggers of fapilog drained when this process ends, those that exist and those that will.

    Call it once, before or after loggers are made; `SealedSink` calls it by itself. SIGTERM is taken care of where
    nobody but fapilog has a handler for it and this is the main thread (no other can install one). fapilog's own
    switches hold: `core.atexit_drain_enabled` and `core.signal_handler_enabled`, as its environment variables say.

    Args:
        timeout: seconds that draining may take, 10 unless set; a warning says what did not get through.

    Raises:
        ConfigError: if `timeout` is not a positive number.
    """
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise ConfigError(f"timeout is {timeout!r}.", hint="Give seconds.")
        _state.seconds = min(timeout, threading.TIMEOUT_MAX / 2)
    at_exit, by_signal = host.wanted_at_end()
    if _state.pid != os.getpid():
        _state.pid = os.getpid()
        if at_exit:
            _before_threads_end(_do_without_threads)
            exits.before(_drain_at_exit, first=True)
    if by_signal and threading.current_thread() is threading.main_thread():
        # First fapilog's, which is installed only once and would take the place of ours.
        fapilog.install_shutdown_handlers()
        _take_signal()


def is_installed() -> bool:
    """Tell whether loggers are drained when this process ends."""
    return _state.pid == os.getpid()


def drain_loggers(timeout: float) -> int:
    """Drain every logger of fapilog, and return how many events were still on their way when the time was over.

    Any thread may call it, one with a running event loop too. Sinks that know how (`SealedSink`) close their files.
    """
    return _drain_all([logger for logger in host.loggers() if host.is_alive(logger)], timeout)


def _drain_all(loggers: list[Any], timeout: float) -> int:
    deadline = monotonic() + timeout
    threads = [threading.Thread(target=_drain, args=(logger,), daemon=True) for logger in loggers]
    for thread, logger in zip(threads, loggers, strict=True):
        try:
            thread.start()
        except RuntimeError:
            # Python 3.12.0 to 3.12.2 have no thread for us at exit.
            _drain(logger)
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - monotonic()))
    late = [logger for logger, thread in zip(loggers, threads, strict=True) if thread.is_alive()]
    return sum(host.unwritten(logger) for logger in late)


def _drain(logger: Any) -> None:  # noqa: ANN401 (a logger of fapilog, sync or async)
    """Drain one logger in a loop of its own."""
    # Not `asyncio.run`, whose end wants a thread for the pool of the loop; and a pool that works where it is, because
    # the threads of any other are joined at exit, whatever they wait for.
    loop = asyncio.new_event_loop()
    try:
        loop.set_debug(False)
        loop.set_default_executor(_Here())
        loop.run_until_complete(logger.stop_and_drain())
    finally:
        loop.close()


class _Here(ThreadPoolExecutor):
    """An executor that does the work where it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Call `fn` now."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (an executor gives every exception to whoever waits)
            future.set_exception(error)
        return future


def _before_threads_end(hook: Callable[[], None]) -> None:
    """Have `hook` called when the main thread has ended, before the pools that others use are shut down."""
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        # Not where the process is ending already.
        with suppress(RuntimeError):
            register(hook)


def _do_without_threads() -> None:
    """Have sinks that write in threads do it where they are: soon there is no pool, and no thread to be had.

    Other threads of the program may still run, and log; so nothing is drained yet.
    """
    for logger in _alive():
        host.use_executor(logger, _Here())


def _drain_at_exit() -> None:
    """Drain all loggers: all threads of the program have ended."""
    _state.ending = is_installed()
    _do_without_threads()
    _drain_at_end(_alive())


def _alive() -> list[Any]:
    return [logger for logger in host.loggers() if host.is_alive(logger)] if is_installed() else []


def _drain_at_end(loggers: list[Any]) -> None:
    left = _drain_all(loggers, _state.seconds)
    if left:
        warn(f"draining did not end within {_state.seconds:g} seconds; {left} events or more may be lost.")


def _take_signal() -> None:
    """Handle SIGTERM unless somebody else does: a server, say, which drains in its own way.

    Ctrl-C only in the place of fapilog, which has the signal end the process, and nobody sees a KeyboardInterrupt.
    """
    if not hasattr(signal, "SIGTERM") or sys.platform == "win32":
        return
    for number, free in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, None)):
        now = signal.getsignal(number)
        if now is free or host.ends_loggers(now):
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Drain, then let the signal end the process.

    Hazard: this runs between two instructions of the main thread, which may hold a lock that draining needs. Then the
    signal is put off, so that the main thread can go on to where it holds none.
    """
    if _state.ending:
        # Once more, while the first is being done, or at exit: whoever is impatient has SIGKILL.
        return
    if _state.signal_since is None:
        _state.signal_since = monotonic()
    if _is_inside(frame) and monotonic() - _state.signal_since < _PATIENCE:
        timer = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
        timer.daemon = True
        # Python 3.12.0 to 3.12.2 have no thread for us at exit.
        with suppress(RuntimeError):
            timer.start()
            return
    _state.ending = True
    # In a thread, for whom it is no harm if the main thread, here, does hold a lock.
    drainer = threading.Thread(target=_drain_at_end, args=(_alive(),), daemon=True)
    try:
        drainer.start()
    except RuntimeError:
        _drain_at_end(_alive())
    else:
        drainer.join(_state.seconds + _PATIENCE)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _is_inside(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_INSIDE):
            return True
        frame = frame.f_back
    return False
