"""The bytes of a segment in a store, unpacked where its name says that it is compressed, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fapilog_tamper.layout import plain_name
from fapilog_tamper.verify.source import CHUNK, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.store.base import Store

__all__ = ["StoredSource", "open_stored"]

_PACKINGS: Final = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource(Source):
    """A segment in a store: as `Source`, which reads a path. Its methods raise what the store raises, too."""

    store: Store
    name: str

    def plain_chunks(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the stored bytes from offset `start` to `end`, or to where the file ends now."""
        while start < end and (chunk := self.store.read(self.name, start, min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk


def open_stored(store: Store, name: str) -> StoredSource:
    """Return the source of a segment."""
    packing = _PACKINGS.get(name.removeprefix(plain_name(name)), "plain")
    return StoredSource(fd=-1, size=store.size(name), packing=packing, store=store, name=name)
