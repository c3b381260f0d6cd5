"""Driving an ASGI application by hand: what a server would give it, and what it answers."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]


def http_scope(path: str = "/orders/17", headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"token=secret",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("192.0.2.7", 4711),
        **more,
    }


class Server:
    """Gives messages to an application and keeps what it sends; `refuse` is raised by its send."""

    def __init__(self, *incoming: Message, refuse: Exception | None = None) -> None:
        self.incoming = list(incoming)
        self.sent: list[Message] = []
        self.refuse = refuse

    async def receive(self) -> Message:
        return self.incoming.pop(0)

    async def send(self, message: Message) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.sent.append(message)

    async def serve(self, app: Any, scope: dict[str, Any]) -> list[Message]:
        await app(scope, self.receive, self.send)
        return self.sent

    @property
    def kinds(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.sent]


def answering(status: int = 200, *pieces: bytes) -> Any:
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def get(app: Any, path: str = "/orders/17", headers: dict[str, str] | None = None, **more: Any) -> Server:
    server = Server({"type": "http.request", "body": b""})
    await server.serve(app, http_scope(path, headers, **more))
    return server
