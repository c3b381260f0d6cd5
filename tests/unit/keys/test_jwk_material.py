from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import (
    Algorithm,
    Ed25519SigningKey,
    Ed25519VerifyingKey,
    HmacKey,
    format_private_jwk,
    format_public_jwk,
    parse_signing_material,
    parse_verifying_material,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = bytes(range(32))
HMAC = HmacKey("k#1", DATA)
ED = Ed25519SigningKey("é", DATA)
OCT = {"kty": "oct", "kid": "k", "k": b64url_encode(DATA)}
OKP = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "k",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
}  # RFC 8037 appendix A.1
PLAIN = [DATA, DATA.hex().encode(), DATA.hex().upper().encode(), b64url_encode(DATA).encode()]


def text(members: object) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize("key", [HMAC, ED, HmacKey("long", b"x" * 100)])
@pytest.mark.parametrize("space", ["", "\n", " \r\n\t"])
def test_a_private_jwk_is_read_back(key: Any, space: Any) -> None:
    jwk = (space + format_private_jwk(key) + space).encode()
    assert parse_signing_material(jwk) == key
    assert parse_verifying_material(jwk) == key.verifying_key()
    assert parse_signing_material(jwk, key_id=key.key_id, algorithm=key.algorithm) == key


def test_a_public_jwk_is_read_back_and_holds_no_secret() -> None:
    jwk = format_public_jwk(ED)
    assert jwk == format_public_jwk(ED.verifying_key())
    assert set(json.loads(jwk)) == {"kty", "crv", "kid", "alg", "x"}
    assert parse_verifying_material(jwk.encode()) == ED.verifying_key()


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(SealKeyError, match="a public key cannot sign"):
        parse_signing_material(format_public_jwk(ED).encode())


def test_a_secret_has_no_public_jwk() -> None:
    with pytest.raises(SealKeyError, match="no public key"):
        format_public_jwk(HMAC)


def test_a_key_that_lies_elsewhere_is_not_written() -> None:
    class Remote:
        key_id = "kms"
        algorithm = Algorithm.HMAC_SHA256

        def sign(self, message: bytes) -> bytes:
            raise NotImplementedError

        def verifying_key(self) -> Ed25519VerifyingKey:
            raise NotImplementedError

    with pytest.raises(SealKeyError, match="key kms: its material is not here"):
        format_private_jwk(Remote())


def test_the_jwk_of_rfc_8037_is_read() -> None:
    key = parse_signing_material(text(OKP))
    assert isinstance(key, Ed25519SigningKey)
    assert b64url_encode(key.public) == OKP["x"]


@pytest.mark.parametrize(
    ("members", "alg"), [(OCT, "HS256"), (OKP, "EdDSA"), (OKP, "Ed25519")], ids=["HS256", "EdDSA", "Ed25519"]
)
def test_alg_may_stand_there_with_members_we_do_not_know(members: dict[str, str], alg: str) -> None:
    assert parse_signing_material(text({**members, "alg": alg, "use": "sig", "x5c": [1]})).key_id == "k"


@pytest.mark.parametrize("raw", PLAIN, ids=["raw", "hex", "HEX", "base64url"])
@pytest.mark.parametrize("space", [b"", b"\n"])
def test_plain_material_is_a_secret_a_seed_or_a_public_key(raw: bytes, space: Any) -> None:
    raw = raw if raw == DATA else space + raw + space
    assert parse_signing_material(raw, key_id="k", algorithm=Algorithm.HMAC_SHA256) == HmacKey("k", DATA)
    assert parse_verifying_material(raw, key_id="k", algorithm=Algorithm.HMAC_SHA256) == HmacKey("k", DATA)
    assert parse_signing_material(raw, key_id="k", algorithm=Algorithm.ED25519) == Ed25519SigningKey("k", DATA)
    assert parse_verifying_material(raw, key_id="k", algorithm=Algorithm.ED25519) == Ed25519VerifyingKey("k", DATA)


@pytest.mark.parametrize("raw", [b"{" + b"x" * 31, b" " * 31 + b"\n", b"\n" + b"a" * 31])
def test_32_bytes_are_a_raw_key_whatever_they_look_like(raw: bytes) -> None:
    assert parse_signing_material(raw, key_id="k", algorithm=Algorithm.HMAC_SHA256) == HmacKey("k", raw)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "key_id and algorithm missing"),
        ({"key_id": "k"}, "algorithm missing"),
        ({"algorithm": Algorithm.ED25519}, "key_id missing"),
    ],
)
@pytest.mark.parametrize("parse", [parse_signing_material, parse_verifying_material])
def test_plain_material_needs_a_key_id_and_an_algorithm(
    parse: Callable[..., object], given: dict[str, Any], missing: str
) -> None:
    with pytest.raises(SealKeyError, match=missing) as error:
        parse(DATA, **given)
    assert "?kid=K&alg=HMAC-SHA256|Ed25519" in error.value.hint


