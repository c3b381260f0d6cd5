"""How pending lines get into the open segment: which of them fit, and one write for all of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fapilog_tamper.writer.shelf import write_far

if TYPE_CHECKING:
    from fapilog_tamper.store.base import Store
    from fapilog_tamper.writer.segment import End, Item, OpenSegment

__all__ = ["MOST_BYTES", "commit", "take_batch"]

MOST_BYTES: Final = 1 << 20
"""Bytes of one write: large against what a call costs, small against what a slow disk takes at once."""

_MOST_ENTRIES: Final = 4096


def take_batch(pending: list[Item], end: End, segment_bytes: float) -> tuple[list[Item], bytes] | None:
    """Return the entries behind `end` that the next write takes, and their bytes.

    None: the first does not fit into a segment of `segment_bytes`. Alone in one, an entry always fits.
    """
    # The fast path leaves what it wrote for the next append to drop.
    batch = [item for item in pending[:_MOST_ENTRIES] if item[0] > end[0]]
    data = b"".join([item[2] for item in batch])
    room = segment_bytes - end[2]
    if len(data) <= min(room, MOST_BYTES):
        return batch, data
    if not batch:
        return [], b""
    first = len(batch[0][2])
    if first > room and end[2] > 0:
        return None
    return _whole(batch, data, max(min(room, MOST_BYTES), first))


def commit(store: Store, segment: OpenSegment, batch: list[Item], data: bytes) -> OSError | None:
    """Write entries behind what is committed, and commit them; of a write that fails, those that stand there whole."""
    offset = segment.end.offset
    taken, problem = write_far(store, segment.handle, data, offset)
    if problem is not None:
        batch, data = _whole(batch, data, taken)
    if batch:
        stamps = [item[3] for item in batch if item[3] is not None]
        seq, chain, _, _ = batch[-1]
        least, most = min(stamps, default=None), max(stamps, default=None)
        segment.chunks.append((seq, chain, offset + len(data), data, least, most))
        segment.fold()
    return problem


def _whole(batch: list[Item], data: bytes, taken: float) -> tuple[list[Item], bytes]:
    """Return the entries, and their bytes, that stand whole in the first `taken` bytes."""
    size = count = 0
    for item in batch:
        if size + len(item[2]) > taken:
            break
        size += len(item[2])
        count += 1
    return batch[:count], data[:size]
