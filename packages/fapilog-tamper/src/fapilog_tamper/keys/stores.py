"""Key stores: where a keyring looks for a key that it was not given.

A store answers a key_id with bytes. 32 bytes, 64 hex digits or 43 characters of base64url are an HMAC-SHA256 secret;
anything else is the text of a JWK, which names its own algorithm. So a public key, which is not secret, never serves as
an HMAC secret. The key_id comes out of the log that is verified: it is hostile until a key has been found for it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.base import Algorithm, VerifyingKey
from fapilog_tamper.keys.file import KeyFile, find_key_file
from fapilog_tamper.keys.jwk import is_jwk, parse_verifying_material
from fapilog_tamper.names import percent_encode

__all__ = ["EnvKeyStore", "FileKeyStore", "KeyStore", "parse_stored"]

_SUFFIXES: Final = (".pub", ".jwk", ".key")
_NOT_IN_VARIABLE: Final = re.compile(r"[^A-Z0-9]")


class KeyStore(Protocol):
    """Finds key material by key_id."""

    def get_key(self, key_id: str) -> bytes | None:
        """Return the material of `key_id`, or None if this store does not have it.

        Material is an HMAC-SHA256 secret of 32 bytes (raw, as 64 hex digits or as 43 base64url characters) or the
        text of a JWK whose `kid` is `key_id`. Called once for each key_id by each keyring, perhaps from several
        threads, and in worker processes: a store that is given to a verifier must be picklable. May block.

        Args:
            key_id: A name that passes `check_key_id` and was chosen by whoever wrote the log. Never use it as a path
                or in a command without encoding it.

        Raises:
            SealKeyError: there is something under this key_id that cannot be read or is refused. Nothing else.
        """
        ...


@dataclass(frozen=True, slots=True)
class EnvKeyStore:
    """Keys in environment variables: key `audit-2026` in `FAPILOG_TAMPER_KEY_AUDIT_2026`.

    The key_id is upper-cased and each character but A-Z 0-9 becomes `_`. Two key ids may so meet in one variable; a JWK
    there serves only the key that its `kid` names.

    Attributes:
        prefix: What the variables begin with.
    """

    prefix: str = "FAPILOG_TAMPER_KEY_"

    def get_key(self, key_id: str) -> bytes | None:
        """Return the value of the key's variable."""
        value = os.environ.get(self.prefix + _NOT_IN_VARIABLE.sub("_", key_id.upper()))
        return None if value is None else os.fsencode(value)


@dataclass(frozen=True, slots=True)
class FileKeyStore:
    """Keys in the files of one folder: `<key_id>.pub`, `<key_id>.jwk`, `<key_id>.key`, the first that exists.

    In file names the key_id is percent-encoded. A `.pub` file holds a JWK, the others any material. A file with secret
    material that group or others can touch is refused.

    Attributes:
        folder: The folder, as an absolute path.

    Raises:
        SealKeyError: if there is no such folder.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        path = Path(folder).absolute()
        if not path.is_dir():
            raise SealKeyError(f"key folder {path} is not a folder.", hint="Create it, or name another.")
        object.__setattr__(self, "folder", path)

    def get_key(self, key_id: str) -> bytes | None:
        """Return the content of the first file of the key that exists."""
        stem = percent_encode(key_id)
        for suffix in _SUFFIXES:
            found = find_key_file(self.folder / (stem + suffix))
            if found is not None:
                return _checked(found, key_id)
        return None


def parse_stored(raw: bytes, key_id: str) -> VerifyingKey:
    """Return the verifying key that a store's answer stands for.

    Raises:
        SealKeyError: if it is neither a JWK of that key_id nor an HMAC-SHA256 secret.
    """
    return parse_verifying_material(raw, key_id=key_id, algorithm=_algorithm(raw), source=f"stored key {key_id}")


def _algorithm(raw: bytes) -> Algorithm | None:
    return None if is_jwk(raw) else Algorithm.HMAC_SHA256


def _checked(file: KeyFile, key_id: str) -> bytes:
    if file.path.suffix == ".pub" and not is_jwk(file.raw):
        raise SealKeyError(f"key file {file.path} is not a JWK.", hint="Write it with: fapilog-tamper keygen.")
    file.verifying_key(key_id=key_id, algorithm=_algorithm(file.raw))
    return file.raw
