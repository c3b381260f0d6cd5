from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import (
    Algorithm,
    Ed25519SigningKey,
    Ed25519VerifyingKey,
    HmacKey,
    KeyURI,
    format_private_jwk,
    format_public_jwk,
    open_signing_key,
    open_verifying_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = bytes(range(32))
HMAC = HmacKey("k", DATA)
ED = Ed25519SigningKey("ed", DATA)
POSIX = pytest.mark.skipif(os.name != "posix", reason="access rights and FIFOs are POSIX")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "ed.jwk"
    path.write_text(format_private_jwk(ED))
    path.chmod(0o600)
    return path


# --- the text of a URI


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("env:VAR", KeyURI("env", "VAR")),
        ("env:VAR?kid=k", KeyURI("env", "VAR", "k")),
        ("env:VAR?kid=k&alg=Ed25519", KeyURI("env", "VAR", "k", Algorithm.ED25519)),
        ("env:VAR?alg=HMAC-SHA256&kid=a%26b", KeyURI("env", "VAR", "a&b", Algorithm.HMAC_SHA256)),
        ("file:a%20b%3F/c.jwk?kid=a#2", KeyURI("file", "a b?/c.jwk", "a#2")),
        ("file:///abs/k", KeyURI("file", "///abs/k")),
        ("file:~/k", KeyURI("file", "~/k")),
        ("file:C:\\k.jwk", KeyURI("file", "C:\\k.jwk")),
        ("file:%FF", KeyURI("file", "\udcff")),
        ("awskms:arn:aws:kms:eu-1:1:key/a?kid=k", KeyURI("awskms", "arn:aws:kms:eu-1:1:key/a", "k")),
        ("file:a+b", KeyURI("file", "a+b")),
    ],
)
def test_a_uri_is_parsed_and_round_trips(text: str, uri: KeyURI) -> None:
    assert KeyURI.parse(text) == uri
    assert KeyURI.parse(str(uri)) == uri


def test_the_text_of_a_uri_is_readable() -> None:
    uri = KeyURI("file", "/etc/keys/audit 1?.jwk", "a#2", Algorithm.ED25519)
    assert str(uri) == "file:/etc/keys/audit%201%3F.jwk?kid=a%232&alg=Ed25519"


@given(st.text(min_size=1).filter(lambda path: not any(0xD800 <= ord(char) <= 0xDFFF for char in path)))
def test_any_path_round_trips(path: str) -> None:
    uri = KeyURI("file", path, "é&=#1".replace("#1", ""), Algorithm.HMAC_SHA256)
    assert KeyURI.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with a scheme"),
        ("VAR", "does not begin with a scheme"),
        (":VAR", "does not begin with a scheme"),
        ("ENV:VAR", "does not begin with a scheme"),
        ("C:\\keys\\k.jwk", "does not begin with a scheme"),
        ("env?kid=a:b", "does not begin with a scheme"),
        ("env:", "env: names nothing"),
        ("env:?kid=k", "env: names nothing"),
        ("env:V?", "what follows \\?"),
        ("env:V?kid", "what follows \\?"),
        ("env:V?kid=", "what follows \\?"),
        ("env:V?kid=a&kid=a", "what follows \\?"),
        ("env:V?kid=a&", "what follows \\?"),
        ("env:V?KID=a", "what follows \\?"),
        ("env:V?secret=hunter2", "what follows \\?"),
        ("env:V?kid=a%20b", "key_id holds U\\+0020"),
        ("env:V?kid=%FF", "lone surrogate"),
        ("env:V?kid=a+b", "key_id holds U\\+002B"),
        ("env:V?alg=none", "not the name of an algorithm"),
        ("env:V?alg=ML-DSA-44", "ML-DSA-44 can be opened"),
        ("env:V%", "% without two hex digits"),
        ("env:V%4g", "% without two hex digits"),
        ("env:V?kid=%4", "% without two hex digits"),
        ("env:\ud800", "lone surrogate"),
    ],
)
def test_a_malformed_uri_is_refused_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(SealKeyError, match=reason) as error:
        open_signing_key(text)
    assert error.value.hint
    assert "hunter2" not in str(error.value)


def test_a_secret_in_place_of_a_uri_is_not_shown() -> None:
    for text in (DATA.hex(), f"hmac?{DATA.hex()}"):
        with pytest.raises(SealKeyError) as error:
            open_signing_key(text)
        assert DATA.hex() not in str(error.value)


