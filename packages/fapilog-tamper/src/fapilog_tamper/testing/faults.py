"""A store that fails on demand: any call, with any error, before or after it did its work, or halfway.

`FaultyStore` asks a plan (`Faults`) about each call before it passes it on. A call that no fault is planned for goes to
the inner store unchanged, so that with an empty plan it is as good a store as the one inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.testing.plan import REPLACE_STEPS, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fapilog_tamper.store.base import Lock, Store

__all__ = ["Faults", "FaultyStore"]

_T = TypeVar("_T")


@runtime_checkable
class _Losing(Protocol):
    def lose(self, handle: int) -> None: ...


class FaultyStore:
    """A store around another that does what the plan says. Locks are those of the inner store."""

    def __init__(self, inner: Store, faults: Faults | None = None) -> None:
        self.inner = inner
        self.faults = Faults() if faults is None else faults
        self._names: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"FaultyStore({self.inner!r})"

    def __str__(self) -> str:
        return str(self.inner)

    def make(self) -> None:
        """Make the folder and its parents."""
        self._call("make", (), self.inner.make)

    def child(self, name: str) -> FaultyStore:
        """Return the store of a folder inside this one, under the same plan."""
        return FaultyStore(self.inner.child(name), self.faults)

    def names(self) -> Sequence[str]:
        """Return the names of the files."""
        return self._call("names", (), self.inner.names)

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return self._call("size", (name,), lambda: self.inner.size(name))

    def read(self, name: str, start: int = 0, most: int = -1) -> bytes:
        """Return bytes of a file from `start` on."""
        return self._call("read", (name,), lambda: self.inner.read(name, start, most))

    def create(self, name: str) -> int:
        """Make an empty file and return a handle to it."""
        handle = self._call("create", (name,), lambda: self.inner.create(name), self.inner.close)
        self._names[handle] = name
        return handle

    def open(self, name: str) -> int:
        """Return a handle to a file."""
        handle = self._call("open", (name,), lambda: self.inner.open(name), self.inner.close)
        self._names[handle] = name
        return handle

    def write(self, handle: int, data: bytes, offset: int) -> int:
        """Put bytes at an offset and return how many were taken."""
        names = self._behind(handle)
        fault = self.faults.meet("write", names, len(data))
        if fault is None:
            return self.inner.write(handle, data, offset)
        wanted = len(data) if fault.done else min(fault.part or 0, len(data))
        taken = self.inner.write(handle, data[:wanted], offset) if wanted else 0
        if fault.error is None:
            return taken
        raise fault.to_error(names[0] if names else None)

    def sync(self, handle: int) -> None:
        """Bring what was written to the file to the disk."""
        names = self._behind(handle)
        fault = self.faults.meet("sync", names)
        if fault is not None and fault.lost:
            if not isinstance(self.inner, _Losing):
                raise ConfigError(f"{self.inner!r} cannot lose what was written.", hint="Use a MemoryStore inside.")
            self.inner.lose(handle)
        elif fault is None or fault.done:
            self.inner.sync(handle)
        if fault is not None:
            raise fault.to_error(names[0] if names else None)

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file."""
        self._call("truncate", self._behind(handle), lambda: self.inner.truncate(handle, size))

    def close(self, handle: int) -> None:
        """Give a handle back."""
        self._names.pop(handle, None)
        self.inner.close(handle)

    def replace(self, name: str, data: bytes) -> None:
        """Put a whole file in place of one or of none."""
        fault = self.faults.meet("replace", (name,), len(data))
        if fault is None or fault.done:
            self.inner.replace(name, data)
        elif fault.part is not None:
            self._replace_in_part(name, data, fault.part)
        if fault is not None:
            raise fault.to_error(name)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._call("rename", (old, new), lambda: self.inner.rename(old, new))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._call("remove", (name,), lambda: self.inner.remove(name))

    def sync_names(self) -> None:
        """Bring names to the disk."""
        self._call("sync_names", (), self.inner.sync_names)

    def lock(self, name: str) -> Lock | None:
        """Take the lock of this name."""
        return self._call("lock", (name,), lambda: self.inner.lock(name), _release)

    def _behind(self, handle: int) -> tuple[str, ...]:
        name = self._names.get(handle)
        return () if name is None else (name,)

    def _call(
        self, method: str, names: Sequence[str], work: Callable[[], _T], undo: Callable[[_T], None] | None = None
    ) -> _T:
        """Do the work unless a fault is met; `undo` gives back what a caller that sees the error cannot."""
        fault = self.faults.meet(method, names)
        if fault is None:
            return work()
        if fault.done:
            result = work()
            if undo is not None:
                undo(result)
        raise fault.to_error(names[0] if names else None)

    def _replace_in_part(self, name: str, data: bytes, steps: int) -> None:
        temporary = f"{name}.tmp"
        self.inner.remove(temporary)
        handle = self.inner.create(temporary)
        try:
            if steps > 1:
                written = 0
                while written < len(data):
                    written += self.inner.write(handle, data[written:], written)
            if steps > 2:  # noqa: PLR2004 (the third step)
                self.inner.sync(handle)
        finally:
            self.inner.close(handle)
        if steps >= REPLACE_STEPS:
            self.inner.rename(temporary, name)


def _release(lock: Lock | None) -> None:
    if lock is not None:
        lock.release()
