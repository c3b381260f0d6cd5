"""Verifying what a backend holds: its lines as a log, with what the outbox still has, against the heads of the trail.

The lines are put into a temporary folder as they come, so that a table of any size is verified by the same verifier, in
bounded memory. Behind the mark the outbox stands in for the backend: what was not delivered is not missing.
"""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Self

from fapilog_audit.checking import check_folder
from fapilog_audit.reading import Follower
from fapilog_tamper.layout import segment_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from fapilog_audit.checking import AuditChainVerificationResult
    from fapilog_audit.event import AuditEvent
    from fapilog_audit.outbox import Outbox
    from fapilog_tamper.keys import Keyring

__all__ = ["Stocktaking"]

_DAY: Final = "2000-01-01"


class Stocktaking:
    """Collects the lines of a backend; a context manager. One thread at a time."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._files: dict[str, BinaryIO] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(TemporaryDirectory(prefix="fapilog-audit-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, events: Iterable[AuditEvent]) -> None:
        """Take events in the order in which the backend has them."""
        for event in events:
            # One without a line is no entry of any log: a line that the verifier will name.
            line = event.sealed_line or event.model_dump_json().encode() + b"\n"
            stream = event.stream or next(iter(self._files), "audit")
            self._file(stream).write(line)
            self._last[stream] = max(self._last.get(stream, 0), event.sequence_number or 0)

    def result(self, keyring: Keyring | None) -> AuditChainVerificationResult:
        """Verify what was taken."""
        self._add_undelivered()
        for file in self._files.values():
            file.flush()
        return check_folder(self._path, keyring, heads=self._outbox.heads())

    @property
    def _path(self) -> Path:
        from pathlib import Path

        return Path(self._folder)

    def _file(self, stream: str) -> BinaryIO:
        file = self._files.get(stream)
        if file is None:
            path = self._path / segment_name(stream, _DAY)
            file = self._files[stream] = self._stack.enter_context(path.open("wb"))
        return file

    def _add_undelivered(self) -> None:
        streams = self._outbox.streams()
        after = {stream: max(self._last.get(stream, 0), self._outbox.read_mark(stream)) for stream in streams}
        follower = Follower(self._outbox.folder, after=after, include_control=True)
        while events := follower.poll():
            self.add(events)
