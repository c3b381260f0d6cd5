"""Real servers with several workers: what was answered is recorded, however the processes end."""

from __future__ import annotations

import http.client
import random
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from integration.audit_apps.serving import LONGEST, Load, Server

from fapilog_audit.testing import assert_audited, assert_chain_intact, recorded_events
from fapilog_tamper import Outcome, verify_path
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.keys import Keyring

if TYPE_CHECKING:
    from pathlib import Path

KEY = "env:SERVICE_KEY?kid=service&alg=HMAC-SHA256"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=512) as opened:
        opened.set_inheritable(True)
        yield opened


@pytest.fixture
def environment(tmp_path, monkeypatch):
    given = {"SERVICE_LOG": str(tmp_path / "log"), "SERVICE_KEY": b64url_encode(bytes(range(32)))}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


def gunicorn(listener, environment, output, *options):
    command = ["gunicorn", "service:app", "-k", "uvicorn_worker.UvicornWorker", "-w", "4", "--no-control-socket"]
    return Server([*command, "-b", f"fd://{listener.fileno()}", *options], listener, environment, output)


def assert_all_there(folder: Path, load: Load) -> None:
    """Every event that an answer has named, and the one of the request itself, is there once."""
    events = recorded_events(folder)
    own = Counter(event.event_id for event in events)
    requests = Counter(event.request_id for event in events if event.event_type == "data_access")
    acknowledged = dict(load.acknowledged)
    assert [event_id for event_id in acknowledged if own[event_id] != 1] == []
    assert [request for request in acknowledged.values() if requests[request] != 1] == []
    assert max(own.values()) == max(requests.values()) == 1


@pytest.mark.slow
def test_four_gunicorn_workers_that_are_killed_lose_nothing_that_was_answered(listener, environment, tmp_path):
    rng = random.Random(20261121)
    folder, output = tmp_path / "log", tmp_path / "output"
    keyring = Keyring([KEY])
    # With --preload the trail is made before the fork, otherwise behind it.
    server = gunicorn(listener, environment, output, "--preload")
    load = Load(listener.getsockname()[1], clients=8)
    try:
        for options in ([], ["--preload"]):
            load.wait_for(rng.randint(1, 100), workers=4)
            for _ in range(2):
                server.kill_worker(rng.randrange(4))
                load.wait_for(rng.randint(1, 100))
            server.kill()
            # Right after a kill the last line of a stream may be half written; nothing may look changed.
            assert verify_path(folder, keyring=keyring).outcome is not Outcome.TAMPERED
            assert_all_there(folder, load)
            server = gunicorn(listener, environment, output, *options)
        load.wait_for(rng.randint(1, 100), workers=4)
        load.end()
    finally:
        load.let_go()
        server.stop()
    assert load.broken > 0, "nothing was killed under load"
    assert_all_there(folder, load)
    report = assert_chain_intact(folder, key=KEY)
    assert len({event.stream for event in recorded_events(folder)}) >= 4
    assert report.outcome is Outcome.INTACT
    for command in ("fapilog_audit", "fapilog_tamper"):
        done = subprocess.run(
            [sys.executable, "-m", command, "verify", str(folder), "--key", KEY, "-q"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.split()[0]) == (0, "INTACT"), done


def ask(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
    try:
        connection.request(method, path, headers={"X-Request-ID": "r-1", "User-Agent": "client/1"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_uvicorn_starts_and_ends_the_trail_of_the_application(listener, environment, tmp_path):
    command = ["uvicorn", "service:app", "--fd", str(listener.fileno())]
    server = Server(command, listener, environment, tmp_path / "output")
    try:
        assert ask(listener.getsockname()[1], "POST", "/orders/17") == 200
        assert ask(listener.getsockname()[1], "GET", "/nowhere") == 404
    finally:
        server.stop()
    folder = tmp_path / "log"
    assert_audited(folder, "acme.order.taken", count=1, order=17, request_id="r-1", client_ip="127.0.0.1")
    asked = assert_audited(folder, "data_access", route="/orders/{number}", user_id="u-3", user_agent="client/1")
    assert asked.outcome == "success"
    assert_audited(folder, "data_access", count=1, path="/nowhere", status=404, outcome="failure")
    # Both were closed by the end of the application: nothing is left for a recovery.
    (segment,) = folder.glob("*.jsonl")
    assert segment.with_name(f"{segment.name}.manifest.json").exists()
    assert_chain_intact(folder, key=KEY)


def test_uvicorn_starts_and_ends_the_trail_that_the_middleware_made(listener, environment, tmp_path):
    command = ["uvicorn", "service:simple", "--fd", str(listener.fileno())]
    environment = {**environment, "FAPILOG_AUDIT_TEST_FOLDER": str(tmp_path / "default")}
    server = Server(command, listener, environment, tmp_path / "output")
    port = listener.getsockname()[1]
    try:
        assert ask(port, "GET", "/orders/17") == 200
        leaving = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
        leaving.request("GET", "/endless")
        assert leaving.getresponse().read(5) == b"piece"
        leaving.close()
    finally:
        server.stop()
    (folder,) = {path.parent for path in (tmp_path / "default").rglob("*.manifest.json")}
    assert_audited(folder, "data_access", count=1, route="/orders/{number}", status=200, outcome="success")
    assert_audited(folder, "data_access", count=1, path="/endless", status=200, outcome="disconnected")
    assert_chain_intact(folder)
