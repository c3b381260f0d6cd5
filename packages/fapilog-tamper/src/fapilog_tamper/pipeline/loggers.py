"""Sealed loggers made by a program: no settings of fapilog, nothing that it could pass over in silence."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from fapilog import get_logger

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.pipeline import host
from fapilog_tamper.pipeline.sink import SealedSink

if TYPE_CHECKING:
    from fapilog import Settings
    from fapilog.core.logger import SyncLoggerFacade
    from fapilog.core.presets import PresetName

__all__ = ["get_sealed_logger"]

_MADE: Final[dict[str, tuple[SyncLoggerFacade, object]]] = {}
_MAKING = threading.Lock()


def _after_fork() -> None:
    """Forget the loggers of the parent, which have no worker here, and a lock that one of its threads may hold."""
    global _MAKING  # noqa: PLW0603 (as locks are replaced)
    _MAKING = threading.Lock()
    _MADE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_sealed_logger(
    name: str | None = None,
    *,
    config: object = None,
    settings: Settings | None = None,
    preset: PresetName | None = None,
    **options: Any,  # noqa: ANN401 (the options of the sink)
) -> SyncLoggerFacade:
    """Return a logger of fapilog whose only sink is a `SealedSink`; asked again by the same name, the same logger.

    A logger that was drained is not given out again: a new one is made, and goes on in the same log.

    Args:
        name: the name of the logger.
        config: the configuration of the sink, as for `SealedSink`.
        settings: settings of fapilog for everything but sinks.
        preset: a preset of fapilog instead.
        **options: options of the sink, as for `SealedSink`.

    Raises:
        ConfigError: the sink cannot be made so, or the logger of that name has another configuration.
    """
    given = (config, settings, preset, options)
    with _MAKING:
        made = _MADE.get(name or "")
        if made is not None and not host.is_draining(made[0]):
            if made[1] != given:
                text = f"the sealed logger {name or 'without a name'} was made with other options."
                raise ConfigError(text, hint="Give it another name, or drain the first.")
            return made[0]
        sink = SealedSink(config, **options)
        # Not from the cache of fapilog, which would give a logger with other sinks.
        logger = get_logger(name, preset=preset, settings=settings, sinks=[sink], reuse=False)
        _MADE[name or ""] = (logger, given)
        return logger
