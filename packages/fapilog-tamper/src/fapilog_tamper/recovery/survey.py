"""What is there of a stream: its head, the segments that the head does not speak of, what other heads say of it.

Nothing is written. After a clean close one head and one manifest are read, whatever the size of the log; otherwise the
segments from the head's on are read line by line, with the checks of the verifier.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError, SealKeyError
from fapilog_tamper.head import Head, head_message, parse_head
from fapilog_tamper.layout import head_name, is_segment_name, manifest_name, plain_name, segment_place, torn_names
from fapilog_tamper.manifest import Manifest, manifest_message, parse_manifest
from fapilog_tamper.recovery.facts import FoundClaim, FoundSegment, StreamFacts, TornCopy
from fapilog_tamper.recovery.reading import SegmentReader
from fapilog_tamper.verify.spans import Expectation
from fapilog_tamper.writer.slots import heads_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.store.base import Store

__all__ = ["survey"]

_CHUNK: Final = 1 << 16


def survey(
    folder: Store, state: Store, stream: str, keyring: Keyring | None, *, all_segments: bool = False
) -> StreamFacts:
    """Return what is there of a stream.

    Args:
        folder: where its segments lie.
        state: where heads lie.
        stream: its name.
        keyring: the keys to check it with; None where the caller has none.
        all_segments: read every line, as for a restore.

    Raises:
        SealKeyError: entries or head are under a key that is not in the keyring.
    """
    looking = _Survey(folder, state, stream, keyring)
    return looking.facts(all_segments=all_segments)


class _Survey:
    def __init__(self, folder: Store, state: Store, stream: str, keyring: Keyring | None) -> None:
        self._folder = folder
        self._stream = stream
        self._keyring = keyring
        self._names = frozenset(folder.names())
        ours = [name for name in self._names if is_segment_name(name) and segment_place(name, stream) is not None]
        plain = {plain_name(name): name for name in sorted(ours, reverse=True)}
        self._segments = sorted(plain.values(), key=lambda name: segment_place(name, stream) or ("", 0))
        self._head, self._problem = self._read_head(state)
        heads = [head for head in heads_of(state, stream) if self._holds_head(head)]
        self._claims = tuple(
            FoundClaim(head.stream, seq, chain) for head in heads for name, seq, chain in head.others if name == stream
        )

    def facts(self, *, all_segments: bool) -> StreamFacts:
        traces = [
            name for name in self._names if segment_place(name, self._stream) is not None and self._is_manifest(name)
        ]
        return StreamFacts(
            stream=self._stream,
            head=self._head,
            head_problem=self._problem,
            segments=tuple(self._look(all_segments=all_segments)) if self._problem is None or all_segments else (),
            claims=self._claims,
            traces=tuple(sorted(traces)),
            keyed=self._keyring is not None,
        )

    # The head.

    def _read_head(self, state: Store) -> tuple[Head | None, str | None]:
        try:
            raw = state.read(head_name(self._stream), 0, MAX_DOCUMENT + 1)
        except FileNotFoundError:
            return None, None
        try:
            head = parse_head(raw)
        except FormatError as error:
            return None, f"its head is malformed: {error.message}"
        if head.stream != self._stream:
            return None, f"its head is that of stream {head.stream}"
        if head.key_id is None or self._keyring is None:
            return head, None
        trusted = self._keyring.get(head.key_id)
        if trusted is None:
            raise self._unknown_key(head.key_id)
        if not self._holds_head(head):
            return None, f"its head does not hold under key {head.key_id}"
        return head, None

    def _holds_head(self, head: Head) -> bool:
        trusted = None if self._keyring is None or head.key_id is None else self._keyring.get(head.key_id)
        if trusted is None:
            # What nobody can check is no evidence; what is unkeyed is all the evidence there is in an unkeyed log.
            return head.key_id is None
        return trusted.key.algorithm == head.algo and trusted.key.verify(head_message(head), head.mac or b"")

    def _unknown_key(self, key_id: str) -> SealKeyError:
        given = ", ".join(self._keyring.key_ids) if self._keyring is not None else "no key"
        return SealKeyError(
            f"stream {self._stream} is under key {key_id}, and {given} was given.",
            hint="Open it with that key, or with a keyring that has it, or open a stream of another name.",
        )

    # The segments.

    def _look(self, *, all_segments: bool) -> Iterator[FoundSegment]:
        clean = None if all_segments else self._clean_end()
        if clean is not None:
            yield clean
            return
        keyed = self._head is not None and self._head.key_id is not None
        for name in self._segments if all_segments or self._head is None else self._behind_head(self._head):
            found = self._read(name, keyed_before=keyed)
            if found.size or found.closed:
                keyed = keyed or found.keyed
                yield found

    def _is_manifest(self, name: str) -> bool:
        return name != plain_name(name.removesuffix(".manifest.json")) and name.endswith(".manifest.json")

    def _has_manifest(self, name: str) -> bool:
        return manifest_name(name) in self._names

    def _clean_end(self) -> FoundSegment | None:
        """Return the head's segment as its manifest has it, where that is the end of everything."""
        head = self._head
        if head is None or not self._segments or plain_name(self._segments[-1]) != plain_name(head.segment):
            return None
        if any(not self._has_manifest(name) for name in self._segments):
            return None
        manifest = self._manifest(self._segments[-1])
        if manifest is None or (manifest.last_seq, manifest.root_chain_hash) != (head.seq, head.chain_hash):
            return None
        name = self._segments[-1]
        if name == plain_name(name) and self._folder.size(name) != manifest.size_bytes:
            return None
        return _of_manifest(name, manifest)

    def _behind_head(self, head: Head) -> list[str]:
        """Return the segments to read: the one that holds the head's entry, those behind it, and those not closed."""
        place = segment_place(head.segment, self._stream)
        at = next((n for n, name in enumerate(self._segments) if segment_place(name, self._stream) == place), None)
        if at is None or not self._may_hold(self._segments[at], head):
            # The head's segment is only a hint.
            at = next((n for n, name in enumerate(self._segments) if self._may_hold(name, head)), len(self._segments))
        return [name for n, name in enumerate(self._segments) if n >= at or not self._has_manifest(name)]

    def _may_hold(self, name: str, head: Head) -> bool:
        manifest = self._manifest(name)
        if manifest is None:
            first = self._first_entry(name)
            return first is not None and first[0] <= head.seq + 1
        return manifest.first_seq <= head.seq <= manifest.last_seq

    def _first_entry(self, name: str) -> tuple[int, bytes] | None:
        line = self._folder.read(name, 0, (1 << 20) + (1 << 15)).partition(b"\n")[0]
        try:
            _, block = split(line + b"\n")
        except FormatError:
            return None
        return block.seq, block.chain_hash

    def _manifest(self, name: str) -> Manifest | None:
        """Return the manifest of a segment where it holds."""
        if not self._has_manifest(name):
            return None
        try:
            manifest = parse_manifest(self._folder.read(manifest_name(name), 0, MAX_DOCUMENT + 1))
        except FormatError:
            return None
        key_id = manifest.signature_key_id or manifest.key_id
        if manifest.stream != self._stream or key_id is None or self._keyring is None:
            return manifest if manifest.stream == self._stream and key_id is None else None
        trusted = self._keyring.get(key_id)
        if trusted is None or trusted.key.algorithm != manifest.signature_algo:
            return None
        return manifest if trusted.key.verify(manifest_message(manifest), manifest.signature or b"") else None

    def _read(self, name: str, *, keyed_before: bool) -> FoundSegment:
        closed = self._has_manifest(name)
        behind = max([0 if self._head is None else self._head.seq, *(claim.seq for claim in self._claims)])
        expect = Expectation(name, self._stream, keyed_before, torn_behind=None if closed else behind)
        reader = SegmentReader(self._keyring, expect)
        try:
            found = reader.read(self._chunks(name))
        except (zlib.error, zstd.ZstdError, EOFError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            return FoundSegment(name, closed=closed, defect=f"damaged compressed data ({error})")
        if reader.unknown_key is not None:
            raise self._unknown_key(reader.unknown_key)
        copies = tuple(self._copy(torn) for torn in torn_names(name, self._names)) if not closed else ()
        found = replace(found, closed=closed, copies=copies)
        manifest = self._manifest(name)
        if closed and manifest is None:
            return replace(found, defect=found.defect or "its manifest does not hold")
        if manifest is not None:
            ends = (manifest.last_seq, manifest.root_chain_hash) == (found.last_seq, found.last_chain)
            defect = found.defect if ends else found.defect or "it does not end where its manifest says"
            return replace(found, origin=manifest.origin, authenticated=found.last_seq, defect=defect)
        return found

    def _copy(self, name: str) -> TornCopy:
        content = self._folder.read(name)
        return TornCopy(name, len(content), sha256(content).digest())

    def _chunks(self, name: str) -> Iterator[bytes]:
        if name != plain_name(name):
            raw = self._folder.read(name)
            data = gzip.decompress(raw) if name.endswith(".gz") else zstd.decompress(raw)
            yield from (data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK))
            return
        at = 0
        while chunk := self._folder.read(name, at, _CHUNK):
            at += len(chunk)
            yield chunk


def _of_manifest(name: str, manifest: Manifest) -> FoundSegment:
    return FoundSegment(
        name=name,
        closed=True,
        size=manifest.size_bytes,
        good=manifest.size_bytes,
        first_seq=manifest.first_seq,
        first_prev=manifest.continues_from,
        last_seq=manifest.last_seq,
        last_chain=manifest.root_chain_hash,
        keyed=manifest.key_id is not None,
        authenticated=manifest.last_seq,
        last_event=manifest.last_seq,
        key_id=manifest.key_id,
        origin=manifest.origin,
    )
