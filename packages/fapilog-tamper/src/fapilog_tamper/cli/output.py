"""What the commands share: where text goes, how it is made printable, and how errors end a command.

Nothing that comes from a log, a file name or an error reaches a terminal as it is: `printable` shows every control and
format character as an escape (CWE-150), and text is styled as `rich.text.Text`, which knows no markup.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

import typer

from fapilog_tamper.errors import HintedError
from fapilog_tamper.layout import is_manifest_name, is_segment_name, parse_head_name

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "EXAMPLES",
    "Exit",
    "Format",
    "check_apart",
    "check_output",
    "errors_reported",
    "fail",
    "format_count",
    "format_size",
    "io_errors_reported",
    "parse_path",
    "printable",
    "render",
    "say",
    "use_colour",
    "write_file",
    "write_stdout",
    "write_stdout_bytes",
]

EXAMPLES: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""Settings of every command's help."""

_KILO: Final = 1000


class Exit:
    """The exit codes that are not a verdict."""

    DONE: Final = 0
    USAGE: Final = 2
    INCOMPLETE: Final = 3
    INTERRUPTED: Final = 130


class Format(StrEnum):
    """How data is written."""

    TEXT = "text"
    JSON = "json"


def printable(text: str, most: int = 1000) -> str:
    """Return text that has no effect on a terminal, in one line, of at most `most` characters."""
    if len(text) > most:
        text = f"{text[:most]}… ({len(text)} characters)"
    if text.isprintable():
        return text
    # Python's unprintable characters are all controls, formats (bidirectional overrides among them), surrogates,
    # private and unassigned ones, and every space that is not U+0020.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def format_count(number: int, one: str, many: str = "") -> str:
    """Return a number and what it counts, for people; the plural is `one` with an s unless `many` says it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_size(size: int) -> str:
    """Return a number of bytes for people."""
    if size < _KILO:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= _KILO
        if value < _KILO:
            return f"{value:.1f} {unit}"
    return f"{value / _KILO:.1f} TB"


def write_stdout(text: str, encoding: str | None = None) -> None:
    """Write data to stdout, in one piece.

    A reader that went away (`| head`) ends the output and is no error: the exit code stays what was found.

    Args:
        text: what to write.
        encoding: JSON is UTF-8 whatever the locale; None takes the locale's, escaping what it lacks.
    """
    stream: TextIO | None = sys.stdout
    if stream is None:
        fail("stdout is closed.", "Name a file with -o.")
    try:
        stream.flush()
        left = memoryview(text.encode(encoding or stream.encoding or "utf-8", "backslashreplace"))
        while left:
            # Without a buffer (PYTHONUNBUFFERED), a write that a signal interrupts takes only a part.
            left = left[stream.buffer.write(left) or 0 :]
        stream.flush()
    except BrokenPipeError:
        # What is left in the buffer is flushed again at exit, which would fail aloud and with code 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        fail(f"stdout cannot be written: {error.strerror}.", "Mend it, or name a file with -o.")


def write_stdout_bytes(data: bytes) -> bool:
    """Write bytes to stdout as they are, at once; return whether it takes more. What it takes decides nothing."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"stdout cannot be written: {error.strerror}; nothing more is copied to it.")
        return False
    return True


def say(text: str) -> None:
    """Write a line for people to stderr; where nobody listens, to nowhere."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def fail(message: str, hint: str = "", code: int = Exit.USAGE) -> NoReturn:
    """End the command with one line that says what is wrong, and one that says what to do."""
    say(f"error: {message}")
    if hint:
        say(f"hint: {hint}")
    raise typer.Exit(code)


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn the errors of our packages, and Ctrl-C, into one clear line and an exit code."""
    try:
        yield
    except HintedError as error:
        fail(error.message, error.hint)
    except KeyboardInterrupt:
        fail("interrupted.", code=Exit.INTERRUPTED)


@contextmanager
def io_errors_reported() -> Iterator[None]:
    """Turn an error of the file system, met while a log is read, into one clear line: not everything was checked."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        fail(f"{where}{error.strerror}; the log was not read.", "Mend access to it, and verify again.", Exit.INCOMPLETE)


def parse_path(text: str) -> Path:
    """Return a path from the command line; one that cannot exist is a usage error."""
    if not text:
        raise typer.BadParameter("an empty path names nothing.")
    try:
        os.lstat(text)
    except ValueError:
        raise typer.BadParameter("no file can have this name.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise typer.BadParameter("no file can have so long a name.") from None
    return Path(text)


def check_output(output: Path, verified: Iterable[Path], read: Iterable[Path]) -> None:
    """End the command if `output` would change what is verified or read, or cannot be written.

    Args:
        output: the file that a report is to go to.
        verified: files and folders of the log.
        read: other files that are read: heads, the trust file.
    """
    check_apart(output, (*verified, *read))
    name = output.name
    if os.path.lexists(output) and (
        is_segment_name(name) or is_manifest_name(name) or parse_head_name(name) is not None
    ):
        fail(f"{output} exists and has the name of a part of a log.", "Use another file.")
    if _has_other_names(output):
        fail(f"{output} has other names (hard links), and may be a part of the log.", "Use a new file.")
    if _is_folder(output) or not _is_folder(output.parent):
        fail(f"{output} cannot be a file.", "Name a file in a folder that exists.")


def check_apart(output: Path, read: Iterable[Path]) -> None:
    """End the command if `output` is, or lies in, something that is read."""
    target = Path(os.path.realpath(output))
    for path in read:
        place = os.path.realpath(path)
        inside = _is_folder(path) and target.is_relative_to(place)
        if inside or target == Path(place) or _is_same(output, path):
            fail(f"{output} is, or lies in, what is read: {path}.", "Reading a log writes nothing there: use another.")


def _has_other_names(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink > 1


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def write_file(path: Path, text: str, *, new: bool = False) -> None:
    """Write UTF-8 text to a file; `new`: one that exists is not overwritten."""
    try:
        with path.open("x" if new else "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} exists; nothing was written.", "Choose another name, or move it away.")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.", "Check the folder, its rights and the free space.")


def use_colour(*, no_color: bool) -> bool:
    """Tell whether stdout takes colours (https://no-color.org)."""
    wanted = not (no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
    return wanted and sys.stdout is not None and sys.stdout.isatty()


def render(lines: Sequence["Text"], *, colour: bool) -> str:
    """Return styled lines as text, with colours or without; lines are never wrapped, so that they can be searched."""
    if not colour:
        return "".join(f"{line.plain}\n" for line in lines)
    from io import StringIO

    from rich.console import Console

    console = Console(
        file=StringIO(), force_terminal=True, color_system="standard", no_color=False, legacy_windows=False
    )
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    return captured.get()
