"""The program whose ends are tested: it logs through fapilog, tells what fapilog took, and ends as it is told.

    python tests/integration/matrix/program.py JOB

JOB is JSON, see `Job`. What happens is told on the file descriptor `reports`, one line each:

    accepted N          the logger took event N
    written METHOD N    that method of the sink returned for event N
    dropped N           so many events were dropped, says fapilog
    port N              the server listens there
    ready               all is written, and nothing more is done
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fapilog
import orjson
from fapilog.core import presets
from integration.matrix.rows import Row

from fapilog_tamper import SealedSink, get_sealed_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPACITY = 60_000
MOST = 3000
"""Events that are logged until a signal comes; then the program only waits for it."""

LEVELS = ("info", "warning", "info", "error", "info", "audit", "info")
IN_ADDRESS, IN_FIELD = "secret-in-an-address", "secret-in-a-field"
CODES = {"exit": 3, "os._exit": 5}


@dataclass(frozen=True)
class Job:
    """What is to be done: `count` events from `first` on, as `row` says."""

    row: Row
    folder: str
    key_file: str
    reports: int
    first: int
    count: int

    @property
    def numbers(self) -> range:
        """The events that are logged."""
        more = self.row.end in {"sigterm", "own sigterm"} and self.row.logger != "fastapi"
        return range(self.first, self.first + (MOST if more else self.count))

    def tell(self, text: str) -> None:
        """Tell the parent; far below PIPE_BUF, so that no line is torn."""
        os.write(self.reports, f"{text}\n".encode())


class Watch:
    """Counts what the sink has written, of the real sink: fapilog makes it where settings name it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._left = set(job.numbers)
        self.all_written = threading.Event()
        self._watch("write", lambda entry: entry.get("data", {}).get("n"))
        self._watch("write_serialized", lambda view: orjson.loads(view.data)["log"]["data"].get("n"))

    def _watch(self, method: str, number_of: Callable[[Any], int | None]) -> None:
        inner = getattr(SealedSink, method)

        @wraps(inner)
        async def watched(sink: SealedSink, given: Any) -> None:
            await inner(sink, given)
            number = number_of(given)
            if number is not None:
                self._job.tell(f"written {method} {number}")
                self._left.discard(number)
            if not self._left:
                self.all_written.set()

        setattr(SealedSink, method, watched)


# How it is configured.


def core_of(row: Row) -> dict[str, Any]:
    """Return the settings of the pipeline."""
    core: dict[str, Any] = {
        "worker_count": row.workers,
        "sink_concurrency": row.concurrency,
        "serialize_in_flush": row.serialized,
        "max_queue_size": CAPACITY,
        "protected_queue_size": CAPACITY,
    }
    if not row.redactors:
        core["redactors"] = []
    elif row.preset in {"dev", "minimal"}:
        core["redactors"] = ["url_credentials"]
    return core


def options_of(job: Job) -> dict[str, Any]:
    """Return the options of the sink, as programs give them."""
    row = job.row
    key = {"key": f"file:{job.key_file}"} if row.preset else {"key_provider": "file", "key_file_path": job.key_file}
    return {"directory": job.folder, "fsync_on_write": row.fsync, "algorithm": row.algorithm, **key}


def typed_of(row: Row, folder: str) -> dict[str, Any]:
    """Return what fapilog's own settings of the sink take; the key is in the environment."""
    return {"inner_config": {"directory": folder}, "fsync_on_write": row.fsync, "key_id": "matrix"}


def change_preset(job: Job) -> None:
    """Give the preset of the row the settings of the row, and the sink where it is made by name."""
    assert job.row.preset is not None
    name = presets._DEPRECATED_ALIASES.get(job.row.preset, job.row.preset)
    preset = presets.PRESETS[name]
    preset["core"].update(core_of(job.row))
    if job.row.logger == "runtime":
        preset["core"]["sinks"] = ["sealed"]
        preset["plugins"] = {"allow_external": True}
        preset.setdefault("sink_config", {})["extra"] = {"sealed": options_of(job)}


def settings_of(job: Job) -> fapilog.Settings | None:
    """Return the settings that name the sink, None where the environment has them."""
    row = job.row
    if row.preset is not None:
        # As `get_logger(preset=…)` has them: `runtime` takes settings only.
        return fapilog._prepare_logger(
            None, preset=row.preset, format=None, settings=None, sinks=None, auto_detect=True, environment=None
        )[1]
    if row.source == "environment":
        return None
    sink_config = (
        {"sealed": typed_of(row, job.folder)} if row.source == "typed" else {"extra": {"sealed": options_of(job)}}
    )
    core = {**core_of(row), "sinks": ["sealed"]}
    return fapilog.Settings(core=core, sink_config=sink_config, plugins={"allow_external": True})


