"""Making keys and writing them to files."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.base import Algorithm
from fapilog_tamper.keys.jwk import format_private_jwk, format_public_jwk
from fapilog_tamper.keys.local import KEY_BYTES, Ed25519SigningKey, HmacKey
from fapilog_tamper.store.durable import sync_file, sync_folder, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys.base import SigningKey

__all__ = ["generate_key", "write_key_files"]

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


def generate_key(algorithm: Algorithm, key_id: str) -> HmacKey | Ed25519SigningKey:
    """Return a new key from the system's random numbers.

    Raises:
        FormatError: if the key_id breaks the rule.
    """
    material = os.urandom(KEY_BYTES)
    return HmacKey(key_id, material) if algorithm is Algorithm.HMAC_SHA256 else Ed25519SigningKey(key_id, material)


def write_key_files(path: str | os.PathLike[str], key: SigningKey) -> list[Path]:
    """Write a local key to new files, durably: the private JWK to `path`, an Ed25519 public JWK to `path` + `.pub`.

    The private file has mode 0600 from the moment it exists, the public one 0644.

    Returns:
        The files that were written.

    Raises:
        SealKeyError: if one of the files exists, cannot be written, or the key's material is not in this process.
            Nothing that this call wrote remains.
    """
    private = Path(path)
    texts = {private: (format_private_jwk(key), _PRIVATE)}
    if key.algorithm is Algorithm.ED25519:
        texts[Path(f"{private}.pub")] = (format_public_jwk(key), _PUBLIC)
    for file in texts:
        if os.path.lexists(file):
            raise _exists(file)
    written: list[Path] = []
    try:
        for file, (text, mode) in texts.items():
            with _translated(file):
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                written.append(file)
                _write(descriptor, f"{text}\n", mode)
        with _translated(private):
            sync_folder(private.parent)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise
    return written


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise SealKeyError(
            f"key file {file} cannot be written: {error.strerror}.", hint="Check the folder and the free space."
        ) from error


def _write(descriptor: int, text: str, mode: int) -> None:
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)  # open() is subject to the umask
        write_all(descriptor, text.encode("ascii"))
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def _exists(file: Path) -> SealKeyError:
    return SealKeyError(f"key file {file} exists; nothing was written.", hint="Choose another name, or move it away.")
