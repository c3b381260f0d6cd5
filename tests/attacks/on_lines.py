"""Attacks on lines: edit, spell, delete, insert, move, splice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attacks.model import (
    ANY,
    NOT_CHECKED,
    Catalogue,
    Changed,
    Verdict,
    any_segment,
    attacker_key,
    block_of,
    build_line,
    by_shape,
    flip_text,
    head_file,
    invisible,
    is_seal,
    keyed,
    last,
    manifest_file,
    not_intact,
    payload_of,
    put,
    tampered,
    undetermined,
    with_manifests,
    without,
)
from support.logs import Log, Shape, Situation, write_stream

from fapilog_tamper.entry import seal

if TYPE_CHECKING:
    import random

ATTACKS: list = []


def catalogue(group: str) -> Catalogue:
    """Return a catalogue whose attacks join this module's."""
    made = Catalogue(group)
    made.attacks = ATTACKS
    return made


# --- edit -------------------------------------------------------------------------------------------------------------

edit = catalogue("edit")

CONTENT = tampered("payload-changed", why="the chain hash is over the payload")


def full_line(log: Log, rng: random.Random) -> tuple[str, int, list[bytes]]:
    """Return file, index and lines of a line whose payload has members."""
    while True:
        _, file, lines = any_segment(log, rng)
        at = rng.randrange(len(lines))
        if payload_of(lines[at]) != b"{}":
            return file, at, lines


def change(log: Log, file: str, at: int, lines: list[bytes], line: bytes, *more: tuple[str, int | None]) -> Changed:
    """Return the log with another line at an index; the place is that line, or one of `more`."""
    return Changed(put(log.image, file, [*lines[:at], line, *lines[at + 1 :]]), {(file, at + 1), *more})


def edit_payload(log: Log, rng: random.Random, allowed: bytes) -> Changed:
    file, at, lines = full_line(log, rng)
    line, size = lines[at], len(payload_of(lines[at]))
    spots = [spot for spot in range(2, size - 1) if line[spot] in allowed]
    return change(log, file, at, lines, flip_text(rng, line, rng.choice(spots)))


@edit.add("one byte of the payload", CONTENT)
def edit_byte(log: Log, rng: random.Random) -> Changed:
    return edit_payload(log, rng, b"abcdefghijklmnopqrstuvwxyz_")


@edit.add("a digit", CONTENT)
def edit_digit(log: Log, rng: random.Random) -> Changed:
    return edit_payload(log, rng, b"0123456789")


@edit.add("a member name", CONTENT)
def edit_name(log: Log, rng: random.Random) -> Changed:
    file, at, lines = full_line(log, rng)
    name = b'"' + lines[at].split(b'"')[1] + b'"'
    return change(log, file, at, lines, lines[at].replace(name, name[:-1] + b'x"', 1))


@edit.add("the payload replaced by {}", CONTENT)
def edit_empty(log: Log, rng: random.Random) -> Changed:
    file, at, lines = full_line(log, rng)
    return change(log, file, at, lines, build_line(b"{}", block_of(lines[at])))


@edit.add("the payload spelled in another way of JSON", CONTENT)
def edit_spelling(log: Log, rng: random.Random) -> Changed:
    file, at, lines = full_line(log, rng)
    payload = payload_of(lines[at])
    letter = next(spot for spot in range(2, len(payload)) if payload[spot : spot + 1].isalpha())
    spelled = payload[:letter] + b"\\u%04x" % payload[letter] + payload[letter + 1 :]
    return change(log, file, at, lines, build_line(spelled, block_of(lines[at])))


def edit_block(log: Log, rng: random.Random, turn) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    line = build_line(payload_of(lines[at]), turn(block_of(lines[at])))
    return change(log, file, at, lines, line)


@edit.add(
    "the seq", tampered("seq-gap", "seq-repeat", "seq-regress", "payload-changed", why="seq is checked, and hashed")
)
def edit_seq(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, seq=block.seq + rng.choice([1, 2, 7, 1000])))


@edit.add("a seq beyond 2^53", tampered("line-malformed", why="seq is below 2^53"))
def edit_huge_seq(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, seq=2**53 + rng.randrange(1000)))


