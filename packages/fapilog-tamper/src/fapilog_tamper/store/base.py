"""What the writer needs of the place where a log lies: a flat folder of named files.

A log has two of them, one for segments and manifests, one for heads and locks. The protocol names what a crash may
undo, because that is what the writer is built around:

* bytes written survive the process at once, and a power cut only after `sync` of their file;
* a name that was created, replaced or removed survives a power cut only after `sync_names`; `replace` ends with that;
* a call that raises `OSError` may have done nothing, a part, or all of its work.

Methods raise `OSError` and nothing else; who retries is the caller. Files are told apart by handles, which belong to
the store that gave them. All methods may be called from any thread; the caller sees to it that nobody else writes to
a file that it writes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Lock", "Store"]


class Lock(Protocol):
    """A held lock; it is free again when it is released or its process ends, however that ends."""

    def release(self) -> None:
        """Free the lock. Idempotent."""
        ...

    def abandon(self) -> None:
        """Let go of a forked child's copy; the lock stays with the parent. Idempotent."""
        ...


@runtime_checkable
class Store(Protocol):
    """One flat folder."""

    def make(self) -> None:
        """Make the folder and its parents, durably; nothing happens where it is there."""
        ...

    def child(self, name: str) -> Store:
        """Return the store of a folder inside this one; it is not made yet."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of the regular files, in no order. A folder that is not there raises FileNotFoundError."""
        ...

    def size(self, name: str) -> int:
        """Return the bytes of a file. Raises FileNotFoundError where there is none."""
        ...

    def read(self, name: str, start: int = 0, most: int = -1) -> bytes:
        """Return bytes of a file from `start` on, at most `most`; fewer only at its end, none behind it."""
        ...

    def create(self, name: str) -> int:
        """Make an empty file and return a handle to write to it. Raises FileExistsError."""
        ...

    def open(self, name: str) -> int:
        """Return a handle to write to a file that is there. Raises FileNotFoundError."""
        ...

    def write(self, handle: int, data: bytes, offset: int) -> int:
        """Put bytes at an offset and return how many were taken, at least one of them.

        Doing it again with the same bytes and offset is harmless: that is how the writer retries.
        """
        ...

    def sync(self, handle: int) -> None:
        """Bring what was written to the file to the disk.

        After an error the kernel may have dropped the pages and report success next time (fsyncgate, 2018): the
        caller must not sync the same file again and believe it.
        """
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file; durable after `sync`."""
        ...

    def close(self, handle: int) -> None:
        """Give a handle back. Never fails, syncs nothing."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in place of one or of none; durable, and atomic to readers and to crashes."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of a file that may have it; durable after `sync_names`."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none. Durable after `sync_names`."""
        ...

    def sync_names(self) -> None:
        """Bring names that were created, renamed or removed to the disk."""
        ...

    def lock(self, name: str) -> Lock | None:
        """Take the lock of this name, or return None where somebody, in this process too, holds it."""
        ...
