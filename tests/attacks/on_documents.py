"""Attacks on manifests and heads: edit, strip, forge, spell in two ways, remove, put others in their place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attacks.model import (
    ANY,
    GONE,
    NOT_CHECKED,
    Catalogue,
    Changed,
    Verdict,
    any_segment,
    attacker_key,
    block_of,
    build_line,
    edit_document,
    flip_text,
    head_file,
    image_of,
    invisible,
    keyed,
    last,
    manifest_file,
    put,
    stream_of,
    tampered,
    undetermined,
    with_head,
    with_manifests,
    without,
)
from support.logs import Log, Shape, Situation, format_head, head_of, manifest_of, write_stream

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.manifest import format_manifest

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

ATTACKS: list = []


def catalogue(group: str) -> Catalogue:
    """Return a catalogue whose attacks join this module's."""
    made = Catalogue(group)
    made.attacks = ATTACKS
    return made


manifests, heads = catalogue("manifest"), catalogue("head")


def change_manifest(log: Log, rng: random.Random, turn: Callable[[bytes], bytes]) -> Changed:
    """Return the log with one manifest changed; the finding may stand at it or at its segment."""
    index = rng.randrange(len(log.main.segments))
    name = manifest_file(log, index)
    return Changed(log.image | {name: turn(log.image[name])}, {(name, ANY), (log.main.file(index), ANY)})


def change_head(log: Log, turn: Callable[[bytes], bytes]) -> Changed:
    """Return the log with the head changed; the finding may stand at it or at the end of the log."""
    name = head_file(log.main.name)
    places = {(name, ANY), *((log.main.file(index), ANY) for index in range(len(log.main.segments)))}
    return Changed(log.image | {name: turn(log.image[name])}, places)


def document_rule(code: str, otherwise: Verdict | None):
    """A signed document is known by its signature; what an unsigned one says is compared."""
    signed = tampered(code, why="the signature is over the whole document")
    return lambda situation, _shape: signed if situation.keys else otherwise


MISMATCH = tampered("manifest-mismatch", "manifest-malformed", why="what it says is compared with the segment")
NOT_COMPARED = invisible("unkeyed-chain", why="nothing in the log bears this member out, and nobody signed it")

# --- edit -------------------------------------------------------------------------------------------------------------


def other_b64(rng: random.Random, text: str) -> str:
    return flip_text(rng, text.encode(), rng.randrange(40)).decode()


@manifests.add("a hash in it", with_manifests(document_rule("manifest-signature", MISMATCH)))
def edit_hash(log: Log, rng: random.Random) -> Changed:
    name = rng.choice(["root_chain_hash", "file_sha256", "continues_from"])
    return change_manifest(log, rng, lambda raw: edit_document(raw, **{name: other_b64(rng, json.loads(raw)[name])}))


@manifests.add("a size or seq in it", with_manifests(document_rule("manifest-signature", MISMATCH)))
def edit_number(log: Log, rng: random.Random) -> Changed:
    def turn(raw: bytes) -> bytes:
        old, by = json.loads(raw), rng.randrange(1, 9)
        both = {"first_seq": old["first_seq"] + by, "last_seq": old["last_seq"] + by}
        return edit_document(raw, **rng.choice([both, {"size_bytes": old["size_bytes"] + by}]))

    return change_manifest(log, rng, turn)


@manifests.add("a time in it", with_manifests(document_rule("manifest-signature", NOT_COMPARED)))
def edit_time(log: Log, rng: random.Random) -> Changed:
    name, other = rng.choice(["created_ts", "closed_ts"]), "2020-01-01T00:00:00.000000Z"
    return change_manifest(log, rng, lambda raw: edit_document(raw, **{name: other}))


@manifests.add("a member added to it", with_manifests(document_rule("manifest-signature", NOT_COMPARED)))
def add_member(log: Log, rng: random.Random) -> Changed:
    return change_manifest(log, rng, lambda raw: edit_document(raw, note="approved"))


