"""`SealedLog`: the writer of a sealed log.

    encode -> [seq, chain, seal] -> write -> (sync) -> the caller goes on

What an append promises is chosen per log and per event: `accepted`, `written` (survives the process) or `synced`
(survives the machine). This module owns what callers see; `opening` has recovery and slots, `writer` the engine.
"""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, Self

from fapilog_tamper.clock import Clock, system_clock
from fapilog_tamper.entry import ChainState
from fapilog_tamper.errors import StoreError
from fapilog_tamper.keys import SigningKey, open_signing_key
from fapilog_tamper.names import base_stream
from fapilog_tamper.opening import open_stream, restore_stream
from fapilog_tamper.payload import DEFAULT_LIMIT
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.settings import Settings, check_timeout, folder_of, state_of
from fapilog_tamper.stamps import Encoded, encode_event
from fapilog_tamper.store.durable import FILE_MODE, FOLDER_MODE
from fapilog_tamper.writer import exits
from fapilog_tamper.writer.nesting import nested_error
from fapilog_tamper.writer.promise import Durability, Promise, Receipt, broken_promise, parse_promise
from fapilog_tamper.writer.stats import Health, Stats
from fapilog_tamper.writer.troubles import warn
from fapilog_tamper.writer.waiting import LoopGate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.packer import Compression
    from fapilog_tamper.writer.segment import Item
    from fapilog_tamper.writer.stream import OpenStream

__all__ = ["Durability", "Receipt", "SealedLog"]


# Half the time of `Receipt(...)`.
_new_receipt: Final = tuple.__new__


