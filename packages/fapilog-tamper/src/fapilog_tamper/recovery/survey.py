"""What is there of a stream: its head, the segments that the head does not speak of, what other heads say of it.

Nothing is written. After a clean close one head and one manifest are read, whatever the size of the log; otherwise the
segments from the head's on are read line by line, with the checks of the verifier.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, head_message, parse_head
from fapilog_tamper.layout import head_name, is_segment_name, manifest_name, plain_name, segment_place, torn_names
from fapilog_tamper.manifest import Manifest, manifest_message, parse_manifest
from fapilog_tamper.recovery.content import open_stored
from fapilog_tamper.recovery.facts import FoundClaim, FoundSegment, StreamFacts, TornCopy, restored_behind
from fapilog_tamper.recovery.reading import read_segment
from fapilog_tamper.verify.source import MAX_LINE, SourceError, whole_lines
from fapilog_tamper.verify.spans import Expectation
from fapilog_tamper.verify.tags import TagStatus, check_tag
from fapilog_tamper.writer.slots import heads_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.store.base import Store

__all__ = ["survey"]

_CHUNK: Final = 1 << 20


def survey(
    folder: Store,
    state: Store,
    stream: str,
    keyring: Keyring | None,
    *,
    keyed: bool,
    every: bool = False,
) -> StreamFacts:
    """Return what is there of a stream.

    Args:
        folder: where its segments lie.
        state: where heads lie.
        stream: its name.
        keyring: the keys to check it with; None where the caller has none.
        keyed: the caller has a key to go on with.
        every: read every line, as for a restore.
    """
    looking = _Survey(folder, state, stream, keyring)
    return looking.facts(keyed=keyed, every=every)


class _Survey:
    def __init__(self, folder: Store, state: Store, stream: str, keyring: Keyring | None) -> None:
        self._folder = folder
        self._stream = stream
        self._keyring = keyring
        self._names = frozenset(folder.names())
        ours = [name for name in self._names if is_segment_name(name) and segment_place(name, stream) is not None]
        plain = {plain_name(name): name for name in sorted(ours, reverse=True)}
        self._segments = sorted(plain.values(), key=self._place)
        self._unknown_key: str | None = None
        self._head, self._problem = self._read_head(state)
        heads = [head for head in heads_of(state, stream) if self._holds_head(head)]
        self._claims = tuple(
            FoundClaim(head.stream, seq, chain) for head in heads for name, seq, chain in head.others if name == stream
        )

    def facts(self, *, keyed: bool, every: bool) -> StreamFacts:
        head = self._head
        # Anybody can write an unkeyed head: whether keyed entries are older, only they can tell.
        everything = every or head is None or (keyed and head.key_id is None)
        look = every or (self._problem is None and self._unknown_key is None)
        traces = [name for name in self._names if self._is_manifest(name)]
        return StreamFacts(
            stream=self._stream,
            head=head,
            head_problem=self._problem,
            unknown_key=self._unknown_key,
            segments=tuple(self._look(everything=everything)) if look else (),
            claims=self._claims,
            traces=tuple(sorted(traces)),
            keyed=keyed,
            key_ids=() if self._keyring is None else self._keyring.key_ids,
            pinned=self._pinned(),
        )

    def _pinned(self) -> bytes | None:
        origin = None if self._keyring is None else self._keyring.origins.get(self._stream)
        return None if origin is None else b64url_decode(origin)

    def _place(self, name: str) -> tuple[str, int]:
        return segment_place(name, self._stream) or ("", 0)

    # The head.

    def _read_head(self, state: Store) -> tuple[Head | None, str | None]:
        try:
            raw = state.read(head_name(self._stream), 0, MAX_DOCUMENT + 1)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, f"its head cannot be read: {error.strerror or error}"
        try:
            return self._believe(parse_head(raw))
        except FormatError as error:
            return None, f"its head is malformed: {error.message.removesuffix('.')}"

    def _believe(self, head: Head) -> tuple[Head | None, str | None]:
        if head.stream != self._stream:
            return None, f"its head is that of stream {head.stream}"
        if head.key_id is not None and self._keyring is not None:
            if self._keyring.get(head.key_id) is None:
                self._unknown_key = head.key_id
                return None, None
            if not self._holds_head(head):
                return None, f"its head does not hold under key {head.key_id}"
        return head, None

    def _holds_head(self, head: Head) -> bool:
        if head.key_id is None:
            # What nobody can check is all the evidence there is in an unkeyed log.
            return True
        return self._holds(head.key_id, head.algo, head.seq, head_message(head), head.mac, stream=head.stream)

    def _holds(
        self, key_id: str, algo: str | None, seq: int, message: bytes, tag: bytes | None, *, stream: str
    ) -> bool:
        status = check_tag(self._keyring, key_id, algo, stream=stream, seq=seq, message=message, tag=tag)
        return status is TagStatus.VALID

    # The segments.

    def _look(self, *, everything: bool) -> Iterator[FoundSegment]:
        head = self._head
        if head is not None and not everything:
            clean = self._clean_end(head)
            if clean is not None:
                yield clean
                return
        keyed, reached = False, 0
        attested = max([0 if head is None else head.seq, *(claim.seq for claim in self._claims)])
        for name in self._segments if everything or head is None else self._behind_head(head):
            # Where the segments before it hold all that is attested, even the first line may be torn.
            found = self._read(name, keyed_before=keyed, torn_behind=attested if reached < attested else 0)
            keyed, reached = keyed or found.keyed_from > 0, max(reached, found.last_seq)
            yield found

    def _is_manifest(self, name: str) -> bool:
        return segment_place(name, self._stream) is not None and name.endswith(".manifest.json")

    def _has_manifest(self, name: str) -> bool:
        return manifest_name(name) in self._names

    def _since_restore(self, head: Head) -> list[str]:
        """Return the segments that a restore did not pass over."""
        place = segment_place(restored_behind(head), self._stream)
        return [name for name in self._segments if place is None or self._place(name) > place]

    def _clean_end(self, head: Head) -> FoundSegment | None:
        """Return the head's segment as its manifest has it, where that is the end of everything."""
        segments = self._since_restore(head)
        if not segments or plain_name(segments[-1]) != head.segment:
            return None
        if any(not self._has_manifest(name) for name in segments):
            return None
        name = segments[-1]
        manifest = self._manifest(name)
        if manifest is None or (manifest.last_seq, manifest.root_chain_hash) != (head.seq, head.chain_hash):
            return None
        if (manifest.key_id is None) != (head.key_id is None):
            return None
        if name == plain_name(name) and self._folder.size(name) != manifest.size_bytes:
            return None
        return _of_manifest(name, manifest)

    def _behind_head(self, head: Head) -> list[str]:
        """Return the segments to read: from the one that holds the head's entry, or is not closed, to the last."""
        segments = self._since_restore(head)
        hint = [n for n, name in enumerate(segments) if plain_name(name) == head.segment]
        at = next((n for n in (*hint, *range(len(segments))) if self._may_hold(segments[n], head)), 0)
        is_open = (n for n, name in enumerate(segments) if not self._has_manifest(name))
        return segments[min(at, next(is_open, at)) :]

    def _may_hold(self, name: str, head: Head) -> bool:
        manifest = self._manifest(name)
        if manifest is None:
            first = self._first_entry(name)
            return first is not None and first <= head.seq + 1
        return manifest.first_seq <= head.seq <= manifest.last_seq

    def _first_entry(self, name: str) -> int | None:
        source = open_stored(self._folder, name)
        try:
            first = next(whole_lines(source.chunks(MAX_LINE)), None)
            return None if first is None else split(first.data.partition(b"\n")[0] + b"\n")[1].seq
        except (SourceError, FormatError):
            return None

    def _manifest(self, name: str) -> Manifest | None:
        """Return the manifest of a segment where it holds."""
        if not self._has_manifest(name):
            return None
        try:
            manifest = parse_manifest(self._folder.read(manifest_name(name), 0, MAX_DOCUMENT + 1))
        except FormatError:
            return None
        if manifest.stream != self._stream:
            return None
        key_id = manifest.signature_key_id or manifest.key_id
        if key_id is None:
            return manifest
        tag, message = manifest.signature, manifest_message(manifest)
        algo, seq = manifest.signature_algo, manifest.last_seq
        return manifest if self._holds(key_id, algo, seq, message, tag, stream=self._stream) else None

    def _read(self, name: str, *, keyed_before: bool, torn_behind: int) -> FoundSegment:
        closed, packed = self._has_manifest(name), name != plain_name(name)
        expect = Expectation(name, self._stream, keyed_before, torn_behind=None if closed or packed else torn_behind)
        manifest = self._manifest(name)
        limit = None if manifest is None else manifest.size_bytes
        found = read_segment(open_stored(self._folder, name), self._keyring, expect, limit=limit)
        found = replace(found, closed=closed, packed=packed)
        if not closed:
            copies = tuple(self._copy(torn) for torn in torn_names(name, self._names))
            return replace(found, copies=copies)
        defect = found.defect or _misfit(found, manifest)
        if manifest is None or defect is not None:
            return replace(found, defect=defect)
        return replace(found, origin=manifest.origin, authenticated=found.last_seq)

    def _copy(self, name: str) -> TornCopy:
        digest, at = sha256(), 0
        while chunk := self._folder.read(name, at, _CHUNK):
            digest.update(chunk)
            at += len(chunk)
        return TornCopy(name, at, digest.digest())


def _misfit(found: FoundSegment, manifest: Manifest | None) -> str | None:
    """Return what is wrong with the manifest of a segment whose lines hold."""
    if manifest is None:
        return "its manifest does not hold"
    if found.keyed_from and manifest.key_id is None:
        return "it is keyed, and its manifest is not signed"
    said = (manifest.first_seq, manifest.last_seq, manifest.root_chain_hash, manifest.size_bytes)
    if said != (found.first_seq, found.last_seq, found.last_chain, found.size):
        return "it is not what its manifest says"
    return None


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
        keyed_from=0 if manifest.key_id is None else manifest.last_seq,
        authenticated=manifest.last_seq,
        last_event=manifest.last_seq,
        key_id=manifest.key_id,
        origin=manifest.origin,
    )