def other_hash(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


@edit.add("the link", tampered("link-broken", "payload-changed", why="the link is compared, and hashed"))
def edit_prev(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, prev_chain_hash=other_hash(block.prev_chain_hash, rng)))


@edit.add("the chain hash", CONTENT)
def edit_chain(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, chain_hash=other_hash(block.chain_hash, rng)))


@edit.add("the stream's name", tampered("stream-changed", "payload-changed", why="the name is checked, and hashed"))
def edit_stream(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, stream="auditx"))


@edit.add("the key id", keyed(CONTENT))
def edit_key_id(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, key_id="k9"))


def macced(log: Log, rng: random.Random) -> tuple[str, int, list[bytes]]:
    """Return file, index and lines of a line that has a mac."""
    while True:
        _, file, lines = any_segment(log, rng)
        spots = [at for at, line in enumerate(lines) if block_of(line).mac is not None]
        if spots:
            return file, rng.choice(spots), lines


@edit.add("a mac", keyed(tampered("mac-invalid", why="others under that key hold"), macs=("each", "commit")))
def edit_mac(log: Log, rng: random.Random) -> Changed:
    file, at, lines = macced(log, rng)
    block = block_of(lines[at])
    line = build_line(payload_of(lines[at]), replace(block, mac=other_hash(block.mac, rng)))
    return change(log, file, at, lines, line)


@edit.add(
    "the version",
    lambda _, shape: (
        tampered("manifest-mismatch", why="the manifest knows the bytes")
        if shape.manifests
        else undetermined("version-unknown", why="a later version may mean anything")
    ),
)
def edit_version(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, v=2))


# --- form -------------------------------------------------------------------------------------------------------------

form = catalogue("form")
MALFORMED = tampered("line-malformed", why="a line has one form")


