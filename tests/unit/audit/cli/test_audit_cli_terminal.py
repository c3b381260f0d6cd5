"""What a terminal gets: colours, progress, Ctrl-C, and nothing that an event wrote for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from unit.audit.cli.conftest import EVIL, invoke
from unit.audit.reading.trails import event, stored_lines, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\U000e0041]")
STYLES = re.compile(r"\x1b\[[\d;]*m")
POSIX = pytest.mark.skipif(os.name != "posix", reason="terminals and signals of POSIX")
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\x00[bold red]x[/]\u202egnp.exe\u2028\U000e0041"


@pytest.fixture
def hostile(place: Path) -> Path:
    """A trail of which every text is hostile."""
    names = ("message", "component", "operation", "outcome", "user_id", "request_id", "tenant_id", "actor", EVIL)
    texts = dict.fromkeys(names, EVIL)
    members = {**texts, "error": {EVIL: EVIL}, "metadata": {EVIL: [EVIL]}, "regulatory_tags": [EVIL]}
    write(place / "hostile", [event(1, event_id=f"id-{EVIL}", **members)])
    return place / "hostile"


@pytest.mark.parametrize("command", ["query", "tail", "show id-\x1b]0;ow", "stats", "verify", "retain -v"])
def test_no_text_of_an_event_reaches_a_terminal_as_it_is(hostile: Path, command: str) -> None:
    name, *rest = command.split(" ")
    result = invoke(name, *rest, str(hostile))
    assert result.exit_code == 0, result.stderr
    assert not CONTROLS.search(result.stdout + result.stderr)
    if name in ("query", "tail", "show"):
        assert SHOWN in result.stdout


@pytest.mark.parametrize(
    "command", ["query --json", "query -f jsonl", "tail --json", "tail --format jsonl", "stats --json", "export -q"]
)
def test_json_is_plain_ascii_and_means_the_same(hostile: Path, command: str) -> None:
    name, *rest = command.split()
    result = invoke(name, str(hostile), *rest)
    if name != "export":
        assert result.stdout_bytes.isascii()
        assert not CONTROLS.search(result.stdout)
    if name in ("query", "tail"):
        assert result.stdout.count(json.dumps(EVIL)) >= 10


@POSIX
@pytest.mark.parametrize("command", ["query -f line", "export", "export -f csv", "tail --format line"])
def test_sealed_lines_are_shown_with_escapes_on_a_terminal(
    hostile: Path, terminal: Callable[..., tuple[int, str]], command: str
) -> None:
    name, *rest = command.split()
    code, text = terminal(name, str(hostile), *rest)
    assert code == 0
    shown = text.replace("\r\n", "\n")
    assert not CONTROLS.search(shown)
    assert r"\u202e" in shown
    assert "Not the bytes: on a terminal" in shown


def test_sealed_lines_are_the_bytes_in_a_pipe(
    hostile: Path, program: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    result = program("query", str(hostile), "-f", "line", text=False)
    assert result.stdout == b"".join(stored_lines(hostile)["audit"])


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_hostile_names_and_arguments_are_shown_escaped(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    name = "\x1b[31m\u202e"
    for args in (
        ["query", name],
        ["query", "--since", name],
        ["query", "--type", name],
        ["query", "-o", f"{name}/x"],
        ["show", f"{name}{name}"],
        ["policy", "check", name],
        ["retain", "--today", name],
        ["import", name, "--to", "new"],
        ["verify", "--key", f"file:{name}"],
    ):
        result = program(*args)
        assert (result.returncode, result.stdout) == (2, ""), args
        assert not CONTROLS.search(result.stderr), args


@POSIX
@pytest.mark.parametrize(
    ("args", "variables", "coloured"),
    [([], {}, True), (["--no-color"], {}, False), ([], {"NO_COLOR": "1"}, False), ([], {"TERM": "dumb"}, False)],
)
@pytest.mark.parametrize("command", ["query", "tail", "verify"])
def test_colours_are_for_terminals_that_want_them(
    place: Path,
    terminal: Callable[..., tuple[int, str]],
    command: str,
    args: list[str],
    variables: dict[str, str],
    *,
    coloured: bool,
) -> None:
    code, text = terminal(command, *args, **variables)
    assert code == 0
    assert bool(re.search(r"\x1b\[[\d;]*3\d(;\d+)*m", text)) is coloured


@POSIX
def test_only_levels_are_coloured_and_the_text_is_the_same(
    place: Path, terminal: Callable[..., tuple[int, str]]
) -> None:
    _, text = terminal("query")
    plain = STYLES.sub("", text).replace("\r\n", "\n")
    assert plain == invoke("query").stdout
    assert set(re.findall(r"\x1b\[31m(\w+)\x1b\[0m", text)) == {"error"}


def test_no_colours_and_no_progress_in_a_pipe(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    for command in (["query"], ["stats"], ["verify"], ["export", "-o", "out.jsonl", "-q"]):
        result = program(*command, env=environment)
        assert "\x1b" not in result.stdout + result.stderr
        assert result.stderr == ""


@POSIX
@pytest.mark.parametrize(("args", "shown"), [([], True), (["-q"], False)])
def test_an_export_to_a_file_shows_progress_unless_quiet(
    place: Path, terminal: Callable[..., tuple[int, str]], args: list[str], *, shown: bool
) -> None:
    code, text = terminal("export", "-o", "out.jsonl", *args)
    assert code == 0
    assert ("exporting" in text) is shown
    assert ("exported 10 events to out.jsonl" in text) is shown


@POSIX
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_ctrl_c_keeps_what_a_query_has_shown(
    place: Path, terminal: Callable[..., tuple[int, str]], form: str, unbuffered: str
) -> None:
    """Without a buffer, a write that a signal interrupts takes a part only."""
    write(place / "big", (event(n) for n in range(30_000)), rotation=None)
    pressed: list[None] = []

    def press(text: bytes, pid: int) -> None:
        if not pressed and b"id-29999" in text:
            pressed.append(os.kill(pid, signal.SIGINT))

    args = ("query", "big", "--limit", "0", "-f", form, "--no-color")
    code, text = terminal(*args, on_text=press, PYTHONUNBUFFERED=unbuffered)
    assert code == 130
    assert "Traceback" not in text
    data, _, said = text.replace("\r\n", "\n").partition("error: interrupted; ")
    count = int(re.sub(r"\D", "", said))
    assert 0 < count < 30_000
    if form == "json":
        parsed = json.loads(data)
        assert (parsed["interrupted"], len(parsed["events"])) == (True, count)


@POSIX
@pytest.mark.parametrize(("closed", "code"), [(">&-", 2), ("2>&-", 0)])
def test_a_closed_stream_is_no_traceback(place: Path, closed: str, code: int) -> None:
    for command in ("query", "stats", "export", "tail"):
        result = subprocess.run(
            ["sh", "-c", f"'{sys.executable}' -m fapilog_audit {command} {closed}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code, (command, result)
        assert "Traceback" not in result.stderr
