"""Strict text forms of bytes and numbers.

Each decoder accepts exactly the text that its encoder writes: it parses, formats again and compares. So a value
has one spelling, and a changed character is never a second name for the same bytes.
"""

from __future__ import annotations

import binascii
from typing import Final

from fapilog_tamper.errors import EncodingError

__all__ = ["MAX_SEQ", "b64url_decode", "b64url_encode", "decimal_decode", "hex_decode"]

MAX_SEQ: Final = 2**53 - 1
"""The greatest seq, offset or count: the greatest integer that every JSON reader keeps exact."""

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def b64url_encode(data: bytes) -> str:
    """Return base64url text without padding (RFC 4648 section 5)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Return the bytes of base64url text.

    Raises:
        EncodingError: on padding, any other alphabet, white space, an impossible length or non-zero spare bits.
    """
    try:
        raw = text.encode("ascii").translate(_FROM_URL)
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError:
        data = None
    if data is None or b64url_encode(data) != text:
        raise EncodingError("not strict base64url text.", hint="Use RFC 4648 section 5 without padding.")
    return data


def decimal_decode(text: str) -> int:
    """Return the number 0 to `MAX_SEQ` that `text` spells without sign, leading zeros or white space."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_SEQ)) or str(int(text)) != text:
        raise EncodingError("not a plain decimal number.", hint="Write digits only, without leading zeros.")
    if int(text) > MAX_SEQ:
        raise EncodingError(f"number above {MAX_SEQ}.", hint="Numbers in a sealed log are below 2^53.")
    return int(text)


def hex_decode(text: str) -> bytes:
    """Return the bytes of lower-case or upper-case hex text without separators."""
    try:
        data = binascii.unhexlify(text.encode("ascii"))
    except ValueError:
        raise EncodingError("not hex text.", hint="Write two hex digits for each byte.") from None
    if data.hex() != text.lower():
        raise EncodingError("not hex text.", hint="Write two hex digits for each byte.")
    return data
