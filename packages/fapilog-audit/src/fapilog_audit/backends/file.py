"""`FileStorageBackend`: events in daily files of a sealed log, the default of every trail.

A trail that is given one writes its log there itself, without an outbox. Alone, it seals what it is given. Events that
were sealed by a trail already, which it gets where another backend hands them on, are kept as their lines, byte for
byte: a copy of the log.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fapilog_audit.backends.copying import LineCopy
from fapilog_audit.encode import encode_members
from fapilog_audit.errors import StorageError
from fapilog_audit.ledger import Ledger, off_loop
from fapilog_audit.reading import EventPage, Query, read_events
from fapilog_audit.settings import TrailSettings
from fapilog_tamper.errors import HintedError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.settings import Compression
    from fapilog_tamper.keys import SigningKey

__all__ = ["FileStorageBackend"]

_CLOSING: Final = 30.0


class FileStorageBackend:
    """Daily files `audit_YYYY-MM-DD.jsonl` in a folder. Any thread and loop may call it.

    Args:
        storage_path: the folder; made with the first event.
        key: a key URI or signing key for what it seals itself; None for an unkeyed chain.
        max_bytes: the size at which a file is closed and the next begun; at midnight UTC in any case.
        compress: what closed files are compressed with, `none`, `gzip` or `zstd`.
        state_dir: where heads and locks lie, `.fapilog` in the folder unless given.
    """

    def __init__(
        self,
        storage_path: str | os.PathLike[str],
        *,
        key: str | SigningKey | None = None,
        max_bytes: int | None = 256 << 20,
        compress: Compression = "none",
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = TrailSettings(
            storage_path=storage_path, key=key, max_bytes=max_bytes, compress=compress, state_dir=state_dir
        )
        self._ledger = Ledger(self._settings, self.storage_path)
        self._copy = LineCopy(self.storage_path, max_bytes)
        self._copying = threading.Lock()

    @property
    def storage_path(self) -> Path:
        """The folder."""
        return self._settings.folder

    def settings_for(self, trail: TrailSettings) -> TrailSettings:
        """Return the settings of a trail that writes here: its own, and what only the backend was told."""
        told = {name: getattr(self._settings, name) for name in ("max_bytes", "compress")}
        for name in ("key", "state_dir"):
            if getattr(trail, name) is None:
                told[name] = getattr(self._settings, name)
        return replace(trail, storage_path=self.storage_path, **told)

    async def write(self, event: AuditEvent) -> None:
        """Store an event; on return it survives the process.

        Raises:
            StorageError: it is not stored.
        """
        line = event.sealed_line
        try:
            if line is not None:
                await off_loop(lambda: self._copy_line(event, line))
                return
            log = self._ledger.log
            if log is None:
                log = await off_loop(self._ledger.open)
            await log.append_async(encode_members(event.to_members()))
        except HintedError as error:
            raise StorageError(f"event {event.event_id} is not stored: {error.message}", hint=error.hint) from error
        except OSError as error:
            raise StorageError(f"event {event.event_id} is not stored: {error.strerror or error}.") from error

    def _copy_line(self, event: AuditEvent, line: bytes) -> None:
        integrity = event.integrity
        if integrity is not None:
            with self._copying:
                self._copy.append(integrity.stream, integrity.seq, line)

    async def flush(self) -> None:
        """Bring what was written to the disk."""
        await off_loop(self._flush)

    def _flush(self) -> None:
        with self._copying:
            self._copy.flush()
        log = self._ledger.log
        if log is not None:
            log.flush()

    async def close(self) -> None:
        """Close the open files; a log of its own gets manifest and head."""
        await off_loop(self._close)

    def _close(self) -> None:
        with self._copying:
            self._copy.close()
        self._ledger.close(_CLOSING)

    async def read(self, query: Query) -> EventPage:
        """Return the events that match."""
        return await off_loop(lambda: read_events(self.storage_path, query))

    def __repr__(self) -> str:
        return f"<FileStorageBackend {str(self.storage_path)!r}>"
