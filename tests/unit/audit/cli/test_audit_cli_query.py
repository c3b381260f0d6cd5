"""`query`: filters, forms, pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from unit.audit.cli.conftest import invoke, sample
from unit.audit.reading.trails import crash, event, moment, seal_lines, stored_lines, write

from fapilog_audit.stamp import format_time

if TYPE_CHECKING:
    from pathlib import Path


def numbers(*args: str) -> list[int]:
    result = invoke("query", *args, "--json")
    assert result.exit_code == 0, result.stderr
    return [one["metadata"]["n"] for one in json.loads(result.stdout)["events"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("--oldest-first", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("--limit 2", [10, 9]),
        ("--limit 2 --oldest-first", [1, 2]),
        ("--limit 0", [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("--type acme.pay", [10, 5]),
        ("--type acme.pay --type data_access --limit 1", [10]),
        ("--level error", [9, 6, 3]),
        ("--level ERROR --level debug", [9, 6, 3]),
        ("--user ada", [10, 8, 6, 4, 2]),
        ("--component shop", [3, 2, 1]),
        ("--request r-4", [4]),
        ("--tenant t-1", [7]),
        ("--text EVENT#3", []),
        ("--since 2026-11-20T12:00:09Z", [10, 9]),
        ("--until 2026-11-20T12:00:02Z", [2, 1]),
        ("--since 2026-11-20 --until 2026-11-20 --limit 1", [10]),
        ("--since 2026-11-21", []),
        ("--until 2026-11-19", []),
        ("--user ada --level error", [6]),
    ],
)
def test_filters_narrow_the_events(place: Path, asked: str, found: list[int]) -> None:
    assert numbers(*asked.split()) == found


def test_text_is_found_in_any_member(place: Path) -> None:
    assert numbers("--text", "EVENT 7") == [7]


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2h", None, [3, 2]),
        ("90m", "10s", [2]),
        ("2w", None, [3, 2, 1]),
        ("3d", "1d", []),
        ("today", None, None),
        ("yesterday", "yesterday", None),
        (None, "today", [3, 2, 1]),
    ],
)
def test_times_may_be_told_as_people_tell_them(
    tmp_path: Path, since: str | None, until: str | None, found: list[int] | None
) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(days=8), timedelta(hours=1), timedelta()]
    times = [now - age for age in ages]
    write(tmp_path / "log", [event(n, timestamp=format_time(time)) for n, time in enumerate(times, 1)])
    args = [*(["--since", since] if since else []), *(["--until", until] if until else [])]
    if found is None:
        day = now.date() - timedelta(days=since == "yesterday")
        found = [n for n, time in reversed(list(enumerate(times, 1))) if time.date() == day]
    assert numbers(str(tmp_path / "log"), *args) == found


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--since", "soon"], "--since is 'soon'."),
        (["--until", "99999999w"], "--until is '99999999w'."),
        (["--until", "2026-02-30"], "--until is '2026-02-30'."),
        (["--type", "nonsense"], "event_type is 'nonsense'."),
        (["--level", "loud"], "log_level is 'loud'."),
        (["--since", "today", "--until", "2020-01-01"], "is after end_time"),
        (["--cursor", "x"], "cursor is 'x'."),
        (["--limit", "-1"], "greater than or equal to 0"),
        (["--format", "xml"], "xml"),
        (["--user", ""], "user_id is ''."),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(place: Path, args: list[str], said: str) -> None:
    result = invoke("query", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_text_has_a_line_for_each_event_with_columns_under_each_other(place: Path) -> None:
    result = invoke("query", "--limit", "2")
    # r-10 is of acme.pay, r-9 of data_access: the second column of types is as wide as the longest.
    assert result.stdout == (
        f"{moment(10)}  info   acme.pay     ada  event 10  success  id-10\n"
        f"{moment(9)}  error  data_access  bob  event 9   success  id-9\n"
    )


def test_columns_count_cells_not_characters(tmp_path: Path) -> None:
    write(tmp_path / "log", [event(1, user_id="漢字"), event(2, user_id="anna"), event(3, actor="eve")])
    lines = invoke("query", str(tmp_path / "log"), "--oldest-first").stdout.splitlines()
    assert [line.partition("data_access  ")[2] for line in lines] == [
        "漢字  event 1  -  id-1",
        "anna  event 2  -  id-2",
        "eve   event 3  -  id-3",
    ]


def test_a_long_message_is_cut_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "log", [event(1, message="x" * 5000)])
    line = invoke("query", str(tmp_path / "log")).stdout
    assert "x" * 200 + "… (5000 characters)" in line
    assert "x" * 201 not in line


def test_json_is_one_object_with_the_stored_lines(place: Path) -> None:
    parsed = json.loads(invoke("query", "--json", "--oldest-first").stdout)
    stored = [json.loads(line) for line in stored_lines(place / "audit_logs")["audit"]]
    assert parsed == {
        "schema_version": "1.0",
        "events": stored,
        "cursor": None,
        "unreadable": 0,
        "interrupted": False,
    }


def test_json_of_nothing_is_whole(place: Path) -> None:
    result = invoke("query", "--user", "nobody", "-f", "json")
    assert json.loads(result.stdout)["events"] == []
    assert (result.exit_code, result.stderr) == (0, "No event matches.\n")


def test_jsonl_has_one_event_a_line(place: Path) -> None:
    lines = invoke("query", "-f", "jsonl", "--oldest-first").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in stored_lines(place / "audit_logs")["audit"]
    ]


def test_line_is_the_sealed_lines_byte_for_byte(place: Path) -> None:
    result = invoke("query", "-f", "line", "--oldest-first")
    assert result.stdout_bytes == b"".join(stored_lines(place / "audit_logs")["audit"])


def test_pages_go_on_with_the_cursor_that_was_said(place: Path) -> None:
    found: list[str] = []
    args: list[str] = []
    while True:
        result = invoke("query", "--limit", "4", "-f", "jsonl", *args)
        found += [json.loads(line)["event_id"] for line in result.stdout.splitlines()]
        if "--cursor " not in result.stderr:
            break
        args = ["--cursor", result.stderr.strip().rpartition(" ")[2]]
    assert found == [f"id-{n}" for n in range(10, 0, -1)]


def test_the_cursor_in_json_is_the_one_that_was_said(place: Path) -> None:
    result = invoke("query", "--limit", "4", "--json")
    assert result.stderr == f"There may be more. Go on with: --cursor {json.loads(result.stdout)['cursor']}\n"


def test_a_cursor_too_long_for_a_line_is_left_to_json(tmp_path: Path) -> None:
    from unit.audit.reading.trails import write_side_by_side

    write_side_by_side(tmp_path / "log", [[event(n)] for n in range(24)])
    result = invoke("query", str(tmp_path / "log"), "--limit", "1")
    assert result.stderr == "There may be more. The cursor to go on is long: -f json has it.\n"


def test_quiet_says_nothing_of_more(place: Path) -> None:
    assert invoke("query", "--limit", "4", "-q").stderr == ""


@pytest.mark.parametrize("limit", ["0", "5", "100"])
def test_lines_that_hold_no_event_are_counted_and_not_everything_was_read(place: Path, limit: str) -> None:
    (place / "odd").mkdir()
    lines = seal_lines([b'{"event_id":"a","event_type":"data_access","message":"m"}', b'{"other":1}', b"[1]"])
    (place / "odd/audit_2026-11-20.jsonl").write_bytes(b"".join(lines) + b"no line\n")
    result = invoke("query", "odd", "--limit", limit, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["unreadable"] == 3
    assert "error: 3 lines could not be read as events.\n" in result.stderr


def test_entries_of_the_log_itself_are_shown_when_asked_for(tmp_path: Path) -> None:
    crash(tmp_path, 1, 4)
    write(tmp_path, [event(4)])
    assert len(numbers(str(tmp_path))) == 4
    args = (str(tmp_path), "--json")
    for more in (["--control"], ["--type", "sealed_log.recovery"]):
        kinds = [one["event_type"] for one in json.loads(invoke("query", *args, *more).stdout)["events"]]
        assert "sealed_log.recovery" in kinds


def test_what_other_programs_cannot_parse_is_shown_as_text(tmp_path: Path) -> None:
    """Too deep for readers of JSON, no number of JSON, and half a character."""
    values = [b"[" * 300 + b"]" * 300, b"NaN", b"1e999", b'"\\ud800"']
    text = b'{"event_id":"e-%d","event_type":"data_access","message":"m","metadata":{"a":%s}}'
    lines = seal_lines([text % pair for pair in enumerate(values)])
    (tmp_path / "audit_2026-11-20.jsonl").write_bytes(b"".join(lines))
    result = invoke("query", str(tmp_path), "--oldest-first", "-f", "jsonl")
    deep, *others = [json.loads(line) for line in result.stdout.splitlines()]
    assert deep["line"] == lines[0].decode()
    assert [one["metadata"]["a"] for one in others] == ["NaN", "1e999", "\ud800"]


def test_a_file_takes_the_events_and_is_never_overwritten(place: Path) -> None:
    assert invoke("query", "-f", "jsonl", "-o", "out.jsonl").exit_code == 0
    before = (place / "out.jsonl").read_bytes()
    assert before.count(b"\n") == 10
    result = invoke("query", "--limit", "1", "-o", "out.jsonl")
    assert (result.exit_code, result.stderr.partition("\n")[0]) == (2, "error: out.jsonl exists; nothing was written.")
    assert (place / "out.jsonl").read_bytes() == before


def test_a_big_page_is_the_same_as_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, sample(50))
    whole = invoke("query", str(tmp_path), "--limit", "45", "--json").stdout
    monkeypatch.setattr("fapilog_audit.cli.query._PAGE", 7)
    monkeypatch.setattr("fapilog_audit.cli.events.BLOCK", 3)
    assert invoke("query", str(tmp_path), "--limit", "45", "--json").stdout == whole
    assert numbers(str(tmp_path), "--limit", "0") == list(range(50, 0, -1))
