"""`verify --records`: records in whatever JSON they came, by themselves and against their log."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.logs import HMAC as KEYED
from support.logs import K1 as LOG_KEY
from support.logs import make_log, write_image
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.entry import ChainState, seal
from fapilog_tamper.keys import HmacKey, write_key_files

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ("--key", "file:hmac.jwk")
HMAC = HmacKey("k1", bytes(range(32)))
INTACT = "INTACT  10 entries of 1 stream in 1 file\n"


def call(*args: str) -> Any:
    return CliRunner().invoke(app, ["verify", "--records", *args])


def report(*args: str) -> tuple[int, list[tuple[str, str | None, int | None]], dict[str, Any]]:
    """Exit code, findings as (code, file, number), and the whole report."""
    result = call(*args, "--json")
    members = json.loads(result.stdout)
    return (
        result.exit_code,
        [(one["code"], one["file"], one["line"]) for one in members["findings"]],
        members,
    )


def read(file: str = "log/a.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_bytes().splitlines()]


def write(records: list[Any], file: str = "received.jsonl") -> None:
    Path(file).write_text("".join(f"{json.dumps(record)}\n" for record in records))


def event_records(count: int = 4) -> list[dict[str, Any]]:
    """Events with the block of an enricher, as fapilog's own sinks write them."""
    state, records = ChainState("events.r1"), []
    for number in range(count):
        log = {
            "context": {},
            "data": {"n": number},
            "diagnostics": {},
            "level": "INFO",
            "message": "m",
            "timestamp": "t",
        }
        payload = json.dumps({"log": log, "schema_version": "1.1"}, separators=(",", ":")).encode()
        line, state = seal(payload, state, HMAC)
        log["diagnostics"] = {"integrity": json.loads(line)["integrity"]}
        records.append({"schema_version": "1.1", "log": log})
    return records


FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "one a line": lambda records: "".join(f"{json.dumps(one)}\n" for one in records),
    "no newline at the end": lambda records: "\n".join(json.dumps(one) for one in records),
    "blank lines and CRLF": lambda records: "".join(f"\r\n {json.dumps(one)}\t\r\n" for one in records),
    "a byte order mark": lambda records: "\ufeff" + "\n".join(json.dumps(one) for one in records),
    "an array": json.dumps,
    "arrays": lambda records: "".join(f"{json.dumps(records[at : at + 3])}\n" for at in range(0, len(records), 3)),
    "wrapped": lambda records: json.dumps({"logs": records}),
    "wrapped and empty ones": lambda records: f'{{"logs":[]}}\n[]\n{json.dumps({"events": records})}\n',
    "for people": lambda records: json.dumps(records, indent=4, sort_keys=True),
    "wrapped, for people": lambda records: json.dumps({"logs": records}, indent=1),
    "many for people": lambda records: "\n".join(json.dumps(one, indent=2) for one in records),
    "an array, one a line": lambda records: "[\n" + ",\n".join(json.dumps(one) for one in records) + "\n]\n",
    "on one line": lambda records: " ".join(json.dumps(one) for one in records),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_file_of_records_is_read(place: Path, form: Any) -> None:
    Path("received.json").write_text(form(read()))
    result = call("received.json", *KEY)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(INTACT)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_findings_name_the_file_and_the_number_of_the_record(place: Path, form: Any) -> None:
    records = read()
    records[6]["message"] = "changed"
    Path("received.json").write_text(form(records))
    code, findings, _ = report("received.json", *KEY)
    assert (code, findings) == (1, [("payload-changed", "received.json", 7)])


def test_lines_of_a_log_are_records_as_they_stand(place: Path) -> None:
    raw = b'{"z":1,  "a":"\xc3\xa4"}'
    Path("raw.jsonl").write_bytes(seal(raw, ChainState("raw"), HMAC)[0])
    assert call("raw.jsonl", *KEY).exit_code == 0
    Path("log.jsonl.gz").write_bytes(gzip.compress(Path("log/a.jsonl").read_bytes()))
    assert call("log.jsonl.gz", *KEY).stdout.startswith(INTACT)


