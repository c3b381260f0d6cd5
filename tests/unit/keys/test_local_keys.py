from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.errors import FormatError, SealKeyError
from fapilog_tamper.keys import (
    Algorithm,
    Ed25519SigningKey,
    Ed25519VerifyingKey,
    HmacKey,
    LocalKeyProvider,
    SigningKey,
    VerifyingKey,
    parse_algorithm,
    thumbprint,
    verifying_half,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/sealed-log-v1.json").read_text())
SECRET = bytes(range(32))
HMAC = HmacKey("k1", SECRET)
ED = Ed25519SigningKey("ed", bytes(range(100, 132)))
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]


def vector_key(name: str) -> SigningKey:
    row = VECTORS["keys"][name]
    if row["algo"] == "HMAC-SHA256":
        return HmacKey(name, bytes.fromhex(row["secret_hex"]))
    return Ed25519SigningKey(name, bytes.fromhex(row["seed_hex"]))


def vector_macs() -> list[tuple[str, bytes, bytes]]:
    blocks = [json.loads(entry["line"])["integrity"] for row in VECTORS["streams"] for entry in row["entries"]]
    return [
        (block["key_id"], b"fapilog-tamper/v1/mac\0" + b64url_decode(block["chain_hash"]), b64url_decode(block["mac"]))
        for block in blocks
        if "mac" in block
    ]


def test_keys_make_and_check_the_macs_of_the_vectors() -> None:
    macs = vector_macs()
    assert {key_id for key_id, _, _ in macs} == {"k1", "k2", "ed-2026"}
    for key_id, message, mac in macs:
        key = vector_key(key_id)
        assert key.sign(message) == mac
        assert key.verifying_key().verify(message, mac)


def test_the_public_half_is_that_of_the_vectors() -> None:
    key = vector_key("ed-2026").verifying_key()
    assert isinstance(key, Ed25519VerifyingKey)
    assert key.public.hex() == VECTORS["keys"]["ed-2026"]["public_hex"]


@pytest.mark.parametrize("key", [HMAC, ED], ids=["hmac", "ed25519"])
@given(data=st.data())
def test_any_other_tag_or_message_is_false(key: Any, data: st.DataObject) -> None:
    message = data.draw(st.binary())
    tag = key.sign(message)
    half = key.verifying_key()
    assert half.verify(message, tag)
    at, flip = data.draw(st.integers(0, len(tag) - 1)), data.draw(st.integers(1, 255))
    assert not half.verify(message, tag[:at] + bytes([tag[at] ^ flip]) + tag[at + 1 :])
    assert not half.verify(message + b"x", tag)
    assert not half.verify(message, data.draw(st.binary(max_size=200)))


@pytest.mark.parametrize("key", [HMAC, ED], ids=["hmac", "ed25519"])
def test_a_tag_of_any_wrong_length_is_false(key: Any) -> None:
    tag = key.sign(b"m")
    half = key.verifying_key()
    assert not any(half.verify(b"m", tag[:size]) for size in range(len(tag)))
    assert not half.verify(b"m", tag + b"\0")


def test_an_s_that_is_not_reduced_is_false() -> None:
    """RFC 8032 section 5.1.7: S < L, else each signature has a twin."""
    tag = ED.sign(b"m")
    twin = tag[:32] + (int.from_bytes(tag[32:], "little") + ORDER).to_bytes(32, "little")
    assert not ED.verifying_key().verify(b"m", twin)


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("text", SMALL_ORDER)
def test_a_public_key_that_anyone_can_sign_for_is_refused(text: str, sign: int) -> None:
    point = bytes.fromhex(text)
    with pytest.raises(SealKeyError, match="small order"):
        Ed25519VerifyingKey("ed", point[:-1] + bytes([point[-1] | sign]))


@given(st.binary(min_size=32, max_size=32))
def test_bytes_that_are_no_point_verify_nothing(public: bytes) -> None:
    try:
        key = Ed25519VerifyingKey("ed", public)
    except SealKeyError:
        return
    assert key.verify(b"m", ED.sign(b"m")) is (public == ED.public)


@pytest.mark.parametrize(
    ("key", "kind"), [(HMAC, SigningKey), (HMAC, VerifyingKey), (ED, SigningKey), (ED.verifying_key(), VerifyingKey)]
)
def test_keys_meet_their_protocols(key: Any, kind: Any) -> None:
    assert isinstance(key, kind)


def test_a_public_key_is_no_signing_key() -> None:
    assert not isinstance(ED.verifying_key(), SigningKey)
    assert not isinstance(ED, VerifyingKey)


def test_a_secret_verifies_itself() -> None:
    assert HMAC.verifying_key() is HMAC
    assert verifying_half(HMAC) is HMAC
    assert verifying_half(ED.verifying_key()) == ED.verifying_key()


@pytest.mark.parametrize("key", [HMAC, ED.verifying_key()], ids=["hmac", "ed25519"])
def test_verifying_keys_go_to_other_processes(key: Any) -> None:
    key.verify(b"m", b"")
    twin = pickle.loads(pickle.dumps(key))  # noqa: S301 - made here
    assert twin == key
    assert twin.verify(b"m", {HMAC: HMAC, ED.verifying_key(): ED}[key].sign(b"m"))


def test_a_private_ed25519_key_does_not_go_to_other_processes() -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(ED)


@pytest.mark.parametrize("key", [HMAC, ED, ED.verifying_key()])
def test_repr_names_the_key_and_shows_no_secret(key: Any) -> None:
    text = repr(key)
    assert key.key_id in text
    for secret in (SECRET, ED.seed):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text


