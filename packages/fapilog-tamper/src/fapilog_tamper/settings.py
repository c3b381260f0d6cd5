"""The settings of a writer, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.clock import Clock, system_clock
from fapilog_tamper.errors import ConfigError
from fapilog_tamper.keys.keyring import Keyring
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.payload import DEFAULT_LIMIT, check_limit
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.store.base import Store
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.writer.promise import Promise
from fapilog_tamper.writer.slots import check_own_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.writer.packer import Compression

__all__ = ["Settings", "check_timeout", "folder_of", "state_of"]

_COMPRESSIONS: Final = ("none", "gzip", "zstd")
_WAIT_OR_RAISE: Final = ("wait", "raise")
_LEAST_BUFFER: Final = 4096
_MODE_BITS: Final = 0o777


@dataclass(frozen=True, slots=True)
class Settings:
    """What `SealedLog.open` was given; its docstring explains each."""

    folder: Store
    state: Store
    key: SigningKey | None
    keyring: Keyring | None
    stream: str
    promise: Promise = Promise.WRITTEN
    inline: bool = True
    rotation: Rotation = field(default_factory=Rotation)
    compress: Compression = "none"
    max_payload: int = DEFAULT_LIMIT
    max_buffer_bytes: int = 8 << 20
    on_full: str = "wait"
    on_failure: str = "wait"
    sign_each: bool = False
    timeout: float = 30.0
    clock: Clock = system_clock
    restart: bool = False
    on_closed: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        check_own_stream(self.stream)
        check_limit(self.max_payload)
        _check_choice("compress", self.compress, _COMPRESSIONS)
        _check_choice("on_full", self.on_full, _WAIT_OR_RAISE)
        _check_choice("on_failure", self.on_failure, _WAIT_OR_RAISE)
        check_timeout(self.timeout)
        _check_kind("inline", self.inline, bool, "True or False")
        _check_kind("restart", self.restart, bool, "True or False")
        _check_kind("sign_each", self.sign_each, bool, "True or False")
        _check_kind("rotation", self.rotation, Rotation, "a Rotation")
        if self.keyring is not None:
            _check_kind("keyring", self.keyring, Keyring, "a Keyring")
        if not callable(self.clock):
            raise ConfigError(f"clock is {self.clock!r}.", hint="Give a function that returns seconds since 1970.")
        if type(self.max_buffer_bytes) is not int or self.max_buffer_bytes < _LEAST_BUFFER:
            raise ConfigError(
                f"max_buffer_bytes is {self.max_buffer_bytes!r}, not a whole number from {_LEAST_BUFFER} on.",
                hint="Give the bytes that may wait to be written.",
            )

    def with_key(self, key: SigningKey) -> Settings:
        """Return these settings with another key; entries under the old one stay known."""
        ring = self.keyring or Keyring()
        return replace(self, key=key, keyring=ring if self.key is None else ring.with_key(self.key))


def folder_of(folder: str | os.PathLike[str] | Store, file_mode: int, folder_mode: int) -> Store:
    """Return the store of a folder."""
    if isinstance(folder, str | os.PathLike):
        for name, mode in (("file_mode", file_mode), ("folder_mode", folder_mode)):
            if type(mode) is not int or mode & ~_MODE_BITS:
                raise ConfigError(f"{name} is {mode!r}.", hint="Give permission bits, such as 0o640.")
        return FileStore(Path(folder), file_mode=file_mode, folder_mode=folder_mode)
    if not isinstance(folder, Store):
        raise ConfigError(f"{folder!r} is no folder.", hint="Give a path, or a store.")
    return folder


def state_of(
    folder: Store, state_dir: str | os.PathLike[str] | Store | None, file_mode: int, folder_mode: int
) -> Store:
    """Return the store of heads and locks."""
    return folder.child(STATE_FOLDER) if state_dir is None else folder_of(state_dir, file_mode, folder_mode)


def check_timeout(timeout: float) -> None:
    """Accept seconds to wait.

    Raises:
        ConfigError: if they are negative or no number.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ConfigError(f"timeout is {timeout!r}.", hint="Give seconds, zero or more.")


def _check_kind(name: str, value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {value!r}.", hint=f"Give {what}.")


def _check_choice(name: str, value: str, choice: tuple[str, ...]) -> None:
    if value not in choice:
        raise ConfigError(f"{name} is {value!r}.", hint=f"Use one of {', '.join(choice)}.")
