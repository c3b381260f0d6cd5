"""Runs one row of the matrix in a child process."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from integration.matrix.checking import key_text, write_key_file
from integration.matrix.program import core_of, typed_of
from integration.matrix.running import REPORTS, Program, Told

if TYPE_CHECKING:
    from integration.matrix.rows import Row

COUNT = 200
CHILD = Path(__file__).with_name("program.py")


def run_row(row: Row, folder: Path, place: Path, *, first: int = 0, count: int = COUNT) -> Told:
    """Run a row: log `count` events from `first` on to the log in `folder`, and end. `place` has everything else."""
    place.mkdir(parents=True)
    key_file = write_key_file(place, row.algorithm)
    job = {"row": row.as_dict(), "folder": str(folder), "key_file": str(key_file), "first": first, "count": count}
    text = json.dumps({**job, "reports": REPORTS}).replace(f'"{REPORTS}"', REPORTS)
    program = Program(CHILD, text, folder=place / "run", env=environment_of(row, folder))
    if row.logger == "fastapi":
        _end_server(program, row, count)
    elif row.end == "sigterm":
        program.read_until(lambda told: len(told.accepted) > count // 2)
        program.signal(signal.SIGTERM)
    elif row.end == "kill":
        program.read_until(lambda told: "ready" in told.words)
        program.signal(signal.SIGKILL)
    return program.finish()


def environment_of(row: Row, folder: Path) -> dict[str, str]:
    """Return the variables that configure a row: none where a program does."""
    if row.source not in {"typed", "environment"}:
        return {}
    variables = {"FAPILOG_TAMPER_KEY": key_text(row.algorithm)}
    if row.source == "environment":
        typed = typed_of(row, str(folder))
        variables |= {f"FAPILOG_SINK_CONFIG__SEALED__{name.upper()}": _text(value) for name, value in typed.items()}
        variables |= {f"FAPILOG_CORE__{name.upper()}": _text(value) for name, value in core_of(row).items()}
        variables |= {"FAPILOG_CORE__SINKS": '["sealed"]', "FAPILOG_PLUGINS__ALLOW_EXTERNAL": "true"}
        variables |= {"FAPILOG_CORE__LOG_LEVEL": "INFO"}
    return variables


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _end_server(program: Program, row: Row, count: int) -> None:
    """Send requests, and end the server: by SIGTERM in the middle of one, which is answered nevertheless."""
    program.read_until(lambda told: "port" in told.words)
    address = f"http://127.0.0.1:{program.told.words['port']}"
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        answer = pool.submit(client.post, "/events")
        if row.end == "sigterm":
            program.read_until(lambda told: len(told.accepted) > count // 2)
            program.signal(signal.SIGTERM)
        assert answer.result().json() == {"logged": count}
        if row.end == "sigterm":
            return
        end = pool.submit(client.post, "/end")
        program.read_until(lambda told: "ready" in told.words)
        if row.end == "kill":
            program.signal(signal.SIGKILL)
        assert isinstance(end.exception(), httpx.TransportError) or end.result().is_success
