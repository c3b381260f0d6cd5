"""`tail`: the last events, and following while others write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from unit.audit.cli.conftest import invoke
from unit.audit.reading.trails import SMALL, event, stored_lines, write

from fapilog_audit import reading
from fapilog_audit.cli.tail import _Source
from fapilog_tamper import SealedLog

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_audit.event import AuditEvent

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.mark.parametrize(("args", "found"), [([], range(1, 11)), (["-n", "2"], [9, 10]), (["-n", "0"], [])])
def test_the_last_events_are_shown_the_newest_at_the_end(place: Path, args: list[str], found: list[int]) -> None:
    result = invoke("tail", *args, "--format", "jsonl")
    assert [json.loads(line)["metadata"]["n"] for line in result.stdout.splitlines()] == list(found)
    assert result.exit_code == 0


def test_filters_count_before_the_last_are_taken(place: Path) -> None:
    result = invoke("tail", "-n", "2", "--level", "error", "--json")
    parsed = json.loads(result.stdout)
    assert [one["metadata"]["n"] for one in parsed["events"]] == [6, 9]
    assert (parsed["unreadable"], parsed["schema_version"]) == (0, "1.0")


def test_line_is_the_sealed_lines(place: Path) -> None:
    stored = stored_lines(place / "audit_logs")["audit"]
    assert invoke("tail", "-n", "2", "--format", "line").stdout_bytes == b"".join(stored[-2:])


def test_nothing_that_matches_is_said(place: Path) -> None:
    assert invoke("tail", "--user", "nobody").stderr == "No event matches.\n"
    assert invoke("tail", "--user", "nobody", "-q").stderr == ""


class Follower:
    """`tail -f` as a process."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fapilog_audit", "tail", "-f", str(folder), "--format", "jsonl", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next(self) -> int:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())["metadata"]["n"]

    def stop(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout as out, self.process.stderr as err:
            return self.process.wait(30), out.read(), err.read()


@POSIX
def test_events_of_live_writers_are_followed_until_ctrl_c(tmp_path: Path) -> None:
    write(tmp_path, [event(n) for n in (1, 2, 3)])
    follower = Follower(tmp_path, "-n", "2")
    assert [follower.next(), follower.next()] == [2, 3]
    with (
        SealedLog.open(tmp_path, key=None, stream="audit", rotation=SMALL) as log,
        SealedLog.open(tmp_path, key=None, stream="audit", rotation=SMALL) as other,
    ):
        log.append(event(4))
        assert follower.next() == 4
        other.append(event(5))
        assert follower.next() == 5
        for number in range(6, 40):  # over several segments
            log.append(event(number))
        assert [follower.next() for _ in range(6, 40)] == list(range(6, 40))
    assert follower.stop() == (130, "", "")


@POSIX
def test_following_shows_only_what_matches(tmp_path: Path) -> None:
    write(tmp_path, [event(1, user_id="ada"), event(2, user_id="bob")])
    follower = Follower(tmp_path, "--user", "ada")
    assert follower.next() == 1
    write(tmp_path, [event(3, user_id="bob"), event(4, user_id="ada")])
    assert follower.next() == 4
    assert follower.stop() == (130, "", "")


@POSIX
def test_following_as_json_ends_with_a_whole_object(tmp_path: Path) -> None:
    write(tmp_path, [event(1)])
    follower = Follower(tmp_path, "--json")
    assert follower.process.stdout is not None
    first = follower.process.stdout.readline()
    while not first.endswith("}}"):  # behind the integrity block: an event ends
        first += follower.process.stdout.read(1)
    code, rest, _ = follower.stop()
    assert code == 130
    assert [one["event_id"] for one in json.loads(first + rest)["events"]] == ["id-1"]


@POSIX
def test_following_begins_with_an_empty_folder(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    write(tmp_path, [event(1)])
    assert follower.next() == 1
    assert follower.stop()[0] == 130


@POSIX
def test_following_ends_when_the_reader_goes_away(tmp_path: Path) -> None:
    write(tmp_path, [event(1)])
    follower = Follower(tmp_path)
    assert follower.next() == 1
    assert follower.process.stdout is not None
    follower.process.stdout.close()
    assert follower.process.stderr is not None
    write(tmp_path, [event(2)])
    assert follower.process.wait(30) == 0
    assert follower.process.stderr.read() == ""
    follower.process.stderr.close()


@POSIX
def test_a_line_that_holds_no_event_is_told_at_the_end(tmp_path: Path) -> None:
    write(tmp_path, [event(1)])
    follower = Follower(tmp_path)
    assert follower.next() == 1
    write(tmp_path, [b'{"other":1}', event(2)])
    assert follower.next() == 2
    code, _, err = follower.stop()
    assert (code, err.partition("\n")[0]) == (130, "error: 1 line could not be read as events.")


class Collector:
    """Takes events until it has the one that comes last."""

    def __init__(self, last: int) -> None:
        self.numbers: list[int] = []
        self._last = last

    def add(self, events: list[AuditEvent]) -> bool:
        self.numbers += [one.metadata["n"] for one in events]
        return self._last not in self.numbers


def test_an_event_that_comes_while_the_last_are_read_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [event(1)])
    read_events = reading.read_events

    def late(folder: Path, query: reading.Query) -> reading.EventPage:
        write(tmp_path, [event(2)])
        page = read_events(folder, query)
        write(tmp_path, [event(3)])
        return page

    monkeypatch.setattr(reading, "read_events", late)
    shown = Collector(3)
    _Source(tmp_path, reading.Query()).run(shown, follow=True)
    assert shown.numbers == [1, 2, 3]
