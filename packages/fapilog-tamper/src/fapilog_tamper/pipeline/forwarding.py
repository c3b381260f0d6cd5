"""The inner sink: where sealed records are sent beside the sealed log.

It gets the line as it stands in the log. What it does not take costs nobody a seal: the event is in the sealed log
before, and a failure to send is told by a warning and the health check, never to fapilog, whose circuit breaker would
keep events from the sealed log for what another system does. A sink that hangs is given up for a while: the queue of
fapilog would fill up behind it, and events be dropped before they are sealed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final

from fapilog.core.serialization import SerializedView
from fapilog.plugins.loader import PluginLoadError, PluginNotFoundError, load_plugin
from fapilog.plugins.sinks.rotating_file import RotatingFileSinkConfig

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.pipeline import host
from fapilog_tamper.writer.troubles import warn

__all__ = ["Forwarding", "SealedRecord", "build_sink"]

_PATIENCE: Final = 2.0
"""Seconds that a sink may take for a record."""

_PAUSE: Final = 30.0
"""Seconds for which a sink that took longer gets nothing."""

_FILE_NAME: Final = "rotating_file"


class SealedRecord(dict[str, Any]):
    """A sealed record as a dict. Asked for a `level` it gives that of the event, which sinks that route look for.

    Hazard: were `level`, `timestamp` and `message` members of it, fapilog's sinks would take it for an event and store
    it without its integrity block.
    """

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 (as dict)
        """Return a member, or of the event in it the level."""
        if key == "level" and key not in self:
            log = dict.get(self, "log")
            return log.get(key, default) if isinstance(log, Mapping) else default
        return dict.get(self, key, default)


class Forwarding:
    """Sends lines to one sink of fapilog, which belongs to the loop that sends.

    Attributes:
        name: the name of the sink.
        unsent: how many records it did not take, as far as it says so.
        trouble: what does not work now, None when all does.
    """

    def __init__(self, sink: Any) -> None:  # noqa: ANN401 (a sink of fapilog: duck-typed)
        self._sink = sink
        self._started = False
        self._starting = asyncio.Lock()
        self._paused_until = 0.0
        self.name = str(getattr(sink, "name", type(sink).__name__))
        self.unsent = 0
        self.trouble: str | None = None

    async def send(self, line: bytes) -> None:
        """Send a line; never raises for what the sink does."""
        if monotonic() < self._paused_until:
            self.unsent += 1
            return
        try:
            taken = await _patiently(self._write(line))
        except TimeoutError:
            self._paused_until = monotonic() + _PAUSE
            self._failed(f"it took nothing for {_PATIENCE:g} seconds, and gets nothing for {_PAUSE:g}")
            return
        except Exception as error:  # noqa: BLE001 (a foreign sink may raise anything, and the event is sealed already)
            self._failed(f"{type(error).__name__}: {error}")
            return
        why = "it said that it did not take it" if taken is False else host.delivery_trouble(self._sink)
        if why is not None:
            self._failed(why)
        else:
            self.trouble = None

    async def stop(self) -> None:
        """Stop the sink, so that it sends what it holds back."""
        if not self._started:
            return
        self._started = False
        # One that was waited for belongs to the loop that ends.
        self._starting = asyncio.Lock()
        try:
            if hasattr(self._sink, "stop"):
                await _patiently(self._sink.stop())
        except TimeoutError:
            self._failed(f"it did not end within {_PATIENCE:g} seconds, and may have kept records back")
            return
        except Exception as error:  # noqa: BLE001 (see send)
            self._failed(f"{type(error).__name__}: {error}")
            return
        why = host.delivery_trouble(self._sink)
        if why is not None:
            self._failed(why)

    async def _write(self, line: bytes) -> object:
        if not self._started:
            async with self._starting:
                await self._start()
        text = line.removesuffix(b"\n")
        if self.name == "loki":
            # From bytes it would make a record without level and time, which its labels are taken from.
            return await self._sink.write(_loki_record(text))
        if hasattr(self._sink, "write_serialized"):
            return await self._sink.write_serialized(SerializedView(data=text))
        return await self._sink.write(SealedRecord(json.loads(text)))

    async def _start(self) -> None:
        if not self._started:
            if hasattr(self._sink, "start"):
                await self._sink.start()
            self._started = True

    def _failed(self, why: str) -> None:
        self.unsent += 1
        if self.trouble is None:
            warn(f"sealed sink: the inner sink {self.name} fails ({why}); events are sealed all the same.")
        self.trouble = f"the inner sink {self.name} fails ({why}); {self.unsent} records were not sent"


async def _patiently(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 (see Forwarding)
    """Return what a sink answers in time; one that does not let itself be cancelled is left alone.

    Raises:
        TimeoutError: it took too long.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE)
    finally:
        if not task.done():
            task.cancel()
            # Nobody will ask for what becomes of it.
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    if not done:
        raise TimeoutError
    return task.result()


def build_sink(sink: object, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 (see Forwarding)
    """Return the sink of this name, made with `config`; a sink is returned as it is.

    Raises:
        ConfigError: if there is none, or it cannot be made.
    """
    if not isinstance(sink, str):
        if not hasattr(sink, "write"):
            raise ConfigError(f"inner_sink is a {type(sink).__name__}.", hint="Give the name of a sink, or a sink.")
        if config:
            raise ConfigError("inner_config is given for a sink that is made already.", hint="Leave it out.")
        return sink
    options = dict(config)
    if sink.replace("-", "_").lower() == _FILE_NAME:
        options = {"config": _file_config(options)}
    try:
        return load_plugin("fapilog.sinks", sink, options)
    except (PluginNotFoundError, PluginLoadError) as error:
        raise ConfigError(f"inner sink {sink}: {error}.", hint="Check inner_sink and inner_config.") from error


def _file_config(options: dict[str, Any]) -> RotatingFileSinkConfig:
    given = options.get("config", options)
    if isinstance(given, RotatingFileSinkConfig):
        return given
    return RotatingFileSinkConfig(**{**given, "directory": Path(given.get("directory", "logs"))})


def _loki_record(text: bytes) -> dict[str, Any]:
    log = json.loads(text).get("log")
    labels = {name: log[name] for name in ("level", "logger") if name in log} if isinstance(log, dict) else {}
    return {**labels, "_raw": text.decode()}
