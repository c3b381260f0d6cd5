"""Key material as text or bytes, and the keys it stands for.

A JWK (RFC 7517, RFC 8037) says all about a key:

    {"kty":"oct","kid":"audit-2026","alg":"HS256","k":"<base64url>"}
    {"kty":"OKP","crv":"Ed25519","kid":"audit-2026","alg":"EdDSA","x":"<base64url>"[,"d":"<base64url>"]}

`kid` is required, `alg` may be absent, `Ed25519` (RFC 9864) is read for `EdDSA`, other members are let be. Plain
material is 32 bytes, as they are, as 64 hex digits or as 43 base64url characters; its key_id and algorithm must come
from elsewhere. For verifying, plain Ed25519 material is the public key; for signing, the seed.

No message shows material.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_decode, b64url_encode, hex_decode
from fapilog_tamper.errors import PlainKeyError, SealKeyError
from fapilog_tamper.keys.base import Algorithm, SigningKey, VerifyingKey, verifying_half
from fapilog_tamper.keys.local import KEY_BYTES, Ed25519SigningKey, Ed25519VerifyingKey, HmacKey
from fapilog_tamper.keys.reading import located, parse_object, text_member

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LocalKey",
    "format_private_jwk",
    "format_public_jwk",
    "is_jwk",
    "parse_material",
    "parse_signing_material",
    "parse_verifying_material",
]

LocalKey = HmacKey | Ed25519SigningKey | Ed25519VerifyingKey
"""The keys that material can stand for."""

_SOURCE: Final = "key material"
_JWK_ALGS: Final = {"HS256": Algorithm.HMAC_SHA256, "EdDSA": Algorithm.ED25519, "Ed25519": Algorithm.ED25519}
_HEX_DIGITS: Final = 2 * KEY_BYTES
_SHORT_HEX: Final = re.compile(rb"[0-9A-Fa-f]{32}")
_B64_CHARACTERS: Final = 43


def format_private_jwk(key: SigningKey) -> str:
    """Return the JWK of a local signing key, with its secret, in one line without a line end.

    Raises:
        SealKeyError: if the key's material is not in this process.
    """
    if isinstance(key, HmacKey):
        return _dump({"kty": "oct", "kid": key.key_id, "alg": "HS256", "k": b64url_encode(key.secret)})
    if isinstance(key, Ed25519SigningKey):
        return _dump({**_public_members(key.verifying_key()), "d": b64url_encode(key.seed)})
    raise SealKeyError(f"key {key.key_id}: its material is not here.", hint="Export it where it is kept.")


def format_public_jwk(key: SigningKey | VerifyingKey) -> str:
    """Return the JWK of the public half, in one line without a line end.

    Raises:
        SealKeyError: if the key has no public half, or none that is local.
    """
    half = verifying_half(key)
    if not isinstance(half, Ed25519VerifyingKey):
        raise SealKeyError(
            f"key {half.key_id}: {half.algorithm} here has no public key to write.",
            hint="Use an Ed25519 key where others must verify.",
        )
    return _dump(_public_members(half))


def parse_signing_material(
    raw: bytes, *, key_id: str | None = None, algorithm: Algorithm | None = None, source: str = _SOURCE
) -> SigningKey:
    """Return the signing key that `raw` stands for; see the module text for the forms.

    Args:
        raw: The material.
        key_id: Required for plain material; what the JWK's `kid` must be.
        algorithm: Required for plain material; what the JWK's algorithm must be.
        source: Where the material comes from, to begin a message with. Holds no material.

    Raises:
        SealKeyError: if the material is malformed, incomplete, contradicts the arguments, or is a public key.
    """
    key = parse_material(raw, key_id=key_id, algorithm=algorithm, source=source, seed=True)
    if isinstance(key, Ed25519VerifyingKey):
        raise SealKeyError(f"{source}: a public key cannot sign.", hint="Name the private key, a JWK with a member d.")
    return key


def parse_verifying_material(
    raw: bytes, *, key_id: str | None = None, algorithm: Algorithm | None = None, source: str = _SOURCE
) -> VerifyingKey:
    """Return the verifying key that `raw` stands for; a private JWK gives its public half.

    Arguments and errors as in `parse_signing_material`.
    """
    return verifying_half(parse_material(raw, key_id=key_id, algorithm=algorithm, source=source, seed=False))


def parse_material(raw: bytes, *, key_id: str | None, algorithm: Algorithm | None, source: str, seed: bool) -> LocalKey:
    """Return the key with all that `raw` holds, private half included.

    Args:
        raw: The material.
        key_id: As in `parse_signing_material`.
        algorithm: As in `parse_signing_material`.
        source: As in `parse_signing_material`.
        seed: Whether plain Ed25519 material is the seed, and not the public key.

    Raises:
        SealKeyError: if the material is malformed, incomplete or contradicts the arguments.
    """
    with located(source):
        if is_jwk(raw):
            return _parse_jwk(parse_object(raw), key_id, algorithm)
        data = _parse_plain(raw)
        if key_id is None or algorithm is None:
            missing = [name for name, value in (("key_id", key_id), ("algorithm", algorithm)) if value is None]
            raise PlainKeyError(f"{' and '.join(missing)} missing, and plain material does not say.")
        if algorithm is Algorithm.HMAC_SHA256:
            return HmacKey(key_id, data)
        return Ed25519SigningKey(key_id, data) if seed else Ed25519VerifyingKey(key_id, data)


def is_jwk(raw: bytes) -> bool:
    """Return whether `raw` is meant as a JWK, well-formed or not.

    A secret of 32 random bytes may begin with a brace; a JWK is never so short.
    """
    return len(raw) != KEY_BYTES and raw.lstrip().startswith(b"{")


def _parse_plain(raw: bytes) -> bytes:
    if len(raw) == KEY_BYTES:
        if _SHORT_HEX.fullmatch(raw):
            raise SealKeyError("not a key; 32 hex digits are 16 bytes.", hint="Make a key of 32 bytes: 64 hex digits.")
        return raw
    text = raw.strip().decode("ascii", "replace")
    if len(text) == _HEX_DIGITS:
        return hex_decode(text)
    if len(text) == _B64_CHARACTERS:
        return b64url_decode(text)
    found = f"found {len(raw)} bytes" if text else "it is empty"
    raise SealKeyError(
        f"not a key; {found}.",
        hint="Expected a JWK, 32 raw bytes, 64 hex digits or 43 base64url characters.",
    )


def _parse_jwk(members: Mapping[str, object], key_id: str | None, algorithm: Algorithm | None) -> LocalKey:
    kid = text_member(members, "kid")
    if key_id is not None and kid != key_id:
        raise SealKeyError(f"the JWK's kid is {kid[:128]!r}, expected {key_id!r}.", hint="Name one key in both places.")
    kty = text_member(members, "kty")
    if kty == "oct":
        _check_alg(members, Algorithm.HMAC_SHA256, algorithm)
        return HmacKey(kid, b64url_decode(text_member(members, "k")))
    if kty == "OKP" and members.get("crv") == "Ed25519":
        _check_alg(members, Algorithm.ED25519, algorithm)
        return _parse_okp(members, kid)
    raise SealKeyError("a JWK of another kind.", hint="Use kty oct, or kty OKP with crv Ed25519.")


def _parse_okp(members: Mapping[str, object], kid: str) -> Ed25519SigningKey | Ed25519VerifyingKey:
    public = Ed25519VerifyingKey(kid, b64url_decode(text_member(members, "x")))
    if "d" not in members:
        return public
    private = Ed25519SigningKey(kid, b64url_decode(text_member(members, "d")))
    if private.public != public.public:
        raise SealKeyError("the JWK's d and x belong to different keys.", hint="Make the key anew.")
    return private


def _check_alg(members: Mapping[str, object], found: Algorithm, expected: Algorithm | None) -> None:
    if expected is not None and found is not expected:
        raise SealKeyError(f"the JWK is for {found}, expected {expected}.", hint="Correct one of them.")
    if "alg" in members and _JWK_ALGS.get(text_member(members, "alg")) is not found:
        names = " or ".join(name for name, algorithm in _JWK_ALGS.items() if algorithm is found)
        raise SealKeyError("the JWK's alg does not fit its kty.", hint=f"Write {names}, or leave alg out.")


def _public_members(key: Ed25519VerifyingKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": key.key_id, "alg": "EdDSA", "x": b64url_encode(key.public)}


def _dump(members: Mapping[str, str]) -> str:
    return json.dumps(members, separators=(",", ":"))
