"""Files that are there whole after a crash, and folders that are there at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from unit.sealer.scene import posix

from fapilog_tamper.store.durable import make_folder, replace_file, write_all

# `Faulty` stands before a call of the operating system; only regular files and folders are concerned.


class Faulty:
    """Replaces functions of `os`; the n-th call that `hits` takes raises, before or after it has had its effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: list[str] = []

    def fail(self, name: str, at: int = 1, *, code: int = errno.EIO, effect: bool = False, kind: str = "any") -> None:
        real = getattr(os, name)
        left = at

        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            if not _is_kind(args[0], kind):
                return real(*args, **options)
            left -= 1
            if left:
                return real(*args, **options)
            if effect:
                real(*args, **options)
            raise OSError(code, os.strerror(code))

        self._patch.setattr(os, name, call)

    def write(self, room: int, *, chunk: int | None = None) -> None:
        """Let `room` bytes in, at most `chunk` at a time; what does not fit meets a full disk."""
        real = os.write

        def call(fd: int, data: Any) -> int:
            nonlocal room
            if not _is_kind(fd, "file"):
                return real(fd, data)
            size = min(len(data), room, chunk or len(data))
            if size == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= size
            return real(fd, bytes(data[:size]))

        self._patch.setattr(os, "write", call)

    def undo(self) -> None:
        self._patch.undo()


def _is_kind(target: Any, kind: str) -> bool:
    if kind == "any" or not isinstance(target, int):
        return True
    mode = os.fstat(target).st_mode
    return stat.S_ISDIR(mode) if kind == "folder" else stat.S_ISREG(mode)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    return Faulty(monkeypatch)


def test_write_all_offers_the_rest_again(tmp_path: Path, faulty: Faulty) -> None:
    faulty.write(10**9, chunk=7)
    with (tmp_path / "x").open("wb") as file:
        write_all(file.fileno(), bytes(range(256)))
        write_all(file.fileno(), b"")
    assert (tmp_path / "x").read_bytes() == bytes(range(256))


@posix
@pytest.mark.parametrize("existing", [True, False], ids=["old bytes", "no file"])
@pytest.mark.parametrize(
    ("name", "at", "effect", "is_new"),
    [
        ("open", 1, False, False),
        ("write", 1, False, False),
        ("write", 1, True, False),
        ("sync file", 1, False, False),
        ("sync file", 1, True, False),
        ("close", 1, True, False),
        ("replace", 1, False, False),
        ("replace", 1, True, True),
        ("open", 2, False, True),
        ("sync folder", 1, False, True),
        ("sync folder", 1, True, True),
        ("close", 2, True, True),
    ],
)
def test_replacing_a_file_leaves_the_old_or_the_new_bytes_whole(
    name: str,
    at: int,
    effect: bool,  # noqa: FBT001 (a column)
    is_new: bool,  # noqa: FBT001 (a column)
    existing: bool,  # noqa: FBT001 (a column)
    tmp_path: Path,
    faulty: Faulty,
) -> None:
    path = tmp_path / "head"
    if existing:
        path.write_bytes(b"old")
    # Which call syncs a file differs from system to system.
    for call in ["fsync", "fdatasync"] if name.startswith("sync") else [name]:
        faulty.fail(call, at, effect=effect, kind=name.removeprefix("sync ") if name.startswith("sync") else "any")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        replace_file(path, b"new bytes")
    faulty.undo()
    expected = b"new bytes" if is_new else b"old" if existing else None
    assert (path.read_bytes() if path.exists() else None) == expected
    assert not path.with_name("head.tmp").exists()
    replace_file(path, b"again")
    assert path.read_bytes() == b"again"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


@pytest.mark.parametrize("room", [0, 1, 8])
def test_replacing_a_file_on_a_full_disk_leaves_the_old_bytes(room: int, tmp_path: Path, faulty: Faulty) -> None:
    path = tmp_path / "head"
    path.write_bytes(b"old")
    faulty.write(room)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new bytes")
    faulty.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


def test_what_a_crash_left_of_a_replacement_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "head.tmp").write_bytes(b"a longer rest of something older")
    replace_file(tmp_path / "head", b"new")
    assert (tmp_path / "head").read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


@posix
def test_a_replaced_file_has_the_mode_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        replace_file(tmp_path / "head", b"")
        replace_file(tmp_path / "key", b"", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "head").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize(
    "levels",
    [1, 3],
)
def test_every_folder_that_is_made_is_durable(levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.add(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path.joinpath(*"abc"[:levels])
    make_folder(folder)
    make_folder(folder)
    assert folder.is_dir()
    made = {folder, *folder.parents} - {tmp_path, *tmp_path.parents}
    assert {one.parent for one in made} <= synced
