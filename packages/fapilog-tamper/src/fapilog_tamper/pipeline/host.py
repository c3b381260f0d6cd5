"""All that we use of fapilog and that is not public, in one place (read in 0.18.1).

fapilog keeps its loggers in a weak set for its own hooks, and tells nobody which logger a plugin belongs to, when a
logger was drained, or how long its queue is. What cannot be found is answered as unknown, and nothing raises.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fapilog import Settings
from fapilog.core import shutdown

from fapilog_tamper.pipeline.config import warn_user

__all__ = [
    "ends_loggers",
    "is_alive",
    "is_draining",
    "loggers",
    "loggers_of",
    "plugins_of",
    "queued",
    "wanted_at_end",
    "warn_of_lost_events",
]


def loggers() -> list[Any]:
    """Return the loggers that were started and still exist."""
    known = getattr(shutdown, "_registered_loggers", ())
    try:
        return list(known)
    except RuntimeError:
        # The set changed while it was read.
        return list(known)


def loggers_of(plugin: object) -> list[Any]:
    """Return the loggers that a plugin is part of."""
    return [logger for logger in loggers() if any(plugin is one for one in _all_plugins(logger))]


def plugins_of(logger: object, kind: str) -> list[Any]:
    """Return the plugins of one kind, `sinks`, `enrichers`, `redactors`, `processors` or `filters`."""
    return list(getattr(logger, f"_{kind}", None) or ())


def queued(logger: object) -> int | None:
    """Return how many events wait in the queue of a logger, None where that is not known."""
    size = getattr(getattr(logger, "_queue", None), "qsize", None)
    count = size() if callable(size) else None
    return count if isinstance(count, int) else None


def is_draining(logger: object) -> bool:
    """Tell whether a logger was told to end, or has ended."""
    return bool(getattr(logger, "_stop_flag", False) or getattr(logger, "_drained", False))


def is_alive(logger: object) -> bool:
    """Tell whether a logger has a thread that may still write."""
    thread = getattr(logger, "_worker_thread", None)
    return thread is not None and bool(thread.is_alive())


def wanted_at_end() -> tuple[bool, bool]:
    """Return whether fapilog is to drain its loggers at exit, and by signals; it asks the environment only, too."""
    try:
        core = Settings().core
    except ValueError:
        # An environment that it cannot read; it goes on with its defaults.
        return True, True
    return core.atexit_drain_enabled, core.signal_handler_enabled


def ends_loggers(handler: object) -> bool:
    """Tell whether a signal handler is fapilog's own, which drains and then lets the signal end the process."""
    return handler is not None and handler is getattr(shutdown, "_signal_handler", None)


def warn_of_lost_events(logger: Any) -> None:  # noqa: ANN401 (a logger of fapilog, sync or async)
    """Warn when an event is given to a logger that was drained: fapilog takes it, and drops it without a word.

    The cache of fapilog gives such a logger out again to whoever asks for its name.
    """
    start = logger.start
    if isinstance(start, partial) and start.func is _warn_once:
        return
    logger.start = partial(_warn_once, logger, start)


def _warn_once(logger: Any, start: Any) -> None:  # noqa: ANN401 (see warn_of_lost_events)
    logger.start = start
    if getattr(logger, "_drained", False):
        warn_user(
            "an event was given to a logger that was drained; fapilog drops it and those that follow. Get a logger of "
            "its own with reuse=False, or call fapilog.clear_logger_cache() first."
        )
    start()


def _all_plugins(logger: object) -> list[Any]:
    return [one for kind in ("sinks", "enrichers") for one in plugins_of(logger, kind)]
