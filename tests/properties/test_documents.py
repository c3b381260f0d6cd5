"""Laws of heads and manifests: parse and format are inverse, and no changed text passes."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fapilog_tamper.encoding import MAX_SEQ
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, format_head, head_message, parse_head, sign_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.manifest import Manifest, format_manifest, manifest_message, parse_manifest, sign_manifest
from fapilog_tamper.names import check_stream

laws = settings(deadline=None, max_examples=120)

K1 = HmacKey("k1", bytes(range(32)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
KEYS = {None: None, "k1": K1, "ed-2026": ED}


def _is_stream(name: str) -> bool:
    try:
        check_stream(name)
    except FormatError:
        return False
    return True


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
streams = texts.map(lambda text: unicodedata.normalize("NFC", text)).filter(_is_stream)
hashes = st.binary(min_size=32, max_size=32)
counts = st.integers(0, MAX_SEQ)
seqs = st.integers(1, MAX_SEQ)
times = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")
others = st.dictionaries(streams, st.tuples(seqs, hashes), max_size=4).map(
    lambda rows: tuple((name, *rows[name]) for name in sorted(rows))
)
known = {*Head.__slots__, *Manifest.__slots__, "prev_chain_hash"}
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SEQ, MAX_SEQ)
    | texts
    # A whole float is written as an integer, and read as one.
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(texts.filter(lambda name: name not in known), json_values, max_size=3)
heads = st.builds(
    Head,
    stream=streams,
    origin=hashes,
    seq=seqs,
    chain_hash=hashes,
    first_seq=seqs,
    segment=texts,
    offset=counts,
    last_updated=times,
    others=others,
    extra=extras,
)


@st.composite
def manifests(draw):
    first, last = sorted([draw(seqs), draw(seqs)])
    key = KEYS[draw(st.sampled_from(list(KEYS)))]
    return Manifest(
        stream=draw(streams),
        origin=draw(hashes),
        file=draw(texts),
        created_ts=draw(times),
        closed_ts=draw(times),
        record_count=last - first + 1,
        first_seq=first,
        last_seq=last,
        first_ts=draw(st.none() | texts),
        last_ts=draw(st.none() | texts),
        continues_from=draw(hashes),
        root_chain_hash=draw(hashes),
        size_bytes=draw(counts),
        file_sha256=draw(hashes),
        algo="SHA-256" if key is None else str(key.algorithm),
        key_id=None if key is None else key.key_id,
        others=draw(others),
        extra=draw(extras),
    )


signers = st.sampled_from([K1, ED])


@laws
@given(head=heads, key=st.none() | signers)
def test_a_head_is_read_as_it_was_written(head, key) -> None:
    signed = sign_head(head, key)
    raw = format_head(signed)
    assert parse_head(raw) == signed
    assert format_head(parse_head(raw)) == raw
    assert key is None or key.verifying_key().verify(head_message(parse_head(raw)), signed.mac)


@laws
@given(manifest=manifests(), key=st.none() | signers)
def test_a_manifest_is_read_as_it_was_written(manifest, key) -> None:
    signed = sign_manifest(manifest, key)
    raw = format_manifest(signed)
    assert parse_manifest(raw) == signed
    assert format_manifest(parse_manifest(raw)) == raw
    assert key is None or key.verifying_key().verify(manifest_message(parse_manifest(raw)), signed.signature)
    assert signed.signature_key_id == (key.key_id if key is not None and key.key_id != manifest.key_id else None)


def _changed(raw: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 4)))
    changed = raw[:start] + data.draw(st.binary(max_size=4)) + raw[end:]
    assume(changed != raw)
    return changed


@laws
@given(head=heads, data=st.data())
def test_a_changed_head_is_refused_or_its_mac_does_not_hold(head, data) -> None:
    changed = _changed(format_head(sign_head(head, K1)), data)
    try:
        read = parse_head(changed)
    except FormatError:
        return
    assert not K1.verify(head_message(read), read.mac or b"")


@laws
@given(manifest=manifests(), data=st.data())
def test_a_changed_manifest_is_refused_or_its_signature_does_not_hold(manifest, data) -> None:
    changed = _changed(format_manifest(sign_manifest(manifest, K1)), data)
    try:
        read = parse_manifest(changed)
    except FormatError:
        return
    assert not K1.verify(manifest_message(read), read.signature or b"")


@laws
@given(head=heads, other=heads)
def test_two_heads_have_two_messages(head, other) -> None:
    assume(head != other)
    assert head_message(head) != head_message(other)


@laws
@given(raw=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b'{"v":1,' + tail))
def test_parsing_any_bytes_raises_nothing_else(raw) -> None:
    for parse in (parse_head, parse_manifest):
        with pytest.raises(FormatError):
            parse(raw)