@pytest.mark.parametrize("kind", [HmacKey, Ed25519SigningKey, Ed25519VerifyingKey])
def test_keys_are_equal_by_id_and_material(kind: Any) -> None:
    key, same = kind("k", SECRET), kind("k", SECRET)
    assert key == same
    assert hash(key) == hash(same)
    others = [kind("k2", SECRET), kind("k", b"x" * 32), "k"]
    others += [other("k", SECRET) for other in (HmacKey, Ed25519SigningKey, Ed25519VerifyingKey) if other is not kind]
    assert key not in others


@pytest.mark.parametrize("secret", [b"", b"x" * 31, "x" * 32, bytearray(32)])
def test_a_short_secret_is_refused(secret: Any) -> None:
    with pytest.raises(SealKeyError, match="at least 32 bytes"):
        HmacKey("k", secret)


def test_a_long_secret_is_taken() -> None:
    assert HmacKey("k", b"x" * 100).verify(b"m", HmacKey("k", b"x" * 100).sign(b"m"))


@pytest.mark.parametrize("kind", [Ed25519SigningKey, Ed25519VerifyingKey])
@pytest.mark.parametrize("material", [b"", b"x" * 31, b"x" * 33, "x" * 32])
def test_ed25519_material_has_32_bytes(kind: Any, material: Any) -> None:
    with pytest.raises(SealKeyError, match="exactly 32 bytes"):
        kind("k", material)


@pytest.mark.parametrize("kind", [HmacKey, Ed25519SigningKey, Ed25519VerifyingKey])
def test_a_bad_key_id_is_refused(kind: Any) -> None:
    with pytest.raises(FormatError, match=r"U\+0020"):
        kind("a b", SECRET)


def test_thumbprint_is_that_of_rfc_8037_appendix_a3() -> None:
    public = Ed25519VerifyingKey("any", b64url_decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_thumbprint_is_that_of_the_public_half() -> None:
    assert thumbprint(ED) == thumbprint(ED.verifying_key())


def test_a_secret_has_no_thumbprint() -> None:
    with pytest.raises(SealKeyError, match="no public key"):
        thumbprint(HMAC)


@pytest.mark.parametrize("name", ["ECDSA-P256-SHA256", "RSA-PSS-SHA256", "ML-DSA-44"])
def test_algorithms_of_the_format_without_keys_are_told_apart(name: str) -> None:
    with pytest.raises(SealKeyError, match=f"{name} can be opened by this version") as error:
        parse_algorithm(name)
    assert error.value.hint == "Use HMAC-SHA256 or Ed25519."


@pytest.mark.parametrize("name", ["hmac-sha256", "SHA-256", "none", "", "EdDSA"])
def test_other_names_are_no_algorithm(name: str) -> None:
    with pytest.raises(SealKeyError, match="not the name of an algorithm"):
        parse_algorithm(name)


def test_algorithms_are_found_by_name() -> None:
    assert [parse_algorithm(name) for name in ("HMAC-SHA256", "Ed25519")] == list(Algorithm)


async def test_a_local_provider_signs_and_verifies() -> None:
    provider = LocalKeyProvider([HMAC, ED])
    for key in (HMAC, ED):
        assert await provider.get_key(key.key_id) == key.verifying_key()
        assert await provider.sign(key.key_id, b"m") == key.sign(b"m")
        assert await provider.sign_batch(key.key_id, [b"1", b"2"]) == [key.sign(b"1"), key.sign(b"2")]
        assert await provider.sign_batch(key.key_id, []) == []
        assert await provider.verify(key.key_id, b"m", key.sign(b"m")) is True
        assert await provider.verify(key.key_id, b"m", b"") is False
        assert await provider.rotate_check(key.key_id) is None


async def test_a_local_provider_names_what_it_has() -> None:
    provider = LocalKeyProvider([HMAC, ED.verifying_key()])
    with pytest.raises(SealKeyError, match=r"no key with key_id 'x'\. There are: \['ed', 'k1'\]"):
        await provider.get_key("x")
    for attempt in (provider.sign("ed", b"m"), provider.sign_batch("ed", [])):
        with pytest.raises(SealKeyError, match=r"no signing key with key_id 'ed'\. There are: \['k1'\]"):
            await attempt
    for attempt in (provider.verify("x", b"m", b""), provider.rotate_check("x")):
        with pytest.raises(SealKeyError, match="no key with key_id"):
            await attempt
    assert repr(provider) == "LocalKeyProvider(['ed', 'k1'])"


async def test_a_local_provider_rotates_to_the_greatest_epoch_that_can_sign() -> None:
    keys = [HmacKey(name, SECRET) for name in ("a#2", "a#10", "b#11", "a")]
    provider = LocalKeyProvider([*keys, Ed25519SigningKey("a#12", SECRET).verifying_key()])
    assert await provider.rotate_check("a#2") == "a#10"
    for current in ("a#10", "b#11", "a", "a#12"):
        assert await provider.rotate_check(current) is None


async def test_a_closed_provider_has_no_keys() -> None:
    provider = LocalKeyProvider([HMAC])
    await provider.close()
    await provider.close()
    with pytest.raises(SealKeyError, match="closed"):
        await provider.sign("k1", b"m")


def test_one_key_id_is_one_key() -> None:
    LocalKeyProvider([HMAC, HmacKey("k1", SECRET), ED, ED.verifying_key()])
    with pytest.raises(SealKeyError, match="k1 stands for two different keys"):
        LocalKeyProvider([HMAC, HmacKey("k1", b"y" * 32)])
