"""A folder of the file system as a store.

Reads and writes go through `os.pread` and `os.pwrite` at offsets that the writer keeps, so that a write which failed
halfway is made good by doing it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fapilog_tamper.store.durable import FILE_MODE, FOLDER_MODE, make_folder, replace_file, sync_file, sync_folder
from fapilog_tamper.store.lock import FileLock

if TYPE_CHECKING:
    from fapilog_tamper.store.base import Lock

__all__ = ["FileStore"]

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class FileStore:
    """One folder. `file_mode` and `folder_mode` are what is made with; the umask of the process still counts."""

    def __init__(self, path: Path, *, file_mode: int = FILE_MODE, folder_mode: int = FOLDER_MODE) -> None:
        self.path = path
        self._file_mode = file_mode
        self._folder_mode = folder_mode

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> None:
        """Make the folder and its parents, durably."""
        make_folder(self.path, self._folder_mode)

    def child(self, name: str) -> FileStore:
        """Return the store of a folder inside this one."""
        return FileStore(self.path / name, file_mode=self._file_mode, folder_mode=self._folder_mode)

    def names(self) -> list[str]:
        """Return the names of the regular files."""
        with os.scandir(self.path) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self.path / name).stat().st_size

    def read(self, name: str, start: int = 0, most: int = -1) -> bytes:
        """Return bytes of a file from `start` on."""
        with Path(self.path, name).open("rb") as file:
            file.seek(start)
            return file.read(most)

    def create(self, name: str) -> int:
        """Make an empty file and return its descriptor."""
        return os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, self._file_mode)

    def open(self, name: str) -> int:
        """Return a descriptor to write to a file."""
        return os.open(self.path / name, os.O_WRONLY | _FLAGS)

    if hasattr(os, "pwrite"):

        def write(self, handle: int, data: bytes, offset: int) -> int:
            """Put bytes at an offset and return how many were taken."""
            # Looked up at each call: tests slow and break it.
            return os.pwrite(handle, data, offset)

    else:

        def write(self, handle: int, data: bytes, offset: int) -> int:
            """Put bytes at an offset and return how many were taken."""
            os.lseek(handle, offset, os.SEEK_SET)
            return os.write(handle, data)

    def sync(self, handle: int) -> None:
        """Bring what was written to the file to the disk."""
        sync_file(handle)

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        """Give a descriptor back."""
        try:
            os.close(handle)
        except OSError:
            # POSIX leaves it open or closed; a second close could hit a file that somebody else has opened since.
            return

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in place of one or of none."""
        replace_file(self.path / name, data, self._file_mode)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        (self.path / old).replace(self.path / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)

    def sync_names(self) -> None:
        """Bring names to the disk."""
        sync_folder(self.path)

    def lock(self, name: str) -> Lock | None:
        """Take the lock file of this name."""
        return FileLock.take(self.path / name, self._file_mode)
