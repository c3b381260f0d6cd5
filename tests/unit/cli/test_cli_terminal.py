"""What a terminal gets: colours, progress, Ctrl-C, and nothing that a log wrote for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.cli.output import (
    errors_reported,
    io_errors_reported,
    printable,
    render,
    say,
    use_colour,
    write_stdout,
)
from fapilog_tamper.cli.report_text import report_lines, verdict_line
from fapilog_tamper.errors import TamperError
from fapilog_tamper.keys import open_signing_key
from fapilog_tamper.verify.report import Code, FileReport, Finding, Note, NoteCode, Outcome, StreamReport, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\x00[bold red]x[/]\u202egnp.exe\u2028\udcff\U000e0041"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
STYLES = re.compile(r"\x1b\[[\d;]*m")
POSIX = pytest.mark.skipif(os.name != "posix", reason="terminals and signals of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and file names of any bytes")


def hostile_report() -> VerifyReport:
    """Every text of it holds what a terminal or rich would act upon."""
    finding = Finding(Code.LINE_MALFORMED, EVIL, EVIL, 1, 1, EVIL, EVIL, EVIL, key_id=EVIL)
    return VerifyReport(
        outcome=Outcome.TAMPERED,
        findings=(finding,),
        notes=(Note(NoteCode.RENAMED, EVIL, EVIL, 1, 1),),
        streams=(StreamReport(EVIL, 1, 1, 1, EVIL, (EVIL,), 1, "head", 1),),
        files=(FileReport(EVIL, EVIL, 1, 1, 1, 1, "lines"),),
        not_checked=(EVIL,),
        entries=1,
        size_bytes=1,
        duration=1.0,
    )


@pytest.mark.parametrize("colour", [False, True])
def test_no_text_of_a_report_reaches_the_terminal_as_it_is(*, colour: bool) -> None:
    report = hostile_report()
    shown = render([verdict_line(report), *report_lines(report, verbose=True)], colour=colour)
    assert not CONTROLS.search(STYLES.sub("", shown) if colour else shown)
    assert shown.count("[bold red]x[/]") == shown.count(r"\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\x00[bold red]") >= 11
    assert bool(STYLES.search(shown)) is colour


@pytest.mark.parametrize("text", ["plain", "ünï漢字", "[bold]", "a  b"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_long_text_is_cut() -> None:
    assert printable("x" * 5000) == "x" * 1000 + "… (5000 characters)"


@LINUX
@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize("spoiled", [False, True])
def test_a_hostile_file_name_is_shown_escaped(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]], command: str, *, spoiled: bool
) -> None:
    name = b"\x1b[31m[bold]\xff\n.jsonl"
    Path(os.fsdecode(name)).write_bytes(b"\x1b[2Jnot a line\n" if spoiled else Path("log/a.jsonl").read_bytes())
    result = program(command, os.fsdecode(name), "-v" if command == "verify" else "--no-color")
    assert not CONTROLS.search(result.stdout + result.stderr)
    assert r"\x1b[31m[bold]\udcff\n.jsonl" in result.stdout
    assert result.returncode == (1 if command == "verify" and spoiled else 3 if command == "verify" or spoiled else 0)


@LINUX
def test_a_hostile_name_in_an_error_is_shown_escaped(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for args in (["--key", "file:\x1b[31m.jwk"], ["--trust", "\x1b[31m"], ["-o", "no\x1b[31m/x"], ["--\x1b[31m"]):
        result = program("verify", "log", *args)
        assert (result.returncode, result.stdout) == (2, "")
        assert not CONTROLS.search(result.stderr)


@LINUX
def test_json_of_a_name_that_is_no_text_is_utf8(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    Path(os.fsdecode(b"\xff.jsonl")).write_bytes(Path("log/a.jsonl").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for command in ("verify", "inspect"):
        result = program(command, os.fsdecode(b"\xff.jsonl"), "--json", env=environment, text=False)
        assert json.loads(result.stdout.decode("utf-8"))["schema_version"]


def test_text_takes_the_encoding_of_stdout(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    Path("ü.jsonl").write_bytes(Path("log/a.jsonl").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = program("inspect", "ü.jsonl", env=environment)
    assert (result.returncode, r"\xfc.jsonl" in result.stdout) == (0, True)


@POSIX
@pytest.mark.parametrize(
    ("args", "variables", "coloured"),
    [([], {}, True), (["--no-color"], {}, False), ([], {"NO_COLOR": "1"}, False), ([], {"TERM": "dumb"}, False)],
)
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_colours_are_for_terminals_that_want_them(
    place: Path,
    terminal: Callable[..., tuple[int, bytes]],
    command: str,
    args: list[str],
    variables: dict[str, str],
    *,
    coloured: bool,
) -> None:
    code, text = terminal(command, "log", *args, **variables)
    assert code == (3 if command == "verify" else 0)
    assert bool(re.search(rb"\x1b\[[\d;]*3\d(;\d+)*m", text)) is coloured


def test_no_colours_in_a_pipe(place: Path, program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = program("verify", "log", env={**os.environ, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"})
    assert "\x1b" not in result.stdout + result.stderr


@POSIX
@pytest.mark.parametrize(("args", "shown"), [([], True), (["-q"], False)])
def test_progress_is_shown_on_a_terminal_unless_quiet(
    place: Path, terminal: Callable[..., tuple[int, bytes]], args: list[str], *, shown: bool
) -> None:
    code, text = terminal("verify", "log", "--key", "file:hmac.jwk", *args)
    assert code == 0
    assert (b"verifying" in text) is shown


def test_no_progress_in_a_pipe(place: Path, program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert program("verify", "log", "--key", "file:hmac.jwk").stderr == ""


@POSIX
@pytest.mark.parametrize("form", ["text", "json"])
def test_ctrl_c_prints_what_was_checked_so_far(
    place: Path, terminal: Callable[..., tuple[int, bytes]], lines: Callable[..., list[bytes]], form: str
) -> None:
    """The progress bar tells when the second file is being read; its signatures take seconds."""
    Path("big.jsonl").write_bytes(b"".join(lines(30000, open_signing_key("file:ed.jwk"), "big")))
    pressed = []

    def press(text: bytes, pid: int) -> None:
        if not pressed and re.search(rb"verifying[^\r]*[^\d.](?!0\.0)\d+\.\d/\d", text):
            pressed.append(os.kill(pid, signal.SIGINT))

    keys = ("--key", "file:hmac.jwk", "--key", "file:ed.jwk.pub")
    code, text = terminal("verify", "log/a.jsonl", "big.jsonl", *keys, "-f", form, on_text=press)
    assert pressed
    assert code == 130, text[-3000:]
    assert b"Traceback" not in text
    if form == "text":
        assert b"UNDETERMINED" in text
        assert b"; interrupted, this is what was checked so far" in text
        assert b"audit: seq 1..10, 10 entries" in text
    else:
        report = json.loads(text[text.index(b"{\r\n") :].replace(b"\r\n", b"\n"))
        assert report["outcome"] == "undetermined"
        assert [file["file"] for file in report["files"]][:1] == ["log/a.jsonl"]


@POSIX
@pytest.mark.parametrize(("spoil", "code"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_reader_that_goes_away_changes_no_exit_code(
    place: Path, lines: Callable[..., list[bytes]], command: str, code: int, *, spoil: bool
) -> None:
    made = lines(3000)
    if spoil:
        made = [line.replace(b"user", b"USER") if number % 2 else line for number, line in enumerate(made)]
    Path("log/a.jsonl").write_bytes(b"".join(made))
    args = ["--key", "file:hmac.jwk", "-v"] if command == "verify" else []
    with subprocess.Popen(
        [sys.executable, "-m", "fapilog_tamper", command, "log", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == (code if command == "verify" else 0)


@LINUX
@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_full_disk_behind_stdout_is_an_error_in_one_line(place: Path, command: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "fapilog_tamper", command, "log"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "error: stdout cannot be written: No space left on device."


@POSIX
@pytest.mark.parametrize(("closed", "code"), [(">&-", 2), ("2>&-", 3)])
def test_a_closed_stream_is_no_traceback(place: Path, closed: str, code: int) -> None:
    result = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m fapilog_tamper verify log --key env:NO_SUCH_KEY {closed}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    result = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m fapilog_tamper verify log {closed}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TamperError("it broke.", hint="Mend it."), 2, "error: it broke.\nhint: Mend it.\n"),
        (TamperError("it broke."), 2, f"error: it broke.\nhint: {TamperError.default_hint}\n"),
        (KeyboardInterrupt(), 130, "error: interrupted.\n"),
    ],
)
def test_an_error_becomes_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    with pytest.raises(typer.Exit) as caught, errors_reported():
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("filename", [None, "some/log"])
def test_a_log_that_may_not_be_read_was_not_checked(capsys: pytest.CaptureFixture[str], filename: str | None) -> None:
    with pytest.raises(typer.Exit) as caught, io_errors_reported():
        raise PermissionError(13, "Permission denied", filename)
    assert caught.value.exit_code == 3
    where = "some/log: " if filename else ""
    assert capsys.readouterr().err.startswith(f"error: {where}Permission denied; the log was not read.\n")


@POSIX
@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize("path", ["shut/a.jsonl", "shut"])
def test_a_folder_without_rights_is_no_traceback(place: Path, command: str, path: str) -> None:
    """Root may do everything, so where the tests run as root, the program runs as root without that capability."""
    start: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv: apt-get install util-linux")
        rights = "-dac_override,-dac_read_search"
        start = ["setpriv", "--bounding-set", rights, "--inh-caps", rights]
    Path("shut").mkdir()
    Path("shut/a.jsonl").touch()
    Path("shut").chmod(0)
    try:
        result = subprocess.run(
            [*start, sys.executable, "-m", "fapilog_tamper", command, path], capture_output=True, text=True, check=False
        )
    finally:
        Path("shut").chmod(0o700)
    assert result.returncode == 3, result
    assert "ermission denied" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_is_said_to_a_stderr_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say("anything")


def test_stdout_that_is_closed_is_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert use_colour(no_color=False) is False
    with pytest.raises(typer.Exit) as caught:
        write_stdout("x")
    assert caught.value.exit_code == 2


def test_interrupted_is_said_in_the_verdict() -> None:
    line = verdict_line(hostile_report(), interrupted=True)
    assert (
        line.plain
        == "TAMPERED  1 finding in 1 entry of 1 stream in 1 file; interrupted, this is what was checked so far"
    )


def test_the_runner_and_the_program_agree(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    args = ["verify", "log", "--key", "file:hmac.jwk", "-q"]
    assert program(*args).stdout == CliRunner().invoke(app, args).stdout
