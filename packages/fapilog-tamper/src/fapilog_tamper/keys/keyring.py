"""The keyring: the keys that a verifier trusts, and what for.

The keyring decides, never the entry (format section 4): an entry names a key_id, and the keyring alone says which key,
algorithm, streams and seqs go with it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import FormatError, SealKeyError
from fapilog_tamper.keys.base import SigningKey, VerifyingKey, check_key_id
from fapilog_tamper.keys.stores import KeyStore, parse_stored
from fapilog_tamper.keys.trust import Macs, TrustedKey, check_origins, format_trust_file, parse_trust_file, trusted

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Keyring", "Macs", "TrustedKey", "format_trust_file"]

_MAX_MISSES: Final = 1024


class Keyring:
    """Verifying keys by key_id, from a list and from stores.

    One keyring serves one run of a verifier: what it answered once it answers again, whatever happens to its stores
    meanwhile. May be asked from several threads; picklable, if its keys and stores are.

    Args:
        keys: Key URIs and keys trusted for every stream, or `TrustedKey` for less.
        stores: Asked in order for a key_id that is not among `keys`; what they have is trusted for every stream.
        origins: Stream name to the chain_hash (base64url) of its entry 1, where the caller knows it.

    Raises:
        SealKeyError: if a key cannot be opened, one key_id stands for two keys or is trusted on two terms, or an origin
            is malformed.
    """

    def __init__(
        self,
        keys: Iterable[str | SigningKey | VerifyingKey | TrustedKey] = (),
        *,
        stores: Iterable[KeyStore] = (),
        origins: Mapping[str, str] | None = None,
    ) -> None:
        self._keys: dict[str, TrustedKey] = {}
        self._found: dict[str, TrustedKey] = {}
        self._missing: set[str] = set()
        self._stores = tuple(stores)
        self._origins = check_origins(origins or {})
        for key in [keys] if isinstance(keys, str) else keys:
            self._add(trusted(key))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Keyring:
        """Return the keyring that a trust file describes; `fapilog_tamper.keys.trust` has the format.

        Raises:
            SealKeyError: if the file cannot be read, breaks the format, or a key in it cannot be opened.
        """
        keys, origins = parse_trust_file(path)
        return cls(keys, origins=origins)

    def with_key(self, key: SigningKey | VerifyingKey) -> Keyring:
        """Return a keyring that has this key, too; a key_id that is known keeps its terms.

        Raises:
            SealKeyError: if its key_id stands for another key here.
        """
        known = self.get(key.key_id)
        more = Keyring([*self, *([] if known is not None else [key])], stores=self._stores, origins=self._origins)
        if known is not None and known.key != trusted(key).key:
            raise SealKeyError(f"key_id {key.key_id} stands for two different keys.", hint="Give only the right one.")
        return more

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The key ids that were given, sorted; those in stores are not listed."""
        return tuple(sorted(self._keys))

    @property
    def origins(self) -> Mapping[str, str]:
        """Stream name to the chain_hash of its entry 1."""
        return MappingProxyType(self._origins)

    def get(self, key_id: str) -> TrustedKey | None:
        """Return the key of that name, or None. May block the first time, while stores are asked.

        Args:
            key_id: As the log has it, however hostile.

        Raises:
            SealKeyError: a store has something under this name that is not a usable key.
        """
        known = self._keys.get(key_id) or self._found.get(key_id)
        if known is not None or not self._stores or key_id in self._missing:
            return known
        found = self._ask_stores(key_id)
        if found is not None:
            return self._found.setdefault(key_id, found)
        if len(self._missing) >= _MAX_MISSES:
            self._missing = set()
        self._missing.add(key_id)
        return None

    def __len__(self) -> int:
        return len(self._keys)

    def __bool__(self) -> bool:
        return bool(self._keys or self._stores)

    def __iter__(self) -> Iterator[TrustedKey]:
        return iter(self._keys.values())

    def __repr__(self) -> str:
        return f"Keyring(keys={list(self.key_ids)}, stores={list(self._stores)}, origins={sorted(self._origins)})"

    def _add(self, key: TrustedKey) -> None:
        known = self._keys.setdefault(key.key_id, key)
        if known.key != key.key:
            raise SealKeyError(f"key_id {key.key_id} stands for two different keys.", hint="Give only the right one.")
        if known != key:
            raise SealKeyError(
                f"key_id {key.key_id} is trusted on two different terms.", hint="Give it once, with all its streams."
            )

    def _ask_stores(self, key_id: str) -> TrustedKey | None:
        try:
            check_key_id(key_id)
        except FormatError:
            return None
        for store in self._stores:
            raw = store.get_key(key_id)
            if raw is not None:
                return TrustedKey(parse_stored(raw, key_id))
        return None
