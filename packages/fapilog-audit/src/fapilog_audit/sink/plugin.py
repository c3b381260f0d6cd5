"""`AuditSink`, the fapilog sink `audit`: records every event that comes out of the pipeline.

fapilog may start it never or sixteen times, call it from several tasks at once, with dicts or with bytes, and does not
stop it; so it opens its trail with the first event, and the end of the loop that wrote closes it (`LoopEnds`), else the
exit hooks of the trail.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fapilog.core.errors import SinkWriteError

from fapilog_audit.errors import AuditError
from fapilog_audit.sink.config import AuditSinkConfig, parse_sink_config
from fapilog_audit.sink.mapping import map_entry
from fapilog_audit.sink.sharing import shared_trail
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import HintedError
from fapilog_tamper.pipeline import draining, host
from fapilog_tamper.pipeline.loops import LoopEnds
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fapilog_audit.trail import AuditTrail

__all__ = ["PLUGIN_METADATA", "AuditSink"]


class AuditSink:
    """Records what is logged in an audit trail.

    Takes nothing, an `AuditSinkConfig`, a dict or keywords. Sinks of a process that are told the same write to one
    trail. An event is where the promise of the policy says when `write` returns; storage that does not work is dealt
    with as `on_storage_failure` says.
    """

    name = "audit"

    def __init__(self, config: object = None, /, **options: Any) -> None:  # noqa: ANN401 (fapilog gives what it has)
        if "config" in options:
            config = options.pop("config")
        try:
            self._config = parse_sink_config(config, options)
            self._shared = shared_trail(self._config.plan())
        except AuditError as error:
            # fapilog goes on without a sink that raises, or with one to stdout, and says nothing.
            warn(f"{error} fapilog leaves this sink out: no event is recorded.")
            raise
        self._failing = False
        self._loops = LoopEnds(self._loop_ended)
        if self._config.exit_drain:
            draining.install_exit_drain()

    @property
    def config(self) -> AuditSinkConfig:
        """What the sink was told."""
        return self._config

    @property
    def trail(self) -> AuditTrail:
        """The trail that is written to, for questions; do not stop it."""
        return self._shared.trail

    async def start(self) -> None:
        """Open the trail; a failure is warned of, and is the error of each write."""
        self._watch()
        with suppress(HintedError):
            await self._shared.open()

    async def write(self, entry: Mapping[str, Any]) -> None:
        """Record an event.

        Raises:
            SinkWriteError: it is not recorded; the message says why.
        """
        await self._put(_as_given, entry)

    async def write_serialized(self, view: Any) -> None:  # noqa: ANN401 (SerializedView, or what has its `data`)
        """Record an event of which fapilog made bytes; processors may have made anything of them.

        Raises:
            SinkWriteError: it is not recorded. No other: fapilog takes an AttributeError for a success.
        """
        await self._put(_read, view)

    async def stop(self) -> None:
        """Close the trail, unless other sinks write to it or events wait in it; the next event opens it again.

        A trail with a backend is drained, and stays open until the process ends.
        """
        await self._shared.leave(self)

    async def health_check(self) -> bool:
        """Tell whether events are recorded."""
        return await self.health() is None

    async def health(self) -> str | None:
        """Return what does not work, None when all does."""
        return await self._shared.health()

    def _watch(self) -> None:
        if self._loops.watch():
            self._shared.enter(self)

    async def _put(self, read: Callable[[Any], Mapping[str, Any]], given: object) -> None:
        try:
            self._watch()
            await self._shared.record(map_entry(read(given)))
        except Exception as error:
            raise self._failure(error) from error
        self._failing = False

    def _failure(self, error: Exception) -> SinkWriteError:
        told = f"event not recorded: {error}"
        if not self._failing:
            # fapilog prints the event to stderr, and not the reason.
            self._failing = True
            warn(f"audit sink: {told}")
        return SinkWriteError(told, sink_name=self.name, cause=error)

    async def _loop_ended(self, last: bool) -> None:  # noqa: FBT001 (see LoopEnds)
        for logger in host.loggers_of(self):
            if host.is_draining(logger):
                host.warn_of_lost_events(logger)
        if last:
            await self.stop()

    def __repr__(self) -> str:
        return f"<AuditSink {self._shared.trail!r}>"


def _as_given(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry


def _read(view: Any) -> Mapping[str, Any]:  # noqa: ANN401 (see write_serialized)
    """Return the entry that bytes hold, or one that holds the bytes."""
    data = bytes(getattr(view, "data", view))
    try:
        # Not orjson, which makes floats of large integers.
        held = json.loads(data)
    except (ValueError, RecursionError):
        held = None
    entry = held.get("log", held) if isinstance(held, dict) else None
    if isinstance(entry, dict):
        return entry
    return {"message": "what fapilog gave is no event", "data": {"$base64": b64url_encode(data)}}


PLUGIN_METADATA = {
    "name": "audit",
    "version": "1.0.0",
    "plugin_type": "sink",
    "entry_point": "fapilog_audit:AuditSink",
    "description": "Audit trail: who did what, sealed in a chain, verifiable offline.",
    "author": "fapilog-audit",
    "license": "Apache-2.0",
    "compatibility": {"min_fapilog_version": "0.18.1", "max_fapilog_version": "0.18.999"},
    "api_version": "1.0",
}
