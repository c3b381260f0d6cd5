from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fapilog_tamper.cli.app import app
from fapilog_tamper.entry import split
from fapilog_tamper.head import Head, format_head, sign_head
from fapilog_tamper.keys import open_signing_key
from fapilog_tamper.manifest import Manifest, format_manifest, sign_manifest
from fapilog_tamper.verify.overview import ScopeView, take_overview
from fapilog_tamper.verify.source import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TIME = "2026-11-02T10:00:00.000000Z"


def call(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def scope(*paths: str) -> ScopeView:
    (found,) = take_overview([Path(path) for path in paths or ("log",)]).scopes
    return found


def write_manifest(name: str, made: list[bytes]) -> None:
    first, last = split(made[0])[1], split(made[-1])[1]
    raw = b"".join(made)
    manifest = Manifest(
        stream=first.stream,
        origin=first.chain_hash,
        file=name,
        created_ts=TIME,
        closed_ts=TIME,
        record_count=len(made),
        first_seq=first.seq,
        last_seq=last.seq,
        first_ts=None,
        last_ts=None,
        continues_from=first.prev_chain_hash,
        root_chain_hash=last.chain_hash,
        size_bytes=len(raw),
        file_sha256=hashlib.sha256(raw).digest(),
        algo=first.algo,
        key_id=first.key_id,
    )
    signed = sign_manifest(manifest, open_signing_key("file:hmac.jwk"))
    Path(f"log/{name}.manifest.json").write_bytes(format_manifest(signed))


def write_head(made: list[bytes]) -> None:
    first, last = split(made[0])[1], split(made[-1])[1]
    head = Head(last.stream, first.chain_hash, last.seq, last.chain_hash, 1, "b.jsonl", 77, TIME)
    Path("log/.fapilog").mkdir()
    Path("log/.fapilog/audit.chainstate").write_bytes(format_head(sign_head(head, open_signing_key("file:hmac.jwk"))))


@pytest.fixture
def folder(place: Path, lines: Callable[..., list[bytes]]) -> Path:
    """Two segments, the first compressed and with a manifest, and a head."""
    made = lines(30)
    Path("log/a.jsonl").unlink()
    Path("log/a.jsonl.gz").write_bytes(gzip.compress(b"".join(made[:20])))
    Path("log/b.jsonl").write_bytes(b"".join(made[20:]))
    write_manifest("a.jsonl", made[:20])
    write_head(made)
    return place


def test_the_text_shows_streams_segments_and_heads_and_says_that_nothing_was_verified(folder: Path) -> None:
    result = call("inspect", "log")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Not verified: ")
    text = re.sub(" +", " ", result.stdout)
    assert "\n audit seq 1..30 30 entries 2 segments " in text
    assert "\n a.jsonl.gz audit seq 1..20 20 entries " in text
    assert "\n b.jsonl audit seq 21..30 10 entries " in text
    assert f"\n audit.chainstate audit seq 30 written {TIME} to b.jsonl, 77 bytes HMAC-SHA256 key k1\n" in text
    assert "gzip   HMAC-SHA256 key k1  manifest" in result.stdout
    assert "plain  HMAC-SHA256 key k1  no manifest" in result.stdout
    assert "head at seq 30" in result.stdout


@pytest.mark.parametrize("flag", [["-f", "json"], ["--json"]])
def test_json_holds_the_same_and_is_never_verified(folder: Path, flag: list[str]) -> None:
    result = call("inspect", "log", *flag)
    members = json.loads(result.stdout)
    assert (result.exit_code, members["schema_version"], members["verified"]) == (0, "1.0", False)
    (found,) = members["scopes"]
    (stream,) = found["streams"]
    assert stream == {
        "stream": "audit",
        "ranges": [[1, 30]],
        "entries": 30,
        "segments": 2,
        "size_bytes": sum(path.stat().st_size for path in Path("log").glob("?.jsonl*") if "manifest" not in path.name),
        "algos": ["HMAC-SHA256"],
        "key_ids": ["k1"],
        "head_seq": 30,
    }
    assert [segment["manifest"] for segment in found["segments"]] == ["log/a.jsonl.manifest.json", None]
    assert [head["offset"] for head in found["heads"]] == [77]


def test_the_overview_goes_to_a_file_outside_of_the_log(folder: Path) -> None:
    assert call("inspect", "log", "-o", "log/overview").exit_code == 2
    result = call("inspect", "log", "--json", "-o", "overview")
    assert (result.exit_code, result.output) == (0, "")
    assert Path("overview").read_text() == call("inspect", "log", "--json").stdout


def test_holes_between_segments_are_seen(folder: Path, lines: Callable[..., list[bytes]]) -> None:
    made = lines(60)
    Path("log/b.jsonl").write_bytes(b"".join(made[30:40]))
    assert scope().streams[0].ranges == ((1, 20), (31, 40))
    for number in range(42, 60, 3):
        Path(f"log/c{number}.jsonl").write_bytes(made[number])
    assert "and 3 more ranges" in call("inspect", "log").stdout


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
@pytest.mark.parametrize("size", [1, 3, 2000])
def test_the_last_seq_is_read_from_the_end(
    place: Path, lines: Callable[..., list[bytes]], pack: Callable[[bytes], bytes], size: int
) -> None:
    Path("log/a.jsonl").write_bytes(pack(b"".join(lines(size, None))))
    (segment,) = scope().segments
    assert (segment.first_seq, segment.last_seq, segment.entries) == (1, size, size)
    assert (segment.algos, segment.key_ids, segment.problem) == (("SHA-256",), (), None)


def test_lines_that_are_longer_than_one_look_are_read(place: Path) -> None:
    from fapilog_tamper.entry import ChainState, seal

    state, made = ChainState("audit"), b""
    for size in (10, 300_000, 900_000):
        line, state = seal(b'{"m":"%b"}' % (b"x" * size), state, None)
        made += line
    Path("log/a.jsonl").write_bytes(made)
    assert scope().segments[0].last_seq == 3


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("tail", [b"{", b"\x00" * 70_000])
def test_a_torn_tail_is_said(
    place: Path, lines: Callable[..., list[bytes]], pack: Callable[[bytes], bytes], tail: bytes
) -> None:
    Path("log/a.jsonl").write_bytes(pack(b"".join(lines(5)) + tail))
    (segment,) = scope().segments
    assert (segment.last_seq, segment.problem) == (5, "bytes stand behind its last whole line")


DAMAGED = [
    (b"", "it is empty"),
    (b"\x00", "unreadable first line: it is too long or has no end"),
    (b"hello\nworld\n", "unreadable first line: no integrity block at the end of the line."),
    (b"\n\n\n", "unreadable first line"),
    (b"x" * (3 * MAX_LINE), "unreadable first line: it is too long"),
    (b"x" * (3 * MAX_LINE) + b"\n", "unreadable first line: it is too long"),
    (b"\x1f\x8b\x08broken", "unreadable: damaged compressed data"),
    (b"\x28\xb5\x2f\xfdbroken", "unreadable: "),
    (b"\x1f\x8b", "unreadable: the gzip data ends early"),
]


@pytest.mark.parametrize(("raw", "message"), DAMAGED, ids=[str(row[0][:12]) for row in DAMAGED])
@pytest.mark.parametrize("path", ["log", "log/a.jsonl"])
def test_damage_is_said_and_never_raised(place: Path, raw: bytes, message: str, path: str) -> None:
    Path("log/a.jsonl").write_bytes(raw)
    result = call("inspect", path)
    assert result.exit_code == 3, result.output
    assert message in result.stdout
    assert "problems\n" in result.stdout


def test_a_spoiled_first_line_leaves_the_last(place: Path) -> None:
    raw = Path("log/a.jsonl").read_bytes()
    Path("log/a.jsonl").write_bytes(b"x" + raw)
    (segment,) = scope().segments
    assert (segment.stream, segment.first_seq, segment.last_seq, segment.entries) == ("audit", None, 10, None)
    assert "seq ?..10" in call("inspect", "log").stdout


def test_a_spoiled_last_line_leaves_the_first(place: Path) -> None:
    raw = Path("log/a.jsonl").read_bytes()
    Path("log/a.jsonl").write_bytes(raw + b"no line\n")
    (segment,) = scope().segments
    assert (segment.first_seq, segment.last_seq) == (1, None)
    assert segment.problem == "unreadable last line: no integrity block at the end of the line."


def test_several_streams_in_one_file_are_named_so(place: Path, lines: Callable[..., list[bytes]]) -> None:
    Path("log/a.jsonl").write_bytes(b"".join(lines(3) + lines(4, stream="billing")))
    result = call("inspect", "log")
    assert "several streams" in result.stdout
    assert scope().segments[0].mixed
    assert result.exit_code == 0


@pytest.mark.parametrize("name", ["nothing.jsonl", "nothing/at/all"])
def test_a_missing_file_is_said(place: Path, name: str) -> None:
    result = call("inspect", name)
    assert result.exit_code == 3
    assert f"{name}  unreadable: No such file or directory" in result.stdout


def test_an_empty_folder_is_said(place: Path) -> None:
    Path("log/a.jsonl").unlink()
    result = call("inspect", "log")
    assert (result.exit_code, "there is no segment" in result.stdout) == (3, True)


def test_spoiled_heads_and_manifests_are_problems(folder: Path) -> None:
    Path("log/.fapilog/audit.chainstate").write_bytes(b"{")
    Path("log/a.jsonl.manifest.json").write_bytes(b"{")
    problems = [problem.file for problem in scope().problems]
    assert problems == ["log/.fapilog/audit.chainstate", "log/a.jsonl.manifest.json"]
    assert call("inspect", "log").exit_code == 3


def test_a_manifest_without_its_segment_and_a_link_are_shown(folder: Path) -> None:
    Path("log/a.jsonl.gz").unlink()
    Path("log/link.jsonl").symlink_to("b.jsonl")
    result = call("inspect", "log")
    assert "manifests without a segment\n    log/a.jsonl.manifest.json" in result.stdout
    assert "not a regular file: passed over (log/link.jsonl)" in result.stdout


def test_a_stream_of_which_only_the_head_is_there_is_shown(folder: Path) -> None:
    for path in Path("log").glob("*.jsonl*"):
        path.unlink()
    (stream,) = scope().streams
    assert (stream.ranges, stream.head_seq) == ((), 30)
    assert "audit  no seq  0 entries  0 segments" in call("inspect", "log").stdout


def test_inspecting_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    call("inspect", "log")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_no_damaged_file_makes_it_raise(place: Path, lines: Callable[..., list[bytes]]) -> None:
    """Bytes changed, cut and doubled at random places, plain and compressed."""
    chance = random.Random(7)
    raw = b"".join(lines(6))
    for trial in range(300):
        mutated = bytearray(gzip.compress(raw) if trial % 2 else raw)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(mutated))
            if chance.random() < 0.3:
                del mutated[at:]
                mutated += b"\n"
            else:
                mutated[at] = chance.randrange(256)
        Path("log/a.jsonl").write_bytes(bytes(mutated))
        overview = take_overview([Path("log")])
        assert json.loads(overview.to_json())["verified"] is False
