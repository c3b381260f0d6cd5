"""A store in memory that keeps apart what is synced and what is only written.

It does what `FileStore` does, and in addition what no file system does on request: show what a power cut leaves. What
survives is decided by the disk under it (`MemoryDisk`), which several stores may share.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fapilog_tamper.testing.disk import FolderPath, MemoryDisk, MemoryFolder
from fapilog_tamper.testing.pages import MemoryFile

if TYPE_CHECKING:
    import threading

__all__ = ["MemoryDisk", "MemoryLock", "MemoryStore"]


class MemoryLock:
    """A held lock of a memory disk."""

    def __init__(self, disk: MemoryDisk, folder: FolderPath, name: str) -> None:
        self._disk = disk
        self._key = folder, name
        self._held = True

    def release(self) -> None:
        """Free the lock. Idempotent."""
        with self._disk.mutex:
            if self._held:
                self._held = False
                self._disk.locks.discard(self._key)

    def abandon(self) -> None:
        """Forget the lock without freeing it. Idempotent."""
        self._held = False


class MemoryStore:
    """One folder of a memory disk; without a disk it gets one of its own. May be used from several threads."""

    def __init__(self, disk: MemoryDisk | None = None, path: FolderPath = ()) -> None:
        self.disk = MemoryDisk() if disk is None else disk
        self.path = path

    def __repr__(self) -> str:
        return f"MemoryStore({str(self)!r})"

    def __str__(self) -> str:
        return "memory:/" + "/".join(self.path)

    def make(self) -> None:
        """Make the folder and its parents, durably."""
        with self._mutex:
            for depth in range(len(self.path) + 1):
                self.disk.folders.setdefault(self.path[:depth], MemoryFolder())

    def child(self, name: str) -> MemoryStore:
        """Return the store of a folder inside this one, on the same disk."""
        return MemoryStore(self.disk, (*self.path, name))

    def names(self) -> list[str]:
        """Return the names of the files."""
        with self._mutex:
            return list(self._folder("").seen)

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        with self._mutex:
            return len(self._file(name))

    def read(self, name: str, start: int = 0, most: int = -1) -> bytes:
        """Return bytes of a file from `start` on."""
        _require_not_negative(start)
        with self._mutex:
            return self._file(name).read(start, None if most < 0 else start + most)

    def create(self, name: str) -> int:
        """Make an empty file and return a handle to it."""
        with self._mutex:
            folder = self._folder(name)
            if name in folder.seen:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self._label(name))
            file = MemoryFile()
            folder.change(None, name, file)
            self.disk.note("create", self._label(name))
            return self.disk.give_handle(file, self._label(name))

    def open(self, name: str) -> int:
        """Return a handle to a file."""
        with self._mutex:
            return self.disk.give_handle(self._file(name), self._label(name))

    def write(self, handle: int, data: bytes, offset: int) -> int:
        """Put bytes at an offset; all of them are taken."""
        _require_not_negative(offset)
        with self._mutex:
            file, label = self.disk.behind(handle)
            if data:
                file.write(offset, bytes(data))
                self.disk.note("write", label, f"{offset}+{len(data)}")
            return len(data)

    def sync(self, handle: int) -> None:
        """Bring what was written to the file to the disk."""
        with self._mutex:
            file, label = self.disk.behind(handle)
            file.sync()
            self.disk.note("sync", label)

    def lose(self, handle: int) -> None:
        """Drop what was written to the file since its last sync, as the kernel does when a sync fails.

        Readers go on seeing it, and the next sync succeeds; only a power cut shows that it is not on the disk.
        """
        with self._mutex:
            file, label = self.disk.behind(handle)
            file.lose()
            self.disk.note("lose", label)

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file."""
        _require_not_negative(size)
        with self._mutex:
            file, label = self.disk.behind(handle)
            file.truncate(size)
            self.disk.note("truncate", label, size)

    def close(self, handle: int) -> None:
        """Give a handle back."""
        with self._mutex:
            self.disk.take_back(handle)

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in place of one or of none: a new file, synced, renamed, and its name synced."""
        temporary = f"{name}.tmp"
        with self._mutex:
            self.remove(temporary)
            handle = self.create(temporary)
            self.write(handle, data, 0)
            self.sync(handle)
            self.close(handle)
            self.rename(temporary, name)
            self.sync_names()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        with self._mutex:
            file = self._file(old)
            if old != new:
                self._folder(old).change(old, new, file)
                self.disk.note("rename", self._label(old), self._label(new))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._mutex, suppress(FileNotFoundError):
            self._folder(name).change(name, None, self._file(name))
            self.disk.note("remove", self._label(name))

    def sync_names(self) -> None:
        """Bring names to the disk."""
        with self._mutex:
            self._folder("").sync()
            self.disk.note("sync_names", self)

    def lock(self, name: str) -> MemoryLock | None:
        """Take the lock of this name. A file of the name is made, as real locks do."""
        with self._mutex:
            folder = self._folder(name)
            if (self.path, name) in self.disk.locks:
                return None
            if name not in folder.seen:
                folder.change(None, name, MemoryFile())
            self.disk.locks.add((self.path, name))
            self.disk.note("lock", self._label(name))
            return MemoryLock(self.disk, self.path, name)

    @property
    def _mutex(self) -> threading.RLock:
        return self.disk.mutex

    def _folder(self, name: str) -> MemoryFolder:
        try:
            return self.disk.folders[self.path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._label(name)) from None

    def _file(self, name: str) -> MemoryFile:
        try:
            return self._folder(name).seen[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._label(name)) from None

    def _label(self, name: str) -> str:
        return "/".join((*self.path, name))


def _require_not_negative(number: int) -> None:
    if number < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
