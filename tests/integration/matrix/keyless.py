"""A program that logs where there is no key, or no key any more.

    python tests/integration/matrix/keyless.py JOB

JOB is JSON: `folder`, `reports`, `key_file`, `how` (typed, extra or program), `serialized`, and `gone`: what is taken
away between two loggers, the variable or the file of the key. It tells `refused METHOD TEXT` or `returned METHOD` for
each write, at the end of a logger what `drained` and whether it was in `health` before, and `gone` when the key is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import wraps
from pathlib import Path
from typing import Any

import fapilog
from fapilog.core.errors import SinkWriteError

from fapilog_tamper import SealedSink

EVENTS = 30
FIRST_OF_SECOND = 1000
VARIABLE = "FAPILOG_TAMPER_KEY"


def watch(tell: Any) -> None:
    """Tell what each method of the real sink raised, or that it returned."""
    for method in ("write", "write_serialized"):
        inner = getattr(SealedSink, method)

        @wraps(inner)
        async def watched(sink: SealedSink, given: Any, inner: Any = inner, method: str = method) -> None:
            try:
                await inner(sink, given)
            except SinkWriteError as error:
                tell(f"refused {method} {error.message}")
                raise
            tell(f"returned {method}")

        setattr(SealedSink, method, watched)


def make_logger(job: dict[str, Any]) -> Any:
    core: dict[str, Any] = {"serialize_in_flush": job["serialized"], "max_queue_size": 10_000}
    options: dict[str, Any] = {"directory": job["folder"], "key_id": "matrix"}
    if job["gone"] == "file":
        options |= {"key_provider": "file", "key_file_path": job["key_file"]}
    if job["how"] == "program":
        settings = fapilog.Settings(core=core)
        return fapilog.get_logger(settings=settings, sinks=[SealedSink(**options)], reuse=False)
    if job["how"] == "typed":
        sink_config: dict[str, Any] = {"sealed": {"inner_config": {"directory": job["folder"]}, "key_id": "matrix"}}
    else:
        sink_config = {"extra": {"sealed": options}}
    settings = fapilog.Settings(
        core={**core, "sinks": ["sealed"]}, sink_config=sink_config, plugins={"allow_external": True}
    )
    return fapilog.get_logger(settings=settings, reuse=False)


def log(job: dict[str, Any], first: int, tell: Any) -> None:
    """Log with a logger of its own, which is drained."""
    logger = make_logger(job)
    (sink,) = logger._sinks
    for number in range(first, first + EVENTS):
        message = f"event {number}"
        logger.info(message, n=number)
    healthy = asyncio.run(sink.health_check())
    result = asyncio.run(logger.stop_and_drain())
    tell(f"drained {result.submitted} {result.dropped}")
    tell(f"health {healthy}")


def main(text: str) -> None:
    job = json.loads(text)

    def tell(line: str) -> None:
        os.write(job["reports"], f"{line}\n".encode())

    watch(tell)
    if job["gone"] is not None:
        log(job, 0, tell)
        tell("gone")
        if job["gone"] == "file":
            Path(job["key_file"]).unlink()
        else:
            del os.environ[VARIABLE]
    log(job, FIRST_OF_SECOND, tell)


if __name__ == "__main__":
    main(sys.argv[1])