@pytest.mark.parametrize("scheme", ["nosuch", "awskms", "gcpkms", "azurekms", "hv"])
@pytest.mark.parametrize("open_key", [open_signing_key, open_verifying_key])
def test_an_unknown_scheme_is_answered_with_the_known_ones(open_key: Callable[..., object], scheme: str) -> None:
    with pytest.raises(SealKeyError, match=rf"scheme {scheme} is not known. Known schemes: .*env, file") as error:
        open_key(f"{scheme}:x")
    assert ("needs a key provider package" in error.value.hint) is (scheme != "nosuch")


# --- keys pass through


def test_keys_pass_through() -> None:
    assert open_signing_key(ED) is ED
    assert open_verifying_key(HMAC) is HMAC
    assert open_verifying_key(ED) == ED.verifying_key()
    assert open_verifying_key(ED.verifying_key()) == ED.verifying_key()


# --- env:


def test_env_holds_a_jwk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_KEY", format_private_jwk(ED) + "\n")
    assert open_signing_key("env:SEAL_KEY") == ED
    assert open_verifying_key("env:SEAL_KEY?kid=ed&alg=Ed25519") == ED.verifying_key()


def test_env_holds_plain_material(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_KEY", DATA.hex())
    assert open_signing_key("env:SEAL_KEY?kid=k&alg=HMAC-SHA256") == HMAC
    assert open_verifying_key("env:SEAL_KEY?kid=ed&alg=Ed25519") == Ed25519VerifyingKey("ed", DATA)
    with pytest.raises(SealKeyError, match="environment variable SEAL_KEY: key_id and algorithm missing"):
        open_signing_key("env:SEAL_KEY")


@POSIX
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux passes any byte")
def test_env_holds_raw_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes(range(200, 232))
    monkeypatch.setenv("SEAL_KEY", os.fsdecode(raw))
    assert open_signing_key("env:SEAL_KEY?kid=k&alg=HMAC-SHA256") == HmacKey("k", raw)


def test_env_that_is_not_set_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEAL_KEY", raising=False)
    monkeypatch.delenv("SEAL_KEY_FILE", raising=False)
    with pytest.raises(SealKeyError) as error:
        open_signing_key("env:SEAL_KEY")
    assert str(error.value) == (
        "environment variable SEAL_KEY is not set. Set it, or SEAL_KEY_FILE to the path of a key file."
    )


def test_env_that_is_empty_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAL_KEY", "")
    with pytest.raises(SealKeyError, match="environment variable SEAL_KEY: not a key; it is empty"):
        open_signing_key("env:SEAL_KEY?kid=k&alg=HMAC-SHA256")


def test_env_may_name_a_file(monkeypatch: pytest.MonkeyPatch, private: Path) -> None:
    monkeypatch.delenv("SEAL_KEY", raising=False)
    monkeypatch.setenv("SEAL_KEY_FILE", str(private))
    assert open_signing_key("env:SEAL_KEY") == ED
    assert open_verifying_key("env:SEAL_KEY") == ED.verifying_key()
    monkeypatch.setenv("SEAL_KEY", format_private_jwk(HMAC))
    assert open_signing_key("env:SEAL_KEY") == HMAC


@POSIX
def test_a_file_that_env_names_is_checked_like_any_other(monkeypatch: pytest.MonkeyPatch, private: Path) -> None:
    monkeypatch.setenv("SEAL_KEY_FILE", str(private))
    private.chmod(0o640)
    for open_key in (open_signing_key, open_verifying_key):
        with pytest.raises(SealKeyError, match="chmod 600"):
            open_key("env:SEAL_KEY")
    private.unlink()
    with pytest.raises(SealKeyError, match=r"SEAL_KEY_FILE: key file .* does not exist"):
        open_signing_key("env:SEAL_KEY")


# --- file:


def test_file_is_found_by_any_spelling(monkeypatch: pytest.MonkeyPatch, private: Path) -> None:
    monkeypatch.chdir(private.parent)
    for text in ("file:ed.jwk", f"file:{private}", f"file://{private}", f"file://localhost{private}", "file:%65d.jwk"):
        assert open_signing_key(f"{text}?kid=ed&alg=Ed25519") == ED
        assert open_verifying_key(text) == ED.verifying_key()


def test_a_tilde_is_a_plain_character(monkeypatch: pytest.MonkeyPatch, private: Path) -> None:
    monkeypatch.setenv("HOME", str(private.parent))
    with pytest.raises(SealKeyError, match=r"key file ~/ed.jwk does not exist"):
        open_signing_key("file:~/ed.jwk")


def test_a_file_uri_names_no_host(private: Path) -> None:
    with pytest.raises(SealKeyError, match="names the host keys"):
        open_signing_key("file://keys/ed.jwk")


def test_kid_and_alg_of_a_file_must_agree(private: Path) -> None:
    with pytest.raises(SealKeyError, match="kid is 'ed', expected 'k'"):
        open_signing_key(f"file:{private}?kid=k")
    with pytest.raises(SealKeyError, match="expected HMAC-SHA256"):
        open_verifying_key(f"file:{private}?alg=HMAC-SHA256")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError) as error:
        open_signing_key(f"file:{tmp_path}/no.jwk")
    assert str(error.value) == f"key file {tmp_path}/no.jwk does not exist. Check the path."


