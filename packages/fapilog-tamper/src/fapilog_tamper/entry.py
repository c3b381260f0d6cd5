"""One line of a sealed log: how it is sealed, and how it is split again.

    line = payload without its last "}" , "integrity":{...} } 0x0A

Member order and spelling of the block are fixed (spec section 4), so a line has one form: `split` parses it, formats
it again and compares. Nothing here reads a clock, a file or a key store. `prepare_seal` returns the one function
that seals; it takes and gives plain bytes, so that a compiled twin can stand in for it.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_decode, decimal_decode
from fapilog_tamper.errors import EncodingError, FormatError
from fapilog_tamper.names import check_key_id, check_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

    from fapilog_tamper.keys.base import SigningKey

__all__ = [
    "GENESIS",
    "TAG_SIZES",
    "UNKEYED",
    "ChainState",
    "Integrity",
    "block_format",
    "chain_hash",
    "leaf_hash",
    "link_packer",
    "mac_contexts",
    "mac_message",
    "prepare_seal",
    "seal",
    "split",
]

GENESIS: Final = bytes(32)
"""prev_chain_hash of the first entry of a stream."""

UNKEYED: Final = "SHA-256"
"""algo of an entry in a stream without a key."""

TAG_SIZES: Final = {
    "HMAC-SHA256": 32,
    "Ed25519": 64,
    "ECDSA-P256-SHA256": 64,
    "RSA-PSS-SHA256": None,
    "ML-DSA-44": 2420,
}
"""Bytes of a mac by algo; None where the key decides."""

MAC_DOMAIN: Final = b"fapilog-tamper/v1/mac\x00"
_LINK_DOMAIN: Final = b"fapilog-tamper/v1/link\x00"
_BLOCK_MARK: Final = b'"integrity":{"v":'
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_CHAIN_TEXT: Final = 43
_PACK_LEN: Final = Struct(">H").pack
_BLOCK: Final = re.compile(
    rb'"integrity":\{"v":(?P<v>[0-9]{1,16}),"stream":"(?P<stream>[^"\\]{1,720})","seq":(?P<seq>[0-9]{1,16}),'
    rb'"prev_chain_hash":"(?P<prev>[\w-]{43})","chain_hash":"(?P<chain>[\w-]{43})",'
    rb'"algo":"(?P<algo>[A-Za-z0-9-]{1,32})"(?:,"key_id":"(?P<key_id>[^"\\]{1,128})")?(?:,"mac":"(?P<mac>[\w-]{1,5600})")?\}\}\n',
    re.ASCII,
)
_OBJECT_START: Final = re.compile(rb'\{[ \t]*"')


@dataclass(frozen=True, slots=True)
class ChainState:
    """Where a stream stands: its last seq and the chain hash of that entry. Before entry 1: seq 0 and `GENESIS`."""

    stream: str
    seq: int = 0
    chain_hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Integrity:
    """The integrity block of one entry; `key_id` and `mac` are None where the line has none."""

    stream: str
    seq: int
    prev_chain_hash: bytes
    chain_hash: bytes
    algo: str
    key_id: str | None = None
    mac: bytes | None = None
    v: int = 1


def leaf_hash(payload: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a payload."""
    return sha256(b"\x00" + payload).digest()


def link_packer(stream: bytes, key_id: bytes) -> Callable[[int, bytes, bytes], bytes]:
    """Return the function that makes the message of a chain hash from seq, prev_chain_hash and leaf hash."""
    prefix = _LINK_DOMAIN + _PACK_LEN(len(stream)) + stream + _PACK_LEN(len(key_id)) + key_id
    # One pack costs half of three concatenations.
    return partial(Struct(f">{len(prefix)}sQ32s32s").pack, prefix)


