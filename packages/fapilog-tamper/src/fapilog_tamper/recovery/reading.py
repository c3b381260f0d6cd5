"""One segment, read with the checks of the verifier, and what a writer must know of it beyond a verdict."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.errors import EncodingError
from fapilog_tamper.recovery.facts import HASH_SIZE, FoundSegment
from fapilog_tamper.verify.lines import LineChecker
from fapilog_tamper.verify.source import SourceError, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.recovery.content import StoredSource
    from fapilog_tamper.verify.source import Block
    from fapilog_tamper.verify.spans import Expectation, LineResult

__all__ = ["read_segment"]

_CHAIN: Final = b'"chain_hash":"'
_CHAIN_TEXT: Final = 43
_KEY: Final = b'","key_id":"'
_UNKNOWN: Final = bytes(HASH_SIZE)


def read_segment(
    source: StoredSource, keyring: Keyring | None, expect: Expectation, *, limit: int | None = None
) -> FoundSegment:
    """Return what the lines of a segment say; `limit` is how many bytes it may unpack to, where that is known."""
    found, partial = _Pass(keyring, expect).read(source.chunks(limit))
    if partial:
        whole, _ = _Pass(keyring, expect).read(chain(source.chunks(limit), [b"\n"]))
        if whole.defect is None and whole.torn is None:
            return replace(whole, size=found.size, newline_missing=True)
    if found.defect is not None:
        before, _ = _Pass(keyring, expect).read(_first(source.chunks(limit), found.good))
        return replace(before, size=found.size, torn=found.torn, defect=found.defect)
    return found


def _first(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := next(chunks, b"")):
        yield chunk[:size]
        size -= len(chunk)


class _Pass:
    """Reads a segment once."""

    def __init__(self, keyring: Keyring | None, expect: Expectation) -> None:
        self._expect = expect
        self._checker = LineChecker(keyring, expect)
        self._chains: list[bytes] = []
        self._ends: list[int] = []
        self._keyed_at = 0
        self._size = 0

    def read(self, chunks: Iterable[bytes]) -> tuple[FoundSegment, bool]:
        """Return what the lines say, and whether the last has no newline and may have lost only that."""
        damage = None
        try:
            for block in whole_lines(self._counted(chunks)):
                self._note(block)
                self._checker.feed(block)
        except SourceError as error:
            damage = str(error)
        result = self._checker.result()
        found = self._found(result, damage)
        return found, result.torn is not None and result.torn.partial and found.defect is None

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            yield chunk

    def _note(self, block: Block) -> None:
        if block.kind != "lines":
            self._chains.append(_UNKNOWN)
            self._ends.append(self._ends[-1] if self._ends else 0)
            return
        end = block.offset
        for line in block.data.split(b"\n")[:-1]:
            end += len(line) + 1
            self._ends.append(end)
            at = line.rfind(_CHAIN)
            self._chains.append(_chain(line[at + len(_CHAIN) : at + len(_CHAIN) + _CHAIN_TEXT]) if at > 0 else _UNKNOWN)
            if not self._keyed_at and at > 0 and line.find(_KEY, at) > 0:
                self._keyed_at = len(self._chains)

    def _found(self, result: LineResult, damage: str | None) -> FoundSegment:
        torn = result.torn
        count = result.lines if torn is None else torn.line - 1
        defect = damage
        if result.findings:
            first = min(result.findings, key=lambda finding: finding.line or 0)
            defect = damage or f"line {first.line}: {first.message}"
            count = min(count, max(0, (first.line or 1) - 1))
        base = FoundSegment(
            self._expect.file,
            size=self._size,
            good=self._ends[count - 1] if count else 0,
            torn=None if torn is None else torn.reason,
            defect=defect,
            unknown_key=next(iter(result.tally.unknown), None),
        )
        if not result.spans:
            return base
        span = result.spans[0]
        keyed_from = span.first_seq + self._keyed_at - 1 if self._keyed_at else 0
        return replace(
            base,
            first_seq=span.first_seq,
            first_prev=span.first_prev,
            last_seq=span.last_seq,
            last_chain=span.last_chain,
            run=b"".join(islice(self._chains, count)),
            first_kind=span.first_kind,
            keyed_from=keyed_from if span.keyed else 0,
            authenticated=span.authenticated if span.keyed else span.last_seq,
            last_event=span.last_event,
            key_id=span.key_id,
            algo=span.algo,
            seals={seal.seq: seal.chain_hash for seal in result.seals if seal.defect is None},
        )


def _chain(text: bytes) -> bytes:
    try:
        return b64url_decode(text.decode("ascii"))
    except (EncodingError, UnicodeDecodeError):
        return _UNKNOWN
