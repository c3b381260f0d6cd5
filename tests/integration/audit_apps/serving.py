"""Starting servers that take over a listening socket, loading them, and killing them by their ids."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

APPS = Path(__file__).parent
LONGEST = 60.0
"""Seconds that anything may take before the test fails."""

_PER_CONNECTION = 10
"""Requests after which a client connects anew, so that all workers get some."""


class Server:
    """A server and its workers. The socket is ours: while the server is down, clients wait and are not refused."""

    def __init__(self, command: list[str], listener: socket.socket, environment: dict[str, str], output: Path) -> None:
        self._output = output.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error::RuntimeWarning", "-m", *command],
            cwd=APPS,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            pass_fds=[listener.fileno()],
            stdout=self._output,
            stderr=self._output,
        )

    def workers(self) -> list[int]:
        """Return the ids of the worker processes that run now."""
        main = self.process.pid
        try:
            return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def kill_worker(self, which: int) -> None:
        """Kill one worker; the server starts another."""
        workers = self.workers()
        if workers:
            kill(workers[which % len(workers)])

    def kill(self) -> None:
        """Kill the server, then those of its workers that are left."""
        workers = self.workers()
        self.process.kill()
        for pid in workers:
            kill(pid)
        assert self.process.wait(LONGEST) == -signal.SIGKILL
        for pid in workers:
            wait_for_end(pid)
        self._output.close()

    def stop(self) -> None:
        """End as an operator does."""
        self.process.terminate()
        self.process.wait(LONGEST)
        self._output.close()


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for_end(pid: int) -> None:
    """Wait until a process that is no child of ours is gone: nothing of it writes any more."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    ready = select.select([watched], [], [], LONGEST)[0]
    os.close(watched)
    assert ready, f"process {pid} does not end"


class Load:
    """Clients that post orders, each over its own connection, and keep what was acknowledged with a whole answer."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._ended = False
        self.acknowledged: dict[str, str] = {}
        self.workers: set[int] = set()
        self.broken = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int, workers: int = 1) -> None:
        """Wait until so many more requests were acknowledged, by so many processes."""
        with self._changed:
            self.workers.clear()
            goal = len(self.acknowledged) + more
            reached = self._changed.wait_for(
                lambda: len(self.acknowledged) >= goal and len(self.workers) >= workers, LONGEST
            )
            told = f"{len(self.acknowledged)} of {goal} requests were answered, by {len(self.workers)} processes"
            assert reached, told

    def end(self) -> None:
        """Stop all clients, when their last requests are answered."""
        self.let_go()
        for thread in self._threads:
            thread.join(LONGEST)
            assert not thread.is_alive(), "a client hangs"

    def let_go(self) -> None:
        """Have the clients stop as soon as they can."""
        self._ended = True

    def _run(self) -> None:
        while not self._ended:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LONGEST)
            try:
                for _ in range(_PER_CONNECTION):
                    if not self._ended:
                        self._post(connection)
            except (OSError, http.client.HTTPException):
                # The server was killed under this request: nothing was promised.
                self.broken += 1
            finally:
                connection.close()

    def _post(self, connection: http.client.HTTPConnection) -> None:
        number = next(self._numbers)
        connection.request("POST", f"/orders/{number}", headers={"X-Request-ID": f"r-{number}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        said = json.loads(body)
        with self._changed:
            self.acknowledged[said["event"]] = f"r-{number}"
            self.workers.add(said["worker"])
            self._changed.notify_all()
