"""`fapilog-tamper inspect`: what is there, as it says of itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from fapilog_tamper.cli.live import LiveView, Writer, view_live
from fapilog_tamper.cli.opening import StateOption
from fapilog_tamper.cli.output import (
    Exit,
    Format,
    check_output,
    errors_reported,
    format_count,
    format_size,
    io_errors_reported,
    parse_path,
    printable,
    render,
    use_colour,
    write_file,
    write_stdout,
)
from fapilog_tamper.verify.overview import HeadView, Overview, ScopeView, SegmentView, StreamView, take_overview

__all__ = ["inspect"]

_NOT_VERIFIED: Final = (
    "Not verified: this is what the files say of themselves. To check them: fapilog-tamper verify PATH --key URI"
)
_UNKNOWN: Final = "?"


def inspect(
    *,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", parser=parse_path, help="Files (plain, gzip, zstd) or folders of a log."),
    ],
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write the overview.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=parse_path, help="Write the overview to a file."),
    ] = None,
    state_dir: StateOption = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Show what a log says of itself.

    Streams, segments, seqs, keys and heads. Of a folder also who writes it, and how far heads lag behind: what is
    normal while a log is written is no problem. Needs no key, verifies nothing, writes nothing.

    \b
    Examples:
      fapilog-tamper inspect logs/
      fapilog-tamper inspect logs/ -f json | jq '.scopes[].streams'
      fapilog-tamper inspect logs/ -f json | jq '.scopes[].live[] | {stream, writer, head_lag}'

    \b
    Exit codes:
      0 done   2 usage   3 something could not be read
    """  # noqa: D301 (see app)
    with errors_reported():
        if output is not None:
            check_output(output, paths, [])
        with io_errors_reported():
            overview, lives = view_live(take_overview(paths), state_dir)
        as_text = form is Format.TEXT and not as_json
        colour = output is None and use_colour(no_color=no_color)
        text = render(list(_lines(overview, lives)), colour=colour) if as_text else _json(overview, lives)
        if output is None:
            write_stdout(text, None if as_text else "utf-8")
        else:
            write_file(output, text)
        raise typer.Exit(Exit.DONE if overview.readable else Exit.INCOMPLETE)


def _json(overview: Overview, lives: Sequence[Sequence[LiveView]]) -> str:
    members = json.loads(overview.to_json())
    for scope, live in zip(members["scopes"], lives, strict=True):
        scope["live"] = [asdict(one) for one in live]
    return f"{json.dumps(members, indent=2)}\n"


def _lines(overview: Overview, lives: Sequence[Sequence[LiveView]]) -> Iterator[Text]:
    yield Text(_NOT_VERIFIED, "bold yellow")
    for scope, live in zip(overview.scopes, lives, strict=True):
        yield Text()
        yield Text(printable(scope.name), "bold")
        yield from _scope(scope, live)


def _scope(scope: ScopeView, live: Sequence[LiveView]) -> Iterator[Text]:
    problems = [(printable(problem.file or ""), printable(problem.message)) for problem in scope.problems]
    yield from _table("streams", [_stream(stream) for stream in scope.streams])
    yield from _table("writers", [_live(one) for one in live])
    yield from _table("segments", [_segment(segment) for segment in scope.segments])
    yield from _table("heads", [_head(head) for head in scope.heads])
    yield from _table("manifests without a segment", [(printable(file),) for file in scope.lone_manifests])
    yield from _table("notes", [(printable(note),) for note in scope.notes])
    yield from _table("problems", problems, style="red")


def _stream(stream: StreamView) -> tuple[str, ...]:
    ranges = "seq " + ", ".join(f"{low}..{high}" for low, high in stream.ranges[:5]) if stream.ranges else "no seq"
    if len(stream.ranges) > 5:  # noqa: PLR2004 (as many as fit into a line)
        ranges += f", and {len(stream.ranges) - 5} more ranges"
    return (
        printable(stream.stream),
        ranges,
        format_count(stream.entries, "entry", "entries"),
        format_count(stream.segments, "segment"),
        format_size(stream.size_bytes),
        _keys(stream.algos, stream.key_ids),
        "no head" if stream.head_seq is None else f"head at seq {stream.head_seq}",
    )


_WRITERS: Final = {
    Writer.OPEN: "open: a writer has it",
    Writer.NONE: "no writer has it",
    Writer.UNKNOWN: "unknown whether a writer has it",
}


def _live(live: LiveView) -> tuple[str, ...]:
    if live.head_lag is None:
        head = "no head" if live.head_seq is None else f"head at seq {live.head_seq}"
    elif live.head_lag:
        head = f"head {format_count(live.head_lag, 'entry', 'entries')} behind"
    else:
        head = "head at the end"
    names = [printable(Path(file).name) for file in live.open_segments]
    return (
        printable(live.stream),
        _WRITERS[live.writer],
        "no entry" if live.last_seq is None else f"last seq {live.last_seq}",
        head,
        f"without manifest: {', '.join(names[:3])}{' …' if names[3:] else ''}" if names else "all segments closed",
        live.tail or "",
    )


def _segment(segment: SegmentView) -> tuple[str, ...]:
    seqs = f"seq {_or_unknown(segment.first_seq)}..{_or_unknown(segment.last_seq)}"
    return (
        printable(Path(segment.file).name),
        "several streams" if segment.mixed else printable(segment.stream or _UNKNOWN),
        seqs,
        f"{_UNKNOWN} entries" if segment.entries is None else format_count(segment.entries, "entry", "entries"),
        _UNKNOWN if segment.size_bytes is None else format_size(segment.size_bytes),
        segment.compression or _UNKNOWN,
        _keys(segment.algos, segment.key_ids),
        "no manifest" if segment.manifest is None else "manifest",
    )


def _head(head: HeadView) -> tuple[str, ...]:
    return (
        printable(Path(head.file).name),
        printable(head.stream),
        f"seq {head.seq}",
        f"written {printable(head.last_updated)}",
        f"to {printable(head.segment)}, {head.offset:,} bytes",
        _keys((head.algo,), () if head.key_id is None else (head.key_id,)),
    )


def _keys(algos: Sequence[str], key_ids: Sequence[str]) -> str:
    named = (
        f" {'key' if len(key_ids) == 1 else 'keys'} {', '.join(key_ids)}" if key_ids else " unkeyed" if algos else ""
    )
    return printable(f"{', '.join(algos) or _UNKNOWN}{named}")


def _or_unknown(number: int | None) -> str:
    return _UNKNOWN if number is None else str(number)


def _table(title: str, rows: Sequence[tuple[str, ...]], *, style: str = "") -> Iterator[Text]:
    """Give a title and its rows, their cells under each other."""
    if not rows:
        return
    yield Text(f"  {title}", "bold")
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield Text(f"    {'  '.join(cells).rstrip()}", style)
