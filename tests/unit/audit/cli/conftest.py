"""Trails in files, and the command line as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner
from unit.audit.reading.trails import event, write

from fapilog_audit.cli.app import app
from fapilog_tamper.keys import HmacKey, write_key_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\x00[bold red]x[/]\u202egnp.exe\u2028\U000e0041"
HMAC = HmacKey("k1", bytes(range(32)))


def sample(count: int = 10) -> list[dict[str, object]]:
    """Events with every member that a filter looks at; even ones are of ada, every third is an error."""
    return [
        event(
            number,
            event_type="acme.pay" if number % 5 == 0 else "data_access",
            log_level="error" if number % 3 == 0 else "info",
            user_id="bob" if number % 2 else "ada",
            component="shop" if number < 4 else "bank",
            request_id=f"r-{number}",
            tenant_id="t-1" if number == 7 else "t-2",
            outcome="success",
        )
        for number in range(1, count + 1)
    ]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `hmac.jwk`, the trail `audit_logs` of ten events, and `keyed`, which is sealed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    write_key_files("hmac.jwk", HMAC)
    write_key_files("other.jwk", HmacKey("k2", bytes(32)))
    write(tmp_path / "audit_logs", sample())
    write(tmp_path / "keyed", sample(), key=HMAC)
    return tmp_path


def invoke(*args: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line to its end in a process without a terminal."""

    def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        settings = {"capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run([sys.executable, "-m", "fapilog_audit", *args], check=False, **settings)

    return run


@pytest.fixture
def terminal() -> Callable[..., tuple[int, str]]:
    """Run the command line on a terminal; return the exit code and what the terminal got.

    `on_text(text so far, pid)` is called whenever something came.
    """
    pty = pytest.importorskip("pty")

    def run(*args: str, on_text: Any = None, **variables: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", **variables}
        command = [sys.executable, "-m", "fapilog_audit", *args]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            text = b""
            while more := _read(ours):
                text += more
                if on_text is not None:
                    on_text(text, process.pid)
            os.close(ours)
        return process.returncode, text.decode()

    return run


def _read(ours: int) -> bytes:
    try:
        return os.read(ours, 65536)
    except OSError:  # Linux tells that the other side is closed with EIO
        return b""


@pytest.fixture
def without_rights() -> list[str]:
    """What stands before a command so that rights of files count, for root, too."""
    if os.name != "posix":
        pytest.skip("rights of POSIX")
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv: apt-get install util-linux")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", rights, "--inh-caps", rights]


def spoil(folder: Path, old: bytes, new: bytes) -> None:
    """Change bytes of the first segment that has them."""
    for path in sorted(folder.glob("*.jsonl")):
        data = path.read_bytes()
        if old in data:
            path.write_bytes(data.replace(old, new))
            return
    raise AssertionError(old)