@manifests.add("members that contradict each other", with_manifests(tampered("manifest-malformed", why="no writer")))
def edit_count(log: Log, rng: random.Random) -> Changed:
    return change_manifest(
        log, rng, lambda raw: edit_document(raw, record_count=json.loads(raw)["record_count"] + rng.randrange(1, 5))
    )


@manifests.add(
    "a later version", with_manifests(undetermined("version-unknown", why="a later version may mean anything"))
)
def later_manifest(log: Log, rng: random.Random) -> Changed:
    return change_manifest(log, rng, lambda raw: edit_document(raw, version="2.0"))


@heads.add(
    "a hash in it",
    with_head(document_rule("head-mac", tampered("rollback", why="what it says is compared with the log"))),
)
def edit_head_hash(log: Log, rng: random.Random) -> Changed:
    name = rng.choice(["origin", "prev_chain_hash"])
    return change_head(log, lambda raw: edit_document(raw, **{name: other_b64(rng, json.loads(raw)[name])}))


@heads.add(
    "a greater seq in it",
    with_head(document_rule("head-mac", tampered("segment-missing", why="fewer entries than it says"))),
)
def edit_head_seq(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, seq=json.loads(raw)["seq"] + rng.randrange(1, 9)))


@heads.add("a time in it", with_head(document_rule("head-mac", NOT_COMPARED)))
def edit_head_time(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, last_updated="2020-01-01T00:00:00.000000Z"))


@heads.add("a later version", with_head(undetermined("version-unknown", why="a later version may mean anything")))
def later_head(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, v=2))


# --- spell ------------------------------------------------------------------------------------------------------------


def respell(rng: random.Random, raw: bytes) -> bytes:
    """Spell a document in a way that some JSON readers take for the same, and RFC 8785 does not write."""
    return rng.choice(
        [
            raw.replace(b":", b": ", 1),
            b" " + raw,
            raw[:-1],
            raw + b"\n",
            raw[:-1] + b"\r\n",
            b"\xef\xbb\xbf" + raw,
            raw.replace(b'"stream"', b'"\\u0073tream"', 1),
            raw.replace(b'"first_seq":', b'"first_seq":1e0' if b'"first_seq":1,' in raw else b'"first_seq":+', 1),
            raw[:-2] + b',"zz":1.0}\n',
            raw[:-2] + b',"zz":"\xff"}\n',
            b"[" + raw[:-1] + b"]\n",
        ]
    )


def twice(raw: bytes, name: bytes) -> bytes:
    """Put a member before itself with another value: some readers take the first, some the last."""
    return raw.replace(b'"%b":' % name, b'"%b":"x","%b":' % (name, name), 1)


def garbage(rng: random.Random, raw: bytes) -> bytes:
    return rng.choice(
        [b"", b"\n", b"{}\n", b"null\n", b"garbage", raw[: rng.randrange(1, len(raw) - 1)], bytes(100), b"[" * 20_000]
    )


TEXT = "a document is its own RFC 8785 text and one newline"
BAD_MANIFEST = with_manifests(tampered("manifest-malformed", why=TEXT))
BAD_HEAD = with_head(tampered("head-malformed", why=TEXT))


@manifests.add("spelled in another way, white space included", BAD_MANIFEST)
def respell_manifest(log: Log, rng: random.Random) -> Changed:
    return change_manifest(log, rng, lambda raw: respell(rng, raw))


@manifests.add("a member twice, to be read in two ways", BAD_MANIFEST)
def manifest_twice(log: Log, rng: random.Random) -> Changed:
    name = rng.choice([b"stream", b"file", b"root_chain_hash", b"size_bytes", b"last_seq"])
    return change_manifest(log, rng, lambda raw: twice(raw, name))


@manifests.add("garbage in its place", BAD_MANIFEST)
def manifest_garbage(log: Log, rng: random.Random) -> Changed:
    return change_manifest(log, rng, lambda raw: garbage(rng, raw))


