"""The verdict of the old chain: how the old program wrote is no break, and what it could not have written is one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_audit.importing import chain as module
from fapilog_audit.importing import import_folder
from fapilog_audit.importing.lines import State, read_line

if TYPE_CHECKING:
    from fapilog_audit.importing import ImportReport

SAMPLES = Path(__file__).parent / "samples"
DAY = "audit_2026-11-21.jsonl"


def sample(name: str) -> list[bytes]:
    return (SAMPLES / name / DAY).read_bytes().splitlines(keepends=True)


def resealed(line: bytes, **changed: Any) -> bytes:
    """Change a line and compute its checksum anew, as anyone can."""
    members = json.loads(line) | changed
    del members["checksum"]
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    members["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def judged(tmp_path):
    def judge(*days: list[bytes]) -> ImportReport:
        for number, lines in enumerate(days):
            (tmp_path / f"audit_2024-01-{number + 1:02}.jsonl").write_bytes(b"".join(lines))
        return import_folder(tmp_path, tmp_path.with_name("new"), key=None, dry_run=True)

    return judge


def breaks(report: ImportReport) -> list[str]:
    """Return the breaks, each as line and kind."""
    return sorted(
        f"{problem.partition(', line ')[2].split()[0].rstrip(':')} {problem.split(': ')[1]}"
        for problem in report.problems
    )


# What the old program wrote.


@pytest.mark.parametrize(
    ("name", "verdict", "facts"),
    [
        ("normal", "valid", {"runs": 1, "lines": 4}),
        ("killed", "valid", {"runs": 1, "lines": 4}),
        ("restart", "valid", {"runs": 2, "unordered": 0}),
        ("two", "valid", {"runs": 2, "unordered": 0}),
        ("skipped", "valid", {"runs": 1, "skipped": 1}),
        ("unchecked", "unverifiable", {"runs": 0, "unchecked": 4}),
    ],
)
def test_how_the_old_program_wrote_is_no_break(name, verdict, facts):
    report = import_folder(SAMPLES / name, SAMPLES.parent / "nothing", key=None, dry_run=True)
    assert (report.verdict, report.problems) == (verdict, [])
    assert {key: getattr(report.files[0], key) for key in facts} == facts
    assert report.interleaved == (1 if name == "two" else 0)
    assert report.files[0].respelled == 0


def test_a_chain_goes_on_in_the_file_of_the_next_day(judged):
    lines = sample("normal")
    report = judged(lines[:2], lines[2:])
    assert (report.verdict, report.runs) == ("valid", 1)
    assert [facts.runs for facts in report.files] == [1, 0]


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_lines_out_of_order_are_told_and_are_no_break(judged, order):
    lines = sample("normal")
    report = judged([lines[at] for at in order])
    assert (report.verdict, report.runs, report.problems) == ("valid", 1, [])
    assert report.files[0].unordered > 0


def test_lines_of_two_processes_out_of_order_find_each_other(judged):
    lines = sample("two")
    report = judged(lines[::-1])
    assert (report.verdict, report.runs, report.interleaved) == ("valid", 2, 1)


def test_a_line_that_was_put_into_the_file_of_the_day_before_is_no_break(judged):
    lines = sample("normal")
    assert judged([lines[0], lines[2]], [lines[1], lines[3]]).verdict == "valid"


def test_a_torn_last_line_is_told_and_is_no_break(judged):
    report = judged([*sample("normal")[:3], sample("normal")[3][:200]])
    assert (report.verdict, report.files[0].torn) == ("valid", 1)


def test_the_line_that_the_next_process_wrote_behind_a_torn_one_is_judged(judged):
    restarted = sample("restart")
    lines = [*restarted[:3], restarted[3][:200] + restarted[4], *restarted[5:]]
    report = judged(lines)
    assert (report.verdict, report.runs, report.files[0].torn) == ("valid", 2, 1)


def test_one_that_was_changed_there_is_a_break(judged):
    restarted = sample("restart")
    changed = restarted[4].replace(b'"u-2"', b'"u-3"')
    assert changed != restarted[4]
    assert "4 damaged" in breaks(judged([*restarted[:3], restarted[3][:200] + changed, *restarted[5:]]))


def test_two_torn_ones_in_one_line_are_a_break(judged):
    lines = sample("normal")
    assert breaks(judged([*lines, lines[0][:100] + lines[1][:100] + b"\n"])) == ["5 damaged"]


def test_a_file_of_both_kinds_is_unverifiable_as_a_whole(judged):
    report = judged(sample("unchecked"), sample("normal"))
    assert [facts.verdict for facts in report.files] == ["unverifiable", "valid"]
    assert report.verdict == "unverifiable"
    report = judged([*sample("unchecked"), *sample("normal")], [])
    assert [facts.verdict for facts in report.files] == ["unverifiable", "empty"]


def test_files_without_an_event_are_empty(judged):
    report = judged([], [b"\n"])
    assert [facts.verdict for facts in report.files] == ["empty", "empty"]
    assert report.verdict == "empty"


def test_another_spelling_of_what_was_hashed_is_told_and_is_no_break(judged):
    lines = [json.dumps(json.loads(line), ensure_ascii=False).encode() + b"\n" for line in sample("normal")]
    report = judged(lines)
    assert (report.verdict, report.files[0].respelled) == ("valid", 4)


# What it did not write.


@pytest.mark.parametrize("at", range(4))
def test_a_changed_event_is_a_break_at_its_line(judged, at):
    lines = sample("normal")
    lines[at] = lines[at].replace(b'"level":"', b'"level":"x').replace(b'"message":"', b'"message":"No ')
    report = judged(lines)
    assert report.verdict == "broken"
    assert breaks(report) == [f"{at + 1} changed"]
    assert (report.first_invalid_file, report.first_invalid_line, report.first_invalid_sequence) == (
        "audit_2024-01-01.jsonl",
        at + 1,
        at + 1,
    )


def test_no_byte_of_a_line_can_be_changed_unseen(judged):
    """It is told as a break, as another spelling, or as a line without a checksum: the old chain knows no more."""
    line = sample("normal")[1].rstrip(b"\n")
    for at in range(0, len(line), 7):
        for byte in {line[at] ^ 1, ord(" ")} - {line[at]}:
            read = read_line(line[:at] + bytes([byte]) + line[at + 1 :] + b"\n")
            assert read.state is not State.GOOD or read.respelled


def test_a_changed_checksum_is_a_break_at_its_line_and_a_gap_behind_it(judged):
    lines = sample("normal")
    checksum = json.loads(lines[1])["checksum"].encode()
    lines[1] = lines[1].replace(checksum, checksum[::-1])
    assert breaks(judged(lines)) == ["2 changed", "3 gap"]


def test_a_line_that_was_changed_and_hashed_anew_leaves_a_gap_behind_it(judged):
    lines = sample("normal")
    lines[1] = resealed(lines[1], message="nothing happened")
    report = judged(lines)
    assert breaks(report) == ["3 gap"]
    assert "removed, replaced, or never written" in report.problems[0]


@pytest.mark.parametrize("at", range(3))
def test_a_missing_line_is_a_gap_at_the_next(judged, at):
    lines = sample("normal")
    del lines[at]
    report = judged(lines)
    assert breaks(report) == [f"{at + 1} gap"]
    assert report.first_invalid_sequence == at + 2


def test_a_missing_file_is_a_gap_at_the_next(judged):
    lines = sample("normal")
    report = judged(lines[:1], lines[2:])
    assert [facts.verdict for facts in report.files] == ["valid", "broken"]
    assert (report.first_invalid_file, report.first_invalid_line) == ("audit_2024-01-02.jsonl", 1)


def test_lines_removed_from_the_end_leave_no_trace_and_the_report_says_so(judged):
    report = judged(sample("normal")[:2])
    assert report.verdict == "valid"
    assert "removed from the end of a run leave no trace" in report.caveat


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("to", [0, 2, 4])
def test_a_line_that_stands_twice_is_a_break(judged, at, to):
    lines = sample("normal")
    lines.insert(to, lines[at])
    assert [one.split()[1] for one in breaks(judged(lines))] == ["repeated"]


def test_two_lines_behind_the_same_one_are_a_break(judged):
    lines = sample("normal")
    lines.insert(2, resealed(lines[1], message="inserted"))
    report = judged(lines)
    assert breaks(report) == ["3 repeated"]
    assert "another line follows the line that it names already" in report.problems[0]


@pytest.mark.parametrize("number", [1, 2, 0, -5])
def test_a_number_that_does_not_grow_is_a_break(judged, number):
    lines = sample("normal")[:3]
    lines[2] = resealed(lines[2], sequence_number=number)
    assert breaks(judged(lines)) == ["3 sequence"]


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[1]\n",
        b'{"checksum":"\n',
        b"\x00\x00\n",
        b"[" * 100_000 + b"\n",
        b'{"message":"\xff"}\n',
        b'{"a":' + b"9" * 5000 + b"}\n",
    ],
)
def test_a_line_that_cannot_be_read_is_a_break(judged, line):
    lines = sample("normal")
    assert breaks(judged([*lines[:2], line, *lines[2:]])) == ["3 damaged"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"checksum": 7}, "its checksum is no text"),
        ({"sequence_number": "2"}, "its sequence_number is no number"),
        ({"sequence_number": True}, "its sequence_number is no number"),
        ({"previous_hash": ["x"]}, "its previous_hash is no text"),
    ],
)
def test_members_of_another_kind_are_a_break(judged, changed, why):
    line = json.dumps(json.loads(sample("normal")[1]) | changed).encode() + b"\n"
    report = judged([sample("normal")[0], line])
    assert report.verdict == "broken"
    assert report.files[0].reason == f"changed: {why}"


def test_a_name_that_stands_twice_is_a_break(judged):
    lines = sample("normal")
    lines[0] = lines[0].replace(b'"message":', b'"message":"what readers see first","message":', 1)
    report = judged(lines)
    assert report.files[0].reason == "changed: it holds a name twice"


def test_a_line_that_names_itself_is_a_gap(judged):
    line = json.dumps(json.loads(sample("normal")[1]) | {"previous_hash": "a" * 64, "checksum": "a" * 64}).encode()
    assert breaks(judged([line + b"\n"])) == ["1 changed", "1 gap"]


def test_a_line_whose_checksum_was_taken_away_is_not_believed(judged):
    lines = sample("normal")
    lines[1] = json.dumps(json.loads(lines[1]) | {"checksum": None}).encode() + b"\n"
    assert breaks(judged(lines)) == ["3 gap"]


def test_of_many_breaks_the_first_are_told_and_all_are_counted(judged):
    report = judged([b"x\n"] * 100)
    assert report.files[0].breaks == 100
    assert len(report.problems) == 21
    assert report.problems[-1] == "audit_2024-01-01.jsonl: 80 more"
    assert len(json.dumps(report.to_dict())) < 10_000


def test_the_first_break_is_told_even_if_it_comes_to_light_last(judged):
    """A gap is known only when all files were read."""
    lines = sample("normal")
    report = judged([*lines[1:], *[b"x\n"] * 50])
    assert (report.first_invalid_line, report.first_invalid_sequence) == (1, 2)
    assert report.files[0].reason is not None
    assert report.files[0].reason.startswith("gap")


def test_runs_beyond_the_bound_are_judged_as_they_are(judged, monkeypatch):
    """So that memory is bounded; a run that goes on behind so many others is then taken for one with a gap."""
    monkeypatch.setattr(module, "_MOST_RUNS", 3)
    lines = sample("normal")
    runs = [resealed(lines[0], event_id=f"e{number}") for number in range(3)]
    assert judged([lines[0], *runs[:2], *lines[1:]]).verdict == "valid"
    report = judged([lines[0], *runs, *lines[1:]])
    assert (report.runs, breaks(report)) == (4, ["5 gap"])


def test_followed_lines_beyond_the_bound_are_forgotten(judged, monkeypatch):
    monkeypatch.setattr(module, "_MOST_USED", 2)
    lines, number = [sample("normal")[0]], 1
    for number in range(2, 12):
        lines.append(resealed(lines[-1], sequence_number=number, previous_hash=json.loads(lines[-1])["checksum"]))
    assert judged(lines).verdict == "valid"
    # Further away, a repeated line is still a break, of another name.
    assert breaks(judged([*lines, lines[1]])) == ["12 gap"]
