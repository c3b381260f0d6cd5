"""Where the data of a command goes: stdout, or a new file that gets its name only when it is whole."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final

from fapilog_tamper.cli.output import check_output, fail, printable, say, write_stdout
from fapilog_tamper.store.durable import FILE_MODE, sync_file, sync_folder

__all__ = ["Out", "open_out"]

_EXACT: Final = "latin-1"
_WHOLE: Final = 1 << 62


class Out:
    """Takes data piece by piece."""

    def __init__(self, file: BinaryIO | None = None, path: Path | None = None) -> None:
        self._file = file
        self._path = path
        self._terminal = file is None and sys.stdout is not None and sys.stdout.isatty()
        self._told = False

    def write(self, text: str, encoding: str | None = None) -> bool:
        """Write text, at once; tell whether more is taken: the reader of a pipe may have gone away.

        Args:
            text: what has no effect on a terminal.
            encoding: as for `write_stdout`; a file is UTF-8.
        """
        if self._file is not None:
            self._put(text.encode(encoding or "utf-8", "backslashreplace"))
            return True
        # Where the reader is gone, write_stdout puts the null device in the place of stdout.
        before = _place()
        with _uninterrupted():
            write_stdout(text, encoding)
        return _place() == before

    def write_bytes(self, data: bytes) -> bool:
        """Write bytes as they are; on a terminal, with escapes for what it would act upon."""
        if self._file is not None:
            self._put(data)
            return True
        if not self._terminal:
            return self.write(data.decode(_EXACT), _EXACT)
        text = data.decode("utf-8", "backslashreplace")
        shown = "\n".join(printable(line, _WHOLE) for line in text.replace("\r\n", "\n").split("\n"))
        if shown != text and not self._told:
            self._told = True
            say("Not the bytes: on a terminal control characters and line ends are shown as text; use -o or a pipe.")
        return self.write(shown)

    def _put(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 (for the type checker)
        try:
            self._file.write(data)
        except OSError as error:
            _refuse(self._path, error)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have the first Ctrl-C wait until a write ends, so that no line is half; a second one ends a write that hangs."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            signal.default_int_handler(number, frame)
        asked.append(number)

    takes_signals = threading.current_thread() is threading.main_thread()
    # What somebody set to be ignored stays ignored.
    before = signal.getsignal(signal.SIGINT)
    if not takes_signals or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _place() -> tuple[int, int] | None:
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return None
    return status.st_dev, status.st_ino


@contextmanager
def open_out(path: Path | None, folder: Path) -> Iterator[Out]:
    """Give what takes the data of a command.

    Args:
        path: a file that does not exist yet; None for stdout. An end by an error or Ctrl-C leaves nothing there.
        folder: what is read.
    """
    if path is None:
        yield Out()
        return
    if os.path.lexists(path):
        fail(f"{path} exists; nothing was written.", "Choose another name, or move it away.")
    check_output(path, [folder], [])
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = _create(part)
    except OSError as error:
        _refuse(path, error)
    try:
        with file:
            yield Out(file, path)
            _finish(file, part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def _create(part: Path) -> BinaryIO:
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    return os.fdopen(fd, "wb")


def _finish(file: BinaryIO, part: Path, path: Path) -> None:
    try:
        file.flush()
        sync_file(file.fileno())
        try:
            # A link fails where the name has been taken meanwhile; a rename would replace that file.
            os.link(part, path)
        except (PermissionError, NotImplementedError, OSError) as error:
            if isinstance(error, FileExistsError):
                raise
            # A file system without hard links.
            if os.path.lexists(path):
                raise FileExistsError(17, "File exists") from None
            part.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        _refuse(path, error)


def _refuse(path: Path | None, error: OSError) -> None:
    fail(f"{path} cannot be written: {error.strerror}.", "Check the folder, its rights and the free space.")