class SealedLog:
    """The open writer of one stream; make it with `SealedLog.open`.

    Any number of threads and event loops may append at the same time. Use it as a context manager, `with` or `async
    with`: leaving the block closes the log, so that manifest and head attest its end. A log that is still open when the
    interpreter exits is closed then. A forked child that appends gets a slot of its own.
    """

    def __init__(self, settings: Settings, opened: OpenStream) -> None:
        """Use `SealedLog.open`."""
        self._settings = settings
        self._promise = settings.promise
        self._limit = settings.max_payload
        self._hasty = settings.on_failure == "raise"
        self._opened: OpenStream | None = opened
        self._recent = opened
        self._stream = opened.stream
        self._last = opened.engine.last
        self._ended: Literal["closed", "forked", "exited"] | None = None
        self._opening = threading.RLock()
        self._gates: dict[asyncio.AbstractEventLoop, LoopGate] = {}
        self._gating = threading.Lock()
        exits.register(self)

    @classmethod
    def open(  # noqa: PLR0913 (settings, each by its name)
        cls,
        folder: str | os.PathLike[str] | Store,
        *,
        key: str | SigningKey | None,
        stream: str = "log",
        durability: Durability = "written",
        inline: bool = True,
        rotation: Rotation | None = None,
        compress: Compression = "none",
        state_dir: str | os.PathLike[str] | Store | None = None,
        keyring: Keyring | None = None,
        max_payload: int = DEFAULT_LIMIT,
        max_buffer_bytes: int = 8 << 20,
        on_full: Literal["wait", "raise"] = "wait",
        on_failure: Literal["wait", "raise"] = "wait",
        sign_each: bool = False,
        timeout: float = 30.0,
        file_mode: int = FILE_MODE,
        folder_mode: int = FOLDER_MODE,
        clock: Clock = system_clock,
        restart: bool = False,
        on_closed: Callable[[str], None] | None = None,
    ) -> Self:
        """Open a stream for writing; it is made where it does not exist, and recovered where it was not closed.

        While another writer has the stream, this one takes the next free slot, `<stream>.w2` and so on: a stream of its
        own beside the first, in the same folder.

        Args:
            folder: where segments and manifests are put.
            key: a key URI, a signing key, or None for an unkeyed chain, which anyone can recompute.
            stream: the name of the stream.
            durability: what an append promises unless it is told otherwise: `accepted`, `written` or `synced`.
            inline: let a caller write by itself while the disk is fast. False: only the log's own thread writes, so
                that no caller ever waits inside a system call; an append then costs a hand-over to that thread.
            rotation: when a segment is closed and the next begun; at midnight UTC and at 256 MiB unless set.
            compress: what closed segments are compressed with, in the background: `none`, `gzip` or `zstd`.
            state_dir: where heads and locks are put, `.fapilog` in the folder unless set; better on another volume,
                because a head beside the log falls with it. One state folder serves one folder.
            keyring: keys of earlier entries, where the stream is to go on under another key.
            max_payload: bytes of the largest payload; larger events are cut to fit.
            max_buffer_bytes: bytes of entries that may wait to be written. Beyond, `on_full` decides.
            on_full: `wait`: an append waits until its own entry is written. `raise`: it is refused with StoreError,
                and the number of those is put on record as a `gap` entry.
            on_failure: `wait`: while the disk refuses, an append waits for its promise until `timeout`. `raise`: it
                raises when the first attempt has failed. Either way the entry is stored as soon as the disk takes it.
            sign_each: under an Ed25519 key too, each entry carries a mac of its own and can be verified alone; that
                costs thirty microseconds an entry. Under HMAC each does anyway, under a key elsewhere none.
            timeout: seconds that an append waits for its promise before it raises, and `close` for the disk.
            file_mode: permission bits of new files.
            folder_mode: permission bits of new folders.
            clock: seconds since 1970; for tests.
            restart: begin a new chain behind those that are there: a stream of its own, `<stream>.r2` and so on,
                which what is left of the others is held against.
            on_closed: called in a thread of the log with the name of each segment that has its manifest, when it is
                compressed; must not raise.

        Raises:
            StoreError: the folder cannot be written, or what a crash left cannot be recovered: RollbackError where
                entries are missing that a head or another stream speaks of, HeadError where the head is not to be
                believed.
            SealKeyError: the key cannot be opened, or is not the one that the stream ends with.
            ConfigError: a setting cannot work.
        """
        settings = Settings(
            folder=(store := folder_of(folder, file_mode, folder_mode)),
            state=state_of(store, state_dir, file_mode, folder_mode),
            key=None if key is None else open_signing_key(key),
            keyring=keyring,
            stream=stream,
            promise=parse_promise(durability),
            inline=inline,
            rotation=Rotation() if rotation is None else rotation,
            compress=compress,
            max_payload=max_payload,
            max_buffer_bytes=max_buffer_bytes,
            on_full=on_full,
            on_failure=on_failure,
            sign_each=sign_each,
            timeout=timeout,
            clock=clock,
            restart=restart,
            on_closed=on_closed,
        )
        return cls(settings, open_stream(settings))

    @classmethod
    def restore(
        cls,
        folder: str | os.PathLike[str] | Store,
        *,
        key: str | SigningKey | None,
        stream: str = "log",
        reason: str,
        by: str,
        state_dir: str | os.PathLike[str] | Store | None = None,
        keyring: Keyring | None = None,
    ) -> Receipt:
        """Have a stream that `open` refuses go on behind its last entry that can be believed, on record.

        What is passed over stays where it is, and is named by every verification from then on.

        Args:
            folder: as for `open`.
            key: as for `open`.
            stream: the stream, or one of its slots.
            reason: why, for the `restore` entry.
            by: who, for the `restore` entry.
            state_dir: as for `open`.
            keyring: as for `open`.

        Returns:
            The receipt of the `restore` entry.

        Raises:
            ConfigError: the stream is not there, or can be opened as it is.
            StoreError: a writer has the stream, or the folder cannot be written.
            SealKeyError: the key cannot be opened.
        """
        store = folder_of(folder, FILE_MODE, FOLDER_MODE)
        settings = Settings(
            folder=store,
            state=state_of(store, state_dir, FILE_MODE, FOLDER_MODE),
            key=None if key is None else open_signing_key(key),
            keyring=keyring,
            stream=base_stream(stream),
        )
        opened = restore_stream(settings, stream, reason=reason, by=by)
        seq, chain = opened.engine.last
        opened.close(settings.timeout)
        return Receipt(stream, seq, chain)

    # Appending.

    def append(
        self,
        event: Mapping[str, object] | bytes | Encoded,
        *,
        durability: Durability | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Seal an event and return when the promise is kept.

        Args:
            event: a mapping, written in canonical form; nothing in it is refused. Or the bytes of one JSON object,
                stored as they are. Or an `Encoded`.
            durability: the promise, the log's own unless given.
            timeout: seconds to wait for the promise, the log's own unless given.

        Raises:
            PayloadError: for bytes that are not what a payload must be.
            StoreError: the promise was not kept in time; `seqs` names the entry, which is stored as soon as the disk
                takes it. Or the log takes nothing: it is closed, its buffer is full, or its disk lost what was written.
            SealKeyError: the key cannot sign.
        """
        promise = self._promise if durability is None else parse_promise(durability)
        if timeout is not None:
            check_timeout(timeout)
        payload, stamp = encode_event(event, self._limit)
        opened = self._opened or self._reopen()
        engine = opened.engine
        item, written = (opened if engine.crowded else engine).put(payload, stamp, promise)
        if not written and (promise or engine.over_full):
            self._wait(opened, item[0], promise or Promise.WRITTEN, timeout, hasty=self._hasty)
        return _new_receipt(Receipt, (opened.stream, item[0], item[1]))

    async def append_async(
        self,
        event: Mapping[str, object] | bytes | Encoded,
        *,
        durability: Durability | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the event stays accepted: a cancelled call would not say so)
        gate: LoopGate | None = None,
    ) -> Receipt:
        """Seal an event and return when the promise is kept; as `append`, for coroutines of any event loop.

        A cancelled call may or may not have appended: what was accepted stays.

        Args:
            event: as for `append`.
            durability: as for `append`.
            timeout: as for `append`.
            gate: that of the log, where the caller has asked it already: `if gate.must_turn(): await gate.turn()`.
                Whoever has work to do before the append asks first, so that a burst of callers does not do all of it in
                one pass of the loop.
        """
        opened, item = await self._append_async(event, durability, timeout, gate, mac=False)
        return _new_receipt(Receipt, (opened.stream, item[0], item[1]))

    async def append_line(
        self,
        event: Mapping[str, object] | bytes | Encoded,
        *,
        durability: Durability | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (see append_async)
    ) -> bytes:
        """As `append_async`, and return the line as it stands in the log, to be sent on.

        In a keyed stream it carries a mac of its own, so that whoever gets it can verify it alone.
        """
        _, item = await self._append_async(event, durability, timeout, None, mac=True)
        return item[2]

    async def _append_async(
        self,
        event: Mapping[str, object] | bytes | Encoded,
        durability: Durability | None,
        timeout: float | None,  # noqa: ASYNC109 (see append_async)
        gate: LoopGate | None,
        *,
        mac: bool,
    ) -> tuple[OpenStream, Item]:
        promise = self._promise if durability is None else parse_promise(durability)
        if timeout is not None:
            check_timeout(timeout)
        if gate is None:
            gate = self.gate()
            if gate.must_turn():
                await gate.turn()
        payload, stamp = encode_event(event, self._limit)
        opened = self._opened or self._reopen()
        engine = opened.engine
        item, written = engine.put(payload, stamp, promise, mac=mac)
        if not written and (promise or engine.over_full):
            wanted = promise or Promise.WRITTEN
            if opened.worker.running:
                kept = await gate.wait(engine, item[0], wanted, self._seconds(timeout), hasty=self._hasty)
                self._require_kept(opened, item[0], wanted, kept=kept)
            else:
                self._wait(opened, item[0], wanted, timeout, hasty=self._hasty)
        return opened, item

    def gate(self) -> LoopGate:
        """Return the pace of the running event loop, to ask before an event is made: see `append_async`."""
        loop = asyncio.get_running_loop()
        gate = self._gates.get(loop)
        if gate is None:
            with self._gating:
                # A new loop often follows a closed one.
                gates = {known: one for known, one in self._gates.items() if not known.is_closed()}
                gate = gates[loop] = LoopGate(loop)
                self._gates = gates
        return gate

    def _wait(
        self, opened: OpenStream, seq: int, promise: Promise, timeout: float | None, *, hasty: bool = False
    ) -> None:
        seconds = self._seconds(timeout)
        if opened.worker.running:
            kept = opened.engine.wait(seq, promise, seconds, hasty=hasty)
        else:
            kept = opened.drive(seq, promise, seconds, hasty=hasty)
        self._require_kept(opened, seq, promise, kept=kept)

    def _seconds(self, timeout: float | None) -> float:
        """Return how long to wait, no longer than a lock can."""
        if timeout is not None:
            check_timeout(timeout)
        return min(self._settings.timeout if timeout is None else timeout, threading.TIMEOUT_MAX)

    def _require_kept(self, opened: OpenStream, seq: int, promise: Promise, *, kept: bool) -> None:
        engine = opened.engine
        if kept and engine.failed is None:
            return
        done = engine.synced if promise == Promise.SYNCED else engine.end
        if done.seq >= seq:
            return
        raise broken_promise(opened.stream, seq, promise, engine.failed, str(engine.troubles))

    # What is asked for between appends.

    def flush(self, timeout: float | None = None) -> None:
        """Bring everything that was accepted to the disk.

        Raises:
            StoreError: it did not get there within `timeout` seconds, the log's own unless given.
        """
        opened = self._opened
        if opened is None:
            return
        seq = opened.engine.last[0]
        if seq > opened.engine.synced.seq:
            opened.engine.want_synced(seq)
            self._wait(opened, seq, Promise.SYNCED, timeout)

    def rotate(self, timeout: float | None = None) -> None:
        """Close the open segment, its manifest included; the next entry begins a new one.

        Raises:
            StoreError: that did not work within `timeout` seconds, the log's own unless given.
        """
        opened = self._opened or self._reopen()
        self.flush(timeout)
        if not opened.worker.rotate(monotonic() + self._seconds(timeout)):
            why = str(opened.engine.troubles) or "the disk does not answer"
            raise StoreError(f"the segment of {opened.stream} could not be closed in time: {why}.")

    def rotate_key(self, key: str | SigningKey, *, timeout: float | None = None) -> Receipt:
        """Go on under another key; return the receipt of the `key` entry, the last under the old one.

        Keep the old key as long as what it sealed is to be verified, and give verifiers both.

        Raises:
            SealKeyError: the stream is unkeyed, the key cannot be opened, or its key_id is that of the old one.
            StoreError: the entry could not be synced in time; the new key is in use all the same.
        """
        opened = self._opened or self._reopen()
        new = open_signing_key(key)
        item = opened.change_key(new, self._settings.clock())
        self._settings = self._settings.with_key(new)
        self._wait(opened, item[0] + 1, Promise.SYNCED, timeout)
        return Receipt(opened.stream, item[0], item[1])

    @property
    def stream(self) -> str:
        """The stream that is written: the name given, or that of the slot that was free."""
        return self._stream

    @property
    def head(self) -> ChainState:
        """Where the stream stands: its last accepted entry."""
        opened = self._opened
        if opened is not None:
            self._last = opened.engine.last
        return ChainState(self._stream, *self._last)

    def is_stored(self, seq: int, durability: Durability = "written") -> bool:
        """Tell whether an entry of this stream is where the promise says; `accepted` asks for as much as `written`.

        After a fork or the exit hook, that is the stream that was opened last.
        """
        engine = self._recent.engine
        done = engine.synced if parse_promise(durability) == Promise.SYNCED else engine.end
        return done.seq >= seq

    @property
    def stats(self) -> Stats:
        """Counters since the log was opened; of a closed log, as they were at the end."""
        return self._recent.stats()

    def health(self) -> Health:
        """Tell whether the log keeps its promises now."""
        if self._opened is None and self._ended == "closed":
            return Health(ok=False, reason="the log is closed", final=True)
        return self._recent.health()

    # The end.

    def close(self, timeout: float | None = None) -> None:
        """Write, sync and attest everything, and free the slot. Closing twice does nothing.

        Raises:
            StoreError: that did not work within `timeout` seconds, the log's own unless given. `seqs` names the
                entries that are not stored; all others are adopted when the log is opened again.
        """
        self._close("closed", timeout)

    def close_at_exit(self) -> None:
        """Close because the interpreter ends; an append that still comes opens the log once more."""
        self._close("exited", None)

    def _close(self, how: Literal["closed", "exited"], timeout: float | None) -> None:
        seconds = self._seconds(timeout)
        if self._opened is not None and self._opened.engine.is_nested(skip=2):
            raise nested_error("close")
        with self._opening:
            opened = self._opened
            if self._ended != "closed":
                self._ended = how
            if opened is None:
                exits.unregister(self)
                return
            try:
                # Ctrl-C in here leaves a log that can be closed again.
                opened.close(seconds)
            except StoreError as error:
                self._part_with(opened)
                if how == "exited":
                    warn(f"sealed log {self._stream} at exit: {error}")
                raise
            self._part_with(opened)

    def _part_with(self, opened: OpenStream) -> None:
        self._last, self._opened = opened.engine.last, None
        exits.unregister(self)

    def let_go(self) -> None:
        """Leave all that is open to the parent: this process was just forked from it."""
        self._opening, self._gating = threading.RLock(), threading.Lock()
        self._gates = {}
        opened, self._opened = self._opened, None
        if opened is not None:
            self._ended = self._ended or "forked"
            opened.let_go()

    def _reopen(self) -> OpenStream:
        """Open again: in a forked child a slot of its own, after the exit hook the stream itself."""
        with self._opening:
            if self._opened is not None:
                return self._opened
            if self._ended == "closed":
                raise StoreError("the log is closed.", hint="Open it again with SealedLog.open.")
            opened = open_stream(self._settings)
            opened.engine.lonely = self._ended == "exited"
            self._stream, self._last = opened.stream, opened.engine.last
            if self._ended == "forked":
                self._ended = None
                exits.register(self)
            self._opened = self._recent = opened
            return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.to_thread(self.close)
        except RuntimeError:
            # At interpreter exit no thread can be had any more.
            self.close()

    def __repr__(self) -> str:
        key = self._settings.key
        what = "unkeyed" if key is None else f"key {key.key_id}"
        state = self.health()
        how = self._ended or ("open" if state else f"in trouble: {state.reason}")
        return (
            f"<SealedLog {self._stream!r} in {str(self._settings.folder)!r}, seq {self.head.seq}, {what}, "
            f"{self._promise.name.lower()}, {how}>"
        )
