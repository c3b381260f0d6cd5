"""`fapilog-tamper seal`: lines of a pipe or a file into a sealed log."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import typer

from fapilog_tamper.cli.lines import LineCutter
from fapilog_tamper.cli.opening import (
    KeyOption,
    OldKeysOption,
    StateOption,
    UnkeyedOption,
    choose_key,
    old_keyring,
    writing_errors_reported,
)
from fapilog_tamper.cli.output import Exit, fail, format_count, parse_path, say, write_stdout_bytes
from fapilog_tamper.cli.progress import watched_progress
from fapilog_tamper.cli.sealing import Sealing
from fapilog_tamper.cli.stopping import Stop
from fapilog_tamper.errors import StoreError, TamperError
from fapilog_tamper.payload import DEFAULT_LIMIT, check_limit
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.verify.source import SourceError, open_source
from fapilog_tamper.writer.promise import Durability

__all__ = ["seal"]

_CHUNK: Final = 1 << 16
_CLOSING: Final = 5.0
"""Seconds that a log which has just failed has to close; those of --timeout have passed once already."""


def seal(  # noqa: PLR0913 (every option has a name)
    *,
    folder: Annotated[
        Path, typer.Option("--dir", "-d", metavar="FOLDER", parser=parse_path, help="The folder of the log.")
    ],
    key: KeyOption = None,
    unkeyed: UnkeyedOption = False,
    old_keys: OldKeysOption = None,
    stream: Annotated[str, typer.Option(metavar="NAME", help="The stream to write to.")] = "log",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", parser=parse_path, help="Read this file (plain, gzip, zstd), not stdin."
        ),
    ] = None,
    durability: Annotated[
        Durability,
        typer.Option(help="What each line is promised before the next is read; synced survives a power cut."),
    ] = "written",
    rotate_bytes: Annotated[
        int | None, typer.Option(metavar="N", help="Bytes of the largest segment; 256 MiB unless set.")
    ] = None,
    compress: Annotated[
        Literal["none", "gzip", "zstd"], typer.Option(help="What closed segments are compressed with.")
    ] = "none",
    max_payload: Annotated[
        int, typer.Option(metavar="N", help="Bytes of the largest line that is kept whole; at most 1048576.")
    ] = DEFAULT_LIMIT,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a line may wait for a disk that does not answer.")
    ] = 30.0,
    state_dir: StateOption = None,
    echo: Annotated[bool, typer.Option("--echo", "-t", help="Copy what was sealed to stdout, as tee does.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary and no progress; errors only.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Seal lines of text or JSON.

    Each line of stdin, or of --from FILE, becomes one entry, on disk when the next is read. A line that is a JSON
    object is that event, byte for byte where a log may hold it so, else in canonical form. Any other line becomes
    {"message": "..."}; bytes that are no UTF-8 are kept in base64. Members named integrity or sealed_log get a
    trailing _. Empty lines are skipped, lines over --max-payload are cut to fit; both are counted. SIGINT, SIGTERM and
    SIGHUP seal what was read and close the log. A second writer gets a stream of its own, NAME.w2.

    \b
    Examples:
      fapilog-tamper seal --key file:audit.jwk -d logs/ < events.jsonl
      fapilog-tamper seal --key file:audit.jwk -d logs/ --stream web --from access.log.gz
      tail -F app.log | fapilog-tamper seal --key env:AUDIT_KEY -d logs/ --durability synced
      my-service 2>&1 | fapilog-tamper seal --key file:audit.jwk -d logs/ --echo

    \b
    Exit codes:
      0 sealed   2 usage   3 not everything was read or stored   129, 130, 143 SIGHUP, Ctrl-C, SIGTERM
    """  # noqa: D301 (see app)
    with writing_errors_reported(), ExitStack() as stack:
        # Here, because it takes as long as a small log takes to verify.
        from fapilog_tamper.sealer import SealedLog

        check_limit(max_payload)
        rotation = Rotation() if rotate_bytes is None else Rotation(max_bytes=rotate_bytes)
        signing = choose_key(key, unkeyed=unkeyed)
        stop = stack.enter_context(Stop())
        # Before the log is opened: a file that cannot be read makes no folder.
        chunks = _open_input(source, stop, stack, quiet=quiet, no_color=no_color)
        log = SealedLog.open(
            folder,
            key=signing,
            stream=stream,
            durability=durability,
            rotation=rotation,
            compress=compress,
            state_dir=state_dir,
            keyring=old_keyring(old_keys),
            max_payload=max_payload,
            timeout=timeout,
        )
        run = _Run(Sealing(log, max_payload, durability), chunks, stop, echo=echo)
        failed = run.seal()
        stack.close()
        if failed is not None:
            _fail(run.sealing, failed)
        if not quiet:
            _say_summary(run.sealing, stream, folder, stop)
        raise typer.Exit(stop.exit_code)


