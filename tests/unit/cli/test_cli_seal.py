"""`seal`: lines of pipes and files, in processes of their own where signals, pipes and disks matter."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.cli.lines import Line, LineCutter, encode_line
from fapilog_tamper.entry import split
from fapilog_tamper.verify.log import verify_path

if TYPE_CHECKING:
    from collections.abc import Callable

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
PROGRAM = [sys.executable, "-m", "fapilog_tamper"]
SEAL = ("seal", "-d", "new", "--key", "file:hmac.jwk")


def call(*args: str, text: bytes = b"") -> Any:
    return CliRunner().invoke(app, list(args), input=text)


def payloads(folder: str = "new", stream: str = "log") -> list[bytes]:
    lines = [line for path in Path(folder).glob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    parts = sorted((split(line) for line in lines), key=lambda part: part[1].seq)
    return [payload for payload, block in parts if block.stream == stream]


def until(done: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@pytest.fixture
def run(place: Path, program: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    def seal(*args: str, text: bytes = b"", **options: Any) -> Any:
        result = program(*SEAL, *args, input=text, text=False, **options)
        assert b"Traceback" not in result.stderr
        return result

    return seal


KEPT = [
    (b'{"a": 1.0, "b":"\\u00e9"}', b'{"a": 1.0, "b":"\\u00e9"}'),
    (b' {"a":1}\t\r', b'{"a":1}'),
    (b"{}", b"{}"),
    (b"{ }", b"{}"),
    (b"plain text\r", b'{"message":"plain text"}'),
    (b"[1,2]", b'{"message":"[1,2]"}'),
    (b'{"a":1', b'{"message":"{\\"a\\":1"}'),
    (b"{not json}", b'{"message":"{not json}"}'),
    (b"\xff\xfe", b'{"message":{"$base64":"__4"}}'),
    ("ü\u2028".encode(), '{"message":"ü\u2028"}'.encode()),
    (b'{"integrity":1,"sealed_log":{"kind":"seal"}}', b'{"integrity_":1,"sealed_log_":{"kind":"seal"}}'),
    (b'{"a":1,"a":2,"a#2":3}', b'{"a":1,"a#2":2,"a#2#2":3}'),
    (b'{"integrity":0,"n":1e999,"f":0.1234567890123456789,"g":1.50,"i":12345678901234567890}',
     b'{"f":"0.1234567890123456789","g":1.5,"i":"12345678901234567890","integrity_":0,"n":"1e999"}'),
    (b'{"integrity":0,"n":1e99999999999999999999}', b'{"integrity_":0,"n":"1e99999999999999999999"}'),
    (b'{"x":NaN}', b'{"x":"NaN"}'),
    (b"[" * 100_000, None),
]  # fmt: skip


def test_each_line_is_one_event_and_nothing_of_it_is_lost(run: Callable[..., Any]) -> None:
    result = run(text=b"\n".join(line for line, _ in KEPT))
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"sealed 16 lines into stream log of new: seq 1..16, 1 line cut to 65,535 bytes\n"
    for got, (line, wanted) in zip(payloads(), KEPT, strict=True):
        assert wanted is None or got == wanted, line
    assert verify_path("new", keys="file:hmac.jwk", require_end=True, require_manifests=True).outcome == "intact"


def test_a_sealed_file_that_is_sealed_again_is_never_mistaken(run: Callable[..., Any]) -> None:
    assert run("--from", "log/a.jsonl").returncode == 0
    (first, *_), old = payloads(), Path("log/a.jsonl").read_bytes().splitlines()[0]
    block = json.loads(old)["integrity"]
    assert json.loads(first) == {"message": "user 1 logged in", "integrity_": block}
    assert verify_path("new", keys="file:hmac.jwk").entries == 10


def test_empty_lines_are_skipped_and_counted_and_a_byte_order_mark_is_none(run: Callable[..., Any]) -> None:
    result = run(text=b'\xef\xbb\xbf{"a":1}\n\n \t\r\nx\n')
    assert payloads() == [b'{"a":1}', b'{"message":"x"}']
    assert b"seq 1..2, 2 empty lines skipped" in result.stderr


def test_no_input_is_no_error(run: Callable[..., Any]) -> None:
    result = run()
    assert (result.returncode, result.stderr) == (0, b"sealed 0 lines into stream log of new: nothing came\n")


def test_long_lines_are_cut_and_counted(run: Callable[..., Any]) -> None:
    result = run(text=b"x" * 70_000 + b"\n" + b'{"k":1,"t":"' + b"y" * 70_000 + b'"}')
    assert b"2 lines cut to 65,535 bytes" in result.stderr
    assert all(len(payload) <= 65_535 for payload in payloads())
    assert json.loads(payloads()[1])["k"] == 1
    assert run("--max-payload", "100000", "--stream", "more", text=b"x" * 70_000).stderr.endswith(b"seq 1..1\n")
    assert payloads(stream="more") == [b'{"message":"' + b"x" * 70_000 + b'"}']


@pytest.mark.parametrize("filling", [b"x", "ü".encode(), b"\x00", b"\xff"])
def test_of_a_line_that_is_too_long_to_hold_the_beginning_is_kept_and_the_rest_counted(filling: bytes) -> None:
    cutter = LineCutter(10_000)
    lines = [line for _ in range(30) for line in cutter.feed(filling * 1000)] + cutter.feed(b"\nnext\n")
    assert [len(line.raw) for line in lines] == [10_000, 4]
    assert lines[0].size == len(filling) * 30_000
    event, cut = encode_line(lines[0], 4096)
    assert cut
    assert isinstance(event, dict)
    text = event["message"]["$base64"] if filling == b"\xff" else event["message"]
    head, _, marker = text.partition("…[cut ")
    total = lines[0].size * 4 // 3 if filling == b"\xff" else lines[0].size
    assert len(head.encode()) + int(marker.split()[0]) == total


def test_lines_are_cut_at_newlines_wherever_chunks_end() -> None:
    text = b"a\nbb\n\nccc"
    for size in range(1, len(text) + 1):
        cutter = LineCutter()
        lines = [line for at in range(0, len(text), size) for line in cutter.feed(text[at : at + size])]
        assert [line.raw for line in lines + cutter.end()] == [b"a", b"bb", b"", b"ccc"]
    assert LineCutter().end() == []
    assert Line(b"\r", 1).empty


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_plain_or_compressed(run: Callable[..., Any], pack: Callable[[bytes], bytes]) -> None:
    Path("in").write_bytes(pack(b"a\nb"))
    assert run("--from", "in").returncode == 0
    assert payloads() == [b'{"message":"a"}', b'{"message":"b"}']


def test_of_a_damaged_file_what_can_be_read_is_sealed(run: Callable[..., Any]) -> None:
    Path("in").write_bytes(gzip.compress(b"one\ntwo\n") + b"more")
    result = run("--from", "in")
    assert result.returncode == 3
    assert b"2 lines were sealed into stream log; go on with line 3 of the input.\nerror: the input" in result.stderr


def test_options_reach_the_log(run: Callable[..., Any]) -> None:
    text = b"".join(b'{"n":%d}\n' % number for number in range(100))
    args = ("--rotate-bytes", "4096", "--compress", "gzip", "--state-dir", "state", "--durability", "synced", "-q")
    assert run("--stream", "web", *args, text=text).stderr == b""
    names = sorted(path.name for path in Path("new").iterdir())
    assert len([name for name in names if name.startswith("web_") and name.endswith(".jsonl.gz")]) > 3
    assert Path("state/web.chainstate").exists()
    assert not Path("new/.fapilog").exists()


def test_unkeyed_is_a_choice(run: Callable[..., Any], program: Callable[..., Any]) -> None:
    result = program("seal", "-d", "new", input="x\n")
    assert result.returncode == 2
    assert "Make one: fapilog-tamper keygen " in result.stderr
    assert "--unkeyed" in result.stderr
    assert program(*SEAL, "--unkeyed", input="x\n").returncode == 2
    assert not Path("new").exists()
    assert program("seal", "-d", "new", "--unkeyed", input="x\n").returncode == 0
    (path,) = Path("new").glob("*.jsonl")
    assert b'"algo":"SHA-256"' in path.read_bytes()


WRONG = [
    (["--key", "file:nothing.jwk"], 2, "does not exist"),
    (["--from", "nothing"], 2, "nothing cannot be read: No such file"),
    (["--from", "log"], 2, "not a regular file"),
    (["--stream", "log.w2"], 2, "belong to the writer"),
    (["--stream", "a b"], 2, "stream name holds U+0020"),
    (["--max-payload", "7"], 2, "payload limit is 7"),
    (["--rotate-bytes", "7"], 2, "max_bytes is 7"),
    (["--timeout", "-1"], 2, "timeout is -1"),
    (["--durability", "maybe"], 2, "maybe"),
    (["-d", "hmac.jwk"], 3, "hmac.jwk cannot be opened for writing"),
    (["--state-dir", "hmac.jwk"], 3, "cannot be opened for writing"),
]


@pytest.mark.parametrize(("args", "code", "text"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_cannot_work_is_said(place: Path, args: list[str], code: int, text: str) -> None:
    result = call(*SEAL, *args, text=b"x\n")
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(Path("new").glob("*.jsonl"))


@POSIX
def test_a_closed_stdin_is_said(place: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m fapilog_tamper {' '.join(SEAL)} <&-"], stderr=-1, check=False
    )
    assert (done.returncode, b"error: stdin is closed." in done.stderr) == (2, True)


def test_echo_copies_what_came(run: Callable[..., Any]) -> None:
    text = b'{"a":1}\n\n\xffx\r\nend'
    assert run("--echo", text=text).stdout == text


@POSIX
def test_a_reader_of_the_echo_that_goes_away_ends_no_sealing(place: Path) -> None:
    with subprocess.Popen([*PROGRAM, *SEAL, "-t"], stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdout.close()
        _, errors = process.communicate(b"line\n" * 50_000)
    assert (process.returncode, b"sealed 50,000 lines" in errors, b"Traceback" in errors) == (0, True, False)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_lines_are_on_disk_as_they_come_and_a_signal_closes_the_log(place: Path, number: signal.Signals) -> None:
    with subprocess.Popen([*PROGRAM, *SEAL], stdin=-1, stderr=-1) as process:
        for count in (1, 2, 3):
            os.write(process.stdin.fileno(), b"line %d\n" % count)
            until(lambda: len(payloads()) == count)  # noqa: B023 (called in this round)
        os.write(process.stdin.fileno(), b"half a li")
        until(lambda: _drained(process.stdin.fileno()))
        process.send_signal(number)
        process.send_signal(number)
        # Its stdin stays open: only the signal can have ended it.
        process.wait(30)
        _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert f"stopped by {number.name}; everything that was read is sealed.".encode() in errors
    assert payloads()[-1] == b'{"message":"half a li"}'
    assert verify_path("new", keys="file:hmac.jwk", require_end=True, require_manifests=True).outcome == "intact"


def _drained(pipe: int) -> bool:
    import array
    import fcntl
    import termios

    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0] == 0


@POSIX
def test_a_signal_that_was_ignored_stays_ignored(place: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with subprocess.Popen([*PROGRAM, *SEAL], stdin=-1, stderr=-1, preexec_fn=ignore) as process:  # noqa: PLW1509
        os.write(process.stdin.fileno(), b"one\n")
        until(lambda: len(payloads()) == 1)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(b"two\n")
    assert (process.returncode, len(payloads())) == (0, 2), errors


@POSIX
def test_a_disk_that_fails_is_an_error_that_says_what_is_stored(run: Callable[..., Any]) -> None:
    """A limit of 8 KiB a file stands for a disk that is full."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    result = run("--timeout", "0.5", text=b"\n" + b"some line\n" * 1000, preexec_fn=limit)
    stored = len(payloads())
    assert result.returncode == 3
    assert 20 < stored < 100
    said = f"{stored} lines were sealed into stream log; go on with line {stored + 2} of the input.\nerror: "
    assert said.encode() in result.stderr
    assert b"write fails (File too large); trying again.\n" in result.stderr
    assert b"\nhint: " in result.stderr
    assert verify_path("new", keys="file:hmac.jwk").outcome == "intact"


def test_a_second_writer_says_which_stream_it_has(place: Path) -> None:
    with subprocess.Popen([*PROGRAM, *SEAL], stdin=-1, stderr=-1) as process:
        os.write(process.stdin.fileno(), b"one\n")
        until(lambda: len(payloads()) == 1)
        second = subprocess.run([*PROGRAM, *SEAL], input=b"two\n", stderr=-1, check=False)
        process.communicate()
    assert b"into stream log.w2 of new: seq 1..1\nlog.w2 is a stream of its own" in second.stderr


@POSIX
def test_progress_is_shown_for_files_on_a_terminal(place: Path, terminal: Callable[..., tuple[int, bytes]]) -> None:
    Path("in").write_bytes(b"line\n" * 20_000)
    code, text = terminal(*SEAL, "--from", "in")
    assert (code, b"sealing" in text, b"sealed 20,000 lines" in text) == (0, True, True)
    code, text = terminal(*SEAL, "--from", "in", "-q")
    assert (code, text) == (0, b"")
