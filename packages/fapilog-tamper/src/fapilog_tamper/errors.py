"""The exceptions of this package.

    TamperError
    ├── EncodingError        text or bytes that do not have the one spelling that is allowed
    │   └── FormatError      an entry, head or manifest that breaks the format (docs/spec/sealed-log.md)
    ├── PayloadError         raw payload bytes that a log must not take
    ├── ConfigError          settings, paths or options that cannot work
    ├── SealKeyError         a key that cannot be found, read, parsed or used
    └── StoreError           the log could not be written or read back

Every error carries a `hint`: one sentence that says what to do next. `str(error)` ends with it. No message
ever holds key material.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "EncodingError",
    "FormatError",
    "PayloadError",
    "SealKeyError",
    "StoreError",
    "TamperError",
]


class TamperError(Exception):
    """Root of all errors that this package raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # The default loses keyword arguments, and verifying workers send errors between processes.
        return _rebuild, (type(self), self.message, self.hint)


class EncodingError(TamperError):
    """Text or bytes are not in the one spelling that is allowed."""


class FormatError(EncodingError):
    """An entry, a head or a manifest breaks the format, or (`newer`) is of a version that is not known here."""

    newer: bool = False


class PayloadError(TamperError):
    """Raw payload bytes are not what a sealed log may hold."""


class ConfigError(TamperError):
    """Settings, paths or options cannot work as given."""


class SealKeyError(TamperError):
    """A key cannot be found, read, parsed or used."""


class StoreError(TamperError):
    """The log could not be written or read back."""


def _rebuild(kind: type[TamperError], message: str, hint: str) -> TamperError:
    return kind(message, hint=hint)
