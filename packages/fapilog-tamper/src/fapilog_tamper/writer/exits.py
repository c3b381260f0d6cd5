"""The ends of processes: logs that are open at interpreter exit are closed, and a forked child lets go of its copies.

A child of `multiprocessing` ends without exit hooks, but runs the finalizers of that module.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from fapilog_tamper.errors import TamperError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["before", "register", "unregister"]


class Ending(Protocol):
    """What is to be told of ends."""

    def close_at_exit(self) -> None:
        """Close: the interpreter ends."""
        ...

    def let_go(self) -> None:
        """Let go of everything: this process is a child that was just forked, and all of it belongs to the parent."""
        ...


# Not weak: a log that nobody refers to any more must be closed like any other.
_OPEN: Final[set[Ending]] = set()
_HOOKED: Final[set[int]] = set()
_BEFORE: Final[list[Callable[[], None]]] = []


def register(ending: Ending) -> None:
    """Tell it of ends from now on."""
    _OPEN.add(ending)
    _hook_once()


def before(hook: Callable[[], None], *, first: bool = False) -> None:
    """Call something at exit before the logs are closed; all other threads but daemons have ended then.

    Args:
        hook: what to call, once.
        first: before all others: it may still bring events for them.
    """
    if hook not in _BEFORE:
        _BEFORE.insert(0 if first else len(_BEFORE), hook)
    _hook_once()


def _hook_once() -> None:
    if os.getpid() not in _HOOKED:
        _HOOKED.clear()
        _HOOKED.add(os.getpid())
        _hook()


def unregister(ending: Ending) -> None:
    """Tell it no more."""
    _OPEN.discard(ending)


def _hook() -> None:
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for hook in _BEFORE:
        hook()
    for ending in list(_OPEN):
        # Each says by a warning what it could not do; the others must still be closed.
        with suppress(TamperError):
            ending.close_at_exit()


def _after_fork() -> None:
    for ending in list(_OPEN):
        ending.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
