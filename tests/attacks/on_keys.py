"""Attacks on chain and keys: relink, re-seal, strip, relabel, forge seals, fork."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attacks.model import (
    ANY,
    Catalogue,
    Changed,
    Verdict,
    any_segment,
    attacker_key,
    block_of,
    build_line,
    by_shape,
    documents,
    head_file,
    image_of,
    invisible,
    is_seal,
    keyed,
    last,
    payload_of,
    put,
    rehash,
    stream_of,
    tampered,
    undetermined,
    without,
)
from attacks.on_lines import CONTENT, UNCOVERED, appended, change, edit_block, seal_next
from support.logs import Log, Shape, Situation, late_seal, reseal_unkeyed

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, Integrity, mac_message, seal
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.payload import control_payload

if TYPE_CHECKING:
    import random

ATTACKS: list = []


def catalogue(group: str) -> Catalogue:
    """Return a catalogue whose attacks join this module's."""
    made = Catalogue(group)
    made.attacks = ATTACKS
    return made


# --- relink -----------------------------------------------------------------------------------------------------------

relink = catalogue("relink")


def relinked(lines: list[bytes], state: ChainState, mac_of) -> list[bytes]:
    """Return the lines renumbered and linked anew behind `state`, with whatever macs `mac_of` gives."""
    out, seq, prev = [], state.seq, state.chain_hash
    for line in lines:
        payload, seq = payload_of(line), seq + 1
        block = replace(block_of(line), seq=seq, prev_chain_hash=prev)
        prev = rehash(block, payload)
        out.append(build_line(payload, replace(block, chain_hash=prev, mac=mac_of(block, prev))))
    return out


def rewrite_from(
    log: Log, rng: random.Random, mac_of, *, drop_seals: bool = False
) -> tuple[list[list[bytes]], int, int]:
    """Delete one line of segment 0 or 1 and relink all behind it; return the segments and the place."""
    index = rng.randrange(2)
    at = rng.randrange(1, len(log.main.segments[index]) - 2)
    segments = [list(lines) for lines in log.main.segments]
    before = block_of(segments[index][at - 1])
    state = ChainState(log.main.name, before.seq, before.chain_hash)
    del segments[index][at]
    start = at
    for number in range(index, len(segments)):
        tail = [line for line in segments[number][start:] if not (drop_seals and is_seal(line))]
        new = relinked(tail, state, mac_of)
        segments[number][start:] = new
        state, start = ChainState(log.main.name, block_of(new[-1]).seq, block_of(new[-1]).chain_hash), 0
    return segments, index, at


def with_segments(log: Log, segments: list[list[bytes]], index: int, at: int) -> Changed:
    image = dict(log.image)
    for number, lines in enumerate(segments):
        image[log.main.file(number)] = b"".join(lines)
    places: set[tuple[str, int | None]] = {(log.main.file(number), ANY) for number in range(index + 1, len(segments))}
    places |= {(log.main.file(index), line) for line in range(at + 1, len(segments[index]) + 1)}
    return Changed(image, places)


def relink_rule(lines: Verdict):
    """A relinked unkeyed chain is held against manifests and heads; keyed ones fail at their macs."""

    def expect(situation: Situation, shape: Shape) -> Verdict:
        if not situation.keys and shape.manifests:
            return tampered("manifest-mismatch", "rollback", why="the manifest knows the chain")
        if not situation.keys and shape.head:
            return tampered("rollback", "segment-missing", why="the head knows the chain")
        return lines if situation.keys else invisible("unkeyed-chain", why="anyone can recompute it")

    return expect


@relink.add("delete, renumber, keep the macs", relink_rule(tampered("mac-invalid", why="macs are over the chain")))
def relink_keep(log: Log, rng: random.Random) -> Changed:
    return with_segments(log, *rewrite_from(log, rng, lambda block, _chain: block.mac))


@relink.add(
    "delete, renumber, forge the macs", keyed(tampered("mac-invalid", why="others hold"), macs=("each", "commit"))
)
def relink_forge(log: Log, rng: random.Random) -> Changed:
    def mac_of(block: Integrity, chain: bytes) -> bytes | None:
        key = next(key for key in log.situation.keys if key.key_id == block.key_id)
        return None if block.mac is None else attacker_key(key).sign(mac_message(chain))

    return with_segments(log, *rewrite_from(log, rng, mac_of))


def relink_stripped(situation: Situation, shape: Shape) -> Verdict | None:
    if situation.macs in ("each", "none"):
        return tampered("mac-missing", why="every entry under this key has a mac") if situation.keys else None
    if shape.manifests or shape.head:
        return tampered("manifest-mismatch", "rollback", "segment-missing", why="the chain is attested")
    return UNCOVERED


