"""`fapilog-tamper restore`: the override for a log that cannot be opened, on record."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from fapilog_tamper.cli.opening import (
    KeyOption,
    OldKeysOption,
    StateOption,
    UnkeyedOption,
    choose_key,
    old_keyring,
    require_stream,
    state_folder,
    writing_errors_reported,
)
from fapilog_tamper.cli.output import Exit, fail, parse_path, printable, write_stdout
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import parse_head
from fapilog_tamper.layout import head_name, is_segment_name, plain_name, segment_place
from fapilog_tamper.verify.overview import take_overview
from fapilog_tamper.verify.source import SourceError, open_source, whole_lines
from fapilog_tamper.writer.promise import Receipt

__all__ = ["restore"]


def restore(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=parse_path, help="The folder of the log.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")],
    by: Annotated[str, typer.Option(metavar="WHO", help="Who decides this, for the record.")],
    key: KeyOption = None,
    unkeyed: UnkeyedOption = False,
    old_keys: OldKeysOption = None,
    stream: Annotated[str, typer.Option(metavar="NAME", help="The stream, or one of its slots.")] = "log",
    state_dir: StateOption = None,
) -> None:
    """Have a log that is refused go on, on record.

    A log is not opened when its head, or that of another stream, speaks of entries that are not there, or cannot be
    believed. Look why first, with verify, and for the entries in backups. This command then goes on behind the last
    entry that holds and writes a `restore` entry with --reason and --by. It asks nothing. What is passed over stays
    where it is and is named by every verification.

    \b
    Examples:
      fapilog-tamper verify logs/ --key file:audit.jwk
      fapilog-tamper restore logs/ --key file:audit.jwk --reason "disk replaced, INC-12" --by "R. Roe"

    \b
    Exit codes:
      0 done   2 usage   3 the log could not be written
    """  # noqa: D301 (see app)
    with writing_errors_reported():
        from fapilog_tamper.sealer import SealedLog

        for name, text in (("--reason", reason), ("--by", by)):
            if not text.strip():
                fail(f"{name} is empty.", "A restore is kept on record for ever: say it.")
        require_stream(folder, state_dir, stream)
        signing = choose_key(key, unkeyed=unkeyed)
        if signing is None:
            _require_unkeyed(folder, state_folder(folder, state_dir), stream)
        receipt = SealedLog.restore(
            folder,
            key=signing,
            stream=stream,
            reason=reason,
            by=by,
            state_dir=state_dir,
            keyring=old_keyring(old_keys),
        )
        write_stdout("".join(f"{printable(line)}\n" for line in _told(folder, receipt)))


def _require_unkeyed(folder: Path, state: Path, stream: str) -> None:
    """End the command for a stream that has a key: an unkeyed entry behind keyed ones is tampering, for ever."""
    views = [view for scope in take_overview([folder]).scopes for view in scope.streams if view.stream == stream]
    keyed = {key_id for view in views for key_id in view.key_ids}
    try:
        head = parse_head((state / head_name(stream)).read_bytes())
        keyed |= {head.key_id} if head.key_id is not None else set()
    except (OSError, FormatError):
        pass
    if keyed:
        fail(f"stream {stream} is under key {min(keyed)}.", "Give that key with --key; --unkeyed would break the log.")


def _told(folder: Path, receipt: Receipt) -> Iterator[str]:
    """Tell what the entry of a restore says."""
    members = _entry_at(folder, receipt)
    after, lost = members.get("after_seq", 0), members.get("lost_seq", 0)
    yield f"stream {receipt.stream} goes on behind entry {after}" if after else f"stream {receipt.stream} begins anew"
    if lost > after:
        yield (
            f"passed over: entries {after + 1} to {lost}, of which the head spoke and which are not there as it has "
            f"them (entry {lost}: chain hash {members.get('lost_chain_hash')})"
        )
    elif lost:
        yield f"passed over: what the head said of entry {lost} (chain hash {members.get('lost_chain_hash')})"
    else:
        yield "passed over: no head spoke of any entry"
    yield f"on record as entry {receipt.seq}, kind restore"


def _entry_at(folder: Path, receipt: Receipt) -> dict[str, Any]:
    """Return what the restore entry of this receipt holds; it is in one of the newest segments."""
    places = {path: segment_place(path.name, receipt.stream) for path in folder.iterdir()}
    ours = {path: place for path, place in places.items() if place is not None and is_segment_name(path.name)}
    for path in sorted(ours, key=lambda path: (ours[path], plain_name(path.name)), reverse=True):
        for line in _lines(path):
            with suppress(FormatError):
                payload, block = split(line)
                if block.chain_hash == receipt.chain:
                    return dict(json.loads(payload)["sealed_log"])
    return fail(f"entry {receipt.seq} was written and is not found.", f"Verify {folder}.", Exit.INCOMPLETE)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open_source(path) as source:
            for block in whole_lines(source.chunks()):
                if block.kind == "lines":
                    yield from (line + b"\n" for line in block.data[:-1].split(b"\n"))
    except SourceError:
        return