def chain_hash(stream: str, key_id: str | None, seq: int, prev: bytes, payload: bytes) -> bytes:
    """Return the chain hash of the entry `seq`, which stands behind the entry whose chain hash is `prev`."""
    link = link_packer(stream.encode(), (key_id or "").encode())
    return sha256(link(seq, prev, leaf_hash(payload))).digest()


def mac_message(chain: bytes) -> bytes:
    """Return the message that a mac of the entry with this chain hash is made of."""
    return MAC_DOMAIN + chain


def block_format(stream: bytes, algo: bytes, key_id: bytes, *, mac: bool) -> bytes:
    """Return the `bytes %` template of the block, to be filled with seq, prev, chain hash and, if asked for, mac."""
    # Names hold no "%" (spec section 2), so they can stand in a template as they are.
    keyed = b',"key_id":"' + key_id + b'"' if key_id else b""
    tail = b',"mac":"%b"' if mac else b""
    places = b'","seq":%d,"prev_chain_hash":"%b","chain_hash":"%b","algo":"'
    return b'"integrity":{"v":1,"stream":"' + stream + places + algo + b'"' + keyed + tail + b"}}\n"


def mac_contexts(secret: bytes) -> tuple[Callable[[], _Hash], Callable[[], _Hash]]:
    """Return the copy methods of the two hash contexts of HMAC-SHA256 (RFC 2104), the inner with `MAC_DOMAIN` in it.

    Copying two prepared contexts costs half of `hmac.digest`.
    """
    block = sha256(secret).digest() if len(secret) > 64 else secret  # noqa: PLR2004 (block size of SHA-256)
    padded = block.ljust(64, b"\x00")
    inner = sha256(bytes(byte ^ 0x36 for byte in padded) + MAC_DOMAIN)
    outer = sha256(bytes(byte ^ 0x5C for byte in padded))
    return inner.copy, outer.copy


def seal(payload: bytes, state: ChainState, key: SigningKey | None, *, mac: bool = True) -> tuple[bytes, ChainState]:
    """Seal one payload behind `state`.

    Args:
        payload: the canonical bytes of one JSON object (`encode_payload`, or raw bytes that `check_payload` took).
        state: where the stream stands.
        key: the signing key, or None for an unkeyed chain.
        mac: False leaves the mac out, for entries of a commit before its last.

    Returns:
        The line with its 0x0A, and where the stream stands behind it.
    """
    line, chain = prepare_seal(state.stream, key, mac=mac)(payload, state.seq + 1, state.chain_hash)
    return line, ChainState(state.stream, state.seq + 1, chain)


def prepare_seal(
    stream: str, key: SigningKey | None, *, mac: bool = True
) -> Callable[[bytes, int, bytes], tuple[bytes, bytes]]:
    """Return `seal(payload, seq, prev) -> (line, chain_hash)` for one stream and key.

    What never changes between entries is made once. The function may be called from any thread.
    """
    check_stream(stream)
    name, key_id = stream.encode(), b""
    algo = UNKEYED.encode()
    if key is not None:
        check_key_id(key.key_id)
        key_id, algo = key.key_id.encode(), key.algorithm.encode()
    tag = _tagger(key) if key is not None and mac else None
    form = b"%b," + block_format(name, algo, key_id, mac=tag is not None)
    link, leaf_context = link_packer(name, key_id), sha256(b"\x00").copy
    last: tuple[bytes, bytes] = (GENESIS, _text(GENESIS)[:_CHAIN_TEXT])

    def seal_line(payload: bytes, seq: int, prev: bytes) -> tuple[bytes, bytes]:
        nonlocal last
        leaf = leaf_context()
        leaf.update(payload)
        chain = sha256(link(seq, prev, leaf.digest())).digest()
        # One tuple, read and replaced whole: two threads can only miss the cache, never mix its halves.
        known, prev_text = last
        if known != prev:
            prev_text = _text(prev)[:_CHAIN_TEXT]
        if len(payload) == 2:  # noqa: PLR2004 ("{}" has no member, and no comma behind it)
            return _bare(form, chain, None if tag is None else tag(chain), seq, prev_text), chain
        if tag is None:
            chain_text = _text(chain)[:_CHAIN_TEXT]
            last = (chain, chain_text)
            return form % (payload[:-1], seq, prev_text, chain_text), chain
        # One zero byte fills the base64 group of the chain hash: both texts come from one call.
        texts = _text(chain + b"\x00" + tag(chain))
        chain_text = texts[:_CHAIN_TEXT]
        last = (chain, chain_text)
        return form % (payload[:-1], seq, prev_text, chain_text, texts[_CHAIN_TEXT + 1 :].rstrip(b"=")), chain

    return seal_line


