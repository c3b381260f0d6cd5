"""What a storage backend is: the place to which a trail hands its sealed events.

A trail seals first. Each event is in an outbox on local disk, in its place in the chain, before it is offered; so no
answer of a backend can change the order, and what a backend refused is offered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading import Query

__all__ = ["ReadableBackend", "StorageBackend"]


@runtime_checkable
class StorageBackend(Protocol):
    """Where sealed events go.

    All calls come from one event loop of the trail's own, in a thread of its own, one at a time; connections may be
    made in the first `write`. Store `event.sealed_line` byte for byte: everything else of the event is a view of it,
    and only the line can be verified.
    """

    async def write(self, event: AuditEvent) -> object:
        """Store one event; on return it survives the process.

        Events come in the order of `sequence_number` within their `stream`. Entries of the log itself
        (`event.is_control`) are among them: without them the chain has gaps.

        After a crash the last events may be offered once more, so that none is missing: store what is known by its
        stream and sequence_number once. An exception means that it is not stored: the same event is offered again, and
        no other before it.
        """
        ...

    async def flush(self) -> object:
        """Bring what was written to the disk; on return it survives the machine. Called for `synced` events."""
        ...

    async def close(self) -> object:
        """Free everything. Called once, behind a flush, when the trail stops."""
        ...


@runtime_checkable
class ReadableBackend(Protocol):
    """A backend that can be asked; `get_events` and `verify_chain_from_storage` need it."""

    async def read(self, query: Query) -> Sequence[AuditEvent]:
        """Return the events that match, in the order that the query asks for, made by `AuditEvent.from_line`.

        With `include_control`, the entries of the log are among them. A result may have a `cursor`, as `EventPage`;
        the trail gives it back for the next page. May be called in any loop.
        """
        ...
