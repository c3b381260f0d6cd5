"""The case: the logger as its user would make it, and everything that is known of how it came to be.

A case is opened from the environment, or from what a module has under a name: settings of fapilog, a logger, or a
callable that returns one of them.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fapilog import Settings, get_logger
from fapilog.core.logger import AsyncLoggerFacade, SyncLoggerFacade

from fapilog_tamper.errors import ConfigError, ExamineError, SealKeyError
from fapilog_tamper.keys import KeyURI
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.pipeline import host
from fapilog_tamper.pipeline.config import open_key, parse_options
from fapilog_tamper.pipeline.enricher import EnricherOptions, IntegrityEnricher
from fapilog_tamper.pipeline.options import SinkOptions, parse_sink_options
from fapilog_tamper.pipeline.sink import SealedSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.pipeline.config import TamperConfig

__all__ = [
    "ENRICHER",
    "SINK",
    "Case",
    "ExamineError",
    "KeyState",
    "key_files",
    "key_state",
    "name_of",
    "normal",
    "open_case",
    "state_folder",
]

SINK: Final = SealedSink.name
ENRICHER: Final = IntegrityEnricher.name


_NAMED: Final = (
    "Name settings or a logger of fapilog, or a function that returns one of them. Of an application, name the "
    "settings or the function that it makes its logger with."
)


@dataclass(frozen=True, slots=True)
class KeyState:
    """The key of a plugin: open, or why it is not; `absent`: there is nothing where it should be."""

    key: SigningKey | None
    trouble: str = ""
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined. The plugins are those that run, as they were before the logger was drained.

    Attributes:
        source: `environment`, or module and attribute.
        logger: the logger, sync or async.
        made: how it was made; None where that happened before anybody looked.
        given: what its settings were made from; None where that is not known.
        was_drained: the logger had ended before the examination.
        spent: names of loggers in the cache of fapilog that have ended.
    """

    source: str
    logger: Any
    made: host.Made | None
    given: Mapping[str, Any] | None
    was_drained: bool
    spent: tuple[str, ...]
    sinks: list[Any]
    enrichers: list[Any]
    redactors: list[Any]
    processors: list[Any]
    filters: list[Any]

    @property
    def settings(self) -> Settings | None:
        """The settings in force."""
        return None if self.made is None else self.made.settings

    @property
    def sealed(self) -> SealedSink | None:
        """The sealed sink that runs, also one behind a sink that routes."""
        return next(_sealed_among(self.sinks), None)

    @property
    def integrity(self) -> IntegrityEnricher | None:
        """The integrity enricher that runs."""
        return next((one for one in self.enrichers if isinstance(one, IntegrityEnricher)), None)

    @property
    def listed_sinks(self) -> list[str]:
        """The sinks that the settings name."""
        return [] if self.settings is None else [normal(name) for name in self.settings.core.sinks or ()]

    @property
    def listed_enrichers(self) -> list[str]:
        """The enrichers that the settings name."""
        return [] if self.settings is None else [normal(name) for name in self.settings.core.enrichers or ()]

    @property
    def instances_given(self) -> bool:
        """Whether a program gave the sinks, and not the settings."""
        return self.made is not None and self.made.asked.get("sinks") is not None

    @property
    def wants_sink(self) -> bool:
        """Whether the settings ask for a sealed sink."""
        return SINK in self.listed_sinks and not self.instances_given

    def sink_options(self) -> SinkOptions | None:
        """Return the options of the sealed sink, of one that runs or of one that should; None where there is none.

        Raises:
            ConfigError: they cannot work.
        """
        if self.sealed is not None:
            return self.sealed.options
        if self.settings is None or not self.wants_sink:
            return None
        return parse_sink_options(None, host.plugin_config(self.settings, "sink", SINK))

    def enricher_options(self) -> EnricherOptions | None:
        """Return the options of the integrity enricher, as `sink_options` does."""
        if self.integrity is not None:
            return self.integrity.options
        if self.settings is None or ENRICHER not in self.listed_enrichers:
            return None
        config = host.plugin_config(self.settings, "enricher", ENRICHER)
        return parse_options(EnricherOptions, "integrity enricher", None, config)

    def log(self) -> SinkOptions | None:
        """Return the options of a sealed sink that runs and seals."""
        options = None if self.sealed is None else self.sink_options()
        return options if options is not None and options.enabled else None

    @property
    def is_async(self) -> bool:
        """Whether events are awaited."""
        return isinstance(self.logger, AsyncLoggerFacade)

    def threshold(self) -> int:
        """Return the priority below which events are meant to be left out."""
        gates = [host.trait(self.logger, "level_gate")]
        gates += [host.trait(one, "min_priority") for one in self.filters if name_of(one) == "level"]
        return max((gate for gate in gates if isinstance(gate, int)), default=0)


