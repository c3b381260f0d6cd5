"""Names of streams and keys, and their percent-encoded form for file names (format section 2).

A name stands unescaped inside the JSON of a line, so it holds no character that JSON, a URL query or a terminal
would treat specially, and it is NFC, so it has one spelling. The forbidden characters are written down here and
nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from fapilog_tamper.errors import FormatError

__all__ = [
    "MAX_KEY_ID_BYTES",
    "MAX_STREAM_BYTES",
    "base_stream",
    "check_key_id",
    "check_name",
    "check_stream",
    "percent_decode",
    "percent_encode",
]

MAX_STREAM_BYTES: Final = 180
"""The greatest length of a percent-encoded stream name: it leaves room for suffixes in a 255-byte file name."""

MAX_KEY_ID_BYTES: Final = 128
"""The greatest length of a key id in UTF-8."""

_FORBIDDEN: Final = re.compile(r'[\x00-\x20\x7f-\x9f"\\+%]')
_ESCAPE: Final = re.compile(rb"%([0-9A-F]{2})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_EPOCH: Final = re.compile(r"[^#]+#(?:0|[1-9][0-9]{0,14})")
_DOT: Final = ord(".")
_WRITER_NAME: Final = re.compile(r"(.+?)(?:\.[wr][0-9]+)*", re.DOTALL)


def check_name(text: str, what: str) -> None:
    """Check the rule that streams and key ids share.

    Args:
        text: The name.
        what: What is named, for the message: "stream name", "key_id".

    Raises:
        FormatError: if the name is empty, not NFC, not encodable as UTF-8, or holds a forbidden character.
    """
    if not text:
        raise FormatError(f"{what} is empty.", hint="Give it at least one character.")
    bad = _FORBIDDEN.search(text)
    if bad:
        raise FormatError(
            f"{what} holds U+{ord(bad[0]):04X} at position {bad.start()}.",
            hint='Leave out white space, control characters, ", \\, + and %.',
        )
    if not unicodedata.is_normalized("NFC", text):
        raise FormatError(f"{what} is not NFC.", hint="Normalise it with unicodedata.normalize('NFC', name).")
    _utf8(text, what)


def check_stream(name: str) -> None:
    """Check that `name` can name a stream.

    Names that end in `.w<digits>` or `.r<digits>` pass: they are the writer's own (see `base_stream`).

    Raises:
        FormatError: if the name breaks the rule of `check_name` or is too long.
    """
    check_name(name, "stream name")
    size = len(percent_encode(name))
    if size > MAX_STREAM_BYTES:
        raise FormatError(
            f"stream name is {size} bytes long when percent-encoded.", hint=f"Use at most {MAX_STREAM_BYTES}."
        )


def check_key_id(text: str) -> None:
    """Check that `text` can name a key (format section 2).

    `#` stands only between a name and a decimal epoch: `NAME#EPOCH`.

    Raises:
        FormatError: if the name breaks the rule of `check_name`, is too long, or misuses `#`.
    """
    check_name(text, "key_id")
    size = len(_utf8(text, "key_id"))
    if size > MAX_KEY_ID_BYTES:
        raise FormatError(f"key_id is {size} bytes long.", hint=f"Use at most {MAX_KEY_ID_BYTES} bytes of UTF-8.")
    if "#" in text and not _EPOCH.fullmatch(text):
        raise FormatError(
            "key_id uses # for something else than an epoch.", hint="Write NAME#EPOCH, the epoch as a plain decimal."
        )


def percent_encode(name: str) -> str:
    """Return `name` as a file name stem: all but A-Z a-z 0-9 `-` `_` and inner dots as `%XX`.

    The result has no path separator and is never `.` or `..`, whatever the name.

    Raises:
        FormatError: if the name holds a lone surrogate.
    """
    raw = _utf8(name, "name")
    last = len(raw) - 1
    return "".join(
        chr(byte) if byte in _PLAIN or (byte == _DOT and 0 < at < last) else f"%{byte:02X}"
        for at, byte in enumerate(raw)
    )


def percent_decode(text: str) -> str:
    """Return the name that `percent_encode` writes as `text`.

    Raises:
        FormatError: if `percent_encode` would not write exactly this text.
    """
    try:
        name = _ESCAPE.sub(lambda hit: bytes([int(hit[1], 16)]), text.encode("ascii")).decode("utf-8")
    except ValueError:
        name = None
    if name is None or percent_encode(name) != text:
        raise FormatError(
            "not a percent-encoded name.", hint="Encode all but A-Z a-z 0-9 - _ and inner dots, in upper-case hex."
        )
    return name


def base_stream(name: str) -> str:
    """Return the stream that a writer's own name belongs to: `audit` for `audit.w2`, `audit.r3`, `audit.w2.r3`.

    Any other name is returned as it is. The result is never empty.
    """
    match = _WRITER_NAME.fullmatch(name)
    return match[1] if match else name


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{what} holds a lone surrogate.", hint="Use text that UTF-8 can encode.") from None
