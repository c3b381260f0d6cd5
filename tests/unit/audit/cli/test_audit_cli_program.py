"""The program as a whole: its help, its page, its imports, its ways to start."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from unit.audit.cli.conftest import invoke

import fapilog_audit.cli
from fapilog_audit.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[4] / "docs/reference/audit-cli.md"

FILTERS = "--since --until --type --level --user --component --request --tenant --text --control"
ASKED_FOR = {
    "query": f"{FILTERS} --limit --oldest-first --cursor -f --format --json -o --output -q --quiet --no-color",
    "tail": f"{FILTERS} -f --follow -n --lines --format --json -q --quiet --no-color",
    "show": "--key -f --format --json -o --output --no-color",
    "stats": "-f --format --json -o --output -q --quiet --no-color",
    "verify": "--key --trust --head --require-manifests --require-end --stream --deep --jobs -f --format --json -o "
    "--output -q --quiet -v --verbose --no-color",
    "export": f"{FILTERS} --limit -f --format -o --output -q --quiet --no-color",
    "policy check": "--data-handling -f --format --json -o --output --no-color",
    "retain": "--policy --retention-days --archive-after-days --today -f --format --json -o --output -v --verbose "
    "--no-color",
    "import": "--to --key --state-dir --dry-run -f --format --json -o --output -q --quiet --no-color",
}
HEAVY = {"fapilog", "httpx", "cryptography", "pydantic", "orjson", "rich", "asyncio"}


def options_of(command: str) -> set[str]:
    found = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    return {name for param in found.params for name in param.opts if name.startswith("-")}


def section_of(command: str) -> str:
    found = re.search(rf"^## `{command}`$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, command
    return found[1]


@pytest.mark.parametrize("command", ASKED_FOR)
def test_help_names_every_option_with_examples_and_exit_codes(command: str) -> None:
    shown = invoke(*command.split(), "--help")
    assert shown.exit_code == 0
    assert options_of(command) == set(ASKED_FOR[command].split())
    for name in ASKED_FOR[command].split():
        assert name in shown.stdout
    assert f"fapilog-audit {command} " in shown.stdout.partition("Examples:\n")[2]
    assert "Exit codes:\n    0 " in shown.stdout
    assert "\x08" not in shown.stdout


@pytest.mark.parametrize("command", ASKED_FOR)
def test_the_page_has_every_option_and_no_other(command: str) -> None:
    told = set(re.findall(r"^\| .*", section_of(command), re.MULTILINE))
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", " ".join(row.split("|")[1] for row in told)))
    if "Takes the [filters]" in section_of(command):
        told |= set(FILTERS.split())
    assert told == options_of(command)


def test_the_page_has_every_filter() -> None:
    rows = re.findall(
        r"^\| `(--[a-z]+)", PAGE.read_text().partition("\n## Filters\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert set(rows) == set(FILTERS.split())


@pytest.mark.parametrize("command", ASKED_FOR)
def test_page_and_help_tell_the_same_exit_codes(command: str) -> None:
    told = invoke(*command.split(), "--help").stdout.partition("Exit codes:\n")[2].split("\n\n")[0]
    codes = re.findall(r"(?<!\S)(\d+) [a-zA-Z]", told)
    row = re.search(r"^Exit codes: (.*)$", section_of(command), re.MULTILINE)
    assert row
    assert re.findall(r"`(\d+)`", row[1]) == codes


def test_help_of_the_program_names_commands_exit_codes_and_completion() -> None:
    shown = invoke("--help").stdout
    for text in (*(name.split()[0] for name in ASKED_FOR), "--version", "--install-completion", "130  stopped"):
        assert text in shown


def test_it_starts_as_a_module_and_as_a_script(program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = next(one for one in entry_points(group="console_scripts") if one.name == "fapilog-audit")
    assert script.load() is fapilog_audit.cli.main
    said = program("--version")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"fapilog-audit {version('fapilog-audit')}\n", "")
    assert program("nonsense").returncode == 2
    assert program().returncode == 2


def test_a_defect_of_ours_is_no_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fapilog_audit.cli.app.app", lambda **_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        fapilog_audit.cli.main()
    assert ended.value.code == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_outside_of_a_command_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def press(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fapilog_audit.cli.app.app", press)
    with pytest.raises(SystemExit) as ended:
        fapilog_audit.cli.main()
    assert ended.value.code == 130


# What it loads.


def loaded_by(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_starting_loads_typer_and_nothing_heavy() -> None:
    loaded = loaded_by("import fapilog_audit.cli.app")
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "args",
    [
        "query audit_logs",
        "tail",
        "show id-3xxxxxxx",
        "stats",
        "verify",
        "export",
        "retain",
        "export -f csv",
        "query --json",
    ],
)
def test_no_reading_command_loads_fapilog(place: Path, args: str) -> None:
    code = (
        f"from fapilog_audit.cli.app import app\ntry: app({args.split()!r})\n"
        "except SystemExit as end: assert end.code in (0, 2)"
    )
    assert not loaded_by(code) & {"fapilog", "httpx", "cryptography"}


def test_it_starts_no_slower_than_the_program_below() -> None:
    """Compared in one run, by the processor time of processes, the least of several."""
    ours, theirs = (
        min(processor_time(f"import {name}") for _ in range(5))
        for name in ("fapilog_audit.cli.app", "fapilog_tamper.cli.app")
    )
    assert ours < 1.5 * theirs


def processor_time(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# What all reading commands have in common.


@pytest.mark.parametrize(
    "command", ["query", "tail", "show id-12345", "stats", "verify", "export", "retain", "tail -f"]
)
def test_a_folder_that_is_not_there_is_a_usage_error_with_a_hint(place: Path, command: str) -> None:
    result = invoke(*command.split(), "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: nowhere is not there.\nhint: Name the folder")


@pytest.mark.parametrize("command", ["query", "tail", "show id-12345", "stats", "verify", "export", "retain"])
def test_a_file_in_the_place_of_a_folder_is_a_usage_error(place: Path, command: str) -> None:
    result = invoke(*command.split(), "hmac.jwk")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: hmac.jwk is not a folder.\nhint: ")


@pytest.mark.parametrize("command", ["query", "tail", "show id-12345", "stats", "verify", "export", "retain"])
@pytest.mark.parametrize("shut", ["folder", "segment"])
def test_what_may_not_be_read_is_incomplete(place: Path, without_rights: list[str], command: str, shut: str) -> None:
    if (command, shut) == ("retain", "segment"):
        pytest.skip("it reads no segment")
    closed = place / "audit_logs" if shut == "folder" else next((place / "audit_logs").glob("*.jsonl"))
    closed.chmod(0)
    try:
        result = subprocess.run(
            [*without_rights, sys.executable, "-m", "fapilog_audit", *command.split()],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        closed.chmod(0o700)
    assert result.returncode == 3, result
    assert "ermission denied" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["query", "tail", "stats", "export", "retain"])
def test_an_empty_folder_has_no_events_and_is_no_error(place: Path, command: str) -> None:
    (place / "empty").mkdir()
    assert invoke(*command.split(), "empty").exit_code == 0


@pytest.mark.parametrize("command", ["query", "tail", "show id-1", "stats", "verify", "export -o out.jsonl", "retain"])
def test_reading_leaves_the_folder_as_it_is(place: Path, command: str) -> None:
    folder = place / "audit_logs"

    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before, changed = state(), folder.stat().st_mtime_ns
    invoke(*command.split()[:1], *command.split()[1:], "audit_logs")
    assert (state(), folder.stat().st_mtime_ns) == (before, changed)


@pytest.mark.parametrize("command", ["query", "stats", "export", "retain", "verify", "show id-12345"])
def test_nothing_is_written_into_the_folder_that_is_read(place: Path, command: str) -> None:
    result = invoke(*command.split(), "audit_logs", "-o", "audit_logs/report")
    assert result.exit_code == 2
    assert "is, or lies in, what is read" in result.stderr or command.startswith("show")
    assert not (place / "audit_logs/report").exists()