@heads.add("spelled in another way, white space included", BAD_HEAD)
def respell_head(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: respell(rng, raw))


@heads.add("a member twice, to be read in two ways", BAD_HEAD)
def head_twice(log: Log, rng: random.Random) -> Changed:
    name = rng.choice([b"stream", b"origin", b"seq", b"prev_chain_hash", b"offset"])
    return change_head(log, lambda raw: twice(raw, name))


@heads.add("garbage in its place", BAD_HEAD)
def head_garbage(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: garbage(rng, raw))


# --- strip and forge --------------------------------------------------------------------------------------------------

BAD_SIGNATURE = with_manifests(
    keyed(tampered("manifest-signature", why="the key holds elsewhere in the run, so it is the right one"))
)
BAD_MAC = with_head(keyed(tampered("head-mac", why="the key holds elsewhere in the run, so it is the right one")))


def other_signature(rng: random.Random, text: str) -> str:
    return flip_text(rng, text.encode(), rng.randrange(len(text) - 3)).decode()


@manifests.add("another signature", BAD_SIGNATURE)
def edit_signature(log: Log, rng: random.Random) -> Changed:
    return change_manifest(
        log, rng, lambda raw: edit_document(raw, signature=other_signature(rng, json.loads(raw)["signature"]))
    )


@manifests.add("no signature", BAD_SIGNATURE)
def strip_signature(log: Log, rng: random.Random) -> Changed:
    return change_manifest(
        log, rng, lambda raw: edit_document(raw, signature=GONE, signature_algo=GONE, signature_key_id=GONE)
    )


@manifests.add(
    "an unkeyed one in its place",
    with_manifests(keyed(tampered("manifest-mismatch", "manifest-signature", why="the segment is keyed"))),
)
def unkeyed_manifest(log: Log, rng: random.Random) -> Changed:
    return change_manifest(
        log,
        rng,
        lambda raw: edit_document(raw, algo="SHA-256", key_id=GONE, signature=GONE, signature_algo=GONE),
    )


@manifests.add(
    "another signature algorithm",
    with_manifests(keyed(tampered("manifest-signature", "algo-mismatch", why="the keyring fixes the algorithm"))),
)
def manifest_algo(log: Log, rng: random.Random) -> Changed:
    return change_manifest(log, rng, lambda raw: edit_document(raw, signature_algo="RSA-PSS-SHA256"))


@manifests.add("signed by the attacker under the same key id", BAD_SIGNATURE)
def resign_manifest(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments))
    key = attacker_key(log.situation.key_at(block_of(log.main.segments[index][-1]).seq))
    name = manifest_file(log, index)
    return Changed(
        log.image | {name: format_manifest(manifest_of(log.main, index, key))},
        {(name, ANY), (log.main.file(index), ANY)},
    )


@manifests.add(
    "signed under a key id that nobody knows",
    with_manifests(keyed(undetermined("key-unknown", why="the key is not known"))),
)
def unknown_signer(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments))
    name = manifest_file(log, index)
    forged = format_manifest(manifest_of(log.main, index, HmacKey("k9", bytes(range(200, 232)))))
    return Changed(log.image | {name: forged}, None)


@manifests.add("line and manifest edited together", with_manifests(document_rule("manifest-signature", None)))
def forge_both(log: Log, rng: random.Random) -> Changed:
    index, file, lines = any_segment(log, rng)
    at = rng.randrange(len(lines))
    lines[at] = build_line(b'{"forged":true}', block_of(lines[at]))
    segments = [*log.main.segments[:index], lines, *log.main.segments[index + 1 :]]
    key = attacker_key(log.situation.key_at(block_of(lines[-1]).seq))
    forged = manifest_of(stream_of(log.main.name, segments), index, key)
    image = put(log.image, file, lines) | {manifest_file(log, index): format_manifest(forged)}
    return Changed(image, {(file, at + 1)})


