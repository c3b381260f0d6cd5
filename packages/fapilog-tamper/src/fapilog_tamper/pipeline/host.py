"""All that we use of fapilog and that is not public, in one place (read in 0.18.1).

fapilog keeps its loggers in a weak set for its own hooks, and tells nobody which logger a plugin belongs to, when a
logger was drained, or how long its queue is. What cannot be found is answered as unknown, and nothing raises.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fapilog import Settings
from fapilog.core import shutdown

from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import ThreadPoolExecutor

__all__ = [
    "Made",
    "Watched",
    "cached_loggers",
    "delivery_trouble",
    "ends_loggers",
    "is_alive",
    "is_draining",
    "loggers",
    "loggers_of",
    "plugin_config",
    "plugins_of",
    "sinks_for_level",
    "trait",
    "unwritten",
    "use_executor",
    "wanted_at_end",
    "warn_of_lost_events",
    "watching",
]


_REFUSED: Final = 400


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


def use_executor(logger: object, executor: ThreadPoolExecutor) -> None:
    """Have what a logger's sinks give to threads done by another executor from now on."""
    loop = getattr(logger, "_worker_loop", None)
    if loop is not None:
        # The loop may end at this moment.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.set_default_executor, executor)


def unwritten(logger: object) -> int:
    """Return how many events of a logger are on their way as far as is known, at least one."""
    submitted, processed = getattr(logger, "_submitted", 0), getattr(logger, "_processed", 0)
    known = submitted - processed - getattr(logger, "_dropped", 0) - getattr(logger, "_filtered", 0)
    return max(1, known)


def is_draining(logger: object) -> bool:
    """Tell whether a logger was told to end, or has ended."""
    return bool(getattr(logger, "_stop_flag", False) or getattr(logger, "_drained", False))


def is_alive(logger: object) -> bool:
    """Tell whether a logger has a thread that may still write."""
    thread = getattr(logger, "_worker_thread", None)
    return thread is not None and bool(thread.is_alive())


def delivery_trouble(sink: object) -> str | None:
    """Return why a sink of fapilog that sends did not get through with the last, None where it did or is not known.

    These sinks swallow what goes wrong, and their own health checks are false before anything was sent.
    """
    error, status = getattr(sink, "_last_error", None), getattr(sink, "_last_status", None)
    if error:
        return str(error)
    if isinstance(status, int) and status >= _REFUSED:
        return f"status {status}"
    breaker = getattr(sink, "_circuit_breaker", None)
    return "its circuit breaker is open" if getattr(breaker, "is_open", False) is True else None


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
        warn(
            "an event was given to a logger that was drained; fapilog drops it and those that follow. Get a logger of "
            "its own with reuse=False, or call fapilog.clear_logger_cache() first."
        )
    start()


def _all_plugins(logger: object) -> list[Any]:
    return [one for kind in ("sinks", "enrichers") for one in plugins_of(logger, kind)]


# What the doctor looks at.


def trait(owner: object, name: str) -> Any:  # noqa: ANN401 (whatever fapilog keeps there)
    """Return what a logger or plugin of fapilog keeps under a private name, None where it does not."""
    return getattr(owner, f"_{name}", None)


def cached_loggers() -> list[Any]:
    """Return the loggers that fapilog gives out again by name."""
    import fapilog

    caches = (getattr(fapilog, f"_{kind}_logger_cache", {}) for kind in ("sync", "async"))
    return [logger for cache in caches for logger in list(cache.values())]


def plugin_config(settings: Settings, kind: str, name: str) -> Mapping[str, Any]:
    """Return what fapilog would give to a plugin, a `sink` or an `enricher`, from its settings."""
    from fapilog.core import config_builders

    found: Mapping[str, Any] = getattr(config_builders, f"_{kind}_configs")(settings).get(name, {})
    return found


def sinks_for_level(settings: Settings, sinks: list[Any], level: str) -> list[Any]:
    """Return the sinks that get events of a level: all of them, unless the settings route levels."""
    routing = settings.sink_routing
    if not (routing.enabled and routing.rules):
        return sinks
    from fapilog.core.routing import RoutingSinkWriter

    rules = [(set(rule.levels), list(rule.sinks)) for rule in routing.rules]
    writer = RoutingSinkWriter(sinks, rules, list(routing.fallback_sinks), overlap=routing.overlap)
    return [entry.sink for entry in writer.get_sinks_for_level(level)]


@dataclass(frozen=True, slots=True)
class Made:
    """One making of a logger: what was asked for, and what came of it (`settings` are those in force)."""

    asked: Mapping[str, Any]
    settings: Settings
    sinks: list[Any]


@dataclass(slots=True)
class Watched:
    """What fapilog was told, and what it kept to itself."""

    inputs: list[tuple[object, Mapping[str, Any]]] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    said: list[Mapping[str, Any]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def watching() -> Iterator[Watched]:
    """See, while this is open, each making of settings and loggers, every diagnostic, and every failed write.

    For a process that does nothing else: fapilog is changed for all of it. Events that could not be written are not
    printed to stderr.
    """
    import fapilog
    from fapilog.core import diagnostics, sink_writers
    from fapilog.plugins.sinks import fallback

    seen = Watched()
    init, prepare, emit = Settings.__init__, fapilog._prepare_logger, diagnostics.emit  # noqa: SLF001

    def making_settings(self: Settings, /, *args: Any, **values: Any) -> None:  # noqa: ANN401 (as fapilog's own)
        init(self, *args, **values)
        seen.inputs.append((self, values))

    def making_logger(*args: Any, **asked: Any) -> Any:  # noqa: ANN401 (see making_settings)
        setup, settings = prepare(*args, **asked)
        seen.made.append(Made(asked, settings, setup.sinks))
        return setup, settings

    def saying(**said: Any) -> None:  # noqa: ANN401 (see making_settings)
        seen.said.append(said)
        emit(**said)

    async def failing(_payload: object, *, sink: object, error: BaseException, **_how: object) -> None:
        seen.failed.append((str(getattr(sink, "name", type(sink).__name__)), str(error)))

    with ExitStack() as undo:
        _exchange(undo, Settings, "__init__", making_settings)
        _exchange(undo, fapilog, "_prepare_logger", making_logger)
        _exchange(undo, diagnostics, "emit", saying)
        for module in (sink_writers, fallback):
            _exchange(undo, module, "handle_sink_write_failure", failing)
        yield seen


def _exchange(undo: ExitStack, owner: object, name: str, value: object) -> None:
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
