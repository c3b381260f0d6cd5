"""The sealed log of a trail: opened when it is needed, given up when it failed for good, and opened again.

Everything here may wait for a disk; coroutines call it through `off_loop`. An attempt to open that failed is not
repeated for a second: until then its error is told at once.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from fapilog_audit.errors import StoppedError
from fapilog_audit.futures import start_thread
from fapilog_audit.settings import STREAM
from fapilog_tamper.errors import HeadError, HintedError, RollbackError, StoreError
from fapilog_tamper.recovery.kinship import first_line
from fapilog_tamper.sealer import SealedLog
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.verify.verifier import Verifier
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fapilog_audit.policy import OnStorageFailure
    from fapilog_audit.settings import TrailSettings

__all__ = ["Ledger", "SharedCall", "off_loop"]

_T = TypeVar("_T")

_AGAIN: Final = 1.0
"""Seconds between two attempts to open."""

_GRACE: Final = 2.0
"""Seconds that a close has beyond its time: the log takes some of its own."""

_GIVE_UP: Final = 1.0
"""Seconds that a log which failed for good has to say what it stored."""


class Ledger:
    """The one open `SealedLog` of a trail. Any thread may call it."""

    def __init__(
        self,
        settings: TrailSettings,
        folder: Path,
        *,
        state: Path | None = None,
        before_opening: Callable[[], None] = lambda: None,
        after_opening: Callable[[SealedLog], None] = lambda _: None,
        on_failure: OnStorageFailure = "contain",
    ) -> None:
        self._settings = settings
        self.folder = folder
        self._state = settings.state if state is None else state
        self._before_opening = before_opening
        self._after_opening = after_opening
        self._on_failure = on_failure
        self.suspect: str | None = None
        """Why a chain of its own was begun, in place of one that is not to be believed."""
        self._opening = threading.RLock()
        self._failed: tuple[float, HintedError] | None = None
        self._closed = False
        self._future: Future[SealedLog] | None = None
        self.log: SealedLog | None = None
        """The open log; None while there is none."""

    @property
    def trouble(self) -> str | None:
        """Why the log cannot be opened, or does not store; None where nothing is known to be wrong."""
        if self._failed is not None:
            return self._failed[1].message
        return None if self.log is None else self.log.health().reason

    def open(self, *, now: bool = False) -> SealedLog:
        """Return the open log.

        Args:
            now: try even if it failed a moment ago.

        Raises:
            HintedError: it cannot be opened; the same error for a second, unless `now`.
        """
        log = self.log
        if log is not None:
            return log
        with self._opening:
            if self.log is not None:
                return self.log
            if self._closed:
                raise StoppedError("the trail was stopped.")
            if self._failed is not None and not now and monotonic() - self._failed[0] < _AGAIN:
                raise self._failed[1]
            future = self._future
            if future is None:
                future = self._future = Future()
                start_or_do(lambda: self._try_to_open(future), "audit trail opening")
        return self._wait_for(future, self._settings.timeout)

    def _wait_for(self, future: Future[SealedLog], seconds: float) -> SealedLog:
        try:
            return future.result(min(seconds, threading.TIMEOUT_MAX))
        except TimeoutError:
            raise StoreError(f"the log in {self.folder} is still being opened: the disk does not answer.") from None

    def _try_to_open(self, future: Future[SealedLog]) -> None:
        """Open the log, in a thread that a disk which stands still may hold."""
        try:
            self._before_opening()
            log = self._open()
            if self._closed:
                # Somebody had no time to wait for this.
                log.close(_GIVE_UP)
                raise StoppedError("the trail was stopped.")  # noqa: TRY301 (as any other failure, to who waits)
            self._after_opening(log)
        except BaseException as error:  # noqa: BLE001 (a future gives every exception to whoever waits)
            if isinstance(error, HintedError):
                self._failed = (monotonic(), error)
            self._future = None
            future.set_exception(error)
        else:
            self._failed = None
            self.log = log
            self._future = None
            future.set_result(log)

    def allow_opening(self) -> None:
        """Have the log opened again, after it was closed."""
        self._closed = False

    def give_up(self, log: SealedLog) -> None:
        """Close a log that takes nothing more."""
        with self._opening:
            if self.log is log:
                self.log = None
        with suppress(StoreError):
            log.close(_GIVE_UP)

    def close(self, timeout: float) -> None:
        """Store, sync and attest everything; it is not opened again until that is allowed.

        Raises:
            StoreError: that did not work in time.
        """
        deadline = monotonic() + timeout
        self._closed = True
        future = self._future
        if future is not None:
            with suppress(StoppedError):
                self._wait_for(future, timeout)
        with self._opening:
            log, self.log = self.log, None
            self._failed = None
        if log is not None:
            _close(log, max(0.0, deadline - monotonic()))

    def let_go(self) -> None:
        """Have a lock of one's own in a child that was just forked; the log takes care of itself."""
        self._opening = threading.RLock()
        self._future = None

    def _open(self) -> SealedLog:
        try:
            return self._open_log(restart=False)
        except (RollbackError, HeadError) as error:
            if self._on_failure != "contain" or not (isinstance(error, RollbackError) or self._key_holds()):
                raise
            log = self._open_log(restart=True)
            self.suspect = error.message
            warn(
                f"audit trail {self.folder}: {error.message} What is recorded from now on stands in a chain of its "
                f"own, {log.stream}; see what was changed: fapilog-audit verify."
            )
            return log

    def _key_holds(self) -> bool:
        """Tell whether the log was sealed with the key of the trail: under another nothing is begun beside it."""
        line = first_line(FileStore(self.folder), STREAM)
        return line is not None and Verifier(self._settings.keyring()).verify_record(line)

    def _open_log(self, *, restart: bool) -> SealedLog:
        settings = self._settings
        return SealedLog.open(
            self.folder,
            key=settings.open_key(),
            stream=STREAM,
            durability=settings.durability or "written",
            inline=settings.inline,
            rotation=settings.rotation,
            compress=settings.compress,
            state_dir=self._state,
            keyring=settings.keyring(),
            max_buffer_bytes=settings.max_buffer_bytes,
            on_failure="raise",
            sign_each=True,
            restart=restart,
            timeout=settings.timeout,
        )


