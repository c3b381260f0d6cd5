"""A lock on a file, which the operating system frees when its holder dies."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from fapilog_tamper.store.durable import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock"]

_HELD: Final = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class FileLock:
    """A held lock; make it with `FileLock.take`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path, mode: int = FILE_MODE) -> FileLock | None:
        """Take the lock, or return None where somebody holds it, through another descriptor of this process too."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), mode)
        try:
            _lock(fd)
        except OSError as error:
            os.close(fd)
            if error.errno in _HELD:
                return None
            raise
        return cls(fd)

    def release(self) -> None:
        """Free the lock; the file stays, because removing it would let two writers lock two files of one name."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # A forked child that never used the log may still have a copy of the descriptor: closing would not do.
            _unlock(fd)
            os.close(fd)

    def abandon(self) -> None:
        """Close a forked child's copy. Unlocking it would free the lock of the parent: they share the open file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _lock(fd: int) -> None:
        import fcntl

        # flock belongs to the open file, so that closing another descriptor of the same file does not free it.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_UN)