@relink.add("delete, renumber, strip the macs and seals", relink_stripped)
def relink_strip(log: Log, rng: random.Random) -> Changed:
    changed = with_segments(log, *rewrite_from(log, rng, lambda _block, _chain: None, drop_seals=True))
    # The tail begins behind the last entry that is covered, which may stand before the place of the deletion.
    return replace(changed, where={(log.main.file(index), ANY) for index in range(3)})


def rewritten(log: Log) -> list[list[list[bytes]]]:
    """Return the segments of all streams with their content changed."""
    # Late seals of the true key would betray the rewriting: they go.
    forged = [
        [[payload_of(line) for line in lines if not is_seal(line)] for lines in stream.segments]
        for stream in log.streams
    ]
    for stream in forged:
        stream[0][0] = b'{"forged":true}'
    return forged


def seal_all(log: Log, key_at) -> Changed:
    """Seal everything anew, heads and manifests included, with whatever keys."""
    streams = []
    for stream, segments in zip(log.streams, rewritten(log), strict=True):
        state, sealed = ChainState(stream.name), []
        for payloads in segments:
            lines = []
            for payload in payloads:
                line, state = seal(payload, state, key_at(state.seq + 1))
                lines.append(line)
            sealed.append(lines)
        streams.append(stream_of(stream.name, sealed))
    return Changed(image_of(streams, log.shape, key_at), None)


@relink.add(
    "everything rewritten under the attacker's key, with the same key id",
    keyed(undetermined("key-unknown", why="a wrong key and a wholesale rewrite look the same")),
)
def rewrite_all(log: Log, rng: random.Random) -> Changed:
    return seal_all(log, lambda seq: attacker_key(log.situation.key_at(seq)))


@relink.add(
    "everything rewritten under a key of another name",
    keyed(undetermined("key-unknown", why="the key is not known")),
)
def rewrite_named(log: Log, rng: random.Random) -> Changed:
    return seal_all(log, lambda seq: HmacKey("k9", bytes(range(200, 232))))


@relink.add(
    "everything rewritten, unkeyed",
    lambda situation, _: (
        undetermined("unkeyed", why="keys were given and nothing is keyed")
        if situation.keys
        else invisible("unkeyed-chain", why="anyone can recompute an unkeyed chain, heads and manifests")
    ),
)
def rewrite_unkeyed(log: Log, rng: random.Random) -> Changed:
    return seal_all(log, lambda seq: None)


@relink.add(
    "the first entry linked to an entry before it, all recomputed",
    lambda situation, _: (
        None if situation.keys else tampered("link-broken", why="before entry 1 stand 32 zero bytes, in any chain")
    ),
)
def relink_before_first(log: Log, rng: random.Random) -> Changed:
    streams = []
    for stream in log.streams:
        state, segments = ChainState(stream.name, 0, rng.randbytes(32)), []
        for lines in stream.segments:
            segments.append(relinked(lines, state, lambda block, _chain: block.mac))
            block = block_of(segments[-1][-1])
            state = ChainState(stream.name, block.seq, block.chain_hash)
        streams.append(stream_of(stream.name, segments))
    return Changed(image_of(streams, log.shape, lambda _seq: None), {(log.main.file(0), 1)})


# --- reseal -----------------------------------------------------------------------------------------------------------

reseal = catalogue("reseal")


def reseal_rule(situation: Situation, shape: Shape) -> Verdict | None:
    if not situation.keys:
        return None
    if shape.manifests or shape.head:
        return tampered("manifest-mismatch", "rollback", "head-mac", why="manifest and head speak of another chain")
    return undetermined("unkeyed", why="keys were given and the stream has no keyed entry")


@reseal.add("the whole stream unkeyed, heads and manifests as they were", reseal_rule)
def reseal_whole(log: Log, rng: random.Random) -> Changed:
    image = dict(log.image)
    kept = [[line for line in segment if not is_seal(line)] for segment in log.main.segments]
    lines, at = reseal_unkeyed([line for segment in kept for line in segment], log.main.name), 0
    for index, segment in enumerate(kept):
        image[log.main.file(index)] = b"".join(lines[at : at + len(segment)])
        at += len(segment)
    shown = log.shape.manifests or log.shape.head
    return Changed(image, {(log.main.file(index), ANY) for index in range(3)} if shown else None)


