"""A service as its users write one: FastAPI, the middleware, and an event of its own. Told by its environment where."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from fapilog_audit import AuditMiddleware, AuditTrail

trail = AuditTrail(storage_path=os.environ["SERVICE_LOG"], key="env:SERVICE_KEY?kid=service&alg=HMAC-SHA256")


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with trail:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(AuditMiddleware, trail=trail)


@app.post("/orders/{number}")
async def order(number: int, request: Request) -> dict[str, str | int]:
    request.state.user_id = f"u-{number % 7}"
    event_id = await trail.log_event("acme.order.taken", "an order was taken", order=number)
    return {"event": event_id, "worker": os.getpid()}


simple = FastAPI()
"""The same without a trail of its own: the middleware makes the default one."""
simple.add_middleware(AuditMiddleware)


@simple.get("/orders/{number}")
async def read(number: int) -> int:
    return number


@simple.get("/endless")
async def endless() -> StreamingResponse:
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0)

    return StreamingResponse(pieces())
