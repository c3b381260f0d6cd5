"""The page about FastAPI runs, in order, as pasted: the files, the server, and what is printed."""

from __future__ import annotations

import os
import re
import signal
import socket
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from docs.test_examples import assert_like, commands, run

PAGE = Path(__file__).parents[2] / "docs/how-to/audit-a-fastapi-service.md"
BLOCK = re.compile(r'^```(console|python)(?: title="(.*?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user would be: no test runner around, and a server that is stopped at the end whatever happens."""
    for name in ("FAPILOG_AUDIT_TEST_FOLDER", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    if not entry_points(group="pytest11", name="fapilog_audit"):
        monkeypatch.setenv("PYTEST_PLUGINS", "fapilog_audit.pytest_plugin")
    yield tmp_path
    if (tmp_path / "shop.pid").exists():
        os.kill(int((tmp_path / "shop.pid").read_text()), signal.SIGTERM)


def test_the_page_runs_as_pasted(folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    text = PAGE.read_text().replace(":8000", f":{port}")
    for kind, title, block in BLOCK.findall(text):
        if kind == "python":
            (folder / title).write_text(block)
            continue
        for command, shown in commands(block):
            if command.startswith("pip install"):
                continue
            printed = run(command, folder)
            if shown.strip():
                assert_like(printed, shown)
