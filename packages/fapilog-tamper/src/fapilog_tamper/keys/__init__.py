"""Keys: the contracts, local keys, key URIs, the keyring.

Importing this package imports neither `cryptography` nor `importlib.metadata`; they come with the first Ed25519 key and
the first key URI of a scheme that is not built in.
"""

from __future__ import annotations

from fapilog_tamper.keys.base import (
    Algorithm,
    KeyProvider,
    SigningKey,
    VerifyingKey,
    check_key_id,
    parse_algorithm,
    verifying_half,
)
from fapilog_tamper.keys.jwk import (
    format_private_jwk,
    format_public_jwk,
    parse_signing_material,
    parse_verifying_material,
)
from fapilog_tamper.keys.keygen import generate_key, write_key_files
from fapilog_tamper.keys.keyring import Keyring, Macs, TrustedKey, format_trust_file
from fapilog_tamper.keys.local import Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, LocalKeyProvider, thumbprint
from fapilog_tamper.keys.stores import EnvKeyStore, FileKeyStore, KeyStore
from fapilog_tamper.keys.uri import KeyScheme, KeyURI, anchored_uri, open_signing_key, open_verifying_key

__all__ = [
    "Algorithm",
    "Ed25519SigningKey",
    "Ed25519VerifyingKey",
    "EnvKeyStore",
    "FileKeyStore",
    "HmacKey",
    "KeyProvider",
    "KeyScheme",
    "KeyStore",
    "KeyURI",
    "Keyring",
    "LocalKeyProvider",
    "Macs",
    "SigningKey",
    "TrustedKey",
    "VerifyingKey",
    "anchored_uri",
    "check_key_id",
    "format_private_jwk",
    "format_public_jwk",
    "format_trust_file",
    "generate_key",
    "open_signing_key",
    "open_verifying_key",
    "parse_algorithm",
    "parse_signing_material",
    "parse_verifying_material",
    "thumbprint",
    "verifying_half",
    "write_key_files",
]
