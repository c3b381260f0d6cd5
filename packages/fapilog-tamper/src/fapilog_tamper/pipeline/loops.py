"""The end of event loops: how a sink learns that its logger was drained.

fapilog starts sinks and never stops them. But each logger has an event loop of its own, and ends it by cancelling what
still runs there once the last event is written. So a task that only waits in that loop hears of the end, while the loop
can still be used. That holds for `stop_and_drain()`, `runtime()`, the FastAPI lifespan and fapilog's signal handler.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoopEnds"]


class LoopEnds:
    """Waits in every loop that it is shown. `ended` is awaited in a loop that ends; `last` if no other is known."""

    def __init__(self, ended: Callable[[bool], Awaitable[None]]) -> None:
        self._ended = ended
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._pid = os.getpid()

    def watch(self) -> bool:
        """Wait for the end of the running loop; False if that is done already."""
        loop = asyncio.get_running_loop()
        if loop in self._tasks:
            return False
        if self._pid != os.getpid():
            # The loops of the parent will never end here.
            self._tasks, self._pid = {}, os.getpid()
        for known in [known for known in list(self._tasks) if known.is_closed()]:
            self._tasks.pop(known, None)
        self._tasks[loop] = loop.create_task(self._wait(loop), name="sealed log: end of the loop")
        return True

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            # Not `finally`: at interpreter exit a task is thrown away together with its loop, where nothing can run.
            self._tasks.pop(loop, None)
            await self._ended(all(known.is_closed() for known in list(self._tasks)))
            raise
