"""Outcomes that one thread tells and others wait for, in threads or in coroutines."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Wait", "start_thread", "tell"]


def tell(future: Future[None], error: BaseException | None = None) -> None:
    """Set what everybody waits for, unless that is done, or nobody waits any more."""
    # Two threads may do it at once.
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def start_thread(work: Callable[[], None], name: str) -> threading.Thread | None:
    """Have a daemon thread do something; None at interpreter exit, where there is none to be had."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    # Hazard: a thread that is started while the interpreter is torn down never says that it runs.
    if sys.is_finalizing():
        return None
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


class Wait:
    """What an event waits for: `future`, for `seconds` at most, None without an end; `check` says how it ended."""

    __slots__ = ("_check", "_future", "_seconds")

    def __init__(
        self,
        future: Future[None] | None = None,
        seconds: float | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._future = future
        self._seconds = seconds
        self._check = check

    async def over_async(self) -> None:
        """Wait in a coroutine."""
        if self._future is not None and not self._future.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(self._future), self._seconds)
        self._check()

    def over(self) -> None:
        """Wait in a thread."""
        if self._future is not None and not self._future.done():
            with suppress(TimeoutError):
                self._future.result(self._seconds)
        self._check()
