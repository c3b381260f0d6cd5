"""`AuditMiddleware`: who asked for what, how it ended and how long it took, for any ASGI 3 application.

    app.add_middleware(AuditMiddleware, trail=trail)        # FastAPI, Starlette
    app = AuditMiddleware(app, trail)                       # anything else

One event a request, and one a websocket connection, at its end. Never in it: bodies, the query string, headers other
than those named below; all of them hold secrets. Path and user agent are cut after 2,048 characters.

The event of a request is recorded before the last piece of the answer is passed on, so whoever got a complete answer
finds its event, whatever happens to the process then. The start of the answer is held back until the first piece of
its body, as servers do, so that a request whose event cannot be stored can still fail as a whole. `success` says that
the application made its answer, not that the client received it. This module imports no framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fapilog_audit.asgi_call import Call, HttpCall, Message, Receive, Scope, Send, SocketCall, request_fields
from fapilog_audit.context import audit_context
from fapilog_audit.doors import CONTEXT_FIELDS, Door, record
from fapilog_audit.errors import ConfigError
from fapilog_audit.instances import reset_audit_trail
from fapilog_audit.kinds import AuditEventType, AuditLogLevel, parse_event_type
from fapilog_tamper.errors import HintedError
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fapilog_audit.trail import AuditTrail

__all__ = ["AuditMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Identity = str | Mapping[str, Any] | None
Identify = Callable[[Scope], Identity | Awaitable[Identity]]
EventTypeOf = Callable[[Scope, int | None], str]

_SKIPPED: Final = ("/health", "/healthz", "/livez", "/readyz", "/metrics")
_DENIALS: Final = {401: AuditEventType.AUTHENTICATION_FAILED, 403: AuditEventType.AUTHORIZATION_FAILED}
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class _Skip:
    """Which paths are passed over."""

    paths: frozenset[str]
    below: tuple[str, ...]

    def __contains__(self, path: str) -> bool:
        return path in self.paths or path.startswith(self.below)


class AuditMiddleware:
    """Records an event for each request.

    Args:
        app: the application.
        trail: where events go. It is started with the application and not stopped: that is for whoever made it.
        name: which of the named trails, in place of `trail`; without both, the default one. One that does not exist
            when the application has started up is made then, and stopped at its shutdown.
        skip: paths that are not recorded: exactly these, and for one with a `/` at its end all below it.
        identify: gets the scope, and returns the user's id, or a mapping of `user_id`, `tenant_id`, `session_id`,
            `actor` and whatever else is to stand in the metadata, or None; may be a coroutine function. Without an
            answer the user is taken from `scope["user"]`, then from `user_id` and its like in `scope["state"]`
            (`request.state`). If it raises, the request goes on, and the event names the error as `identify_error`.
        event_type: the type of the events, or a function of scope and status that returns it.
        denials: answers 401 and 403 are events of the types `authentication_failed` and `authorization_failed` at the
            level `security`. False: they are events as any others.
        trust_proxy: how many proxies of yours stand before the application; True: one. The client is then taken from
            X-Forwarded-For, as the farthest of them saw it. False: from the connection.
        request_id_header: where the request id is taken from, if it is up to 128 characters of a plain set; else it is
            the one of the context, or a new one. None: no header is looked at.
        component: of the events.

    Raises:
        ConfigError: something that cannot work.
    """

    def __init__(  # noqa: PLR0913 (settings, each by its name)
        self,
        app: App,
        trail: AuditTrail | None = None,
        *,
        name: str | None = None,
        skip: Iterable[str] = _SKIPPED,
        identify: Identify | None = None,
        event_type: AuditEventType | str | EventTypeOf = AuditEventType.DATA_ACCESS,
        denials: bool = True,
        trust_proxy: bool | int = False,
        request_id_header: str | None = "x-request-id",
        component: str = "http",
    ) -> None:
        self._app = app
        self._door = Door(trail, name)
        self._skip = _parse_skip(skip)
        if identify is not None and not callable(identify):
            raise ConfigError(f"identify is {identify!r:.80}.", hint="Give a function of the scope.")
        self._identify = identify
        self._event_type = event_type if callable(event_type) else parse_event_type(event_type)
        self._denials = _DENIALS if denials else {}
        if not isinstance(trust_proxy, int) or trust_proxy < 0:
            raise ConfigError(f"trust_proxy is {trust_proxy!r:.80}.", hint="Give the number of proxies, or True.")
        self._proxies = int(trust_proxy)
        self._id_header = None if request_id_header is None else request_id_header.lower().encode("latin-1")
        self._component = component

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._serve_lifespan(scope, receive, send)
        elif kind not in {"http", "websocket"} or scope["path"] in self._skip:
            await self._app(scope, receive, send)
        elif kind == "http":
            await self._serve(HttpCall(scope), receive, send)
        else:
            await self._serve(SocketCall(scope), receive, send)

    # The life of the application.

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        made = failed = False

        async def pass_on(message: Message) -> None:
            # The application comes first: it may make the trail when it starts, and log until it has shut down.
            nonlocal made, failed
            if failed:
                return
            if message["type"] == "lifespan.startup.complete":
                try:
                    made = await self._start()
                except HintedError as error:
                    failed = True
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
            elif message["type"].startswith("lifespan.shutdown.") and made:
                made = False
                await reset_audit_trail(self._door.name)
            await send(message)

        try:
            await self._app(scope, receive, pass_on)
        finally:
            if made:
                await reset_audit_trail(self._door.name)

    async def _start(self) -> bool:
        """Start the trail; return whether it had to be made."""
        made = self._door.trail is None
        trail = await self._door.open()
        await trail.start()
        return made

    # A connection.

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        # What the application leaves in the state is seen here only if the dict is there before.
        call.scope.setdefault("state", {})
        fields = request_fields(call.scope, self._id_header, self._proxies)
        call.identity = await self._who(call.scope)
        who = {name: call.identity[name] for name in CONTEXT_FIELDS if name in call.identity}
        with audit_context(**fields, **who):
            try:
                await self._app(call.scope, call.watched(receive), call.told(send, self._tell))
                await call.returned(send)
            except BaseException as error:
                await self._tell_of_error(call, error)
                raise
            if not call.is_told:
                await self._tell(call)

    async def _who(self, scope: Scope) -> dict[str, Any]:
        if self._identify is None:
            return {}
        try:
            found = self._identify(scope)
            if inspect.isawaitable(found):
                found = await found
        except Exception as error:  # noqa: BLE001 (the application's code; an audit trail must not refuse its requests)
            return {"identify_error": type(error).__qualname__}
        if found is None or isinstance(found, str):
            return {"user_id": found} if found else {}
        if isinstance(found, Mapping):
            return {str(name): value for name, value in found.items() if value is not None}
        return {"identify_error": f"it returned {type(found).__qualname__}"}

    async def _tell_of_error(self, call: Call, error: BaseException) -> None:
        """Record how the application failed; its error, and no other, goes on to the server."""
        try:
            if not call.is_told:
                await self._tell(call, error)
            elif isinstance(error, Exception) and call.failure is None and not call.is_disconnect(error):
                await self._tell_late(call, error)
        except HintedError as refused:
            warn(f"the event of {call.operation} {call.path} is not recorded: {refused}")

    async def _tell(self, call: Call, error: BaseException | None = None) -> None:
        """Record the event of a connection.

        Raises:
            HintedError: it is not stored, and the policy says `raise`.
        """
        call.is_told = True
        status = call.status_after(error)
        outcome = call.outcome(status, error)
        denied = self._denials.get(status or 0) if outcome == "denied" else None
        fields = call.fields(status)
        fields |= {"component": self._component, "operation": call.operation, "outcome": outcome}
        fields["log_level"] = AuditLogLevel.SECURITY if denied else _level(outcome, status)
        if error is not None and not call.is_disconnect(error):
            fields["error"] = error
        ended = call.ended(status)
        await self._record(denied or self._type_of(call, status), f"{call.operation} {call.path}: {ended}", fields)

    async def _tell_late(self, call: Call, error: Exception) -> None:
        """Record what failed behind a complete answer: a background task, say."""
        fields = {"component": self._component, "operation": call.operation, "outcome": "failure", "error": error}
        fields |= {"log_level": AuditLogLevel.ERROR, **call.who(), "path": call.path}
        message = f"{call.operation} {call.path}: failed after its answer"
        await self._record(AuditEventType.ERROR_OCCURRED, message, fields)

    async def _record(self, event_type: str, message: str, fields: Mapping[str, Any]) -> None:
        trail = await self._door.open()
        try:
            await record(trail, event_type, message, fields)
        except HintedError as error:
            if self._door.must_raise(error):
                raise
            warn(f"an event is not recorded ({message}): {error}")

    def _type_of(self, call: Call, status: int | None) -> str:
        if not callable(self._event_type):
            return self._event_type
        try:
            return parse_event_type(self._event_type(call.scope, status))
        except Exception as error:  # noqa: BLE001 (the application's code; the event must not be lost for it)
            warn(f"event_type failed for {call.operation} {call.path}, the event is data_access: {error!r}")
            return AuditEventType.DATA_ACCESS


def _parse_skip(paths: Iterable[str]) -> _Skip:
    given = [paths] if isinstance(paths, str) else list(paths)
    wrong = [path for path in given if not isinstance(path, str) or not path.startswith("/")]
    if wrong or isinstance(paths, str):
        raise ConfigError(f"skip is {paths!r:.80}.", hint="Give a list of paths, each with a / at its beginning.")
    below = tuple(path for path in given if path.endswith("/") and path != "/")
    return _Skip(frozenset(given) - set(below), below)


def _level(outcome: str, status: int | None) -> AuditLogLevel:
    if outcome == "success":
        return AuditLogLevel.INFO
    if outcome == "failure" and (status is None or status >= _SERVER_ERROR):
        return AuditLogLevel.ERROR
    return AuditLogLevel.WARNING
