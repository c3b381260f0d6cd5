"""`stats`, `verify`, `retain`, `policy check` and `import`: reports as text and as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner
from unit.audit.cli.conftest import invoke, spoil
from unit.audit.reading.trails import crash, event, seal_lines, write

from fapilog_audit.importing import import_folder
from fapilog_audit.importing.report import FileFacts, ImportReport
from fapilog_tamper.cli.app import app as tamper

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(__file__).parents[1] / "importing/samples"
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# stats


def test_stats_count_by_type_level_and_stream(place: Path) -> None:
    parsed = json.loads(invoke("stats", "--json").stdout)
    files = list((place / "audit_logs").glob("*.jsonl"))
    assert parsed["bytes"] == sum(file.stat().st_size for file in files)
    del parsed["bytes"]
    assert parsed == {
        "schema_version": "1.0",
        "events": 10,
        "control_entries": 0,
        "unreadable": 0,
        "by_type": {"acme.pay": 2, "data_access": 8},
        "by_level": {"error": 3, "info": 7},
        "by_stream": {"audit": 10},
        "first_time": "2026-11-20T12:00:01.000000Z",
        "last_time": "2026-11-20T12:00:10.000000Z",
        "segments": len(files),
        "streams": 1,
    }


def test_stats_as_text_have_the_greatest_first(place: Path) -> None:
    text = invoke("stats").stdout
    assert text.startswith("audit_logs: 10 events of 1 stream in ")
    assert "from 2026-11-20T12:00:01.000000Z to 2026-11-20T12:00:10.000000Z\n" in text
    assert "\ntypes\n  8  data_access\n  2  acme.pay\n\nlevels\n  7  info\n  3  error\n\nstreams\n  10  audit\n" in text


def test_stats_say_how_many_entries_are_of_the_log_itself(tmp_path: Path) -> None:
    crash(tmp_path, 1, 4)
    write(tmp_path, [event(4)])
    control = json.loads(invoke("stats", str(tmp_path), "--json").stdout)["control_entries"]
    assert control > 0
    assert f"\nand {control} entr" in invoke("stats", str(tmp_path)).stdout


def test_stats_of_nothing_say_so_unless_quiet(place: Path) -> None:
    Path("empty").mkdir()
    assert invoke("stats", "empty").stderr == "There is no event in empty.\n"
    assert invoke("stats", "empty", "-q").stderr == ""


def test_stats_with_unreadable_lines_are_incomplete(place: Path) -> None:
    Path("odd").mkdir()
    Path("odd/audit_2026-11-20.jsonl").write_bytes(b"".join(seal_lines([b'{"other":1}'])))
    result = invoke("stats", "odd", "--json")
    assert (result.exit_code, json.loads(result.stdout)["unreadable"]) == (3, 1)


@pytest.mark.parametrize("command", ["stats", "show id-12345678", "retain", "policy check policy.toml"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_report_goes_to_a_file_as_it_goes_to_stdout(place: Path, command: str, form: str) -> None:
    write(place / "log", [event(1, event_id="id-12345678")])
    Path("policy.toml").write_text('level = "basic"\n')
    args = [*command.split(), "-f", form, *(["log"] if "policy" not in command else [])]
    shown = invoke(*args)
    assert invoke(*args, "-o", "report").stdout == ""
    assert (Path("report").read_text(), shown.exit_code) == (shown.stdout, 0)


# verify


def verdict_of(result: subprocess.CompletedProcess[str]) -> tuple[int, object]:
    parsed = json.loads(result.stdout)
    return result.returncode, {name: parsed[name] for name in ("outcome", "findings", "streams")}


@pytest.mark.parametrize(
    ("folder", "args", "code"),
    [
        ("audit_logs", [], 0),
        ("keyed", [], 3),
        ("keyed", ["--key", "file:hmac.jwk"], 0),
        ("keyed", ["--key", "file:other.jwk"], 3),
        ("keyed", ["--key", "file:hmac.jwk", "--jobs", "2", "--deep"], 0),
        ("keyed", ["--key", "file:hmac.jwk", "--stream", "audit", "--require-manifests", "--require-end"], 0),
        ("spoiled", ["--key", "file:hmac.jwk"], 1),
        ("headless", ["--key", "file:hmac.jwk"], 0),
        ("headless", ["--key", "file:hmac.jwk", "--require-end"], 3),
        ("bare", ["--key", "file:hmac.jwk", "--require-manifests"], 3),
        ("cut", ["--key", "file:hmac.jwk", "--head", "keyed/.fapilog/audit.chainstate"], 1),
        ("keyed", ["--key", "file:nowhere.jwk"], 2),
    ],
)
def test_the_verdict_is_that_of_the_program_below(
    place: Path, program: Callable[..., subprocess.CompletedProcess[str]], folder: str, args: list[str], code: int
) -> None:
    for name in ("spoiled", "headless", "bare", "cut"):
        (place / name).mkdir()
        for path in (place / "keyed").glob("*.json*"):
            (place / name / path.name).write_bytes(path.read_bytes())
    spoil(place / "spoiled", b"event 2", b"event 9")
    for path in (place / "bare").glob("*.manifest.json"):
        path.unlink()
    newest = max((place / "cut").glob("*.jsonl"), key=lambda path: b"event 10" in path.read_bytes())
    for path in (newest, newest.with_name(newest.name + ".manifest.json")):
        path.unlink()
    ours = program("verify", folder, *args, "--json")
    theirs = CliRunner().invoke(tamper, ["verify", folder, *args, "--json"])
    assert ours.returncode == theirs.exit_code == code, ours
    if code != 2:
        parsed = json.loads(theirs.stdout)
        assert verdict_of(ours)[1] == {name: parsed[name] for name in ("outcome", "findings", "streams")}


def test_a_trust_file_counts(place: Path) -> None:
    CliRunner().invoke(tamper, ["export-public", "--key", "file:hmac.jwk", "-o", "trust.json"])
    assert invoke("verify", "keyed", "--trust", "missing.json").exit_code == 2


def test_the_report_goes_to_a_file_and_the_verdict_is_said(place: Path) -> None:
    result = invoke("verify", "-o", "report.txt")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("INTACT  10 entries of 1 stream")
    assert Path("report.txt").read_text().startswith("INTACT  10 entries")
    assert invoke("verify", "-q").stdout.count("\n") == 1
    assert "\nfiles\n" in invoke("verify", "-v").stdout


# retain


def test_what_is_due_is_listed_with_its_reason_and_nothing_is_moved(place: Path) -> None:
    before = sorted(path.name for path in (place / "audit_logs").iterdir())
    text = invoke("retain", "--today", "2027-03-01").stdout
    count = len([name for name in before if name.endswith(".jsonl")])
    assert text.startswith(f"audit_logs, 2027-03-01: 0 due for deletion, {count} for the archive, of {count} segment")
    assert "\ndue for the archive\n  audit_" in text
    assert "since 2027-02-18  last event on 2026-11-20, and archive_after_days is 90\n" in text
    assert text.endswith("\nNothing was moved or deleted: this is a list. Verify the folder before you act on it.\n")
    assert sorted(path.name for path in (place / "audit_logs").iterdir()) == before


@pytest.mark.parametrize(
    ("args", "action", "due"),
    [
        (["--today", "2026-11-25"], "keep", "2027-02-18"),
        (["--today", "2026-11-25", "--archive-after-days", "5"], "archive", "2026-11-25"),
        (["--today", "2026-11-25", "--retention-days", "5"], "delete", "2026-11-25"),
        (["--today", "2026-11-25", "--policy", "policy.toml"], "delete", "2026-11-21"),
    ],
)
def test_days_come_from_options_or_from_a_policy(place: Path, args: list[str], action: str, due: str) -> None:
    Path("policy.toml").write_text('level = "basic"\nretention_days = 1\n')
    parsed = json.loads(invoke("retain", *args, "--json").stdout)
    assert {(one["action"], one["due"]) for one in parsed["segments"]} == {(action, due)}
    assert parsed["segments"][0]["first"].startswith("2026-11-20T12:00:")
    assert sum(one["entries"] for one in parsed["segments"]) == 10
    assert {"schema_version", "today", "retention_days", "archive_after_days"} < set(parsed)


def test_what_is_kept_is_listed_when_asked_for(place: Path) -> None:
    assert "\nkept\n" not in invoke("retain", "--today", "2026-11-25").stdout
    assert "from 2027-02-18" in invoke("retain", "--today", "2026-11-25", "-v").stdout


def test_a_segment_of_which_nobody_can_tell_is_always_listed(place: Path) -> None:
    newest = max((place / "audit_logs").glob("*.manifest.json"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    assert "\nkept, and nobody can tell until when\n  audit_" in invoke("retain", "--today", "2026-11-25").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--policy", "policy.toml", "--retention-days", "5"], "--policy cannot be used with days."),
        (["--policy", "missing.toml"], "missing.toml: the file cannot be read"),
        (["--today", "soon"], "--today is 'soon'."),
        (["--retention-days", "-5"], "--retention-days"),
    ],
)
def test_retain_refuses_what_cannot_be_meant(place: Path, args: list[str], said: str) -> None:
    Path("policy.toml").write_text('level = "basic"\n')
    result = invoke("retain", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


# policy check


@pytest.mark.parametrize(
    ("name", "text", "code", "severities"),
    [
        ("p.toml", 'level = "basic"', 0, set()),
        ("p.toml", '[policy]\nlevel = "none"', 0, set()),
        ("p.json", '{"level": "hipaa", "hipaa_minimum_necessary": true, "audit_access_roles": ["a"]}', 0, {"warning"}),
        ("p.toml", 'level = "hipaa"', 2, {"error", "warning"}),
        ("p.toml", 'level = "basic"\nretention_days = 1', 2, {"error"}),
        ("p.toml", 'level = "basic"\nencrypt_audit_logs = true', 2, {"error"}),
        ("p.toml", 'level = "hipaa"\nenabled = false', 0, set()),
    ],
)
def test_errors_of_a_policy_are_code_2_and_warnings_are_not(
    place: Path, name: str, text: str, code: int, severities: set[str]
) -> None:
    Path(name).write_text(text)
    result = invoke("policy", "check", name, "--json")
    parsed = json.loads(result.stdout)
    assert (result.exit_code, parsed["ok"]) == (code, code == 0)
    assert {one["severity"] for one in parsed["issues"]} >= severities
    assert bool(parsed["issues"]) is bool(severities)
    assert parsed["policy"]["level"] in text
    shown = invoke("policy", "check", name)
    assert shown.exit_code == code
    for one in parsed["issues"]:
        assert f"\n{one['severity']}  {one['field']}\n  {one['message']}\n" in shown.stdout


def test_a_policy_that_is_not_enabled_says_so(place: Path) -> None:
    Path("p.toml").write_text('level = "hipaa"\nenabled = false')
    assert (
        "It is not enabled: nothing is recorded, and nothing was checked." in invoke("policy", "check", "p.toml").stdout
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.toml", None, "missing.toml: the file cannot be read"),
        ("p.yaml", "level: basic", "p.yaml: its name ends with '.yaml'"),
        ("p.toml", "level = ", "p.toml: is not valid TOML"),
        ("p.toml", 'levle = "basic"', "levle"),
        ("p.toml", 'level = "hippa"', "hippa"),
        ("p.json", "[1]", "p.json: "),
    ],
)
def test_what_is_no_policy_is_a_usage_error(place: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        Path(name).write_text(text)
    result = invoke("policy", "check", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "code", "field"),
    [
        ("d.toml", "encryption_at_rest = true", 0, None),
        (
            "d.json",
            '{"data_handling": {"allow_default_credentials": true}}',
            2,
            "data_handling.allow_default_credentials",
        ),
        ("d.toml", "[data_handling]\nallow_default_credentials = true", 2, "data_handling.allow_default_credentials"),
    ],
)
def test_the_handling_of_data_is_checked_too(place: Path, name: str, text: str, code: int, field: str | None) -> None:
    Path("p.toml").write_text('level = "basic"')
    Path(name).write_text(text)
    result = invoke("policy", "check", "p.toml", "--data-handling", name, "--json")
    assert result.exit_code == code
    assert field is None or field in [one["field"] for one in json.loads(result.stdout)["issues"]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.toml", None, "missing.toml cannot be read"),
        ("d.toml", "min_password_length = 3", "min_password_length: Input should be greater than or equal to 8"),
        ("d.toml", "redaction = true", "redaction: Extra inputs"),
        ("d.json", "[1]", "d.json holds no table."),
        ("d.json", "{", "d.json is not JSON"),
        ("d.json", "[" * 100_000, "d.json is not JSON"),
        ("d.toml", "x", "d.toml is not TOML"),
    ],
)
def test_what_is_no_handling_of_data_is_a_usage_error(place: Path, name: str, text: str | None, said: str) -> None:
    Path("p.toml").write_text('level = "basic"')
    if text is not None:
        Path(name).write_text(text)
    result = invoke("policy", "check", "p.toml", "--data-handling", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "hint: " in result.stderr


# import


@pytest.fixture
def old(place: Path) -> Path:
    folder = place / "old"
    folder.mkdir()
    for path in (SAMPLES / "normal").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_an_old_trail_is_sealed_and_its_verdict_is_printed(old: Path) -> None:
    result = invoke("import", "old", "--to", "new", "--key", "file:hmac.jwk")
    assert result.exit_code == 0
    assert "The old chain was found VALID\n" in result.stdout
    assert "The new log ends with chain hash " in result.stdout
    assert ", unkeyed" not in result.stdout
    assert invoke("verify", "new", "--key", "file:hmac.jwk").exit_code == 0


def test_a_broken_old_chain_is_told_and_sealed_all_the_same(old: Path) -> None:
    file = next(old.glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"message"', b'"massage"', 1))
    result = invoke("import", "old", "--to", "new", "--json")
    parsed = json.loads(result.stdout)
    assert (result.exit_code, parsed["verdict"], parsed["dry_run"]) == (0, "broken", False)
    text = invoke("import", "old", "--to", "new2").stdout
    assert "The old chain was found BROKEN\n" in text
    assert "in new2, unkeyed\n" in text
    assert f"\nproblems\n  {file.name}, line " in text


def test_a_dry_run_writes_nothing(old: Path) -> None:
    result = invoke("import", "old", "--to", "new", "--dry-run")
    assert result.exit_code == 0
    assert "1 file could be imported; nothing was written\n" in result.stdout
    assert not Path("new").exists()


def test_files_that_are_left_out_are_named_and_make_it_incomplete(old: Path) -> None:
    (old / "notes.txt").write_text("x")
    result = invoke("import", "old", "--to", "new")
    assert result.exit_code == 3
    assert "\nleft out\n  notes.txt  not named audit_YYYY-MM-DD.jsonl\n" in result.stdout


def test_the_head_goes_where_it_is_wanted(old: Path) -> None:
    assert invoke("import", "old", "--to", "new", "--state-dir", "state").exit_code == 0
    assert list(Path("state").glob("*.chainstate"))
    assert not Path("new/.fapilog").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere", "--to", "new"], "nowhere is no folder."),
        (["old", "--to", "old/new"], "is old or inside it."),
        (["old", "--to", "audit_logs"], "audit_logs holds a log already"),
        (["old", "--to", "new", "--key", "file:nowhere.jwk"], "nowhere.jwk"),
        (["old"], "--to"),
    ],
)
def test_import_refuses_what_cannot_be_meant(old: Path, args: list[str], said: str) -> None:
    result = invoke("import", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not Path("new").exists()


def test_an_old_file_that_changes_meanwhile_is_not_finished(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = next(old.glob("*.jsonl"))

    def change(*args: object, **named: object) -> ImportReport:
        def grow(_done: int, _all: int) -> None:
            with file.open("ab") as more:
                more.write(b"x\n")

        return import_folder(*args, **{**named, "progress": grow})  # type: ignore[arg-type]

    monkeypatch.setattr("fapilog_audit.importing.import_folder", change)
    result = invoke("import", "old", "--to", "new")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "hint: " in result.stderr


def test_many_problems_are_counted(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ImportReport(files=[FileFacts("a")], problems=[f"p{n}" for n in range(25)])
    monkeypatch.setattr("fapilog_audit.importing.import_folder", lambda *_, **__: report)
    assert "  p19\n  and 5 more; -f json has all of them.\n" in invoke("import", "old", "--to", "new").stdout


@POSIX
def test_ctrl_c_says_that_the_import_is_not_finished(old: Path) -> None:
    file = next(old.glob("*.jsonl"))
    file.write_bytes(file.read_bytes() * 4000)
    with subprocess.Popen(
        [sys.executable, "-m", "fapilog_audit", "import", "old", "--to", "new"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not list(Path("new").glob("*.jsonl")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("error: interrupted; the import is not finished.\nhint: ")
    assert invoke("import", "old", "--to", "new").exit_code == 2
