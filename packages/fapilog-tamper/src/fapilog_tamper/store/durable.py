"""Writing so that it is still there after a power cut; each hazard is named where it is met.

Every write and sync goes through `os.write`, `os.fsync` and `os.fdatasync` as attributes of the module `os`, so that
tests can slow and break them.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE_MODE", "FOLDER_MODE", "make_folder", "replace_file", "sync_file", "sync_folder", "write_all"]

FILE_MODE: Final = 0o640
FOLDER_MODE: Final = 0o750


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`. A write may take only a part (full disk, signal), so the rest is offered again."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]


def sync_file(fd: int) -> None:
    """Bring a file's data to the disk.

    After an error the kernel may have dropped the dirty pages and report success next time (fsyncgate, 2018): the
    caller must not sync the same file again and believe it.
    """
    _sync(fd, "fdatasync" if hasattr(os, "fdatasync") else "fsync")


def _sync(fd: int, call: str) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS stops at the drive's cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        # Looked up at each call: tests slow and break it.
        getattr(os, call)(fd)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: a new or renamed file is not durable before. Windows has no such call."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, mode: int = FOLDER_MODE) -> None:
    """Make a folder and its parents, durably."""
    if folder.is_dir():
        # Whoever made it may have died before its name was on the disk. A parent that is not ours may refuse.
        with suppress(PermissionError):
            sync_folder(folder.parent)
        return
    make_folder(folder.parent, mode)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)


def replace_file(path: Path, data: bytes, mode: int = FILE_MODE) -> None:
    """Put `data` at `path` so that after a crash either the old or the new bytes are there, whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    # What a crash left under this name, or a link that somebody put there, is not written through.
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    try:
        try:
            write_all(fd, data)
            # Renaming before the data is on the disk can leave an empty file behind the new name.
            _sync(fd, "fsync")
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
