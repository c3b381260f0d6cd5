"""The strict text forms, row by row."""

from __future__ import annotations

import pytest

from fapilog_tamper.encoding import MAX_SEQ, b64url_decode, b64url_encode, decimal_decode, hex_decode
from fapilog_tamper.errors import EncodingError


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xfb\xff\xbf", "-_-_"), (bytes(32), "A" * 43)],
)
def test_base64url_has_no_padding_and_the_url_alphabet(data: bytes, text: str) -> None:
    assert b64url_encode(data) == text
    assert b64url_decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        *("Zg==", "Zm8=", "=", "Zg=", "Zm9v====", "=Zg"),  # padding
        *("+/+/", "Zm8+", "Zm/v"),  # the other alphabet
        *("Zh", "Zv", "Zm9", "Z_"),  # spare bits that are not zero
        *("Z", "Zm9vZ", "A" * 41),  # lengths that no bytes have
        *("Zg\n", " Zg", "Zm 9v", "Zm9v\r\n", "\tZg", "Zm\x009v"),  # white space and control characters
        *("Zé", "\ud800", "\uff3ag", "Zg.", "Zg!"),  # no alphabet at all
    ],
)
def test_base64url_refuses_every_other_text(text: str) -> None:
    with pytest.raises(EncodingError, match="base64url"):
        b64url_decode(text)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("10", 10), (str(MAX_SEQ), MAX_SEQ)])
def test_decimal(text: str, number: int) -> None:
    assert decimal_decode(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", "01", "+1", "-1", "-0", " 1", "1 ", "1\n", "1_0", "1.0", "1e3", "0x1", "a"),
        *("\u0661", "\u00b2", "\uff11", str(MAX_SEQ + 1), "99999999999999999", "9" * 5000),
    ],
)
def test_decimal_refuses_every_other_text(text: str) -> None:
    with pytest.raises(EncodingError):
        decimal_decode(text)


def test_decimal_names_the_bound() -> None:
    with pytest.raises(EncodingError, match="9007199254740991"):
        decimal_decode(str(MAX_SEQ + 1))


@pytest.mark.parametrize(("text", "data"), [("", b""), ("00ff", b"\x00\xff"), ("00FF", b"\x00\xff"), ("aB", b"\xab")])
def test_hex(text: str, data: bytes) -> None:
    assert hex_decode(text) == data


@pytest.mark.parametrize("text", ["0", "0g", "00 ff", "00:ff", "0x00", " 00", "00\n", "é0", "\uff10\uff10", "\ud800"])
def test_hex_refuses_every_other_text(text: str) -> None:
    with pytest.raises(EncodingError, match="hex"):
        hex_decode(text)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(EncodingError) as caught:
        b64url_decode("Zg==")
    assert caught.value.hint
