"""One segment: by its signed whole-file hash, or line by line, whole or in parts.

`check_segment` takes a picklable task and gives a picklable result, so that it runs in any executor. A segment that
is cut into parts is only ever found good that way: where a part or a seam shows a defect, the whole segment is
checked again in one piece, so that the findings do not depend on the number of workers.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fapilog_tamper.entry import UNKEYED, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.verify.control import CONTROL_START, control_notes, read_control
from fapilog_tamper.verify.lines import LineChecker
from fapilog_tamper.verify.macs import MAX_SEALS
from fapilog_tamper.verify.report import Code
from fapilog_tamper.verify.source import ExtraBytesError, Source, SourceError, open_source, whole_lines
from fapilog_tamper.verify.spans import MAX_NOTES, Expectation, LineResult, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.manifest import Manifest

__all__ = ["SegmentResult", "SegmentTask", "check_segment", "cut_parts", "join_parts"]

PART_SIZE: Final = 8 << 20
"""Bytes of one part: large against the cost of handing it to a worker, small against a large segment."""

_FRESH: Final = 2.0
_PATIENCE: Final = 0.1


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """What to check. `trust_hash`: the manifest is signed by a trusted key, so its hash may stand for the lines."""

    path: Path
    expect: Expectation
    keyring: Keyring | None = None
    manifest: Manifest | None = None
    trust_hash: bool = False
    start: int = 0
    end: int | None = None
    hash_only: bool = False


@dataclass(slots=True)
class SegmentResult:
    """What was found. `size_bytes` and `file_sha256` are of the unpacked bytes, None where they were not all read."""

    lines: LineResult = field(default_factory=LineResult)
    checked: str = "nothing"
    size_bytes: int = 0
    file_sha256: bytes | None = None
    error: tuple[Code, str] | None = None
    damaged: bool = False
    live: bool = False
    interrupted: bool = False


def check_segment(task: SegmentTask, tick: Callable[[int], None] | None = None) -> SegmentResult:
    """Check one segment, or the part of it between `start` and `end`; `tick` hears how many bytes were read."""
    try:
        with _open(task.path, tick) as source:
            if task.hash_only:
                return _hash(source)
            if task.trust_hash and task.manifest is not None:
                trusted = _by_hash(source, task, task.manifest)
                if trusted is not None:
                    return trusted
            return _by_lines(source, task)
    except SourceError as error:
        return SegmentResult(error=(_code(error), str(error)), damaged=error.damaged)


def _open(path: Path, tick: Callable[[int], None] | None) -> AbstractContextManager[Source]:
    """Open a segment; one that vanished is looked for once more under its other names: compression replaces files."""
    if not os.path.exists(path):  # noqa: PTH110 (unlike Path.exists it raises for no path)
        for other in (Path(f"{path}.gz"), Path(f"{path}.zst")):
            if os.path.isfile(other):  # noqa: PTH113 (see above)
                return open_source(other, tick)
    return open_source(path, tick)


def _code(error: SourceError) -> Code:
    return Code.LINE_MALFORMED if isinstance(error, ExtraBytesError) else Code.UNREADABLE


class _Hashed:
    """Chunks on their way to the checker, counted and hashed."""

    def __init__(self, chunks: Iterator[bytes], *, hashed: bool) -> None:
        self._chunks = chunks
        self._hash = sha256() if hashed else None
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            if self._hash is not None:
                self._hash.update(chunk)
            yield chunk

    def digest(self) -> bytes | None:
        return None if self._hash is None else self._hash.digest()


def _hash(source: Source) -> SegmentResult:
    hashed = _Hashed(source.chunks(), hashed=True)
    for _ in hashed:
        pass
    return SegmentResult(size_bytes=hashed.size, file_sha256=hashed.digest())


def _by_hash(source: Source, task: SegmentTask, manifest: Manifest) -> SegmentResult | None:
    """Take the segment as its signed manifest describes it, if its bytes are those; control entries are read."""
    hashed = _Hashed(source.chunks(manifest.size_bytes), hashed=True)
    lines = LineResult()
    try:
        for block in whole_lines(hashed):
            if CONTROL_START in block.data:
                _read_controls(block.data, lines, task.expect.file)
            lines.lines += block.data.count(b"\n")
    except SourceError:
        return None
    if hashed.size != manifest.size_bytes or hashed.digest() != manifest.file_sha256:
        return None
    lines.spans.append(_span_of(manifest, task.expect.file))
    return SegmentResult(lines, "signed hash", hashed.size, hashed.digest())


def _read_controls(data: bytes, out: LineResult, file: str) -> None:
    for number, line in enumerate(data.split(b"\n")[:-1], out.lines + 1):
        if not line.startswith(CONTROL_START) or len(out.notes) >= MAX_NOTES:
            continue
        try:
            payload, block = split(line + b"\n")
        except FormatError:
            continue
        _, control = read_control(payload)
        if control is not None:
            out.notes.extend(control_notes(control, file, number, block.seq))
            out.note_restore(control, block.seq)


def _span_of(manifest: Manifest, file: str) -> Span:
    return Span(
        stream=manifest.stream,
        first_seq=manifest.first_seq,
        first_prev=manifest.continues_from,
        first_chain=manifest.origin if manifest.first_seq == 1 else b"",
        first_line=1,
        last_seq=manifest.last_seq,
        last_chain=manifest.root_chain_hash,
        last_line=manifest.record_count,
        entries=manifest.record_count,
        keyed=manifest.algo != UNKEYED,
        authenticated=manifest.last_seq,
        reach=1,
        last_event=manifest.last_seq,
        algo=manifest.algo,
        key_id=manifest.key_id,
        key_ids=[] if manifest.key_id is None else [manifest.key_id],
        file=file,
        unkeyed_lead=(1, manifest.record_count, manifest.first_seq) if manifest.key_id is None else None,
    )


def _by_lines(source: Source, task: SegmentTask) -> SegmentResult:
    checker = LineChecker(task.keyring, task.expect)
    if source.packing == "plain":
        chunks = source.plain_chunks(task.start, source.size if task.end is None else min(task.end, source.size))
    else:
        chunks = source.chunks(None if task.manifest is None else max(task.manifest.size_bytes, 1))
    whole = task.start == 0 and task.end is None
    hashed = _Hashed(chunks, hashed=task.manifest is not None and whole)
    result = SegmentResult(checked="lines")
    try:
        for block in whole_lines(hashed, task.start):
            checker.feed(block)
    except SourceError as problem:
        result.error, result.damaged = (_code(problem), str(problem)), problem.damaged
    except KeyboardInterrupt:
        result.interrupted = True
    result.lines, result.size_bytes = checker.result(), hashed.size
    if result.error is None and not result.interrupted:
        result.file_sha256 = hashed.digest()
    if result.lines.torn is not None and result.lines.torn.partial and _is_live(source):
        # The writer had not finished its last write when the file was opened.
        result.lines.torn, result.live = None, True
        result.lines.lines -= 1
    return result


def _is_live(source: Source) -> bool:
    if not source.grew() and time.time() - os.fstat(source.fd).st_mtime < _FRESH:
        time.sleep(_PATIENCE)
    return source.grew()


def cut_parts(path: Path, jobs: int) -> list[tuple[int, int]]:
    """Return where to cut a plain segment for `jobs` workers; one part where cutting does not pay."""
    try:
        with open_source(path) as source:
            if jobs < 2 or source.packing != "plain" or source.size < 2 * PART_SIZE:  # noqa: PLR2004
                return [(0, source.size)]
            count = min(source.size // PART_SIZE, 4 * jobs)
            cuts = {source.line_start(source.size * at // count) for at in range(1, count)}
            edges = sorted({0, source.size} | cuts)
            return list(pairwise(edges))
    except SourceError:
        return [(0, 0)]


def join_parts(parts: Sequence[SegmentResult]) -> SegmentResult | None:
    """Join the parts of one segment; None where any part or seam shows a defect."""
    whole = parts[0]
    if not _is_clean(whole):
        return None
    for part in parts[1:]:
        if not _is_clean(part) or not _follows(whole.lines, part.lines):
            return None
        _append(whole, part)
    return whole


def _is_clean(part: SegmentResult) -> bool:
    lines = part.lines
    spotless = not (lines.findings or lines.suppressed or part.error or lines.torn or lines.seals_dropped or part.live)
    return spotless and len(lines.spans) == 1 and not lines.spans[0].broken


def _follows(before: LineResult, after: LineResult) -> bool:
    last, first = before.spans[0], after.spans[0]
    linked = first.first_seq == last.last_seq + 1 and first.first_prev == last.last_chain
    return linked and first.stream == last.stream and not (last.keyed and first.unkeyed_lead)


def _append(whole: SegmentResult, part: SegmentResult) -> None:
    into, lines = whole.lines, part.lines
    span, more, shift = into.spans[0], lines.spans[0], into.lines
    span.last_seq, span.last_chain, span.last_line = more.last_seq, more.last_chain, more.last_line + shift
    span.entries += more.entries
    span.authenticated = max(span.authenticated, more.authenticated)
    span.reach = min(span.reach or more.reach, more.reach or span.reach)
    span.last_event = max(span.last_event, more.last_event)
    for key_id in more.key_ids:
        span.name_key(more.algo, key_id)
    span.name_key(more.algo, more.key_id)
    into.notes += [replace(note, line=(note.line or 0) + shift) for note in lines.notes][: MAX_NOTES - len(into.notes)]
    seals = [replace(seal, line=seal.line + shift) for seal in lines.seals]
    into.seals_dropped += max(0, len(into.seals) + len(seals) - MAX_SEALS)
    into.seals += seals[: MAX_SEALS - len(into.seals)]
    into.tally.add(lines.tally)
    into.restores += lines.restores
    if more.unkeyed_lead is not None:
        first, last, seq = more.unkeyed_lead
        span.lead(first + shift, last + shift, seq)
    into.lines += lines.lines
    whole.size_bytes += part.size_bytes
    into.first_ts = min((ts for ts in (into.first_ts, lines.first_ts) if ts is not None), default=None)
    into.last_ts = max((ts for ts in (into.last_ts, lines.last_ts) if ts is not None), default=None)
