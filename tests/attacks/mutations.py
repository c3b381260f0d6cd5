"""Mutations of bytes, from single bits to tricks of JSON; every one is a function of the bytes and the dice."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

Mutation = Callable[[bytes, "random.Random"], bytes]

_NUMBER: Final = re.compile(rb"[0-9]+")
_BASE64: Final = re.compile(rb'"[A-Za-z0-9_-]{43,}"')
_STRING: Final = re.compile(rb'"[^"\\]+"')
_MEMBER: Final = re.compile(rb'"[a-z_]+":(?:"[^"\\]*"|[0-9]+)')
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TOKENS: Final = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\r\n", b"\x00", b" ", b"\t", b"\x0b", b"\x85"),
    *(
        b"null",
        b"true",
        b"1e400",
        b"-0",
        b"NaN",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
    ),
    *(
        b"}}\n",
        b'"integrity":{"v":1',
        b'{"integrity":{}}\n',
        b"\xf4\x90\x80\x80",
        b"\xcc\x81",
        b"%",
        b"+",
        b"%b",
        b"%d",
    ),
)


def _spot(pattern: re.Pattern[bytes], data: bytes, rng: random.Random) -> re.Match[bytes] | None:
    """Return the first hit behind a random place, or the first at all."""
    return pattern.search(data, rng.randrange(len(data))) or pattern.search(data)


def _cut(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Return a random range, short ones more often."""
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 2, 8, 43, 200, 1000]))


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip one bit, or a few."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def byte(data: bytes, rng: random.Random) -> bytes:
    """Replace, insert or delete a byte."""
    at, new = rng.randrange(len(data)), rng.randbytes(1)
    return data[:at] + rng.choice([new, new + data[at : at + 1], b""]) + data[at + 1 :]


def token(data: bytes, rng: random.Random) -> bytes:
    """Insert a token that means something to JSON, to lines, or to nobody."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_TOKENS) + data[at + rng.choice([0, 0, 1]) :]


def chunk(data: bytes, rng: random.Random) -> bytes:
    """Move, copy or remove a chunk."""
    start, end = _cut(data, rng)
    piece, rest = data[start:end], data[:start] + data[end:]
    at = rng.randrange(len(rest) + 1)
    return rng.choice([rest, rest[:at] + piece + rest[at:], data[:at] + piece + data[at:]])


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Cut at the end or at the beginning."""
    at = rng.randrange(len(data))
    return rng.choice([data[:at], data[:at], data[at:]])


def lines(data: bytes, rng: random.Random) -> bytes:
    """Shuffle, swap, copy, move or remove lines."""
    parts = data.split(b"\n")[:-1]
    if not parts:
        return data
    one, two = rng.randrange(len(parts)), rng.randrange(len(parts))
    kind = rng.randrange(6)
    if kind == 0:
        rng.shuffle(parts)
    elif kind == 1:
        parts[one], parts[two] = parts[two], parts[one]
    elif kind == 2:
        parts.insert(one, parts[two])
    elif kind == 3:
        parts.insert(two, parts.pop(one))
    elif kind == 4:
        del parts[one]
    else:
        parts[one] += parts[two]
    return b"".join(part + b"\n" for part in parts)


def number(data: bytes, rng: random.Random) -> bytes:
    """Change a number, or spell it in another way."""
    hit = _spot(_NUMBER, data, rng)
    if hit is None:
        return data
    value = int(hit[0][:20])
    texts = [value + 1, max(value - 1, 0), value * 10, value + 2**53, 2**64 + value, value ^ 1]
    spelled = [b"%d" % text for text in texts]
    spelled += [
        b"0" + hit[0],
        hit[0] + b".0",
        hit[0] + b"e0",
        b"-" + hit[0],
        b"+" + hit[0],
        b" " + hit[0],
        b'"%d"' % value,
    ]
    return data[: hit.start()] + rng.choice([*spelled, "٣".encode(), b"9" * 5000]) + data[hit.end() :]


def base64(data: bytes, rng: random.Random) -> bytes:
    """Change a character of a hash or mac: another letter, spare bits, padding, the other alphabet, a swap."""
    hit = _spot(_BASE64, data, rng)
    if hit is None:
        return data
    text = bytearray(hit[0][1:-1])
    kind, at = rng.randrange(6), rng.randrange(len(text))
    if kind == 0:
        text[at] = rng.choice(_ALPHABET)
    elif kind == 1:
        text[-1] = _ALPHABET[_ALPHABET.index(text[-1]) ^ rng.randrange(1, 4)]
    elif kind == 2:
        text += rng.choice([b"=", b"==", b"A", b"\\n"])
    elif kind == 3:
        text = bytearray(bytes(text).replace(b"-", b"+").replace(b"_", b"/"))
    elif kind == 4:
        text[at], text[-1 - at] = text[-1 - at], text[at]
    else:
        del text[at]
    return data[: hit.start() + 1] + bytes(text) + data[hit.end() - 1 :]


