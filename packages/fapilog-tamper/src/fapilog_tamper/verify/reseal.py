"""The good path of verifying: seal the payloads again and compare bytes.

`Resealer.match` is the one function that a compiled twin would replace: plain bytes in, plain bytes out. It never
parses a line; it tells how many lines from the first on are exactly what sealing would have written, and leaves the
first that is not to `lines`, which names the defect.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fapilog_tamper.entry import block_format, link_packer, mac_contexts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Resealer"]

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_TEXT: Final = b"x" * 43


class Resealer:
    """What all lines of one stream under one key have in common.

    With `secret`, lines carry an HMAC-SHA256 mac; without, they carry none.
    """

    def __init__(self, stream: str, algo: str, key_id: str | None, secret: bytes | None = None) -> None:
        name, key = stream.encode(), (key_id or "").encode()
        self._link = link_packer(name, key)
        self._block = b"," + block_format(name, algo.encode(), key, mac=secret is not None)[:-1]
        self._contexts = mac_contexts(b"" if secret is None else secret)
        self._with_mac = secret is not None

    def match(self, lines: Sequence[bytes], seq: int, prev: bytes) -> list[bytes]:
        """Return the chain hashes of the longest run of `lines` that re-seal to themselves.

        Args:
            lines: whole lines without their newline; each must begin with `{"` and hold no carriage return.
            seq: what the first must be. All lines must have seqs of as many digits.
            prev: the chain hash before the first.
        """
        texts, chains = (self._macced if self._with_mac else self._chained)(lines, seq, prev)
        block, width, last = self._block, len(texts) // len(lines), _b64(prev)[:43]
        at = 0
        for index, line in enumerate(lines):
            chain = texts[at : at + 43]
            fields: tuple[object, ...] = (seq + index, last, chain)
            if self._with_mac:
                fields = (seq + index, last, chain, texts[at + 44 : at + 87])
            if not line.endswith(block % fields):
                return chains[:index]
            last = chain
            at += width
        return chains

    def _chained(self, lines: Sequence[bytes], seq: int, prev: bytes) -> tuple[bytes, list[bytes]]:
        size, link, leaf_context = self._size(seq, 3), self._link, sha256(b"\x00").copy
        chains: list[bytes] = []
        for line in lines:
            leaf = leaf_context()
            leaf.update(line[:-size])
            leaf.update(b"}")
            prev = sha256(link(seq, prev, leaf.digest())).digest()
            chains.append(prev)
            seq += 1
        return _b64(b"\x00".join(chains) + b"\x00"), chains

    def _macced(self, lines: Sequence[bytes], seq: int, prev: bytes) -> tuple[bytes, list[bytes]]:
        size, link, leaf_context = self._size(seq, 4), self._link, sha256(b"\x00").copy
        inner_context, outer_context = self._contexts
        # One zero byte behind each 32 bytes fills the base64 group: its letters are then those of the value alone,
        # and all values of a block are written by one call.
        parts: list[bytes] = []
        add = parts.append
        for line in lines:
            leaf = leaf_context()
            leaf.update(line[:-size])
            leaf.update(b"}")
            prev = sha256(link(seq, prev, leaf.digest())).digest()
            inner = inner_context()
            inner.update(prev)
            outer = outer_context()
            outer.update(inner.digest())
            add(prev)
            add(outer.digest())
            seq += 1
        return _b64(b"\x00".join(parts) + b"\x00"), parts[::2]

    def _size(self, seq: int, texts: int) -> int:
        return len(self._block % (seq, *[_TEXT] * (texts - 1)))


def _b64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_TO_URL)