def arguments_of(job: Job) -> dict[str, Any]:
    """Return what `get_logger` and `get_async_logger` are called with."""
    if job.row.preset is not None:
        return {"preset": job.row.preset, "sinks": [SealedSink(**options_of(job))]}
    settings = settings_of(job)
    return {} if settings is None else {"settings": settings}


def sealed_logger(job: Job) -> Any:
    """Return a logger of `get_sealed_logger`, told in the way of the row."""
    row = job.row
    if row.preset is not None:
        return get_sealed_logger(preset=row.preset, **options_of(job))
    if row.source == "environment":
        return get_sealed_logger(**options_of(job))
    settings = fapilog.Settings(core=core_of(row))
    if row.source == "extra":
        return get_sealed_logger(settings=settings, config=options_of(job))
    typed = fapilog.Settings(sink_config={"sealed": typed_of(row, job.folder)}).sink_config.sealed
    return get_sealed_logger(settings=settings, config=typed)


# What is logged.


def event(number: int) -> tuple[str, str, dict[str, Any]]:
    """Return level, message and members of an event."""
    members = {"n": number, "url": f"https://user:{IN_ADDRESS}@example.org/{number}", "password": IN_FIELD}
    return LEVELS[number % len(LEVELS)], f"event {number}", members


def numbers(job: Job) -> Iterator[int]:
    """Give the numbers of events, and end the program from another thread in the middle of it where that is asked."""
    middle = threading.Event()
    if job.row.end == "own sigterm":

        def end() -> None:
            middle.wait()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end, daemon=True).start()
    for number in job.numbers:
        yield number
        if number == job.first + job.count // 2:
            middle.set()


def log_all(job: Job, logger: Any) -> None:
    for number in numbers(job):
        level, message, members = event(number)
        getattr(logger, level)(message, **members)
        job.tell(f"accepted {number}")


async def log_all_async(job: Job, logger: Any) -> None:
    for number in numbers(job):
        level, message, members = event(number)
        await getattr(logger, level)(message, **members)
        job.tell(f"accepted {number}")
        if number % 16 == 0:
            await asyncio.sleep(0)


# How it ends.


def end_now(job: Job, watch: Watch) -> None:
    """End in the ways that are the same for all loggers; return where another is asked for."""
    end = job.row.end
    if end == "exit":
        sys.exit(CODES[end])
    if end == "exception":
        raise RuntimeError("on purpose")
    if end == "os._exit":
        watch.all_written.wait()
        os._exit(CODES[end])
    if end == "kill":
        watch.all_written.wait()
        job.tell("ready")
    if end in {"kill", "sigterm", "own sigterm"}:
        wait_for_ever()


def wait_for_ever() -> NoReturn:
    while True:
        signal.pause()


def run(job: Job, watch: Watch) -> None:
    """Log with a sync logger."""
    with ExitStack() as stack:
        if job.row.logger == "runtime":
            settings = settings_of(job)
            logger: Any = stack.enter_context(fapilog.runtime(settings=settings))
        elif job.row.logger == "sealed":
            logger = sealed_logger(job)
        else:
            logger = fapilog.get_logger(**arguments_of(job))
        log_all(job, logger)
        end_now(job, watch)
    if job.row.end == "drain":
        dropped = logger._dropped if job.row.logger == "runtime" else asyncio.run(logger.stop_and_drain()).dropped
        job.tell(f"dropped {dropped}")


async def run_async(job: Job, watch: Watch) -> None:
    """Log with an async logger."""
    logger = await fapilog.get_async_logger(**arguments_of(job))
    await log_all_async(job, logger)
    if job.row.end in {"os._exit", "kill"}:
        await asyncio.to_thread(watch.all_written.wait)
    if job.row.end == "drain":
        job.tell(f"dropped {(await logger.drain()).dropped}")
    elif job.row.end == "kill":
        job.tell("ready")
        await asyncio.Event().wait()
    elif job.row.end in {"sigterm", "own sigterm"}:
        await asyncio.Event().wait()
    else:
        end_now(job, watch)


def main(text: str) -> None:
    members = json.loads(text)
    job = Job(row=Row(**members.pop("row")), **members)
    watch = Watch(job)
    if job.row.preset is not None:
        change_preset(job)
    if job.row.logger == "fastapi":
        from integration.matrix.serving import serve

        serve(job, watch)
    elif job.row.logger == "async":
        asyncio.run(run_async(job, watch))
    else:
        run(job, watch)


if __name__ == "__main__":
    main(sys.argv[1])