@form.add("white space in the block", MALFORMED)
def space(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    line, start = lines[at], lines[at].rfind(b'"integrity"')
    spots = [spot for spot in range(start + 11, len(line)) if line[spot : spot + 1] in b":,{}\n"]
    spot = rng.choice(spots)
    return change(log, file, at, lines, line[:spot] + rng.choice([b" ", b"\t"]) + line[spot:])


@form.add("the members of the block in another order", MALFORMED)
def member_order(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    line, block = lines[at], block_of(lines[at])
    seq, name = b'"seq":%d' % block.seq, b'"stream":"%b"' % block.stream.encode()
    return change(log, file, at, lines, line.replace(name + b"," + seq, seq + b"," + name))


@form.add("a leading zero in the seq", MALFORMED)
def leading_zero(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    start = lines[at].rfind(b'"integrity"')
    line = lines[at][:start] + lines[at][start:].replace(b'"seq":', b'"seq":0')
    return change(log, file, at, lines, line)


@form.add("spare bits of base64", MALFORMED)
def spare_bits(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spot = lines[at].rfind(b'","algo"') - 1
    value = alphabet.index(lines[at][spot])
    line = lines[at][:spot] + alphabet[value | 1 + rng.randrange(3)].to_bytes() + lines[at][spot + 1 :]
    return change(log, file, at, lines, line)


@form.add("CRLF", MALFORMED)
def crlf(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    return Changed(put(log.image, file, [line[:-1] + b"\r\n" for line in lines]), {(file, ANY)})


@form.add("a byte order mark", MALFORMED)
def bom(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    return Changed(log.image | {file: b"\xef\xbb\xbf" + b"".join(lines)}, {(file, 1)})


@form.add("a blank line between lines", MALFORMED)
def blank(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    return Changed(put(log.image, file, [*lines[:at], b"\n", *lines[at:]]), {(file, at + 1)})


@form.add("a garbage line", MALFORMED)
def garbage_line(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines) + 1)
    garbage = rng.choice([b"garbage", b"[]", b"null", b"\xff\xfe", b'{"integrity":{}}', b"{" * 100]) + b"\n"
    return Changed(put(log.image, file, [*lines[:at], garbage, *lines[at:]]), {(file, at + 1)})


TORN = undetermined("torn-tail", why="behind all that is attested it may be what a crash left")
AT_THE_END = by_shape(
    tampered("line-malformed", "manifest-mismatch", why="the manifest closed the segment"), TORN, TORN
)


def append_to_last(log: Log, data: bytes) -> Changed:
    file = log.main.file(last(log))
    return Changed(log.image | {file: log.image[file] + data}, {(file, ANY)})


@form.add("garbage without a newline at the end", AT_THE_END)
def trailing_garbage(log: Log, rng: random.Random) -> Changed:
    return append_to_last(log, rng.choice([b"garbage", b'{"n":', b" ", b"\xff" * 9]))


@form.add("NUL bytes at the end", AT_THE_END)
def trailing_nul(log: Log, rng: random.Random) -> Changed:
    return append_to_last(log, bytes(rng.randrange(1, 2000)))


@form.add("blank lines at the end", AT_THE_END)
def trailing_blank(log: Log, rng: random.Random) -> Changed:
    return append_to_last(log, b"\n" * rng.randrange(1, 4))


@form.add(
    "NUL bytes in a line",
    by_shape(
        tampered(why="a line has one form"),
        tampered(why="the head speaks of entries behind it"),
        not_intact(why="zeros that end at a sector may be what a crash left"),
    ),
)
def nul_inside(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    spot = rng.randrange(len(lines[at]) - 1)
    line = lines[at][:spot] + bytes(rng.randrange(1, 5)) + lines[at][spot:]
    return change(log, file, at, lines, line)


@form.add(
    "a hole of zeros up to a sector",
    by_shape(
        tampered(why="the manifest closed the segment"),
        tampered(why="the head speaks of entries behind it"),
        undetermined("torn-tail", why="as a crash leaves it, and nothing is attested"),
    ),
)
def sector_hole(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(last(log))
    data = log.image[file]
    end = 512 * rng.randrange(1, len(data) // 512 + 1)
    start = end - rng.randrange(20, 400)
    changed = data[:start] + bytes(end - start) + data[end:]
    return Changed(log.image | {file: changed}, {(file, ANY)})


# --- delete -----------------------------------------------------------------------------------------------------------

delete = catalogue("delete")
BEGINS_LATE = invisible("begins-late", why="nothing says where the stream began")
END_OPEN = invisible("end-open", why="nothing says where the stream ended")
GONE_AT_THE_END = tampered("segment-missing", "manifest-mismatch", why="fewer entries than are attested")
UNCOVERED = undetermined("unauthenticated-tail", why="the last entries have no mac behind them")


def cut_end(*, at_mac: bool):
    """What shows when lines are gone at the end, up to a border that a mac covers or not."""

    def expect(situation: Situation, shape: Shape) -> Verdict:
        if shape.manifests or shape.head:
            return GONE_AT_THE_END
        return END_OPEN if at_mac or situation.macs in ("each", "none") else UNCOVERED

    return expect


@delete.add(
    "the first line of the log",
    by_shape(
        tampered("manifest-mismatch", why="the manifest says first_seq 1"),
        tampered("segment-missing", why="the head says first_seq 1"),
        BEGINS_LATE,
    ),
)
def delete_first(log: Log, rng: random.Random) -> Changed:
    return cut_head(log, 1)


@delete.add(
    "the head of the log",
    by_shape(
        tampered("manifest-mismatch", why="the manifest says first_seq 1"),
        tampered("segment-missing", why="the head says first_seq 1"),
        BEGINS_LATE,
    ),
)
def delete_head(log: Log, rng: random.Random) -> Changed:
    return cut_head(log, rng.randrange(2, len(log.main.segments[0])))


def cut_head(log: Log, count: int) -> Changed:
    file = log.main.file(0)
    return Changed(put(log.image, file, log.main.segments[0][count:]), {(file, ANY)})


@delete.add("a line inside a segment", tampered("seq-gap", why="seqs are without a hole"))
def delete_middle(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines) - 1)
    return Changed(put(log.image, file, lines[:at] + lines[at + 1 :]), {(file, at + 1)})


@delete.add("a run of lines inside a segment", tampered("seq-gap", why="seqs are without a hole"))
def delete_run(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines) - 2)
    end = rng.randrange(at + 1, len(lines))
    return Changed(put(log.image, file, lines[:at] + lines[end:]), {(file, at + 1)})


@delete.add("the first line of a later segment", tampered("segment-missing", why="a hole between segments"))
def delete_seam_first(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(1, len(log.main.segments))
    file = log.main.file(index)
    return Changed(put(log.image, file, log.main.segments[index][1:]), {(file, 1)})


@delete.add("the last line of an earlier segment", tampered("segment-missing", why="a hole between segments"))
def delete_seam_last(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments) - 1)
    image = put(log.image, log.main.file(index), log.main.segments[index][:-1])
    return Changed(image, {(log.main.file(index + 1), 1), (log.main.file(index), ANY)})


@delete.add("the last line of the log", cut_end(at_mac=False))
def delete_last(log: Log, rng: random.Random) -> Changed:
    return cut_lines(log, 1)


def cut_lines(log: Log, count: int) -> Changed:
    index = last(log)
    file = log.main.file(index)
    return Changed(put(log.image, file, log.main.segments[index][:-count]), {(file, ANY)})


def lines_behind_mac(log: Log) -> int:
    """Return how many lines of the last segment stand behind the last but one place that a mac covers."""
    lines = log.main.segments[last(log)]
    covered = [at for at, line in enumerate(lines) if block_of(line).mac is not None or is_seal(line)] or [0, 1, 2]
    return len(lines) - 1 - covered[-2]


@delete.add("the last lines, up to a mac", cut_end(at_mac=True))
def delete_to_mac(log: Log, rng: random.Random) -> Changed:
    return cut_lines(log, lines_behind_mac(log))


@delete.add(
    "the end of the last line",
    by_shape(
        tampered("line-malformed", "manifest-mismatch", "segment-missing", why="the manifest closed the segment"),
        tampered("line-malformed", "segment-missing", why="the head speaks of that entry"),
        TORN,
    ),
)
def cut_inside(log: Log, rng: random.Random) -> Changed:
    index = last(log)
    file, line = log.main.file(index), log.main.segments[index][-1]
    size = rng.choice([1, rng.randrange(1, len(line)), len(line) - 1])
    return Changed(log.image | {file: log.image[file][:-size]}, {(file, len(log.main.segments[index])), (file, ANY)})


def attested_elsewhere(shape: Shape) -> bool:
    return shape.others


@delete.add(
    "the end of the last line, with its manifest",
    with_manifests(
        lambda _, shape: (
            tampered("line-malformed", "segment-missing", why="the head speaks of that entry") if shape.head else TORN
        )
    ),
)
def cut_inside_manifest(log: Log, rng: random.Random) -> Changed:
    changed = cut_inside(log, rng)
    return replace(changed, image=without(changed.image, manifest_file(log, last(log))))


def no_attestation(*notes: str):
    return lambda _situation, shape: (
        tampered("segment-missing", "rollback", why="the other stream's head and manifest say where it ended")
        if shape.others
        else invisible(*notes, why="all that attested the end is gone")
    )


@delete.add("the last lines up to a mac, with manifest and head", no_attestation("end-open"))
def cut_with_documents(log: Log, rng: random.Random) -> Changed:
    changed = cut_lines(log, lines_behind_mac(log))
    image = without(changed.image, manifest_file(log, last(log)), head_file(log.main.name))
    return replace(changed, image=image)


@delete.add("the last segment, with manifest and head", no_attestation("end-open", NOT_CHECKED))
def last_segment_with_documents(log: Log, rng: random.Random) -> Changed:
    image = without(log.image, log.main.file(last(log)), manifest_file(log, last(log)), head_file(log.main.name))
    return Changed(image, None)


# --- insert -----------------------------------------------------------------------------------------------------------

insert = catalogue("insert")


def insert_at(log: Log, file: str, lines: list[bytes], at: int, line: bytes, *more: tuple[str, int | None]) -> Changed:
    image = put(log.image, file, [*lines[:at], line, *lines[at:]])
    return Changed(image, {(file, at + 1), *more})


@insert.add(
    "a copy of a line elsewhere",
    tampered("seq-repeat", "seq-regress", "seq-gap", "segment-missing", why="a seq stands once, in its place"),
)
def insert_copy(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    line = rng.choice(log.main.lines)
    spots = [at for at in range(1, len(lines) + 1) if block_of(line).seq != block_of(lines[at - 1]).seq + 1]
    at = rng.choice(spots)
    return insert_at(log, file, lines, at, line)


@insert.add(
    "a copy before the first line",
    tampered("seq-repeat", "seq-regress", "seq-gap", "segment-missing", why="a seq stands once, in its place"),
)
def insert_copy_first(log: Log, rng: random.Random) -> Changed:
    file, lines = log.main.file(1), log.main.segments[1]
    return insert_at(log, file, lines, 0, rng.choice(lines[1:] + log.main.segments[2]), (file, 2))


@insert.add("an unsealed line", tampered("integrity-missing", why="every line of a log is sealed"))
def insert_unsealed(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    unsealed = rng.choice([b'{"event_type":"x"}\n', b"{}\n", b'{ "n": 1 }\n', payload_of(lines[0]) + b"\n"])
    return insert_at(log, file, lines, rng.randrange(len(lines) + 1), unsealed)


@insert.add(
    "a line of a log under another key",
    tampered("link-broken", "seq-repeat", "seq-regress", "seq-gap", "mac-invalid", why="it is not in this chain"),
)
def insert_foreign(log: Log, rng: random.Random) -> Changed:
    foreign = write_stream(
        log.main.name, replace(log.situation, keys=tuple(map(attacker_key, log.situation.keys))), seed=99
    )
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines) + 1)
    line = foreign.lines[block_of(lines[at - 1]).seq % len(foreign.lines)]
    return insert_at(log, file, lines, at, line)


def appended(log: Log, line: bytes) -> Changed:
    index = last(log)
    return insert_at(log, log.main.file(index), log.main.segments[index], len(log.main.segments[index]), line)


def seal_next(log: Log, payload: bytes, key, *, mac: bool = True) -> bytes:
    return seal(payload, log.main.state, key, mac=mac)[0]


def unproven_append(situation: Situation, shape: Shape) -> Verdict:
    """What a linked entry without a mac at the end is."""
    if shape.manifests:
        return tampered("manifest-mismatch", "mac-missing", why="the manifest closed the segment")
    if situation.macs == "each":
        return tampered("mac-missing", why="every entry under this key has a mac")
    if not situation.keys:
        return invisible("unkeyed-chain", why="anyone can go on with an unkeyed chain")
    return UNCOVERED


@insert.add("a linked entry without a mac, at the end", unproven_append)
def append_without_mac(log: Log, rng: random.Random) -> Changed:
    key = log.situation.key_at(log.main.state.seq + 1)
    changed = appended(log, seal_next(log, b'{"forged":true}', key, mac=False))
    # A late seal at the very end was not counted; behind it stands an event now, so the tail begins with the seal.
    return replace(changed, where={(log.main.file(last(log)), ANY)})


@insert.add("a linked entry with a forged mac, at the end", keyed(tampered("mac-invalid", why="others hold")))
def append_forged(log: Log, rng: random.Random) -> Changed:
    key = log.situation.key_at(log.main.state.seq + 1)
    return appended(log, seal_next(log, b'{"forged":true}', attacker_key(key)))


UNKEYED_BEHIND = keyed(tampered("mac-missing", why="a stream is keyed from its first keyed entry on"))


@insert.add("an unkeyed tail behind keyed entries", UNKEYED_BEHIND)
def unkeyed_tail(log: Log, rng: random.Random) -> Changed:
    state, tail = log.main.state, []
    for number in range(rng.randrange(1, 4)):
        line, state = seal(b'{"forged":%d}' % number, state, None)
        tail.append(line)
    index = last(log)
    lines = log.main.segments[index]
    return Changed(put(log.image, log.main.file(index), lines + tail), {(log.main.file(index), len(lines) + 1)})


@insert.add("an unkeyed tail in a segment of its own", UNKEYED_BEHIND)
def unkeyed_segment(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(last(log) + 1)
    return Changed(log.image | {file: seal_next(log, b'{"forged":true}', None)}, {(file, 1)})


# --- move -------------------------------------------------------------------------------------------------------------

move = catalogue("move")
OUT_OF_PLACE = tampered("seq-gap", "seq-repeat", "seq-regress", "segment-missing", why="seqs are in order")


@move.add("two lines swapped", OUT_OF_PLACE)
def swap(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    one, two = sorted(rng.sample(range(len(lines)), 2))
    lines[one], lines[two] = lines[two], lines[one]
    return Changed(put(log.image, file, lines), {(file, one + 1), (file, one + 2)})


@move.add("two lines swapped between segments", OUT_OF_PLACE)
def swap_far(log: Log, rng: random.Random) -> Changed:
    segments = [list(lines) for lines in log.main.segments]
    one, two = rng.randrange(1, len(segments[0])), rng.randrange(len(segments[1]) - 1)
    segments[0][one], segments[1][two] = segments[1][two], segments[0][one]
    files = log.main.file(0), log.main.file(1)
    image = put(put(log.image, files[0], segments[0]), files[1], segments[1])
    return Changed(image, {(files[0], one + 1), (files[1], two + 1)})


@move.add("a line twice", tampered("seq-repeat", why="a seq stands once"))
def duplicate(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    return insert_at(log, file, lines, at + 1, lines[at])


@move.add("a segment reversed", OUT_OF_PLACE)
def reverse(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    return Changed(put(log.image, file, lines[::-1]), {(file, 1), (file, 2)})


@move.add("a line moved", OUT_OF_PLACE)
def move_line(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    old, new = rng.sample(range(len(lines)), 2)
    lines.insert(new, lines.pop(old))
    return Changed(put(log.image, file, lines), {(file, min(old, new) + 1), (file, min(old, new) + 2), (file, new + 1)})


@move.add(
    "the border between two segments moved",
    lambda _, shape: (
        tampered("manifest-mismatch", why="a manifest says what its segment holds")
        if shape.manifests
        else invisible(why="nothing is lost: the same entries in the same order")
    ),
)
def move_border(log: Log, rng: random.Random) -> Changed:
    one, two = log.main.segments[0], log.main.segments[1]
    count = rng.randrange(1, len(two))
    files = log.main.file(0), log.main.file(1)
    image = put(put(log.image, files[0], one + two[:count]), files[1], two[count:])
    return Changed(image, {(files[0], ANY), (files[1], ANY)})


# --- splice -----------------------------------------------------------------------------------------------------------

splice = catalogue("splice")
OTHER_STREAM = tampered("stream-changed", why="the stream's name is in the block, and hashed")


@splice.add("a line of the other stream in a line's place", OTHER_STREAM)
def splice_line(log: Log, rng: random.Random) -> Changed:
    index, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines))
    return change(log, file, at, lines, log.streams[1].segments[index][at])


@splice.add("a run of the other stream", OTHER_STREAM)
def splice_run(log: Log, rng: random.Random) -> Changed:
    index, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines) - 1)
    end = rng.randrange(at + 1, len(lines))
    lines[at:end] = log.streams[1].segments[index][at:end]
    return Changed(put(log.image, file, lines), {(file, at + 1)})


@splice.add("a segment of the other stream", tampered("segment-missing", "manifest-mismatch", why="a hole is left"))
def splice_segment(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(1)
    image = put(log.image, file, log.streams[1].segments[1])
    return Changed(image, {(file, ANY), (log.main.file(2), 1)})


@splice.add("lines of the other stream, renamed", CONTENT)
def splice_renamed(log: Log, rng: random.Random) -> Changed:
    index, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines))
    other = log.streams[1].segments[index][at]
    prev = block_of(lines[at]).prev_chain_hash
    block = replace(block_of(other), stream=log.main.name, prev_chain_hash=prev)
    return change(log, file, at, lines, build_line(payload_of(other), block))
