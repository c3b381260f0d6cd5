"""Laws of the strict text forms: a value has one spelling, and every other text is refused."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapilog_tamper.encoding import MAX_SEQ, b64url_decode, b64url_encode, decimal_decode, hex_decode
from fapilog_tamper.errors import EncodingError

laws = settings(deadline=None, max_examples=200)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
near_alphabet = st.text(st.sampled_from(ALPHABET + "+/= \n\u00e9\ud800"), max_size=12)


@laws
@given(st.binary(max_size=100))
def test_base64url_comes_back(data: bytes) -> None:
    text = b64url_encode(data)
    assert text.encode() == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert b64url_decode(text) == data


@laws
@given(near_alphabet | st.text(max_size=12))
def test_a_base64url_text_is_refused_or_is_the_only_spelling(text: str) -> None:
    try:
        data = b64url_decode(text)
    except EncodingError:
        return
    assert b64url_encode(data) == text


@laws
@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_character_never_spells_the_same_bytes(data: bytes, draw: st.DataObject) -> None:
    text = b64url_encode(data)
    at = draw.draw(st.integers(0, len(text) - 1))
    other = draw.draw(st.sampled_from(ALPHABET + "+/=").filter(lambda char: char != text[at]))
    with suppress(EncodingError):
        assert b64url_decode(text[:at] + other + text[at + 1 :]) != data


@laws
@given(st.integers(0, MAX_SEQ))
def test_decimal_comes_back(number: int) -> None:
    assert decimal_decode(str(number)) == number


@laws
@given(st.text(st.sampled_from("0123456789 +-_.e\u0663\u00b2"), max_size=18) | st.text(max_size=5))
def test_a_decimal_text_is_refused_or_is_the_only_spelling(text: str) -> None:
    try:
        number = decimal_decode(text)
    except EncodingError:
        return
    assert str(number) == text
    assert 0 <= number <= MAX_SEQ


@laws
@given(st.binary(max_size=50), st.booleans())
def test_hex_comes_back(data: bytes, upper: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    text = data.hex()
    assert hex_decode(text.upper() if upper else text) == data


@laws
@given(st.text(st.sampled_from("0123456789abcdefABCDEF :x\n\u0663"), max_size=8) | st.text(max_size=6))
def test_a_hex_text_is_refused_or_spells_its_bytes(text: str) -> None:
    try:
        data = hex_decode(text)
    except EncodingError:
        return
    assert data.hex() == text.lower()


@laws
@given(st.text(max_size=5))
def test_texts_with_a_character_outside_ascii_are_refused(text: str) -> None:
    for decode in (b64url_decode, decimal_decode, hex_decode):
        with pytest.raises(EncodingError):
            decode(text + "é")
