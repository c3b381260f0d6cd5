"""What a log counts, and what it says of its state."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters", "Health", "Stats"]


@dataclass(slots=True)
class Counters:
    """Counted while the log runs; read without a lock, so a snapshot may be one behind."""

    batches: int = 0
    syncs: int = 0
    heads: int = 0
    resyncs: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of one open log.

    Attributes:
        accepted: entries accepted since the log was opened, the writer's own included.
        written: of these, entries in the operating system.
        synced: of these, entries on the disk.
        pending: entries accepted and not yet written.
        pending_bytes: their bytes.
        refused: events that were refused because the buffer was full; they are counted in `gap` entries, too.
        failures: calls of the store that failed.
        episodes: how often the log went from working to failing.
        slowdowns: how often a slow write made callers hand over to the worker.
        batches: writes by the worker.
        syncs: times the log was brought to the disk.
        heads: heads written.
        seals: late seals written.
        segments: segments closed.
        resyncs: segments that were given up after a failed sync.
    """

    accepted: int
    written: int
    synced: int
    pending: int
    pending_bytes: int
    refused: int
    failures: int
    episodes: int
    slowdowns: int
    batches: int
    syncs: int
    heads: int
    seals: int
    segments: int
    resyncs: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a log keeps its promises now; `reason` says what does not work, and is None when all does.

    `final`: the log takes nothing more, and is to be closed.
    """

    ok: bool
    reason: str | None = None
    final: bool = False

    def __bool__(self) -> bool:
        return self.ok
