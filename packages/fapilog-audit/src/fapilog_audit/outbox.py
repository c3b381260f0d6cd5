"""The outbox of a trail with a backend, as it lies on disk: where it is, and how far its streams were delivered.

<state>/<stream>.chainstate    the head
<state>/<stream>.delivered     the mark: the last seq that the backend is known to have, on its disk
<state>/outbox/                the sealed log
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import (
    is_segment_name,
    manifest_name,
    parse_head_name,
    parse_segment_name,
    plain_name,
    segment_place,
)
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.names import percent_encode
from fapilog_tamper.store.files import FileStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Outbox"]


@dataclass(frozen=True, slots=True)
class Outbox:
    """The outbox in one state folder."""

    state: Path

    @property
    def folder(self) -> Path:
        """Where the sealed log lies."""
        return self.state / "outbox"

    def streams(self) -> set[str]:
        """Return the streams that have segments here."""
        names = FileStore(self.folder).names() if self.folder.is_dir() else []
        parsed = (parse_segment_name(plain_name(name)) for name in names if is_segment_name(name))
        return {place[0] for place in parsed if place is not None}

    def heads(self) -> list[Path]:
        """Return the heads of the streams."""
        if not self.state.is_dir():
            return []
        return sorted(path for path in self.state.iterdir() if parse_head_name(path.name) is not None)

    def read_mark(self, stream: str) -> int:
        """Return the last seq of a stream that the backend is known to have; 0 where nobody knows."""
        try:
            seq = json.loads(FileStore(self.state).read(_mark_name(stream)))["delivered"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return seq if type(seq) is int and seq > 0 else 0

    def write_mark(self, stream: str, seq: int) -> None:
        """Write down how far a stream was delivered; raises OSError."""
        mark = json.dumps({"schema_version": "1.0", "stream": stream, "delivered": seq})
        FileStore(self.state).replace(_mark_name(stream), mark.encode() + b"\n")

    def prune(self, stream: str, seq: int) -> None:
        """Remove segments that were delivered as a whole; the last one stays, where the log goes on. Raises OSError."""
        store = FileStore(self.folder)
        names = store.names()
        places = {name: place for name in names if (place := segment_place(name, stream)) is not None}
        # Names do not sort as their places do: the tenth file of a day stands before the second.
        segments = sorted(
            (name for name in names if is_segment_name(name) and name in places), key=lambda name: places[name]
        )
        for name in segments[:-1]:
            described = manifest_name(plain_name(name))
            try:
                manifest = parse_manifest(store.read(described))
            except (FileNotFoundError, FormatError):
                continue
            if manifest.last_seq <= seq:
                store.remove(name)
                store.remove(described)


def _mark_name(stream: str) -> str:
    return f"{percent_encode(stream)}.delivered"
