"""The lines of one segment, or of a part of one, checked in file order.

For each line, in the order of spec section 8; the first that fails names the finding, and the check goes on with
that line's own seq and chain hash:

    1. the whole line is what sealing writes around its values   line-malformed, integrity-missing
    2. its version is known                                      version-unknown
    3. it belongs to the stream of the segment                   stream-changed
    4. its seq follows                                           seq-gap, seq-repeat, seq-regress
    5. it is linked to the entry before                          link-broken
    6. its chain hash is that of its payload                     payload-changed
    7. its mac is what the keyring asks for                      algo-mismatch, key-expired, mac-missing, mac-invalid

Lines that re-seal to themselves pass all seven at once (`reseal`). A part can be checked without what stands before
it: its first line is taken at its word, and whoever joins parts compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS, Integrity, chain_hash, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.verify.control import CONTROL_START, control_notes, is_bare_seal, read_control
from fapilog_tamper.verify.deep import inspect_payload
from fapilog_tamper.verify.macs import GoodPath, MacJudge, Recent
from fapilog_tamper.verify.report import Code
from fapilog_tamper.verify.source import has_hole
from fapilog_tamper.verify.spans import Expectation, LineResult, Recorder, Span, Torn

if TYPE_CHECKING:
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.source import Block

__all__ = ["LineChecker"]

MAX_SPANS: Final = 20_000
_BATCH: Final = 256
_MOST_STREAMS: Final = 100
_HOLE: Final = "a hole of zeros in the line"


class LineChecker:
    """Checks the blocks of one part as they are read. Not thread-safe; one instance a part."""

    def __init__(self, keyring: Keyring | None, expect: Expectation) -> None:
        self._expect = expect
        self._stream = expect.stream
        self._record = Recorder(expect.file, inspected=expect.deep)
        self._out = self._record.out
        self._macs = MacJudge(keyring, self._record, keyed_before=expect.keyed_before)
        self._recents: dict[str, Recent] = {}
        self._recent = Recent()
        self._spans: dict[str, Span] = {}
        self._span: Span | None = None
        self._malformed = 0
        self._blanks: tuple[int, int] | None = None
        self._path: GoodPath | None = None
        self._batch = 1

    def feed(self, block: Block) -> None:
        """Check one block of `whole_lines`."""
        out = self._out
        if out.torn is not None:
            return
        if block.kind == "lines":
            self._feed_lines(block.data, block.offset)
            return
        out.lines += 1
        self._flush_blanks()
        if block.kind == "end" and self._may_be_torn():
            out.torn = Torn(out.lines, "the last line has no newline", partial=True)
        elif block.hole and self._may_be_torn():
            out.torn = Torn(out.lines, _HOLE)
        else:
            what = "longer than any entry can be" if block.kind == "long" else "without the newline at its end"
            self._malformed_line(Code.LINE_MALFORMED, f"a line {what}")

    def result(self) -> LineResult:
        """Return what was found; nothing can be fed afterwards."""
        out = self._out
        if self._blanks is not None and out.torn is None:
            out.torn = Torn(self._blanks[0], "blank lines at the end of the file")
        if out.torn is not None:
            out.lines = out.torn.line
        out.spans.extend(self._spans.values())
        out.malformed_after = self._malformed
        return out

    def _feed_lines(self, data: bytes, offset: int) -> None:
        lines = data.split(b"\n")
        lines.pop()
        odd = b"\r" in data or b"\x00" in data or [True for line in lines if line[:2] != b'{"']
        if odd or self._expect.deep or self._expect.export:
            self._feed_slowly(lines, offset)
            return
        self._flush_blanks()
        stops = [at for at, line in enumerate(lines) if line.startswith(CONTROL_START)] if CONTROL_START in data else []
        at = 0
        for stop in [*stops, len(lines)]:
            self._check_run(lines, at, stop)
            if stop < len(lines):
                self._out.lines += 1
                self._check_line(lines[stop])
            at = stop + 1

    def _feed_slowly(self, lines: list[bytes], offset: int) -> None:
        for line in lines:
            self._out.lines += 1
            if not line and self._may_be_torn():
                line_number = self._out.lines
                self._blanks = (line_number if self._blanks is None else self._blanks[0], line_number)
            else:
                self._flush_blanks()
                if b"\x00" in line and self._may_be_torn() and has_hole(line, offset):
                    self._out.torn = Torn(self._out.lines, _HOLE)
                    return
                self._check_line(line)
            offset += len(line) + 1

    def _check_run(self, lines: list[bytes], at: int, stop: int) -> None:
        while at < stop:
            done = self._reseal(lines, at, stop)
            at += done
            if at < stop and not done:
                self._out.lines += 1
                self._check_line(lines[at])
                at += 1

    def _reseal(self, lines: list[bytes], at: int, stop: int) -> int:
        """Take as many lines as re-seal to themselves; the batch grows while all do, so that little is done twice."""
        span, path = self._span, self._path
        if span is None or path is None:
            return 0
        seq = span.last_seq + 1
        count = min(self._batch, stop - at, 10 ** len(str(seq)) - seq, path.last_seq - span.last_seq)
        if count <= 0:
            return 0
        chains = path.resealer.match(lines[at : at + count], seq, span.last_chain)
        done = len(chains)
        self._batch = min(2 * self._batch, _BATCH) if done == count else max(1, done)
        if done:
            self._malformed = 0
            span.last_chain, span.last_seq, span.last_event = chains[-1], seq + done - 1, seq + done - 1
            self._out.lines += done
            span.last_line = self._out.lines
            span.entries += done
            self._recent.add(seq, chains)
            self._macs.advance(path, span, done)
        return done

    def _recent_of(self, stream: str) -> Recent:
        """Return the memory of a stream's newest entries: one for a segment, one for each stream of an export."""
        if not self._expect.export:
            return self._recent
        if len(self._recents) > _MOST_STREAMS:
            self._recents.clear()
        return self._recents.setdefault(stream, Recent())

    def _may_be_torn(self) -> bool:
        behind = self._expect.torn_behind
        last = 0 if self._span is None else self._span.last_seq
        return behind is not None and last >= behind

    def _flush_blanks(self) -> None:
        """Blank lines with something behind them were no torn tail."""
        if self._blanks is None:
            return
        (first, last), self._blanks = self._blanks, None
        self._malformed_line(Code.LINE_MALFORMED, "a blank line", first, last)

    def _check_line(self, raw: bytes) -> None:
        try:
            payload, block = split(raw + b"\n")  # 1.
        except FormatError as error:
            self._check_unsealed(raw, error)
            return
        self._stream = self._stream or block.stream
        ours = block.stream == self._stream or self._expect.export
        if block.v != 1:  # 2.
            text = "an entry of another version"
            self._record.defect(Code.VERSION_UNKNOWN, text, block.seq, expected="1", found=str(block.v))
            if ours:
                self._take(block, None, follows=False).broken = True
        elif ours:
            self._check_entry(payload, block)
        else:  # 3.
            text = "a line of another stream"
            self._record.defect(Code.STREAM_CHANGED, text, block.seq, expected=self._stream, found=block.stream)

    def _check_unsealed(self, raw: bytes, error: FormatError) -> None:
        code, message = _classify(raw), error.message
        if code is Code.INTEGRITY_MISSING:
            message = "a line without an integrity block"
        self._malformed_line(code, message)

    def _malformed_line(self, code: Code, message: str, first: int | None = None, last: int | None = None) -> None:
        """Report lines that are no entries, this one if not told else, and count them: they may stand for entries."""
        count = 1 if first is None or last is None else last - first + 1
        self._record.defect(code, message, first=first, last=last)
        self._malformed += count
        if self._span is None:
            self._out.malformed_before += count

    def _check_entry(self, payload: bytes, block: Integrity) -> None:
        if self._expect.export:
            self._span = self._spans.get(block.stream)
        follows = self._check_place(block)  # 4. and 5.
        kind, control = read_control(payload)
        before = 0 if self._span is None else self._span.last_event
        span = self._take(block, kind, follows=follows)
        span.broken = span.broken or not follows
        if follows:
            chain = chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload)
            if chain != block.chain_hash:  # 6.
                text = "the content of the entry is not what was sealed"
                self._record.defect(Code.PAYLOAD_CHANGED, text, block.seq)
                span.changed = True
            else:
                self._macs.check(block, span)  # 7.
                self._look_inside(payload, block, control, span, before)
        self._path = self._macs.good_path(block, span)

    def _check_place(self, block: Integrity) -> bool:
        """Check seq and link; False when a finding was made of them."""
        span = self._span
        if block.seq == 1 and block.prev_chain_hash != GENESIS:
            self._record.defect(Code.LINK_BROKEN, "entry 1 is linked to an entry before it", 1)
            return False
        if span is None or self._expect.export:
            return True
        expected = span.last_seq + 1
        if block.seq == expected:
            if block.prev_chain_hash == span.last_chain:
                return True
            expected_link, found_link = b64url_encode(span.last_chain), b64url_encode(block.prev_chain_hash)
            text = "not linked to the entry before it"
            self._record.defect(Code.LINK_BROKEN, text, block.seq, expected=expected_link, found=found_link)
            return False
        if self._malformed and block.seq == expected + self._malformed:
            # The defective lines before stand for the entries between; a second finding would say nothing new.
            return True
        code = Code.SEQ_REPEAT if block.seq == span.last_seq else Code.SEQ_GAP
        code = Code.SEQ_REGRESS if block.seq < span.last_seq else code
        text = "the entry is out of its place"
        self._record.defect(code, text, block.seq, expected=str(expected), found=str(block.seq))
        return False

    def _take(self, block: Integrity, kind: str | None, *, follows: bool) -> Span:
        """Go on with this line's own seq and chain hash."""
        span = self._span
        self._malformed = 0
        joined = span is not None and block.seq == span.last_seq + 1 and block.prev_chain_hash == span.last_chain
        if span is None or (self._expect.export and not joined):
            return self._prepend(block, kind) or self._begin(block, kind)
        if not (follows and joined):
            span.broken, span.authenticated = True, 0
            self._recent_of(block.stream).clear()
        span.scattered = span.scattered or self._out.lines != span.last_line + 1
        span.last_seq, span.last_chain, span.last_line = block.seq, block.chain_hash, self._out.lines
        span.entries += 1
        span.last_event = block.seq
        span.name_key(block.algo, block.key_id)
        self._recent_of(block.stream).add(block.seq, [block.chain_hash])
        return span

    def _prepend(self, block: Integrity, kind: str | None) -> Span | None:
        """Take an export that runs backwards: the entry goes before the span, if that is linked to it."""
        span = self._span
        if span is None or block.seq != span.first_seq - 1 or block.chain_hash != span.first_prev:
            return None
        span.first_seq, span.first_prev, span.first_chain = block.seq, block.prev_chain_hash, block.chain_hash
        span.first_kind, span.first_line, span.scattered = kind, self._out.lines, True
        span.entries += 1
        span.keyed = span.keyed or block.key_id is not None
        span.last_event = max(span.last_event, block.seq)
        return span

    def _begin(self, block: Integrity, kind: str | None) -> Span:
        old = self._spans.get(block.stream)
        if old is not None and len(self._out.spans) < MAX_SPANS:
            self._out.spans.append(old)
        elif old is not None:
            self._out.spans_dropped += 1
        line = self._out.lines
        self._span = self._spans[block.stream] = Span(
            stream=block.stream,
            first_seq=block.seq,
            first_prev=block.prev_chain_hash,
            first_chain=block.chain_hash,
            first_line=line,
            last_seq=block.seq,
            last_chain=block.chain_hash,
            last_line=line,
            first_kind=kind,
            last_event=block.seq,
            file=self._expect.file,
        )
        self._span.name_key(block.algo, block.key_id)
        self._recent_of(block.stream).clear()
        self._recent_of(block.stream).add(block.seq, [block.chain_hash])
        return self._span

    def _look_inside(
        self, payload: bytes, block: Integrity, control: dict[str, object] | None, span: Span, before: int
    ) -> None:
        if control is not None:
            for note in control_notes(control, self._expect.file, self._out.lines, block.seq):
                self._record.note(note)
            self._out.note_restore(control, block.seq)
            if control.get("kind") == "seal":
                holds = self._macs.check_seal(block, control, span, self._recent_of(block.stream))
                if holds and is_bare_seal(payload, control):
                    span.last_event = min(span.last_event, before)
        if self._expect.deep:
            self._inspect(payload, block)

    def _inspect(self, payload: bytes, block: Integrity) -> None:
        out = self._out
        facts = inspect_payload(payload)
        if facts.defect is not None:
            self._record.defect(Code.LINE_MALFORMED, facts.defect, block.seq)
        if facts.duplicate is not None:
            self._record.note(facts.note(self._expect.file, out.lines, block.seq))
        if facts.timestamp is not None:
            out.first_ts = facts.timestamp if out.first_ts is None else min(out.first_ts, facts.timestamp)
            out.last_ts = facts.timestamp if out.last_ts is None else max(out.last_ts, facts.timestamp)


def _classify(raw: bytes) -> Code:
    try:
        record = orjson.loads(raw)
    except ValueError:
        return Code.LINE_MALFORMED
    if not isinstance(record, dict):
        return Code.LINE_MALFORMED
    if "integrity" not in record:
        return Code.INTEGRITY_MISSING
    block = record["integrity"]
    version = block.get("v") if isinstance(block, dict) else None
    return Code.VERSION_UNKNOWN if type(version) is int and version > 1 else Code.LINE_MALFORMED
