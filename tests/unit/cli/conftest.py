"""Logs and keys in files, and the command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper.entry import GENESIS, prepare_seal
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, write_key_files

if TYPE_CHECKING:
    from collections.abc import Callable

HMAC = HmacKey("k1", bytes(range(32)))
ED = Ed25519SigningKey("ed", bytes(range(32)))


def seal_lines(count: int, key: Any = HMAC, stream: str = "audit") -> list[bytes]:
    line_of, prev, lines = prepare_seal(stream, key), GENESIS, []
    for seq in range(1, count + 1):
        line, prev = line_of(b'{"message":"user %d logged in"}' % seq, seq, prev)
        lines.append(line)
    return lines


@pytest.fixture
def lines() -> Callable[..., list[bytes]]:
    return seal_lines


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with `hmac.jwk`, `ed.jwk`, `ed.jwk.pub` and the log `log/a.jsonl` of ten entries."""
    monkeypatch.chdir(tmp_path)
    write_key_files("hmac.jwk", HMAC)
    write_key_files("ed.jwk", ED)
    Path("log").mkdir()
    Path("log/a.jsonl").write_bytes(b"".join(seal_lines(10)))
    return tmp_path


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line to its end in a process without a terminal."""

    def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fapilog_tamper", *args]
        settings = {"capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(command, check=False, **settings)

    return run


@pytest.fixture
def terminal() -> Callable[..., tuple[int, bytes]]:
    """Run the command line on a terminal; return the exit code and what the terminal got.

    `on_text(text so far, pid)` is called whenever something came.
    """
    pty = pytest.importorskip("pty")

    def run(*args: str, on_text: Any = None, **variables: str) -> tuple[int, bytes]:
        environment = {**os.environ, "TERM": "xterm", **variables}
        if not variables:
            environment.pop("NO_COLOR", None)
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "fapilog_tamper", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
        ) as process:
            os.close(theirs)
            text = b""
            while more := _read(ours):
                text += more
                if on_text is not None:
                    on_text(text, process.pid)
            os.close(ours)
        return process.returncode, text

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux tells that the other side is closed with EIO
        return b""
