"""Attacks on files: remove, empty, rename, swap, link, compress."""

from __future__ import annotations

import gzip
import sys
from typing import TYPE_CHECKING

from attacks.model import (
    ANY,
    Catalogue,
    Changed,
    Verdict,
    any_segment,
    block_of,
    build_line,
    by_shape,
    documents,
    invisible,
    last,
    manifest_file,
    not_intact,
    of_stream,
    payload_of,
    tampered,
    undetermined,
    with_manifests,
    without,
)
from support.logs import Image, Log, Shape, Situation, gzipped

if TYPE_CHECKING:
    import random

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ATTACKS: list = []


def catalogue(group: str) -> Catalogue:
    """Return a catalogue whose attacks join this module's."""
    made = Catalogue(group)
    made.attacks = ATTACKS
    return made


files = catalogue("files")
HOLE = tampered("segment-missing", why="a hole between segments")
NO_WORD = invisible(why="nobody speaks of it: only `others`, a head kept elsewhere or an anchor can")


@files.add("a segment in the middle removed, with its manifest", HOLE)
def remove_middle(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, log.main.file(1), manifest_file(log, 1)), {(log.main.file(2), 1)})


@files.add("a segment in the middle removed, not its manifest", with_manifests(HOLE))
def remove_middle_only(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, log.main.file(1)), {(log.main.file(2), 1), (manifest_file(log, 1), ANY)})


@files.add(
    "the first segment removed, with its manifest",
    lambda _, shape: (
        tampered("segment-missing", why="the head says first_seq 1")
        if shape.head
        else invisible("begins-late", why="nothing says where the stream began")
    ),
)
def remove_first(log: Log, rng: random.Random) -> Changed:
    image = without(log.image, log.main.file(0), manifest_file(log, 0))
    return Changed(image, {(log.main.file(1), 1)} if log.shape.head else None)


@files.add("the first segment removed, not its manifest", with_manifests(HOLE))
def remove_first_only(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, log.main.file(0)), {(log.main.file(1), 1), (manifest_file(log, 0), ANY)})


@files.add(
    "the last segment removed, not its manifest nor the head",
    by_shape(HOLE, HOLE, invisible("end-open", why="nothing says where the stream ended")),
)
def remove_last(log: Log, rng: random.Random) -> Changed:
    shown = log.shape.manifests or log.shape.head
    places = {(log.main.file(last(log) - 1), ANY), (manifest_file(log, last(log)), ANY)}
    return Changed(without(log.image, log.main.file(last(log))), places if shown else None)


@files.add(
    "a stream removed, with its head and manifests",
    lambda _, shape: (
        undetermined("stream-missing", why="the other stream speaks of it, and nothing of it is there")
        if shape.others
        else NO_WORD
    ),
)
def remove_stream(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, *of_stream(log.image, log.streams[1].name)))


@files.add("the segments of a stream removed, not its head and manifests", by_shape(HOLE, HOLE, NO_WORD))
def remove_segments(log: Log, rng: random.Random) -> Changed:
    kept = documents(log.image)
    return Changed(
        without(log.image, *(name for name in of_stream(log.image, log.streams[1].name) if name not in kept))
    )


EMPTY = undetermined("empty", "stream-missing", why="there is nothing to verify")


@files.add("everything removed", EMPTY)
def remove_all(log: Log, rng: random.Random) -> Changed:
    return Changed({})


@files.add("all segments removed", by_shape(HOLE, HOLE, EMPTY))
def remove_all_segments(log: Log, rng: random.Random) -> Changed:
    return Changed({name: log.image[name] for name in documents(log.image)})