def test_events_with_the_block_of_an_enricher_are_verified(place: Path) -> None:
    write(event_records())
    assert call("received.jsonl", *KEY).stdout.startswith("INTACT  4 entries of 1 stream in 1 file\n")
    flat = [one["log"] | {"integrity": one["log"]["diagnostics"]["integrity"]} for one in event_records()]
    Path("received.jsonl").write_text(json.dumps(flat))
    assert call("received.jsonl", *KEY).stdout.startswith("INTACT  4 entries of 1 stream in 1 file\n")
    flat[2]["level"] = "DEBUG"
    write(flat)
    assert report("received.jsonl", *KEY)[1] == [("payload-changed", "received.jsonl", 3)]


def test_records_come_in_any_order_more_than_once_and_in_several_files(place: Path) -> None:
    records = read() * 3
    random.Random(5).shuffle(records)
    write(records[:11], "one.jsonl")
    write(records[11:], "two.jsonl")
    code, findings, members = report("one.jsonl", "two.jsonl", *KEY)
    assert (code, findings) == (0, [])
    assert [(one["file"], one["entries"]) for one in members["files"]] == [("one.jsonl", 11), ("two.jsonl", 19)]
    assert members["counts"]["entries"] == 10
    assert "more than once" in next(one["message"] for one in members["notes"] if one["code"] == "overlap")
    records[20]["message"] = "changed"
    write(records[11:], "two.jsonl")
    assert report("one.jsonl", "two.jsonl", *KEY)[1] == [("payload-changed", "two.jsonl", 10)]


def test_many_records_out_of_order_are_put_in_order(place: Path) -> None:
    """Four workers, sixteen writes at once: hardly two records stand behind each other."""
    state, lines = ChainState("events"), []
    for number in range(30_000):
        line, state = seal(b'{"n":%d}' % number, state, HMAC)
        lines.append(line)
    random.Random(3).shuffle(lines)
    Path("received.jsonl").write_bytes(b"".join(lines))
    assert call("received.jsonl", *KEY, "-q").stdout == "INTACT  30,000 entries of 1 stream in 1 file\n"


def test_what_is_missing_between_records_is_undetermined(place: Path) -> None:
    write([one for number, one in enumerate(read()) if number not in (3, 4)])
    code, findings, _ = report("received.jsonl", *KEY)
    assert (code, findings) == (3, [("entries-missing", "received.jsonl", 4)])


@pytest.mark.parametrize(
    "record",
    [
        {"log": {"message": "m"}, "schema_version": "1.1"},
        {"log": {"diagnostics": {"integrity": {"status": "unsealed"}}}, "schema_version": "1.1"},
        {"message": "m", "diagnostics": {"integrity": {"status": "unsealed"}}, "integrity": {"status": "unsealed"}},
        {"log": {"diagnostics": {"integrity": {"stream": "a", "key_id": "k1"}}}, "schema_version": "1.1"},
    ],
)
def test_a_record_without_a_seal_is_found_at_its_place(place: Path, record: dict[str, Any]) -> None:
    records = read()
    write([*records[:2], record, *records[2:]])
    code, findings, _ = report("received.jsonl", *KEY)
    assert (code, findings) == (1, [("integrity-missing", "received.jsonl", 3)])
    assert report("log", "received.jsonl", *KEY)[:2] == (1, [("integrity-missing", "received.jsonl", 3)])


@pytest.mark.parametrize(
    "junk",
    ["junk", "[1, null]", '{"a": 1, "a": 2}', "\x00" * 600, "[" * 5000, '{"n": NaN}', "null", "\r\x00junk", '"text"'],
)
def test_a_line_that_is_no_record_is_found_and_what_stands_behind_is_read(place: Path, junk: str) -> None:
    lines = [json.dumps(one) for one in read()]
    lines[7] = lines[7].replace("user", "USER")
    lines.insert(2, junk)
    Path("received.jsonl").write_text("\n".join(lines))
    behind = 10 if junk.startswith("[1") else 9
    first = ("line-malformed", "received.jsonl", 3)
    for paths in (["received.jsonl"], ["log", "received.jsonl"]):
        code, findings, _ = report(*paths, *KEY)
        assert code == 1
        assert findings == [first, ("payload-changed", "received.jsonl", behind)], paths


def test_zeros_are_junk_and_no_hole_that_a_crash_left(place: Path) -> None:
    size = Path("log/a.jsonl").stat().st_size
    Path("received.jsonl").write_bytes(b"\x00" * (512 - size % 512) + b"\n" + Path("log/a.jsonl").read_bytes())
    assert report("received.jsonl", *KEY)[:2] == (1, [("line-malformed", "received.jsonl", 1)])


