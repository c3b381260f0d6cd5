from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from fapilog_audit.errors import ConfigError
from fapilog_audit.policy import CompliancePolicy
from fapilog_audit.retention import _status, retention_plan
from fapilog_tamper import SealedLog
from fapilog_tamper.layout import manifest_name
from fapilog_tamper.manifest import format_manifest, parse_manifest

POLICY = CompliancePolicy(retention_days=100, archive_after_days=30)
DAY = date(2026, 3, 1)
NAME = "audit_2026-03-01.jsonl"


def seconds(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()


def write(folder, *stamps, day=DAY, stream="audit", compress="none"):
    """Write one segment of `day`, closed, with an event for each of `stamps`."""
    with SealedLog.open(folder, key=None, stream=stream, compress=compress, clock=lambda: seconds(day)) as log:
        for stamp in stamps:
            log.append({"timestamp": stamp} if stamp else {"n": 1})


def stamp(day, clock="12:00:00"):
    return f"{day.isoformat()}T{clock}.000000Z"


def only(folder, today, policy=POLICY):
    (item,) = retention_plan(folder, policy, today=today)
    return item


@pytest.mark.parametrize(
    ("after", "action", "due"),
    [(0, "keep", 30), (29, "keep", 30), (30, "archive", 30), (99, "archive", 30), (100, "delete", 100)],
)
def test_a_segment_is_due_by_the_days_since_its_last_event(tmp_path, after, action, due):
    write(tmp_path, stamp(DAY, "01:00:00"), stamp(DAY, "23:59:59"))
    item = only(tmp_path, DAY + timedelta(days=after))
    assert (item.file, item.action, item.due) == (NAME, action, DAY + timedelta(days=due))
    assert "last event on 2026-03-01" in item.why


def test_an_item_tells_times_size_and_entries_of_its_segment(tmp_path):
    write(tmp_path, stamp(DAY, "01:00:00"), stamp(DAY, "02:00:00"))
    item = only(tmp_path, DAY)
    assert item.first == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert item.last == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert item.size_bytes == (tmp_path / NAME).stat().st_size
    assert item.entries == len((tmp_path / NAME).read_bytes().splitlines())


@pytest.mark.parametrize(
    ("action", "why"),
    [("archive", "archive_after_days is 30"), ("delete", "retention_days is 100"), ("keep", "nothing is due yet")],
)
def test_the_reason_names_the_field_that_decides(tmp_path, action, why):
    write(tmp_path, stamp(DAY))
    item = only(tmp_path, DAY + timedelta(days={"keep": 0, "archive": 50, "delete": 500}[action]))
    assert item.action == action
    assert item.why.endswith(why)


def test_what_is_due_for_deletion_is_not_archived(tmp_path):
    write(tmp_path, stamp(DAY))
    policy = CompliancePolicy(retention_days=10, archive_after_days=20)
    assert only(tmp_path, DAY, policy).due == DAY + timedelta(days=10)
    assert only(tmp_path, DAY + timedelta(days=15), policy).action == "delete"


def test_zero_days_are_due_at_once(tmp_path):
    write(tmp_path, stamp(DAY))
    assert only(tmp_path, DAY, CompliancePolicy(archive_after_days=0)).action == "archive"
    assert only(tmp_path, DAY, CompliancePolicy(retention_days=0)).action == "delete"


def test_a_segment_counts_from_its_last_event_and_not_from_the_day_in_its_name(tmp_path):
    old = DAY - timedelta(days=300)
    write(tmp_path, stamp(old - timedelta(days=9)), stamp(old))
    item = only(tmp_path, DAY)
    assert (item.file, item.action, item.due) == (NAME, "delete", old + timedelta(days=100))


@pytest.mark.parametrize("odd", ["", "zzz", "2026-13-01T00:00:00Z"])
def test_a_segment_without_a_time_of_an_event_counts_from_when_it_was_closed(tmp_path, odd):
    write(tmp_path, odd)
    item = only(tmp_path, DAY + timedelta(days=30))
    assert (item.action, item.due) == ("archive", DAY + timedelta(days=30))
    assert "no time of an event is known; closed on 2026-03-01" in item.why


@pytest.mark.parametrize(
    ("spelled", "day"), [("2026-03-01T23:30:00-02:00", 2), ("2026-03-01T23:30:00", 1), ("2026-03-01T23:30:00Z", 1)]
)
def test_days_are_of_utc(tmp_path, spelled, day):
    write(tmp_path, spelled)
    assert only(tmp_path, DAY).due == date(2026, 3, day) + timedelta(days=30)


def test_more_days_than_the_calendar_has_are_never_due(tmp_path):
    write(tmp_path, stamp(DAY))
    item = only(
        tmp_path, date.max - timedelta(days=1), CompliancePolicy(retention_days=10**9, archive_after_days=10**8)
    )
    assert (item.action, item.due) == ("keep", date.max)


def test_the_open_segment_is_kept(tmp_path):
    write(tmp_path, stamp(DAY))
    later = DAY + timedelta(days=1)
    with SealedLog.open(tmp_path, key=None, stream="audit", clock=lambda: seconds(later)) as log:
        log.append({"timestamp": stamp(later)})
        closed, opened = retention_plan(tmp_path, POLICY, today=DAY + timedelta(days=500))
    assert (closed.action, opened.action, opened.due) == ("delete", "keep", None)
    assert opened.file == "audit_2026-03-02.jsonl"
    assert opened.why == "open: it has no manifest yet"
    assert opened.size_bytes > 0


def test_a_segment_whose_manifest_is_missing_is_kept(tmp_path):
    write(tmp_path, stamp(DAY))
    write(tmp_path, stamp(DAY), day=DAY + timedelta(days=1))
    (tmp_path / manifest_name(NAME)).unlink()
    first, second = retention_plan(tmp_path, POLICY, today=DAY + timedelta(days=500))
    assert (first.action, first.due, second.action) == ("keep", None, "delete")
    assert first.why.startswith("its manifest is missing")


@pytest.mark.parametrize("raw", [b"", b"{}", b"not json"])
def test_a_segment_whose_manifest_is_no_manifest_is_kept(tmp_path, raw):
    write(tmp_path, stamp(DAY))
    (tmp_path / manifest_name(NAME)).write_bytes(raw)
    item = only(tmp_path, DAY + timedelta(days=500))
    assert (item.action, item.due) == ("keep", None)
    assert item.why.startswith("its manifest cannot be read: ")


def test_a_segment_whose_manifest_tells_no_time_of_the_calendar_is_kept(tmp_path):
    write(tmp_path, stamp(DAY))
    manifest = parse_manifest((tmp_path / manifest_name(NAME)).read_bytes())
    changed = replace(manifest, last_ts=None, closed_ts="2026-13-01T00:00:00.000000Z")
    (tmp_path / manifest_name(NAME)).write_bytes(format_manifest(changed))
    item = only(tmp_path, DAY + timedelta(days=500))
    assert (item.action, item.due, item.why) == ("keep", None, "its manifest tells no time")


def test_a_segment_whose_manifest_is_a_folder_is_kept(tmp_path):
    write(tmp_path, stamp(DAY))
    (tmp_path / manifest_name(NAME)).unlink()
    (tmp_path / manifest_name(NAME)).mkdir()
    item = only(tmp_path, DAY + timedelta(days=500))
    assert (item.action, item.why) == ("keep", "its manifest cannot be read: not a regular file")


def test_a_manifest_of_another_segment_does_not_count(tmp_path):
    write(tmp_path, stamp(DAY))
    other = "audit_2026-03-02.jsonl"
    shutil.copy(tmp_path / NAME, tmp_path / other)
    shutil.copy(tmp_path / manifest_name(NAME), tmp_path / manifest_name(other))
    items = retention_plan(tmp_path, POLICY, today=DAY + timedelta(days=500))
    assert [(item.file, item.action) for item in items] == [(NAME, "delete"), (other, "keep")]
    assert items[1].why == f"its manifest is of another segment, {NAME}"


def test_a_segment_of_another_size_than_its_manifest_says_is_kept(tmp_path):
    write(tmp_path, stamp(DAY))
    with (tmp_path / NAME).open("ab") as file:
        file.write(b"more\n")
    item = only(tmp_path, DAY + timedelta(days=500))
    assert item.action == "keep"
    assert "and by its manifest" in item.why


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_compressed_segment_is_due_as_a_plain_one(tmp_path, compress):
    write(tmp_path, stamp(DAY), compress=compress)
    item = only(tmp_path, DAY + timedelta(days=100))
    assert item.file == NAME + {"gzip": ".gz", "zstd": ".zst"}[compress]
    assert item.action == "delete"
    assert item.size_bytes == (tmp_path / item.file).stat().st_size


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_kept_and_not_followed(tmp_path):
    write(tmp_path / "log", stamp(DAY))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / NAME).symlink_to(tmp_path / "log" / NAME)
    shutil.copy(tmp_path / "log" / manifest_name(NAME), tmp_path / "here")
    item = only(tmp_path / "here", DAY + timedelta(days=500))
    assert (item.action, item.why) == ("keep", "not a regular file")


