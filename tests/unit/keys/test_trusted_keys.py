from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper.encoding import MAX_SEQ, b64url_encode
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import (
    Ed25519SigningKey,
    Ed25519VerifyingKey,
    EnvKeyStore,
    FileKeyStore,
    HmacKey,
    Keyring,
    Macs,
    TrustedKey,
    format_private_jwk,
    format_public_jwk,
    format_trust_file,
)

if TYPE_CHECKING:
    from pathlib import Path

Load = Callable[[object], Keyring]

DATA = bytes(range(32))
HMAC = HmacKey("k", DATA)
ED = Ed25519SigningKey("ed", DATA)
PUBLIC = ED.verifying_key()
ORIGIN = b64url_encode(bytes(32))


class DictStore:
    """A store that notes what it is asked."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self.keys = keys
        self.asked: list[str] = []

    def get_key(self, key_id: str) -> bytes | None:
        self.asked.append(key_id)
        return self.keys.get(key_id)


# --- TrustedKey


@pytest.mark.parametrize(
    ("stream", "seq", "covered"),
    [
        ("audit", 10, True),
        ("audit", 20, True),
        ("audit", 9, False),
        ("audit", 21, False),
        ("audit.w2", 10, True),
        ("audit.r3", 10, True),
        ("audit.w2.r3", 10, True),
        ("audit.w2", 9, False),
        ("audit.x2", 10, False),
        ("audit2", 10, False),
        ("aud", 10, False),
        ("ops.w3", 10, True),
        ("ops", 10, False),
        ("ops.w4", 10, False),
    ],
)
def test_a_key_covers_its_streams_and_the_writers_names_under_them(stream: str, seq: int, *, covered: bool) -> None:
    key = TrustedKey(HMAC, streams=["audit", "ops.w3"], first_seq=10, last_seq=20)
    assert key.covers(stream, seq) is covered


def test_a_key_without_limits_covers_all() -> None:
    assert TrustedKey(HMAC).covers("any", 1)
    assert TrustedKey(HMAC).covers("any", MAX_SEQ)
    assert not TrustedKey(HMAC, streams=()).covers("any", 1)


def test_macs_follow_from_the_algorithm_unless_given() -> None:
    assert TrustedKey(HMAC).macs is Macs.EACH
    assert TrustedKey(PUBLIC).macs is Macs.COMMIT
    assert TrustedKey(HMAC, macs=Macs.COMMIT).macs is Macs.COMMIT
    assert TrustedKey(PUBLIC, macs=Macs.EACH).macs is Macs.EACH


def test_a_trusted_key_is_a_value() -> None:
    key = TrustedKey(ED, streams="audit")
    assert key == TrustedKey(PUBLIC, streams=frozenset({"audit"}))
    assert key.key == PUBLIC
    assert key.key_id == "ed"
    assert len({key, TrustedKey(ED, streams="audit")}) == 1
    assert pickle.loads(pickle.dumps(key)) == key  # noqa: S301 - made here
    with pytest.raises(FrozenInstanceError):
        key.first_seq = 2  # type: ignore[misc]
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize(("first", "last"), [(0, None), (-1, 5), (5, 4), (1, 0), (1, MAX_SEQ + 1), (MAX_SEQ + 1, None)])
def test_seqs_are_a_range(first: int, last: int | None) -> None:
    with pytest.raises(SealKeyError, match="are no range"):
        TrustedKey(HMAC, first_seq=first, last_seq=last)


def test_streams_have_names_of_streams() -> None:
    with pytest.raises(SealKeyError, match=r"key k: stream name holds U\+0020"):
        TrustedKey(HMAC, streams=["a b"])


# --- Keyring


def test_a_keyring_takes_keys_uris_and_trusted_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_RING", format_private_jwk(HmacKey("env", DATA)))
    ring = Keyring(["env:SEAL_RING", HMAC, ED, TrustedKey(HmacKey("t", DATA), streams="audit")])
    assert ring.key_ids == ("ed", "env", "k", "t")
    assert ring.get("ed") == TrustedKey(PUBLIC)
    assert ring.get("env") == TrustedKey(HmacKey("env", DATA))
    assert ring.get("t") == TrustedKey(HmacKey("t", DATA), streams="audit")
    assert ring.get("x") is None
    assert len(ring) == 4
    assert sorted(key.key_id for key in ring) == list(ring.key_ids)


def test_one_key_uri_is_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_RING", format_private_jwk(HMAC))
    assert Keyring("env:SEAL_RING").key_ids == ("k",)


def test_a_keyring_is_false_only_without_keys_and_stores() -> None:
    assert not Keyring()
    assert Keyring([HMAC])
    assert Keyring(stores=[DictStore({})])


def test_one_key_id_stands_for_one_key_on_one_set_of_terms() -> None:
    assert len(Keyring([HMAC, HmacKey("k", DATA), TrustedKey(HMAC)])) == 1
    for other in (HmacKey("k", b"x" * 32), Ed25519VerifyingKey("k", DATA)):
        with pytest.raises(SealKeyError, match="k stands for two different keys"):
            Keyring([HMAC, other])
    with pytest.raises(SealKeyError, match="k is trusted on two different terms"):
        Keyring([HMAC, TrustedKey(HMAC, streams="audit")])


def test_stores_are_asked_once_for_what_was_not_given() -> None:
    stores = [DictStore({}), DictStore({"a": DATA, "e": format_public_jwk(Ed25519SigningKey("e", DATA)).encode()})]
    ring = Keyring([HMAC], stores=stores)
    for _ in range(3):
        assert ring.get("k") == TrustedKey(HMAC)
        assert ring.get("a") == TrustedKey(HmacKey("a", DATA))
        assert ring.get("e") == TrustedKey(Ed25519VerifyingKey("e", ED.public))
        assert ring.get("none") is None
    assert [store.asked for store in stores] == [["a", "e", "none"]] * 2
    assert ring.key_ids == ("k",)


def test_a_public_key_from_a_store_is_no_hmac_secret() -> None:
    """Whoever knows the public key could otherwise make macs with it."""
    jwk = format_public_jwk(ED).encode()
    key = Keyring(stores=[DictStore({"ed": jwk})]).get("ed")
    assert key is not None
    assert key.key == PUBLIC
    for broken in (jwk[:-1], jwk + b"x", b" " + jwk[:-1] + b",}"):
        with pytest.raises(SealKeyError, match="stored key ed: not one JSON object"):
            Keyring(stores=[DictStore({"ed": broken})]).get("ed")


def test_a_jwk_from_a_store_serves_only_the_key_it_names() -> None:
    with pytest.raises(SealKeyError, match="stored key other: the JWK's kid is 'ed', expected 'other'"):
        Keyring(stores=[DictStore({"other": format_public_jwk(ED).encode()})]).get("other")


@pytest.mark.parametrize("raw", [b"", b"short", b"x" * 31, b"x" * 33])
def test_a_malformed_key_in_a_store_is_an_error(raw: bytes) -> None:
    with pytest.raises(SealKeyError, match="stored key a: not a key"):
        Keyring(stores=[DictStore({"a": raw})]).get("a")


@pytest.mark.parametrize("key_id", ["", "a b", "a\0b", "../a+", "\ud800", "a#b", "x" * 129])
def test_stores_are_not_asked_for_what_cannot_be_a_key_id(key_id: str) -> None:
    store = DictStore({key_id: DATA})
    assert Keyring(stores=[store]).get(key_id) is None
    assert store.asked == []


def test_unknown_key_ids_do_not_fill_the_memory() -> None:
    store = DictStore({"a": DATA})
    ring = Keyring(stores=[store])
    first = ring.get("a")
    for number in range(3000):
        ring.get(f"x{number}")
    assert len(ring._missing) <= 1024
    assert ring.get("a") is first
    assert store.asked.count("a") == 1


def test_a_keyring_goes_to_other_processes(tmp_path: Path) -> None:
    ring = Keyring([HMAC, ED], stores=[EnvKeyStore(), FileKeyStore(tmp_path)], origins={"audit": ORIGIN})
    twin = pickle.loads(pickle.dumps(ring))  # noqa: S301 - made here
    assert twin.get("ed") == ring.get("ed")
    assert twin.get("k") == ring.get("k")
    assert twin.origins == ring.origins
    assert twin.get("none") is None
    assert repr(twin) == repr(ring)


def test_repr_names_keys_and_shows_no_secret() -> None:
    text = repr(Keyring([HMAC, ED], origins={"audit": ORIGIN}))
    assert text == "Keyring(keys=['ed', 'k'], stores=[], origins=['audit'])"


def test_origins_cannot_be_changed() -> None:
    ring = Keyring(origins={"audit": ORIGIN})
    assert ring.origins == {"audit": ORIGIN}
    with pytest.raises(TypeError):
        ring.origins["x"] = ORIGIN  # type: ignore[index]


@pytest.mark.parametrize("origins", [{"a b": ORIGIN}, {"audit": ""}, {"audit": ORIGIN + "="}, {"audit": "AAAA"}])
def test_origins_are_hashes_of_streams(origins: dict[str, str]) -> None:
    with pytest.raises(SealKeyError, match=r"origin of stream '(a b|audit)'"):
        Keyring(origins=origins)


# --- trust files


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write(content: object) -> Keyring:
        path = tmp_path / "trust.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return Keyring.load(path)

    return write


def trust(**key: object) -> dict[str, object]:
    row = {"key_id": "ed", "algorithm": "Ed25519", "public_key": b64url_encode(ED.public), **key}
    return {"version": "1.0", "keys": [{name: value for name, value in row.items() if value is not ...}]}


def test_a_trust_file_is_read(load: Load) -> None:
    row = trust(streams=["audit"], seqs=[5, 9], macs="each")
    ring = load({**row, "origins": {"audit": ORIGIN}})
    assert ring.get("ed") == TrustedKey(PUBLIC, ["audit"], 5, 9, Macs.EACH)
    assert ring.origins == {"audit": ORIGIN}


def test_what_a_trust_file_leaves_out_is_open(load: Load) -> None:
    assert load(trust()).get("ed") == TrustedKey(PUBLIC)
    assert load(trust(streams=None, seqs=[1, None])).get("ed") == TrustedKey(PUBLIC)
    assert not load({"version": "1.0", "keys": []})


def test_a_trust_file_is_written_and_read(load: Load) -> None:
    keys = [TrustedKey(ED, ["b", "a"], 2, 3, Macs.EACH), Ed25519SigningKey("é", DATA), Ed25519VerifyingKey("p", DATA)]
    ring = load(format_trust_file(keys, origins={"a": ORIGIN}))
    assert list(ring) == [keys[0], TrustedKey(keys[1]), TrustedKey(keys[2])]
    assert ring.origins == {"a": ORIGIN}
    assert load(format_trust_file(ring)).get("ed") == keys[0]


def test_no_secret_is_written_into_a_trust_file() -> None:
    text = format_trust_file([ED])
    assert b64url_encode(ED.seed) not in text
    with pytest.raises(SealKeyError, match="key k: HMAC-SHA256 here has no public key to write"):
        format_trust_file([ED, HMAC])


def test_refs_count_from_the_folder_of_the_trust_file(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAL_TRUST", DATA.hex())
    monkeypatch.chdir("/")
    (tmp_path / "keys").mkdir()
    path = tmp_path / "keys/my key.pub"
    path.write_text(format_public_jwk(ED))
    for ref in ("file:keys/my%20key.pub", f"file:{tmp_path}/keys/my key.pub", f"file://{tmp_path}/keys/my key.pub"):
        assert load(trust(public_key=..., ref=ref)).get("ed") == TrustedKey(PUBLIC)
    row = trust(key_id="k", algorithm="HMAC-SHA256", public_key=..., ref="env:SEAL_TRUST?kid=k&alg=HMAC-SHA256")
    assert load(row).get("k") == TrustedKey(HMAC)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not one JSON object"),
        ("[]", "not one JSON object"),
        ('{"version":"1.0","version":"1.0","keys":[]}', "each member once"),
        ('{"version":"1.0","keys":[{"key_id":"a","key_id":"a"}]}', "each member once"),
        ({"keys": []}, "not of version 1.0"),
        ({"version": 1.0, "keys": []}, "not of version 1.0"),
        ({"version": "2.0", "keys": []}, "not of version 1.0"),
        ({"version": "1.0"}, "keys is not a list"),
        ({"version": "1.0", "keys": {}}, "keys is not a list"),
        ({"version": "1.0", "keys": [], "origins": []}, "origins not an object"),
        ({"version": "1.0", "keys": [], "origins": {"a": 1}}, "origin of stream 'a'"),
        ({"version": "1.0", "keys": [], "extra": 1}, "member 'extra' is unknown"),
        ({"version": "1.0", "keys": ["env:X"]}, "key 1: not an object"),
        (trust(secret="hunter2"), "key 1: the member 'secret' is unknown"),
        (trust(key_id=...), "key 1: no text member key_id"),
        (trust(key_id="a b"), "key 1: key_id holds U\\+0020"),
        (trust(algorithm=...), "key 1: no text member algorithm"),
        (trust(algorithm="ML-DSA-44"), "key 1: no key for algorithm ML-DSA-44"),
        (trust(algorithm="HMAC-SHA256"), "key 1: HMAC-SHA256 has no public key, and a secret does not belong"),
        (trust(public_key=...), "key 1: it needs one of public_key and ref"),
        (trust(ref="env:X"), "key 1: it needs one of public_key and ref"),
        (trust(public_key=7), "key 1: no text member public_key"),
        (trust(public_key="hunter2="), "key 1: not strict base64url"),
        (trust(public_key="AAAA"), "exactly 32 bytes"),
        (trust(public_key=..., ref="hunter2"), "key 1: not a key URI"),
        (trust(public_key=..., ref="file:no.pub"), "key 1: key file .*/no.pub does not exist"),
        (trust(public_key=..., ref="env:X?kid=b"), "contradicts key_id ed"),
        (trust(public_key=..., ref="env:X?alg=HMAC-SHA256"), "contradicts key_id ed"),
        (trust(streams="audit"), "streams is not a list"),
        (trust(streams=[1]), "streams is not a list"),
        (trust(streams=["a b"]), "stream name holds U\\+0020"),
        (trust(seqs=[1]), "seqs is not"),
        (trust(seqs=[1, "2"]), "seqs is not"),
        (trust(seqs=[True, None]), "seqs is not"),
        (trust(seqs=[1, True]), "seqs is not"),
        (trust(seqs=[1.0, None]), "seqs is not"),
        (trust(seqs=[0, None]), "are no range"),
        (trust(seqs=None), "seqs is not"),
        (trust(macs="all"), "macs is unknown"),
        (trust(macs=None), "no text member macs"),
        ({"version": "1.0", "keys": trust()["keys"] + trust(streams=["a"])["keys"]}, "on two different terms"),
    ],
)
def test_a_malformed_trust_file_is_refused(load: Load, content: Any, reason: str) -> None:
    with pytest.raises(SealKeyError, match=reason) as error:
        load(content)
    assert error.value.hint
    assert "hunter2" not in str(error.value)


def test_a_trust_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError, match=f"trust file {tmp_path}/no.json does not exist"):
        Keyring.load(tmp_path / "no.json")


@pytest.mark.skipif(os.name != "posix", reason="access rights are POSIX")
def test_a_trust_file_may_be_read_by_all_but_not_the_secrets_it_names(load: Load, tmp_path: Path) -> None:
    (tmp_path / "k.jwk").write_text(format_private_jwk(HMAC))
    row = trust(key_id="k", algorithm="HMAC-SHA256", public_key=..., ref="file:k.jwk")
    (tmp_path / "k.jwk").chmod(0o644)
    with pytest.raises(SealKeyError, match=r"key 1: key file .* is read as a private key"):
        load(row)
    (tmp_path / "k.jwk").chmod(0o600)
    assert load(row).get("k") == TrustedKey(HMAC)
