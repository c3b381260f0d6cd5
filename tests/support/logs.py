"""Sealed logs as images in memory, in every situation a verifier meets: what the tests write, attack and verify.

An image maps file names (relative to the log's folder) to bytes. Only pure functions of the package are used, so that
a test of the verifier does not depend on the writer.
"""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, mac_message, seal, split
from fapilog_tamper.head import Head, format_head, sign_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, Keyring, SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, manifest_name, segment_name
from fapilog_tamper.manifest import Manifest, format_manifest, sign_manifest
from fapilog_tamper.payload import control_payload, encode_payload

if TYPE_CHECKING:
    from pathlib import Path

Image = dict[str, bytes]

DAY = date(2026, 11, 20)
TIME = "2026-11-20T12:00:00.000000Z"
K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
OTHER_ED = Ed25519SigningKey("ed-2026", bytes(range(60, 92)))


@dataclass(frozen=True)
class Situation:
    """Which keys sign, where macs stand ("each", "commit", "late", "none"), and what the verifier trusts."""

    name: str
    keys: tuple[SigningKey, ...]
    macs: str
    keyring: Keyring | None

    def key_at(self, seq: int) -> SigningKey | None:
        """Return the key of an entry: with two keys the second signs from seq 8 on."""
        if not self.keys:
            return None
        return self.keys[-1] if seq >= 8 else self.keys[0]


def _ring(*keys: SigningKey) -> Keyring:
    return Keyring(key.verifying_key() for key in keys)


HMAC = Situation("hmac", (K1,), "each", _ring(K1))
ED_COMMIT = Situation("ed25519", (ED,), "commit", _ring(ED))
ED_LATE = Situation("ed25519-late-seals", (ED,), "late", _ring(ED))
ROTATED = Situation("hmac-rotated", (K1, K2), "each", _ring(K1, K2))
UNKEYED_CHAIN = Situation("unkeyed", (), "none", None)
SITUATIONS = (HMAC, ED_COMMIT, ED_LATE, ROTATED, UNKEYED_CHAIN)


@dataclass
class Stream:
    """One stream as it was written: its lines by segment, and where it stands."""

    name: str
    segments: list[list[bytes]] = field(default_factory=list)
    state: ChainState = field(default_factory=lambda: ChainState(""))

    def file(self, index: int) -> str:
        """Return the file name of a segment."""
        return segment_name(self.name, DAY, index)

    @property
    def origin(self) -> bytes:
        """The chain hash of entry 1."""
        return split(self.segments[0][0])[1].chain_hash

    @property
    def lines(self) -> list[bytes]:
        """All lines in order."""
        return [line for lines in self.segments for line in lines]


def payload(rng: random.Random, seq: int) -> bytes:
    """Return an event as applications write it, of varying content."""
    event: dict[str, object] = {
        "event_type": rng.choice(["data_access", "config_changed", "authentication_failed"]),
        "message": rng.choice(["first", 'quotes " and \\ slashes', "é 漢 😀", '{"integrity":{"v":1', ""]),
        "timestamp": f"2026-11-20T12:00:{rng.randrange(60):02d}.000000Z",
        "user_id": f"u-{rng.randrange(1000)}",
        "n": seq,
    }
    return b"{}" if rng.randrange(12) == 0 else encode_payload(event)


def write_stream(
    name: str,
    situation: Situation,
    *,
    segments: int = 3,
    entries: int = 5,
    seed: int = 1,
    commit: int = 3,
) -> Stream:
    """Seal a stream of `segments` segments of `entries` entries; every `commit`-th entry, and the last of each
    segment, carries a mac or is followed by a seal where macs are not on each entry."""
    rng = random.Random(f"{seed}/{name}")
    stream = Stream(name, state=ChainState(name))
    for _ in range(segments):
        lines: list[bytes] = []
        for index in range(1, entries + 1):
            is_commit = index % commit == 0 or index == entries
            key = situation.key_at(stream.state.seq + 1)
            with_mac = situation.macs == "each" or (situation.macs == "commit" and is_commit)
            line, stream.state = seal(payload(rng, stream.state.seq + 1), stream.state, key, mac=with_mac)
            lines.append(line)
            if situation.macs == "late" and is_commit and key is not None:
                line, stream.state = seal(late_seal(stream.state, key), stream.state, key, mac=False)
                lines.append(line)
        stream.segments.append(lines)
    return stream


