from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper.errors import FormatError, SealKeyError
from fapilog_tamper.keys import (
    Algorithm,
    Ed25519SigningKey,
    HmacKey,
    generate_key,
    open_signing_key,
    open_verifying_key,
    write_key_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HMAC = HmacKey("k", bytes(range(32)))
ED = Ed25519SigningKey("ed", bytes(range(32)))
SYNCS = [name for name in ("fsync", "fdatasync") if hasattr(os, name)]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("algorithm", Algorithm)
def test_generated_keys_are_new_and_named(algorithm: Algorithm) -> None:
    keys = [generate_key(algorithm, "k") for _ in range(4)]
    assert {(key.algorithm, key.key_id) for key in keys} == {(algorithm, "k")}
    assert len(set(keys)) == 4


def test_a_generated_key_has_a_good_name() -> None:
    with pytest.raises(FormatError):
        generate_key(Algorithm.HMAC_SHA256, "a b")


@pytest.mark.parametrize("key", [HMAC, ED], ids=["hmac", "ed25519"])
def test_written_keys_are_opened_again(tmp_path: Path, key: Any) -> None:
    written = write_key_files(tmp_path / "key", key)
    names = ["key"] if key is HMAC else ["key", "key.pub"]
    assert [path.name for path in written] == names == names_in(tmp_path)
    assert open_signing_key(f"file:{written[0]}") == key
    assert open_verifying_key(f"file:{written[-1]}") == key.verifying_key()
    for path in written:
        assert path.read_bytes().endswith(b"}\n")
        json.loads(path.read_bytes())


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        written = write_key_files(tmp_path / "key", ED)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o644]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_private_file_is_never_wider_than_0600(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    real = os.fchmod

    def look(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", look)
    before = os.umask(0)
    try:
        write_key_files(tmp_path / "key", HMAC)
    finally:
        os.umask(before)
    assert modes == [0o600]


@pytest.mark.parametrize("name", ["key", "key.pub"])
@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_overwritten(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    with pytest.raises(SealKeyError, match=f"{name} exists; nothing was written"):
        write_key_files(tmp_path / "key", ED)
    assert names_in(tmp_path) == [name]


def test_both_names_are_looked_at_before_a_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key does not lie on the disk for a moment, only because its public file was in the way."""
    opened: list[object] = []
    (tmp_path / "key.pub").symlink_to("nowhere")
    monkeypatch.setattr(os, "open", lambda *args: opened.append(args))
    with pytest.raises(SealKeyError, match=r"key\.pub exists"):
        write_key_files(tmp_path / "key", ED)
    assert opened == []


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look and the creation are two steps; the second must hold alone."""
    (tmp_path / name).write_text("theirs")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(SealKeyError, match=f"{name} exists; nothing was written"):
        write_key_files(tmp_path / "key", ED)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "theirs"


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_after_a_failure_nothing_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, fault: BaseException
) -> None:
    """Each sync fails in turn: private file, public file, folder."""
    calls = iter(range(9))
    real = {name: getattr(os, name) for name in SYNCS}

    def breaking(name: str) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            if next(calls) == at:
                raise fault
            real[name](descriptor)

        return sync

    for name in SYNCS:
        monkeypatch.setattr(os, name, breaking(name))
    expected = SealKeyError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match=r"No space left|^$"):
        write_key_files(tmp_path / "key", ED)
    assert names_in(tmp_path) == []
    assert next(calls) == at + 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError, match="no/key cannot be written: No such file"):
        write_key_files(tmp_path / "no/key", HMAC)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_files_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    for name in SYNCS:
        monkeypatch.setattr(
            os, name, lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        )
    write_key_files(tmp_path / "key", ED)
    assert synced == [str(tmp_path / "key"), str(tmp_path / "key.pub"), str(tmp_path)]