def escape(data: bytes, rng: random.Random) -> bytes:
    r"""Spell a character of a string in another way: \u0061, \/, upper case, overlong, decomposed, full width."""
    hit = _spot(_STRING, data, rng)
    if hit is None:
        return data
    at = rng.randrange(hit.start() + 1, hit.end() - 1)
    old = data[at]
    spelled = [b"\\u%04x" % old, b"\\u%04X" % old, b"\\x%02x" % old, b"\\" + data[at : at + 1], b"%%%02X" % old]
    spelled += [b"\\ud800", b"\\u0000", bytes([0xC0 | old >> 6, 0x80 | old & 0x3F]), chr(0xFEE0 + old).encode()]
    spelled += [data[at : at + 1].swapcase(), data[at : at + 1] + "\u0301".encode(), b"\\/"]
    return data[:at] + rng.choice(spelled) + data[at + 1 :]


def member(data: bytes, rng: random.Random) -> bytes:
    """Put a member twice, out, in another order, or with white space."""
    hit = _spot(_MEMBER, data, rng)
    if hit is None:
        return data
    name, _, value = hit[0].partition(b":")
    other = _spot(_MEMBER, data, rng) or hit
    if rng.randrange(8) == 0:
        start = hit.start() - (data[hit.start() - 1 : hit.start()] == b",")
        return data[:start] + data[hit.end() :]
    new = rng.choice(
        [
            hit[0] + b"," + hit[0],
            name + b":null," + hit[0],
            hit[0] + b"," + name + b":[]",
            other[0],
            other[0] + b"," + hit[0],
            name + b": " + value,
            name + b" :" + value,
            name + b":[" + value + b"]",
            name + b":{" + hit[0] + b"}",
            name + b":",
        ]
    )
    return data[: hit.start()] + new + data[hit.end() :]


def garbage(data: bytes, rng: random.Random) -> bytes:
    """Random bytes in place of all, of a part, or between."""
    start, end = _cut(data, rng)
    junk = rng.randbytes(rng.choice([1, 16, 300]))
    return rng.choice([junk, data[:start] + junk + data[end:], data + junk, junk + data, b""])


def nul(data: bytes, rng: random.Random) -> bytes:
    """Zeros at the end, inside, or over something, also up to a sector."""
    start, end = _cut(data, rng)
    sector = (start // 512 + 1) * 512
    return rng.choice(
        [
            data + bytes(rng.randrange(1, 600)),
            data[:start] + bytes(end - start) + data[end:],
            data[:start] + bytes(1) + data[start:],
            data[:start] + bytes(sector - start) + data[sector:],
            data[:start] + bytes(len(data) - start),
        ]
    )


def nest(data: bytes, rng: random.Random) -> bytes:
    """Nested brackets: a line of them, or a value."""
    depth = rng.choice([10, 1000, 1025, 10_000])
    deep = rng.choice(
        [b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth, b'{"a":' * depth + b"1" + b"}" * depth]
    )
    hit = _spot(_MEMBER, data, rng)
    if hit is None or rng.randrange(2):
        at = data.find(b"\n", rng.randrange(len(data))) + 1
        return data[:at] + deep + b"\n" + data[at:]
    return data[: hit.start()] + hit[0].partition(b":")[0] + b":" + deep + data[hit.end() :]


def long(data: bytes, rng: random.Random) -> bytes:
    """A very long string, number or line."""
    size = rng.choice([70_000, 70_000, 70_000, 1 << 20, 1_100_000, 3_000_000])
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([b"x", b"9", b" ", b"\x00", b"\xff"]) * size + rng.choice([b"", b"\n"]) + data[at:]


def newline(data: bytes, rng: random.Random) -> bytes:
    """Other ends of lines."""
    new = rng.choice([b"\r\n", b"\r", b"\n\n", b" \n", b"\n ", b"", b"\x0b", "\u2028".encode()])
    if rng.randrange(2):
        return data.replace(b"\n", new)
    at = data.find(b"\n", rng.randrange(len(data)))
    return data[:at] + new + data[at + 1 :] if at >= 0 else data + new


PLAIN: Final[tuple[Mutation, ...]] = (
    *(flip, byte, token, chunk, truncate, lines, number, base64, escape, member, garbage, nul, newline),
)
RARE: Final[tuple[Mutation, ...]] = (nest, long)
"""Slow ones: once in a few hundred."""
