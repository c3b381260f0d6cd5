"""Heads and manifests: one spelling each, typed members, and a tag over all of them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper.document import MAX_DOCUMENT, format_document, format_time, parse_document, tag_message
from fapilog_tamper.encoding import MAX_SEQ, b64url_encode
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, format_head, head_message, parse_head, sign_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.manifest import Manifest, format_manifest, manifest_message, parse_manifest, sign_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
TIME = "2026-11-20T12:00:00.000000Z"
HASH = b64url_encode(b"\x07" * 32)
OTHERS = (("audit.w2", 9, b"\x05" * 32), ("b", 1, b"\x06" * 32), ("\u00e9", MAX_SEQ, bytes(32)))
EXTRA = {"later": [1, {"b": None, "a": 0.5}], "\u00e9": "\u2028", "zz": True}

HEAD = Head(
    stream="audit",
    origin=b"\x01" * 32,
    seq=12,
    chain_hash=b"\x02" * 32,
    first_seq=3,
    segment="audit_2026-11-20.jsonl",
    offset=4711,
    last_updated=TIME,
    others=OTHERS,
    extra=EXTRA,
)
MANIFEST = Manifest(
    stream="audit",
    origin=b"\x01" * 32,
    file="audit_2026-11-20.jsonl",
    created_ts=TIME,
    closed_ts=TIME,
    record_count=10,
    first_seq=3,
    last_seq=12,
    first_ts="2026-01-01",
    last_ts="yesterday \u00e9",
    continues_from=b"\x03" * 32,
    root_chain_hash=b"\x02" * 32,
    size_bytes=4711,
    file_sha256=b"\x04" * 32,
    algo="HMAC-SHA256",
    key_id="k1",
    others=OTHERS,
    extra=EXTRA,
)
UNKEYED = replace(MANIFEST, algo="SHA-256", key_id=None)


@dataclass(frozen=True)
class Kind:
    """One of the two documents, so that what holds of both is written once."""

    name: str
    parse: Callable[[bytes], Any]
    format: Callable[[Any], bytes]
    message: Callable[[Any], bytes]
    sign: Callable[..., Any]
    tag: str
    domain: bytes
    signed: Any
    unsigned: Any
    minimal: Any


KINDS = [
    Kind(
        "head",
        parse_head,
        format_head,
        head_message,
        sign_head,
        "mac",
        b"fapilog-tamper/v1/head\x00",
        sign_head(HEAD, K1),
        HEAD,
        replace(HEAD, others=(), extra={}),
    ),
    Kind(
        "manifest",
        parse_manifest,
        format_manifest,
        manifest_message,
        sign_manifest,
        "signature",
        b"fapilog-tamper/v1/manifest\x00",
        sign_manifest(MANIFEST, K1),
        UNKEYED,
        replace(UNKEYED, others=(), extra={}, first_ts=None, last_ts=None),
    ),
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def members_of(kind: Kind) -> dict[str, Any]:
    members = json.loads(kind.format(kind.signed))
    assert isinstance(members, dict)
    return members


def spelled(members: dict[str, Any]) -> bytes:
    """The document that holds these members, well spelled whatever they are."""
    return format_document(members)


def passes(kind: Kind, raw: bytes) -> bool:
    """Whether `raw` is a document that K1 signed."""
    try:
        read = kind.parse(raw)
    except FormatError:
        return False
    return K1.verify(kind.message(read), getattr(read, kind.tag) or b"")


@kinds
def test_every_shape_is_read_as_it_was_written(kind: Kind) -> None:
    for document in (kind.signed, kind.unsigned, kind.minimal, kind.sign(kind.minimal, ED)):
        raw = kind.format(document)
        assert kind.parse(raw) == document
        assert raw.count(b"\n") == 1
        assert raw.endswith(b"}\n")


@kinds
def test_members_that_are_not_known_are_kept_and_signed(kind: Kind) -> None:
    read = kind.parse(kind.format(kind.signed))
    assert read.extra == EXTRA
    tag = getattr(read, kind.tag)
    assert K1.verify(kind.message(read), tag)
    assert not K1.verify(kind.message(replace(read, extra=EXTRA | {"zz": False})), tag)
    assert not K1.verify(kind.message(replace(read, extra={})), tag)


@kinds
def test_an_extra_member_cannot_take_the_place_of_a_known_one(kind: Kind) -> None:
    assert json.loads(kind.format(replace(kind.unsigned, extra={"stream": "evil"})))["stream"] == "audit"


@kinds
def test_the_message_is_that_of_the_specification(kind: Kind) -> None:
    members = members_of(kind)
    del members[kind.tag]
    text = format_document(members)[:-1]
    assert kind.message(kind.signed) == kind.domain + sha256(text).digest()
    assert tag_message(b"d", {"a": 1, "t": 2}, "t") == b"d\x00" + sha256(b'{"a":1}').digest()


@kinds
def test_every_byte_change_is_refused_or_breaks_the_tag(kind: Kind) -> None:
    raw = kind.format(kind.signed)
    passed = [
        (at, value)
        for at, byte in enumerate(raw)
        for value in {byte ^ 1, byte ^ 4, byte ^ 32, byte ^ 128, *b'\x00\n "0,-9A\\_e{}'} - {byte}
        if passes(kind, raw[:at] + bytes([value]) + raw[at + 1 :])
    ]
    assert passed == []


@kinds
def test_every_truncation_and_every_byte_more_is_refused(kind: Kind) -> None:
    raw = kind.format(kind.signed)
    for end in range(len(raw)):
        with pytest.raises(FormatError):
            kind.parse(raw[:end])
    for extra in (b"\n", b" ", b"\x00", b"{}", raw):
        with pytest.raises(FormatError):
            kind.parse(raw + extra)
        with pytest.raises(FormatError):
            kind.parse(extra + raw)


@kinds
def test_white_space_at_any_place_is_refused_or_breaks_the_tag(kind: Kind) -> None:
    raw = kind.format(kind.sign(kind.minimal, K1))
    assert passes(kind, raw)
    for at in range(len(raw) + 1):
        for space in (b" ", b"\t", b"\r", b"\n"):
            assert not passes(kind, raw[:at] + space + raw[at:]), at


@kinds
def test_a_doubled_member_is_refused(kind: Kind) -> None:
    raw = kind.format(kind.signed)
    for name, value in members_of(kind).items():
        part = format_document({name: value})[1:-2]
        assert part in raw
        with pytest.raises(FormatError):
            kind.parse(raw.replace(part, part + b"," + part, 1))
        with pytest.raises(FormatError):
            kind.parse(b"{" + part + b"," + raw[1:])


@kinds
def test_any_other_member_order_is_refused(kind: Kind) -> None:
    raw = kind.format(kind.signed)
    members = list(json.loads(raw).items())
    rng = random.Random(1)
    for _ in range(50):
        order = rng.sample(members, len(members))
        text = json.dumps(dict(order), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        if order != members:
            with pytest.raises(FormatError):
                kind.parse(text)


NUMBERS = ["seq", "first_seq", "offset", "v", "record_count", "last_seq", "size_bytes"]


@kinds
@pytest.mark.parametrize(
    "spelling",
    [
        "1.0",
        "1e0",
        "1E0",
        "+1",
        "01",
        "-0",
        "-1",
        "1.5",
        "true",
        "null",
        '"1"',
        "9007199254740992",
        "9" * 5000,
        "1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "[1]",
        "{}",
        "0x1",
        "1_0",
        "\u0661",
    ],
)
def test_a_number_has_one_spelling_and_its_bounds(kind: Kind, spelling: str) -> None:
    members = members_of(kind)
    for name in NUMBERS:
        if name in members:
            raw = kind.format(kind.signed)
            part = f'"{name}":{members[name]}'.encode()
            assert raw.count(part) >= 1
            at = raw.rindex(b"," + part) if b"," + part in raw else raw.index(part) - 1
            with pytest.raises(FormatError):
                kind.parse(raw[: at + 1] + f'"{name}":{spelling}'.encode() + raw[at + 1 + len(part) :])


@kinds
@pytest.mark.parametrize("spelling", ["1.0", "1e400", "NaN", "Infinity", "-0", "9007199254740992", "0.10", "1E5"])
def test_a_number_in_an_unknown_member_has_one_spelling_too(kind: Kind, spelling: str) -> None:
    members = members_of(kind) | {"zzz": 1}
    raw = spelled(members)
    assert kind.parse(raw)
    with pytest.raises(FormatError):
        kind.parse(raw.replace(b'"zzz":1', b'"zzz":' + spelling.encode()))


@kinds
@pytest.mark.parametrize(
    "text", [b'"\\u0061"', b'"\\/"', b'"\\ud800"', b'"\xed\xa0\x80"', b'"\xff"', b'"\\u00E9"', b'"\x01"']
)
def test_a_string_has_one_spelling(kind: Kind, text: bytes) -> None:
    raw = spelled(members_of(kind) | {"zzz": "@"})
    assert kind.parse(raw)
    with pytest.raises(FormatError):
        kind.parse(raw.replace(b'"@"', text))


WRONG_VALUES: list[object] = [None, True, 0, 1, -1, 0.5, "", "x", [], {}, [1], "A" * 43 + "=", TIME + " ", MAX_SEQ]


FREE_TEXT = {"segment", "file", "first_ts", "last_ts", "signature_algo", "algo"}
LEAST = {"seq": 1, "first_seq": 1, "offset": 0, "size_bytes": 0}


def accepted(kind: Kind, name: str, value: object) -> bool:
    """Whether section 6 lets this member have this value, beside the other members of the signed document."""
    if isinstance(value, str):
        is_name = name in {"stream", "key_id"} and value not in ("", TIME + " ")
        return name in FREE_TEXT or is_name or (name == kind.tag and value == "")
    if type(value) is int and name in LEAST:
        # The first_seq of a manifest has others to agree with.
        return value >= LEAST[name] and (kind.name, name) != ("manifest", "first_seq")
    return (value is None and name in {"first_ts", "last_ts"}) or (name == "v" and type(value) is int and value == 1)


@kinds
def test_every_member_has_its_type(kind: Kind) -> None:
    members = members_of(kind)
    for name in members.keys() - EXTRA.keys():
        for value in WRONG_VALUES:
            raw = spelled(members | {name: value})
            if accepted(kind, name, value):
                assert kind.parse(raw), (name, value)
            else:
                with pytest.raises(FormatError):
                    kind.parse(raw)


@kinds
def test_every_member_that_must_be_there_must_be_there(kind: Kind) -> None:
    members = members_of(kind)
    for name in members.keys() - EXTRA.keys():
        rest = {key: value for key, value in members.items() if key != name}
        if name == "others":
            assert kind.parse(spelled(rest)).others == ()
            continue
        with pytest.raises(FormatError):
            kind.parse(spelled(rest))


@kinds
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'"x"\n',
        b"1\n",
        b"{}\n",
        b"{\n",
        b"\xff\xfe{\x00}\x00\n\x00",
        b"\xef\xbb\xbf{}\n",
        b"\x00" * 64,
        b'{"a":' * 70 + b"1" + b"}" * 70 + b"\n",
        b"[" * 100_000 + b"]" * 100_000 + b"\n",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"\n",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_is_no_document_at_all_is_refused(kind: Kind, raw: bytes) -> None:
    with pytest.raises(FormatError):
        kind.parse(raw)


@kinds
def test_an_unknown_member_may_be_nested_to_64_levels_and_no_deeper(kind: Kind) -> None:
    inner: object = 1
    for _ in range(63):
        inner = [inner]
    members = members_of(kind) | {"zzz": "@"}
    deep = spelled(members).replace(b'"@"', b"[" * 63 + b"1" + b"]" * 63)
    assert kind.parse(deep).extra["zzz"] == inner
    with pytest.raises(FormatError):
        kind.parse(spelled(members).replace(b'"@"', b"[" * 64 + b"1" + b"]" * 64))


@kinds
def test_a_document_may_have_four_mebibytes_and_no_byte_more(kind: Kind) -> None:
    members = members_of(kind) | {"zzz": ""}
    room = MAX_DOCUMENT - len(spelled(members))
    assert MAX_DOCUMENT == 4_194_304
    assert kind.parse(spelled(members | {"zzz": "x" * room}))
    with pytest.raises(FormatError, match="4194304"):
        kind.parse(spelled(members | {"zzz": "x" * (room + 1)}))


@kinds
@pytest.mark.parametrize(
    "others",
    [
        [],
        None,
        {},
        "b",
        [1],
        [None],
        [["b", 1, HASH]],
        [{}],
        [{"stream": "b", "seq": 1}],
        [{"stream": "b", "chain_hash": HASH}],
        [{"seq": 1, "chain_hash": HASH}],
        [{"stream": "b", "seq": 0, "chain_hash": HASH}],
        [{"stream": "b", "seq": True, "chain_hash": HASH}],
        [{"stream": "b", "seq": "1", "chain_hash": HASH}],
        [{"stream": "b", "seq": MAX_SEQ + 1, "chain_hash": HASH}],
        [{"stream": "b c", "seq": 1, "chain_hash": HASH}],
        [{"stream": "", "seq": 1, "chain_hash": HASH}],
        [{"stream": 1, "seq": 1, "chain_hash": HASH}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH[:-1]}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH[:-1] + "="}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH, "more": 1}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH}, {"stream": "a", "seq": 1, "chain_hash": HASH}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH}, {"stream": "b", "seq": 2, "chain_hash": HASH}],
        [{"stream": "b", "seq": 1, "chain_hash": HASH}] * 2,
        [{"stream": "\U0001f511", "seq": 1, "chain_hash": HASH}, {"stream": "\ufb33", "seq": 1, "chain_hash": HASH}],
    ],
    ids=repr,
)
def test_others_that_are_refused(kind: Kind, others: object) -> None:
    with pytest.raises(FormatError):
        kind.parse(spelled(members_of(kind) | {"others": others}))


@kinds
def test_others_are_sorted_by_code_points(kind: Kind) -> None:
    """Not by UTF-16 as member names are: U+FB33 stands before U+1F511."""
    rows = [{"stream": name, "seq": 1, "chain_hash": HASH} for name in ("a", "\ue000", "\U0001f511")]
    read = kind.parse(spelled(members_of(kind) | {"others": rows}))
    assert [name for name, _, _ in read.others] == ["a", "\ue000", "\U0001f511"]


TIMES = [
    "2026-11-20T12:00:00Z",
    "2026-11-20T12:00:00.000Z",
    "2026-11-20T12:00:00.0000000Z",
    "2026-11-20T12:00:00.000000+00:00",
    "2026-11-20T12:00:00.000000z",
    "2026-11-20T12:00:00.000000",
    "2026-11-20t12:00:00.000000Z",
    "2026-11-20 12:00:00.000000Z",
    "2026-11-20T12:00:00,000000Z",
    "20261120T120000.000000Z",
    "+2026-11-20T12:00:00.000000Z",
    " 2026-11-20T12:00:00.000000Z",
    "2026-11-20T12:00:00.000000Z\n",
    "2026-11-20T12:00:00.000000Z ",
    "2026-11-20T12:00:00.00000\u0660Z",
    "",
]


@kinds
@pytest.mark.parametrize("text", TIMES)
def test_times_have_one_spelling(kind: Kind, text: str) -> None:
    names = ["last_updated"] if kind.name == "head" else ["created_ts", "closed_ts"]
    for name in names:
        with pytest.raises(FormatError, match=f"{name} is not a time"):
            kind.parse(spelled(members_of(kind) | {name: text}))


def test_times_are_written_in_that_spelling() -> None:
    assert format_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    assert format_time(datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=UTC)) == "2026-01-02T03:04:05.000007Z"
    assert format_time(datetime(2026, 1, 2, tzinfo=timezone(timedelta(0), "GMT"))) == "2026-01-02T00:00:00.000000Z"


# Versions.


@pytest.mark.parametrize("version", [0, 2, -1, 17, MAX_SEQ])
def test_a_head_of_another_version_is_newer_and_not_malformed(version: int) -> None:
    members = members_of(KINDS[0]) | {"v": version}
    for raw in (spelled(members), spelled({"v": version}), spelled({"v": version, "what": ["ever"]})):
        with pytest.raises(FormatError, match="v is") as caught:
            parse_head(raw)
        assert caught.value.newer
        assert str(caught.value).endswith("Use a newer release.")


@pytest.mark.parametrize("name", ["version", "integrity_version"])
@pytest.mark.parametrize("version", ["1", "1.1", "2.0", "", "1.0 "])
def test_a_manifest_of_another_version_is_newer_and_not_malformed(name: str, version: str) -> None:
    with pytest.raises(FormatError, match="which is not known here") as caught:
        parse_manifest(spelled(members_of(KINDS[1]) | {name: version}))
    assert caught.value.newer


@kinds
@pytest.mark.parametrize("value", [None, True, False, 1.5, [1], {}, "two", 3])
def test_a_version_of_another_type_is_malformed(kind: Kind, value: object) -> None:
    name = "v" if kind.name == "head" else "version"
    if type(value) is type(members_of(kind)[name]):
        value = [value]
    with pytest.raises(FormatError) as caught:
        kind.parse(spelled(members_of(kind) | {name: value}))
    assert not caught.value.newer


@kinds
def test_a_newer_version_that_is_badly_spelled_is_malformed(kind: Kind) -> None:
    name, value = ("v", 2) if kind.name == "head" else ("version", "2.0")
    raw = spelled(members_of(kind) | {name: value})
    with pytest.raises(FormatError) as caught:
        kind.parse(raw[:-1] + b" \n")
    assert not caught.value.newer


# What must go together.


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": None},
        {"mac": None},
        {"key_id": None, "mac": None},
        {"algo": "SHA-256"},
        {"algo": "SHA-256", "mac": None},
        {"algo": "SHA-256", "key_id": None},
    ],
)
def test_a_head_has_a_key_and_a_mac_or_neither(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="do not go together"):
        parse_head(format_head(replace(sign_head(HEAD, K1), **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": None},
        {"signature_algo": None},
        {"signature": None, "signature_algo": None, "signature_key_id": "k2"},
        {"algo": "SHA-256"},
        {"key_id": None},
        {"record_count": 9},
        {"record_count": 11},
        {"last_seq": 2, "record_count": 1},
        {"first_seq": 13, "last_seq": 12, "record_count": 0},
        {"first_seq": 13, "last_seq": 12, "record_count": 1},
    ],
)
def test_a_manifest_whose_members_cannot_all_be_true_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_manifest(format_manifest(replace(sign_manifest(MANIFEST, K1), **changes)))


def test_a_keyed_manifest_without_a_signature_is_a_document() -> None:
    """It is refused by the verifier, as `manifest-signature`, not as malformed (section 9.1)."""
    assert parse_manifest(format_manifest(MANIFEST)).signature is None


def test_a_manifest_of_an_unkeyed_segment_has_no_signature_without_a_key() -> None:
    signed = replace(sign_manifest(UNKEYED, K1), signature_key_id=None)
    with pytest.raises(FormatError):
        parse_manifest(format_manifest(signed))


# Signing.


def test_a_head_is_signed_with_algo_key_and_mac() -> None:
    for key in (K1, ED):
        signed = sign_head(HEAD, key)
        assert (signed.algo, signed.key_id) == (key.algorithm, key.key_id)
        assert signed.mac is not None
        assert key.verifying_key().verify(head_message(signed), signed.mac)
        assert type(signed.algo) is str
        assert sign_head(signed, None) == HEAD


def test_a_head_signed_again_with_another_key_has_its_name_and_mac_only() -> None:
    assert sign_head(sign_head(HEAD, K1), K2) == sign_head(HEAD, K2)


def test_the_key_of_the_segment_is_not_named_a_second_time() -> None:
    signed = sign_manifest(MANIFEST, K1)
    assert signed.signature_key_id is None
    assert "signature_key_id" not in json.loads(format_manifest(signed))
    assert signed.signature_algo == "HMAC-SHA256"
    assert signed.signature is not None
    assert K1.verify(manifest_message(signed), signed.signature)


@pytest.mark.parametrize("key", [K2, ED], ids=["hmac", "ed25519"])
def test_another_key_is_named_in_the_manifest(key: Any) -> None:
    signed = sign_manifest(MANIFEST, key)
    assert signed.signature_key_id == key.key_id
    assert (signed.key_id, signed.algo) == ("k1", "HMAC-SHA256")
    assert signed.signature_algo == key.algorithm
    assert key.verifying_key().verify(manifest_message(signed), signed.signature)
    assert parse_manifest(format_manifest(signed)) == signed


def test_a_manifest_signed_again_with_its_own_key_forgets_the_other() -> None:
    assert sign_manifest(sign_manifest(MANIFEST, ED), K1) == sign_manifest(MANIFEST, K1)
    assert sign_manifest(sign_manifest(MANIFEST, ED), None) == MANIFEST


def test_the_name_of_the_signing_key_is_under_the_signature() -> None:
    signed = sign_manifest(MANIFEST, K2)
    assert signed.signature is not None
    for changed in (
        replace(signed, signature_key_id="k1"),
        replace(signed, signature_key_id=None),
        replace(signed, signature_algo="Ed25519"),
    ):
        assert not K2.verify(manifest_message(changed), signed.signature)


def test_parse_document_gives_the_members() -> None:
    assert parse_document(b'{"a":1}\n') == {"a": 1}