@reseal.add(
    "the whole stream unkeyed, its heads and manifests removed",
    lambda situation, shape: (
        None
        if not situation.keys
        else tampered("rollback", "segment-missing", why="the other stream knows the chain")
        if shape.others
        else undetermined("unkeyed", why="keys were given and the stream has no keyed entry")
    ),
)
def reseal_bare(log: Log, rng: random.Random) -> Changed:
    changed = reseal_whole(log, rng)
    own = [name for name in documents(log.image) if name.startswith((f"{log.main.name}_", head_file(log.main.name)))]
    shown = log.shape.others
    return Changed(without(changed.image, *own), changed.where if shown else None)


@reseal.add("unkeyed from the middle on", keyed(tampered("mac-missing", "payload-changed", why="keyed before")))
def reseal_middle(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(1, len(lines))
    before = block_of(lines[at - 1])
    state = ChainState(log.main.name, before.seq, before.chain_hash)
    for spot in range(at, len(lines)):
        lines[spot], state = seal(payload_of(lines[spot]), state, None)
    return Changed(put(log.image, file, lines), {(file, at + 1)})


@reseal.add("the last segment unkeyed", keyed(tampered("mac-missing", why="keyed before")))
def reseal_last(log: Log, rng: random.Random) -> Changed:
    index = last(log)
    before = block_of(log.main.segments[index - 1][-1])
    state, out = ChainState(log.main.name, before.seq, before.chain_hash), []
    for line in log.main.segments[index]:
        sealed, state = seal(payload_of(line), state, None)
        out.append(sealed)
    return Changed(put(log.image, log.main.file(index), out), {(log.main.file(index), 1)})


# --- strip ------------------------------------------------------------------------------------------------------------

strip = catalogue("strip")
STRIPPED = tampered("integrity-missing", why="every line of a log is sealed")


@strip.add("one block", STRIPPED)
def strip_one(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    return change(log, file, at, lines, payload_of(lines[at]) + b"\n")


@strip.add("all blocks", STRIPPED)
def strip_all(log: Log, rng: random.Random) -> Changed:
    image = dict(log.image)
    for index, lines in enumerate(log.main.segments):
        image[log.main.file(index)] = b"".join(payload_of(line) + b"\n" for line in lines)
    return Changed(image, {(log.main.file(0), 1)})


def drop_mac(line: bytes) -> bytes:
    return build_line(payload_of(line), replace(block_of(line), mac=None))


COVERED = invisible(why="nothing is lost: a later mac covers the entry, and its chain hash is as it was")


@strip.add(
    "one mac",
    lambda situation, shape: {
        "each": tampered("mac-missing", why="every entry under this key has a mac"),
        "commit": tampered("manifest-mismatch", why="the manifest knows the bytes") if shape.manifests else COVERED,
    }.get(situation.macs),
)
def strip_mac(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments) - 1)
    file, lines = log.main.file(index), log.main.segments[index]
    at = rng.choice([at for at, line in enumerate(lines) if block_of(line).mac is not None])
    return change(log, file, at, lines, drop_mac(lines[at]), (file, ANY))


@strip.add(
    "all macs",
    lambda situation, shape: {
        "each": tampered("mac-missing", why="every entry under this key has a mac"),
        "commit": tampered("manifest-mismatch", why="the manifest knows the bytes")
        if shape.manifests
        else invisible(why="nothing is lost: the signed head covers the whole chain")
        if shape.head
        else UNCOVERED,
    }.get(situation.macs),
)
def strip_macs(log: Log, rng: random.Random) -> Changed:
    image = dict(log.image)
    for index, lines in enumerate(log.main.segments):
        image[log.main.file(index)] = b"".join(map(drop_mac, lines))
    return Changed(image, {(log.main.file(index), ANY) for index in range(3)})


@strip.add("key id and mac of one entry", keyed(CONTENT))
def strip_key(log: Log, rng: random.Random) -> Changed:
    return edit_block(log, rng, lambda block: replace(block, key_id=None, mac=None, algo="SHA-256"))


# --- relabel ----------------------------------------------------------------------------------------------------------

relabel = catalogue("relabel")


@relabel.add(
    "one entry under another key id, with its chain hash",
    keyed(tampered("link-broken", why="the next entry is linked to what it was")),
)
def relabel_key(log: Log, rng: random.Random) -> Changed:
    _, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines) - 1)
    block, payload = replace(block_of(lines[at]), key_id="k9"), payload_of(lines[at])
    line = build_line(payload, replace(block, chain_hash=rehash(block, payload)))
    return change(log, file, at, lines, line, (file, at + 2))


@relabel.add("one entry under another algo", keyed(tampered("algo-mismatch", why="the keyring fixes the algorithm")))
def relabel_algo(log: Log, rng: random.Random) -> Changed:
    same_size = {"HMAC-SHA256": "RSA-PSS-SHA256", "Ed25519": "ECDSA-P256-SHA256"}
    return edit_block(log, rng, lambda block: replace(block, algo=same_size[block.algo]))