@dataclass(slots=True)
class _Run:
    sealing: Sealing
    chunks: Iterator[bytes]
    stop: Stop
    echo: bool

    def seal(self) -> Exception | None:
        """Seal all that is read and close the log; return what went wrong."""
        failed: Exception | None = None
        try:
            self._take_all()
        except (TamperError, SourceError, OSError) as error:
            failed = error
        try:
            self.sealing.log.close(_CLOSING if isinstance(failed, StoreError) else None)
        except StoreError as error:
            # What is so now: a line that was late may be stored by now, or will never be.
            failed = error if failed is None or isinstance(failed, StoreError) else failed
        return failed

    def _take_all(self) -> None:
        cutter = LineCutter()
        try:
            for chunk in self.chunks:
                self.sealing.take(cutter.feed(chunk))
                if self.echo:
                    self.echo = write_stdout_bytes(chunk)
                if self.stop.asked:
                    break
        finally:
            # What was read is sealed, also when the rest cannot be read.
            self.sealing.take(cutter.end())


def _open_input(source: Path | None, stop: Stop, stack: ExitStack, *, quiet: bool, no_color: bool) -> Iterator[bytes]:
    if source is None:
        return _stdin(stop, quiet=quiet)
    tick = stack.enter_context(watched_progress(quiet=quiet, no_color=no_color, doing="sealing"))
    done = 0

    def note(size: int) -> None:
        nonlocal done
        done += size
        if tick is not None:
            tick(done, opened.size)

    try:
        opened = stack.enter_context(open_source(source, note))
    except SourceError as error:
        fail(f"{source} cannot be read: {error}.", "Name a regular file, or send it to stdin: < FILE.")
    return opened.chunks()


def _stdin(stop: Stop, *, quiet: bool) -> Iterator[bytes]:
    if sys.stdin is None:
        fail("stdin is closed.", "Send lines to it, or name a file with --from.")
    fd = 0
    if os.isatty(fd) and not quiet:
        say("reading lines from the terminal; Ctrl-D ends.")
    return iter(_reader(stop, fd), b"")


def _reader(stop: Stop, fd: int) -> Callable[[], bytes]:
    return lambda: stop.read(fd, _CHUNK)


def _fail(sealing: Sealing, error: Exception) -> NoReturn:
    stored = format_count(sealing.settle(), "line was", "lines were")
    say(f"{stored} sealed into stream {sealing.log.stream}; go on with line {sealing.resume:,} of the input.")
    if isinstance(error, TamperError):
        fail(error.message, error.hint, Exit.INCOMPLETE)
    reason = error.strerror if isinstance(error, OSError) else error
    fail(
        f"the input could not be read to its end: {reason}.",
        "Mend it, or unpack it and send it to stdin.",
        Exit.INCOMPLETE,
    )


def _say_summary(sealing: Sealing, stream: str, folder: Path, stop: Stop) -> None:
    log = sealing.log
    counts = [
        *([f"{format_count(sealing.cut, 'line')} cut to {sealing.limit:,} bytes"] if sealing.cut else ()),
        *([f"{format_count(sealing.skipped, 'empty line')} skipped"] if sealing.skipped else ()),
    ]
    what = f"seq {sealing.first}..{sealing.last}" if sealing.lines else "nothing came"
    lines = format_count(sealing.lines, "line")
    say(f"sealed {lines} into stream {log.stream} of {folder}: {', '.join([what, *counts])}")
    if log.stream != stream:
        say(f"{log.stream} is a stream of its own beside {stream}, which another writer has open.")
    if stop.asked:
        say(f"stopped by {stop.name}; everything that was read is sealed.")
