"""The middleware beside requests: the life of the application, websockets, and frameworks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from unit.audit.doors.driving import Server, answering, get

from fapilog_audit import AuditMiddleware, AuditTrail, CompliancePolicy, get_audit_trail, reset_all_audit_trails
from fapilog_audit.instances import find_audit_trail
from fapilog_audit.testing import assert_audited, recorded_events
from fapilog_tamper.errors import HintedError


@pytest.fixture
async def folder(tmp_path, monkeypatch):
    """The default trail lies in here, and is gone afterwards."""
    monkeypatch.setenv("FAPILOG_AUDIT_TEST_FOLDER", str(tmp_path / "logs"))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    yield tmp_path / "logs"
    await reset_all_audit_trails()


@pytest.fixture
async def trail(tmp_path):
    async with AuditTrail(CompliancePolicy(real_time_alerts=False), tmp_path / "log") as opened:
        yield opened


STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


def living(started=lambda: None, ended=lambda: None):
    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await answering()(scope, receive, send)
            return
        await receive()
        started()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ended()
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def live(app):
    server = Server(STARTUP, SHUTDOWN)
    await server.serve(app, {"type": "lifespan"})
    return [message["type"] for message in server.sent]


async def test_the_trail_is_made_with_the_application_and_stopped_with_it(folder):
    seen = []

    def ended():
        seen.append(find_audit_trail())
        seen[1].log("acme.end", "the application still logs")

    app = AuditMiddleware(living(lambda: seen.append(find_audit_trail()), ended))
    assert await live(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert seen[0] is None
    assert seen[1].storage_path == folder
    assert find_audit_trail() is None
    assert_audited(folder, "acme.end", count=1)
    assert len(list(folder.glob("*.manifest.json"))) == 1


async def test_a_trail_that_the_application_made_is_used_and_left_to_it(folder, tmp_path):
    made = []

    class Making(Server):
        async def receive(self):
            made.append(await get_audit_trail(storage_path=tmp_path / "mine"))
            return await super().receive()

    await Making(STARTUP, SHUTDOWN).serve(AuditMiddleware(living()), {"type": "lifespan"})
    assert find_audit_trail() is made[0]
    assert made[0].storage_path == tmp_path / "mine"


async def test_a_name_chooses_the_trail(folder):
    app = AuditMiddleware(living(), name="web")
    await get(app)
    assert find_audit_trail("web").storage_path == folder / "web"
    assert len(recorded_events(folder / "web")) == 1


async def test_a_trail_that_was_given_is_started_and_not_stopped(tmp_path):
    trail = AuditTrail(storage_path=tmp_path / "log")
    await live(AuditMiddleware(living(), trail))
    await trail.log_event("acme.after", "it takes events")
    assert await trail.stop() == []


async def test_a_trail_that_cannot_start_stops_the_application_from_starting(tmp_path):
    (tmp_path / "file").write_text("no folder")
    policy = CompliancePolicy(on_storage_failure="raise")

    async def app(scope, receive, send):
        # As Starlette does: what went wrong is told, and raised.
        try:
            await living()(scope, receive, send)
        except BaseException:
            await send({"type": "lifespan.startup.failed", "message": "a second word"})
            raise

    server = Server(STARTUP)
    audited = AuditMiddleware(app, AuditTrail(policy, tmp_path / "file" / "log"))
    with pytest.raises(HintedError, match="file"):
        await server.serve(audited, {"type": "lifespan"})
    (message,) = server.sent
    assert message["type"] == "lifespan.startup.failed"
    assert "file" in message["message"]


async def test_an_application_without_a_life_is_passed_on_as_it_is(folder):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise AssertionError("http only")
        await answering()(scope, receive, send)

    server = Server(STARTUP)
    with pytest.raises(AssertionError, match="http only"):
        await server.serve(AuditMiddleware(app), {"type": "lifespan"})
    assert server.sent == []
    await get(AuditMiddleware(app))
    assert len(recorded_events(folder)) == 1


async def test_an_application_that_ends_without_a_word_leaves_no_trail_behind(folder):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        await Server(STARTUP).serve(AuditMiddleware(app), {"type": "lifespan"})
    assert find_audit_trail() is None


# Websockets.


async def connect(app, *incoming, refuse=None):
    server = Server({"type": "websocket.connect"}, *incoming, refuse=refuse)
    scope = {"type": "websocket", "path": "/live", "headers": [], "client": ("192.0.2.7", 1)}
    await server.serve(app, scope)
    return server


def socket(*answers, then=None):
    async def app(scope, receive, send):
        await receive()
        for answer in answers:
            await send({"type": f"websocket.{answer[0]}", **answer[1]})
        if then is not None:
            await receive()
            raise then

    return app


ACCEPT = ("accept", {})


@pytest.mark.parametrize(
    ("answers", "outcome", "kind", "facts"),
    [
        ([ACCEPT, ("close", {"code": 1000})], "success", "data_access", {"close_code": 1000}),
        ([ACCEPT, ("send", {"text": "x"}), ("close", {})], "success", "data_access", {"close_code": 1000}),
        ([ACCEPT, ("close", {"code": 1011})], "failure", "data_access", {"close_code": 1011}),
        ([("close", {"code": 1008})], "denied", "authorization_failed", {"status": 403}),
        ([("http.response.start", {"status": 401})], "denied", "authentication_failed", {"status": 401}),
        ([], "failure", "data_access", {}),
    ],
)
async def test_a_websocket_is_one_event_at_its_end(trail, answers, outcome, kind, facts):
    await connect(AuditMiddleware(socket(*answers), trail))
    (event,) = recorded_events(trail)
    assert (event.outcome, event.event_type, event.operation) == (outcome, kind, "WEBSOCKET")
    assert {name: event.metadata.get(name) for name in facts} == facts
    assert event.metadata["path"] == "/live"


class WebSocketDisconnect(Exception):  # noqa: N818 (as it is called in Starlette)
    """The client has gone."""


@pytest.mark.parametrize(
    ("code", "error", "outcome"),
    [
        (1000, WebSocketDisconnect(), "success"),
        (1006, WebSocketDisconnect(), "disconnected"),
        (1000, ValueError("mine"), "failure"),
    ],
)
async def test_a_websocket_that_the_client_closes_ends_by_its_code(trail, code, error, outcome):
    app = AuditMiddleware(socket(ACCEPT, then=error), trail)
    with pytest.raises(type(error)):
        await connect(app, {"type": "websocket.disconnect", "code": code})
    (event,) = recorded_events(trail)
    assert (event.outcome, event.metadata["close_code"]) == (outcome, code)
    assert (event.error is None) is (outcome != "failure")


async def test_a_websocket_that_fails_in_the_handshake_has_a_status(trail):
    app = AuditMiddleware(socket(then=ValueError("early")), trail)
    with pytest.raises(ValueError, match="early"):
        await connect(app, {"type": "websocket.receive", "text": ""})
    assert_audited(trail, count=1, status=500, outcome="failure")


async def test_a_websocket_that_is_cancelled_is_recorded(trail):
    app = AuditMiddleware(socket(ACCEPT, then=asyncio.CancelledError()), trail)
    with pytest.raises(asyncio.CancelledError):
        await connect(app, {"type": "websocket.receive", "text": ""})
    assert_audited(trail, count=1, outcome="cancelled")


# FastAPI.


@pytest.fixture
async def client(trail):
    app = FastAPI()
    app.add_middleware(AuditMiddleware, trail=trail)
    router = APIRouter(prefix="/v1")

    @app.get("/orders/{number}")
    async def order(number: int):
        return number

    @router.get("/users/{user}")
    def user(user: str):
        raise HTTPException(403)

    @app.get("/broken")
    async def broken():
        raise ValueError("mine")

    inner = FastAPI()
    inner.get("/items/{item}")(order)
    app.include_router(router)
    app.mount("/shop", inner)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/orders/17", "/orders/{number}", 200),
        ("/v1/users/ann", "/v1/users/{user}", 403),
        ("/shop/items/x", "/shop/items/{item}", 422),
        ("/broken", "/broken", 500),
        ("/nowhere", None, 404),
    ],
)
async def test_the_template_of_the_path_is_that_of_fastapi(client, trail, path, route, status):
    assert (await client.get(path)).status_code == status
    event = assert_audited(trail, path=path, status=status)
    assert event.metadata.get("route") == route


async def test_a_request_whose_event_is_not_stored_is_a_500_with_fastapi(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")
    app = FastAPI()
    app.add_middleware(AuditMiddleware, trail=trail)
    app.get("/")(lambda: "never seen")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/")
    assert (answer.status_code, "never seen" in answer.text) == (500, False)


async def test_the_lifespan_of_fastapi_goes_through(folder):
    seen = []

    @asynccontextmanager
    async def lifespan(app):
        seen.append("begun")
        yield {"ready": True}
        seen.append("ended")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(AuditMiddleware)
    server, state = Server(STARTUP, SHUTDOWN), {}
    await server.serve(app, {"type": "lifespan", "state": state})
    assert (server.kinds, seen, state) == (["complete", "complete"], ["begun", "ended"], {"ready": True})
