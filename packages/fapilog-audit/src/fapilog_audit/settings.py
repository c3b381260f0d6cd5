"""The settings of a trail beside its policy, checked once; `AuditTrail` and `AuditSinkConfig` share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fapilog_audit.errors import ConfigError
from fapilog_audit.outbox import Outbox
from fapilog_tamper.errors import HintedError
from fapilog_tamper.keys import Keyring, SigningKey, anchored_uri, open_signing_key
from fapilog_tamper.layout import STATE_FOLDER
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.settings import check_timeout
from fapilog_tamper.writer.promise import Durability, parse_promise

if TYPE_CHECKING:
    from fapilog_audit.event import AuditEvent

__all__ = ["STREAM", "AlertHandler", "Compression", "TrailSettings"]

STREAM: Final = "audit"
"""What the stream of a trail is called, and its files begin with."""

Compression = Literal["none", "gzip", "zstd"]
AlertHandler = Callable[["AuditEvent"], object]
"""Gets an event that is worth an alert, in a thread of the trail's own; may return an awaitable."""

_DEFAULT_FOLDER: Final = Path("audit_logs")
_LEAST_BUFFER: Final = 4096


@dataclass(frozen=True, kw_only=True)
class TrailSettings:
    """What `AuditTrail` was given; its docstring explains each."""

    storage_path: str | os.PathLike[str] | None = None
    name: str | None = None
    key: str | SigningKey | None = None
    old_keys: Sequence[str] = ()
    state_dir: str | os.PathLike[str] | None = None
    durability: Durability | None = None
    timeout: float = 5.0
    inline: bool = True
    max_bytes: int | None = 256 << 20
    compress: Compression = "none"
    max_buffer_bytes: int = 8 << 20
    strict: bool = False
    on_alert: AlertHandler | Sequence[AlertHandler] = ()
    folder: Path = field(init=False, repr=False, compare=False)
    """The folder, as an absolute path."""
    state: Path | None = field(init=False, repr=False, compare=False)
    """The state folder, as an absolute path; None for `.fapilog` in the folder."""

    def __post_init__(self) -> None:
        if self.durability is not None:
            _checked("durability", lambda: parse_promise(str(self.durability)))
        _checked("timeout", lambda: check_timeout(self.timeout))
        _checked("max_bytes", lambda: self.rotation)
        _require("compress", self.compress, self.compress in get_args(Compression), "one of none, gzip, zstd")
        buffer = self.max_buffer_bytes
        _require(
            "max_buffer_bytes",
            buffer,
            type(buffer) is int and buffer >= _LEAST_BUFFER,
            f"the bytes of events that may wait for the disk, {_LEAST_BUFFER} or more",
        )
        _require("inline", self.inline, isinstance(self.inline, bool), "True or False")
        _require("strict", self.strict, isinstance(self.strict, bool), "True or False")
        key, old = self.key, self.old_keys
        _require("key", "not shown", key is None or isinstance(key, str | SigningKey), "a key URI or a signing key")
        listed = isinstance(old, Sequence) and not isinstance(old, str) and all(isinstance(one, str) for one in old)
        _require("old_keys", "not shown", listed, "a list of key URIs")
        named = self.name is None or _is_name(self.name)
        _require("name", self.name, named, "letters, digits, - and _, with dots between them")
        for name in ("storage_path", "state_dir"):
            path = getattr(self, name)
            _require(name, path, path is None or _is_path(path), "the path of a folder; . is the working folder")
        handlers = self.on_alert
        several = isinstance(handlers, Sequence) and not isinstance(handlers, str)
        _require("on_alert", handlers, callable(handlers) or several, "functions that take an event")
        for handler in self.handlers:
            _require("on_alert", handler, callable(handler), "functions that take an event")
        # Now: a program may change its working folder before the first event.
        state = None if self.state_dir is None else Path(self.state_dir).absolute()
        anchored = {"key": _anchored(self.key), "old_keys": tuple(map(_anchored, self.old_keys)), "state": state}
        for name, value in {"folder": self.place.absolute(), **anchored}.items():
            object.__setattr__(self, name, value)

    @property
    def place(self) -> Path:
        """The folder of the trail, as it was given."""
        if self.storage_path is not None:
            return Path(self.storage_path)
        return _DEFAULT_FOLDER if self.name is None else _DEFAULT_FOLDER / self.name

    @property
    def rotation(self) -> Rotation:
        """When a file is closed and the next begun."""
        return Rotation(max_bytes=self.max_bytes)

    @property
    def handlers(self) -> tuple[AlertHandler, ...]:
        """Who hears of alerts."""
        return (self.on_alert,) if callable(self.on_alert) else tuple(self.on_alert)

    @property
    def outbox(self) -> Outbox:
        """The outbox, for a trail with a backend."""
        return Outbox(self.folder / STATE_FOLDER if self.state is None else self.state)

    def open_key(self) -> SigningKey | None:
        """Return the key that events are sealed under; raises SealKeyError."""
        return None if self.key is None else open_signing_key(self.key)

    def keyring(self) -> Keyring | None:
        """Return the keys of this trail, old ones included; None without any."""
        ring = Keyring(self.old_keys) if self.old_keys else None
        key = self.open_key()
        if key is None:
            return ring
        return Keyring([key]) if ring is None else ring.with_key(key)

    def differences(self, given: dict[str, Any]) -> list[str]:
        """Return which of these settings are others than given; a path is the same however it is written."""
        other = replace(self, **given)
        places = {"storage_path": "folder", "state_dir": "state"}
        return [
            name for name in given if getattr(self, places.get(name, name)) != getattr(other, places.get(name, name))
        ]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the settings."""
        return tuple(each.name for each in fields(cls) if each.init)


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= 100  # noqa: PLR2004 (leaves room in 255 bytes of a file name)
        and name.isascii()
        and all(part and part.replace("-", "").replace("_", "").isalnum() for part in name.split("."))
    )


def _anchored(key: object) -> object:
    return anchored_uri(key) if isinstance(key, str) else key


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)


def _require(name: str, value: object, right: bool, what: str) -> None:  # noqa: FBT001 (the answer to a check)
    if not right:
        raise ConfigError(f"{name} is {value!r:.80}.", hint=f"Give {what}.")


def _checked(name: str, check: Callable[[], object]) -> None:
    try:
        check()
    except HintedError as error:
        raise ConfigError(f"{name}: {error.message}", hint=error.hint) from None
