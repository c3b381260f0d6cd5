"""Checking segments in this process or in any `concurrent.futures.Executor`.

At most a few tasks per worker are under way at once, so that a folder of any size is verified in bounded memory.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from fapilog_tamper.verify.segment import SegmentResult, SegmentTask, check_segment, cut_parts, join_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

__all__ = ["check_segments"]


def check_segments(
    tasks: Iterable[SegmentTask],
    *,
    jobs: int,
    executor: Executor | None,
    tick: Callable[[int], None],
) -> Iterator[SegmentResult]:
    """Yield the results in the order of the tasks.

    Args:
        tasks: one a segment.
        jobs: how many workers; 1 without an executor checks in this process.
        executor: where to run; left running. None: processes of our own for the time of the call.
        tick: called with the number of bytes that were read since the last call.
    """
    if executor is None and jobs < 2:  # noqa: PLR2004
        for task in tasks:
            result = check_segment(task, tick)
            yield result
            if result.interrupted:
                raise KeyboardInterrupt
        return
    with _pool(jobs, executor) as pool:
        waiting: deque[tuple[SegmentTask, list[Future[SegmentResult]]]] = deque()
        for task in tasks:
            waiting.append((task, _submit(pool, task, jobs)))
            if sum(len(parts) for _, parts in waiting) > 4 * max(jobs, 2):
                yield _collect(*waiting.popleft(), tick)
        while waiting:
            yield _collect(*waiting.popleft(), tick)


@contextmanager
def _pool(jobs: int, executor: Executor | None) -> Iterator[Executor]:
    if executor is not None:
        yield executor
        return
    # fork starts fastest, but a forked child of a process with threads may hang on a lock that nobody will release.
    lone = threading.active_count() == 1 and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if lone else "spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which reaches the whole process group, to the process that called."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _submit(pool: Executor, task: SegmentTask, jobs: int) -> list[Future[SegmentResult]]:
    if task.trust_hash or task.expect.export:
        return [pool.submit(check_segment, task)]
    parts = cut_parts(task.path, max(jobs, 2))
    if len(parts) == 1:
        return [pool.submit(check_segment, task)]
    # Only behind the last part can a tail be torn; a part that ends at a cut ends with a newline anyway.
    futures = [pool.submit(check_segment, replace(task, start=start, end=end)) for start, end in parts]
    if task.manifest is not None:
        futures.append(pool.submit(check_segment, replace(task, hash_only=True)))
    return futures


def _collect(task: SegmentTask, futures: list[Future[SegmentResult]], tick: Callable[[int], None]) -> SegmentResult:
    results = []
    for future in futures:
        results.append(future.result())
        tick(results[-1].size_bytes)
    if len(results) == 1:
        return results[0]
    hashed = results.pop() if task.manifest is not None else None
    whole = join_parts(results)
    if whole is None:
        # A defect: one pass over the whole segment names it exactly as one worker would.
        return check_segment(task)
    if hashed is not None:
        whole.file_sha256 = hashed.file_sha256
    return whole