def start_or_do(work: Callable[[], None], name: str) -> None:
    """Do work in a thread of its own; at interpreter exit, where none can be had, right here."""
    if start_thread(work, name) is None:
        work()


def _close(log: SealedLog, timeout: float) -> None:
    """Close a log in a thread that a disk which stands still may hold; raises StoreError."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            log.close(timeout)
        except BaseException as error:  # noqa: BLE001 (a future gives every exception to whoever waits)
            future.set_exception(error)
        else:
            future.set_result(None)

    start_or_do(work, "audit trail closing")
    try:
        future.result(min(timeout + _GRACE, threading.TIMEOUT_MAX))
    except TimeoutError:
        stats, last = log.stats, log.head.seq
        error = StoreError(f"stream {log.stream} could not be closed: the disk does not answer.")
        error.seqs = tuple(range(last - (stats.accepted - stats.written) + 1, last + 1))
        raise error from None


async def off_loop(work: Callable[[], _T]) -> _T:
    """Do what may wait for a disk in a thread; at interpreter exit, where none can be had, right here."""
    try:
        future = asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)
    except RuntimeError:
        return work()
    return await future


class SharedCall(Generic[_T]):
    """Work that may wait for a disk, done in a thread for all coroutines, of any loop, that ask for it meanwhile."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._guard = threading.Lock()
        self._running: Future[_T] | None = None

    async def __call__(self) -> _T:
        """Return what the work does, or raise what it raises."""
        with self._guard:
            future, mine = self._running, Future[_T]()
            if future is None:
                self._running = mine
        if future is None:
            future = mine
            start_or_do(lambda: self._do(mine), "audit trail opening")
        return await asyncio.shield(asyncio.wrap_future(future))

    def _do(self, future: Future[_T]) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 (a future gives every exception to whoever waits)
            self._running = None
            future.set_exception(error)
        else:
            self._running = None
            future.set_result(result)

    def let_go(self) -> None:
        """Forget what a thread of the parent does, in a child that was just forked."""
        self._guard = threading.Lock()
        self._running = None
