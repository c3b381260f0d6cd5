"""`SealedLog`: the writer of one stream.

An append is sealed and handed to the operating system before it returns, so it survives the process. `close` syncs,
writes the manifest of the open segment and the head, and so attests the end of the stream. What a crash leaves is
verified like anything else; opening such a stream again for writing is refused until recovery is there to do it.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fapilog_tamper.document import format_time
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import UNKEYED, ChainState, prepare_seal
from fapilog_tamper.errors import StoreError
from fapilog_tamper.head import Head, format_head, sign_head
from fapilog_tamper.keys import SigningKey, open_signing_key
from fapilog_tamper.layout import (
    STATE_FOLDER,
    head_name,
    manifest_name,
    segment_name,
)
from fapilog_tamper.manifest import Manifest, format_manifest, sign_manifest
from fapilog_tamper.names import check_stream, percent_encode
from fapilog_tamper.payload import DEFAULT_LIMIT, check_limit, check_payload, encode_payload
from fapilog_tamper.reopen import others_of, read_head, stream_of
from fapilog_tamper.store.durable import FILE_MODE, make_folder, replace_file, sync_file, sync_folder, write_all
from fapilog_tamper.store.lock import StreamLock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from hashlib import _Hash
    from types import TracebackType

__all__ = ["Receipt", "SealedLog"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `append` returns: the place of the entry, and the hash that stands for it and all before it."""

    stream: str
    seq: int
    chain_hash: str


@dataclass(slots=True)
class _OpenSegment:
    path: Path
    fd: int
    created_ts: str
    first_seq: int
    continues_from: bytes
    digest: _Hash
    size: int = 0
    first_ts: str | None = None
    last_ts: str | None = None


