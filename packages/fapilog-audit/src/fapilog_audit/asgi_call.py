"""One connection of an ASGI application: what is known of it, and what its messages say of how it goes.

`asgi` decides what is recorded of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from fapilog_audit.context import current_context
from fapilog_audit.doors import CONTEXT_FIELDS, metadata_of
from fapilog_audit.stamp import new_stamp

__all__ = ["Call", "HttpCall", "Message", "Receive", "Scope", "Send", "SocketCall", "request_fields"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LONGEST: Final = 2048
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_USER_IDS: Final = ("identity", "id", "pk", "username", "display_name")
_GONE: Final = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})
"""What frameworks raise in the application when the client has gone; none of them is imported here."""

_BODIES: Final = frozenset({"http.response.body", "http.response.zerocopysend"})
_PATH_SENT: Final = "http.response.pathsend"
_CLIENT_ERROR: Final = 400
_DENIED: Final = frozenset({401, 403})
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500
_CLEAN: Final = frozenset({None, 1000, 1001, 1005})
"""Close codes of a websocket that ended as meant (RFC 6455, section 7.4.1)."""


class Call(ABC):
    """One connection.

    Attributes:
        identity: what the application's own function said of who asks.
        is_told: its event is recorded, or that was tried.
        failure: why its event could not be recorded; nothing of the answer is passed on from there.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.path = _cut(str(scope["path"]))
        self.identity: dict[str, Any] = {}
        self.is_told = False
        self.failure: BaseException | None = None
        self.status: int | None = None
        self.gone = False
        self._began = perf_counter()
        self._root = str(scope.get("root_path", ""))

    @property
    @abstractmethod
    def operation(self) -> str:
        """What is being done."""

    @abstractmethod
    def watched(self, receive: Receive) -> Receive:
        """Return `receive`, watched for the end of the connection."""

    @abstractmethod
    def told(self, send: Send, tell: Callable[[Any], Awaitable[None]]) -> Send:
        """Return `send`, watched for the answer; `tell` is called before the last piece of it."""

    @abstractmethod
    async def returned(self, send: Send) -> None:
        """Do what is left when the application has returned."""

    @abstractmethod
    def status_after(self, error: BaseException | None) -> int | None:
        """Return the status that the client gets."""

    @abstractmethod
    def outcome(self, status: int | None, error: BaseException | None) -> str:
        """Return how it ended, in a word."""

    @abstractmethod
    def ended(self, status: int | None) -> str:
        """Return how it ended, for people."""

    def fields(self, status: int | None) -> dict[str, Any]:
        """Return what the event says of it."""
        others = {name: value for name, value in self.identity.items() if name not in CONTEXT_FIELDS}
        facts = {
            **metadata_of(others),
            "method": self.operation,
            "path": self.path,
            "route": self._route(),
            "status": status,
            "latency_ms": round((perf_counter() - self._began) * 1000, 3),
        }
        return {**{name: value for name, value in facts.items() if value is not None}, **self.who()}

    def who(self) -> dict[str, str]:
        """Return who asks: what the application said first, then what the framework and others left in the scope."""
        state = self.scope.get("state")
        state = state if isinstance(state, Mapping) else {}
        user = _user_of(self.scope.get("user")) or _user_of(state.get("user"))
        found: dict[str, Any] = {name: state.get(name) for name in CONTEXT_FIELDS}
        if user is not None:
            found["user_id"] = user
        found |= {name: self.identity[name] for name in CONTEXT_FIELDS if name in self.identity}
        return {name: text for name, value in found.items() if (text := _text_of(value)) is not None}

    def is_disconnect(self, error: BaseException) -> bool:
        """Tell whether an error says no more than that the client has gone."""
        return type(error).__name__ in _GONE or (self.gone and isinstance(error, OSError | asyncio.CancelledError))

    def _route(self) -> str | None:
        """Return the template of the path that the framework has found, below what the application is mounted on."""
        path = getattr(_effective_route(self.scope) or self.scope.get("route"), "path_format", None)
        if path is None:
            path = getattr(self.scope.get("route"), "path", None)
        if not isinstance(path, str):
            return None
        root = str(self.scope.get("root_path", ""))
        return _cut((root.removeprefix(self._root) if root.startswith(self._root) else "") + path)