def test_half_a_record_at_the_end_is_a_torn_tail(place: Path) -> None:
    text = "".join(f"{json.dumps(one)}\n" for one in read())
    Path("received.jsonl").write_text(text[:-20])
    for paths in (["received.jsonl"], ["log", "received.jsonl"]):
        assert report(*paths, *KEY)[:2] == (3, [("torn-tail", "received.jsonl", 10)])


def test_a_damaged_file_is_read_as_far_as_it_goes(place: Path) -> None:
    whole = gzip.compress("".join(f"{json.dumps(one)}\n" for one in read()).encode() + os.urandom(50_000))
    Path("received.jsonl.gz").write_bytes(whole[:-500])
    for paths in (["received.jsonl.gz"], ["log", "received.jsonl.gz"]):
        code, findings, members = report(*paths, *KEY)
        assert ("unreadable", "received.jsonl.gz") in [one[:2] for one in findings]
        assert members["files"][-1]["entries"] >= 10
        assert code in (1, 3)


@pytest.mark.parametrize("text", ["", "[]", '{"logs": []}\n', "\n\n"])
def test_a_file_without_a_record_is_undetermined(place: Path, text: str) -> None:
    Path("received.json").write_text(text)
    for paths in (["received.json"], ["log", "received.json"]):
        assert report(*paths, *KEY)[:2] == (3, [("empty", "received.json", None)])


def test_a_file_that_is_not_there_is_undetermined(place: Path) -> None:
    write(read())
    for paths in (["nothing.json"], ["log", "nothing.json"], ["received.jsonl", "nothing.json"]):
        assert report(*paths, *KEY)[:2] == (3, [("unreadable", "nothing.json", None)])


def test_a_document_that_is_too_large_to_be_held_is_said_to_be_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapilog_tamper.cli.received.MAX_HELD", 1000)
    Path("received.json").write_text(json.dumps(read(), indent=1))
    result = call("received.json", *KEY)
    assert result.exit_code == 3
    assert "unreadable  received.json" in result.stdout
    assert "jq -c" in result.stdout
    write(["junk {", *read()])
    assert report("received.jsonl", *KEY)[1] == [("line-malformed", "received.jsonl", 1)]
    Path("received.jsonl").write_text("{junk\n" + Path("received.jsonl").read_text())
    assert report("received.jsonl", *KEY)[0] == 1


# Against the log.


@pytest.fixture
def log(place: Path) -> list[dict[str, Any]]:
    """A whole log, `sealed`, with manifests and head; its records."""
    write_image(make_log(KEYED).image, Path("sealed"))
    write_key_files("log.jwk", LOG_KEY)
    return [record for file in segments() for record in read(str(file))]


def segments() -> list[Path]:
    return sorted(Path("sealed").glob("*.jsonl"), key=lambda path: read(str(path))[0]["integrity"]["seq"])


def keep_only_segments() -> None:
    for path in Path("sealed").rglob("*"):
        if path.is_file() and path.suffix != ".jsonl":
            path.unlink()


LOG = ("sealed", "--key", "file:log.jwk")


def test_records_of_the_log_are_proved_by_it(log: list[dict[str, Any]]) -> None:
    write([log[5], log[2], log[5], *log[7:9]])
    code, findings, members = report("received.jsonl", *LOG)
    assert (code, findings) == (0, [])
    notes = [one for one in members["notes"] if one["code"] == "overlap"]
    assert {one["file"] for one in notes} == {"received.jsonl"}
    assert all("that the log has: stream " in one["message"] for one in notes)
    assert sum(int(one["message"].split()[0]) for one in notes) == 5
    # By themselves they prove nothing of what is missing.
    assert report("received.jsonl", *LOG[1:])[0] == 3


def test_a_changed_record_is_found_against_the_log(log: list[dict[str, Any]]) -> None:
    log[4]["extra"] = 1
    write(log)
    assert report("received.jsonl", *LOG)[:2] == (1, [("payload-changed", "received.jsonl", 5)])


def test_another_entry_in_the_place_of_one_is_found_though_the_key_sealed_it(log: list[dict[str, Any]]) -> None:
    block = log[4]["integrity"]
    prev = b64url_decode(block["prev_chain_hash"])
    line, _ = seal(b'{"n":"another"}', ChainState(block["stream"], block["seq"] - 1, prev), LOG_KEY)
    write([*log[:4], json.loads(line), *log[5:]])
    assert report("received.jsonl", *LOG)[:2] == (1, [("seq-repeat", "received.jsonl", 5)])


