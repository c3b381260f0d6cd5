"""`fapilog-tamper head`: heads to keep elsewhere, which is the cheapest anchor, and logs held against them."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from fapilog_tamper.cli.opening import StateOption, state_folder
from fapilog_tamper.cli.output import (
    EXAMPLES,
    Exit,
    Format,
    check_apart,
    check_output,
    errors_reported,
    fail,
    io_errors_reported,
    parse_path,
    printable,
    say,
    write_stdout,
)
from fapilog_tamper.cli.verify import deliver, run_verification
from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, parse_head
from fapilog_tamper.layout import head_name, parse_head_name
from fapilog_tamper.names import check_stream
from fapilog_tamper.store.durable import replace_file
from fapilog_tamper.verify.source import SourceError, read_small

__all__ = ["head"]

head = typer.Typer(
    name="head",
    help="Keep the heads of a log elsewhere, and hold the log against them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=EXAMPLES,
)


@head.command("export")
def export_heads(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=parse_path, help="The folder of the log.")],
    stream: Annotated[str | None, typer.Option(metavar="NAME", help="This stream only.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", parser=parse_path, help="A file, or a folder for NAME.chainstate each."
        ),
    ] = None,
    state_dir: StateOption = None,
) -> None:
    """Copy the stored heads of a log, to be kept elsewhere.

    A head says how far a stream is, signed by its writer. Kept where nobody who can change the log can change it, it
    shows later whether entries were cut off or rewritten. Copied byte for byte, also while the log is written. Its
    form is checked, not its signature. A kept head is replaced by a later one of its stream only.

    \b
    Examples:
      fapilog-tamper head export logs/ -o /mnt/elsewhere/
      fapilog-tamper head export logs/ --stream log | ssh keeper 'cat > log.chainstate'
      fapilog-tamper head check logs/ /mnt/elsewhere/ --key file:audit.jwk

    \b
    Exit codes:
      0 done   2 usage   3 a head cannot be read, or is behind the one that was kept
    """  # noqa: D301 (see app)
    with errors_reported(), io_errors_reported():
        if stream is not None:
            check_stream(stream)
        state = state_folder(folder, state_dir)
        heads = _stored_heads(folder, state, stream)
        if output is None:
            _print(heads)
        elif output.is_dir():
            for name, raw in heads.items():
                _keep(output / head_name(name), raw, [folder, state])
        else:
            _require_one(heads)
            for raw in heads.values():
                _keep(output, raw, [folder, state])


@head.command("check")
def check_heads(  # noqa: PLR0913 (every option has a name)
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=parse_path, help="The folder of the log.")],
    kept: Annotated[
        list[Path],
        typer.Argument(metavar="HEAD...", parser=parse_path, help="Heads that were kept, or folders of them."),
    ],
    keys: Annotated[
        list[str] | None, typer.Option("--key", metavar="URI", help="A key to trust. May be given again.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(metavar="FILE", parser=parse_path, help="A trust file.")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=0, help="Worker processes; 0 is one a processor.")
    ] = 1,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write the report.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write the report to a file."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict line, and no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="All findings and notes, and every file.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Verify that a log still holds what kept heads say.

    The folder is verified as verify --head does, also while it is written: a head that was kept is never ahead of it.
    TAMPERED where entries that a head speaks of are gone or are others.

    \b
    Examples:
      fapilog-tamper head check logs/ /mnt/elsewhere/log.chainstate --key file:audit.jwk
      fapilog-tamper head check logs/ /mnt/elsewhere/ --trust trust.json -q

    \b
    Exit codes:
      0 intact   1 tampered   2 usage   3 not everything could be checked   130 Ctrl-C
    """  # noqa: D301 (see app)
    with errors_reported():
        files = _kept_files(kept)
        if output is not None:
            check_output(output, [folder], [*files, *([trust] if trust else ())])
        report, interrupted = run_verification(
            [folder], keys, trust, heads=files, jobs=jobs, quiet=quiet, no_color=no_color
        )
        deliver(
            report,
            interrupted=interrupted,
            form=Format.JSON if as_json else form,
            output=output,
            quiet=quiet,
            verbose=verbose,
            no_color=no_color,
        )


def _stored_heads(folder: Path, state: Path, stream: str | None) -> dict[str, bytes]:
    """Return the bytes of the stored heads by stream; heads are replaced whole, so each is one of some moment."""
    if not folder.is_dir():
        fail(f"{folder} is no folder.", "Give the folder of a sealed log.")
    found = sorted(name for path in state.iterdir() if (name := parse_head_name(path.name))) if state.is_dir() else []
    wanted = found if stream is None else [name for name in found if name == stream]
    if not wanted:
        what = "any stream" if stream is None else f"stream {stream}"
        there = f"; there are those of {', '.join(found[:10])}" if found else ""
        fail(
            f"there is no head of {what} in {state}{there}.",
            "Heads are written while a log is open and when it is closed. Name their folder with --state-dir.",
            Exit.INCOMPLETE,
        )
    return {name: _read(state / head_name(name), name) for name in wanted}


def _read(path: Path, stream: str) -> bytes:
    try:
        raw = read_small(path, MAX_DOCUMENT)
        there = parse_head(raw).stream
    except (SourceError, FormatError) as error:
        fail(f"{path} is not a head as a writer stores it: {error}", "Verify the log.", Exit.INCOMPLETE)
    if there != stream:
        fail(f"{path} is the head of stream {there}.", "Verify the log.", Exit.INCOMPLETE)
    return raw


def _require_one(heads: dict[str, bytes]) -> None:
    if len(heads) > 1:
        fail(
            f"the log has heads of {len(heads)} streams: {', '.join(list(heads)[:10])}.",
            "Name one with --stream, or a folder that exists with -o.",
        )


def _print(heads: dict[str, bytes]) -> None:
    _require_one(heads)
    for raw in heads.values():
        write_stdout(raw.decode(), "utf-8")


def _keep(path: Path, raw: bytes, log: Sequence[Path]) -> None:
    """Put a head at `path`, unless what is kept there says more."""
    check_apart(path, log)
    new = parse_head(raw)
    _require_later(path, new)
    replace_file(path, raw)
    say(
        f"wrote {path}: {new.stream}, seq {new.seq}. Next: fapilog-tamper head check FOLDER "
        f"{shlex.quote(str(path))} --key URI"
    )


def _require_later(path: Path, new: Head) -> None:
    """End the command where a file would be lost that is no head of this stream, or one of a later entry."""
    if not path.exists():
        return
    old = None
    with suppress(SourceError, FormatError):
        old = parse_head(read_small(path, MAX_DOCUMENT))
    if old is None or old.stream != new.stream:
        fail(f"{path} exists and is no head of stream {new.stream}; it was left.", "Choose another name.")
    behind = old.seq > new.seq or (old.seq == new.seq and old.chain_hash != new.chain_hash)
    if behind or old.origin != new.origin:
        what = f"entry {old.seq} of {old.stream}"
        fail(
            f"{path} was kept and speaks of {what}, the head of the log of entry {new.seq}; it was left.",
            f"Entries may have been cut off: fapilog-tamper head check FOLDER {shlex.quote(str(path))} --key URI",
            Exit.INCOMPLETE,
        )


def _kept_files(kept: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in kept:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if parse_head_name(one.name))
            if not inside:
                fail(f"there is no head in {printable(str(path))}.", "Heads are named STREAM.chainstate.")
            files += inside
        else:
            files.append(path)
    return files
