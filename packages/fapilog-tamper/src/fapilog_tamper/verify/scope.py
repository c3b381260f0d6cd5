"""One scope, a folder or a list of files: its tasks, and what their results say together (steps 2 and 4 to 8)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import MAX_SEQ, b64url_encode
from fapilog_tamper.verify.claims import Claim, check_claims, gather_claims, judge_head, judge_manifest
from fapilog_tamper.verify.ends import close_stream
from fapilog_tamper.verify.lookup import Lookup
from fapilog_tamper.verify.matching import compare_manifest
from fapilog_tamper.verify.report import Code, FileReport, Finding, Note, NoteCode, StreamReport
from fapilog_tamper.verify.segment import SegmentResult, SegmentTask
from fapilog_tamper.verify.spans import Expectation, Span
from fapilog_tamper.verify.stream import StreamPath, walk_stream

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.inventory import FoundManifest, Scope, Segment
    from fapilog_tamper.verify.options import VerifyOptions
    from fapilog_tamper.verify.tags import Tally

__all__ = ["ScopeCheck"]


class ScopeCheck:
    """The verification of one scope. `tasks` are to be run by the caller, their results put into `results` in order."""

    def __init__(self, scope: Scope, keyring: Keyring | None, options: VerifyOptions, tally: Tally) -> None:
        self._scope = scope
        self._keyring = keyring
        self._options = options
        self._tally = tally
        self._lookup = Lookup()
        # What may stand in a file that could not be read, or outside an export, is not proven to be missing.
        self._missing = Code.ENTRIES_MISSING if options.export or not scope.listed else Code.SEGMENT_MISSING
        self.findings = list(scope.findings)
        self.notes = list(scope.notes)
        self.streams: list[StreamReport] = []
        self.files: list[FileReport] = []
        self.not_checked: list[str] = []
        self.suppressed = 0
        self.results: list[SegmentResult] = []
        # 2. Heads and manifests. Whether a stream is keyed decides what an unkeyed head is worth, so heads come last.
        self._manifests = {id(found): judge_manifest(found, keyring, tally) for found in scope.manifests}
        self._keyed = self._keyed_from()
        self._heads = {
            id(found): judge_head(
                found, keyring, tally, keyed=self._keyed.get(found.head.stream, MAX_SEQ) <= found.head.seq
            )
            for found in scope.heads
        }
        for judged in (*self._manifests.values(), *self._heads.values()):
            if judged.finding is not None:
                self.findings.append(judged.finding)
        self._claims: dict[str, list[Claim]] = defaultdict(list)
        for claim in gather_claims(scope, self._heads, self._manifests):
            # What an export lies beside says nothing about what it should hold.
            wanted = not options.export or (claim.source == "head" and claim.binding)
            if wanted and self._is_asked_for(claim.stream):
                self._claims[claim.stream].append(claim)
        self.tasks = [self._task(segment) for segment in scope.segments]

    def _is_asked_for(self, stream: str) -> bool:
        return self._options.stream in (None, stream)

    def _keyed_from(self) -> dict[str, int]:
        """Return, by stream, the least seq at which the beginning of a segment or a manifest shows a key."""
        keyed: dict[str, int] = {}
        seen = [(first.stream, first.seq, first.key_id) for one in self._scope.segments if (first := one.first)]
        seen += [(one.manifest.stream, one.manifest.last_seq, one.manifest.key_id) for one in self._scope.manifests]
        for stream, seq, key_id in seen:
            if key_id is not None:
                keyed[stream] = min(seq, keyed.get(stream, seq))
        return keyed

    def _task(self, segment: Segment) -> SegmentTask:
        first, found = segment.first, segment.manifest
        stream = None if first is None else first.stream
        claimed = max((claim.seq for claim in self._claims.get(stream or "", ())), default=0)
        if first is not None and first.seq > claimed:
            # All of it is behind what anybody speaks of, its first line too.
            claimed = 0
        expect = Expectation(
            file=segment.file,
            stream=stream,
            keyed_before=first is not None and self._keyed.get(first.stream, first.seq) < first.seq,
            torn_behind=claimed if found is None else None,
            export=self._options.export,
            deep=self._options.deep,
        )
        by_hash = not (self._options.deep or self._options.export)
        return SegmentTask(
            path=segment.path,
            expect=expect,
            keyring=self._keyring,
            manifest=None if found is None else found.manifest,
            trust_hash=by_hash and found is not None and self._may_stand_for_lines(found),
        )

    def _may_stand_for_lines(self, found: FoundManifest) -> bool:
        """Tell whether a manifest's key is trusted for all that it describes, and so is the key of its last entry."""
        manifest, judged = found.manifest, self._manifests[id(found)]
        if not judged.speaks_for(manifest.stream, manifest.first_seq, manifest.last_seq):
            return False
        own = None if self._keyring is None or manifest.key_id is None else self._keyring.get(manifest.key_id)
        return own is not None and own.covers(manifest.stream, manifest.first_seq)

    def finish(self) -> None:
        """Judge what the results say together."""
        by_stream: dict[str, list[tuple[Path, Span, SegmentResult]]] = defaultdict(list)
        if len(self.results) < len(self._scope.segments) or any(result.interrupted for result in self.results):
            self._missing = Code.ENTRIES_MISSING
        for segment, result in zip(self._scope.segments, self.results, strict=False):
            self._take(segment, result)
            for span in result.lines.spans:
                by_stream[span.stream].append((segment.path, span, result))
        for segment in self._scope.segments[len(self.results) :]:
            self.not_checked.append(f"{segment.file}: the verification was interrupted before it")
        self._check_unpaired(by_stream)
        for stream in sorted(by_stream):
            path = walk_stream(stream, by_stream[stream], self._lookup, missing=self._missing)
            self._check_stream(path)
        for stream in sorted(set(self._claims) - set(by_stream)):
            self._check_absent(stream, self._claims[stream])

    def _take(self, segment: Segment, result: SegmentResult) -> None:
        lines = result.lines
        self._tally.add(lines.tally)
        self.findings += lines.findings
        self.notes += lines.notes
        self.suppressed += lines.suppressed
        if lines.torn is not None:
            text = f"a torn tail: {lines.torn.reason}; what stands behind was not checked"
            self.findings.append(Finding(Code.TORN_TAIL, text, segment.file, lines.torn.line))
        if result.live:
            self.notes.append(
                Note(NoteCode.LIVE, "the file is being written to; read to its last whole line", segment.file)
            )
        if lines.seals_dropped:
            self.not_checked.append(f"{segment.file}: {lines.seals_dropped} late seals of entries far back")
        if lines.spans_dropped:
            text = f"{lines.spans_dropped} runs of entries stand in too many pieces to be put in order"
            self.findings.append(Finding(Code.UNREADABLE, text, segment.file))
        self._check_manifest(segment, result)
        self.files.append(_file_report(segment, result))

    def _check_manifest(self, segment: Segment, result: SegmentResult) -> None:
        # 4. A damaged file is no longer what its manifest describes; without a manifest nothing more can be said.
        found = segment.manifest
        usable = found is not None and self._manifests[id(found)].finding is None
        if result.error is not None:
            self._report_error(segment, result, usable=usable)
        elif found is None:
            if self._options.require_manifests:
                self.findings.append(Finding(Code.MANIFEST_MISSING, "the segment has no manifest", segment.file))
        elif usable and result.checked == "lines" and not (self._options.export or result.interrupted):
            self.findings += compare_manifest(segment.file, result, found.manifest)

    def _report_error(self, segment: Segment, result: SegmentResult, *, usable: bool) -> None:
        code, text = result.error or (Code.UNREADABLE, "")
        if result.damaged and usable:
            code, text = Code.MANIFEST_MISMATCH, f"not the file that its manifest describes: {text}"
        if code is Code.UNREADABLE:
            self._missing = Code.ENTRIES_MISSING
        line = result.lines.lines + 1 if result.lines.lines else None
        self.findings.append(Finding(code, text, segment.file, line))

    def _check_unpaired(self, by_stream: dict[str, list[tuple[Path, Span, SegmentResult]]]) -> None:
        heads = [one for one in self._scope.heads if self._heads[id(one)].finding is None]
        pruned: dict[str, int] = {}
        for one in heads:
            pruned[one.head.stream] = max(one.head.first_seq, pruned.get(one.head.stream, 1))
        for found in self._scope.unpaired:
            if self._manifests[id(found)].finding is not None or not self._is_asked_for(found.manifest.stream):
                continue
            manifest = found.manifest
            spans = by_stream.get(manifest.stream, [])
            held = any(span.first_seq <= manifest.first_seq <= span.last_seq for _, span, _ in spans)
            if not held and pruned.get(manifest.stream, 1) <= manifest.last_seq:
                text = f"entries {manifest.first_seq} to {manifest.last_seq} have a manifest and no segment"
                self.findings.append(Finding(self._missing, text, str(found.path), seq=manifest.first_seq))

    def _check_stream(self, path: StreamPath) -> None:
        # 5. The chain, as it was walked.
        claims = self._claims.get(path.stream, [])
        self.findings += path.findings
        self.notes += path.notes
        # 6. What others say of it.
        held, findings = check_claims(path, claims, self._scope, self._lookup, self._missing)
        self.findings += findings
        self._check_origin(path)
        seals = self._check_seals(path)
        # 7. and 8. Keys and end.
        closing = close_stream(path, held, self._keyring, seals=seals, require_end=self._options.require_end)
        self.findings += closing.findings
        self.notes += closing.notes
        self.not_checked += closing.not_checked
        self.streams.append(closing.report)

    def _check_origin(self, path: StreamPath) -> None:
        first = path.pieces[0].span
        trusted = {} if self._keyring is None else self._keyring.origins
        said = [(trusted[path.stream], "the trust file")] if path.stream in trusted else []
        heads = [one for one in self._scope.heads if one.head.stream == path.stream]
        heads = [one for one in heads if self._heads[id(one)].finding is None]
        for one in heads:
            self._check_beginning(path, one.head.first_seq, one.file)
        said += [(b64url_encode(one.head.origin), one.file) for one in heads]
        said += [
            (b64url_encode(one.manifest.origin), str(one.path))
            for one in self._scope.manifests
            if one.manifest.stream == path.stream and self._manifests[id(one)].finding is None
        ]
        known = (b64url_encode(path.origin), first.file) if path.origin else next(iter(said), None)
        for origin, file in said:
            if known is not None and origin != known[0]:
                text = f"stream {path.stream} began with another entry than {file} attests: another life of it"
                line = first.first_line if path.origin else None
                self.findings.append(Finding(Code.ROLLBACK, text, first.file, line, 1, origin, known[0]))
                return

    def _check_beginning(self, path: StreamPath, first_seq: int, file: str) -> None:
        if self._scope.whole and path.first_seq > first_seq:
            text = f"entries {first_seq} to {path.first_seq - 1} of stream {path.stream} are missing: {file}"
            span = path.pieces[0].span
            expected, found = str(first_seq), str(path.first_seq)
            self.findings.append(
                Finding(self._missing, text, span.file, span.first_line, path.first_seq, expected, found)
            )

    def _check_seals(self, path: StreamPath) -> list[tuple[int, int]]:
        """Hold late seals of entries in other parts or segments against the chain; return what they cover."""
        covered: list[tuple[int, int]] = []
        for piece in path.pieces:
            for seal in piece.result.lines.seals:
                if seal.stream != path.stream:
                    continue
                target = path.piece_of(seal.seq)
                chain = None if target is None else self._lookup.chain(target.path, target.span, seal.seq)
                if chain is not None and chain != seal.chain_hash:
                    text = f"the seal speaks of another entry {seal.seq}"
                    self.findings.append(Finding(Code.MAC_INVALID, text, piece.span.file, seal.line, seal.own_seq))
                elif chain is not None and seal.seq >= path.pieces[path.unbroken_from()].low:
                    trusted = None if self._keyring is None else self._keyring.get(seal.key_id)
                    covered.append((1 if trusted is None else trusted.first_seq, seal.seq))
        return covered

    def _check_absent(self, stream: str, claims: list[Claim]) -> None:
        """Judge what is said of a stream of which there is no entry."""
        own = [claim for claim in claims if claim.source == "head" and claim.binding]
        if own:
            text = f"stream {stream} has no entry, where its head speaks of entry {own[0].seq}"
            self.findings.append(Finding(self._missing, text, own[0].file, seq=own[0].seq))
        elif self._scope.whole and self._options.stream is None and claims[0].source == "another stream":
            text = f"nothing is here of stream {stream}, of which this file speaks"
            self.findings.append(Finding(Code.STREAM_MISSING, text, claims[0].file, seq=claims[0].seq))


def _file_report(segment: Segment, result: SegmentResult) -> FileReport:
    spans = result.lines.spans
    return FileReport(
        file=segment.file,
        stream=spans[0].stream if spans else None,
        first_seq=spans[0].first_seq if spans else None,
        last_seq=spans[-1].last_seq if spans else None,
        entries=sum(span.entries for span in spans),
        size_bytes=result.size_bytes,
        checked=result.checked,
    )