def test_a_mac_that_was_changed_is_found_against_the_log(log: list[dict[str, Any]]) -> None:
    for record in log:
        record["integrity"] |= {"mac": "A" * 43}
    write(log[:1])
    assert report("received.jsonl", *LOG)[0] != 0


def test_a_log_without_the_entry_of_a_record_was_cut(log: list[dict[str, Any]]) -> None:
    write(log)
    keep_only_segments()
    last = segments()[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-2]))
    code, findings, _ = report("received.jsonl", *LOG)
    assert (code, findings) == (1, [("segment-missing", "received.jsonl", len(log) - 1)])


def test_a_log_that_begins_later_cannot_speak_of_earlier_records(log: list[dict[str, Any]]) -> None:
    write(log)
    keep_only_segments()
    segments()[0].unlink()
    code, findings, _ = report("received.jsonl", *LOG)
    assert (code, findings) == (3, [("entries-missing", "received.jsonl", 1)])


def test_records_of_a_stream_that_the_log_has_not_are_undetermined(log: list[dict[str, Any]]) -> None:
    write(event_records(2))
    code, findings, _ = report("received.jsonl", *LOG, *KEY)
    assert (code, findings) == (3, [("stream-missing", "received.jsonl", 1)])


def test_the_log_itself_is_verified_as_strictly_as_ever(log: list[dict[str, Any]]) -> None:
    write(log)
    segments()[1].unlink()
    code, findings, _ = report("received.jsonl", *LOG)
    assert code == 1
    assert "segment-missing" in [one[0] for one in findings]


# The command.


def test_reports_speak_of_the_files_of_the_user_only(place: Path) -> None:
    records = read()
    records[3]["message"] = "x"
    write([*records[:6], *records[8:]])
    result = call("received.jsonl", *KEY, "-v")
    assert "fapilog-tamper-" not in result.stdout
    assert "sorted.jsonl" not in result.stdout
    assert "payload-changed  received.jsonl:4  seq 4\n" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [(["log"], "no file of records"), (["received.jsonl", "--stream", "a"], "--records cannot be used with --stream")],
)
def test_what_cannot_work_is_a_usage_error(place: Path, args: list[str], said: str) -> None:
    write(read())
    result = call(*args, *KEY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_the_help_teaches_it() -> None:
    text = call("--help").stdout
    assert "fapilog-tamper verify received.json --records" in text
    assert "fapilog-tamper verify logs/ received.json --records" in text


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fapilog_tamper", "verify", "--records", *args]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_copies_are_removed_also_on_ctrl_c(place: Path) -> None:
    folder = place / "tmp"
    folder.mkdir()
    write(read())
    with start(folder, "received.jsonl", *KEY) as process:
        assert process.wait(30) == 0
    assert list(folder.iterdir()) == []
    write(read() * 20_000)
    with start(folder, "received.jsonl", *KEY) as process:
        deadline = time.monotonic() + 30
        while not list(folder.rglob("lines")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    assert list(folder.iterdir()) == []


def test_any_number_of_records_takes_little_memory(place: Path) -> None:
    pytest.importorskip("resource")
    code = (
        "import sys\n"
        "from resource import RUSAGE_SELF, getrusage\n"
        "from fapilog_tamper.cli.app import app\n"
        "try: app(['verify', '--records', *sys.argv[1:]])\n"
        "except SystemExit as end: print(end.code, getrusage(RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )

    def peak(*args: str) -> int:
        done = subprocess.run([sys.executable, "-c", code, *args, *KEY], capture_output=True, text=True, check=False)
        exit_code, size = done.stderr.split()
        assert exit_code == "0", done.stdout
        return int(size)

    state, lines = ChainState("audit"), []
    for number in range(3000):
        line, state = seal(b'{"message":"%s","n":%d}' % (b"x" * 12_000, number), state, HMAC)
        lines.append(line)
    Path("large.jsonl").write_bytes(b"".join(lines))
    Path("small.jsonl").write_bytes(b"".join(lines[:3]))
    Path("whole").mkdir()
    Path("whole/a.jsonl").write_bytes(b"".join(lines))
    least = peak("small.jsonl")
    assert peak("large.jsonl") < least + 12_000
    assert peak("large.jsonl", "whole") < least + 12_000
