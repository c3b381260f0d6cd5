"""What an attack is: a function that changes the image of a log, and what a verifier must say of the result.

The expectations are derived from docs/spec/sealed-log.md (sections 4, 6, 7 and 8), never from what the code prints.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.logs import Image, Log, Shape, Situation, Stream, format_head, head_of, manifest_of

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, Integrity, block_format, chain_hash, split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, manifest_name
from fapilog_tamper.manifest import format_manifest

if TYPE_CHECKING:
    import random

INTACT, TAMPERED, UNDETERMINED = "intact", "tampered", "undetermined"
ANY = None
"""As a line in `where`: any line of the file, or none."""

GONE = object()
NOT_CHECKED = "not-checked"
"""Stands among the notes for an entry in the report's `not_checked`."""


@dataclass
class Changed:
    """An image after an attack. `where`: the places of which a finding must name one; None: there is no place.

    `head`: head files that the verifier is given from outside. `links`: names that are symbolic links to these bytes
    outside the folder. `origins`: the verifier's trust file knows the streams' origins. `options` go to `verify_path`.
    """

    image: Image
    where: set[tuple[str, int | None]] | None = None
    head: tuple[bytes, ...] = ()
    links: Image = field(default_factory=dict)
    origins: dict[str, str] | None = None
    options: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What must come out: one of `outcomes`; a finding of one of `codes`; where it is intact, one of `notes`.

    `invisible`: no verifier can see it from what is left; `why` says which word of the report names the gap, or why
    nothing is lost.
    """

    outcomes: tuple[str, ...]
    codes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    invisible: bool = False
    why: str = ""


def tampered(*codes: str, why: str = "") -> Verdict:
    """A change is proven."""
    return Verdict((TAMPERED,), codes, why=why)


def undetermined(*codes: str, why: str = "") -> Verdict:
    """No change is proven, and something could not be checked."""
    return Verdict((UNDETERMINED,), codes, why=why)


def not_intact(*codes: str, why: str = "") -> Verdict:
    """Which of the two depends on where chance hit."""
    return Verdict((TAMPERED, UNDETERMINED), codes, why=why)


def invisible(*notes: str, why: str) -> Verdict:
    """Nothing that is left shows it; if `notes` are given, one of them must name the gap."""
    return Verdict((INTACT,), (), notes, invisible=True, why=why)


Expect = Callable[[Situation, Shape], Verdict | None]
Operator = Callable[[Log, "random.Random"], Changed]


@dataclass(frozen=True)
class Attack:
    """One attack; `expect` returns None where it does not apply."""

    name: str
    group: str
    run: Operator
    expect: Expect


class Catalogue:
    """The attacks of one module, in the order in which they are written."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.attacks: list[Attack] = []

    def add(self, name: str, expect: Expect | Verdict) -> Callable[[Operator], Operator]:
        """Enter the decorated function as an attack."""

        def enter(run: Operator) -> Operator:
            rule = (lambda _situation, _shape: expect) if isinstance(expect, Verdict) else expect
            self.attacks.append(Attack(name, self.group, run, rule))
            return run

        return enter


def keyed(verdict: Verdict, *, macs: tuple[str, ...] = ("each", "commit", "late")) -> Expect:
    """The same verdict in every situation with a key whose macs stand like this."""
    return lambda situation, _shape: verdict if situation.keys and situation.macs in macs else None


def by_shape(manifests: Verdict | None, head: Verdict | None, lines: Verdict | None) -> Expect:
    """One verdict where there are manifests, one with a head alone, one with neither."""
    return lambda _situation, shape: manifests if shape.manifests else head if shape.head else lines


def with_manifests(expect: Expect | Verdict) -> Expect:
    """Applies only where there are manifests."""
    rule = (lambda *_: expect) if isinstance(expect, Verdict) else expect
    return lambda situation, shape: rule(situation, shape) if shape.manifests else None


def with_head(expect: Expect | Verdict) -> Expect:
    """Applies only where there are heads."""
    rule = (lambda *_: expect) if isinstance(expect, Verdict) else expect
    return lambda situation, shape: rule(situation, shape) if shape.head else None


# Reading and writing lines.


def put(image: Image, file: str, lines: list[bytes]) -> Image:
    """Return the image with other lines in one file."""
    return image | {file: b"".join(lines)}


def without(image: Image, *names: str) -> Image:
    """Return the image without some files."""
    return {name: data for name, data in image.items() if name not in names}


def head_file(stream: str) -> str:
    """Return the name of a stream's head in an image."""
    return f"{STATE_FOLDER}/{head_name(stream)}"


