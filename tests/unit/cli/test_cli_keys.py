from __future__ import annotations

import json
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.keys import Algorithm, Keyring, open_signing_key, open_verifying_key

if TYPE_CHECKING:
    from collections.abc import Callable


def call(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


@pytest.mark.parametrize("algorithm", Algorithm)
def test_keygen_writes_a_key_that_opens_and_says_the_next_command(place: Path, algorithm: Algorithm) -> None:
    result = call("keygen", "--algorithm", algorithm, "--kid", "new-1", "-o", "my new.jwk")
    assert (result.exit_code, result.stdout) == (0, "")
    key = open_signing_key("file:my new.jwk")
    assert (key.algorithm, key.key_id) == (algorithm, "new-1")
    uri = result.stderr.splitlines()[-1].rpartition("--key ")[2]
    assert open_verifying_key(uri) == key.verifying_key()
    assert Path("my new.jwk.pub").exists() is (algorithm is Algorithm.ED25519)
    if os.name == "posix":
        assert stat.S_IMODE(Path("my new.jwk").stat().st_mode) == 0o600


def test_the_next_command_can_be_pasted(place: Path) -> None:
    result = call("keygen", "--algorithm", "HMAC-SHA256", "--kid", "k", "-o", "it's; a ?key%.jwk")
    *_, option, uri = shlex.split(result.stderr.splitlines()[-1])
    assert option == "--key"
    assert open_verifying_key(uri).key_id == "k"


def test_keygen_never_overwrites(place: Path) -> None:
    before = Path("hmac.jwk").read_bytes()
    result = call("keygen", "--algorithm", "HMAC-SHA256", "--kid", "k", "-o", "hmac.jwk")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: key file hmac.jwk exists; nothing was written.\nhint: ")
    assert Path("hmac.jwk").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--algorithm", "RSA", "--kid", "k", "-o", "x"], "Invalid value for '--algorithm'"),
        (["--algorithm", "Ed25519", "--kid", "not a name", "-o", "x"], "error: "),
        (["--algorithm", "Ed25519", "-o", "x"], "Missing option '--kid'"),
        (["--algorithm", "Ed25519", "--kid", "k"], "Missing option '--output'"),
        (["--algorithm", "Ed25519", "--kid", "k", "-o", ""], "an empty path names nothing"),
        (["--algorithm", "Ed25519", "--kid", "k", "-o", "no/x"], "error: key file no/x cannot be written"),
    ],
)
def test_keygen_refuses_what_cannot_be(place: Path, args: list[str], message: str) -> None:
    before = sorted(place.iterdir())
    result = call("keygen", *args)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("file", ["ed.jwk", "ed.jwk.pub"])
def test_export_public_writes_a_trust_file_without_secrets(place: Path, file: str) -> None:
    result = call("export-public", "--key", f"file:{file}")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["keys"]
    assert row["key_id"] == "ed"
    assert json.loads(Path("ed.jwk").read_text())["d"] not in result.stdout
    assert result.stderr == ""


def test_an_exported_trust_file_verifies_the_log(place: Path, lines: Callable[..., list[bytes]]) -> None:
    Path("log/a.jsonl").write_bytes(b"".join(lines(5, open_signing_key("file:ed.jwk"))))
    result = call("export-public", "--key", "file:ed.jwk", "--key", "file:ed.jwk.pub", "-o", "trust.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "fapilog-tamper verify PATH --trust trust.json" in result.stderr
    assert Keyring.load("trust.json").key_ids == ("ed",)
    assert call("verify", "log", "--trust", "trust.json").exit_code == 0


def test_export_public_refuses_a_shared_secret_and_says_why(place: Path) -> None:
    result = call("export-public", "--key", "file:ed.jwk", "--key", "file:hmac.jwk")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "key k1 is an HMAC-SHA256 key, one shared secret: it has no public half" in result.stderr
    assert "hint: Use Ed25519 where others verify" in result.stderr


def test_export_public_does_not_overwrite(place: Path) -> None:
    before = Path("ed.jwk").read_bytes()
    result = call("export-public", "--key", "file:ed.jwk", "-o", "ed.jwk")
    assert result.exit_code == 2
    assert "error: ed.jwk exists; nothing was written." in result.stderr
    assert Path("ed.jwk").read_bytes() == before


def test_export_public_needs_a_key(place: Path) -> None:
    result = call("export-public")
    assert (result.exit_code, "Missing option '--key'" in result.stderr) == (2, True)
