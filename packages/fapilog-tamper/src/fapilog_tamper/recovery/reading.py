"""One segment, read with the checks of the verifier, and what a writer must know of it beyond a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.entry import chain_hash, mac_message, split
from fapilog_tamper.errors import EncodingError, FormatError
from fapilog_tamper.recovery.facts import HASH_SIZE, FoundSegment
from fapilog_tamper.verify.control import read_control
from fapilog_tamper.verify.lines import LineChecker
from fapilog_tamper.verify.source import whole_lines
from fapilog_tamper.verify.tags import TagStatus, check_tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.entry import Integrity
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.source import Block
    from fapilog_tamper.verify.spans import Expectation, LineResult

__all__ = ["SegmentReader"]

_CHAIN: Final = b'"chain_hash":"'
_CHAIN_TEXT: Final = 43
_MAC: Final = b'","mac":"'
_UNKNOWN: Final = bytes(HASH_SIZE)


class SegmentReader:
    """Reads one segment; one instance a segment.

    Attributes:
        unknown_key: a key that entries are under and that the keyring does not have.
    """

    def __init__(self, keyring: Keyring | None, expect: Expectation) -> None:
        self._keyring = keyring
        self._expect = expect
        self._checker = LineChecker(keyring, expect)
        self._chains: list[bytes] = []
        self._ends: list[int] = []
        self._macs: list[int] = []
        self._size = 0
        self._rest = b""
        self.unknown_key: str | None = None

    def read(self, chunks: Iterator[bytes]) -> FoundSegment:
        """Return what the lines say."""
        for block in whole_lines(self._counted(chunks)):
            self._note(block)
            self._checker.feed(block)
        result = self._checker.result()
        self.unknown_key = None if self._keyring is None else next(iter(result.tally.unknown), None)
        found = self._found(result)
        return self._without_newline(found) if result.torn is not None and result.torn.partial else found

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            yield chunk

    def _note(self, block: Block) -> None:
        if block.kind != "lines":
            self._rest = block.data if block.kind == "end" else b""
            self._chains.append(_UNKNOWN)
            self._ends.append(self._ends[-1] if self._ends else 0)
            return
        end = block.offset
        for line in block.data.split(b"\n")[:-1]:
            end += len(line) + 1
            self._ends.append(end)
            at = line.rfind(_CHAIN)
            self._chains.append(_chain(line[at + len(_CHAIN) : at + len(_CHAIN) + _CHAIN_TEXT]) if at > 0 else _UNKNOWN)
            if at > 0 and _MAC in line[at:]:
                self._macs.append(len(self._chains))

    def _found(self, result: LineResult) -> FoundSegment:
        torn, findings = result.torn, result.findings
        count = result.lines if torn is None else torn.line - 1
        base = FoundSegment(self._expect.file, size=self._size, torn=None if torn is None else torn.reason)
        defect = None
        if findings:
            first = min(findings, key=lambda finding: finding.line or 0)
            defect = f"line {first.line}: {first.message}"
            count = max(0, (first.line or 1) - 1)
        if not result.spans:
            return replace(base, defect=defect)
        span = result.spans[0]
        if defect is None and len(result.spans) > 1:
            defect = "several streams in one file"
        macs = [at for at in self._macs if at <= count]
        return replace(
            base,
            good=self._ends[count - 1] if count else 0,
            first_seq=span.first_seq,
            first_prev=span.first_prev,
            last_seq=span.last_seq,
            last_chain=span.last_chain,
            run=b"".join(self._chains[:count]),
            first_kind=span.first_kind,
            keyed=span.keyed,
            authenticated=span.authenticated if span.keyed else span.last_seq,
            last_event=span.last_event,
            defect=defect,
            sound=(macs[-1] if macs else 0) if span.keyed else count,
            key_id=span.key_id,
            algo=span.algo,
            seals={seal.seq: seal.chain_hash for seal in result.seals if seal.defect is None},
        )

    def _without_newline(self, found: FoundSegment) -> FoundSegment:
        """Adopt a last entry that is whole but for its 0x0A."""
        try:
            payload, block = split(self._rest + b"\n")
        except FormatError:
            return found
        follows = not found.first_seq or (block.seq, block.prev_chain_hash) == (found.last_seq + 1, found.last_chain)
        chain = chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload)
        status = self._status(block)
        stands = follows and block.stream == self._expect.stream and chain == block.chain_hash and block.v == 1
        if not stands or status not in (TagStatus.VALID, TagStatus.LATER):
            return found
        kind, _ = read_control(payload)
        keyed = found.keyed or block.key_id is not None
        covered = block.seq if status is TagStatus.VALID or not keyed else found.authenticated
        return replace(
            found,
            good=found.good + len(self._rest) + 1,
            first_seq=found.first_seq or block.seq,
            first_prev=found.first_prev or block.prev_chain_hash,
            last_seq=block.seq,
            last_chain=chain,
            run=found.run + chain,
            first_kind=found.first_kind if found.first_seq else kind,
            keyed=keyed,
            authenticated=covered,
            last_event=block.seq,
            torn=None,
            newline_missing=True,
            key_id=block.key_id,
            algo=block.algo,
        )

    def _status(self, block: Integrity) -> TagStatus:
        if block.key_id is None:
            return TagStatus.MISSING if self._expect.keyed_before else TagStatus.VALID
        return check_tag(
            self._keyring,
            block.key_id,
            block.algo,
            stream=block.stream,
            seq=block.seq,
            message=mac_message(block.chain_hash),
            tag=block.mac,
        )


def _chain(text: bytes) -> bytes:
    try:
        return b64url_decode(text.decode("ascii"))
    except (EncodingError, UnicodeDecodeError):
        return _UNKNOWN
