"""Old files in a new log: nothing is dropped or changed, what was found is on record, and the new log is intact."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fapilog_audit.errors import ConfigError, StorageError
from fapilog_audit.event import AuditEvent
from fapilog_audit.importing import import_folder, importer
from fapilog_tamper import Keyring, Outcome, SealedLog, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import segment_place

SAMPLES = Path(__file__).parent / "samples"
K1 = HmacKey("k1", bytes(range(32)))
DAY = "audit_2026-11-21.jsonl"


def sample(name: str) -> bytes:
    return (SAMPLES / name / DAY).read_bytes()


def trail(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name.replace('_', '-').replace('audit-', 'audit_')}.jsonl").write_bytes(content)
    return folder


def payloads(new: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return what the new log holds, the entries of the log itself left out."""
    segments = sorted(new.glob("*.jsonl"), key=lambda path: segment_place(path.name, "audit") or ("", 0))
    lines = [line for path in segments for line in path.read_bytes().splitlines(keepends=True)]
    found = [split(line)[0] for line in lines]
    return [(payload, members) for payload in found if "sealed_log" not in (members := json.loads(payload))]


def rebuilt(new: Path) -> dict[str, bytes]:
    """Make the old files of the new log again, from nothing else."""
    files: dict[str, bytes] = {}
    ends: dict[str, bytes] = {}
    name = ending = ""
    for payload, members in payloads(new):
        kind, told = members.get("event_type", ""), members.get("metadata", {})
        if kind == "fapilog_audit.import.file":
            facts = told["file"]
            name, ending = facts["name"], b"\r\n" if facts["crlf"] else b"\n"
            files[name], ends[name] = b"", b"" if facts["final_newline"] else ending
        elif kind == "fapilog_audit.import.line":
            files[name] += told["text"].encode() if "text" in told else base64.b64decode(told["base64"])
        elif not kind.startswith("fapilog_audit.import."):
            files[name] += payload + ending
    return {name: content.removesuffix(ends[name]) for name, content in files.items()}


def kinds(new: Path) -> list[str]:
    return [members.get("event_type", "").removeprefix("fapilog_audit.import.") for _, members in payloads(new)]


def as_left(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        path.name: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns, path.stat().st_mode)
        for path in (folder, *folder.iterdir())
    }


LINE = sample("normal").splitlines(keepends=True)[0]
STRANGE = {
    "as it was written": sample("normal"),
    "lines end as on Windows": sample("normal").replace(b"\n", b"\r\n"),
    "line ends are mixed": LINE + LINE[:-1] + b"\r\n" + LINE,
    "line ends are mixed, Windows first": LINE[:-1] + b"\r\n" + LINE + LINE[:-1] + b"\r\n",
    "torn at the end": sample("killed")[:-100],
    "whole, without the last line end": sample("killed")[:-1],
    "empty lines": b"\n\n" + LINE + b"  \n" + LINE + b"\n",
    "empty": b"",
    "one line end": b"\n",
    "no UTF-8": LINE + b'{"message":"\xff"}\n' + LINE,
    "zeros": LINE + bytes(5000) + b"\n" + LINE,
    "names that belong to the log": b'{"integrity":{"v":1}}\n{"sealed_log":1}\n',
    "a name twice": b'{"a":1,"a":2}\n',
    "no JSON": b"Traceback (most recent call last):\n  File\n",
    "numbers that JSON lacks": b'{"a":NaN}\n',
    "deep": b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"\n",
    "a large line": b'{"a":"' + b"x" * 200_000 + b'"}\n',
    "a line larger than any payload": b'{"a":"' + b"x" * 3_000_000 + b'"}\n' + LINE,
    "a line larger than what is held": b"y" * 20_000_001 + b"\n" + LINE,
    "control characters": b"\x01\x02\x1b[31m\x7f\n",
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_each_file_can_be_made_again_byte_for_byte(tmp_path, content):
    old = trail(tmp_path / "old", audit_2024_02_29=content, audit_2024_03_01=sample("restart"))
    before = as_left(old)
    report = import_folder(old, tmp_path / "new", key=K1)
    assert rebuilt(tmp_path / "new") == {path.name: path.read_bytes() for path in old.iterdir()}
    for facts in report.files:
        content = (old / facts.name).read_bytes()
        assert (facts.size_bytes, facts.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert facts.lines == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert as_left(old) == before
    assert verify_path(tmp_path / "new", keyring=Keyring([K1])).outcome is Outcome.INTACT


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()))
def test_what_the_old_program_wrote_is_imported_line_by_line_and_can_be_read_as_events(tmp_path, name):
    report = import_folder(SAMPLES / name, tmp_path / "new", key=None)
    lines = sample(name).splitlines()
    assert [payload for payload, _ in payloads(tmp_path / "new")][2:-1] == lines
    assert (report.entries, report.kept_as_bytes) == (len(lines), 0)
    sealed = next((tmp_path / "new").glob("*.jsonl")).read_bytes().splitlines(keepends=True)
    events = [event for line in sealed if not (event := AuditEvent.from_line(line)).is_control]
    for event, line in zip(events[2:-1], lines, strict=True):
        was = json.loads(line)
        for member in ("event_id", "event_type", "log_level", "message", "user_id", "metadata", "compliance_level"):
            assert getattr(event, member) == was[member]
        assert event.checksum != was["checksum"]
        assert event.sequence_number is not None
    assert verify_path(tmp_path / "new").outcome is Outcome.INTACT


