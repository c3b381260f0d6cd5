"""The sealed log behind a sink: opened when it is needed, under whatever key there is then, and closed when told.

Every failure to open is an error of that event and is tried again with the next, at most every second: a key that
comes later is used without a restart, and until then nothing is written unsealed.
"""

from __future__ import annotations

import os
import threading
from time import monotonic, time
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from fapilog_tamper.errors import SealKeyError, StoreError, TamperError
from fapilog_tamper.keys import Keyring
from fapilog_tamper.layout import is_manifest_name, is_segment_name, manifest_name, parse_segment_name, plain_name
from fapilog_tamper.pipeline.config import open_key, open_keyring
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.sealer import SealedLog
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.verify.log import verify_path
from fapilog_tamper.verify.report import Outcome
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.pipeline.options import SinkOptions

__all__ = ["Journal", "shared_journal"]

_T = TypeVar("_T")

_AGAIN: Final = 1.0
"""Seconds between two attempts to open."""

_SHARED: Final[WeakSet[Journal]] = WeakSet()
_SHARING = threading.Lock()
_ENDLESS: Final = Rotation(daily=False, max_bytes=None)
_NOT_OF_THE_LOG: Final = frozenset({"enabled", "exit_drain", "inner_config", "inner_sink"})
_HURRY: Final = 0.05
"""Seconds that an event waits for a disk that has just not answered. It is kept in memory, and written when it does."""


