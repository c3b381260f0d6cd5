"""Signed documents: the common ground of heads and manifests.

A document is a JSON object stored as its own RFC 8785 text and one 0x0A. Reading accepts nothing else, so there are
no two ways to read one: no duplicate members, no white space, no second spelling of a number. Members that this
version does not know are kept and are under the signature.

    tag message = domain ‖ 0x00 ‖ SHA-256( RFC 8785 text of the document without its tag member )
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NoReturn

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.encoding import MAX_SEQ, b64url_decode, b64url_encode
from fapilog_tamper.errors import EncodingError, FormatError
from fapilog_tamper.names import check_key_id, check_stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "MAX_DOCUMENT",
    "Claim",
    "Members",
    "format_claims",
    "format_document",
    "format_time",
    "parse_document",
    "tag_message",
]

MAX_DOCUMENT: Final = 4 << 20
"""Bytes of the largest head or manifest that is read."""

HASH_SIZE: Final = 32
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

Claim = tuple[str, int, bytes]
"""What a head or a manifest says of a stream: entry `seq` has this chain hash."""


def format_time(moment: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.ffffffZ` of an aware UTC time."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_document(members: Mapping[str, object]) -> bytes:
    """Return the stored bytes of a document."""
    return canonicalize(dict(members)) + b"\n"


def format_claims(claims: tuple[Claim, ...]) -> list[dict[str, object]]:
    """Return the member `others` of heads and manifests."""
    return [{"stream": name, "seq": seq, "chain_hash": b64url_encode(chain)} for name, seq, chain in claims]


def parse_document(raw: bytes) -> dict[str, object]:
    """Return the members of a document.

    Raises:
        FormatError: when `raw` is not exactly what `format_document` writes of them.
    """
    if len(raw) > MAX_DOCUMENT:
        raise FormatError(f"longer than {MAX_DOCUMENT} bytes.")
    try:
        members = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or format_document(members) != raw:
        raise FormatError("not the RFC 8785 text of one JSON object and a newline.")
    return members


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def tag_message(domain: bytes, members: Mapping[str, object], tag_member: str) -> bytes:
    """Return the message that the tag of a document is made of."""
    rest = {name: value for name, value in members.items() if name != tag_member}
    return domain + b"\x00" + sha256(canonicalize(rest)).digest()


class Members:
    """Typed reading of a document's members; the first that is not what it must be raises `FormatError`."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def require_version(self, name: str, known: object) -> None:
        """Raise `FormatError`, marked as `newer`, where a version member is of its type and not the known one."""
        value = self._members.get(name)
        if type(value) is type(known) and value != known:
            error = FormatError(f"{name} is {value!r}, which is not known here.", hint="Use a newer release.")
            error.newer = True
            raise error

    def text(self, name: str) -> str:
        """Return a string member."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise FormatError(f"{name} is not a string.")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string member, or None where it is null or absent."""
        return None if self._members.get(name) is None else self.text(name)

    def stream(self, name: str = "stream") -> str:
        """Return a stream name."""
        value = self.text(name)
        check_stream(value)
        return value

    def key_id(self, name: str) -> str | None:
        """Return a key id, or None where the member is absent."""
        if name not in self._members:
            return None
        value = self.text(name)
        check_key_id(value)
        return value

    def number(self, name: str, *, least: int = 0) -> int:
        """Return an integer member from `least` to `MAX_SEQ`."""
        value = self._members.get(name)
        if type(value) is not int or not least <= value <= MAX_SEQ:
            raise FormatError(f"{name} is not a number from {least}.")
        return value

    def raw(self, name: str, size: int | None = HASH_SIZE) -> bytes:
        """Return the bytes of a base64url member of `size` bytes, or of any size where that is None."""
        value = _decode(self.text(name), name)
        if size is not None and len(value) != size:
            raise FormatError(f"{name} does not hold {size} bytes.")
        return value

    def optional_raw(self, name: str) -> bytes | None:
        """Return the bytes of a base64url member of any size, or None where it is absent."""
        return self.raw(name, None) if name in self._members else None

    def time(self, name: str) -> str:
        """Return a time member as it is written."""
        value = self.text(name)
        if not _TIME.fullmatch(value):
            raise FormatError(f"{name} is not a time of the form YYYY-MM-DDTHH:MM:SS.ffffffZ.")
        return value

    def others(self) -> tuple[Claim, ...]:
        """Return what the document says of other streams, sorted by stream, each once; absent is empty."""
        rows = self._members.get("others", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FormatError("others is not a list of objects.")
        read = [Members(row) for row in rows]
        claims = tuple((row.stream(), row.number("seq", least=1), row.raw("chain_hash")) for row in read)
        names = [stream for stream, _, _ in claims]
        if names != sorted(set(names)):
            raise FormatError("others is not sorted by stream, each once.")
        return claims


def _decode(text: str, name: str) -> bytes:
    try:
        return b64url_decode(text)
    except EncodingError:
        raise FormatError(f"{name} is not strict base64url.") from None
