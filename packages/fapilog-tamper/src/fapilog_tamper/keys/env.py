"""The key URI scheme `env:`: material in an environment variable, or in the file that `<variable>_FILE` names.

The second is how containers hand over secrets. It counts only while the variable itself is not set.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.file import KeyFile, read_key_file
from fapilog_tamper.keys.jwk import parse_signing_material, parse_verifying_material

if TYPE_CHECKING:
    from fapilog_tamper.keys.base import SigningKey, VerifyingKey
    from fapilog_tamper.keys.uri import KeyURI

__all__ = ["open_signing_key", "open_verifying_key"]


def open_signing_key(uri: KeyURI) -> SigningKey:
    """Return the signing key in the variable that `uri` names."""
    found = _read(uri.path)
    if isinstance(found, KeyFile):
        return found.signing_key(key_id=uri.key_id, algorithm=uri.algorithm)
    return parse_signing_material(found, key_id=uri.key_id, algorithm=uri.algorithm, source=_source(uri.path))


def open_verifying_key(uri: KeyURI) -> VerifyingKey:
    """Return the verifying key in the variable that `uri` names."""
    found = _read(uri.path)
    if isinstance(found, KeyFile):
        return found.verifying_key(key_id=uri.key_id, algorithm=uri.algorithm)
    return parse_verifying_material(found, key_id=uri.key_id, algorithm=uri.algorithm, source=_source(uri.path))


def _read(variable: str) -> bytes | KeyFile:
    value = os.environ.get(variable)
    if value is not None:
        return os.fsencode(value)
    path = os.environ.get(f"{variable}_FILE")
    if path is None:
        raise SealKeyError(
            f"{_source(variable)} is not set.", hint=f"Set it, or {variable}_FILE to the path of a key file."
        )
    return read_key_file(path, what=f"{variable}_FILE: key file")


def _source(variable: str) -> str:
    return f"environment variable {variable}"
