"""The keys of a stream at work: who seals and signs which entry.

An HMAC macs each entry. A signature costs thirty microseconds, so entries under such a key carry one only now and
then, unless `sign_each` asks for more; it covers all before it, and the writer adds a `seal` for what stays uncovered.
A key that is not in this process (a KMS) never signs under the engine's mutex: its entries are covered by seals only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import mac_message, prepare_seal
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys.base import Algorithm
from fapilog_tamper.keys.local import Ed25519SigningKey
from fapilog_tamper.payload import control_payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys import SigningKey

__all__ = ["Seal", "Signer"]

Seal = Callable[[bytes, int, bytes], tuple[bytes, bytes]]

PACE: Final = 0.02
"""Seconds between two signatures on lines: under load one entry in some thousand carries one."""


class Signer:
    """Seals for one stream. The engine calls it under its mutex; `key_of` may be called from anywhere."""

    def __init__(self, stream: str, key: SigningKey | None, last_seq: int, *, sign_each: bool = False) -> None:
        self._stream = stream
        self._sign_each = sign_each
        self._keys: list[tuple[int, SigningKey | None]] = []
        self.each: Seal | None = None
        """Seals any entry; None where `pick` must be asked."""
        self.unsigned_since: float | None = None
        self.change(key, last_seq)

    @property
    def key(self) -> SigningKey | None:
        """The key of the next entry."""
        return self._keys[-1][1]

    def key_of(self, seq: int) -> SigningKey | None:
        """Return the key that entry `seq` is sealed under; for entries before this writer's, its first key."""
        return next((key for first, key in reversed(self._keys) if first <= seq), self._keys[0][1])

    def change(self, key: SigningKey | None, last_seq: int) -> None:
        """Seal the entries behind `last_seq` with another key."""
        local = isinstance(key, Ed25519SigningKey)
        signs_late = key is not None and key.algorithm != Algorithm.HMAC_SHA256 and not (local and self._sign_each)
        signed = prepare_seal(self._stream, key)
        self._plain = prepare_seal(self._stream, key, mac=False) if signs_late else signed
        self._signed = signed if local else self._plain
        self._signed_at = 0.0
        self._keys = [*self._keys, (last_seq + 1, key)]
        self.each = None if signs_late else signed
        self.unsigned_since = None

    @contextmanager
    def changing(self, key: SigningKey, last_seq: int) -> Iterator[None]:
        """Change the key; a key that cannot sign in the block was never changed to."""
        before = {name: getattr(self, name) for name in vars(self)}
        self.change(key, last_seq)
        try:
            yield
        except SealKeyError:
            vars(self).update(before)
            raise

    def pick(self, now: float) -> Seal:
        """Return what seals the next entry, at `now` by a clock that only runs forward."""
        if self._signed is not self._plain and now - self._signed_at >= PACE:
            self._signed_at, self.unsigned_since = now, None
            return self._signed
        if self.unsigned_since is None:
            self.unsigned_since = now
        return self._plain

    def with_mac(self) -> Seal:
        """Return what seals an entry that must carry a mac where the key can give one."""
        if self.each is not None:
            return self.each
        if self._signed is not self._plain:
            self.unsigned_since = None
        elif self.unsigned_since is None:
            self.unsigned_since = perf_counter()
        return self._signed

    def seal_payload(self, seq: int, chain: bytes) -> bytes:
        """Return the payload of the `seal` that covers entry `seq` and all before it. May ask a KMS.

        Raises:
            SealKeyError: when the key cannot sign.
        """
        key = self.key_of(seq)
        if key is None:
            raise AssertionError("an unkeyed entry needs no seal")
        return control_payload(
            "seal",
            seq=seq,
            chain_hash=b64url_encode(chain),
            key_id=key.key_id,
            algo=str(key.algorithm),
            mac=b64url_encode(key.sign(mac_message(chain))),
        )
