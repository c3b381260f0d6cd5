"""What the commands share that open a log for writing: keys that somebody chose, streams that must be there, errors."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fapilog_tamper.cli.output import Exit, errors_reported, fail, parse_path, printable, say
from fapilog_tamper.errors import SealKeyError, StoreError
from fapilog_tamper.keys import Keyring, SigningKey, open_signing_key
from fapilog_tamper.layout import (
    STATE_FOLDER,
    head_name,
    is_segment_name,
    parse_head_name,
    parse_segment_name,
    plain_name,
    segment_place,
)
from fapilog_tamper.names import check_stream

__all__ = [
    "KeyOption",
    "OldKeysOption",
    "StateOption",
    "UnkeyedOption",
    "choose_key",
    "old_keyring",
    "require_stream",
    "state_folder",
    "streams_of",
    "writing_errors_reported",
]

KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="URI", help="The key that seals: env:VAR or file:PATH[?kid=K&alg=A].")
]
OldKeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--old-key", metavar="URI", help="A key of earlier entries, where the key was changed. May be given again."
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", metavar="DIR", parser=parse_path, help="Where heads and locks are; .fapilog in FOLDER if unset."
    ),
]
UnkeyedOption = Annotated[bool, typer.Option("--unkeyed", help="Without a key: a chain that anyone can recompute.")]


def choose_key(uri: str | None, *, unkeyed: bool) -> SigningKey | None:
    """Return the key; None where somebody said that there is to be none. Neither is a usage error, and so is both."""
    if uri is not None and unkeyed:
        fail("--key and --unkeyed contradict each other.", "Give one of them.")
    if uri is None and not unkeyed:
        fail(
            "a log is sealed with a key, and none was given.",
            "Make one: fapilog-tamper keygen --algorithm HMAC-SHA256 --kid NAME -o FILE; then give --key file:FILE. "
            "Or choose --unkeyed, a chain that anyone can recompute.",
        )
    return None if uri is None else open_signing_key(uri)


def old_keyring(uris: Sequence[str] | None) -> Keyring | None:
    """Return the keys of earlier entries."""
    return Keyring(uris) if uris else None


def state_folder(folder: Path, state_dir: Path | None) -> Path:
    """Return where heads and locks of a log are."""
    return folder / STATE_FOLDER if state_dir is None else state_dir


def streams_of(folder: Path, state: Path) -> list[str]:
    """Return the streams that have a head or a segment, as file names tell.

    Raises:
        OSError: a folder is there and cannot be read.
    """
    segments = (parse_segment_name(plain_name(name)) for name in _names(folder) if is_segment_name(name))
    heads = (parse_head_name(name) for name in _names(state))
    return sorted({*(found[0] for found in segments if found), *(name for name in heads if name)})


def require_stream(folder: Path, state_dir: Path | None, stream: str) -> None:
    """End the command unless the folder has the stream: a name with a typing error must not make a new one."""
    check_stream(stream)
    state = state_folder(folder, state_dir)
    if not folder.is_dir():
        fail(f"{folder} is no folder.", "Give the folder of a sealed log.")
    try:
        here = head_name(stream) in _names(state) or any(segment_place(name, stream) for name in _names(folder))
        known = [] if here else streams_of(folder, state)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}.", "Mend access to it.", Exit.INCOMPLETE)
    if not here:
        there = f"it holds {', '.join(known[:10])}" if known else "it holds no sealed log"
        fail(f"there is no stream {stream} in {folder}; {there}.", "Give the right folder, and --stream NAME.")


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@contextmanager
def writing_errors_reported() -> Iterator[None]:
    """As `errors_reported`; a log that cannot be written or believed is no usage error. Warnings are one line, too."""
    before = warnings.showwarning
    said: Any = _say_warning
    warnings.showwarning = said
    try:
        with errors_reported():
            try:
                yield
            except StoreError as error:
                fail(error.message, error.hint, Exit.INCOMPLETE)
            except SealKeyError as error:
                if " is under key " in error.message:
                    fail(error.message, "Give that key with --key, or where the key was changed with --old-key.")
                raise
    finally:
        warnings.showwarning = before


def _say_warning(message: Warning | str, *_where: object) -> None:
    say(f"warning: {printable(str(message))}")
