from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import (
    Ed25519SigningKey,
    EnvKeyStore,
    FileKeyStore,
    HmacKey,
    Keyring,
    TrustedKey,
    format_private_jwk,
    format_public_jwk,
)

Write = Callable[..., Path]

DATA = bytes(range(32))
HMAC = HmacKey("k", DATA)
ED = Ed25519SigningKey("ed", DATA)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "keys" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    (tmp_path / "keys").mkdir()
    return put


def find(folder: Path, key_id: str) -> TrustedKey | None:
    return Keyring(stores=[FileKeyStore(folder / "keys")]).get(key_id)


@pytest.mark.parametrize(
    ("key_id", "variable"),
    [
        ("audit-2026", "FAPILOG_TAMPER_KEY_AUDIT_2026"),
        ("a.b#3", "FAPILOG_TAMPER_KEY_A_B_3"),
        ("é", "FAPILOG_TAMPER_KEY__"),
        ("../=x", "FAPILOG_TAMPER_KEY_____X"),
    ],
)
def test_an_environment_variable_holds_a_key(monkeypatch: pytest.MonkeyPatch, key_id: str, variable: str) -> None:
    monkeypatch.setenv(variable, DATA.hex())
    assert Keyring(stores=[EnvKeyStore()]).get(key_id) == TrustedKey(HmacKey(key_id, DATA))


def test_the_prefix_of_variables_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_K", DATA.hex())
    assert EnvKeyStore("MY_").get_key("k") == DATA.hex().encode()
    assert EnvKeyStore().get_key("k") is None


def test_two_key_ids_that_meet_in_a_variable_are_told_apart_by_kid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAPILOG_TAMPER_KEY_A_B", format_private_jwk(HmacKey("a-b", DATA)))
    ring = Keyring(stores=[EnvKeyStore()])
    assert ring.get("a-b") == TrustedKey(HmacKey("a-b", DATA))
    with pytest.raises(SealKeyError, match="kid is 'a-b', expected 'a_b'"):
        ring.get("a_b")


@pytest.mark.parametrize("content", [DATA, DATA.hex() + "\n", b64url_encode(DATA), format_private_jwk(HMAC)])
@pytest.mark.parametrize("suffix", [".key", ".jwk"])
def test_a_folder_holds_secrets(tmp_path: Path, write: Write, suffix: str, content: Any) -> None:
    write(f"k{suffix}", content)
    assert find(tmp_path, "k") == TrustedKey(HMAC)


@pytest.mark.parametrize("suffix", [".pub", ".jwk", ".key"])
def test_a_folder_holds_public_keys(tmp_path: Path, write: Write, suffix: str) -> None:
    write(f"ed{suffix}", format_public_jwk(ED), 0o644)
    assert find(tmp_path, "ed") == TrustedKey(ED)


@pytest.mark.parametrize("content", [DATA, DATA.hex(), b64url_encode(ED.public)])
def test_a_public_file_without_a_jwk_is_never_a_secret(tmp_path: Path, write: Write, content: Any) -> None:
    write("ed.pub", content)
    with pytest.raises(SealKeyError, match=r"ed.pub is not a JWK"):
        find(tmp_path, "ed")


def test_the_public_file_comes_first(tmp_path: Path, write: Write) -> None:
    write("ed.jwk", "broken")
    write("ed.key", "broken")
    write("ed.pub", format_public_jwk(ED))
    assert find(tmp_path, "ed") == TrustedKey(ED)


def test_a_key_id_cannot_leave_the_folder(tmp_path: Path, write: Write) -> None:
    (tmp_path / "out.key").write_bytes(DATA)
    (tmp_path / "out.key").chmod(0o600)
    hostile = ["../out", f"{tmp_path}/out", "./../out", "..", ".", "x/../../out", "漢" * 42, "k" * 128]
    assert [find(tmp_path, key_id) for key_id in hostile] == [None] * len(hostile)
    write("%2E.%2Fout.key", DATA)
    assert find(tmp_path, "../out") == TrustedKey(HmacKey("../out", DATA))


@pytest.mark.skipif(os.name != "posix", reason="access rights are POSIX")
@pytest.mark.parametrize("name", ["k.key", "k.jwk", "k.pub"])
def test_secrets_that_others_can_read_are_refused(tmp_path: Path, write: Write, name: str) -> None:
    path = write(name, format_private_jwk(HMAC), 0o640)
    with pytest.raises(SealKeyError, match=f"chmod 600 {path}"):
        find(tmp_path, "k")


@pytest.mark.parametrize("name", ["k.key", "k.jwk"])
def test_a_malformed_file_is_an_error_that_names_it(tmp_path: Path, write: Write, name: str) -> None:
    path = write(name, b"x")
    with pytest.raises(SealKeyError, match=f"key file {path}: not a key; found 1 bytes"):
        find(tmp_path, "k")


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path, write: Write) -> None:
    write("other.key", DATA)
    (tmp_path / "keys/k.key").mkdir()
    with pytest.raises(SealKeyError, match="is not a regular file"):
        find(tmp_path, "k")


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("no", "file"):
        with pytest.raises(SealKeyError, match=f"{name} is not a folder"):
            FileKeyStore(tmp_path / name)


def test_the_folder_stays_the_same_when_the_process_moves(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("k.key", DATA)
    monkeypatch.chdir(tmp_path)
    store = FileKeyStore("keys")
    monkeypatch.chdir("/")
    assert store.get_key("k") == DATA
    assert store == FileKeyStore(tmp_path / "keys")
