"""Key URIs, and opening the keys they name.

    env:VARIABLE?kid=K&alg=A          file:PATH?kid=K&alg=A          other-scheme:...?kid=K&alg=A

`kid` is the key_id in entries, `alg` is HMAC-SHA256 or Ed25519; both may be left out where the material says them (a
JWK does). Path and values are percent-decoded; in the path only `?` and `%` must be escaped, in values also `&`. A URI
names where a key is and never holds its secret.

Schemes other than `env` and `file` come from installed packages: entry points in the group
`fapilog_tamper.key_providers`, named like the scheme, each giving a `KeyScheme`. They are looked up when a URI asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote, unquote

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import env, file
from fapilog_tamper.keys.base import Algorithm, SigningKey, VerifyingKey, check_key_id, parse_algorithm, verifying_half
from fapilog_tamper.keys.reading import located

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINTS", "KeyScheme", "KeyURI", "anchored_uri", "open_signing_key", "open_verifying_key"]

ENTRY_POINTS: Final = "fapilog_tamper.key_providers"
"""The entry point group in which packages register key URI schemes."""

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE: Final = "/:@!$&'()*+,;=-._~#\\"
_VALUE_SAFE: Final = "/:@-._~"
_CLOUD: Final = frozenset({"awskms", "gcpkms", "azurekms", "hv"})


@dataclass(frozen=True, slots=True)
class KeyURI:
    """A key URI, taken apart. `str(uri)` is its text and `KeyURI.parse(str(uri)) == uri`.

    Attributes:
        scheme: What comes before the first colon, in lower case.
        path: What the scheme finds the key by, percent-decoded.
        key_id: What the key must be called; None where the material says it.
        algorithm: What the key must be used with; None where the material says it.

    Raises:
        SealKeyError: if a part cannot stand in a key URI.
    """

    scheme: str
    path: str
    key_id: str | None = None
    algorithm: Algorithm | None = None

    def __post_init__(self) -> None:
        if not _SCHEME.fullmatch(self.scheme):
            raise SealKeyError(
                "not a key URI: it does not begin with a scheme in lower case.", hint="Write env:VARIABLE or file:PATH."
            )
        _check_path(self.scheme, self.path)
        if self.key_id is not None:
            with located("key URI"):
                check_key_id(self.key_id)

    @classmethod
    def parse(cls, text: str) -> KeyURI:
        """Return the URI that `text` spells.

        Raises:
            SealKeyError: if it is malformed. The message does not repeat the text, which may be a misplaced secret.
        """
        head, _, query = text.partition("?")
        scheme, colon, path = head.partition(":")
        if not colon:
            scheme = ""
        values = _parse_query(query) if "?" in text else {}
        algorithm = parse_algorithm(values["alg"]) if "alg" in values else None
        return cls(scheme, _unquote(path), values.get("kid"), algorithm)

    def __str__(self) -> str:
        values = {"kid": self.key_id, "alg": self.algorithm}
        query = "&".join(f"{name}={quote(value, _VALUE_SAFE)}" for name, value in values.items() if value is not None)
        return f"{self.scheme}:{quote(self.path, _PATH_SAFE, errors='surrogateescape')}{'?' if query else ''}{query}"


@runtime_checkable
class KeyScheme(Protocol):
    """What opens the keys of one URI scheme: any object with these two functions, a module for example.

    Thread-safe. Reads the rest of its configuration (region, address, credentials) from where its service's own tools
    take it, never from the URI.
    """

    def open_signing_key(self, uri: KeyURI) -> SigningKey:
        """Return the signing key that `uri` names.

        Called once, when a log is opened; may block for a network round trip. `uri.key_id` and `uri.algorithm`, where
        given, are what the key must have: the caller checks it.

        Raises:
            SealKeyError: the key cannot be opened; foreign exceptions are translated. Nothing else.
        """
        ...

    def open_verifying_key(self, uri: KeyURI) -> VerifyingKey:
        """Return the verifying key that `uri` names; picklable. Otherwise as `open_signing_key`."""
        ...


def open_signing_key(key: str | SigningKey) -> SigningKey:
    """Return the signing key that a key URI names; a key is returned as it is.

    Raises:
        SealKeyError: if the URI is malformed, its scheme unknown, or the key cannot be found, read or used.
    """
    if not isinstance(key, str):
        return key
    uri = KeyURI.parse(key)
    return _checked(uri, _find_scheme(uri.scheme).open_signing_key(uri))


def open_verifying_key(key: str | VerifyingKey | SigningKey) -> VerifyingKey:
    """Return the verifying key that a key URI names, or the verifying half of a key.

    Raises:
        SealKeyError: if the URI is malformed, its scheme unknown, or the key cannot be found, read or used.
    """
    if not isinstance(key, str):
        return verifying_half(key)
    uri = KeyURI.parse(key)
    return _checked(uri, _find_scheme(uri.scheme).open_verifying_key(uri))


_BUILT_IN: Final[dict[str, KeyScheme]] = {"env": env, "file": file}


def anchored_uri(text: str) -> str:
    """Return a key URI whose path is absolute: a program may change its working folder before it opens the key.

    What is no key URI is returned as it is; that is said when it is opened.
    """
    try:
        uri = KeyURI.parse(text)
    except SealKeyError:
        return text
    if uri.scheme != "file" or uri.path.startswith("/"):
        return text
    return str(replace(uri, path=str(Path(uri.path).absolute())))


def _find_scheme(name: str) -> KeyScheme:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    from importlib.metadata import entry_points

    group = entry_points(group=ENTRY_POINTS)
    entries = {entry.value: entry for entry in group if entry.name == name}
    if not entries:
        raise _unknown_scheme(name, {*_BUILT_IN, *group.names})
    if len(entries) > 1:
        raise SealKeyError(
            f"key URI scheme {name}: several packages provide it: {', '.join(sorted(entries))}.",
            hint="Uninstall all but one.",
        )
    return _load(*entries.values())


def _load(entry: EntryPoint) -> KeyScheme:
    try:
        scheme = entry.load()
    except (ImportError, AttributeError) as error:
        raise SealKeyError(
            f"key URI scheme {entry.name}: {entry.value} cannot be loaded: {error}.",
            hint="Install the package again, with the extra that brings its dependencies.",
        ) from error
    if isinstance(scheme, type) or not isinstance(scheme, KeyScheme):
        raise SealKeyError(
            f"key URI scheme {entry.name}: {entry.value} is not a KeyScheme.",
            hint="Register an object or a module with open_signing_key and open_verifying_key.",
        )
    return scheme


def _unknown_scheme(name: str, known: set[str]) -> SealKeyError:
    hint = f"Known schemes: {', '.join(sorted(known))}."
    if name in _CLOUD:
        hint += f" {name} needs a key provider package that registers it in the entry point group {ENTRY_POINTS}."
    return SealKeyError(f"key URI scheme {name} is not known.", hint=hint)


_AnyKey = TypeVar("_AnyKey", SigningKey, VerifyingKey)


def _checked(uri: KeyURI, key: _AnyKey) -> _AnyKey:
    if uri.key_id not in {None, key.key_id}:
        raise SealKeyError(f"key URI {uri} opened key {key.key_id}.", hint="Correct kid.")
    if uri.algorithm not in {None, key.algorithm}:
        raise SealKeyError(f"key URI {uri} opened a key for {key.algorithm}.", hint="Correct alg.")
    return key


def _parse_query(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in {"kid", "alg"} or name in values or not value:
            raise SealKeyError(
                "key URI: what follows ? is not kid=K, alg=A, or both once.",
                hint="Write ?kid=K&alg=HMAC-SHA256|Ed25519; escape a ? in the path as %3F.",
            )
        values[name] = _unquote(value)
    return values


def _unquote(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise SealKeyError("key URI: a % without two hex digits.", hint="Write %25 for a percent sign.")
    # File names on POSIX are bytes; what is not UTF-8 travels as Python carries it elsewhere.
    return unquote(text, errors="surrogateescape")


def _check_path(scheme: str, path: str) -> None:
    if not path:
        raise SealKeyError(f"key URI {scheme}: names nothing.", hint=f"Write {scheme}:NAME.")
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SealKeyError(f"key URI {scheme}: has a lone surrogate.", hint="Use text that can be encoded.") from None