def manifest_file(log: Log, index: int) -> str:
    """Return the name of a manifest of the attacked stream."""
    return manifest_name(log.main.file(index))


def is_head(name: str) -> bool:
    """Tell whether a file of an image is a head."""
    return name.startswith(STATE_FOLDER)


def is_manifest(name: str) -> bool:
    """Tell whether a file of an image is a manifest."""
    return name.endswith(".manifest.json")


def documents(image: Image) -> list[str]:
    """Return the names of all heads and manifests."""
    return [name for name in image if is_head(name) or is_manifest(name)]


def of_stream(image: Image, stream: str) -> list[str]:
    """Return the names of all files of one stream."""
    return [name for name in image if name.startswith((f"{stream}_", f"{STATE_FOLDER}/{stream}.chainstate"))]


def last(log: Log) -> int:
    """Return the index of the last segment."""
    return len(log.main.segments) - 1


def any_segment(log: Log, rng: random.Random) -> tuple[int, str, list[bytes]]:
    """Return index, file and lines of a segment of the attacked stream."""
    index = rng.randrange(len(log.main.segments))
    return index, log.main.file(index), list(log.main.segments[index])


def payload_of(line: bytes) -> bytes:
    """Return the payload of a line."""
    return split(line)[0]


def block_of(line: bytes) -> Integrity:
    """Return the integrity block of a line."""
    return split(line)[1]


def is_seal(line: bytes) -> bool:
    """Tell whether a line is a late seal."""
    return line.startswith(b'{"sealed_log":{') and b'"kind":"seal"' in line


def build_line(payload: bytes, block: Integrity) -> bytes:
    """Write a line around any values: what an attacker can do with a text editor."""
    template = block_format(
        block.stream.encode(), block.algo.encode(), (block.key_id or "").encode(), mac=block.mac is not None
    )
    texts: list[object] = [
        block.seq,
        *(b64url_encode(raw).encode() for raw in (block.prev_chain_hash, block.chain_hash)),
    ]
    if block.mac is not None:
        texts.append(b64url_encode(block.mac).encode())
    text = template.replace(b'{"v":1,', b'{"v":%d,' % block.v) % tuple(texts)
    return payload[:-1] + (b"" if payload == b"{}" else b",") + text


def rehash(block: Integrity, payload: bytes) -> bytes:
    """Return the chain hash of an entry from its block and payload: it takes no key."""
    return chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload)


def attacker_key(key: SigningKey) -> SigningKey:
    """Return a key of the attacker under the same key id and algorithm."""
    if isinstance(key, HmacKey):
        return HmacKey(key.key_id, bytes(range(200, 232)))
    return Ed25519SigningKey(key.key_id, bytes(range(200, 232)))


def flip_text(rng: random.Random, text: bytes, at: int) -> bytes:
    """Replace one character by another letter or digit."""
    old = text[at : at + 1]
    new = rng.choice([c for c in (bytes([b]) for b in b"abcdefghijklmnopqrstuvwxyz0123456789") if c != old])
    return text[:at] + new + text[at + 1 :]


# Writing documents: only for what a writer did, or for a key of the attacker.


def stream_of(name: str, segments: list[list[bytes]]) -> Stream:
    """Return a stream object for lines as they stand."""
    block = block_of(segments[-1][-1])
    return Stream(name, segments, ChainState(name, block.seq, block.chain_hash))


def image_of(streams: list[Stream], shape: Shape, key_at: Callable[[int], SigningKey | None]) -> Image:
    """Return the folder of these streams as somebody with the keys `key_at` writes it."""
    image: Image = {}
    for stream in streams:
        others = tuple((one.name, one.state.seq, one.state.chain_hash) for one in streams if one is not stream)
        others = others if shape.others else ()
        for index, lines in enumerate(stream.segments):
            image[stream.file(index)] = b"".join(lines)
            if shape.manifests:
                key = key_at(block_of(lines[-1]).seq)
                is_last = index == len(stream.segments) - 1
                manifest = manifest_of(stream, index, key, others if is_last else ())
                image[manifest_name(stream.file(index))] = format_manifest(manifest)
        if shape.head:
            image[head_file(stream.name)] = format_head(head_of(stream, key_at(stream.state.seq), others))
    return image


def edit_document(raw: bytes, **members: object) -> bytes:
    """Return a document with other members, in RFC 8785 text; `GONE` takes a member out."""
    document = json.loads(raw) | members
    return canonicalize({name: value for name, value in document.items() if value is not GONE}) + b"\n"