@files.add("an empty file in place of a segment", HOLE)
def empty_middle(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(1)
    return Changed(log.image | {file: b""}, {(log.main.file(2), 1), (file, ANY), (manifest_file(log, 1), ANY)})


@files.add("a symbolic link to the same bytes outside in place of a segment", HOLE)
def link_middle(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(1)
    places = {(log.main.file(2), 1), (file, ANY), (manifest_file(log, 1), ANY)}
    return Changed(without(log.image, file), places, links={file: log.image[file]})


def renamed(image: Image, names: dict[str, str]) -> Image:
    return {names.get(name, name): data for name, data in image.items()}


@files.add("a segment renamed to .tmp", HOLE)
def hide_middle(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(1)
    places = {(log.main.file(2), 1), (manifest_file(log, 1), ANY)}
    return Changed(renamed(log.image, {file: file + rng.choice([".tmp", ".torn-1"])}), places)


@files.add("all segments of a stream renamed to .tmp", by_shape(HOLE, HOLE, NO_WORD))
def hide_all(log: Log, rng: random.Random) -> Changed:
    stream = log.streams[1]
    return Changed(renamed(log.image, {stream.file(index): f"{stream.file(index)}.tmp" for index in range(3)}))


# --- names: nothing rests on one --------------------------------------------------------------------------------------

names = catalogue("names")
SAME = invisible(why="nothing is lost: order and identity come from the entries")


@names.add("two segments swapped, with their manifests", SAME)
def swap_pairs(log: Log, rng: random.Random) -> Changed:
    one, two = rng.sample(range(3), 2)
    pairs = [(log.main.file(one), log.main.file(two)), (manifest_file(log, one), manifest_file(log, two))]
    return Changed(renamed(log.image, dict(pairs) | {b: a for a, b in pairs}))


@names.add("two segments swapped, not their manifests", SAME)
def swap_segments(log: Log, rng: random.Random) -> Changed:
    one, two = (log.main.file(index) for index in rng.sample(range(3), 2))
    return Changed(renamed(log.image, {one: two, two: one}))


@names.add("two segments swapped between streams", SAME)
def swap_streams(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(3)
    one, two = (stream.file(index) for stream in log.streams)
    return Changed(renamed(log.image, {one: two, two: one}))


@names.add("a segment under any other name", SAME)
def rename(log: Log, rng: random.Random) -> Changed:
    return Changed(renamed(log.image, {log.main.file(1): rng.choice(["zz.jsonl", "a b.jsonl.old", "é.jsonl"])}))


@names.add("a segment in two files", SAME)
def copy_file(log: Log, rng: random.Random) -> Changed:
    _, file, _ = any_segment(log, rng)
    return Changed(log.image | {f"copy-{file}": log.image[file]})


# --- compressed -------------------------------------------------------------------------------------------------------

packed = catalogue("compressed")
TWIN = invisible(why="nothing is lost: the untouched twin of the attacks on compressed segments")


def pack(log: Log, index: int, data: bytes, ending: str = ".gz") -> Image:
    """Return the image with a compressed file in place of a segment."""
    file = log.main.file(index)
    return without(log.image, file) | {file + ending: data}


def places(log: Log, index: int, ending: str = ".gz") -> set[tuple[str, int | None]]:
    """Return the file, its manifest, and the first line behind it, where its hole shows."""
    found: set[tuple[str, int | None]] = {(log.main.file(index) + ending, ANY), (manifest_file(log, index), ANY)}
    if index < last(log):
        found.add((log.main.file(index + 1), 1))
    return found


def compress(kind: str, data: bytes) -> bytes:
    return gzipped(data) if kind == ".gz" else zstd.compress(data)


def any_packing(log: Log, rng: random.Random) -> tuple[int, str, bytes]:
    index, kind = rng.randrange(len(log.main.segments)), rng.choice([".gz", ".zst"])
    return index, kind, log.image[log.main.file(index)]


@packed.add("gzip or zstd (twin)", TWIN)
def twin(log: Log, rng: random.Random) -> Changed:
    index, kind, data = any_packing(log, rng)
    return Changed(pack(log, index, compress(kind, data), kind))


EXTRA = tampered("line-malformed", "manifest-mismatch", why="one member, and nothing behind it")


@packed.add("a further member behind", EXTRA)
def extra_member(log: Log, rng: random.Random) -> Changed:
    index, kind, data = any_packing(log, rng)
    more = compress(kind, rng.choice([b"", b"\n", data, b"{}\n"]))
    return Changed(pack(log, index, compress(kind, data) + more, kind), places(log, index, kind))


@packed.add("bytes behind", EXTRA)
def extra_bytes(log: Log, rng: random.Random) -> Changed:
    index, kind, data = any_packing(log, rng)
    more = rng.choice([b"\x00", b"garbage", bytes(70_000), data])
    return Changed(pack(log, index, compress(kind, data) + more, kind), places(log, index, kind))


@packed.add("the lines cut over two members", EXTRA)
def two_members(log: Log, rng: random.Random) -> Changed:
    index, kind, _ = any_packing(log, rng)
    lines = log.main.segments[index]
    at = rng.randrange(1, len(lines))
    data = compress(kind, b"".join(lines[:at])) + compress(kind, b"".join(lines[at:]))
    return Changed(pack(log, index, data, kind), places(log, index, kind))


DAMAGED = by_shape(
    tampered("manifest-mismatch", why="not what the manifest describes"),
    not_intact("unreadable", "segment-missing", why="it cannot be read; what is attested may be gone"),
    not_intact("unreadable", "segment-missing", why="it cannot be read"),
)


@packed.add("cut", DAMAGED)
def cut(log: Log, rng: random.Random) -> Changed:
    index, kind, data = any_packing(log, rng)
    whole = compress(kind, data)
    return Changed(pack(log, index, whole[: rng.randrange(20, len(whole))], kind), places(log, index, kind))


@packed.add(
    "the check sum cut off",
    by_shape(
        tampered("manifest-mismatch", "line-malformed", why="not as any writer stored it"),
        not_intact("unreadable", "segment-missing", why="it ends early"),
        not_intact("unreadable", "segment-missing", why="it ends early"),
    ),
)
def cut_check_sum(log: Log, rng: random.Random) -> Changed:
    index, _, data = any_packing(log, rng)
    return Changed(pack(log, index, gzipped(data)[: -rng.randrange(1, 9)]), places(log, index))


@packed.add("a byte of the check sum", DAMAGED)
def check_sum(log: Log, rng: random.Random) -> Changed:
    index, _, data = any_packing(log, rng)
    whole = gzipped(data)
    at = len(whole) - rng.randrange(1, 9)
    changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    return Changed(pack(log, index, changed), places(log, index))


@packed.add(
    "a bomb",
    by_shape(
        tampered("manifest-mismatch", "line-malformed", why="more bytes than the manifest says"),
        not_intact("torn-tail", "line-malformed", "segment-missing", "unreadable", why="zeros are no line"),
        not_intact("torn-tail", "line-malformed", "segment-missing", "unreadable", why="zeros are no line"),
    ),
)
def bomb(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments))
    return Changed(pack(log, index, BOMB), places(log, index))


BOMB = gzip.compress(bytes(4 << 20), mtime=0)


def forged(log: Log, rng: random.Random, index: int, payload: bytes | None = None) -> tuple[int, bytes]:
    """Return the bytes of a segment with one line edited, of the same length unless `payload` is given."""
    lines = list(log.main.segments[index])
    at = rng.choice([at for at, line in enumerate(lines) if not line.startswith(b'{"integrity"')])
    old = payload_of(lines[at])
    lines[at] = build_line(payload or b'{"' + b"x" * (len(old) - 6) + b'":1}', block_of(lines[at]))
    return at, b"".join(lines)


@packed.add(
    "other lines than its manifest describes", tampered("payload-changed", why="lines are lines, packed or not")
)
def other_lines(log: Log, rng: random.Random) -> Changed:
    index, kind, _ = any_packing(log, rng)
    at, data = forged(log, rng, index)
    return Changed(pack(log, index, compress(kind, data), kind), {(log.main.file(index) + kind, at + 1)})


@packed.add(
    "longer lines than its manifest describes",
    tampered("payload-changed", "manifest-mismatch", why="no more is unpacked than the manifest says"),
)
def longer_lines(log: Log, rng: random.Random) -> Changed:
    index, kind, _ = any_packing(log, rng)
    _, data = forged(log, rng, index, b'{"forged":"%b"}' % (b"x" * 300))
    return Changed(pack(log, index, compress(kind, data), kind), places(log, index, kind))


def shorter_rule(situation: Situation, shape: Shape) -> Verdict:
    if shape.manifests or shape.head:
        return tampered("manifest-mismatch", "segment-missing", why="fewer entries than are attested")
    if situation.macs in ("commit", "late"):
        return undetermined("unauthenticated-tail", why="the last entries have no mac behind them")
    return invisible("end-open", why="nothing says where the stream ended")


@packed.add("fewer lines than its manifest describes", shorter_rule)
def fewer_lines(log: Log, rng: random.Random) -> Changed:
    index, kind = last(log), rng.choice([".gz", ".zst"])
    data = b"".join(log.main.segments[index][:-1])
    return Changed(pack(log, index, compress(kind, data), kind), places(log, index, kind))


@packed.add("an edited copy beside the untouched file", tampered("payload-changed", why="every file is checked"))
def edited_copy(log: Log, rng: random.Random) -> Changed:
    index, kind, _ = any_packing(log, rng)
    file = log.main.file(index) + kind
    at, data = forged(log, rng, index)
    return Changed(log.image | {file: compress(kind, data)}, {(file, at + 1)})