@manifests.add(
    "the other stream's manifest in its place",
    with_manifests(tampered("manifest-mismatch", why="it stands beside a segment that it does not describe")),
)
def foreign_manifest(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments))
    name = manifest_file(log, index)
    other = log.image[name.replace(log.main.name, log.streams[1].name, 1)]
    return Changed(log.image | {name: other}, {(name, ANY), (log.main.file(index), ANY)})


@heads.add("another mac", BAD_MAC)
def edit_head_mac(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, mac=other_signature(rng, json.loads(raw)["mac"])))


@heads.add("no mac", with_head(keyed(tampered("head-malformed", "head-mac", why="key id and mac go together"))))
def strip_head_mac(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, mac=GONE))


@heads.add("an unkeyed one in its place", BAD_MAC)
def unkeyed_head(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, algo="SHA-256", key_id=GONE, mac=GONE))


@heads.add("another algorithm", BAD_MAC)
def head_algo(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda raw: edit_document(raw, algo="RSA-PSS-SHA256"))


@heads.add("signed by the attacker under the same key id", BAD_MAC)
def resign_head(log: Log, rng: random.Random) -> Changed:
    key = attacker_key(log.situation.key_at(log.main.state.seq))
    return change_head(log, lambda _raw: format_head(head_of(log.main, key)))


@heads.add(
    "signed under a key id that nobody knows",
    with_head(keyed(undetermined("key-unknown", why="the key is not known"))),
)
def unknown_head_signer(log: Log, rng: random.Random) -> Changed:
    forged = format_head(head_of(log.main, HmacKey("k9", bytes(range(200, 232)))))
    return Changed(log.image | {head_file(log.main.name): forged}, None)


# --- remove, replay ---------------------------------------------------------------------------------------------------

COVERED = invisible(why="nothing is lost: the chain runs through, and macs or a head cover it")


def end_rule(situation: Situation, shape: Shape) -> Verdict:
    """With the head gone a manifest may still attest the end; with neither the report says so."""
    return invisible("end-open", NOT_CHECKED, why="nothing is lost, and the report names what was not checked")


@manifests.add("one removed", with_manifests(COVERED))
def remove_manifest(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, manifest_file(log, rng.randrange(last(log)))))


@manifests.add(
    "one removed, where they are required",
    with_manifests(undetermined("manifest-missing", why="the caller asked for it")),
)
def remove_required(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(len(log.main.segments))
    image = without(log.image, manifest_file(log, index))
    return Changed(image, {(log.main.file(index), ANY)}, options={"require_manifests": True})


@manifests.add(
    "the last removed", with_manifests(lambda situation, shape: COVERED if shape.head else end_rule(situation, shape))
)
def remove_last_manifest(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, manifest_file(log, last(log))))


@heads.add("removed", with_head(end_rule))
def remove_head(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, head_file(log.main.name)))


@heads.add(
    "removed, where the end is required",
    lambda _, shape: (
        None if shape.manifests or not shape.head else undetermined("end-not-attested", why="the caller asked for it")
    ),
)
def remove_required_head(log: Log, rng: random.Random) -> Changed:
    return Changed(without(log.image, head_file(log.main.name)), None, options={"require_end": True})


@heads.add("the other stream's head in its place", with_head(end_rule))
def foreign_head(log: Log, rng: random.Random) -> Changed:
    other = log.image[head_file(log.streams[1].name)]
    return Changed(log.image | {head_file(log.main.name): other})


def older(log: Log):
    """Return the attacked stream as it was before its last segment."""
    return stream_of(log.main.name, log.main.segments[:-1])


@heads.add("an older one in its place", with_head(end_rule))
def stale_head(log: Log, rng: random.Random) -> Changed:
    stream = older(log)
    head = head_of(stream, log.situation.key_at(stream.state.seq))
    return Changed(log.image | {head_file(log.main.name): format_head(head)})


