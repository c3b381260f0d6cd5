"""Outcomes that one thread tells and others wait for, in threads or in coroutines."""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["tell"]


def tell(future: Future[None], error: Exception | None = None) -> None:
    """Set what everybody waits for, unless that is done, or nobody waits any more."""
    # Two threads may do it at once.
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
