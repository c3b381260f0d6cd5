"""The doctor beside a service: it lets a log that is written alone, and what it says holds in production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper import verify_path

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "ab" * 32
BASE = {
    "FAPILOG_CORE__SINKS": '["sealed"]',
    "FAPILOG_CORE__DROP_ON_FULL": "false",
    "FAPILOG_PLUGINS__ALLOW_EXTERNAL": "true",
    "FAPILOG_SINK_CONFIG__EXTRA": '{"sealed": {"directory": "log", "state_dir": "state"}}',
    "FAPILOG_TAMPER_KEY": KEY,
}
SERVICE = """
import sys
from fapilog import Settings, get_logger
logger = get_logger(settings=Settings(), reuse=False)
for number in range(int(sys.argv[1])):
    logger.info("work", number=number)
print("ready", flush=True)
sys.stdin.readline()
logger.info("the end")
"""


@pytest.fixture
def environment() -> Callable[..., dict[str, str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FAPILOG_")}
    return lambda **more: {**clean, **BASE, "PYTHONDONTWRITEBYTECODE": "1", **more}


@pytest.fixture
def doctor(tmp_path: Path, environment) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run the installed command as a service's user would; return its exit code and its report."""

    def run(*args: str, **variables: str) -> tuple[int, dict[str, Any]]:
        script = Path(sys.executable).with_name("fapilog-tamper")
        command = [str(script), "doctor", "-f", "json", *args]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, check=False, timeout=60
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def codes(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


def test_a_log_that_a_service_has_open_is_let_alone_and_stays_intact(doctor, tmp_path, environment):
    command = [sys.executable, "-c", SERVICE, "20"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes) as service:
        assert service.stdout.readline() == "ready\n"
        wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("log/*.jsonl")))
        first, beside = doctor()
        service.stdin.write("\n")
        service.stdin.close()
        assert service.wait(timeout=60) == 0
    assert (first, codes(beside)) == (0, [])
    assert beside["checked"]["found"] == ["INFO", "ERROR", "AUDIT", "SECURITY"]
    assert beside["checked"]["stream"] == "fapilog.w2"
    second, after = doctor()
    assert (second, codes(after), after["checked"]["verification"]) == (0, [], "intact")
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    report = verify_path(
        tmp_path / "log", keys=[f"file:{tmp_path / 'key'}?kid=fapilog&alg=HMAC-SHA256"], require_manifests=True
    )
    assert report.valid
    assert report.entries == 20 + 1 + 4 + 4
    lines = [json.loads(line) for path in (tmp_path / "log").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sum(line["log"]["message"] == "fapilog-tamper doctor probe" for line in lines) == 8


@pytest.mark.parametrize(
    ("variable", "text", "code"),
    [
        ("FAPILOG_PLUGINS__ALLOW_EXTERNAL", "false", "plugin-not-allowed"),
        ("FAPILOG_TAMPER_KEY", "abc", "bad-key"),
        ("FAPILOG_SINK_CONFIG__EXTRA", '{"sealed": {"directry": "log"}}', "unknown-option"),
    ],
)
def test_where_the_doctor_finds_an_error_a_service_seals_nothing(doctor, tmp_path, environment, variable, text, code):
    exit_code, report = doctor(**{variable: text})
    assert exit_code == 1
    assert code in codes(report)
    command = [sys.executable, "-c", SERVICE, "1"]
    subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(**{variable: text}),
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_head_that_speaks_of_more_than_there_is_is_told_as_what_refuses_events(doctor, tmp_path):
    assert doctor()[0] == 0
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    exit_code, report = doctor()
    assert (exit_code, codes(report)) == (1, ["write-failed"])
    assert "restore" in report["findings"][0]["what"]


def test_a_missing_segment_in_the_past_is_told_although_the_probes_are_there(doctor, tmp_path):
    assert doctor()[0] == 0
    (first,) = (tmp_path / "log").glob("*.jsonl")
    assert doctor()[0] == 0
    first.unlink()
    exit_code, report = doctor()
    assert exit_code == 1
    assert codes(report) == ["probe-not-intact"]
    assert report["checked"]["verification"] == "tampered"
