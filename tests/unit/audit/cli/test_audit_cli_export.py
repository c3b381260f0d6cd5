"""`export`: the sealed lines, or a table; to stdout or to a file that is whole."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner
from unit.audit.cli.conftest import EVIL, invoke, sample, spoil
from unit.audit.reading.trails import crash, event, seal_lines, stored_lines, write

from fapilog_audit.cli.cells import HEADER
from fapilog_tamper.cli.app import app as tamper

if TYPE_CHECKING:
    from collections.abc import Callable

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


def table(*args: str) -> list[dict[str, str]]:
    result = invoke("export", "--format", "csv", *args)
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout_bytes.decode(), newline="")))


def test_jsonl_is_every_sealed_line_oldest_first(place: Path) -> None:
    result = invoke("export")
    assert (result.exit_code, result.stderr) == (0, "exported 10 events\n")
    assert result.stdout_bytes == b"".join(stored_lines(place / "audit_logs")["audit"])


def test_a_full_export_with_control_entries_verifies(tmp_path: Path) -> None:
    crash(tmp_path / "crashed", 1, 4)
    write(tmp_path / "crashed", sample(3))
    for args, code in ((["--control"], 0), ([], 3)):
        file = str(tmp_path / f"{code}.jsonl")
        assert invoke("export", str(tmp_path / "crashed"), *args, "-o", file).exit_code == 0
        assert CliRunner().invoke(tamper, ["verify", file, "--export"]).exit_code == code


@pytest.mark.parametrize(("spoiled", "code"), [(False, 0), (True, 1)])
def test_an_export_verifies_as_its_trail_does(place: Path, code: int, *, spoiled: bool) -> None:
    if spoiled:
        spoil(place / "keyed", b"event 2", b"event 9")
    assert invoke("export", "keyed", "--control", "-o", "all.jsonl").exit_code == 0
    args = ["verify", "all.jsonl", "--export", "--key", "file:hmac.jwk"]
    assert CliRunner().invoke(tamper, args).exit_code == code


def test_filters_and_limit_count(place: Path) -> None:
    result = invoke("export", "--user", "ada", "--limit", "3", "-q")
    lines = [line for line in stored_lines(place / "audit_logs")["audit"] if b'"user_id":"ada"' in line]
    assert (result.stdout_bytes, result.stderr) == (b"".join(lines[:3]), "")


def test_csv_has_one_header_and_a_row_for_each_event(place: Path) -> None:
    rows = table()
    assert tuple(rows[0]) == HEADER
    assert HEADER[:3] == ("event_id", "timestamp", "event_type")
    assert HEADER[-4:] == ("stream", "sequence_number", "checksum", "other")
    assert [row["event_id"] for row in rows] == [f"id-{n}" for n in range(1, 11)]
    assert (rows[0]["metadata"], rows[0]["sequence_number"], rows[0]["actor"]) == ('{"n": 1}', "1", "")


def test_csv_of_nothing_is_the_header(place: Path) -> None:
    assert invoke("export", "-f", "csv", "--user", "nobody").stdout_bytes == f"{','.join(HEADER)}\r\n".encode()


def test_csv_loses_no_member_that_it_has_no_column_for(tmp_path: Path) -> None:
    write(tmp_path, [event(1, custom={"a": 1}, checksum="of old")])
    row = table(str(tmp_path))[0]
    assert row["other"] == '{"checksum": "of old", "custom": {"a": 1}}'
    assert row["checksum"] != "of old"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_cell_that_begins_like_a_formula_gets_an_apostrophe(tmp_path: Path, begin: str) -> None:
    text = f"{begin}cmd|' /C calc'!A0"
    write(tmp_path, [event(1, user_id=text, message=f"a{text}")])
    row = table(str(tmp_path))[0]
    assert (row["user_id"], row["message"]) == (f"'{text}", f"a{text}")


@pytest.mark.parametrize("text", ['a "b", c', "two\r\nlines", "a\nb", "ünï 漢字", ",", '"', "a\rb", EVIL])
def test_csv_is_quoted_so_that_the_text_comes_back(tmp_path: Path, text: str) -> None:
    write(tmp_path, [event(1, message=text), event(2)])
    rows = table(str(tmp_path))
    assert [row["message"] for row in rows] == [text, "event 2"]


def test_half_a_character_is_no_obstacle(tmp_path: Path) -> None:
    lines = seal_lines([b'{"event_id":"a","event_type":"data_access","message":"\\ud800"}'])
    (tmp_path / "audit_2026-11-20.jsonl").write_bytes(b"".join(lines))
    assert table(str(tmp_path))[0]["message"] == "\\ud800"


def test_the_file_is_never_overwritten(place: Path) -> None:
    Path("out.csv").write_text("mine")
    result = invoke("export", "-f", "csv", "-o", "out.csv")
    assert (result.exit_code, result.stderr.partition("\n")[0]) == (2, "error: out.csv exists; nothing was written.")
    assert Path("out.csv").read_text() == "mine"


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Path, target: Path) -> None:
        Path("out.jsonl").write_text("mine")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    result = invoke("export", "-o", "out.jsonl")
    assert (result.exit_code, Path("out.jsonl").read_text()) == (2, "mine")
    assert list(Path().glob(".*")) == []


@pytest.mark.parametrize("taken", [False, True])
def test_without_hard_links_the_file_is_whole_too(place: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    def refuse(*_: object) -> None:
        if taken:
            Path("out.jsonl").write_text("mine")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = invoke("export", "-o", "out.jsonl")
    assert result.exit_code == (2 if taken else 0)
    stored = b"".join(stored_lines(place / "audit_logs")["audit"])
    assert Path("out.jsonl").read_bytes() == (b"mine" if taken else stored)
    assert list(Path().glob(".*")) == []


@pytest.mark.parametrize("name", ["no/out.jsonl", "hmac.jwk/out.jsonl", "x" * 250])
def test_a_file_that_cannot_be_made_is_a_usage_error(place: Path, name: str) -> None:
    result = invoke("export", "-o", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fapilog_audit.cli import out

    def full(_: Path) -> io.BufferedWriter:
        return open("/dev/full", "wb", buffering=0)  # noqa: PTH123 (closed by the caller)

    if sys.platform != "linux":
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(out, "_create", full)
    result = invoke("export", "-o", "out.jsonl")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: out.jsonl cannot be written: No space left on device.")
    assert not Path("out.jsonl").exists()


def test_lines_that_hold_no_event_are_said_and_left_out(place: Path) -> None:
    Path("odd").mkdir()
    good, bad = seal_lines([b'{"event_id":"a","event_type":"data_access","message":"m"}', b'{"other":1}'])
    Path("odd/audit_2026-11-20.jsonl").write_bytes(good + bad + b"no line\n")
    result = invoke("export", "odd", "-o", "out.jsonl")
    assert (result.exit_code, Path("out.jsonl").read_bytes()) == (3, good)
    assert "error: 2 lines could not be read as events." in result.stderr


@POSIX
def test_ctrl_c_leaves_nothing_under_the_name(place: Path) -> None:
    """The writer of a pipe in the folder's place would hold it up: here the events are many."""
    write(place / "big", ({**event(n), "message": "x" * 400} for n in range(60_000)), rotation=None)
    with subprocess.Popen(
        [sys.executable, "-m", "fapilog_audit", "export", "big", "-o", "out.jsonl"], stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(place.glob(".out.jsonl.*.part")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "; out.jsonl was not made." in said
    assert [path.name for path in place.iterdir() if "out" in path.name] == []


@POSIX
def test_a_reader_that_goes_away_ends_the_export(place: Path) -> None:
    write(place / "big", (event(n) for n in range(5000)), rotation=None)
    for command in ("export big", "query big --limit 0", "query big --limit 0 --json", "export big -f csv"):
        done = subprocess.run(
            ["sh", "-c", f"('{sys.executable}' -m fapilog_audit {command} -q; echo $? >code) | head -c 10"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert Path("code").read_text() == "0\n"


@LINUX
def test_a_full_disk_behind_stdout_is_an_error_in_one_line(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with Path("/dev/full").open("w") as full:
        for command in (["export"], ["query"], ["tail"], ["stats"]):
            result = program(*command, capture_output=False, stdout=full, stderr=subprocess.PIPE)
            assert result.returncode == 2
            assert result.stderr.startswith("error: stdout cannot be written: No space left on device.\n")