def _bare(form: bytes, chain: bytes, mac: bytes | None, seq: int, prev_text: bytes) -> bytes:
    fields = (b"{", seq, prev_text, _text(chain)[:_CHAIN_TEXT])
    line = form % (fields if mac is None else (*fields, _text(mac).rstrip(b"=")))
    return line.replace(b"{,", b"{", 1)


def _text(value: bytes) -> bytes:
    return b2a_base64(value, newline=False).translate(_TO_URL)


def _tagger(key: SigningKey) -> Callable[[bytes], bytes]:
    secret = getattr(key, "secret", None)
    if key.algorithm != "HMAC-SHA256" or not isinstance(secret, bytes):
        sign = key.sign
        return lambda chain: sign(MAC_DOMAIN + chain)
    inner_context, outer_context = mac_contexts(secret)

    def tag(chain: bytes) -> bytes:
        inner = inner_context()
        inner.update(chain)
        outer = outer_context()
        outer.update(inner.digest())
        return outer.digest()

    return tag


def split(line: bytes) -> tuple[bytes, Integrity]:
    """Split a line, its 0x0A included, into payload and integrity block.

    Raises:
        FormatError: when the line is not exactly what `seal` would have written around these values. The hashes
            themselves are not checked here.
    """
    start = line.rfind(_BLOCK_MARK)
    found = _BLOCK.fullmatch(line, start) if start > 0 else None
    if found is None:
        raise FormatError("no integrity block at the end of the line.", hint="Only sealed lines can be read.")
    try:
        block = _read_block(found)
    except (EncodingError, UnicodeDecodeError) as error:
        raise FormatError(f"integrity block: {error}", hint="Only sealed lines can be read.") from None
    return _read_payload(line[:start]), block


def _read_block(found: re.Match[bytes]) -> Integrity:
    fields = {name: text.decode() for name, text in found.groupdict().items() if text is not None}
    block = Integrity(
        stream=fields["stream"],
        seq=decimal_decode(fields["seq"]),
        prev_chain_hash=b64url_decode(fields["prev"]),
        chain_hash=b64url_decode(fields["chain"]),
        algo=fields["algo"],
        key_id=fields.get("key_id"),
        mac=b64url_decode(fields["mac"]) if "mac" in fields else None,
        v=decimal_decode(fields["v"]),
    )
    check_stream(block.stream)
    if block.key_id is not None:
        check_key_id(block.key_id)
    if block.seq == 0:
        raise FormatError("seq 0.", hint="seq counts from 1.")
    if (block.algo == UNKEYED) != (block.key_id is None) or (block.key_id is None and block.mac is not None):
        raise FormatError("algo, key_id and mac do not go together.")
    size = TAG_SIZES.get(block.algo)
    if block.mac is not None and size is not None and len(block.mac) != size:
        raise FormatError(f"a mac of {len(block.mac)} bytes, where {block.algo} has {size}.")
    return block


def _read_payload(head: bytes) -> bytes:
    if head == b"{":
        return b"{}"
    if not head.endswith(b",") or not _OBJECT_START.match(head) or b"\n" in head or b"\r" in head:
        raise FormatError("what stands before the integrity block is not the beginning of one JSON object.")
    return head[:-1] + b"}"