def test_sub_folders_and_other_files_are_left_out(tmp_path):
    write(tmp_path, stamp(DAY))
    write(tmp_path / "billing", stamp(DAY))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "audit_2026-03-09.jsonl").mkdir()
    assert [item.file for item in retention_plan(tmp_path, POLICY, today=DAY)] == [NAME]


def test_a_file_with_an_odd_name_is_kept_when_it_has_no_manifest(tmp_path):
    (tmp_path / "own.jsonl").write_text("{}\n")
    item = only(tmp_path, DAY)
    assert (item.file, item.action) == ("own.jsonl", "keep")
    assert item.why.startswith("its manifest is missing")


@pytest.mark.skipif(os.name == "nt", reason="folders are listed with the status there")
def test_a_file_that_goes_while_the_folder_is_listed_is_left_out(tmp_path):
    (tmp_path / NAME).touch()
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    (tmp_path / NAME).unlink()
    assert _status(entry) is None


def test_items_are_in_the_order_of_streams_and_days(tmp_path):
    write(tmp_path, stamp(DAY), stream="billing")
    for days in range(3):
        write(tmp_path, stamp(DAY), day=DAY + timedelta(days=days))
    for _ in range(11):
        write(tmp_path, stamp(DAY), day=DAY + timedelta(days=2))
    names = [item.file for item in retention_plan(tmp_path, POLICY, today=DAY)]
    last = "audit_2026-03-03"
    numbered = [f"{last}.{number}.jsonl" for number in range(1, 12)]
    assert names == [NAME, "audit_2026-03-02.jsonl", f"{last}.jsonl", *numbered, "billing_2026-03-01.jsonl"]


