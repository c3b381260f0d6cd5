"""The program as a whole: its help, its imports, its ways to start."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

import fapilog_tamper.cli
from fapilog_tamper.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASKED_FOR = {
    "keygen": "--algorithm --kid -o",
    "verify": "--key --trust --require-manifests --require-end --head --stream --deep --export --records --jobs "
    "-f --format --json -o --output -q -v --no-color",
    "inspect": "-f --format --json -o --output --state-dir --no-color",
    "seal": "-d --dir --key --unkeyed --old-key --stream --from --durability --rotate-bytes --compress --max-payload "
    "--timeout --state-dir -t --echo -q --quiet --no-color",
    "restore": "--key --unkeyed --old-key --stream --state-dir --reason --by",
    "rotate-key": "--key --new-key --old-key --stream --state-dir",
    "head export": "--stream -o --output --state-dir",
    "head check": "--key --trust --jobs -f --format --json -o --output -q -v --no-color",
    "export-public": "--key -o --output",
    "doctor": "--settings --env -f --format --json -o --output --timeout -q --quiet --no-color",
}
HEAVY = {
    "fapilog",
    "httpx",
    "cryptography",
    "boto3",
    "botocore",
    "azure",
    "google",
    "hvac",
    "securesystemslib",
}


@pytest.mark.parametrize("command", ASKED_FOR)
def test_help_names_every_option_and_shows_examples(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    found = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    options = {name for param in found.params for name in param.opts if name.startswith("-")}
    assert shown.exit_code == 0
    assert options >= set(ASKED_FOR[command].split())
    for name in options:
        assert name in shown.stdout
    examples = shown.stdout.partition("Examples:\n")[2]
    assert f"fapilog-tamper {command} " in examples
    assert "\x08" not in shown.stdout


def test_help_of_the_program_names_commands_exit_codes_and_completion() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    for text in (
        *(name.split()[0] for name in ASKED_FOR),
        "--version",
        "--install-completion",
        "--show-completion",
        "130  stopped with Ctrl-C",
    ):
        assert text in shown


def test_without_arguments_the_help_is_shown(program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = program()
    assert result.returncode == 2
    assert "Usage: fapilog-tamper" in result.stdout + result.stderr


def test_version(program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = program("--version")
    assert (result.returncode, result.stdout) == (0, f"fapilog-tamper {version('fapilog-tamper')}\n")


def test_completion_is_offered(program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = program("--show-completion", "bash")
    assert result.returncode == 0
    assert "complete " in result.stdout


def test_an_unknown_command_is_a_usage_error(program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = program("verifi", "log")
    assert result.returncode == 2
    assert "Did you mean 'verify'?" in result.stderr


def test_the_installed_script_is_this_program() -> None:
    (script,) = entry_points(group="console_scripts", name="fapilog-tamper")
    assert script.load() is fapilog_tamper.cli.main


def test_main_runs_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fapilog-tamper", "--version"])
    with pytest.raises(SystemExit) as caught:
        fapilog_tamper.cli.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("fapilog-tamper ")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ZeroDivisionError("a defect"), 3)])
def test_what_nobody_expected_never_looks_like_tampering(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """Python's own exit code for an uncaught exception is 1."""

    class Stdout:
        def flush(self) -> None:
            raise error

    monkeypatch.setattr(sys, "argv", ["fapilog-tamper", "--version"])
    monkeypatch.setattr(sys, "stdout", Stdout())
    with pytest.raises(SystemExit) as caught:
        fapilog_tamper.cli.main()
    assert caught.value.code == code
    assert ("ZeroDivisionError: a defect" in capsys.readouterr().err) is (code == 3)


def test_an_hmac_log_is_verified_without_heavy_imports(place: Path) -> None:
    script = (
        "import sys\n"
        "import fapilog_tamper.cli, fapilog_tamper.cli.app\n"
        "from fapilog_tamper.cli import main\n"
        "sys.argv = ['x', 'verify', 'log', '--key', 'file:hmac.jwk', '-q']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    verdict, modules = result.stdout.splitlines()
    assert verdict.startswith("INTACT")
    assert not HEAVY & set(modules.split())
