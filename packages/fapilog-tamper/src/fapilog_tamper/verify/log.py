"""Verifying a sealed log: files, folders, any number of streams.

What must hold for `intact`, in the order in which it is checked; the numbers stand at the code:

    1. every file that was asked for can be read                          unreadable, empty
    2. heads and manifests are as a writer stores them, and signed        head-*, manifest-malformed, -signature
    3. every line of every segment holds (`lines`), or the segment's
       bytes are those of its signed manifest                             the codes of lines
    4. every segment is the one that its manifest describes               manifest-mismatch, manifest-missing
    5. the segments of a stream are one chain, without hole or fork       segment-missing, link-broken, seq-repeat
    6. what heads, manifests, other streams, seals and the caller say of
       a stream is so                                                     rollback, segment-missing, stream-missing
    7. every stream is keyed as the caller's keys ask for, its macs are
       known and reach its end                                            unkeyed, key-unknown, unauthenticated-tail
    8. the end of every stream is attested, where that is required        end-not-attested
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fapilog_tamper.errors import ConfigError
from fapilog_tamper.keys.base import SigningKey, VerifyingKey
from fapilog_tamper.keys.keyring import Keyring, TrustedKey
from fapilog_tamper.verify.inventory import Scope, Segment, take_stock
from fapilog_tamper.verify.lines import LineChecker
from fapilog_tamper.verify.options import VerifyOptions
from fapilog_tamper.verify.parallel import check_segments
from fapilog_tamper.verify.report import Code, FileReport, Finding, Note, StreamReport, VerifyReport
from fapilog_tamper.verify.scope import ScopeCheck
from fapilog_tamper.verify.segment import SegmentResult
from fapilog_tamper.verify.source import whole_lines
from fapilog_tamper.verify.spans import Expectation
from fapilog_tamper.verify.tags import Tally
from fapilog_tamper.verify.verdict import outcome_of, settle

if TYPE_CHECKING:
    from concurrent.futures import Executor


__all__ = ["Progress", "VerifyInterrupted", "verify_lines", "verify_path"]

PathLike = str | os.PathLike[str]
KeyLike = str | SigningKey | VerifyingKey | TrustedKey
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do, often, from the thread that verifies."""


class VerifyInterrupted(KeyboardInterrupt):
    """Ctrl-C while verifying; `report` holds what was checked so far and is never `intact`."""

    def __init__(self, report: VerifyReport) -> None:
        super().__init__("verification was interrupted")
        self.report = report