@pytest.mark.parametrize("path", ["%00", "ed.jwk/x"])
def test_a_path_that_cannot_be_opened_is_an_error(private: Path, path: str) -> None:
    with pytest.raises(SealKeyError, match=r"cannot be read: (open: )?(embedded null|Not a directory)"):
        open_signing_key(f"file:{private.parent}/{path}")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b" " * (65536 - 64) + DATA.hex().encode())
    path.chmod(0o600)
    assert open_signing_key(f"file:{path}?kid=k&alg=HMAC-SHA256") == HMAC
    with path.open("ab") as file:
        file.write(b" ")
    with pytest.raises(SealKeyError, match="larger than 65536 bytes"):
        open_signing_key(f"file:{path}?kid=k&alg=HMAC-SHA256")


@POSIX
@pytest.mark.parametrize("path", ["/dev/zero", "."])
def test_only_regular_files_are_read(path: str) -> None:
    with pytest.raises(SealKeyError, match="is not a regular file"):
        open_signing_key(f"file:{path}?kid=k&alg=HMAC-SHA256")


@POSIX
def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            open_signing_key(f"file:{path}")
        except SealKeyError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert "is not a regular file" in str(errors[0])


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
def test_a_secret_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "it's a key.jwk"
    materials = [format_private_jwk(HMAC).encode(), format_private_jwk(ED).encode()]
    for raw in materials:
        path.write_bytes(raw)
        path.chmod(mode)
        uri = str(KeyURI("file", str(path)))
        for open_key in (open_signing_key, open_verifying_key):
            with pytest.raises(SealKeyError, match=f"is read as a private key and has mode {mode:04o}") as error:
                open_key(uri)
            command = error.value.hint.removeprefix("Run: ")
            assert shlex.split(command) == ["chmod", "600", str(path)]
        subprocess.run(shlex.split(command), check=True)
        assert open_verifying_key(uri)


@POSIX
def test_a_plain_secret_that_others_can_read_is_refused_and_a_plain_public_key_not(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(ED.public)
    path.chmod(0o644)
    assert open_verifying_key(f"file:{path}?kid=ed&alg=Ed25519") == ED.verifying_key()
    for attempt in (
        lambda: open_verifying_key(f"file:{path}?kid=k&alg=HMAC-SHA256"),
        lambda: open_signing_key(f"file:{path}?kid=k&alg=Ed25519"),
    ):
        with pytest.raises(SealKeyError, match="chmod 600"):
            attempt()


@POSIX
def test_a_public_jwk_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "ed.pub"
    path.write_text(format_public_jwk(ED))
    path.chmod(0o666)
    assert open_verifying_key(f"file:{path}") == ED.verifying_key()


@POSIX
def test_the_mode_is_that_of_the_opened_file(tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is exchanged between open and fstat; the open file counts."""
    wide = tmp_path / "wide.jwk"
    wide.write_text(format_private_jwk(ED))
    wide.chmod(0o644)
    real = os.open

    def exchange(path: str, flags: int) -> int:
        descriptor = real(path, flags)
        if Path(path) == wide:
            private.replace(wide)
        return descriptor

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(SealKeyError, match="has mode 0644"):
        open_signing_key(f"file:{wide}")
    assert stat.S_IMODE(wide.stat().st_mode) == 0o600


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_no_descriptor_stays_open(private: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = count_descriptors()
    for _ in range(5):
        open_signing_key(f"file:{private}")
        with pytest.raises(SealKeyError):
            open_signing_key(f"file:{tmp_path}/folder")
    after = count_descriptors()
    assert after == before
