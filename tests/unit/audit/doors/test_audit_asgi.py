"""What the middleware records of a request, and what it leaves alone."""

from __future__ import annotations

import asyncio
import sys

import pytest
from unit.audit.doors.driving import Server, answering, get, http_scope

from fapilog_audit import AuditMiddleware, AuditTrail, CompliancePolicy, ConfigError, audit_context, doors
from fapilog_audit.testing import assert_audited, recorded_events
from fapilog_tamper.errors import HintedError


@pytest.fixture
async def trail(tmp_path):
    policy = CompliancePolicy(real_time_alerts=False)
    async with AuditTrail(policy, tmp_path / "log") as opened:
        yield opened


def only(trail):
    (event,) = recorded_events(trail)
    return event


async def test_a_request_is_one_event(trail):
    agent = {"User-Agent": "curl/8", "X-Request-ID": "r-1"}
    server = await get(AuditMiddleware(answering(200, b"a", b"b"), trail), headers=agent)
    assert server.kinds == ["start", "body", "body", "body"]
    event = only(trail)
    assert (event.event_type, event.log_level, event.outcome) == ("data_access", "info", "success")
    assert (event.component, event.operation, event.message) == ("http", "GET", "GET /orders/17: 200")
    assert (event.client_ip, event.user_agent, event.request_id) == ("192.0.2.7", "curl/8", "r-1")
    assert event.metadata.pop("latency_ms") >= 0
    assert event.metadata == {"method": "GET", "path": "/orders/17", "status": 200}


async def test_neither_body_nor_query_string_nor_other_headers_are_recorded(trail):
    async def app(scope, receive, send):
        await receive()
        await answering(200, b"answer-secret")(scope, receive, send)

    server = Server({"type": "http.request", "body": b"question-secret"})
    await server.serve(AuditMiddleware(app, trail), http_scope(headers={"Authorization": "header-secret"}))
    assert b"secret" not in only(trail).sealed_line


@pytest.mark.parametrize(
    ("status", "outcome", "level", "kind"),
    [
        (204, "success", "info", "data_access"),
        (302, "success", "info", "data_access"),
        (401, "denied", "security", "authentication_failed"),
        (403, "denied", "security", "authorization_failed"),
        (404, "failure", "warning", "data_access"),
        (503, "failure", "error", "data_access"),
    ],
)
async def test_the_status_makes_outcome_level_and_type(trail, status, outcome, level, kind):
    await get(AuditMiddleware(answering(status), trail))
    event = only(trail)
    assert (event.outcome, event.log_level, event.event_type) == (outcome, level, kind)


async def test_denials_can_be_events_as_any_others(trail):
    await get(AuditMiddleware(answering(403), trail, denials=False))
    event = only(trail)
    assert (event.outcome, event.log_level, event.event_type) == ("denied", "warning", "data_access")


async def test_the_event_is_stored_before_the_last_piece_is_passed_on(trail):
    seen = []

    class Watching(Server):
        async def send(self, message):
            seen.append((message["type"], len(recorded_events(trail))))

    await Watching().serve(AuditMiddleware(answering(200, b"a"), trail), http_scope())
    assert [number for _, number in seen] == [0, 0, 1]


async def test_the_start_is_held_back_until_there_is_a_body(trail):
    server = Server()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert server.sent == []
        await send({"type": "http.response.pathsend", "path": "/x"})

    await server.serve(AuditMiddleware(app, trail), http_scope())
    assert server.kinds == ["start", "pathsend"]
    assert only(trail).outcome == "success"


async def test_messages_around_the_body_are_passed_on_as_they_come(trail):
    async def app(scope, receive, send):
        await send({"type": "http.response.debug"})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"a"})
        await send({"type": "http.response.trailers", "headers": []})

    server = Server()
    await server.serve(AuditMiddleware(app, trail), http_scope())
    assert server.kinds == ["debug", "start", "body", "trailers"]
    assert only(trail).outcome == "success"


async def test_an_answer_without_a_body_is_left_to_the_server(trail):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    server = Server()
    await server.serve(AuditMiddleware(app, trail), http_scope())
    assert server.kinds == ["start"]
    assert only(trail).metadata["status"] == 200


