"""Keys whose material lies in this process: HMAC-SHA256 secrets and Ed25519 pairs, and a provider over them.

`cryptography` is imported when the first Ed25519 key is used, not with this module: a verifier that only has HMAC keys
starts faster without it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.base import Algorithm, SigningKey, VerifyingKey, check_key_id, verifying_half

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "KEY_BYTES",
    "Ed25519SigningKey",
    "Ed25519VerifyingKey",
    "HmacKey",
    "LocalKeyProvider",
    "thumbprint",
]

KEY_BYTES: Final = 32
"""The length of an Ed25519 seed and public key, and the least length of an HMAC secret."""

# The y coordinates of the points of order 1, 2, 4 and 8, canonical or not, sign bit cleared. With such a key a
# signature with S = 0 holds for one message in eight or more, so anyone can sign for it (Chalkias et al., "Taming
# the many EdDSAs", 2020, table 6b). OpenSSL loads them without complaint.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, eq=False)
class HmacKey:
    """An HMAC-SHA256 secret, signing and verifying key in one. Picklable, with its secret.

    Attributes:
        key_id: The name of the key in entries.
        secret: At least 32 bytes; readable because the line verifier prepares its hash contexts from it.

    Raises:
        SealKeyError: if the secret is too short.
        FormatError: if the key_id breaks the rule.
    """

    key_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        if not isinstance(self.secret, bytes) or len(self.secret) < KEY_BYTES:
            raise SealKeyError(
                f"key {self.key_id}: an HMAC-SHA256 secret is at least {KEY_BYTES} bytes.",
                hint="Make a new key with: fapilog-tamper keygen.",
            )

    @property
    def algorithm(self) -> Algorithm:
        """HMAC-SHA256."""
        return Algorithm.HMAC_SHA256

    def sign(self, message: bytes) -> bytes:
        """Return the 32-byte tag."""
        return hmac.digest(self.secret, message, "sha256")

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Return whether `tag` is the tag of `message`, in constant time."""
        return hmac.compare_digest(self.sign(message), tag)

    def verifying_key(self) -> HmacKey:
        """Return this key: who can verify can sign."""
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HmacKey):
            return NotImplemented
        return self.key_id == other.key_id and hmac.compare_digest(self.secret, other.secret)

    def __hash__(self) -> int:
        return hash((self.algorithm, self.key_id, self.secret))


