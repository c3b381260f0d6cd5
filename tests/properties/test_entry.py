"""Laws of the line: sealing and splitting are inverse, and no changed line passes."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fapilog_tamper.encoding import MAX_SEQ
from fapilog_tamper.entry import ChainState, chain_hash, seal, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, Keyring
from fapilog_tamper.names import check_key_id, check_stream
from fapilog_tamper.payload import encode_payload
from fapilog_tamper.verify.verifier import Verifier

laws = settings(deadline=None, max_examples=150)


def _passes(check, name: str) -> bool:
    try:
        check(name)
    except FormatError:
        return False
    return True


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=12).map(
    lambda text: unicodedata.normalize("NFC", text)
)
streams = (texts | st.sampled_from(["audit", "audit.w2.r3", "x.tmp", ".", "a/b", "{}", "%"])).filter(
    lambda name: _passes(check_stream, name)
)
key_ids = (texts | st.sampled_from(["k1", "k#12", "arn:aws:kms:eu:1:key/2"])).filter(
    lambda name: _passes(check_key_id, name)
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.datetimes()
    | st.sampled_from(['"integrity":{"v":1', '},"integrity":{"v":1,"stream":"audit","seq":', "\r\n", "\u2028"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("integrity"), inner, max_size=4),
    max_leaves=12,
)
events = st.dictionaries(st.text() | st.sampled_from(["integrity", "sealed_log", "timestamp"]), values, max_size=6)
hashes = st.binary(min_size=32, max_size=32)
seqs = st.integers(1, MAX_SEQ) | st.sampled_from([1, MAX_SEQ])


@st.composite
def keys(draw):
    kind = draw(st.sampled_from(["hmac", "ed25519", "unkeyed"]))
    if kind == "unkeyed":
        return None
    if kind == "hmac":
        return HmacKey(draw(key_ids), draw(st.binary(min_size=32, max_size=80)))
    return Ed25519SigningKey(draw(key_ids), draw(hashes))


@laws
@given(event=events, stream=streams, seq=seqs, prev=hashes, key=keys(), mac=st.booleans())
def test_split_gives_back_what_was_sealed(event, stream, seq, prev, key, mac) -> None:
    payload = encode_payload(event)
    line, state = seal(payload, ChainState(stream, seq - 1, prev), key, mac=mac)
    read, block = split(line)
    assert read == payload
    assert (block.stream, block.seq, block.prev_chain_hash, block.v) == (stream, seq, prev, 1)
    assert block.key_id == (None if key is None else key.key_id)
    assert (block.mac is None) == (key is None or not mac)
    assert block.chain_hash == state.chain_hash == chain_hash(stream, block.key_id, seq, prev, payload)
    assert line.count(b"\n") == 1
    assert list(json.loads(line))[-1] == "integrity"
    assert Verifier(None if key is None else Keyring([key])).verify_record(line) == (key is None or mac)


@laws
@given(event=events, key=keys(), data=st.data())
def test_no_changed_line_passes(event, key, data) -> None:
    line, _ = seal(encode_payload(event), ChainState("audit"), key)
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 5)))
    changed = line[:start] + data.draw(st.binary(max_size=5)) + line[end:]
    assume(changed not in (line, line[:-1]))
    assert not Verifier(None if key is None else Keyring([key])).verify_record(changed)


@laws
@given(event=events, key=keys(), data=st.data())
def test_every_prefix_is_refused(event, key, data) -> None:
    line, _ = seal(encode_payload(event), ChainState("audit"), key)
    with pytest.raises(FormatError):
        split(line[: data.draw(st.integers(0, len(line) - 1))])


@laws
@given(raw=st.binary(max_size=400))
def test_splitting_any_bytes_raises_nothing_else(raw) -> None:
    with pytest.raises(FormatError):
        split(raw)


@laws
@given(event=events, other=events, key=keys())
def test_two_payloads_have_two_lines_and_two_hashes(event, other, key) -> None:
    one, two = encode_payload(event), encode_payload(other)
    assume(one != two)
    first, second = (seal(payload, ChainState("audit"), key) for payload in (one, two))
    assert first[0] != second[0]
    assert first[1].chain_hash != second[1].chain_hash
