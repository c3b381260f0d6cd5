"""The exceptions of this package.

    HintedError
    └── TamperError
        ├── EncodingError        text or bytes that do not have the one spelling that is allowed
        │   └── FormatError      an entry, head or manifest that breaks the format (docs/spec/sealed-log.md)
        ├── PayloadError         raw payload bytes that a log must not take
        ├── ConfigError          settings, paths or options that cannot work
        ├── ExamineError         the doctor could not make its examination
        ├── SealKeyError         a key that cannot be found, read, parsed or used
        │   └── PlainKeyError    key material that says neither what it is called nor what it is for
        └── StoreError           the log could not be written or read back
            ├── FullError        so much waits to be written that an event was refused, and counted
            ├── RollbackError    a log holds less, or other things, than what speaks of it says
            └── HeadError        the head of a stream cannot be believed

Every error carries a `hint`: one sentence that says what to do next. `str(error)` ends with it. No message
ever holds key material.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ConfigError",
    "EncodingError",
    "ExamineError",
    "FormatError",
    "FullError",
    "HeadError",
    "HintedError",
    "PayloadError",
    "PlainKeyError",
    "RollbackError",
    "SealKeyError",
    "StoreError",
    "TamperError",
]


class HintedError(Exception):
    """An error that says what to do next; the root of the errors of each of our packages is one."""

    default_hint: ClassVar[str] = "Look the message up in the documentation."

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default loses keyword arguments, and verifying workers send errors between processes.
        return _rebuild, (type(self), self.message, self.hint), self.__dict__


class TamperError(HintedError):
    """Root of all errors that this package raises on purpose."""


class EncodingError(TamperError):
    """Text or bytes are not in the one spelling that is allowed."""

    default_hint = "Use the one spelling that the format allows."


class FormatError(EncodingError):
    """An entry, a head or a manifest breaks the format, or (`newer`) is of a version that is not known here."""

    default_hint = "Only what a sealed log wrote can be read; compare it with a backup."
    newer: bool = False


class PayloadError(TamperError):
    """Raw payload bytes are not what a sealed log may hold."""

    default_hint = "Pass a mapping instead, and the log writes the bytes."


class ConfigError(TamperError):
    """Settings, paths or options cannot work as given."""

    default_hint = "Correct the setting."


class ExamineError(TamperError):
    """The doctor could not make its examination."""

    default_hint = "Mend that, and examine again."


class SealKeyError(TamperError):
    """A key cannot be found, read, parsed or used."""

    default_hint = "Check the key and its URI."


class PlainKeyError(SealKeyError):
    """Key material does not say its key_id and algorithm, and nobody else did."""

    default_hint = "Write them into the key URI, ?kid=K&alg=HMAC-SHA256|Ed25519, or use a JWK."


class StoreError(TamperError):
    """The log could not be written or read back."""

    default_hint = "Check the disk and the folder; the log goes on when it can be written again."
    seqs: tuple[int, ...] = ()
    """The entries whose promise was not kept in time; they may still be stored later."""


class FullError(StoreError):
    """So much waits to be written that the event was refused; it is counted in a `gap` entry."""

    default_hint = "Mend the disk; the number of refused events is put on record when it can be written."


class RollbackError(StoreError):
    """A head, a manifest or another stream speaks of entries that are not there, or are others."""

    default_hint = "Verify the folder; to go on with what is there, on record: fapilog-tamper restore."


class HeadError(StoreError):
    """The head of a stream cannot be read, or was not made by the writer."""

    default_hint = "Verify the folder; to go on with what is there, on record: fapilog-tamper restore."


def _rebuild(kind: type[HintedError], message: str, hint: str) -> HintedError:
    return kind(message, hint=hint)