class HttpCall(Call):
    """One request."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._held: Message | None = None
        self._begun = False

    @property
    def operation(self) -> str:
        """The method."""
        return str(self.scope["method"])

    def watched(self, receive: Receive) -> Receive:
        """Return `receive`, watched for the client that leaves."""

        async def watch() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone = True
            return message

        return watch

    def told(self, send: Send, tell: Callable[[Any], Awaitable[None]]) -> Send:
        """Return `send`, with the event before the last piece of the body."""

        async def pass_on(message: Message) -> None:
            if self.failure is not None:
                raise self.failure
            kind = message["type"]
            if kind == "http.response.start":
                self.status, self._held = message["status"], message
                return
            if _is_last(message) and not self.is_told:
                try:
                    await tell(self)
                except Exception as error:
                    self.failure = error
                    raise
            if kind in _BODIES or kind == _PATH_SENT:
                await self._release(send)
            await self._send(send, message)

        return pass_on

    async def returned(self, send: Send) -> None:
        """Pass on the start of an answer that has no body: what to do about it is for the server."""
        if self.failure is None:
            await self._release(send)

    async def _release(self, send: Send) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._begun = True
            await self._send(send, held)

    async def _send(self, send: Send, message: Message) -> None:
        try:
            await send(message)
        except OSError:
            # So says a server that the client has gone (ASGI 2.4).
            self.gone = True
            raise

    def status_after(self, error: BaseException | None) -> int | None:
        """Return the status of the answer; 500 where the application failed before it had one."""
        if error is None or self._begun:
            return self.status
        return _SERVER_ERROR if isinstance(error, Exception) and not self.is_disconnect(error) else None

    def outcome(self, status: int | None, error: BaseException | None) -> str:
        """Return `success`, `denied`, `failure`, `disconnected` or `cancelled`."""
        if self.gone or (error is not None and self.is_disconnect(error)):
            return "disconnected"
        if isinstance(error, asyncio.CancelledError):
            return "cancelled"
        if error is not None or status is None:
            return "failure"
        if status in _DENIED:
            return "denied"
        return "success" if status < _CLIENT_ERROR else "failure"

    def ended(self, status: int | None) -> str:
        """Return the status."""
        return "no answer" if status is None else str(status)


class SocketCall(Call):
    """One websocket connection."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._accepted = False
        self._code: int | None = None

    @property
    def operation(self) -> str:
        """The kind of connection."""
        return "WEBSOCKET"

    def watched(self, receive: Receive) -> Receive:
        """Return `receive`, watched for the end."""

        async def watch() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.gone = True
                self._code = self._code or message.get("code")
            return message

        return watch

    def told(self, send: Send, tell: Callable[[Any], Awaitable[None]]) -> Send:  # noqa: ARG002 (its event is the last thing)
        """Return `send`, watched for the end."""

        async def pass_on(message: Message) -> None:
            kind = message["type"]
            if kind == "websocket.accept":
                self._accepted = True
            elif kind == "websocket.close":
                if not self._accepted:
                    self.status = _FORBIDDEN
                self._code = message.get("code", 1000)
            elif kind == "websocket.http.response.start":
                self.status = message["status"]
            await send(message)

        return pass_on

    async def returned(self, send: Send) -> None:
        """Do nothing: nothing was held back."""

    def status_after(self, error: BaseException | None) -> int | None:
        """Return the status of a handshake that was refused."""
        if error is None or self._accepted or self.status is not None:
            return self.status
        return _SERVER_ERROR if isinstance(error, Exception) and not self.is_disconnect(error) else None

    def outcome(self, status: int | None, error: BaseException | None) -> str:
        """Return `success`, `denied`, `failure`, `disconnected` or `cancelled`."""
        if status in _DENIED:
            return "denied"
        if error is not None and not self.is_disconnect(error):
            return "cancelled" if isinstance(error, asyncio.CancelledError) else "failure"
        if self._accepted and self._code in _CLEAN:
            return "success"
        return "disconnected" if self.gone else "failure"

    def ended(self, status: int | None) -> str:
        """Return the status of a handshake that was refused, else the close code."""
        if status is not None:
            return str(status)
        return "closed" if self._code is None else f"closed with {self._code}"

    def fields(self, status: int | None) -> dict[str, Any]:
        """Return what the event says of it."""
        code = {} if self._code is None or not self._accepted else {"close_code": self._code}
        return {**super().fields(status), **code}


def request_fields(scope: Scope, id_header: bytes | None, proxies: int) -> dict[str, str | None]:
    """Return the fields of the request that all events within it carry."""
    headers: dict[bytes, list[bytes]] = {}
    for name, value in scope.get("headers", ()):
        headers.setdefault(bytes(name).lower(), []).append(bytes(value))
    agent = headers.get(b"user-agent", [b""])[0].decode("latin-1")
    given = headers.get(id_header, [b""])[0].decode("latin-1") if id_header is not None else ""
    return {
        "request_id": given if _SANE_ID.fullmatch(given) else current_context().get("request_id") or new_stamp()[0],
        "client_ip": _client(scope, headers.get(b"x-forwarded-for", ()), proxies),
        "user_agent": _cut(agent) or None,
    }


def _client(scope: Scope, forwarded: list[bytes] | tuple[()], proxies: int) -> str | None:
    """Return the client's address; each proxy adds the one it saw at the end, what stands before may be made up."""
    if proxies:
        seen = [part.strip() for value in forwarded for part in value.decode("latin-1").split(",")]
        address = _address(seen[max(0, len(seen) - proxies)]) if seen else None
        if address is not None:
            return address
    client = scope.get("client")
    return str(client[0]) if client else None


def _address(text: str) -> str | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _user_of(user: object) -> str | None:
    """Return the id of a user object: text, or an object as Starlette, Django and others put into the scope."""
    if user is None or isinstance(user, str | int | UUID):
        return _text_of(user)
    try:
        if getattr(user, "is_authenticated", True) is False:
            return None
        found = (_text_of(getattr(user, name, None)) for name in _USER_IDS)
        return next((text for text in found if text is not None), None)
    except Exception:  # noqa: BLE001 (properties of foreign objects: Starlette's raise NotImplementedError, others ask databases)
        return None


def _text_of(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    return str(value) or None


def _effective_route(scope: Scope) -> object:
    """Return the route as FastAPI has included it, with the prefixes of its routers; `scope["route"]` lacks them."""
    own = scope.get("fastapi")
    return own.get("effective_route_context") if isinstance(own, Mapping) else None


def _is_last(message: Message) -> bool:
    kind = message["type"]
    return kind == _PATH_SENT or (kind in _BODIES and not message.get("more_body", False))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
