"""`IntegrityEnricher`, the fapilog enricher `integrity`: a seal in every event, for sinks that cannot be wrapped.

It seals the event as it sees it, in fapilog's envelope, and puts the block where fapilog keeps it:
`diagnostics.integrity`. Whatever changes the event behind it, redactors and other enrichers, breaks that proof; where a
`SealedSink` is in the same pipeline, the sink's seal is the proof, and the enricher only names stream and key.

What was sealed must be what is stored. So the event goes on in the form in which it was sealed: as plain JSON values,
none of which the caller can still change, and cut where it was too large.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final

import orjson
from pydantic import Field

from fapilog_tamper.clock import system_clock
from fapilog_tamper.envelope import block_place, stored_envelope
from fapilog_tamper.errors import TamperError
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.payload import MAX_LIMIT, MIN_LIMIT, encode_payload
from fapilog_tamper.pipeline import draining, host
from fapilog_tamper.pipeline.chain import Chain
from fapilog_tamper.pipeline.config import TamperConfig, open_key, parse_options
from fapilog_tamper.pipeline.sink import SealedSink
from fapilog_tamper.writer.slots import check_own_stream
from fapilog_tamper.writer.troubles import warn

__all__ = ["PLUGIN_METADATA", "EnricherOptions", "IntegrityEnricher"]

_AGAIN: Final = 1.0
"""Seconds between two attempts to open a key."""

_UNSEALED: Final = {"status": "unsealed"}
_GROUPS: Final = ("context", "diagnostics", "data")
_HARMLESS: Final = frozenset({"zero_copy"})
"""Processors that change nothing."""


class EnricherOptions(TamperConfig):
    """The options of `IntegrityEnricher`: those of `TamperConfig`, and its stream.

    Attributes:
        stream: what chains are called; each has a number of its own behind it.
    """

    enabled: bool = True
    stream: str = Field(default="events", min_length=1)


class IntegrityEnricher:
    """Puts an integrity block into every event.

    Takes nothing, a `TamperConfig`, a dict or keywords. Without a usable key, events pass, marked as unsealed, and a
    verification of such a record fails.
    """

    name = "integrity"

    def __init__(self, config: object = None, /, **options: Any) -> None:  # noqa: ANN401 (fapilog gives what it has)
        if "config" in options:
            config = options.pop("config")
        try:
            self._options = parse_options(EnricherOptions, "integrity enricher", config, options)
            check_own_stream(self._options.stream)
        except TamperError as error:
            # fapilog leaves out an enricher that raises, and says nothing.
            warn(f"{error} fapilog leaves the enricher out: no event is sealed by it.")
            raise
        # As it is now: a program may change its folder before the first event.
        self._folder = self._options.state_dir or Path(STATE_FOLDER).absolute()
        self._chain: Chain | None = None
        self._opening = threading.Lock()
        self._failed_at: float | None = None
        self._failing = False
        self._looked_at: set[int] = set()
        self._sink: SealedSink | None = None
        if self._options.exit_drain and self._options.enabled:
            draining.install_exit_drain()

    @property
    def options(self) -> EnricherOptions:
        """What the enricher was told."""
        return self._options

    async def start(self) -> None:
        """Open the key; a failure is warned of, and marks every event."""
        self._look_around()
        if self._options.enabled:
            self._open()

    async def stop(self) -> None:
        """Keep the state of the chain for the next start."""
        if self._chain is not None:
            self._chain.close()

    async def health_check(self) -> bool:
        """Tell whether events are sealed."""
        return self._options.enabled and (self._sink is not None or self._open() is not None)

    async def enrich(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the integrity block of an event, and what of the event must be stored as it was sealed."""
        if not self._options.enabled:
            return {}
        self._look_around()
        if self._sink is not None:
            return {"diagnostics": {"integrity": self._sink.binding()}}
        chain = self._open()
        sealed = None if chain is None else self._seal(chain, event)
        return sealed or {"diagnostics": {"integrity": _UNSEALED}, "integrity": _UNSEALED}

    def _seal(self, chain: Chain, event: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            sealed = _sealed(chain, event, self._options.max_payload)
        except TamperError as error:
            # A key may be in a service that does not answer.
            if not self._failing:
                self._failing = True
                warn(f"integrity enricher: events are not sealed: {error}")
            return None
        self._failing = False
        return sealed

    def _open(self) -> Chain | None:
        if self._chain is not None:
            return self._chain
        if self._failed_at is not None and monotonic() - self._failed_at < _AGAIN:
            return None
        with self._opening:
            try:
                key = open_key(self._options)
            except TamperError as error:
                if self._failed_at is None:
                    warn(f"integrity enricher: events are not sealed: {error}")
                self._failed_at = monotonic()
                return None
            if self._chain is None:
                self._chain = Chain(
                    self._folder, self._options.stream, key, clock=system_clock, restart=self._options.rotate_chain
                )
            self._failed_at = None
            return self._chain

    def _look_around(self) -> None:
        """See what else is in the pipeline, which is known once the logger was made: with the first event."""
        for logger in host.loggers_of(self):
            if id(logger) not in self._looked_at:
                self._looked_at.add(id(logger))
                self._look_at(logger)

    def _look_at(self, logger: object) -> None:
        sinks = [sink for sink in host.plugins_of(logger, "sinks") if isinstance(sink, SealedSink)]
        if sinks:
            self._sink = sinks[0]
            return
        later = [f"redactor {_name(one)}" for one in host.plugins_of(logger, "redactors")]
        later += [f"enricher {_name(one)}" for one in host.plugins_of(logger, "enrichers") if one is not self]
        if getattr(logger, "_serialize_in_flush", True):
            processors = [_name(one) for one in host.plugins_of(logger, "processors")]
            later += [f"processor {name}" for name in processors if name not in _HARMLESS]
        if later:
            warn(
                "integrity enricher: it seals events as they are before others change them, so records that "
                f"{', '.join(later)} change will not verify. Use the sealed sink, or leave them out."
            )


def _sealed(chain: Chain, event: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
    """Seal an event; return what is to be merged into it, None where it cannot be made to fit."""
    fitted = _fitted(_envelope(event), limit)
    if fitted is None:
        return None
    payload, log = fitted
    block = orjson.loads(chain.seal(payload))["integrity"]
    for name in _GROUPS:
        _replace(event.get(name), log[name])
    return {**log, "diagnostics": {**log["diagnostics"], "integrity": block}, "integrity": block}


def _envelope(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the envelope in which fapilog would store an event, without a block that is in it already."""
    members = {name: value for name, value in event.items() if name != "integrity"}
    for name in _GROUPS:
        # fapilog stores nothing else there.
        members[name] = members[name] if isinstance(members.get(name), Mapping) else {}
    if "integrity" in block_place(members):
        group = members["diagnostics"]
        members["diagnostics"] = {name: value for name, value in group.items() if name != "integrity"}
    return dict(stored_envelope(members))


def _fitted(envelope: Mapping[str, Any], limit: int) -> tuple[bytes, dict[str, Any]] | None:
    """Return the payload of an event, cut so that fapilog still stores all of it, and the `log` in it."""
    payload = encode_payload(envelope, limit=limit)
    log = _whole_log(payload, envelope)
    if log is not None:
        return payload, log
    # Else `log` as a whole would have to give way. Its groups can be smaller, and each says what it lacks.
    room = max(limit // 4, MIN_LIMIT)
    groups = {name: orjson.loads(encode_payload(envelope["log"][name], limit=room)) for name in _GROUPS}
    smaller = {**envelope, "log": {**envelope["log"], **groups}}
    for most in (limit, MAX_LIMIT):
        payload = encode_payload(smaller, limit=most)
        log = _whole_log(payload, envelope)
        if log is not None:
            return payload, log
    return None


def _whole_log(payload: bytes, envelope: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the `log` in a payload, None where it lacks what fapilog needs of an event."""
    read, wanted = orjson.loads(payload), envelope["log"]
    log = read.get("log")
    if read.keys() != envelope.keys() or not isinstance(log, dict) or log.keys() != wanted.keys():
        return None
    whole = log["timestamp"] == wanted["timestamp"] and all(isinstance(log[name], dict) for name in _GROUPS)
    return log if whole else None


def _replace(group: object, stored: Mapping[str, Any]) -> None:
    """Put what was sealed in the place of a group, where merging it in would leave something else there as well.

    fapilog merges objects into objects: a name that is no text, or that was cut away, would stay, and so would what the
    caller adds to an object of its own meanwhile. The group itself is fapilog's; the caller's objects are not touched.
    """
    if type(group) is dict and (
        group.keys() != stored.keys() or any(isinstance(value, dict) for value in group.values())
    ):
        group.clear()
        group.update(stored)


def _name(plugin: object) -> str:
    return str(getattr(plugin, "name", type(plugin).__name__))


PLUGIN_METADATA = {
    "name": "integrity",
    "version": "1.0.0",
    "plugin_type": "enricher",
    "entry_point": "fapilog_tamper.pipeline.enricher:IntegrityEnricher",
    "description": "An integrity block in every event: chain and mac over the event as the enricher sees it.",
    "author": "fapilog-tamper",
    "compatibility": {"min_fapilog_version": "0.18.1", "max_fapilog_version": "0.18.999"},
    "api_version": "1.0",
}
