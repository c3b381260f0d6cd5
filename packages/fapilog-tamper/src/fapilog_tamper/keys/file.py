"""Key files, and the key URI scheme `file:`.

A file with secret material is read only if nobody but its owner can touch it (POSIX; other systems keep access
rights elsewhere, and nothing is checked there). What is checked is the opened file, not its name, so it cannot be
exchanged between check and use.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.base import Algorithm, SigningKey, VerifyingKey, verifying_half
from fapilog_tamper.keys.jwk import parse_material, parse_signing_material
from fapilog_tamper.keys.local import Ed25519VerifyingKey

if TYPE_CHECKING:
    from fapilog_tamper.keys.uri import KeyURI

__all__ = [
    "MAX_KEY_FILE",
    "KeyFile",
    "find_key_file",
    "open_signing_key",
    "open_verifying_key",
    "read_key_file",
]

MAX_KEY_FILE: Final = 64 * 1024
"""Bytes of the largest key file that is read."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENAMETOOLONG})
# Without O_NONBLOCK the open of a FIFO waits for a writer.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The content of a file that holds a key, and the mode it had when it was opened."""

    path: Path
    raw: bytes = field(repr=False)
    mode: int

    def signing_key(self, *, key_id: str | None = None, algorithm: Algorithm | None = None) -> SigningKey:
        """Return the signing key in the file; see `parse_signing_material`.

        Raises:
            SealKeyError: if others can touch the file, or the content is not such a key.
        """
        # First what it is: whoever gives a public key should hear that, and not of its mode.
        key = parse_signing_material(self.raw, key_id=key_id, algorithm=algorithm, source=self._source)
        self._check_private()
        return key

    def verifying_key(self, *, key_id: str | None = None, algorithm: Algorithm | None = None) -> VerifyingKey:
        """Return the verifying key in the file; see `parse_verifying_material`.

        Raises:
            SealKeyError: if the file holds secret material and others can touch it, or the content is not a key.
        """
        key = parse_material(self.raw, key_id=key_id, algorithm=algorithm, source=self._source, seed=False)
        if not isinstance(key, Ed25519VerifyingKey):
            self._check_private()
        return verifying_half(key)

    @property
    def _source(self) -> str:
        return f"key file {self.path}"

    def _check_private(self) -> None:
        if os.name == "posix" and self.mode & _OTHERS:
            raise SealKeyError(
                f"{self._source} is read as a private key and has mode {stat.S_IMODE(self.mode):04o}.",
                hint=f"Run: chmod 600 {shlex.quote(str(self.path))}",
            )


def read_key_file(path: str | os.PathLike[str], *, what: str = "key file") -> KeyFile:
    """Return the content of a key file.

    Args:
        path: The file.
        what: What it is, for the messages.

    Raises:
        SealKeyError: if it does not exist, cannot be read, is not a regular file or is larger than `MAX_KEY_FILE`.
    """
    found = find_key_file(path, what=what)
    if found is None:
        raise SealKeyError(f"{what} {os.fspath(path)} does not exist.", hint="Check the path.")
    return found


def find_key_file(path: str | os.PathLike[str], *, what: str = "key file") -> KeyFile | None:
    """Return the content of a key file, or None if there is none of that name. Otherwise as `read_key_file`."""
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            return _read(descriptor, Path(path), what)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _ABSENT:
            return None
        reason = error.strerror if isinstance(error, OSError) else error
        raise SealKeyError(
            f"{what} {os.fspath(path)!r} cannot be read: {reason}.", hint="Check the path and its access rights."
        ) from error


def open_signing_key(uri: KeyURI) -> SigningKey:
    """Return the signing key in the file that `uri` names."""
    return read_key_file(_path(uri)).signing_key(key_id=uri.key_id, algorithm=uri.algorithm)


def open_verifying_key(uri: KeyURI) -> VerifyingKey:
    """Return the verifying key in the file that `uri` names."""
    return read_key_file(_path(uri)).verifying_key(key_id=uri.key_id, algorithm=uri.algorithm)


def _read(descriptor: int, path: Path, what: str) -> KeyFile:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise SealKeyError(f"{what} {path} is not a regular file.", hint="Name a file.")
    with open(descriptor, "rb", closefd=False) as file:
        raw = file.read(MAX_KEY_FILE + 1)
    if len(raw) > MAX_KEY_FILE:
        raise SealKeyError(f"{what} {path} is larger than {MAX_KEY_FILE} bytes.", hint="Name a file with a key.")
    return KeyFile(path, raw, mode)


def _path(uri: KeyURI) -> str:
    path = uri.path
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host not in {"", "localhost"}:
            raise SealKeyError(
                f"key URI {uri} names the host {host}.", hint="Write file:PATH, or file:///PATH with three slashes."
            )
        path = slash + rest
    return path