@dataclass(frozen=True, slots=True)
class Ed25519VerifyingKey:
    """An Ed25519 public key (RFC 8032).

    Attributes:
        key_id: The name of the key in entries.
        public: The 32 raw bytes.

    Raises:
        SealKeyError: if `public` is not 32 bytes, or is a point that anyone can sign for.
        FormatError: if the key_id breaks the rule.
    """

    key_id: str
    public: bytes

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        _check_length(self.key_id, self.public, "public key")
        if self.public[:-1] + bytes([self.public[-1] & 0x7F]) in _SMALL_ORDER:
            raise SealKeyError(
                f"key {self.key_id}: the public key is a point of small order; anyone can sign for it.",
                hint="Ask the owner of the key where it comes from.",
            )

    def __repr__(self) -> str:
        return f"Ed25519VerifyingKey(key_id={self.key_id!r}, public={b64url_encode(self.public)!r})"

    @property
    def algorithm(self) -> Algorithm:
        """Ed25519."""
        return Algorithm.ED25519

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Return whether `tag` is a signature of `message`: 64 bytes, S < L."""
        from cryptography.exceptions import InvalidSignature

        try:
            _load_public(self.public).verify(tag, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Ed25519SigningKey:
    """An Ed25519 private key. Not picklable: only its verifying key goes to other processes.

    Attributes:
        key_id: The name of the key in entries.
        seed: The 32 private bytes (RFC 8032 section 5.1.5).
        public: The 32 raw bytes of the public half.

    Raises:
        SealKeyError: if `seed` is not 32 bytes.
        FormatError: if the key_id breaks the rule.
    """

    key_id: str
    seed: bytes = field(repr=False)
    public: bytes = field(init=False, repr=False)
    _private: Ed25519PrivateKey = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        check_key_id(self.key_id)
        _check_length(self.key_id, self.seed, "seed")
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "public", private.public_key().public_bytes_raw())

    @property
    def algorithm(self) -> Algorithm:
        """Ed25519."""
        return Algorithm.ED25519

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._private.sign(message)

    def verifying_key(self) -> Ed25519VerifyingKey:
        """Return the public half."""
        return Ed25519VerifyingKey(self.key_id, self.public)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ed25519SigningKey):
            return NotImplemented
        return self.key_id == other.key_id and hmac.compare_digest(self.seed, other.seed)

    def __hash__(self) -> int:
        return hash((self.algorithm, self.key_id, self.public))


class LocalKeyProvider:
    """A `KeyProvider` over keys in this process.

    Of keys named `NAME#EPOCH` the signing key with the greatest epoch is the current one; others never rotate.

    Args:
        keys: Signing and verifying keys. A signing key serves for verifying too.

    Raises:
        SealKeyError: if one key_id stands for two different keys.
    """

    def __init__(self, keys: Iterable[SigningKey | VerifyingKey]) -> None:
        self._signing: dict[str, SigningKey] = {}
        self._verifying: dict[str, VerifyingKey] = {}
        self._closed = False
        for key in keys:
            self._add(key)

    def __repr__(self) -> str:
        return f"LocalKeyProvider({sorted(self._verifying)})"

    async def get_key(self, key_id: str) -> VerifyingKey:
        """Return the verifying key."""
        return self._find(self._verifying, key_id, "key")

    async def sign(self, key_id: str, message: bytes) -> bytes:
        """Return the tag of `message`."""
        return self._find(self._signing, key_id, "signing key").sign(message)

    async def sign_batch(self, key_id: str, messages: Sequence[bytes]) -> list[bytes]:
        """Return the tags of all messages, in their order."""
        key = self._find(self._signing, key_id, "signing key")
        return [key.sign(message) for message in messages]

    async def verify(self, key_id: str, message: bytes, tag: bytes) -> bool:
        """Return whether `tag` is the tag of `message`."""
        return self._find(self._verifying, key_id, "key").verify(message, tag)

    async def rotate_check(self, key_id: str) -> str | None:
        """Return the key_id with the greatest epoch of the same name, if it is another one that can sign."""
        self._find(self._verifying, key_id, "key")
        name, epoch = _split_epoch(key_id)
        later = [(number, other) for other in self._signing for head, number in [_split_epoch(other)] if head == name]
        number, newest = max(later, default=(epoch, key_id))
        return newest if number > epoch >= 0 else None

    async def close(self) -> None:
        """Forget the keys."""
        self._closed = True
        self._signing.clear()
        self._verifying.clear()

    def _add(self, key: SigningKey | VerifyingKey) -> None:
        half = verifying_half(key)
        if self._verifying.setdefault(half.key_id, half) != half:
            raise SealKeyError(f"key_id {half.key_id} stands for two different keys.", hint="Rename one of them.")
        if isinstance(key, SigningKey):
            self._signing[key.key_id] = key

    def _find(self, keys: Mapping[str, _Key], key_id: str, what: str) -> _Key:
        if self._closed:
            raise SealKeyError("the key provider is closed.", hint="Open a new one.")
        key = keys.get(key_id)
        if key is None:
            raise SealKeyError(f"no {what} with key_id {key_id[:128]!r}.", hint=f"There are: {sorted(keys)}.")
        return key


def thumbprint(key: SigningKey | VerifyingKey) -> str:
    """Return the RFC 7638 thumbprint of a public key as base64url text.

    Raises:
        SealKeyError: for a key without a public half. The hash of a secret is no public name for it.
    """
    half = verifying_half(key)
    if not isinstance(half, Ed25519VerifyingKey):
        raise SealKeyError(f"key {half.key_id}: {half.algorithm} has no public key.", hint="Compare key ids instead.")
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{b64url_encode(half.public)}"}}'
    return b64url_encode(hashlib.sha256(text.encode("ascii")).digest())


@lru_cache(maxsize=256)
def _load_public(public: bytes) -> Ed25519PublicKey:
    # Cached here and not on the key: the loaded object cannot be pickled, the key must be.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public)


def _check_length(key_id: str, material: bytes, what: str) -> None:
    if not isinstance(material, bytes) or len(material) != KEY_BYTES:
        raise SealKeyError(
            f"key {key_id}: an Ed25519 {what} is exactly {KEY_BYTES} bytes.",
            hint="Make a new key with: fapilog-tamper keygen.",
        )


def _split_epoch(key_id: str) -> tuple[str, int]:
    name, mark, epoch = key_id.partition("#")
    return (name, int(epoch)) if mark else (name, -1)