def verify_path(  # noqa: PLR0913 (the public call: every option has a name)
    path: PathLike | Sequence[PathLike],
    *,
    keys: Iterable[KeyLike] | KeyLike | None = None,
    keyring: Keyring | None = None,
    require_manifests: bool = False,
    require_end: bool = False,
    head: PathLike | Sequence[PathLike] | None = None,
    manifest: PathLike | None = None,
    stream: str | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    deep: bool = False,
    export: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify a sealed log and say exactly what holds. Writes nothing.

    Args:
        path: a file of any name (plain, gzip or zstd), a folder with any number of streams, or a list of them. All
            files of a list are verified together, as parts of one log.
        keys: key URIs or keys to trust. None: nothing is known of keys, and keyed streams are undetermined.
        keyring: the same as a `Keyring`, which can also say for which streams and seqs.
        require_manifests: a segment without a manifest is a finding.
        require_end: a stream whose end no head attests is a finding; a manifest says nothing about later segments.
        head: heads kept elsewhere; the log must reach them.
        manifest: the manifest of the one file given, where it does not lie beside it.
        stream: verify this stream only.
        jobs: worker processes; 0 takes one a processor.
        executor: any `concurrent.futures.Executor` to run in, instead of processes of our own.
        deep: read the lines even where a signed hash would do, and look into the payloads.
        export: the files are an extract of a log: grouped and sorted by stream and seq; what is not in them is
            `entries-missing`, undetermined, instead of a proof of deletion.
        progress: called with bytes done and bytes to do.

    Raises:
        ConfigError: for options that contradict each other.
        SealKeyError: when a key cannot be opened.
        VerifyInterrupted: on Ctrl-C, with the report so far.
    """
    if keys is not None and keyring is not None:
        raise ConfigError("keys and keyring were both given.", hint="Put the keys into the keyring.")
    if keys is not None:
        keyring = Keyring([keys] if isinstance(keys, str) or not isinstance(keys, Iterable) else keys)
    options = VerifyOptions(require_manifests, require_end, stream, deep, export, jobs or os.cpu_count() or 1)
    if options.jobs < 0:
        raise ConfigError(f"jobs is {jobs}.", hint="Use 0 for one worker a processor, or a positive number.")
    run = _Run(_paths(path), keyring, options)
    run.take_stock(_paths(head or ()), None if manifest is None else _paths(manifest)[0])
    return run.verify(executor, progress)


def verify_lines(lines: Iterable[bytes], keyring: Keyring | None, *, name: str = "records") -> VerifyReport:
    """Verify lines that stand in no file, each with its newline, as one segment."""
    run = _Run([Path(name)], keyring, VerifyOptions())
    scope = Scope(name, whole=False, segments=[Segment(Path(name))])
    run.checks.append(ScopeCheck(scope, keyring, run.options, run.tally))
    checker = LineChecker(keyring, Expectation(file=name, torn_behind=None))
    for block in whole_lines(lines):
        checker.feed(block)
    run.checks[0].results.append(SegmentResult(checker.result(), "lines"))
    return run.report()


def _paths(given: PathLike | Sequence[PathLike]) -> list[Path]:
    items = [given] if isinstance(given, str | os.PathLike) else list(given)
    return [Path(os.fsdecode(item)) for item in items]


class _Run:
    """One verification: collects from the scopes and settles the verdict."""

    def __init__(self, paths: list[Path], keyring: Keyring | None, options: VerifyOptions) -> None:
        self.paths = paths
        self.keyring = keyring
        self.options = options
        self.tally = Tally()
        self.checks: list[ScopeCheck] = []
        self._started = time.monotonic()

    def take_stock(self, heads: list[Path], manifest: Path | None) -> None:
        # 1. and 2. What there is; heads before files.
        scopes = take_stock(self.paths, heads, self.options.stream, manifest)
        self.checks = [ScopeCheck(scope, self.keyring, self.options, self.tally) for scope in scopes]

    def verify(self, executor: Executor | None, progress: Progress | None) -> VerifyReport:
        try:
            # 3. The lines, in whatever order workers finish; results come back in order.
            self._read(executor, progress)
        except KeyboardInterrupt:
            raise VerifyInterrupted(self.report(interrupted=True)) from None
        # 4. to 8. What the segments make together.
        return self.report()

    def _read(self, executor: Executor | None, progress: Progress | None) -> None:
        tasks = [(check, task) for check in self.checks for task in check.tasks]
        total = sum(_size(task.path) for _, task in tasks)
        done = 0

        def tick(size: int) -> None:
            nonlocal done
            done += size
            if progress is not None:
                progress(min(done, total), total)

        results = check_segments((task for _, task in tasks), jobs=self.options.jobs, executor=executor, tick=tick)
        for (check, _), result in zip(tasks, results, strict=True):
            check.results.append(result)

    def report(self, *, interrupted: bool = False) -> VerifyReport:
        findings: list[Finding] = []
        notes: list[Note] = []
        streams: list[StreamReport] = []
        files: list[FileReport] = []
        not_checked: list[str] = []
        suppressed = 0
        for check in self.checks:
            check.finish()
            findings += check.findings
            notes += check.notes
            streams += check.streams
            files += check.files
            not_checked += check.not_checked
            suppressed += check.suppressed
        if interrupted:
            findings.append(Finding(Code.UNREADABLE, "the verification was interrupted", hint="Run it to its end."))
        settled = settle(findings, self.tally)
        if not settled and not streams:
            settled = settle([Finding(Code.EMPTY, "there is no entry to verify", self._names())], self.tally)
        return VerifyReport(
            outcome=outcome_of(settled),
            findings=tuple(settled),
            notes=tuple(notes),
            streams=tuple(streams),
            files=tuple(files),
            not_checked=tuple(dict.fromkeys(not_checked)),
            entries=sum(stream.entries for stream in streams),
            size_bytes=sum(file.size_bytes for file in files),
            duration=time.monotonic() - self._started,
            suppressed=suppressed,
        )

    def _names(self) -> str:
        return ", ".join(str(path) for path in self.paths[:3]) or "no path"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
