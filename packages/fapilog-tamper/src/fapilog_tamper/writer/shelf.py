"""The files of one stream: begun, closed, described by manifests, and the head that says where the stream ends.

Every method does its work on the store at once and raises what the store raises; when and how often is the business
of `worker`. Attest only what is synced: `manifest` and `head` are called for ends that `sync` returned for.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import format_time
from fapilog_tamper.entry import UNKEYED
from fapilog_tamper.errors import StoreError
from fapilog_tamper.head import Head, format_head, sign_head
from fapilog_tamper.layout import head_name, manifest_name, segment_name, segment_place
from fapilog_tamper.manifest import Manifest, format_manifest, sign_manifest
from fapilog_tamper.stamps import timestamp_of
from fapilog_tamper.writer.segment import End, Hashed, OpenSegment
from fapilog_tamper.writer.slots import others_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.clock import Clock
    from fapilog_tamper.document import Claim
    from fapilog_tamper.rotation import Rotation
    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.signer import Signer

__all__ = ["Shelf", "write_far"]

_CHUNK: Final = 1 << 20


class Shelf:
    """Makes and closes the segments of one stream.

    Attributes:
        origin: chain hash of entry 1, empty until there is one.
        first_seq: the lowest seq that must still be there.
        last_segment: the name of the segment that the stream ended in when it was opened.
        extra: members of the head that are not of this version.
    """

    def __init__(
        self, folder: Store, state: Store, stream: str, *, signer: Signer, rotation: Rotation, clock: Clock
    ) -> None:
        self.folder = folder
        self.state = state
        self.stream = stream
        self.origin = b""
        self.first_seq = 1
        self.last_segment = ""
        self.extra: dict[str, object] = {}
        self._signer = signer
        self._rotation = rotation
        self._clock = clock
        self._claims: tuple[Claim, ...] = ()
        self._known = {segment_place(name, stream) for name in folder.names()}
        self._place = max((place for place in self._known if place is not None), default=("", -1))

    def begin(self, end: End) -> OpenSegment:
        """Make the file of the entries behind `end`. Its name is greater than all names of the stream so far.

        Raises:
            StoreError: when another writer, with another state folder, has the stream.
        """
        self._require_alone()
        now = self._clock()
        while True:
            day = datetime.fromtimestamp(now, UTC).date().isoformat()
            # A clock that went back must not give a name before those that are there.
            last_day, last_number = self._place
            self._place = (day, 0) if day > last_day else (last_day, last_number + 1)
            name = segment_name(self.stream, *self._place)
            try:
                handle = self.folder.create(name)
                break
            except FileExistsError:
                continue
        self._known.add(self._place)
        return OpenSegment(
            name=name,
            handle=handle,
            created=now,
            first_seq=end.seq + 1,
            continues_from=end.chain,
            rotate_at=self._rotation.deadline(now),
            chunks=[(end.seq, end.chain, 0, b"", None, None)],
        )

    def _require_alone(self) -> None:
        names = (name for name in self.folder.names() if segment_place(name, self.stream) not in self._known)
        new = sorted(name for name in names if segment_place(name, self.stream) is not None and self.folder.size(name))
        if new:
            text = f"{new[0]} appeared in {self.folder}: another writer, with another state folder, has this stream."
            raise StoreError(text, hint="Give all writers of a folder one state folder.")

    def sync(self, segment: OpenSegment) -> None:
        """Bring a segment to the disk, its name too."""
        self.folder.sync(segment.handle)
        if not segment.named:
            self.folder.sync_names()
            segment.named = True

    def require_whole(self, segment: OpenSegment, size: int) -> None:
        """Notice a segment that somebody else removed or cut while it was written, before anything attests it.

        Raises:
            StoreError: its file is not there, is shorter than what was written, or does not begin as it was written.
        """
        try:
            whole = self.folder.size(segment.name) >= size and (
                size == 0 or self.folder.read(segment.name, 0, 1) == b"{"
            )
        except FileNotFoundError:
            whole = False
        except OSError:
            return
        if not whole:
            text = f"{segment.name} was removed or cut by somebody else while it was written."
            raise StoreError(text, hint="Keep log rotators away from the folder; verify it, and see who was there.")

    def copy(self, old: OpenSegment) -> OpenSegment:
        """Return a new segment that begins with the lines of `old` that were never synced.

        Raises:
            StoreError: when they cannot be read back as they were written.
        """
        start = old.synced or End(old.first_seq - 1, old.continues_from, 0, old)
        end, hashed = old.fold()
        new = self.begin(start)
        try:
            self._copy_lines(old, new, end, hashed)
        except StoreError:
            self.drop(new)
            text = f"entries {start.seq + 1} to {end.seq} of {self.stream} could not be read back from {old.name}"
            raise StoreError(f"{text} after a failed sync.", hint="Check the disk, and open the log again.") from None
        except BaseException:
            with suppress(OSError):
                self.drop(new)
            raise
        return new

    def _copy_lines(self, old: OpenSegment, new: OpenSegment, end: End, hashed: Hashed) -> None:
        check, digest, at = old.synced_hash, sha256(), 0
        stamps: list[str] = []
        rest = b""
        for chunk in self._chunks(old.name, old.synced.offset if old.synced else 0, end.offset):
            _, problem = write_far(self.folder, new.handle, chunk, at)
            if problem is not None:
                raise problem
            check.update(chunk)
            digest.update(chunk)
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            stamps += [stamp for line in lines if (stamp := timestamp_of(line)) is not None]
        if check.digest() != hashed.digest.digest():
            raise StoreError("not what was written")
        new.hashed = Hashed(at, digest, min(stamps, default=None), max(stamps, default=None))
        new.chunks = [(end.seq, end.chain, at, b"", None, None)]

    def _chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            chunk = self.folder.read(name, start, min(_CHUNK, end - start))
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    def drop(self, segment: OpenSegment) -> None:
        """Remove a segment that holds nothing that is not elsewhere, durably: it may hold torn lines.

        A head that speaks of later entries must not meet it again after a power cut.
        """
        handle, segment.handle = segment.handle, -1
        if handle >= 0:
            # Only once: when this is tried again, the number may be that of another file.
            self.folder.close(handle)
        self.folder.remove(segment.name)
        self.folder.sync_names()

    def cut(self, segment: OpenSegment, end: End) -> None:
        """Cut off what may stand behind `end`, and bring that to the disk; by a new handle, the old one has failed."""
        handle = self.folder.open(segment.name)
        try:
            self.folder.truncate(handle, end.offset)
            self.folder.sync(handle)
        finally:
            self.folder.close(handle)
        self.folder.sync_names()

    def write_manifest(
        self, segment: OpenSegment, end: End, *, sealed_by: tuple[str, str | None] | None = None
    ) -> None:
        """Describe a closed segment that ends at `end`; `sealed_by` are algo and key_id of its last entry."""
        key = self._signer.key_of(end.seq)
        _, (_, digest, first_ts, last_ts) = segment.fold()
        if sealed_by is None:
            sealed_by = (UNKEYED, None) if key is None else (str(key.algorithm), key.key_id)
        manifest = Manifest(
            stream=self.stream,
            origin=self.origin,
            file=segment.name,
            created_ts=self.time_text(segment.created),
            closed_ts=self.time_text(self._clock()),
            record_count=end.seq - segment.first_seq + 1,
            first_seq=segment.first_seq,
            last_seq=end.seq,
            first_ts=first_ts,
            last_ts=last_ts,
            continues_from=segment.continues_from,
            root_chain_hash=end.chain,
            size_bytes=end.offset,
            file_sha256=digest.digest(),
            algo=sealed_by[0],
            key_id=sealed_by[1],
            others=self._others(),
        )
        self.folder.replace(manifest_name(segment.name), format_manifest(sign_manifest(manifest, key)))

    def write_head(self, end: End) -> None:
        """Say that the stream reaches `end`."""
        segment = end.segment.name if end.segment is not None else self.last_segment
        head = Head(
            stream=self.stream,
            origin=self.origin,
            seq=end.seq,
            chain_hash=end.chain,
            first_seq=self.first_seq,
            segment=segment,
            offset=end.offset,
            last_updated=self.time_text(self._clock()),
            others=self._others(),
            extra=self.extra,
        )
        signed = sign_head(head, self._signer.key_of(end.seq))
        self.state.replace(head_name(self.stream), format_head(signed))
        self.last_segment = segment

    def _others(self) -> tuple[Claim, ...]:
        claims = others_of(self.state, self.stream)
        if claims != self._claims:
            # In a power cut a head that was just renamed may go back to an older one, which the quote must not outlive.
            self.state.sync_names()
            self._claims = claims
        return claims

    @staticmethod
    def time_text(seconds: float) -> str:
        """Return the RFC 3339 text of a time of the clock."""
        return format_time(datetime.fromtimestamp(seconds, UTC))


def write_far(store: Store, handle: int, data: bytes, offset: int) -> tuple[int, OSError | None]:
    """Write as much of `data` as the store takes; return how many bytes, and what stopped it.

    A write may take only a part (full disk, signal), so the rest is offered again.
    """
    at = 0
    try:
        while at < len(data):
            taken = store.write(handle, data[at:] if at else data, offset + at)
            if taken <= 0:
                return at, OSError(errno.EIO, "nothing was written")
            at += taken
    except OSError as error:
        return at, error
    return at, None
