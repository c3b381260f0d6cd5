from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fapilog_tamper.errors import FormatError
from fapilog_tamper.names import (
    base_stream,
    check_key_id,
    check_name,
    check_stream,
    percent_decode,
    percent_encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FORBIDDEN = [chr(n) for n in (*range(0x21), *range(0x7F, 0xA0))] + list('"\\+%')


@pytest.mark.parametrize("char", FORBIDDEN, ids=lambda char: f"U+{ord(char):04X}")
@pytest.mark.parametrize("check", [check_stream, check_key_id])
def test_each_forbidden_character_is_named(check: Callable[[str], None], char: str) -> None:
    for name in (f"a{char}b", char, f"{char}a", f"a{char}"):
        with pytest.raises(FormatError, match=rf"U\+{ord(char):04X} at position {name.index(char)}"):
            check(name)


@pytest.mark.parametrize("name", ["a", "!", "~", "\xa1", "é", "漢", "😀", "a/b", "a:b", "..", "'", "&", "=", "?"])
def test_other_characters_are_allowed(name: str) -> None:
    check_stream(name)
    check_key_id(name)


@pytest.mark.parametrize(
    ("name", "reason"), [("", "empty"), ("e\u0301", "not NFC"), ("\u212b", "not NFC"), ("a\ud800", "lone surrogate")]
)
@pytest.mark.parametrize("check", [check_stream, check_key_id])
def test_names_have_one_spelling(check: Callable[[str], None], name: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        check(name)


def test_a_lone_surrogate_is_no_name() -> None:
    with pytest.raises(FormatError, match="tenant holds a lone surrogate"):
        check_name("a\udcff", "tenant")


def test_the_message_says_what_is_named() -> None:
    with pytest.raises(FormatError, match=r"^tenant is empty\. Give"):
        check_name("", "tenant")


def test_a_stream_has_at_most_180_bytes_percent_encoded() -> None:
    check_stream("a" * 180)
    check_stream("é" * 30)
    for name in ("a" * 181, "é" * 30 + "a"):
        with pytest.raises(FormatError, match="181 bytes"):
            check_stream(name)


def test_a_key_id_has_at_most_128_bytes() -> None:
    check_key_id("a" * 128)
    check_key_id("é" * 64)
    for name in ("a" * 129, "é" * 64 + "a"):
        with pytest.raises(FormatError, match="129 bytes"):
            check_key_id(name)


@pytest.mark.parametrize("name", ["k#0", "k#1", "k#20", "audit-2026#999"])
def test_hash_stands_before_an_epoch(name: str) -> None:
    check_key_id(name)


@pytest.mark.parametrize(
    "name", ["#", "#1", "k#", "k#01", "k#x", "k#1x", "k#1#2", "k##1", "k#-1", "k#\u0661", "k#1\u2028"]
)
def test_hash_stands_nowhere_else(name: str) -> None:
    with pytest.raises(FormatError, match="epoch"):
        check_key_id(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", ""),
        ("audit", "audit"),
        ("a.b-c_D9", "a.b-c_D9"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (".a.", "%2Ea%2E"),
        ("a..b", "a..b"),
        ("../x", "%2E.%2Fx"),
        ("é", "%C3%A9"),
        ("a b%", "a%20b%25"),
    ],
)
def test_percent_encoding(name: str, text: str) -> None:
    assert percent_encode(name) == text
    assert percent_decode(text) == name


@given(st.text())
@example("a\x00/")
def test_percent_encoding_has_an_inverse(name: str) -> None:
    text = percent_encode(name)
    assert percent_decode(text) == name
    assert "/" not in text
    assert "\\" not in text
    assert text not in {".", ".."}


@given(st.text(alphabet="%2Ee4.C3a9/é ", max_size=8))
def test_percent_decoding_reads_only_what_encoding_writes(text: str) -> None:
    try:
        name = percent_decode(text)
    except FormatError:
        return
    assert percent_encode(name) == text


@pytest.mark.parametrize("text", ["%c3%a9", "%41", "%", "%4", "%FF", "a/b", ".a", "é", "%2e", "%zz", "%C3"])
def test_percent_decoding_refuses_other_spellings(text: str) -> None:
    with pytest.raises(FormatError, match="percent-encoded"):
        percent_decode(text)


def test_percent_encoding_refuses_a_lone_surrogate() -> None:
    with pytest.raises(FormatError, match="lone surrogate"):
        percent_encode("\ud800")


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("audit", "audit"),
        ("audit.w2", "audit"),
        ("audit.r3", "audit"),
        ("audit.w2.r3", "audit"),
        ("audit.r10.w20.r3", "audit"),
        ("audit.w", "audit.w"),
        ("audit.w2x", "audit.w2x"),
        ("audit.x2", "audit.x2"),
        ("audit.w2.x", "audit.w2.x"),
        ("audit.w\u0662", "audit.w\u0662"),
        ("auditw2", "auditw2"),
        (".w2", ".w2"),
        (".w2.w3", ".w2"),
        ("a\nb.w2", "a\nb"),
        ("audit.w2\n", "audit.w2\n"),
        ("", ""),
    ],
)
def test_base_stream_strips_what_the_writer_appends(name: str, base: str) -> None:
    assert base_stream(name) == base
