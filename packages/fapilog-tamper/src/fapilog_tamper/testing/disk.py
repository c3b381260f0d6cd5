"""A disk in memory under any number of folders, and the two ways in which a writer's life may end on it.

`kill` is the end of a process: all that was written is there, locks are free. `power_cut` is the end of a machine:
what was not synced may be gone, in any order that a file system allows. Both return a new disk and leave the old one
to the writer that does not know yet, so that its further writes do no harm.

Names are kept as files are: those synced, and what was done since. A power cut keeps any of these operations, but
none of which an earlier one on the same name is lost; a rename, which is about two names, happens to both or neither.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.testing.pages import PAGE, MemoryFile

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

__all__ = ["FolderPath", "MemoryDisk", "MemoryFolder"]

FolderPath = tuple[str, ...]
"""The names that lead from the root folder, which is `()`, to a folder."""

_JOURNAL: Final = 10_000


@dataclass(frozen=True, slots=True)
class NameChange:
    """One operation on names: `gone` had the file before and has it no more, `there` has it since."""

    gone: str | None
    there: str | None
    file: MemoryFile

    @property
    def names(self) -> set[str]:
        """The names that the operation is about."""
        return {name for name in (self.gone, self.there) if name is not None}

    def put(self, into: dict[str, MemoryFile]) -> None:
        """Do the operation to a table of names."""
        if self.gone is not None:
            del into[self.gone]
        if self.there is not None:
            into[self.there] = self.file


@dataclass(slots=True)
class MemoryFolder:
    """The names of one folder: as they are, as they were synced, and what was done in between."""

    seen: dict[str, MemoryFile] = field(default_factory=dict)
    synced: dict[str, MemoryFile] = field(default_factory=dict)
    since: list[NameChange] = field(default_factory=list)

    def change(self, gone: str | None, there: str | None, file: MemoryFile) -> None:
        """Do an operation that is not synced yet."""
        change = NameChange(gone, there, file)
        change.put(self.seen)
        self.since.append(change)

    def sync(self) -> None:
        """Bring all names to the disk."""
        self.synced = dict(self.seen)
        self.since.clear()

    def power_cut(self, rng: random.Random, page: int) -> MemoryFolder:
        """Return the folder as it may be found after a power cut."""
        table = dict(self.synced)
        lost: set[str] = set()
        odds = rng.choice((0.0, 0.3, 0.7, 1.0))
        for change in self.since:
            if change.names & lost or rng.random() < odds:
                lost |= change.names
            else:
                change.put(table)
        found = {name: file.power_cut(rng, page) for name, file in table.items()}
        return MemoryFolder(found, dict(found))

    def copy(self) -> MemoryFolder:
        """Return a folder of its own in the same state."""
        files = [*self.seen.values(), *self.synced.values(), *(change.file for change in self.since)]
        twins = {id(file): file.copy() for file in files}
        return MemoryFolder(
            {name: twins[id(file)] for name, file in self.seen.items()},
            {name: twins[id(file)] for name, file in self.synced.items()},
            [NameChange(change.gone, change.there, twins[id(change.file)]) for change in self.since],
        )


class MemoryDisk:
    """The folders of one machine. May be used from several threads.

    `journal` holds the last operations in words, for the reports of tests. `page` is the number of bytes that reach
    the disk together or not at all; 512 stands for a disk that tears pages.
    """

    def __init__(self, *, page: int = PAGE) -> None:
        self.page = page
        self.journal: deque[str] = deque(maxlen=_JOURNAL)
        self.mutex = threading.RLock()
        self.folders: dict[FolderPath, MemoryFolder] = {}
        self.locks: set[tuple[FolderPath, str]] = set()
        self._open: dict[int, tuple[MemoryFile, str]] = {}
        self._last_handle = 0

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, page: int = PAGE) -> MemoryDisk:
        """Return a disk with the regular files of a real folder and its sub-folders, all of them synced."""
        disk = cls(page=page)
        for real, folders, names in os.walk(path):
            folders.sort()
            files = {name: Path(real, name) for name in sorted(names)}
            held = {
                name: MemoryFile(file.read_bytes())
                for name, file in files.items()
                if file.is_file() and not file.is_symlink()
            }
            disk.folders[Path(real).relative_to(path).parts] = MemoryFolder(held, dict(held))
        return disk

    def kill(self) -> MemoryDisk:
        """Return the disk as the next process finds it when this one was killed."""
        with self.mutex:
            found = MemoryDisk(page=self.page)
            found.folders = {path: folder.copy() for path, folder in self.folders.items()}
            found.journal.extend((*self.journal, "kill"))
            return found

    def power_cut(self, rng: random.Random) -> MemoryDisk:
        """Return the disk as the machine may find it after a power cut: one state of those allowed, as `rng` says."""
        with self.mutex:
            found = MemoryDisk(page=self.page)
            found.folders = {path: folder.power_cut(rng, self.page) for path, folder in self.folders.items()}
            found.journal.extend((*self.journal, "power cut"))
            return found

    def image(self, folder: FolderPath = ()) -> Mapping[str, bytes]:
        """Return all files below a folder as readers see them, by their path in it, with `/` between names."""
        with self.mutex:
            return {
                "/".join((*path[len(folder) :], name)): file.content
                for path, held in sorted(self.folders.items())
                if path[: len(folder)] == folder
                for name, file in sorted(held.seen.items())
            }

    def dump(self, path: str | os.PathLike[str], folder: FolderPath = ()) -> None:
        """Write a folder and its sub-folders, as readers see them, to real files below `path`, which is made."""
        with self.mutex:
            below = [inner for inner in self.folders if inner[: len(folder)] == folder]
        Path(path).mkdir(parents=True, exist_ok=True)
        for inner in below:
            Path(path, *inner[len(folder) :]).mkdir(parents=True, exist_ok=True)
        for name, content in self.image(folder).items():
            Path(path, name).write_bytes(content)

    def note(self, *words: object) -> None:
        """Write an operation into the journal."""
        self.journal.append(" ".join(map(str, words)))

    def give_handle(self, file: MemoryFile, label: str) -> int:
        """Return a handle to a file; `label` is how the journal calls it."""
        self._last_handle += 1
        self._open[self._last_handle] = file, label
        return self._last_handle

    def behind(self, handle: int) -> tuple[MemoryFile, str]:
        """Return the file of a handle, and how the journal calls it.

        Raises:
            OSError: the handle was closed, or is not one of this disk.
        """
        try:
            return self._open[handle]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def take_back(self, handle: int) -> None:
        """Close a handle, if it is open."""
        self._open.pop(handle, None)
