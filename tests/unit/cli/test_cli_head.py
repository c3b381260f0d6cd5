"""`head`, `restore`, `rotate-key`, and `inspect` of logs that are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.keys import open_signing_key
from fapilog_tamper.sealer import SealedLog

if TYPE_CHECKING:
    from collections.abc import Iterator

POSIX = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
KEY = ("--key", "file:hmac.jwk")
WHY = ("--reason", "disk replaced", "--by", "R. Roe")


def call(*args: str) -> Any:
    result = CliRunner().invoke(app, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def write(*events: str, key: str | None = "file:hmac.jwk", stream: str = "log") -> None:
    with SealedLog.open("new", key=key, stream=stream) as log:
        for event in events:
            log.append({"message": event})


@pytest.fixture
def log(place: Path) -> Path:
    write("one", "two", "three")
    Path("kept").mkdir()
    return place


def roll_back() -> None:
    """Leave a head that speaks of entries which are not there."""
    head = Path("new/.fapilog/log.chainstate").read_bytes()
    for path in [*Path("new").glob("*"), Path("new/.fapilog/log.chainstate")]:
        if path.is_file():
            path.unlink()
    write("one")
    Path("new/.fapilog/log.chainstate").write_bytes(head)


def test_a_head_is_copied_byte_for_byte(log: Path) -> None:
    stored = Path("new/.fapilog/log.chainstate").read_bytes()
    result = call("head", "export", "new")
    assert (result.exit_code, result.stdout_bytes) == (0, stored)
    assert call("head", "export", "new", "-o", "kept").exit_code == 0
    assert call("head", "export", "new", "--stream", "log", "-o", "kept/a").exit_code == 0
    assert Path("kept/log.chainstate").read_bytes() == Path("kept/a").read_bytes() == stored


def test_the_heads_of_several_streams_go_to_a_folder(log: Path) -> None:
    write("x", stream="web")
    for args in ([], ["-o", "kept/one"]):
        result = call("head", "export", "new", *args)
        assert (result.exit_code, "streams: log, web" in result.stderr) == (2, True)
    assert call("head", "export", "new", "-o", "kept").exit_code == 0
    assert sorted(path.name for path in Path("kept").iterdir()) == ["log.chainstate", "web.chainstate"]


def test_a_kept_head_is_replaced_by_a_later_one_only(log: Path) -> None:
    assert call("head", "export", "new", "-o", "kept").exit_code == 0
    first = Path("kept/log.chainstate").read_bytes()
    write("four")
    assert call("head", "export", "new", "-o", "kept").exit_code == 0
    later = Path("kept/log.chainstate").read_bytes()
    assert later != first
    Path("new/.fapilog/log.chainstate").write_bytes(first)
    result = call("head", "export", "new", "-o", "kept")
    assert (result.exit_code, "Entries may have been cut off" in result.stderr) == (3, True)
    assert Path("kept/log.chainstate").read_bytes() == later
    assert call("head", "export", "new", "-o", "hmac.jwk").exit_code == 2
    assert call("head", "export", "new", "-o", "new/copy").exit_code == 2


def test_a_kept_head_shows_what_was_cut_off(log: Path) -> None:
    assert call("head", "export", "new", "-o", "kept").exit_code == 0
    for kept in ("kept", "kept/log.chainstate"):
        assert call("head", "check", "new", kept, *KEY).exit_code == 0
    write("four")
    assert call("head", "check", "new", "kept", *KEY, "-q").stdout.startswith("INTACT")
    assert call("head", "check", "new", "kept").exit_code == 3
    for path in (*Path("new").glob("log*"), Path("new/.fapilog/log.chainstate")):
        path.unlink()
    write("one", "two")
    result = call("head", "check", "new", "kept", *KEY, "--json")
    assert (result.exit_code, json.loads(result.stdout)["outcome"]) == (1, "tampered")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("export", "nothing"), 2, "nothing is no folder"),
        (("export", "log"), 3, "there is no head of any stream"),
        (("export", "new", "--stream", "no"), 3, "there are those of log"),
        (("export", "new", "--stream", "a b"), 2, "U+0020"),
        (("check", "new", "kept", *KEY), 2, "there is no head in kept"),
        (("check", "new", "hmac.jwk", *KEY), 3, "Is this the right file?"),
        (("check", "new", "nothing", *KEY), 3, "No such file"),
    ],
)
def test_what_is_no_head_is_said(log: Path, args: tuple[str, ...], code: int, text: str) -> None:
    result = call("head", *args)
    assert (result.exit_code, text in result.output) == (code, True), result.output


def test_a_spoiled_or_exchanged_head_is_not_copied(log: Path) -> None:
    path = Path("new/.fapilog/log.chainstate")
    path.with_name("web.chainstate").write_bytes(path.read_bytes())
    assert "is the head of stream log" in call("head", "export", "new", "--stream", "web").stderr
    path.write_bytes(b"{}\n")
    result = call("head", "export", "new", "--stream", "log")
    assert (result.exit_code, "is not a head as a writer stores it" in result.stderr) == (3, True)


def test_a_restore_says_what_it_passes_over(log: Path) -> None:
    roll_back()
    seal = [sys.executable, "-m", "fapilog_tamper", "seal", "-d", "new", *KEY]
    refused = subprocess.run(seal, input=b"x\n", stderr=subprocess.PIPE, check=False)
    assert (refused.returncode, b"fapilog-tamper restore" in refused.stderr) == (3, True)
    result = call("restore", "new", *KEY, *WHY)
    assert result.exit_code == 0, result.output
    assert "passed over: " in result.stdout
    assert "entry 3" in result.stdout
    assert "on record as entry 2, kind restore" in result.stdout
    assert subprocess.run(seal, input=b"x\n", check=False, capture_output=True).returncode == 0
    (line,) = (
        line
        for path in Path("new").glob("*.jsonl")
        for line in path.read_text().splitlines()
        if '"kind":"restore"' in line
    )
    assert {"reason": "disk replaced", "by": "R. Roe", "lost_seq": 3}.items() <= json.loads(line)["sealed_log"].items()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("new", *KEY, "--reason", " ", "--by", "me"), "--reason is empty"),
        (("new", *KEY, "--reason", "x"), "Missing option '--by'"),
        (("new", *WHY), "no"),
        (("new", *WHY, "--unkeyed"), "stream log is under key k1"),
        (("new", *KEY, *WHY, "--stream", "lgo"), "there is no stream lgo in new; it holds log"),
        (("nothing", *KEY, *WHY), "nothing is no folder"),
    ],
)
def test_a_restore_that_cannot_be_meant_changes_nothing(log: Path, args: tuple[str, ...], text: str) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in log.rglob("*"))
    result = call("restore", *args)
    assert (result.exit_code, text in result.stderr) == (2, True), result.output
    assert sorted((path, path.stat().st_mtime_ns) for path in log.rglob("*")) == before


def test_a_key_is_changed_in_the_stream_and_its_slots(log: Path) -> None:
    with SealedLog.open("new", key="file:hmac.jwk"):
        write("in the second slot")
    result = call("rotate-key", "new", *KEY, "--new-key", "file:ed.jwk")
    assert result.exit_code == 0, result.output
    assert "log: entry 4 is the last under k1; ed is next\nlog.w2: entry 2 is the last" in result.stdout
    assert "Keep k1" in result.stdout
    seal = [sys.executable, "-m", "fapilog_tamper", "seal", "-d", "new", "--key", "file:ed.jwk"]
    done = subprocess.run([*seal, "--old-key", "file:hmac.jwk"], input=b"x\n", check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert call("verify", "new", *KEY, "--key", "file:ed.jwk").exit_code == 0
    assert call("verify", "new", "--key", "file:ed.jwk").exit_code == 3


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("new", *KEY, "--new-key", "file:hmac.jwk"), "has the key_id of the old one"),
        (("new", "--key", "file:ed.jwk", "--new-key", "file:hmac.jwk"), "stream log is under key k1"),
        (("new", *KEY, "--new-key", "file:ed.jwk", "--stream", "log.w2"), "belong to the writer"),
        (("new", *KEY, "--new-key", "file:ed.jwk", "--stream", "no"), "there is no stream no"),
        (("nothing", *KEY, "--new-key", "file:ed.jwk"), "nothing is no folder"),
    ],
)
def test_a_key_that_cannot_be_changed_is_said(log: Path, args: tuple[str, ...], text: str) -> None:
    result = call("rotate-key", *args)
    assert (result.exit_code, text in result.stderr) == (2, True), result.output


def test_no_key_is_changed_under_a_writer(log: Path) -> None:
    with SealedLog.open("new", key="file:hmac.jwk"):
        result = call("rotate-key", "new", *KEY, "--new-key", "file:ed.jwk")
    assert (result.exit_code, "a writer has log open" in result.stderr) == (3, True)


@pytest.fixture
def writer(log: Path) -> Iterator[SealedLog]:
    with SealedLog.open("new", key=open_signing_key("file:hmac.jwk")) as opened:
        opened.append({"message": "four"})
        yield opened


def live(*args: str) -> Any:
    result = call("inspect", "new", "--json", *args)
    (found,) = json.loads(result.stdout)["scopes"]
    return result.exit_code, found


@POSIX
def test_a_folder_that_is_written_shows_its_writers(writer: SealedLog) -> None:
    code, found = live()
    (one,) = found["live"]
    assert (code, one["stream"], one["writer"], one["last_seq"], one["tail"]) == (0, "log", "open", 4, None)
    assert one["head_lag"] == 4 - one["head_seq"]
    assert len(one["open_segments"]) == 1
    assert "open: a writer has it" in call("inspect", "new").stdout
    writer.close()
    code, found = live()
    (one,) = found["live"]
    assert (code, one["writer"], one["head_lag"], one["open_segments"]) == (0, "none", 0, [])
    assert "no writer has it" in call("inspect", "new").stdout


@POSIX
def test_asking_for_writers_takes_no_lock_and_writes_nothing(log: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in log.rglob("*")}
    live()
    assert {path: path.stat().st_mtime_ns for path in log.rglob("*")} == before
    with SealedLog.open("new", key="file:hmac.jwk") as opened:
        live()
        assert opened.stream == "log"
    Path("new/.fapilog/log.lock").unlink()
    assert live()[1]["live"][0]["writer"] == "none"
    assert not Path("new/.fapilog/log.lock").exists()


@POSIX
def test_half_a_line_is_no_problem_under_a_writer_and_a_torn_tail_without(writer: SealedLog) -> None:
    path = max(Path("new").glob("*.jsonl"), key=lambda one: one.stat().st_mtime_ns)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"half')
    code, found = live()
    assert (code, found["problems"], found["live"][0]["tail"]) == (0, [], "a line is being written")
    path.write_bytes(whole)
    writer.close()
    Path("new", f"{path.name}.manifest.json").unlink()
    path.write_bytes(whole + b'{"half')
    code, found = live()
    assert (code, found["live"][0]["tail"][:11]) == (3, "a torn line")


@POSIX
def test_an_open_log_without_an_entry_is_no_problem(place: Path) -> None:
    with SealedLog.open("new", key="file:hmac.jwk", state_dir="state"):
        code, found = live("--state-dir", "state")
        (one,) = found["live"]
        assert (code, one["writer"], one["last_seq"], one["head_lag"]) == (0, "open", None, None)
    assert live("--state-dir", "state")[0] == 3
