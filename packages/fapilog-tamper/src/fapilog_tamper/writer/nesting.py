"""Noticing a call from within a call: a signal handler, a destructor, or a warning hook that uses the log.

Hazard: such code runs in the middle of whatever its thread was doing, the log's own work too, and would wait for ever
for what cannot go on before it returns. So it is told by an error at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fapilog_tamper.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import CodeType, FrameType

__all__ = ["is_nested", "nested_error"]


def is_nested(owner: object, inside: Collection[CodeType], skip: int) -> bool:
    """Tell whether this thread is inside one of these methods of `owner`, behind the `skip` nearest frames."""
    frame: FrameType | None = sys._getframe(skip)  # noqa: SLF001 (the only way to see what was interrupted)
    while frame is not None:
        if frame.f_code in inside and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False


def nested_error(what: str, *seqs: int) -> StoreError:
    """Return the error of a call that stands in the way of itself; `seqs` are entries that it has sealed already."""
    error = StoreError(
        f"{what} was called from within the log's own work: by a signal handler, a destructor or a warning hook.",
        hint="Set a flag there, and use the log when the interrupted code has returned.",
    )
    error.seqs = seqs
    return error