replay = catalogue("replay")


def once_true(shape: Shape) -> Verdict:
    """An older state was true once; where an older head comes with it, not even the open end is to be named."""
    notes = () if shape.head else ("end-open", NOT_CHECKED)
    return invisible(*notes, why="an older state was true once: only a head or an anchor kept elsewhere tells")


@replay.add(
    "one stream's older files and head, the other's as they are",
    lambda _, shape: (
        tampered("segment-missing", why="the other stream says how far it was") if shape.others else once_true(shape)
    ),
)
def replay_stream(log: Log, rng: random.Random) -> Changed:
    image = without(log.image, log.main.file(last(log)), manifest_file(log, last(log)))
    if log.shape.head:
        stream = older(log)
        image[head_file(log.main.name)] = format_head(head_of(stream, log.situation.key_at(stream.state.seq)))
    return Changed(image, {(log.main.file(last(log) - 1), ANY)} if log.shape.others else None)


def older_folder(log: Log) -> dict[str, bytes]:
    streams = [stream_of(stream.name, stream.segments[:-1]) for stream in log.streams]
    return image_of(streams, log.shape, log.situation.key_at)


@replay.add(
    "an older folder",
    lambda _, shape: once_true(shape),
)
def replay_folder(log: Log, rng: random.Random) -> Changed:
    return Changed(older_folder(log))


@replay.add("an older folder against a newer head", with_head(tampered("segment-missing", why="the head is ahead")))
def replay_against_head(log: Log, rng: random.Random) -> Changed:
    newer = log.image[head_file(log.main.name)]
    return Changed(older_folder(log), {(log.main.file(last(log) - 1), ANY)}, head=(newer,))


life = catalogue("another life")


def other_life(log: Log) -> dict[str, bytes]:
    """Return a folder with the same names under the same key that began anew."""
    streams = [write_stream(stream.name, log.situation, seed=4711) for stream in log.streams]
    return image_of(streams, log.shape, log.situation.key_at)


@life.add(
    "of the whole folder", lambda *_: invisible(why="it verifies by itself; only an outside anchor tells lives apart")
)
def whole_life(log: Log, rng: random.Random) -> Changed:
    return Changed(other_life(log))


@life.add(
    "of the whole folder, origins in the trust file", keyed(tampered("rollback", why="it began with another entry"))
)
def known_origins(log: Log, rng: random.Random) -> Changed:
    origins = {stream.name: b64url_encode(stream.origin) for stream in log.streams}
    return Changed(other_life(log), {(log.main.file(0), ANY)}, origins=origins)


@life.add("of the whole folder, against the head of the first", with_head(tampered("rollback", why="another chain")))
def life_against_head(log: Log, rng: random.Random) -> Changed:
    newer = log.image[head_file(log.main.name)]
    return Changed(other_life(log), {(log.main.file(index), ANY) for index in range(3)}, head=(newer,))


@life.add("of one segment", tampered("link-broken", "manifest-mismatch", why="segments are linked"))
def segment_life(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(1, len(log.main.segments))
    file = log.main.file(index)
    return Changed(log.image | {file: other_life(log)[file]}, {(file, 1), (file, ANY)})


@life.add(
    "of one segment, with its manifest", with_manifests(tampered("link-broken", "rollback", why="segments are linked"))
)
def segment_and_manifest_life(log: Log, rng: random.Random) -> Changed:
    index = rng.randrange(1, len(log.main.segments))
    file, name, other = log.main.file(index), manifest_file(log, index), other_life(log)
    return Changed(log.image | {file: other[file], name: other[name]}, {(file, 1), (file, ANY)})


@life.add("of the head", with_head(tampered("rollback", why="it speaks of another chain")))
def head_life(log: Log, rng: random.Random) -> Changed:
    return change_head(log, lambda _raw: other_life(log)[head_file(log.main.name)])
