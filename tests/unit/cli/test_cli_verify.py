from __future__ import annotations

import gzip
import json
import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli import main
from fapilog_tamper.cli.app import app
from fapilog_tamper.cli.output import format_size
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.keys import HmacKey, Keyring, format_trust_file, open_signing_key, write_key_files
from fapilog_tamper.verify.log import verify_path

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ("--key", "file:hmac.jwk")
LOG = Path("log/a.jsonl")


def call(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def spoil(number: int = 3, file: Path = LOG) -> None:
    """Change a word in one line."""
    lines = file.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b"user", b"USER")
    file.write_bytes(b"".join(lines))


def test_an_intact_log_is_said_to_be_so(place: Path) -> None:
    result = call("verify", "log", *KEY)
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    assert first == "INTACT  10 entries of 1 stream in 1 file"
    text = "\n".join(rest)
    assert "audit: seq 1..10, 10 entries in 1 segment; authenticated through seq 10 (keys: k1); end attested by" in text
    assert "end-open: " in text
    assert "not checked\n  whether stream audit ends at seq 10" in text
    assert re.search(r"10 entries, \d\.\d kB in \d+\.\d\d s \([\d,]+ entries/s\)$", text)
    assert result.stderr == ""


def test_a_changed_log_is_named_with_file_line_and_seq(place: Path) -> None:
    spoil()
    result = call("verify", "log", *KEY)
    assert result.exit_code == 1
    assert result.stdout.startswith("TAMPERED  1 finding in 10 entries of 1 stream in 1 file\n")
    assert "payload-changed  log/a.jsonl:3  seq 3\n" in result.stdout
    assert "  hint:     Compare the line with a backup" in result.stdout


def test_expected_and_found_are_shown(place: Path) -> None:
    lines = LOG.read_bytes().splitlines(keepends=True)
    del lines[4]
    LOG.write_bytes(b"".join(lines))
    assert "  expected: 5\n  found:    6\n" in call("verify", "log", *KEY).stdout


def test_without_a_key_a_keyed_log_is_undetermined(place: Path) -> None:
    result = call("verify", "log")
    assert result.exit_code == 3
    assert result.stdout.startswith("UNDETERMINED  ")
    assert "not authenticated" in result.stdout
    assert "Give the key with --key or --trust." in result.stdout


@pytest.mark.parametrize("name", ["log", "log/a.jsonl"])
def test_an_empty_log_is_undetermined(place: Path, name: str) -> None:
    LOG.write_bytes(b"")
    result = call("verify", name, *KEY)
    assert (result.exit_code, result.stdout.split()[0]) == (3, "UNDETERMINED")
    assert "\nempty" in result.stdout


def test_a_missing_file_is_undetermined(place: Path) -> None:
    result = call("verify", "nothing.jsonl", *KEY)
    assert result.exit_code == 3
    assert "unreadable  nothing.jsonl" in result.stdout


def test_an_unkeyed_log_is_intact_with_a_note(place: Path, lines: Callable[..., list[bytes]]) -> None:
    LOG.write_bytes(b"".join(lines(3, None)))
    result = call("verify", "log")
    assert result.exit_code == 0
    assert "unkeyed-chain: " in result.stdout