async def test_no_answer_at_all_is_a_failure(trail):
    async def app(scope, receive, send):
        return

    await Server().serve(AuditMiddleware(app, trail), http_scope())
    event = only(trail)
    assert (event.outcome, event.message, "status" in event.metadata) == ("failure", "GET /orders/17: no answer", False)


async def test_an_error_of_the_application_is_recorded_and_goes_on_unchanged(trail):
    error = KeyError("gone")

    async def app(scope, receive, send):
        raise error

    with pytest.raises(KeyError) as raised:
        await get(AuditMiddleware(app, trail))
    assert raised.value is error
    event = only(trail)
    assert (event.outcome, event.log_level, event.metadata["status"]) == ("failure", "error", 500)
    assert event.error["type"] == "KeyError"


async def test_an_error_in_the_middle_of_an_answer_keeps_its_status(trail):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        await get(AuditMiddleware(app, trail))
    event = only(trail)
    assert (event.outcome, event.metadata["status"]) == ("failure", 200)


async def test_what_fails_behind_the_answer_is_an_event_of_its_own(trail):
    async def app(scope, receive, send):
        await answering()(scope, receive, send)
        raise ValueError("background task")

    with pytest.raises(ValueError, match="background"):
        await get(AuditMiddleware(app, trail), headers={"x-request-id": "r-9"})
    assert_audited(trail, "data_access", count=1, outcome="success", request_id="r-9")
    assert_audited(trail, "error_occurred", count=1, outcome="failure", request_id="r-9", path="/orders/17")


async def test_a_client_that_leaves_is_recorded(trail):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    await Server({"type": "http.disconnect"}).serve(AuditMiddleware(app, trail), http_scope())
    event = only(trail)
    assert (event.outcome, event.log_level, event.metadata["status"]) == ("disconnected", "warning", 200)


async def test_a_server_that_says_with_an_error_that_the_client_left_is_understood(trail):
    with pytest.raises(ConnectionResetError):
        await Server(refuse=ConnectionResetError()).serve(AuditMiddleware(answering(200, b"a"), trail), http_scope())
    event = only(trail)
    assert (event.outcome, event.error) == ("disconnected", None)


async def test_a_client_that_left_before_it_got_the_end_is_no_second_event(trail):
    with pytest.raises(ConnectionResetError):
        await Server(refuse=ConnectionResetError()).serve(AuditMiddleware(answering(), trail), http_scope())
    assert len(recorded_events(trail)) == 1


