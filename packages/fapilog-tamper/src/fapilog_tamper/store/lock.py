"""One writer a stream: a lock that the operating system frees when its holder dies."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from fapilog_tamper.errors import StoreError
from fapilog_tamper.store.durable import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StreamLock"]


class StreamLock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    Raises:
        StoreError: when another writer holds it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        try:
            _lock(self._fd)
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise
            raise StoreError(
                f"{path.name.removesuffix('.lock')}: another writer has this stream open.",
                hint="Close it there, or open a stream of another name here.",
            ) from None

    def release(self) -> None:
        """Free the lock; the file stays, because removing it would let two writers lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # flock belongs to the open file, so that closing another descriptor of the same file does not free it.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