class Journal:
    """The sealed log of the sinks that share it. Any thread and loop may call it."""

    def __init__(self, options: SinkOptions) -> None:
        self._options = options
        self._log: SealedLog | None = None
        self._users: set[int] = set()
        self._opening = threading.RLock()
        self._failed: tuple[float, TamperError] | None = None
        self._key: SigningKey | None = None
        self._size = 0
        self._deadline = 0.0
        self._alarm: str | None = None
        self._late: tuple[SealedLog, int] | None = None
        self._ended = False

    def is_for(self, options: SinkOptions) -> bool:
        """Tell whether the log is the one that these options describe."""
        names = set(type(options).model_fields) - _NOT_OF_THE_LOG
        return all(getattr(self._options, name) == getattr(options, name) for name in names)

    @property
    def stream(self) -> str:
        """The stream that is written, or will be."""
        return self._options.filename_prefix if self._log is None else self._log.stream

    @property
    def key_id(self) -> str:
        """What the key is called, empty until it was opened."""
        return "" if self._key is None else self._key.key_id

    def open(self) -> SealedLog:
        """Return the open log.

        Raises:
            TamperError: it cannot be opened; the same error for a second, then it is tried again.
        """
        log = self._log
        if log is not None:
            return log
        with self._opening:
            if self._log is None:
                self._log = self._open()
            return self._log

    async def append(self, event: Mapping[str, object]) -> None:
        """Seal an event; return when it is where the promise says."""
        if self._options.rotate_chain:
            await self.append_line(event)
            return
        await self._tried(lambda log, patience: log.append_async(event, timeout=patience))

    async def append_line(self, event: Mapping[str, object]) -> bytes:
        """As `append`; return the line."""
        if self._options.rotate_chain and self._log is not None and self._is_full():
            self.rotate()
        line = await self._tried(lambda log, patience: log.append_line(event, timeout=patience))
        self._size += len(line)
        return line

    async def _tried(self, append: Callable[[SealedLog, float], Awaitable[_T]]) -> _T:
        """Append to the log that is open; where another loop or thread closes it first, to the one behind it."""
        while True:
            log = self.open()
            patience = self._patience(log)
            try:
                done = await append(log, patience)
            except StoreError as error:
                self._take_note(log, error, patience)
                continue
            self._late = None
            return done

    def _patience(self, log: SealedLog) -> float:
        """Return how long an event waits for the disk: the queue of fapilog fills up behind it.

        Whether the disk answers again is told by the first event that was late, however slow it is: where each sync
        takes longer than `_HURRY`, no event would else be acknowledged any more.
        """
        late = self._late
        if late is not None and (late[0] is not log or log.is_stored(late[1], self._options.promise)):
            self._late = late = None
        return self._options.timeout if late is None else _HURRY

    def _take_note(self, log: SealedLog, error: StoreError, patience: float) -> None:
        """Raise the error, unless another loop or thread closed the log that refused: then the event is not in it.

        An event that did not wait in full says nothing of the disk.
        """
        if error.seqs and patience > _HURRY and self._late is None:
            self._late = log, error.seqs[0]
        if error.seqs or log is self._log:
            raise error

    def rotate(self) -> None:
        """Close the open segment, its manifest included; the next event begins another."""
        with self._opening:
            if self._log is None:
                return
            if self._options.rotate_chain:
                self.close()
            else:
                self._log.rotate()

    def enter(self, user: object) -> None:
        """Take note that somebody writes."""
        with self._opening:
            self._users.add(id(user))

    def leave(self, user: object) -> None:
        """Take note that somebody writes no more; close when nobody else does."""
        with self._opening:
            self._users.discard(id(user))
            if not self._users:
                self.close()

    def let_go(self) -> None:
        """Begin anew in a child that was just forked; the log itself takes care of its own."""
        self._opening = threading.RLock()
        self._users = set()
        self._late = None

    def close(self) -> None:
        """Store and attest everything; the next event opens the log again."""
        with self._opening:
            log, self._log = self._log, None
            if log is not None:
                self._ended = True
                log.close()

    def health(self) -> str | None:
        """Return why events are not sealed as they should be, None where they are.

        A log that was closed is not opened for that: it would take a slot, and keep it. One that was never open is, and
        what did not work is tried again: a service that is called unhealthy may be given nothing to log.
        """
        try:
            log = self._log
            if log is None and self._ended and self._failed is None:
                open_key(self._options)
            elif log is None:
                log = self.open()
        except TamperError as error:
            return str(error)
        return (None if log is None else log.health().reason) or self._alarm

    def _open(self) -> SealedLog:
        if self._failed is not None and monotonic() - self._failed[0] < _AGAIN:
            raise self._failed[1]
        options = self._options
        try:
            self._key = key = open_key(options)
            log = SealedLog.open(
                self._options.directory,
                key=key,
                stream=options.filename_prefix,
                durability=options.promise,
                # A chain that is restarted ends with its segment, which is measured here.
                rotation=_ENDLESS if options.rotate_chain else options.rotation,
                compress=options.compression,
                state_dir=options.state_dir,
                keyring=open_keyring(options),
                max_payload=options.max_payload,
                restart=options.rotate_chain,
                on_closed=self._look_at if options.verify_on_close or options.manifest_path else None,
            )
        except TamperError as error:
            if isinstance(error, SealKeyError) and " is under key " in error.message:
                error.hint = "Give the key that it was under in old_keys; or seal under that key."
            if self._failed is None:
                warn(f"sealed sink: no event is stored: {error}")
            self._failed = (monotonic(), error)
            raise
        if self._failed is None:
            self._warn_of_strangers()
        self._failed = None
        self._copy_missing()
        self._size, self._deadline = 0, options.rotation.deadline(time())
        return log

    def _is_full(self) -> bool:
        """Tell whether the next event begins another chain. A segment of a restarted chain may be a line too long."""
        return self._options.rotation.overflows(self._size, 1) or time() >= self._deadline

    # What is done with closed segments, in a thread of the log.

    def _look_at(self, name: str) -> None:
        options = self._options
        try:
            if options.manifest_path is not None:
                _copy_manifest(self._options.directory, manifest_name(name), options.manifest_path)
            if options.verify_on_close:
                self._verify(name)
        except (OSError, TamperError) as error:
            self._alert(f"sealed sink: segment {name}: {error}")

    def _copy_missing(self) -> None:
        """Copy the manifests that nobody was there to copy: of segments that were closed by recovery, say."""
        target = self._options.manifest_path
        if target is None:
            return
        try:
            names = {path.name for path in self._options.directory.iterdir() if is_manifest_name(path.name)}
            there = {path.name for path in target.iterdir()} if target.is_dir() else set()
            for name in sorted(names - there):
                _copy_manifest(self._options.directory, name, target)
        except OSError as error:
            self._alert(f"sealed sink: manifests are not copied: {error}")

    def _verify(self, name: str) -> None:
        path = next(
            (path for path in _spellings(self._options.directory / name) if path.exists()),
            self._options.directory / name,
        )
        ring = open_keyring(self._options) or Keyring()
        report = verify_path(path, keyring=ring if self._key is None else ring.with_key(self._key))
        if report.outcome is not Outcome.INTACT:
            first = report.findings[0]
            self._alert(f"sealed sink: segment {name} was closed and is {report.outcome.value}: {first.message}")

    def _alert(self, text: str) -> None:
        self._alarm = text
        if self._options.alert_on_failure:
            warn(text)

    def _warn_of_strangers(self) -> None:
        """Warn where other logs lie in the folder: a verifier would read their lines as unsealed ones."""
        try:
            names = [path.name for path in self._options.directory.iterdir() if path.is_file()]
        except OSError:
            return
        strangers = [name for name in names if is_segment_name(name) and parse_segment_name(plain_name(name)) is None]
        if strangers:
            warn(
                f"sealed sink: {self._options.directory} holds files that are not of a sealed log ({strangers[0]}); "
                "a verifier will report their lines as unsealed. Use a folder of its own."
            )


def _after_fork() -> None:
    """Forget what belongs to the parent: its sinks, and locks that its threads may hold."""
    global _SHARING  # noqa: PLW0603 (as locks are replaced)
    _SHARING = threading.Lock()
    for journal in _SHARED:
        journal.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def shared_journal(options: SinkOptions) -> Journal:
    """Return the sealed log for these options, the same for all sinks of the process that have them.

    fapilog makes a sink for every named logger; each of them would else take a slot, and the log of one service be
    spread over as many streams.
    """
    with _SHARING:
        for journal in _SHARED:
            if journal.is_for(options):
                return journal
        journal = Journal(options)
        _SHARED.add(journal)
        return journal


def _copy_manifest(folder: Path, name: str, target: Path) -> None:
    store = FileStore(target)
    store.make()
    store.replace(name, (folder / name).read_bytes())


def _spellings(path: Path) -> tuple[Path, ...]:
    return path, path.with_name(f"{path.name}.gz"), path.with_name(f"{path.name}.zst")
