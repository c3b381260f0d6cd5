"""The contracts of keys: signing key, verifying key, provider; and the names of algorithms and keys.

A key signs or verifies the tag of section 4 of the format: `tag(message)`, bytes in, bytes out. It knows nothing of
entries, heads or manifests; whoever calls it builds the message. The algorithm belongs to the key and is never taken
from what is verified.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.names import check_key_id

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Algorithm",
    "KeyProvider",
    "SigningKey",
    "VerifyingKey",
    "check_key_id",
    "parse_algorithm",
    "verifying_half",
]

_WITHOUT_KEYS: Final = frozenset({"ECDSA-P256-SHA256", "RSA-PSS-SHA256", "ML-DSA-44"})


class Algorithm(StrEnum):
    """The algorithms that have keys. The format names more (section 4); a later release may open keys for them."""

    HMAC_SHA256 = "HMAC-SHA256"
    ED25519 = "Ed25519"


@runtime_checkable
class SigningKey(Protocol):
    """A key that can make tags: a private key, a shared secret, or a handle to one in a KMS.

    Thread-safe: the writer thread, callers that write inline and shutdown code may sign at the same time. Belongs
    to no event loop. Need not be picklable. Its `repr` never shows key material.
    """

    @property
    def key_id(self) -> str:
        """The name of the key in entries; constant, passes `check_key_id`. A provider's key version belongs in it."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """The one algorithm that this key is used with; constant."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the tag of `message`: 32 bytes for HMAC-SHA256, 64 for Ed25519.

        Blocks for microseconds (local keys) or for a network round trip (KMS); the caller decides how often it signs.
        A provider does its own retries and time-outs and leaves nothing half-done: signing has no effect elsewhere,
        so a caller may always ask again.

        Raises:
            SealKeyError: the key cannot sign now (revoked, unreachable, no permission). Nothing else.
        """
        ...

    def verifying_key(self) -> VerifyingKey:
        """Return the half that checks what this key signs: same key_id and algorithm. For a shared secret, itself.

        May block like `sign` on its first call.

        Raises:
            SealKeyError: the public half cannot be fetched.
        """
        ...


@runtime_checkable
class VerifyingKey(Protocol):
    """A key that can check tags.

    Thread-safe, and picklable together with all it needs, because verification runs in worker processes. Keys are
    equal when algorithm, key_id and material are. Its `repr` never shows a secret.
    """

    @property
    def key_id(self) -> str:
        """The name of the key in entries; constant, passes `check_key_id`."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """The one algorithm that this key is used with; constant."""
        ...

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Return whether `tag` is this key's tag of `message`.

        A tag of any length and content, however hostile, is answered with False and never with an exception. Compares
        in constant time where a secret is involved.

        Raises:
            SealKeyError: only a remote key, and only when it could not be asked at all. That is no verdict: the
                caller must report the entry as not checked.
        """
        ...


class KeyProvider(Protocol):
    """A place that holds several keys and may rotate them: a local set, a KMS, a Vault.

    All methods but `close` may be called at the same time from one event loop; a provider belongs to the loop that
    first used it. Every method raises `SealKeyError` for a key_id it does not have, for a refused operation and for
    an unreachable service (after its own retries), and nothing else.
    """

    async def get_key(self, key_id: str) -> VerifyingKey:
        """Return the verifying key; providers cache it, so the second call is cheap."""
        ...

    async def sign(self, key_id: str, message: bytes) -> bytes:
        """Return the tag of `message`. Has no effect elsewhere, so a caller may ask again after an error."""
        ...

    async def sign_batch(self, key_id: str, messages: Sequence[bytes]) -> list[bytes]:
        """Return one tag for each message, in their order: all of them, or an error and none.

        Costs as few round trips as the service allows. An empty batch gives an empty list.
        """
        ...

    async def verify(self, key_id: str, message: bytes, tag: bytes) -> bool:
        """Return whether `tag` is the tag of `message`; a bad tag is False, never an error."""
        ...

    async def rotate_check(self, key_id: str) -> str | None:
        """Return the key_id that new entries should use instead, or None while `key_id` is current.

        Cheap enough to be called once a minute. The old key keeps verifying after a rotation.
        """
        ...

    async def close(self) -> None:
        """Release connections. Idempotent; after it every other method raises `SealKeyError`."""
        ...


def parse_algorithm(text: str) -> Algorithm:
    """Return the algorithm named `text`.

    Raises:
        SealKeyError: if there is no such algorithm, or no key for it can be opened.
    """
    choice = " or ".join(Algorithm)
    if text in _WITHOUT_KEYS:
        raise SealKeyError(f"no key for algorithm {text} can be opened by this version.", hint=f"Use {choice}.")
    try:
        return Algorithm(text)
    except ValueError:
        raise SealKeyError(f"{text[:40]!r} is not the name of an algorithm.", hint=f"Use {choice}.") from None


def verifying_half(key: SigningKey | VerifyingKey) -> VerifyingKey:
    """Return the verifying key of a signing key, and a verifying key as it is."""
    return key.verifying_key() if isinstance(key, SigningKey) else key