def test_nothing_is_written_moved_or_deleted(tmp_path):
    write(tmp_path, stamp(DAY))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert only(tmp_path, DAY + timedelta(days=500)).action == "delete"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_plan_does_not_ask_whether_the_policy_is_enabled(tmp_path):
    write(tmp_path, stamp(DAY))
    policy = CompliancePolicy(enabled=False, retention_days=100, archive_after_days=30)
    assert only(tmp_path, DAY + timedelta(days=100), policy).action == "delete"


def test_today_is_that_of_the_clock_unless_given(tmp_path):
    write(tmp_path, stamp(datetime.now(UTC).date() - timedelta(days=31)))
    (item,) = retention_plan(str(tmp_path), POLICY)
    assert item.action == "archive"


def test_a_moment_is_taken_for_its_day_in_utc(tmp_path):
    write(tmp_path, stamp(DAY))
    late = datetime(2026, 3, 30, 23, 0, tzinfo=timezone(timedelta(hours=-2)))
    assert only(tmp_path, late).action == "archive"


def test_an_empty_folder_has_no_items(tmp_path):
    assert retention_plan(tmp_path, POLICY) == []


@pytest.mark.parametrize(("name", "reason"), [("absent", "No such file"), ("file", "Not a directory"), ("a\0", "null")])
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot be listed: .*{reason}"):
        retention_plan(tmp_path / name, POLICY)
