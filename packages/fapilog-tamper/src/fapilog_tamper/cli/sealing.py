"""Lines into a log: what was sealed, cut and skipped, and what was not stored when the disk failed."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fapilog_tamper.cli.lines import Line, encode_line, object_text
from fapilog_tamper.errors import PayloadError, StoreError
from fapilog_tamper.writer.promise import Durability, Receipt

if TYPE_CHECKING:
    from fapilog_tamper.sealer import SealedLog

__all__ = ["Sealing"]


@dataclass(slots=True)
class Sealing:
    """One run of lines into a log.

    Attributes:
        log: where they go.
        limit: bytes of the largest payload.
        promise: what a line is promised when `take` returns.
    """

    log: "SealedLog"
    limit: int
    promise: Durability
    lines: int = 0
    cut: int = 0
    skipped: int = 0
    first: int = 0
    last: int = 0
    _begun: int = 0
    _line: int = 0
    _done: bool = True
    _pending: deque[tuple[int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        # Opening may have written an entry of its own, which counts as accepted.
        self._begun = self.log.head.seq - self.log.stats.accepted

    def take(self, lines: Sequence[Line]) -> None:
        """Seal lines that were read together, and return when all are as far as was promised.

        Only the last of them waits for the disk: nobody is told anything before it.

        Raises:
            StoreError: the promise cannot be kept.
            SealKeyError: the key cannot sign.
        """
        last = max((number for number, line in enumerate(lines) if not line.empty), default=0)
        for number, line in enumerate(lines):
            self._line += 1
            if line.empty:
                self.skipped += 1
            else:
                self._seal(line, self.promise if number == last else "accepted")
        self.settle()

    def settle(self) -> int:
        """Return how many lines are stored: in the operating system at least."""
        written = self._begun + self.log.stats.written
        while self._pending and self._pending[0][0] <= written:
            self._pending.popleft()
        return self.lines - len(self._pending)

    @property
    def resume(self) -> int:
        """The line of the input, from 1, from which on nothing is stored."""
        return self._pending[0][1] if self._pending else self._line + int(self._done)

    def _seal(self, line: Line, promise: Durability) -> None:
        self._done = False
        try:
            self._note(self._append(line, promise).seq)
        except StoreError as error:
            # What was accepted and is not stored in time has its place all the same.
            for seq in error.seqs:
                self._note(seq)
            raise

    def _note(self, seq: int) -> None:
        self.lines += 1
        self._done = True
        self.first, self.last = self.first or seq, seq
        self._pending.append((seq, self._line))

    def _append(self, line: Line, promise: Durability) -> Receipt:
        text = object_text(line)
        if text is not None:
            try:
                return self.log.append(text, durability=promise)
            except PayloadError:
                pass
        event, cut = encode_line(line, self.limit)
        self.cut += cut
        return self.log.append(event, durability=promise)