def open_case(spec: str | None, watched: host.Watched) -> Case:
    """Return the case of `module:attribute`, of the environment where that is None.

    Raises:
        ConfigError: there is no such module or attribute, or it is nothing that can be examined.
        ExamineError: the logger cannot be made.
    """
    before = {id(logger) for logger in host.cached_loggers() if host.trait(logger, "drained")}
    with redirect_stdout(sys.stderr):
        value = _made(lambda: get_logger(reuse=False)) if spec is None else _resolve(spec)
        if callable(value):
            value = _made(_without_arguments(spec or "", value))
        if isinstance(value, Settings):
            settings = value
            value = _made(lambda: get_logger(settings=settings, reuse=False))
    if not isinstance(value, SyncLoggerFacade | AsyncLoggerFacade):
        text = f"{spec} is a {type(value).__name__}."
        raise ConfigError(text, hint=_NAMED)
    spent = [one for one in host.cached_loggers() if host.trait(one, "drained") and id(one) not in before]
    return _case(spec or "environment", value, watched, spent)


def _without_arguments(spec: str, value: Callable[..., Any]) -> Callable[[], Any]:
    try:
        inspect.signature(value).bind()
    except (TypeError, ValueError):
        text = f"{spec}, a {type(value).__name__}, cannot be called without arguments."
        raise ConfigError(text, hint=_NAMED) from None
    return value


def normal(name: str) -> str:
    """Return the name of a plugin as fapilog compares it."""
    return name.replace("-", "_").lower()


def name_of(plugin: object) -> str:
    """Return what a plugin is called."""
    return str(getattr(plugin, "name", type(plugin).__name__))


def key_state(options: TamperConfig) -> KeyState:
    """Open the key that options name."""
    try:
        return KeyState(open_key(options))
    except SealKeyError as error:
        return KeyState(None, str(error), absent="is not set" in error.message or "does not exist" in error.message)


def key_files(options: TamperConfig) -> Iterator[Path]:
    """Yield the files that hold secret keys."""
    uris = [options.key] if isinstance(options.key, str) else []
    if options.key is None and options.key_file_path is not None:
        yield options.key_file_path
    elif options.key is None:
        uris.append(f"env:{options.key_env_var}")
    for text in (*uris, *options.old_keys):
        try:
            uri = KeyURI.parse(text)
        except SealKeyError:
            # Said elsewhere.
            continue
        if uri.scheme == "file":
            yield Path(uri.path)
        elif uri.scheme == "env" and uri.path not in os.environ and f"{uri.path}_FILE" in os.environ:
            yield Path(os.environ[f"{uri.path}_FILE"])


def state_folder(options: SinkOptions) -> Path:
    """Return where the heads of a log are."""
    return options.state_dir or options.directory / STATE_FOLDER


def _case(source: str, logger: Any, watched: host.Watched, spent: Iterable[Any]) -> Case:  # noqa: ANN401
    running = host.trait(logger, "sinks")
    made = next((one for one in reversed(watched.made) if one.sinks is running), None)
    asked = None if made is None else made.asked.get("settings")
    given = next((values for settings, values in watched.inputs if settings is asked), None)
    kinds = ("sinks", "enrichers", "redactors", "processors", "filters")
    return Case(
        source,
        logger,
        made,
        given,
        bool(host.trait(logger, "drained")),
        tuple(str(host.trait(one, "name")) for one in spent if one is not logger),
        *(host.plugins_of(logger, kind) for kind in kinds),
    )


def _resolve(spec: str) -> Any:  # noqa: ANN401 (whatever the module has)
    module, colon, attribute = spec.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"{spec!r} does not name a module and what is in it.", hint="Write module:attribute.")
    try:
        value = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        text = f"module {module} cannot be imported: {type(error).__name__}: {error}."
        raise ConfigError(
            text, hint="Run this where the module can be imported; the current folder is searched."
        ) from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise ConfigError(f"module {module} has no {attribute}.", hint="Check the name behind the colon.") from None
    return value


def _made(make: Any) -> Any:  # noqa: ANN401 (a foreign callable)
    try:
        value = make()
        return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value
    except (Exception, SystemExit) as error:
        raise ExamineError(f"the logger cannot be made: {type(error).__name__}: {error}") from error


async def _awaited(value: Any) -> Any:  # noqa: ANN401 (see _made)
    return await value


def _sealed_among(sinks: Iterable[Any], depth: int = 2) -> Iterator[SealedSink]:
    for sink in sinks:
        if isinstance(sink, SealedSink):
            yield sink
            continue
        inner = host.trait(sink, "sinks")
        if depth and isinstance(inner, Mapping | list | tuple):
            yield from _sealed_among(inner.values() if isinstance(inner, Mapping) else inner, depth - 1)
