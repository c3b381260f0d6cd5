"""What a writer finds when it opens a stream: its head, its segments, its neighbours.

A stream is gone on with only where head and segments agree on its end; anything else is refused with the reason.
Nothing is written here.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fapilog_tamper.errors import ConfigError, FormatError, SealKeyError, StoreError
from fapilog_tamper.head import Head, head_message, parse_head
from fapilog_tamper.layout import head_name, manifest_name, parse_head_name, parse_segment_name, plain_name
from fapilog_tamper.manifest import parse_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_tamper.document import Claim
    from fapilog_tamper.keys import SigningKey

__all__ = ["others_of", "read_head", "stream_of"]


def read_head(folder: Path, state_dir: Path, stream: str, key: SigningKey | None) -> Head | None:
    """Return the head of a stream that was closed cleanly, None where there is no stream yet."""
    named = {path: name for path in folder.iterdir() if (name := stream_of(path))}
    heads = {name for path in state_dir.iterdir() if (name := parse_head_name(path.name))}
    for other in (set(named.values()) | heads) - {stream}:
        if other.casefold() == stream.casefold():
            text = f"stream {stream} differs from stream {other} by case only."
            raise ConfigError(text, hint="Some file systems cannot tell them apart: use another name.")
    segments = sorted(path for path, name in named.items() if name == stream and path.stat().st_size)
    path = state_dir / head_name(stream)
    if not path.exists():
        if segments:
            raise _not_clean(stream, f"it has segments ({segments[0].name}) and no head {path}")
        return None
    try:
        head = parse_head(path.read_bytes())
    except FormatError as error:
        raise _not_clean(stream, f"its head {path} is malformed: {error.message}") from error
    _check_key(head, key)
    _check_closed(head, segments)
    return head


def stream_of(path: Path) -> str | None:
    """Return the stream that the name of a segment tells, else None."""
    parsed = parse_segment_name(plain_name(path.name))
    return None if parsed is None else parsed[0]


def others_of(state_dir: Path, stream: str) -> tuple[Claim, ...]:
    """Return where the other streams of the folder stand, as their stored heads say."""
    claims: dict[str, Claim] = {}
    for path in state_dir.iterdir():
        if parse_head_name(path.name) not in (None, stream):
            with suppress(FormatError, OSError):
                head = parse_head(path.read_bytes())
                claims[head.stream] = (head.stream, head.seq, head.chain_hash)
    return tuple(claims[name] for name in sorted(claims) if name != stream)


def _not_clean(stream: str, why: str) -> StoreError:
    hint = "Verify the folder with fapilog-tamper verify; to go on, open a stream of another name."
    return StoreError(f"stream {stream} was not closed cleanly: {why}.", hint=hint)


def _check_key(head: Head, key: SigningKey | None) -> None:
    if head.key_id is None:
        return
    if key is None or key.key_id != head.key_id:
        given = "no key" if key is None else key.key_id
        raise SealKeyError(
            f"stream {head.stream} ends under key {head.key_id}, and {given} was given.",
            hint="Open it with that key, or open a stream of another name.",
        )
    if not key.verifying_key().verify(head_message(head), head.mac or b""):
        raise SealKeyError(
            f"the head of stream {head.stream} does not hold under key {key.key_id}.",
            hint="Check the key, and verify the folder with fapilog-tamper verify.",
        )


def _check_closed(head: Head, segments: list[Path]) -> None:
    ends: list[tuple[int, bytes]] = []
    for path in segments:
        try:
            manifest = parse_manifest((path.parent / manifest_name(path.name)).read_bytes())
        except (FormatError, OSError) as error:
            raise _not_clean(head.stream, f"segment {path.name} has no manifest that can be read") from error
        ends.append((manifest.last_seq, manifest.root_chain_hash))
    if max(ends, default=None) != (head.seq, head.chain_hash):
        raise _not_clean(head.stream, "its segments do not end where its head does")
