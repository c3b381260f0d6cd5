"""`fapilog-tamper rotate-key`: the entry that ends the time of a key."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from fapilog_tamper.cli.opening import (
    OldKeysOption,
    StateOption,
    require_stream,
    state_folder,
    streams_of,
    writing_errors_reported,
)
from fapilog_tamper.cli.output import Exit, fail, parse_path, printable, write_stdout
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import Keyring, SigningKey, open_signing_key
from fapilog_tamper.names import base_stream
from fapilog_tamper.writer.promise import Receipt
from fapilog_tamper.writer.slots import check_own_stream, slot_name

__all__ = ["rotate_key"]

_MOST: Final = 100
"""Slots that are opened side by side."""


def rotate_key(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=parse_path, help="The folder of the log.")],
    key: Annotated[str, typer.Option("--key", metavar="OLD", help="The key until now, as a URI.")],
    new_key: Annotated[str, typer.Option("--new-key", metavar="NEW", help="The key from now on, as a URI.")],
    old_keys: OldKeysOption = None,
    stream: Annotated[str, typer.Option(metavar="NAME", help="The stream.")] = "log",
    state_dir: StateOption = None,
) -> None:
    """Change the key of a stream.

    Writes a `key` entry, the last under the old key, which names the new one; into each slot of the stream, too. No
    writer may have the stream open: stop it first. Keep the old key: what it sealed is verified with it, for ever.

    \b
    Examples:
      fapilog-tamper keygen --algorithm HMAC-SHA256 --kid audit-2027 -o new.jwk
      fapilog-tamper rotate-key logs/ --key file:old.jwk --new-key file:new.jwk
      fapilog-tamper verify logs/ --key file:old.jwk --key file:new.jwk

    \b
    Exit codes:
      0 done   2 usage   3 the log could not be opened or written
    """  # noqa: D301 (see app)
    with writing_errors_reported():
        check_own_stream(stream)
        require_stream(folder, state_dir, stream)
        old, new = open_signing_key(key), open_signing_key(new_key)
        if old.key_id == new.key_id:
            raise SealKeyError(f"the new key has the key_id of the old one, {old.key_id}.", hint="Give it another.")
        ring = Keyring(old_keys or ())
        for receipt in _rotate_slots(folder, state_dir, stream, old, new, ring):
            write_stdout(
                printable(f"{receipt.stream}: entry {receipt.seq} is the last under {old.key_id}; {new.key_id} is next")
                + "\n"
            )
        place, before, now = (shlex.quote(text) for text in (str(folder), key, new_key))
        write_stdout(
            f"Keep {printable(old.key_id)}: what it sealed is verified with it. The log is opened with "
            f"{printable(new.key_id)} from now on.\n"
            f"next: fapilog-tamper seal --key {now} -d {place}\n"
            f"      fapilog-tamper verify {place} --key {before} --key {now}\n"
        )


def _rotate_slots(  # noqa: PLR0917 (one step of the command)
    folder: Path, state_dir: Path | None, stream: str, old: SigningKey, new: SigningKey, ring: Keyring
) -> Sequence[Receipt]:
    """Rotate the stream and its slots; each is held until all are done, because opening takes the lowest free one."""
    from fapilog_tamper.sealer import SealedLog

    here = [name for name in streams_of(folder, state_folder(folder, state_dir)) if base_stream(name) == stream]
    with ExitStack() as stack:
        logs: list[SealedLog] = []
        for number in range(1, _MOST):
            if all(slot in {log.stream for log in logs} for slot in here):
                break
            log = stack.enter_context(SealedLog.open(folder, key=old, stream=stream, state_dir=state_dir, keyring=ring))
            logs.append(log)
            if log.stream != slot_name(stream, number):
                fail(
                    f"a writer has {slot_name(stream, number)} open.",
                    "Stop it first: a writer that goes on under the old key would not see the new one.",
                    Exit.INCOMPLETE,
                )
        return [log.rotate_key(new) for log in logs if log.stream in here]