class SealedLog:
    """The open writer of one stream; make it with `SealedLog.open`. Any thread may append.

    Use it as a context manager: leaving the block closes the log, so that manifest and head attest its end.
    """

    def __init__(self, folder: Path, state_dir: Path, key: SigningKey | None, stream: str, limit: int) -> None:
        """Use `SealedLog.open`."""
        self._folder = folder
        self._state_dir = state_dir
        self._key = key
        self._limit = limit
        self._mutex = threading.Lock()
        self._seal = prepare_seal(stream, key)
        self._segment: _OpenSegment | None = None
        self._failed: str | None = None
        self._pid = os.getpid()
        self._known: set[str] = set()
        self._lock: StreamLock | None = StreamLock(state_dir / f"{percent_encode(stream)}.lock")
        try:
            self._head = read_head(folder, state_dir, stream, key)
            self._known = {path.name for path in folder.iterdir() if stream_of(path) == stream}
        except BaseException:
            self._lock.release()
            raise
        self._state = ChainState(stream)
        self._origin = b"" if self._head is None else self._head.origin
        if self._head is not None:
            self._state = ChainState(stream, self._head.seq, self._head.chain_hash)
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        key: str | SigningKey | None,
        stream: str = "log",
        state_dir: str | os.PathLike[str] | None = None,
        max_payload: int = DEFAULT_LIMIT,
    ) -> Self:
        """Open a stream for writing; it is made where it does not exist.

        Args:
            folder: where segments and manifests are put.
            key: a key URI, a signing key, or None for an unkeyed chain, which anyone can recompute.
            stream: the name of the stream.
            state_dir: where the head is put, `.fapilog` in the folder unless set; better on another volume, because
                a head beside the log falls with it.
            max_payload: bytes of the largest payload; larger events are cut to fit.

        Raises:
            StoreError: when another writer has the stream, or it was not closed cleanly.
            SealKeyError: when the key cannot be opened, or is not the one that the stream ends with.
        """
        check_stream(stream)
        check_limit(max_payload)
        signing = None if key is None else open_signing_key(key)
        where = Path(folder)
        state = where / STATE_FOLDER if state_dir is None else Path(state_dir)
        try:
            make_folder(where)
            make_folder(state)
            return cls(where, state, signing, stream, max_payload)
        except OSError as error:
            raise StoreError(
                f"{where} cannot be opened for writing: {error.strerror}.", hint="Check the path."
            ) from error

    @property
    def head(self) -> ChainState:
        """Where the stream stands."""
        return self._state

    def append(self, event: Mapping[str, object] | bytes) -> Receipt:
        """Seal an event and hand it to the operating system.

        Args:
            event: a mapping, written in canonical form; nothing in it is refused. Or the bytes of one JSON object,
                stored as they are.

        Raises:
            PayloadError: for bytes that are not what a payload must be.
            StoreError: when the entry could not be written; nothing was acknowledged, and the log takes no more.
        """
        if isinstance(event, bytes):
            check_payload(event, limit=self._limit)
            payload = event
        else:
            payload = encode_payload(event, limit=self._limit)
        stamp = _timestamp(payload)
        with self._mutex:
            return self._append(payload, stamp)

    def _append(self, payload: bytes, stamp: str | None) -> Receipt:
        self._require_open()
        state = self._state
        line, chain = self._seal(payload, state.seq + 1, state.chain_hash)
        segment = self._segment or self._begin()
        # Whatever ends this early, Ctrl-C too, leaves a line that is or is not there: no seq may be given twice.
        self._failed = "an append was interrupted"
        try:
            write_all(segment.fd, line)
        except OSError as error:
            self._failed = error.strerror or str(error)
            raise StoreError(
                f"entry {state.seq + 1} of {state.stream} was not written: {self._failed}.",
                hint="Free space or mend the disk, verify the log, and begin a new stream.",
            ) from error
        segment.size += len(line)
        segment.digest.update(line)
        if stamp is not None:
            segment.first_ts = stamp if segment.first_ts is None else min(segment.first_ts, stamp)
            segment.last_ts = stamp if segment.last_ts is None else max(segment.last_ts, stamp)
        self._state = ChainState(state.stream, state.seq + 1, chain)
        self._origin = self._origin or chain
        self._failed = None
        return Receipt(state.stream, state.seq + 1, b64url_encode(chain))

    def _require_open(self) -> None:
        if self._lock is None:
            raise StoreError("the log is closed.", hint="Open it again with SealedLog.open.")
        if os.getpid() != self._pid:
            text = "the log was opened by the process that this one was forked from."
            raise StoreError(text, hint="Open a stream of another name after the fork.")
        if self._failed is not None:
            raise StoreError(f"the log takes no more entries after a failed write: {self._failed}.")

    def _require_alone(self) -> None:
        """Notice a writer whose lock lies elsewhere before a seq is given twice."""
        try:
            paths = [path for path in self._folder.iterdir() if stream_of(path) == self._state.stream]
            new = {path.name for path in paths if path.stat().st_size} - self._known
        except OSError as error:
            text = f"a segment in {self._folder} cannot be made: {error.strerror}."
            raise StoreError(text, hint="Check the folder.") from error
        if new:
            text = f"{min(new)} appeared in {self._folder}: another writer, with another state folder, has this stream."
            raise StoreError(text, hint="Give all writers of a folder one state folder.")

    def _begin(self) -> _OpenSegment:
        now = datetime.now(UTC)
        number = 0
        self._require_alone()
        while True:
            path = self._folder / segment_name(self._state.stream, now.date(), number)
            if (self._folder / manifest_name(path.name)).exists():
                # The name was used by a segment that is elsewhere or compressed now; a name is never used twice.
                number += 1
                continue
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
                fd = os.open(path, flags, FILE_MODE)
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise StoreError(f"{path} cannot be made: {error.strerror}.", hint="Check the folder.") from error
        state = self._state
        self._known.add(path.name)
        self._segment = _OpenSegment(path, fd, format_time(now), state.seq + 1, state.chain_hash, sha256())
        return self._segment

    def close(self) -> None:
        """Sync, write manifest and head, and let the stream go. Closing twice does nothing.

        Raises:
            StoreError: when the end of the log could not be put on the disk; the entries stay where they are.
            SealKeyError: when the key cannot sign any more.
        """
        with self._mutex:
            lock, self._lock = self._lock, None
            if lock is None:
                return
            atexit.unregister(self.close)
            try:
                # A forked child holds copies: what it would write belongs to its parent.
                if self._segment is not None and os.getpid() == self._pid:
                    self._close_segment(self._segment)
            except OSError as error:
                raise StoreError(
                    f"the log could not be closed: {error.strerror}.", hint="Verify the folder."
                ) from error
            finally:
                lock.release()

    def _close_segment(self, segment: _OpenSegment) -> None:
        try:
            sync_file(segment.fd)
            sync_folder(self._folder)
        finally:
            os.close(segment.fd)
        if segment.size == 0 and self._failed is None:
            segment.path.unlink()
        if self._failed is not None or self._state.seq < segment.first_seq:
            return
        head = self._next_head(segment)
        manifest = self._manifest(segment, head)
        replace_file(self._folder / manifest_name(segment.path.name), format_manifest(manifest))
        replace_file(self._state_dir / head_name(head.stream), format_head(sign_head(head, self._key)))
        self._head = head

    def _next_head(self, segment: _OpenSegment) -> Head:
        state, old = self._state, self._head
        return Head(
            stream=state.stream,
            origin=self._origin,
            seq=state.seq,
            chain_hash=state.chain_hash,
            first_seq=1 if old is None else old.first_seq,
            segment=segment.path.name,
            offset=segment.size,
            last_updated=format_time(datetime.now(UTC)),
            others=others_of(self._state_dir, state.stream),
        )

    def _manifest(self, segment: _OpenSegment, head: Head) -> Manifest:
        manifest = Manifest(
            stream=head.stream,
            origin=head.origin,
            file=segment.path.name,
            created_ts=segment.created_ts,
            closed_ts=head.last_updated,
            record_count=head.seq - segment.first_seq + 1,
            first_seq=segment.first_seq,
            last_seq=head.seq,
            first_ts=segment.first_ts,
            last_ts=segment.last_ts,
            continues_from=segment.continues_from,
            root_chain_hash=head.chain_hash,
            size_bytes=segment.size,
            file_sha256=segment.digest.digest(),
            algo=UNKEYED if self._key is None else str(self._key.algorithm),
            key_id=None if self._key is None else self._key.key_id,
            others=head.others,
        )
        return sign_manifest(manifest, self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "unkeyed" if self._key is None else f"key {self._key.key_id}"
        open_or_not = "closed" if self._lock is None else "failed" if self._failed else "open"
        return (
            f"<SealedLog {self._state.stream!r} in {str(self._folder)!r}, seq {self._state.seq}, {what}, {open_or_not}>"
        )


def _timestamp(payload: bytes) -> str | None:
    """Return the top-level `timestamp` of a payload, where it is a string."""
    # In raw bytes a name may be spelled with escapes, and stand before white space.
    if b"timestamp" not in payload and b"\\u" not in payload:
        return None
    try:
        stamp = json.loads(payload, parse_int=float).get("timestamp")
    except (ValueError, RecursionError):
        return None
    return stamp if isinstance(stamp, str) else None
