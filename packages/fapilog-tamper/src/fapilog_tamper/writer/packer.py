"""What is done with closed segments, in a thread of its own: compressing, and telling who wants to know.

Commits never wait for it. The compressed file is on the disk, and unpacks to what the manifest says, before the plain
one is removed. A plain file that is not what its manifest says stays as it is: the verifier will name it.
"""

from __future__ import annotations

import sys
import threading
import zlib
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, Protocol

from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import manifest_name
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.writer.retry import Retry
from fapilog_tamper.writer.shelf import write_far

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.troubles import Troubles

__all__ = ["Compression", "Packer"]

Compression = Literal["none", "gzip", "zstd"]

_CHUNK: Final = 1 << 20
_LAST_CHUNK: Final = 0.5
"""Seconds that a packer that was given up has to get out of a chunk."""

_ENDINGS: Final = {"gzip": ".gz", "zstd": ".zst"}
_WHAT: Final = "compressing"


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Packer:
    """Compresses the segments that it is given, one after the other; what fails is tried again, less and less often.

    What is left at the end is found at the next open. `told` hears the name of each, which it had before it was
    compressed; it must not raise.
    """

    def __init__(
        self, folder: Store, how: Compression, troubles: Troubles, told: Callable[[str], None] | None = None
    ) -> None:
        self._folder = folder
        self._how = how
        self._told = told
        self._troubles = troubles
        self._waiting: deque[str] = deque()
        self._mutex = threading.Lock()
        self._ending = threading.Event()
        self._given_up = False
        self._thread: threading.Thread | None = None

    def add(self, name: str) -> None:
        """Do what is to be done with a segment whose manifest is written, soon."""
        if self._how == "none" and self._told is None:
            return
        with self._mutex:
            self._waiting.append(name)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"sealed-log packer {self._folder}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # At interpreter exit no thread can be started; the next open finds the segment.
                    self._waiting.clear()
                else:
                    self._thread = thread
            alone = self._thread is None
        if alone and self._told is not None:
            self._told(name)

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is left to compress, or that fails; False when `timeout` seconds passed first."""
        self._ending.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        self._given_up = thread.is_alive()
        thread.join(_LAST_CHUNK)
        return not thread.is_alive()

    def _run(self) -> None:
        retry = Retry()
        while True:
            with self._mutex:
                if not self._waiting:
                    self._thread = None
                    return
                name = self._waiting[0]
            try:
                if self._how != "none":
                    self._pack(name)
            except OSError as error:
                self._troubles.meet(_WHAT, error)
                retry.failed()
                if self._ending.wait(retry.pause):
                    self._waiting.clear()
                continue
            self._waiting.popleft()
            self._troubles.well(_WHAT)
            retry.worked()
            if self._told is not None:
                self._told(name)

    def _pack(self, name: str) -> None:
        folder = self._folder
        try:
            manifest = parse_manifest(folder.read(manifest_name(name)))
        except FormatError:
            # The verifier will name it.
            return
        packed = name + _ENDINGS[self._how]
        temporary = f"{packed}.tmp"
        folder.remove(temporary)
        handle = folder.create(temporary)
        digest = sha256()
        try:
            at = 0
            for chunk in self._packed(name, digest.update):
                if self._given_up:
                    return
                _, problem = write_far(folder, handle, chunk, at)
                if problem is not None:
                    raise problem
                at += len(chunk)
            folder.sync(handle)
        finally:
            folder.close(handle)
        # Who was given up must not rename what the next writer's packer may be making under the same name.
        if digest.digest() != manifest.file_sha256 or self._given_up:
            folder.remove(temporary)
            return
        folder.rename(temporary, packed)
        folder.sync_names()
        folder.remove(name)
        folder.sync_names()

    def _packed(self, name: str, seen: Callable[[bytes], object]) -> Iterator[bytes]:
        compressor = _compressor(self._how)
        at = 0
        while chunk := self._folder.read(name, at, _CHUNK):
            at += len(chunk)
            seen(chunk)
            if out := compressor.compress(chunk):
                yield out
        yield compressor.flush()


def _compressor(how: str) -> _Compressor:
    # wbits=31 is gzip, with a time stamp of zero: the same segment gives the same file.
    return zlib.compressobj(6, zlib.DEFLATED, 31) if how == "gzip" else zstd.ZstdCompressor()