def test_compressed_files_and_several_paths_are_read(place: Path, lines: Callable[..., list[bytes]]) -> None:
    Path("b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines(4, stream="billing"))))
    result = call("verify", "log", "b.jsonl.gz", *KEY)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.startswith("INTACT  14 entries of 2 streams in 2 files\n")


@pytest.mark.parametrize("flag", [["-f", "json"], ["--format", "json"], ["--json"]])
def test_json_is_the_report_to_the_letter(place: Path, flag: list[str]) -> None:
    spoil()
    result = call("verify", "log", *KEY, *flag)
    expected = verify_path("log", keys="file:hmac.jwk").to_json()
    strip = re.compile(r'"duration_seconds": [\d.e-]+')
    assert strip.sub("", result.stdout) == strip.sub("", expected) + "\n"
    assert json.loads(result.stdout)["schema_version"]
    assert result.exit_code == 1


def test_quiet_is_one_line(place: Path) -> None:
    assert call("verify", "log", *KEY, "-q").stdout == "INTACT  10 entries of 1 stream in 1 file\n"


def test_many_findings_are_summed_up_unless_verbose(place: Path, lines: Callable[..., list[bytes]]) -> None:
    LOG.write_bytes(b"".join(lines(60)))
    for number in range(1, 60, 2):
        spoil(number)
    few, all_of_them = call("verify", "log", *KEY), call("verify", "log", *KEY, "-v")
    assert few.stdout.count("payload-changed  log") == 20
    assert "and 10 more findings: 10 payload-changed. -v shows all of them." in few.stdout
    assert all_of_them.stdout.count("payload-changed  log") == 30
    assert "files\n  log/a.jsonl: audit seq 1..60, 60 entries, " in all_of_them.stdout
    assert "more finding" not in all_of_them.stdout


def test_findings_beyond_what_a_report_keeps_are_counted(place: Path, lines: Callable[..., list[bytes]]) -> None:
    made = lines(2200)
    for number in range(0, 2200, 2):
        made[number] = made[number].replace(b"user", b"USER")
    LOG.write_bytes(b"".join(made))
    result = call("verify", "log", *KEY)
    assert result.stdout.startswith("TAMPERED  1,100 findings in ")
    assert "and 900 more findings that were counted and not kept." in result.stdout


def test_proof_of_tampering_stands_before_what_could_not_be_checked(place: Path) -> None:
    spoil(9)
    shown = call("verify", "missing.jsonl", "a-missing.jsonl", "log/a.jsonl", *KEY).stdout
    assert shown.index("payload-changed") < shown.index("unreadable")


def test_many_streams_are_summed_up_unless_verbose(place: Path, lines: Callable[..., list[bytes]]) -> None:
    for number in range(25):
        Path(f"log/s{number}.jsonl").write_bytes(b"".join(lines(1, stream=f"s{number}")))
    assert "  and 6 more; -v shows all of them." in call("verify", "log", *KEY).stdout
    assert "more; -v" not in call("verify", "log", *KEY, "-v").stdout


def test_keys_and_a_trust_file_go_together(place: Path, lines: Callable[..., list[bytes]]) -> None:
    Path("trust.json").write_text(format_trust_file(Keyring(["file:ed.jwk"])))
    Path("log/b.jsonl").write_bytes(b"".join(lines(4, open_signing_key("file:ed.jwk"), stream="billing")))
    assert call("verify", "log", "--trust", "trust.json").exit_code == 3
    assert call("verify", "log", *KEY).exit_code == 3
    assert call("verify", "log", "--trust", "trust.json", *KEY).exit_code == 0


def test_origins_of_a_trust_file_count_beside_keys(place: Path) -> None:
    other = "A" * 43
    Path("trust.json").write_text(json.dumps({"version": "1.0", "keys": [], "origins": {"audit": other}}))
    result = call("verify", "log", "--trust", "trust.json", *KEY)
    assert result.exit_code == 1
    assert "rollback" in result.stdout


OPTIONS = [
    (["--require-manifests"], 3, "manifest-missing"),
    (["--require-end"], 3, "end-not-attested"),
    (["--stream", "audit"], 0, "INTACT"),
    (["--stream", "billing"], 3, "empty"),
    (["--head", "no-head"], 3, "the head cannot be read"),
    (["--jobs", "2"], 0, "INTACT"),
    (["--jobs", "0"], 0, "INTACT"),
]


@pytest.mark.parametrize(("args", "code", "text"), OPTIONS, ids=[row[0][0] + row[0][-1] for row in OPTIONS])
def test_each_option_reaches_the_verifier(place: Path, args: list[str], code: int, text: str) -> None:
    result = call("verify", "log", *KEY, *args)
    assert (result.exit_code, text in result.stdout) == (code, True), result.output


def test_deep_looks_into_payloads(place: Path) -> None:
    line, _ = seal(b'{"a":1,"a":2}', ChainState("audit"), open_signing_key("file:hmac.jwk"))
    LOG.write_bytes(line)
    assert "duplicate-json-key" not in call("verify", "log", *KEY).stdout
    assert "duplicate-json-key" in call("verify", "log", *KEY, "--deep").stdout


def test_an_export_may_be_unsorted_and_is_undetermined_where_entries_miss(place: Path) -> None:
    lines = LOG.read_bytes().splitlines(keepends=True)
    LOG.write_bytes(b"".join(lines[::-1]))
    assert call("verify", "log", *KEY).exit_code == 1
    assert call("verify", "log", *KEY, "--export").exit_code == 0
    LOG.write_bytes(b"".join(lines[:3] + lines[5:]))
    assert call("verify", "log", *KEY, "--export").exit_code == 3


USAGE = [
    (["log", "--no-such-flag"], "No such option", None),
    ([], "Missing argument", None),
    (["log", "--jobs", "-1"], "Invalid value for '--jobs'", None),
    (["log", "-f", "xml"], "Invalid value for '--format'", None),
    ([""], "an empty path names nothing", None),
    (["a\0b"], "no file can have this name", None),
    (["a" * 300], "no file can have so long a name", None),
    (["log", "--key", "hmac.jwk"], "error: not a key URI", "hint: Write env:VARIABLE or file:PATH."),
    (["log", "--key", "file:nothing.jwk"], "error: key file nothing.jwk does not exist", "hint: Check the path."),
    (["log", "--key", "awskms:x"], "error: key URI scheme awskms is not known", "hint: Known schemes: env, file"),
    (["log", "--trust", "nothing.json"], "error: trust file nothing.json does not exist", "hint: Check the path."),
    (["log", "--trust", "hmac.jwk"], "error: trust file hmac.jwk: ", "hint: "),
    (["log", "--key", "file:hmac.jwk", "--key", "file:other.jwk"], "stands for two different keys", "hint: "),
    (["log", "-o", "no/file"], "error: no/file cannot be a file", "hint: "),
    (["log", "-o", "elsewhere"], "error: elsewhere cannot be a file", "hint: "),
]


@pytest.mark.parametrize(("args", "message", "hint"), USAGE, ids=[str(row[0])[:30] for row in USAGE])
def test_what_cannot_work_is_a_usage_error_in_one_line(
    place: Path, args: list[str], message: str, hint: str | None
) -> None:
    write_key_files("other.jwk", HmacKey("k1", bytes(32)))
    Path("elsewhere").mkdir()
    result = call("verify", *args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    if hint is not None:
        first, second = result.stderr.splitlines()
        assert first.startswith("error: ")
        assert second.startswith(hint)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_key_that_others_may_read_is_refused_with_the_command_to_run(place: Path) -> None:
    Path("hmac.jwk").chmod(0o644)
    result = call("verify", "log", *KEY)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: key file hmac.jwk is read as a private key and has mode 0644.\nhint: Run: chmod 600 hmac.jwk\n"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_report_goes_to_a_file(place: Path, form: str) -> None:
    spoil()
    shown = call("verify", "log", *KEY, "-f", form).stdout
    result = call("verify", "log", *KEY, "-f", form, "-o", "report")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "TAMPERED  1 finding in 10 entries of 1 stream in 1 file\n"
    times = re.compile(r" in [\d.]+ s .*|duration.*")
    assert times.sub("", Path("report").read_text()) == times.sub("", shown)


def test_quiet_does_not_shorten_the_file(place: Path) -> None:
    result = call("verify", "log", *KEY, "-q", "-o", "report")
    assert result.output == ""
    assert "streams\n" in Path("report").read_text()


@pytest.mark.parametrize(
    ("verified", "output"),
    [
        ("log", "log/report.txt"),
        ("log", "log/a.jsonl"),
        ("log", "hard-link"),
        ("log/a.jsonl", "log/../log/a.jsonl"),
        ("log/a.jsonl", "log/a.jsonl.manifest.json"),
        ("log/a.jsonl", "log/audit.chainstate"),
        ("log/a.jsonl", "link"),
        ("log/a.jsonl", "hard-link"),
        ("log", "trust.json"),
        ("log", "head"),
    ],
)
def test_the_report_never_replaces_what_is_read(place: Path, verified: str, output: str) -> None:
    for name in ("log/a.jsonl.manifest.json", "log/audit.chainstate", "head"):
        Path(name).write_text("theirs")
    Path("trust.json").write_text(format_trust_file(Keyring(["file:ed.jwk"])))
    Path("link").symlink_to("log/a.jsonl")
    Path("hard-link").hardlink_to("log/a.jsonl")
    if verified == "log" and output == "hard-link":
        verified = "hard-link"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    result = call("verify", verified, *KEY, "--trust", "trust.json", "--head", "head", "-o", output)
    assert result.exit_code == 2, result.output
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_report_that_cannot_be_written_still_says_the_verdict(place: Path) -> None:
    spoil()
    result = call("verify", "log", *KEY, "-o", "/dev/full")
    assert result.exit_code == 2
    verdict, error, _ = result.stderr.splitlines()
    assert verdict.startswith("TAMPERED")
    assert error == "error: /dev/full cannot be written: No space left on device."


def test_verifying_writes_nothing(place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    call("verify", "log", *KEY, "--deep", "--require-end")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


SIZES = [
    (0, "0 B"),
    (999, "999 B"),
    (1000, "1.0 kB"),
    (2_500_000, "2.5 MB"),
    (3 * 10**9, "3.0 GB"),
    (10**15, "1000.0 TB"),
]


@pytest.mark.parametrize(("size", "text"), SIZES)
def test_sizes_are_shown_with_a_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_ctrl_c_before_the_first_file_is_no_traceback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the terminal is looked at, before anything is verified."""

    class Stderr(StringIO):
        def isatty(self) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", Stderr())
    monkeypatch.setattr(sys, "argv", ["fapilog-tamper", "verify", "log", *KEY])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert sys.stderr.getvalue() == "error: interrupted.\n"  # type: ignore[attr-defined]


def test_ctrl_c_reports_what_was_checked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a terminal: the signal comes while the progress of the second file is drawn."""

    class Stderr(StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            if not pressed and re.search(r"verifying.*\d/\d", text, re.DOTALL):
                pressed.append(text)
                raise KeyboardInterrupt
            return len(text)

    pressed: list[str] = []
    monkeypatch.setattr(sys, "stderr", Stderr())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "argv", ["fapilog-tamper", "verify", "log", *KEY, "--json", "-o", "report"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    report = json.loads(Path("report").read_text())
    assert report["outcome"] == "undetermined"
    assert "interrupted" in report["findings"][0]["message"]
