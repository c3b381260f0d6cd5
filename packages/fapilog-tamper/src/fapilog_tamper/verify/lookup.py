"""Finding single entries again: the chain hash at a seq, read from the segment that holds it.

Claims of heads, manifests, other streams and late seals mostly speak of the ends of segments, which are known; for
the others a segment is scanned once more for all the lines that are asked for. Only spans whose entries stand line by
line are asked, so that the line number of a seq is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.verify.control import read_control
from fapilog_tamper.verify.source import SourceError, open_source, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fapilog_tamper.verify.spans import Span

__all__ = ["Lookup"]


class Lookup:
    """Chain hashes and control kinds by span and seq, remembered for one run."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[bytes, str | None]] = {}

    def fetch(self, wanted: Iterable[tuple[Path, Span, int]]) -> None:
        """Read all the entries asked for, each file once."""
        lines: dict[tuple[Path, str], dict[int, int]] = defaultdict(dict)
        for path, span, seq in wanted:
            if span.in_order() and self._at_hand(span, seq) is None and (span.file, seq) not in self._known:
                lines[path, span.file][span.first_line + seq - span.first_seq] = seq
        for (path, file), numbers in lines.items():
            self._read(path, file, numbers)

    def chain(self, path: Path, span: Span, seq: int) -> bytes | None:
        """Return the chain hash of entry `seq`, None where it cannot be told."""
        at_hand = self._at_hand(span, seq)
        if at_hand is not None or not span.in_order():
            return at_hand
        self.fetch([(path, span, seq)])
        return self._known.get((span.file, seq), (None, None))[0]

    def kind(self, path: Path, span: Span, seq: int) -> str | None:
        """Return what kind of control entry `seq` is, None for an ordinary entry."""
        if seq == span.first_seq and span.first_kind is not None:
            return span.first_kind
        if (span.file, seq) not in self._known and span.in_order():
            self._read(path, span.file, {span.first_line + seq - span.first_seq: seq})
        return self._known.get((span.file, seq), (None, None))[1]

    @staticmethod
    def _at_hand(span: Span, seq: int) -> bytes | None:
        if seq == span.last_seq:
            return span.last_chain
        if seq == span.first_seq:
            return span.first_chain or None
        return span.first_prev if seq == span.first_seq - 1 else None

    def _read(self, path: Path, file: str, numbers: dict[int, int]) -> None:
        try:
            with open_source(path) as source:
                done = 0
                for block in whole_lines(source.chunks()):
                    count = block.data.count(b"\n")
                    if any(done < number <= done + count for number in numbers):
                        self._keep(block.data.split(b"\n"), done, file, numbers)
                    done += count
                    if done >= max(numbers):
                        return
        except SourceError:
            return

    def _keep(self, lines: list[bytes], done: int, file: str, numbers: dict[int, int]) -> None:
        for number, seq in numbers.items():
            if not done < number <= done + len(lines) - 1:
                continue
            try:
                payload, block = split(lines[number - done - 1] + b"\n")
            except FormatError:
                continue
            if block.seq == seq:
                self._known[file, seq] = (block.chain_hash, read_control(payload)[0])
