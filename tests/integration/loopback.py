"""A real server on the loopback, in a thread: it collects what is sent to it, and answers as Loki does where asked."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PUSH = "/loki/api/v1/push"


class Receiver(ThreadingHTTPServer):
    """Takes every POST, answers `status`, and keeps path, headers and body in the order of arrival."""

    daemon_threads = True

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self) -> list[Any]:
        """Return what was sent, read as JSON."""
        return [json.loads(body) for _, _, body in list(self.requests)]

    def records(self, wrapper: str | None = None) -> list[dict[str, Any]]:
        """Return the records in all bodies, whether they are single, in arrays, under a key or one on a line."""
        found: list[dict[str, Any]] = []
        for _, headers, body in list(self.requests):
            if headers["content-type"] == "application/x-ndjson":
                found += map(json.loads, body.splitlines())
                continue
            value = json.loads(body)
            value = value[wrapper] if wrapper is not None else value
            found += value if isinstance(value, list) else [value]
        return found

    def pushed(self) -> list[tuple[dict[str, str], str]]:
        """Return labels and line of everything that was pushed to Loki."""
        streams = [stream for body in self.bodies() for stream in body["streams"]]
        return [(stream["stream"], line) for stream in streams for _, line in stream["values"]]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        self._answer(self.server.status)

    def do_GET(self) -> None:
        self._answer(200 if self.server.status < 400 else 503)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
        """Say nothing."""


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """Run a server that answers `status`."""
    with Receiver(status) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def dead_end() -> str:
    """Return the address of a server that is not there any more."""
    with Receiver(200) as server:
        return server.url


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so; fail when it does not come about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