def late_seal(state: ChainState, key: SigningKey) -> bytes:
    """Return the payload of a seal of the entry at which the stream stands."""
    return control_payload(
        "seal",
        seq=state.seq,
        chain_hash=b64url_encode(state.chain_hash),
        key_id=key.key_id,
        algo=str(key.algorithm),
        mac=b64url_encode(key.sign(mac_message(state.chain_hash))),
    )


def manifest_of(stream: Stream, index: int, key: SigningKey | None, others: tuple = ()) -> Manifest:
    """Return the signed manifest of a segment."""
    lines = stream.segments[index]
    first, last = split(lines[0])[1], split(lines[-1])[1]
    data = b"".join(lines)
    stamps = [text for text in map(timestamp, lines) if text is not None]
    manifest = Manifest(
        stream=stream.name,
        origin=stream.origin,
        file=stream.file(index),
        created_ts=TIME,
        closed_ts=TIME,
        record_count=len(lines),
        first_seq=first.seq,
        last_seq=last.seq,
        first_ts=min(stamps, default=None),
        last_ts=max(stamps, default=None),
        continues_from=first.prev_chain_hash,
        root_chain_hash=last.chain_hash,
        size_bytes=len(data),
        file_sha256=sha256(data).digest(),
        algo=last.algo,
        key_id=last.key_id,
        others=others,
    )
    return sign_manifest(manifest, key)


def timestamp(line: bytes) -> str | None:
    """Return the top-level timestamp of a line's payload."""
    import json

    return json.loads(split(line)[0]).get("timestamp")


def head_of(stream: Stream, key: SigningKey | None, others: tuple = ()) -> Head:
    """Return the signed head of a stream at its end."""
    head = Head(
        stream=stream.name,
        origin=stream.origin,
        seq=stream.state.seq,
        chain_hash=stream.state.chain_hash,
        first_seq=1,
        segment=stream.file(len(stream.segments) - 1),
        offset=sum(map(len, stream.segments[-1])),
        last_updated=TIME,
        others=others,
    )
    return sign_head(head, key)


@dataclass(frozen=True)
class Shape:
    """Which attestations a log has beside its lines."""

    manifests: bool = True
    head: bool = True
    others: bool = True

    @property
    def name(self) -> str:
        """How the tables call it."""
        parts = [part for part in ("manifests", "head", "others") if getattr(self, part)]
        return "+".join(parts) or "lines only"


SHAPES = (
    Shape(),
    Shape(others=False),
    Shape(head=False, others=False),
    Shape(manifests=False, others=False),
    Shape(manifests=False, head=False, others=False),
)


@dataclass
class Log:
    """A whole folder: its streams as written, and the image of its files."""

    situation: Situation
    shape: Shape
    streams: list[Stream]
    image: Image

    @property
    def main(self) -> Stream:
        """The stream that is attacked."""
        return self.streams[0]


def make_log(
    situation: Situation, shape: Shape = SHAPES[0], *, seed: int = 1, segments: int = 3, entries: int = 5
) -> Log:
    """Make a folder with the streams `audit` and `audit.w2`, all segments closed."""
    streams = [
        write_stream(name, situation, seed=seed, segments=segments, entries=entries) for name in ("audit", "audit.w2")
    ]
    image: Image = {}
    for stream in streams:
        others = tuple((one.name, one.state.seq, one.state.chain_hash) for one in streams if one is not stream)
        others = others if shape.others else ()
        for index, lines in enumerate(stream.segments):
            image[stream.file(index)] = b"".join(lines)
            if shape.manifests:
                key = situation.key_at(split(lines[-1])[1].seq)
                last = index == len(stream.segments) - 1
                manifest = manifest_of(stream, index, key, others if last else ())
                image[manifest_name(stream.file(index))] = format_manifest(manifest)
        if shape.head:
            head = head_of(stream, situation.key_at(stream.state.seq), others)
            image[f"{STATE_FOLDER}/{head_name(stream.name)}"] = format_head(head)
    return Log(situation, shape, streams, image)


def write_image(image: Image, folder: Path) -> Path:
    """Write an image to a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in image.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return folder


def reseal_unkeyed(lines: list[bytes], stream: str) -> list[bytes]:
    """Return the entries as somebody without any key seals them."""
    state, out = ChainState(stream), []
    for line in lines:
        sealed, state = seal(split(line)[0], state, None)
        out.append(sealed)
    return out


def gzipped(data: bytes) -> bytes:
    """Return one gzip member."""
    return gzip.compress(data, mtime=0)
