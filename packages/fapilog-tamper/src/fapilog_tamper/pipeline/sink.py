"""`SealedSink`, the fapilog sink `sealed`: seals every event as it comes out of the pipeline.

It runs where the final bytes are: behind filters, enrichers and redactors. fapilog may start it never or sixteen times,
call it from several tasks at once, with dicts or with bytes, and does not stop it; so it opens itself with the first
event, is closed by the end of the loop that wrote (`loops`), and else by the exit hook of the log.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson
from fapilog.core.errors import SinkWriteError

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.envelope import envelope
from fapilog_tamper.errors import TamperError
from fapilog_tamper.pipeline import draining, host
from fapilog_tamper.pipeline.forwarding import Forwarding, build_sink
from fapilog_tamper.pipeline.journal import shared_journal
from fapilog_tamper.pipeline.loops import LoopEnds
from fapilog_tamper.pipeline.options import OWN_FILES, SinkOptions, parse_sink_options
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PLUGIN_METADATA", "SealedSink"]

_LONG_NUMBER: Final = re.compile(rb"[0-9]{17}")
_UNSEALED: Final = "unsealed"


class SealedSink:
    """Seals events into a log that can be verified offline, and sends them on to another sink if there is one.

    Takes nothing, a `TamperConfig`, a dict or keywords; `SinkOptions` has them all. Without a usable key every write
    fails, with the reason; nothing is ever written unsealed.
    """

    name = "sealed"

    def __init__(self, config: object = None, /, **options: Any) -> None:  # noqa: ANN401 (fapilog gives what it has)
        if "config" in options:
            config = options.pop("config")
        try:
            self._options = parse_sink_options(config, options)
            self._journal = shared_journal(self._options)
            self._forwarding = _forwarding(self._options)
        except TamperError as error:
            # fapilog goes on without a sink that raises, or with one to stdout, and says nothing.
            warn(f"{error} fapilog leaves this sink out: no event is sealed.")
            raise
        self._loops = LoopEnds(self._loop_ended)
        if not self._options.enabled:
            warn("sealed sink: it is not enabled, so events are stored unsealed; set enabled=True.")
        if self._options.exit_drain:
            draining.install_exit_drain()

    @property
    def options(self) -> SinkOptions:
        """What the sink was told."""
        return self._options

    @property
    def stream(self) -> str:
        """The stream that is written."""
        return self._journal.stream

    def binding(self) -> dict[str, str]:
        """Return stream and key_id that events are sealed under, for the integrity enricher to put into them."""
        with suppress(TamperError):
            self._journal.open()
        return {"stream": self._journal.stream, "key_id": self._journal.key_id}

    async def start(self) -> None:
        """Open the log; a failure is warned of, and is the error of each write."""
        self._watch()
        if self._options.enabled:
            with suppress(TamperError):
                self._journal.open()

    async def write(self, entry: Mapping[str, Any]) -> None:
        """Seal an event.

        Raises:
            SinkWriteError: it is not stored; the message says why.
        """
        await self._put(envelope, entry)

    async def write_serialized(self, view: Any) -> None:  # noqa: ANN401 (SerializedView, or what has its `data`)
        """Seal an event of which fapilog made bytes; processors may have made anything of them.

        Raises:
            SinkWriteError: it is not stored. No other: fapilog takes an AttributeError for a success.
        """
        await self._put(_read, view)

    async def stop(self) -> None:
        """Close the log, with manifest and head, unless other sinks write to it; the next event opens it again."""
        try:
            if self._forwarding is not None:
                await self._forwarding.stop()
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            self._journal.leave(self)
        except TamperError as error:
            warn(f"sealed sink: {error}")

    async def rotate(self) -> None:
        """Close the open segment, its manifest included; the next event begins another.

        Raises:
            SinkWriteError: that did not work; it is tried again.
        """
        try:
            self._journal.rotate()
        except TamperError as error:
            raise self._failure(error) from error

    async def health_check(self) -> bool:
        """Tell whether events are sealed and sent on."""
        return self.health() is None

    def health(self) -> str | None:
        """Return what does not work, None when all does."""
        if not self._options.enabled:
            return "the sink is not enabled"
        return self._journal.health() or (None if self._forwarding is None else self._forwarding.trouble)

    def _watch(self) -> None:
        if self._loops.watch():
            self._journal.enter(self)

    async def _put(self, make: Callable[[Any], Mapping[str, Any]], given: object) -> None:
        try:
            self._watch()
            event = make(given)
            if not self._options.enabled:
                await self._pass(event)
            elif self._forwarding is None:
                await self._journal.append(event)
            else:
                await self._forwarding.send(await self._journal.append_line(event))
        except Exception as error:
            raise self._failure(error) from error

    async def _pass(self, event: Mapping[str, Any]) -> None:
        if self._forwarding is not None:
            await self._forwarding.send(orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS))

    def _failure(self, error: Exception) -> SinkWriteError:
        return SinkWriteError(f"event not sealed: {error}", sink_name=self.name, cause=error)

    async def _loop_ended(self, last: bool) -> None:  # noqa: FBT001 (see LoopEnds)
        for logger in host.loggers_of(self):
            if host.is_draining(logger):
                host.warn_of_lost_events(logger)
        if last:
            await self.stop()

    def __repr__(self) -> str:
        trouble = "" if self._options.enabled else ", not enabled"
        return f"<SealedSink {self.stream!r} in {str(self._options.directory)!r}{trouble}>"


def _forwarding(options: SinkOptions) -> Forwarding | None:
    if options.own_files and options.enabled:
        return None
    if options.own_files:
        # Apart, so that what is unsealed is never read as a sealed log that was changed.
        directory = options.directory / _UNSEALED
        config = {"directory": directory, "filename_prefix": options.filename_prefix, "max_bytes": options.max_bytes}
        return Forwarding(build_sink(OWN_FILES, config))
    return Forwarding(build_sink(options.inner_sink, options.inner_config))


def _read(view: Any) -> Mapping[str, Any]:  # noqa: ANN401 (see write_serialized)
    """Return the object that bytes hold, or an object that holds the bytes."""
    data = bytes(getattr(view, "data", view))
    try:
        # orjson is fast, makes floats of integers beyond 64 bits, and refuses some JSON.
        event = None if _LONG_NUMBER.search(data) else orjson.loads(data)
    except ValueError:
        event = None
    if event is None:
        event = _read_slowly(data)
    return event if isinstance(event, dict) else {"$base64": b64url_encode(data)}


def _read_slowly(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


PLUGIN_METADATA = {
    "name": "sealed",
    "version": "1.0.0",
    "plugin_type": "sink",
    "entry_point": "fapilog_tamper.pipeline.sink:SealedSink",
    "description": "Sealed log: every event in a chain under a key, verifiable offline.",
    "author": "fapilog-tamper",
    "compatibility": {"min_fapilog_version": "0.18.1", "max_fapilog_version": "0.18.999"},
    "api_version": "1.0",
}