async def test_a_request_that_is_cancelled_is_recorded(trail):
    begun = asyncio.Event()

    async def app(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(get(AuditMiddleware(app, trail)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only(trail).outcome == "cancelled"


async def test_an_event_that_has_begun_is_recorded_even_if_the_request_is_cancelled_meanwhile(tmp_path):
    trail = AuditTrail(storage_path=tmp_path / "log")
    asked = asyncio.Event()

    async def app(scope, receive, send):
        asked.set()
        await answering()(scope, receive, send)

    # Its start waits for this lock, in a thread.
    with trail._life:
        task = asyncio.create_task(get(AuditMiddleware(app, trail)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (writing,) = doors._begun
    await writing
    assert only(trail).outcome == "success"
    await trail.stop()


async def test_paths_to_skip_are_exact_unless_they_end_with_a_slash(trail):
    app = AuditMiddleware(answering(), trail, skip=["/health", "/static/", "/"])
    for path in ("/health", "/static/a.css", "/"):
        await get(app, path)
    assert recorded_events(trail) == []
    for path in ("/health/records/17", "/healthy", "/static", "/x"):
        await get(app, path)
    assert [event.metadata["path"] for event in recorded_events(trail)] == [
        "/health/records/17",
        "/healthy",
        "/static",
        "/x",
    ]


async def test_probes_are_skipped_unless_told_otherwise(trail):
    await get(AuditMiddleware(answering(), trail), "/metrics")
    assert recorded_events(trail) == []
    await get(AuditMiddleware(answering(), trail, skip=()), "/metrics")
    assert len(recorded_events(trail)) == 1


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (False, "203.0.113.9", "192.0.2.7"),
        (True, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9:41000, 10.0.0.1", "203.0.113.9"),
        (3, "[2001:db8::1]:443", "2001:db8::1"),
        (True, "not-an-address", "192.0.2.7"),
        (True, "", "192.0.2.7"),
    ],
)
async def test_the_client_comes_from_as_many_proxies_as_are_trusted(trail, proxies, forwarded, expected):
    await get(AuditMiddleware(answering(), trail, trust_proxy=proxies), headers={"X-Forwarded-For": forwarded})
    assert only(trail).client_ip == expected


async def test_a_request_id_is_taken_if_it_is_sane_and_made_otherwise(trail):
    app = AuditMiddleware(answering(), trail)
    for given in ("ok-1", "bad id", 'x"', "y" * 129):
        await get(app, headers={"X-Request-ID": given})
    with audit_context(request_id="outer-1"):
        await get(app)
    await get(AuditMiddleware(answering(), trail, request_id_header="X-Trace"), headers={"x-trace": "t-1"})
    await get(AuditMiddleware(answering(), trail, request_id_header=None), headers={"x-request-id": "forged"})
    ids = [event.request_id for event in recorded_events(trail)]
    assert (ids[0], ids[4], ids[5]) == ("ok-1", "outer-1", "t-1")
    assert all(len(made) == 36 for made in (*ids[1:4], ids[6]))
    assert len(set(ids)) == 7


async def test_events_within_carry_the_request_and_the_user(trail):
    async def app(scope, receive, send):
        await trail.log_event("acme.inside", "inside")
        await asyncio.to_thread(trail.log, "acme.inside", "in a thread")
        await answering()(scope, receive, send)

    async def identify(scope):
        return {"user_id": "u-1", "tenant_id": "t-1", "plan": "gold"}

    await get(AuditMiddleware(app, trail, identify=identify), headers={"X-Request-ID": "r-1", "User-Agent": "x"})
    assert len(recorded_events(trail)) == 3
    for event in recorded_events(trail):
        found = (event.user_id, event.tenant_id, event.request_id, event.client_ip, event.user_agent)
        assert found == ("u-1", "t-1", "r-1", "192.0.2.7", "x")
    assert_audited(trail, "data_access", plan="gold")
    assert await trail.log_event("acme.outside", "the context ends with the request")
    assert recorded_events(trail)[-1].request_id is None


class User:
    is_authenticated = True

    def __init__(self, **names):
        vars(self).update(names)


class Anonymous(User):
    is_authenticated = False


class Unfinished:
    is_authenticated = True

    @property
    def identity(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"user": "u-1"}, "u-1"),
        ({"user": User(identity="u-2", display_name="Ann")}, "u-2"),
        ({"user": User(id=17)}, "17"),
        ({"user": Anonymous(display_name="guest")}, None),
        ({"user": Unfinished()}, None),
        ({"state": {"user_id": "u-3"}}, "u-3"),
        ({"state": {"user": User(pk=4), "user_id": "u-3"}}, "4"),
        ({"user": "u-1", "state": {"user_id": "u-3"}}, "u-1"),
        ({}, None),
    ],
)
async def test_the_user_is_found_in_the_scope(trail, scope, expected):
    await get(AuditMiddleware(answering(), trail), **scope)
    assert only(trail).user_id == expected


async def test_what_the_application_leaves_in_the_state_is_seen(trail):
    async def app(scope, receive, send):
        inner = dict(scope)
        inner["state"].update(user_id="u-5", tenant_id="t-5")
        await answering()(inner, receive, send)

    await get(AuditMiddleware(app, trail))
    assert (only(trail).user_id, only(trail).tenant_id) == ("u-5", "t-5")


async def test_identify_comes_before_the_scope(trail):
    await get(AuditMiddleware(answering(), trail, identify=lambda scope: "u-9"), user="u-1")
    assert only(trail).user_id == "u-9"


@pytest.mark.parametrize(("answer", "told"), [(KeyError("sub"), "KeyError"), (17, "it returned int")])
async def test_identify_that_fails_refuses_no_request(trail, answer, told):
    def identify(scope):
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = await get(AuditMiddleware(answering(), trail, identify=identify))
    assert server.kinds == ["start", "body"]
    assert only(trail).metadata["identify_error"] == told


async def test_metadata_never_takes_the_name_of_a_field(trail):
    await get(AuditMiddleware(answering(), trail, identify=lambda scope: {"message": "m", "outcome": "o"}))
    event = only(trail)
    assert (event.outcome, event.metadata["message_"], event.metadata["outcome_"]) == ("success", "m", "o")


async def test_the_type_may_be_an_own_one_or_a_function(trail):
    await get(AuditMiddleware(answering(), trail, event_type="acme.http.request"))
    await get(AuditMiddleware(answering(201), trail, event_type=lambda scope, status: f"acme.s{status}"))
    assert [event.event_type for event in recorded_events(trail)] == ["acme.http.request", "acme.s201"]


@pytest.mark.parametrize("broken", [lambda scope, status: "nonsense", lambda scope, status: scope["nothing"]])
async def test_a_function_for_the_type_that_fails_loses_no_event(trail, broken):
    with pytest.warns(RuntimeWarning, match="event_type failed"):
        await get(AuditMiddleware(answering(), trail, event_type=broken))
    assert only(trail).event_type == "data_access"


async def test_the_component_can_be_named(trail):
    await get(AuditMiddleware(answering(), trail, component="api"))
    assert only(trail).component == "api"


async def test_long_paths_and_agents_are_cut(trail):
    await get(AuditMiddleware(answering(), trail), "/" + "x" * 9000, headers={"User-Agent": "y" * 9000})
    assert (len(only(trail).metadata["path"]), len(only(trail).user_agent)) == (2049, 2049)


async def test_a_storage_that_fails_breaks_no_request_where_the_policy_contains_it(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(storage_path=tmp_path / "file" / "log")
    with pytest.warns(RuntimeWarning):
        server = await get(AuditMiddleware(answering(200, b"a"), trail))
    assert server.kinds == ["start", "body", "body"]
    assert (await trail.get_statistics())["pending"] == 1
    assert len(await trail.stop(0.1)) == 1


async def test_a_storage_that_fails_fails_the_request_where_the_policy_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")
    server = Server()
    with pytest.raises(HintedError):
        await server.serve(AuditMiddleware(answering(), trail), http_scope())
    assert server.sent == []


async def test_an_answer_that_has_begun_is_cut_off_where_the_policy_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")
    server = Server()
    with pytest.raises(HintedError):
        await server.serve(AuditMiddleware(answering(200, b"a"), trail), http_scope())
    assert server.kinds == ["start", "body"]


async def test_an_application_that_goes_on_regardless_gets_nothing_through(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")

    async def app(scope, receive, send):
        for _ in range(2):
            with pytest.raises(HintedError):
                await answering()(scope, receive, send)

    server = Server()
    await server.serve(AuditMiddleware(app, trail), http_scope())
    assert server.sent == []


async def test_the_error_of_the_application_wins_over_that_of_the_storage(tmp_path):
    (tmp_path / "file").write_text("no folder")
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "file" / "log")

    async def app(scope, receive, send):
        raise ValueError("mine")

    with pytest.warns(RuntimeWarning, match="is not recorded"), pytest.raises(ValueError, match="mine"):
        await get(AuditMiddleware(app, trail))


async def test_a_trail_that_was_stopped_breaks_no_request_but_it_is_told(trail):
    await trail.stop()
    with pytest.warns(RuntimeWarning, match="is not recorded .*stopped"):
        server = await get(AuditMiddleware(answering(), trail))
    assert server.kinds == ["start", "body"]


async def test_other_kinds_of_connections_pass_through(trail):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    scope = {"type": "acme"}
    await AuditMiddleware(app, trail)(scope, None, None)
    assert seen == [{"type": "acme"}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skip": "/health"}, "skip is"),
        ({"skip": ["health"]}, "skip is"),
        ({"identify": "u-1"}, "identify is"),
        ({"event_type": "nonsense"}, "event_type is"),
        ({"trust_proxy": -1}, "trust_proxy is"),
        ({"trust_proxy": "yes"}, "trust_proxy is"),
        ({"trail": "audit"}, "trail is"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AuditMiddleware(answering(), **settings)


def test_a_trail_and_a_name_are_one_too_many(tmp_path):
    with pytest.raises(ConfigError, match="both given"):
        AuditMiddleware(answering(), AuditTrail(storage_path=tmp_path), name="x")


async def test_no_framework_is_imported(tmp_path):
    code = (
        "import sys, fapilog_audit; fapilog_audit.AuditMiddleware; "
        "print([n in sys.modules for n in ('starlette', 'fastapi', 'uvicorn')])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert printed.split() == [b"[False,", b"False,", b"False]"]
