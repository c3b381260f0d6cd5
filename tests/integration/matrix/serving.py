"""A FastAPI app that logs, under uvicorn on a free loopback port; `program` runs it."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import fapilog
import uvicorn
from fapilog.fastapi import FastAPIBuilder, get_request_logger
from fapilog.fastapi.logging import LoggingMiddleware
from fastapi import Depends, FastAPI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from integration.matrix.program import Job, Watch

LOGGER = Depends(get_request_logger)


def make_app(job: Job, watch: Watch) -> FastAPI:
    """Return the app: `POST /events` logs all, `POST /end` ends the process without further ado."""
    from integration.matrix.program import CODES, arguments_of, log_all_async

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logger = await fapilog.get_async_logger(**arguments_of(job))
        app.state.fapilog_logger = logger
        yield
        job.tell(f"dropped {(await logger.drain()).dropped}")

    own = job.row.source != "environment"
    app = FastAPI(lifespan=lifespan if own else FastAPIBuilder().build())
    if own:
        app.add_middleware(LoggingMiddleware)

    @app.post("/events")
    async def events(logger: Any = LOGGER) -> dict[str, int]:
        await log_all_async(job, logger)
        return {"logged": job.count}

    @app.post("/end")
    def end() -> None:
        # In a thread of the pool, so that the loop goes on meanwhile.
        watch.all_written.wait()
        if job.row.end == "os._exit":
            os._exit(CODES["os._exit"])
        job.tell("ready")

    return app


def serve(job: Job, watch: Watch) -> None:
    """Serve until a signal comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        job.tell(f"port {listener.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(make_app(job, watch), log_level="warning")).run(sockets=[listener])
