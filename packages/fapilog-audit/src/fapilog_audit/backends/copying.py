"""Sealed lines kept as they are: a copy of a log, made line by line.

A copy has the segments' lines and names of days; it has no manifests and no head, since only the writer of a log can
attest its end. A line that is there already is not written again, so that what is offered twice stands once.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import is_segment_name, segment_name, segment_place
from fapilog_tamper.store.durable import FILE_MODE, FOLDER_MODE, make_folder, sync_file, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LineCopy"]


class LineCopy:
    """The open files of copies, by stream. One thread at a time may call it."""

    def __init__(self, folder: Path, max_bytes: int | None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: dict[str, _File] = {}

    def append(self, stream: str, seq: int, line: bytes) -> None:
        """Write a line unless it is there; raises OSError."""
        file = self._files.get(stream)
        if file is None:
            make_folder(self._folder, FOLDER_MODE)
            file = self._files[stream] = _File(self._folder, stream, self._max_bytes)
        if seq > file.last_seq:
            file.write(seq, line)

    def flush(self) -> None:
        """Bring all to the disk."""
        for file in self._files.values():
            file.sync()

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()
        self._files = {}


class _File:
    """The copy of one stream: its newest file, which is begun anew each day and when it is full."""

    def __init__(self, folder: Path, stream: str, max_bytes: int | None) -> None:
        self._folder = folder
        self._stream = stream
        self._max_bytes = max_bytes
        self._fd = -1
        self._size = 0
        names = [path.name for path in folder.iterdir() if is_segment_name(path.name)]
        places = sorted((place, name) for name in names if (place := segment_place(name, stream)) is not None)
        self._place = places[-1][0] if places else ("", 0)
        self.last_seq = 0
        for _, name in reversed(places):
            # A crash may leave a file in which there is nothing yet.
            self.last_seq = _mend(folder / name)
            if self.last_seq:
                break

    def write(self, seq: int, line: bytes) -> None:
        day = datetime.now(UTC).date().isoformat()
        full = self._max_bytes is not None and self._size + len(line) > self._max_bytes
        if self._fd < 0 or full or day > self._place[0]:
            self._begin(max(day, self._place[0]))
        done = os.pwrite(self._fd, line, self._size)
        if done != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "short write")
        self._size += done
        self.last_seq = seq

    def _begin(self, day: str) -> None:
        self.close()
        number = self._place[1] + 1 if day == self._place[0] else 0
        name = segment_name(self._stream, day, number)
        self._fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        self._place, self._size = (day, number), 0
        sync_folder(self._folder)

    def sync(self) -> None:
        if self._fd >= 0:
            sync_file(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
            self._fd = -1


def _mend(path: Path) -> int:
    """Cut a torn line off the end of a file, and return the seq of its last line."""
    with path.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
    lines = data[:whole].splitlines(keepends=True)
    try:
        return split(lines[-1])[1].seq if lines else 0
    except FormatError:
        return 0
