"""The command `doctor`: what it prints, its exit codes, and what only a process of its own can show."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = """
from fapilog import Settings
def make(directory="log", **options):
    sealed = {"directory": directory, "state_dir": "state", **options}
    return Settings(
        core={"sinks": ["stdout_json", "sealed"], "drop_on_full": False, "batch_timeout_seconds": 0.01},
        plugins={"allow_external": True},
        sink_config={"extra": {"sealed": sealed}},
    )
print("imported")
good = make()
faulty = make(key_env_var="NOWHERE")
remarks = make(state_dir=None)
undrained = make(exit_drain=False)
number = 3
def fails():
    raise ZeroDivisionError("a defect of yours")
"""


@pytest.fixture
def run(tmp_path: Path, program: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a folder with the module `shop`, in an environment without variables of fapilog."""
    (tmp_path / "shop.py").write_text(SETTINGS)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FAPILOG_")}

    def doctor(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**clean, "FAPILOG_TAMPER_KEY": "ab" * 32, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        return program("doctor", *args, cwd=tmp_path, env=environment)

    return doctor


def test_a_healthy_logger_is_told_with_what_was_checked(run, tmp_path):
    done = run("--settings", "shop:good")
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    assert first == "HEALTHY  no finding; 4 of 4 probes in the sealed log, which is intact"
    assert f"sealed log:    {tmp_path / 'log'}, stream fapilog, key fapilog" in rest
    assert "sent INFO, ERROR, AUDIT, SECURITY; found INFO, ERROR, AUDIT, SECURITY" in rest
    assert done.stderr == "imported\n"
    assert list((tmp_path / "log").glob("*.jsonl"))


def test_an_error_is_exit_code_1_with_what_why_and_the_line_to_change(run):
    done = run("--settings", "shop:faulty")
    assert done.returncode == 1
    assert done.stdout.startswith("FAULTY  1 error; 0 of 4 probes in the sealed log\n\nno-key  error\n")
    assert "environment variable NOWHERE is not set" in done.stdout
    assert "  fix:      fapilog-tamper keygen" in done.stdout
    assert "  or set:   NOWHERE=" in done.stdout
    assert "Traceback" not in done.stderr


def test_findings_that_are_no_errors_leave_the_exit_code_alone(run):
    done = run("--settings", "shop:remarks", "-q")
    assert done.returncode == 0
    assert done.stdout == "REMARKS  1 note; 4 of 4 probes in the sealed log, which is intact\n"


def test_json_is_all_that_stdout_gets(run, tmp_path):
    done = run("--settings", "shop:remarks", "-f", "json")
    report = json.loads(done.stdout)
    assert (report["schema_version"], report["verdict"]) == ("1.0", "remarks")
    assert [finding["code"] for finding in report["findings"]] == ["state-beside-log"]
    assert set(report["findings"][0]) == {"code", "severity", "what", "why", "fix", "env"}
    assert report["checked"]["folder"] == str(tmp_path / "log")
    assert report["checked"]["verification"] == "intact"
    assert run("--settings", "shop:remarks", "--json").stdout.startswith("{")


def test_what_the_module_itself_logs_is_kept_from_the_report(run, tmp_path):
    logging = "from fapilog import get_logger\nget_logger('mine', settings=Settings()).info('at import')\n"
    (tmp_path / "logging_shop.py").write_text(SETTINGS + logging)
    done = run("--settings", "logging_shop:good", "-f", "json")
    assert json.loads(done.stdout)["verdict"] == "healthy"
    assert '"at import"' in done.stderr


def test_the_report_is_not_written_into_the_log(run, tmp_path):
    done = run("--settings", "shop:good", "-o", "log/report.txt")
    assert done.returncode == 2
    assert "log/report.txt" in done.stderr
    (tmp_path / "log").mkdir(exist_ok=True)
    done = run("--settings", "shop:good", "-o", "log/report.txt")
    assert (done.returncode, (tmp_path / "log/report.txt").exists()) == (2, False)
    assert f"log/report.txt is, or lies in, what is read: {tmp_path / 'log'}." in done.stderr


def test_a_file_gets_the_report_and_stderr_the_verdict(run, tmp_path):
    done = run("--settings", "shop:good", "-o", "report.txt")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "imported\nHEALTHY  no finding; 4 of 4 probes in the sealed log, which is intact\n"
    assert (tmp_path / "report.txt").read_text().count("\n") > 5
    assert run("--settings", "shop:good", "-q", "-o", "report.txt").stderr == "imported\n"


def test_the_environment_is_what_is_examined_unless_settings_are_named(run):
    for args in ((), ("--env",)):
        done = run(*args, "-f", "json")
        report = json.loads(done.stdout)
        assert done.returncode == 1
        assert [finding["code"] for finding in report["findings"]] == ["no-sealed-sink"]
        assert report["checked"]["configuration"] == "environment"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--settings", "shop"), 2, "error: 'shop' does not name a module and what is in it."),
        (("--settings", "nowhere:good"), 2, "error: module nowhere cannot be imported: ModuleNotFoundError"),
        (("--settings", "shop:nothing"), 2, "error: module shop has no nothing."),
        (("--settings", "shop:number"), 2, "error: shop:number is a int."),
        (("--settings", "shop:good", "--env"), 2, "error: --settings and --env contradict each other."),
        (("-o", "nowhere/report.txt"), 2, "error: nowhere/report.txt cannot be a file."),
        (("-f", "xml"), 2, "Invalid value for '--format'"),
        (("--settings", "shop:fails"), 3, "error: the logger cannot be made: ZeroDivisionError: a defect of yours"),
    ],
)
def test_what_cannot_be_checked_is_one_clear_message(run, args, code, message):
    done = run(*args)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "variables", "what"),
    [
        ("undrained", {}, "No exit drain is installed"),
        ("good", {"FAPILOG_CORE__ATEXIT_DRAIN_ENABLED": "false"}, "switches the drain at exit off"),
        ("good", {"FAPILOG_CORE__SIGNAL_HANDLER_ENABLED": "false"}, "nobody else handles SIGTERM"),
    ],
)
def test_a_queue_that_nobody_drains_at_exit_is_a_warning(run, settings, variables, what):
    done = run("--settings", f"shop:{settings}", "-f", "json", **variables)
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(one["code"], one["severity"]) for one in report["findings"]] == [("exit-drain-missing", "warning")]
    assert what in report["findings"][0]["what"]


def test_whoever_handles_sigterm_alone_is_not_warned_of_it(run, tmp_path):
    handler = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n"
    (tmp_path / "handling.py").write_text(handler + SETTINGS)
    done = run("--settings", "handling:good", "-q", FAPILOG_CORE__SIGNAL_HANDLER_ENABLED="false")
    assert done.stdout.startswith("HEALTHY  no finding")


def test_a_name_in_the_configuration_has_no_effect_on_a_terminal(run, tmp_path):
    evil = "settings = make(**{'\\x1b]0;owned\\x07\\u202e': 1})\n"
    (tmp_path / "evil.py").write_text(SETTINGS + evil)
    done = run("--settings", "evil:settings")
    assert done.returncode == 1
    assert "unknown-option" in done.stdout
    assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr)


def test_the_help_says_that_it_writes_into_the_log():
    shown = CliRunner().invoke(app, ["doctor", "--help"]).stdout
    assert "It WRITES into the log that it checks" in " ".join(shown.split())
    assert "fapilog-tamper doctor --settings shop.logging:settings" in shown
    for option in (
        "--settings",
        "--env",
        "-f",
        "--format",
        "--json",
        "-o",
        "--output",
        "--timeout",
        "-q",
        "--no-color",
    ):
        assert option in shown