def test_a_trail_that_was_written_on_windows_is_imported_as_events(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal").replace(b"\n", b"\r\n"))
    report = import_folder(old, tmp_path / "new", key=None)
    assert (report.verdict, report.entries, report.kept_as_bytes) == ("valid", 4, 0)
    assert report.files[0].crlf


def test_a_line_that_no_log_can_take_is_kept_as_text_with_the_reason(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=LINE + LINE[:-50])
    report = import_folder(old, tmp_path / "new", key=None)
    assert (report.entries, report.kept_as_bytes) == (2, 1)
    kept = payloads(tmp_path / "new")[-2][1]
    assert kept["event_type"] == "fapilog_audit.import.line"
    assert kept["metadata"] == {
        "file": "audit_2026-11-20.jsonl",
        "line": 2,
        "reason": "payload does not begin with { and end with }.",
        "text": LINE[:-50].decode(),
    }


def test_the_facts_of_a_file_stand_before_its_lines_and_all_between_begun_and_finished(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"), audit_2026_11_21=sample("unchecked"))
    (old / "notes.txt").write_text("mine")
    report = import_folder(old, tmp_path / "new", key=None)
    types = ["data_access", "config_changed", "authentication_failed", "data_access"]
    assert kinds(tmp_path / "new") == ["begun", "file", *types, "file", *types, "finished"]
    found = [members for _, members in payloads(tmp_path / "new")]
    begun, files, finished = found[0], [found[1], found[6]], found[-1]
    assert [one["metadata"]["file"] for one in files] == [facts.to_dict() for facts in report.files]
    assert begun["metadata"]["left_out_names"] == ["notes.txt"]
    assert begun["metadata"]["folder"] == str(old)
    for one in (begun, finished):
        assert one["metadata"]["verdict"] == report.verdict == "unverifiable"
        assert one["metadata"]["caveat"] == report.caveat
        assert one["metadata"]["lines"] == 8
        assert {"event_id", "timestamp", "event_type", "log_level", "message", "compliance_level"} <= one.keys()
    assert "anyone who could write to the folder could recompute it" in report.caveat
    assert finished["metadata"]["entries"] == 8


def test_a_broken_chain_is_on_record_as_a_warning(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal").replace(b'"u-', b'"v-'))
    report = import_folder(old, tmp_path / "new", key=None)
    assert report.verdict == "broken"
    found = {members["event_type"].rpartition(".")[2]: members for _, members in payloads(tmp_path / "new")}
    assert found["finished"]["log_level"] == found["begun"]["log_level"] == "warning"
    file = found["file"]["metadata"]["file"]
    assert (file["verdict"], file["first_invalid_line"], file["first_invalid_sequence"]) == ("broken", 1, 1)
    assert file["reason"].startswith("changed:")


def test_files_come_in_the_order_of_their_days(tmp_path):
    days = ["2024-12-31", "2025-01-01", "2023-02-28", "2024-01-02"]
    old = tmp_path / "old"
    old.mkdir()
    for day in days:
        (old / f"audit_{day}.jsonl").write_bytes(LINE)
    report = import_folder(old, tmp_path / "new", key=None)
    assert [facts.name for facts in report.files] == [f"audit_{day}.jsonl" for day in sorted(days)]


def test_the_new_log_is_under_the_key_and_its_head_where_it_was_told(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    report = import_folder(str(old), str(tmp_path / "new"), key=K1, state_dir=str(tmp_path / "state"))
    head = tmp_path / "state/audit.chainstate"
    assert verify_path(tmp_path / "new", keyring=Keyring([K1]), head=head).outcome is Outcome.INTACT
    assert [path.name for path in (tmp_path / "state").glob("*.chainstate")] == ["audit.chainstate"]
    last = [line for line in next((tmp_path / "new").glob("*.jsonl")).read_bytes().splitlines() if b".finished" in line]
    assert f'"chain_hash":"{report.chain_hash}"'.encode() in last[-1]


def test_a_log_goes_on_behind_an_import(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    import_folder(old, tmp_path / "new", key=K1)
    with SealedLog.open(tmp_path / "new", key=K1, stream="audit") as log:
        log.append({"event_type": "data_access", "metadata": {}})
    assert kinds(tmp_path / "new")[-2:] == ["finished", "data_access"]
    assert verify_path(tmp_path / "new", keyring=Keyring([K1])).outcome is Outcome.INTACT


def test_a_dry_run_judges_and_writes_nothing(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("two"))
    report = import_folder(old, tmp_path / "new", key=None, dry_run=True)
    assert report.dry_run
    assert (report.verdict, report.entries, report.chain_hash) == ("valid", 0, None)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_progress_counts_bytes_up_to_all_of_them(tmp_path, dry_run, monkeypatch):
    monkeypatch.setattr(importer, "_STEP", 1000)
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"), audit_2026_11_21=sample("two"))
    told: list[tuple[int, int]] = []
    import_folder(old, tmp_path / "new", key=None, progress=lambda *at: told.append(at), dry_run=dry_run)
    size = sum(path.stat().st_size for path in old.iterdir()) * (1 if dry_run else 2)
    done = [at for at, _ in told]
    assert done == sorted(done)
    assert len(done) > 6
    assert told[-1] == (size, size)
    assert {total for _, total in told} == {size}


def test_the_report_is_plain_values(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("restart"))
    (old / "other").mkdir()
    report = import_folder(old, tmp_path / "new", key=None)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["files"][0]["runs"] == told["runs"] == 2
    assert told["left_out"] == [{"name": "other", "reason": "a folder"}]


# An import that ends in the middle.

DYING = """
import os, signal, sys
from fapilog_audit.importing import import_folder
size = os.path.getsize(os.path.join(sys.argv[1], "audit_2026-11-20.jsonl"))
def progress(done, total):
    if done > size:
        os.kill(os.getpid(), signal.SIGKILL)
import_folder(sys.argv[1], sys.argv[2], key=None, progress=progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_an_import_that_was_killed_shows_and_a_second_one_into_an_empty_folder_works(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=LINE * 5000)
    new = tmp_path / "new"
    done = subprocess.run([sys.executable, "-c", DYING, str(old), str(new)], check=False, timeout=60)
    assert done.returncode == -9
    assert "finished" not in kinds(new)
    assert kinds(new)[0] == "begun"
    with pytest.raises(ConfigError, match=r"was begun and not finished.*once more into an empty folder"):
        import_folder(old, new, key=None)
    import_folder(old, tmp_path / "again", key=None)
    assert rebuilt(tmp_path / "again") == {"audit_2026-11-20.jsonl": LINE * 5000}


def test_a_file_that_grows_meanwhile_ends_the_import_unfinished(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    grown = False

    def progress(done: int, total: int) -> None:
        nonlocal grown
        if not grown:
            grown = True
            with (old / "audit_2026-11-20.jsonl").open("ab") as file:
                file.write(LINE)

    with pytest.raises(StorageError, match="changed while it was imported; the import is not finished"):
        import_folder(old, tmp_path / "new", key=None, progress=progress)
    assert "finished" not in kinds(tmp_path / "new")


def test_a_file_that_goes_away_meanwhile_is_an_error(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    with pytest.raises(StorageError, match=r"audit_2026-11-20\.jsonl: No such file"):
        import_folder(old, tmp_path / "new", key=None, progress=lambda *_: shutil.rmtree(old, ignore_errors=True))
    assert kinds(tmp_path / "new") == ["begun", "file"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_new_folder_that_cannot_be_written_is_an_error(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    (tmp_path / "new").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be opened for writing"):
        import_folder(old, tmp_path / "new", key=None)


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"new: .*file/state cannot be opened for writing.*into an empty folder"):
        import_folder(old, tmp_path / "new", key=None, state_dir=tmp_path / "file/state")


def test_a_new_folder_that_is_a_file_is_refused(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=sample("normal"))
    (tmp_path / "new").write_text("")
    with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
        import_folder(old, tmp_path / "new", key=None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from there")
def test_memory_does_not_grow_with_the_files(tmp_path):
    code = (
        "import re, sys; from fapilog_audit.importing import import_folder\n"
        "import_folder(sys.argv[1], sys.argv[2], key=None)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    line = b'{"checksum":null,"message":"%s"}\n' % (b"x" * 8000)
    peaks = []
    for count in (3000, 10_000):
        old = trail(tmp_path / f"old{count}", audit_2026_11_20=line * count)
        command = [sys.executable, "-c", code, str(old), str(tmp_path / f"new{count}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        peaks.append(int(done.stdout) * 1024)
    # The buffer of the log is full sooner or later, whatever the size.
    assert peaks[1] - peaks[0] < 7000 * len(line) * 0.6


def test_a_line_longer_than_what_is_judged_is_a_break(tmp_path):
    old = trail(tmp_path / "old", audit_2026_11_20=LINE + b"y" * 20_000_001 + b"\n")
    report = import_folder(old, tmp_path / "new", key=None, dry_run=True)
    assert report.files[0].lines == 2
    assert report.problems == ["audit_2026-11-20.jsonl, line 2: damaged: it is too long to be judged"]
