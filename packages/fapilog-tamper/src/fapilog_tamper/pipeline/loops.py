"""The end of event loops: how a sink learns that its logger was drained.

fapilog starts sinks and never stops them. But each logger has an event loop of its own, and ends it by cancelling what
still runs there once the last event is written. So a task that only waits in that loop hears of the end, while the loop
can still be used. That holds for `stop_and_drain()`, `runtime()`, the FastAPI lifespan and fapilog's signal handler.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoopEnds"]


class LoopEnds:
    """Waits in every loop that it is shown. `ended` is awaited in a loop that ends; `last` if no other is known."""

    def __init__(self, ended: Callable[[bool], Awaitable[None]]) -> None:
        self._ended = ended
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    def watch(self) -> None:
        """Wait for the end of the running loop, unless that is done already."""
        loop = asyncio.get_running_loop()
        if loop in self._tasks:
            return
        for known in [known for known in list(self._tasks) if known.is_closed()]:
            self._tasks.pop(known, None)
        self._tasks[loop] = loop.create_task(self._wait(loop), name="sealed log: end of the loop")

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.create_future()
        finally:
            self._tasks.pop(loop, None)
            await self._ended(not any(not known.is_closed() for known in list(self._tasks)))