def changed(members: dict[str, str], **change: object) -> dict[str, object]:
    return {name: value for name, value in {**members, **change}.items() if value is not None}


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        (changed(OCT, kid=None), "no text member kid"),
        (changed(OCT, kid=7), "no text member kid"),
        (changed(OCT, kid="a b"), "U\\+0020"),
        (changed(OCT, kty=None), "no text member kty"),
        (changed(OCT, kty="RSA"), "a JWK of another kind"),
        (changed(OCT, kty="OKP"), "a JWK of another kind"),
        (changed(OKP, crv="X25519"), "a JWK of another kind"),
        (changed(OCT, alg="HS512"), "alg does not fit"),
        (changed(OCT, alg="EdDSA"), "alg does not fit"),
        (changed(OCT, alg=1), "no text member alg"),
        (changed(OKP, alg="HS256"), "alg does not fit"),
        (changed(OKP, alg="HMAC-SHA256"), "alg does not fit"),
        (changed(OCT, k=None), "no text member k"),
        (changed(OCT, k=OCT["k"] + "="), "base64url"),
        (changed(OCT, k=OCT["k"][:-1] + "9"), "base64url"),
        (changed(OCT, k=OCT["k"][:-2]), "at least 32 bytes|base64url"),
        (changed(OKP, x=None), "no text member x"),
        (changed(OKP, x="AAAA"), "public key is exactly 32 bytes"),
        (changed(OKP, d="AAAA"), "seed is exactly 32 bytes"),
        (changed(OKP, d=b64url_encode(DATA)), "d and x belong to different keys"),
        (changed(OKP, d=5), "no text member d"),
    ],
)
@pytest.mark.parametrize("parse", [parse_signing_material, parse_verifying_material])
def test_a_malformed_jwk_is_refused(parse: Callable[..., object], jwk: dict[str, object], reason: str) -> None:
    with pytest.raises(SealKeyError, match=rf"^here: .*({reason})") as error:
        parse(text(jwk), source="here")
    assert error.value.hint


@pytest.mark.parametrize(
    "raw",
    [
        text(OCT)[:-1],
        text(OCT) + b"x",
        text(OCT).replace(b"}", b',"k":"AAAA"}'),
        text(OCT).replace(b"}", b',"ext":{"a":1,"a":2}}'),
        text(OCT).replace(b"}", b',"ext":NaN}'),
        text(OCT).replace(b"}", b',"ext":"\xff"}'),
        b'{"a":' + b"[" * 60_000,
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_a_jwk_is_strict_json(raw: bytes) -> None:
    with pytest.raises(SealKeyError, match="not one JSON object with each member once"):
        parse_verifying_material(raw)


@pytest.mark.parametrize("raw", [b"", b"\n", b"x", b"-----BEGIN PRIVATE KEY-----", DATA + b"\n", b"[]", b"ab" * 33])
def test_other_material_is_refused_with_the_forms_that_are_known(raw: bytes) -> None:
    with pytest.raises(SealKeyError, match="key material: not a key") as error:
        parse_signing_material(raw, key_id="k", algorithm=Algorithm.HMAC_SHA256)
    assert error.value.hint == "Expected a JWK, 32 raw bytes, 64 hex digits or 43 base64url characters."


@pytest.mark.parametrize(("raw", "reason"), [(b"g" * 64, "hex"), (b"\xff" * 64, "hex"), (b"+" * 43, "base64url")])
def test_text_of_the_right_length_must_spell_a_key(raw: bytes, reason: str) -> None:
    with pytest.raises(SealKeyError, match=reason):
        parse_signing_material(raw, key_id="k", algorithm=Algorithm.HMAC_SHA256)


def test_kid_and_alg_must_agree_with_what_is_expected() -> None:
    with pytest.raises(SealKeyError, match="kid is 'k', expected 'other'"):
        parse_verifying_material(text(OCT), key_id="other")
    with pytest.raises(SealKeyError, match="is for HMAC-SHA256, expected Ed25519"):
        parse_verifying_material(text(OCT), algorithm=Algorithm.ED25519)
    with pytest.raises(SealKeyError, match="is for Ed25519, expected HMAC-SHA256"):
        parse_verifying_material(text(OKP), algorithm=Algorithm.HMAC_SHA256)


@given(st.sampled_from([text(OCT), text(OKP), PLAIN[1], PLAIN[3]]), st.data())
def test_no_message_shows_material(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    raw = raw[:at] + data.draw(st.binary(max_size=2)) + raw[at + 1 :]
    try:
        parse_signing_material(raw, algorithm=Algorithm.HMAC_SHA256)
    except SealKeyError as error:
        shown = f"{error} {error.__cause__!r}"
        for secret in (OCT["k"], OKP["d"], DATA.hex()):
            pieces = (secret[start : start + 8] for start in range(0, len(secret) - 7, 4))
            assert not any(piece in shown for piece in pieces)