@relabel.add(
    "everything as HMAC keyed with the public key",
    lambda situation, _: (
        tampered("algo-mismatch", why="the keyring fixes the algorithm")
        if isinstance(situation.key_at(1), Ed25519SigningKey)
        else None
    ),
)
def relabel_public(log: Log, rng: random.Random) -> Changed:
    key = log.situation.keys[0]
    changed = seal_all(log, lambda seq: HmacKey(key.key_id, key.verifying_key().public))
    return replace(changed, where={(log.main.file(0), 1)})


# --- seals ------------------------------------------------------------------------------------------------------------

seals = catalogue("seal")
SEAL_FAILS = keyed(tampered("mac-invalid", why="a seal is judged like a mac"), macs=("commit", "late"))


def seal_entry(log: Log, payload: bytes) -> Changed:
    """Append a control entry; in these situations it needs no mac of its own."""
    return appended(log, seal_next(log, payload, log.situation.key_at(log.main.state.seq + 1), mac=False))


@seals.add("a late seal by the attacker's key", SEAL_FAILS)
def forged_seal(log: Log, rng: random.Random) -> Changed:
    return seal_entry(log, late_seal(log.main.state, attacker_key(log.situation.keys[0])))


def seal_payload(key, claimed: int, chain: bytes, mac: bytes) -> bytes:
    return control_payload(
        "seal",
        seq=claimed,
        chain_hash=b64url_encode(chain),
        key_id=key.key_id,
        algo=str(key.algorithm),
        mac=b64url_encode(mac),
    )


def another_entry(log: Log, rng: random.Random) -> tuple[Integrity, Integrity, bytes]:
    """Return two entries, and the mac that the key made of the first."""
    one, two = (block_of(line) for line in rng.sample(log.main.lines, 2))
    return one, two, log.situation.keys[0].sign(mac_message(one.chain_hash))


@seals.add("a seal of one entry for another", SEAL_FAILS)
def moved_seal(log: Log, rng: random.Random) -> Changed:
    one, two, mac = another_entry(log, rng)
    return seal_entry(log, seal_payload(log.situation.keys[0], two.seq, one.chain_hash, mac))


@seals.add("a seal of one entry with the mac of another", SEAL_FAILS)
def mixed_seal(log: Log, rng: random.Random) -> Changed:
    _, two, mac = another_entry(log, rng)
    return seal_entry(log, seal_payload(log.situation.keys[0], two.seq, two.chain_hash, mac))


@seals.add("a seal of an entry that comes later", SEAL_FAILS)
def early_seal(log: Log, rng: random.Random) -> Changed:
    one, _, mac = another_entry(log, rng)
    return seal_entry(log, seal_payload(log.situation.keys[0], log.main.state.seq + 5, one.chain_hash, mac))


# --- fork: the attacker has the key, or had it once -------------------------------------------------------------------

fork = catalogue("fork")
TWO_HISTORIES = tampered("seq-repeat", why="two entries claim one place, and none is a recovery or restore")


def second_history(log: Log, count: int, entries: int) -> list[bytes]:
    """Return entries that the key holder sealed a second time in place of the last `count`."""
    before = block_of(log.main.lines[-count - 1])
    state, out = ChainState(log.main.name, before.seq, before.chain_hash), []
    for number in range(entries):
        line, state = seal(b'{"second":%d}' % number, state, log.situation.key_at(state.seq + 1))
        out.append(line)
    return out


@fork.add("two histories in two files, both under the key", TWO_HISTORIES)
def fork_files(log: Log, rng: random.Random) -> Changed:
    file = log.main.file(last(log) + 1)
    lines = second_history(log, rng.randrange(1, 4), rng.randrange(1, 6))
    return Changed(log.image | {file: b"".join(lines)}, {(file, 1), (log.main.file(last(log)), ANY)})


@fork.add("a second entry behind the last, both under the key", TWO_HISTORIES)
def fork_inline(log: Log, rng: random.Random) -> Changed:
    return appended(log, second_history(log, 1, 1)[0])


@fork.add(
    "another end, under the key",
    by_shape(
        tampered("manifest-mismatch", "rollback", why="the manifest knows the chain"),
        tampered("rollback", why="the head knows the chain"),
        invisible("end-open", why="the key holder may write what he likes; no head or manifest is left"),
    ),
)
def other_end(log: Log, rng: random.Random) -> Changed:
    index, count = last(log), rng.randrange(1, 4)
    file, lines = log.main.file(index), log.main.segments[index]
    return Changed(put(log.image, file, lines[:-count] + second_history(log, count, count)), {(file, ANY)})
