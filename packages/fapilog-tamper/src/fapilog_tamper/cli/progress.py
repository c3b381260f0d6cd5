"""The progress of a long reading, on stderr and only where somebody watches."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["watched_progress"]

_REFRESH: Final = 0.1
"""Seconds between two drawings: the verifier reports every 64 KiB, which is far more often."""


@contextmanager
def watched_progress(
    *, quiet: bool, no_color: bool, doing: str = "verifying"
) -> Iterator[Callable[[int, int], None] | None]:
    """Give a callback that shows bytes done, rate and time left; None where stderr is no terminal, or `quiet`."""
    if quiet or sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, no_color=True if no_color else None)
    # No refreshing thread: the verifier forks its workers only from a process without threads.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        shown = progress.add_task(doing, total=None)
        drawn = 0.0

        def tick(done: int, total: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn >= _REFRESH:
                drawn = now
                progress.update(shown, completed=done, total=total, refresh=True)

        yield tick
