"""`IntegrityEnricher`, the fapilog enricher `integrity`: a seal in every event, for sinks that cannot be wrapped.

It seals the event as it sees it, in fapilog's envelope, and puts the block where fapilog keeps it:
`diagnostics.integrity`. Whatever changes the event behind it, redactors and other enrichers, breaks that proof; where a
`SealedSink` is in the same pipeline, the sink's seal is the proof, and the enricher only names stream and key.
"""

from __future__ import annotations

import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import Field

from fapilog_tamper.clock import system_clock
from fapilog_tamper.envelope import block_place, stored_envelope
from fapilog_tamper.errors import SealKeyError, TamperError
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.payload import encode_payload
from fapilog_tamper.pipeline import draining, host
from fapilog_tamper.pipeline.chain import Chain
from fapilog_tamper.pipeline.config import TamperConfig, open_key, parse_options, warn_user
from fapilog_tamper.pipeline.sink import SealedSink

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLUGIN_METADATA", "EnricherOptions", "IntegrityEnricher"]

_AGAIN: Final = 1.0
"""Seconds between two attempts to open a key."""

_UNSEALED: Final = {"status": "unsealed"}


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
        except TamperError as error:
            # fapilog leaves out an enricher that raises, and says nothing.
            warn_user(f"{error} fapilog leaves the enricher out: no event is sealed by it.")
            raise
        self._chain: Chain | None = None
        self._opening = threading.Lock()
        self._failed_at: float | None = None
        self._looked_at: set[int] = set()
        self._sink: SealedSink | None = None
        if self._options.exit_drain and self._options.enabled:
            draining.install_exit_drain()

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
        if chain is None:
            return {"diagnostics": {"integrity": _UNSEALED}, "integrity": _UNSEALED}
        return _sealed(chain, event, self._options.max_payload)

    def _open(self) -> Chain | None:
        if self._chain is not None:
            return self._chain
        if self._failed_at is not None and monotonic() - self._failed_at < _AGAIN:
            return None
        with self._opening:
            try:
                key = open_key(self._options)
            except SealKeyError as error:
                if self._failed_at is None:
                    warn_user(f"integrity enricher: events are not sealed: {error}")
                self._failed_at = monotonic()
                return None
            if self._chain is None:
                folder = self._options.state_dir or Path(STATE_FOLDER)
                self._chain = Chain(
                    folder, self._options.stream, key, clock=system_clock, restart=self._options.rotate_chain
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
        if later:
            warn_user(
                "integrity enricher: it seals events as they are before others change them, so records that "
                f"{', '.join(later)} change will not verify. Use the sealed sink, or leave them out."
            )


def _sealed(chain: Chain, event: Mapping[str, Any], limit: int) -> dict[str, Any]:
    members = {name: value for name, value in event.items() if name != "integrity"}
    place = block_place(event)
    if "integrity" in place:
        members["diagnostics"] = {name: value for name, value in place.items() if name != "integrity"}
    payload = encode_payload(stored_envelope(members), limit=limit)
    line = chain.seal(payload)
    block = orjson.loads(line)["integrity"]
    # What fapilog would write otherwise, or not at all, is stored as it was sealed.
    stored = orjson.loads(payload)["log"]
    changed = {name: value for name, value in stored.items() if members.get(name) != value}
    changed["diagnostics"] = {**changed.get("diagnostics", {}), "integrity": block}
    return {**changed, "integrity": block}


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
