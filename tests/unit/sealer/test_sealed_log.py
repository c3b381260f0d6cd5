"""The writer of one stream: what it puts on the disk, what it refuses, and what is left when things go wrong."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fapilog_tamper import (
    ConfigError,
    FormatError,
    Keyring,
    Outcome,
    PayloadError,
    Receipt,
    SealedLog,
    SealKeyError,
    StoreError,
    verify_path,
)
from fapilog_tamper.document import format_claims
from fapilog_tamper.encoding import b64url_decode, b64url_encode
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.head import format_head, parse_head
from fapilog_tamper.keys import Algorithm, Ed25519SigningKey, HmacKey, SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, manifest_name, segment_name
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.store.durable import make_folder, replace_file, write_all
from fapilog_tamper.store.lock import StreamLock

K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
KEYRING = Keyring([K1, K2, ED])
posix = pytest.mark.skipif(os.name == "nt", reason="modes, kill -9 and folder sync are of POSIX")


def open_log(folder: Path, key: str | SigningKey | None = K1, **options: Any) -> SealedLog:
    return SealedLog.open(folder, key=key, **options)


def fill(folder: Path, count: int = 3, key: str | SigningKey | None = K1, **options: Any) -> list[Receipt]:
    with open_log(folder, key, **options) as log:
        return [log.append({"n": number, "timestamp": f"t{number:04d}"}) for number in range(count)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.name), path.name))


def lines_of(folder: Path) -> list[bytes]:
    return [line for path in segments(folder) for line in path.read_bytes().splitlines(keepends=True)]


def head_of(folder: Path, stream: str = "log") -> Path:
    return folder / STATE_FOLDER / head_name(stream)


def attested(folder: Path, key: SigningKey | None = K1) -> bool:
    ring = None if key is None else KEYRING
    return verify_path(folder, keyring=ring, require_end=True, require_manifests=True, deep=True).valid


def refused(log: SealedLog, folder: Path) -> None:
    """A log that met a failure says so, takes nothing more, and attests nothing of what failed."""
    with pytest.raises(StoreError, match="takes no more"):
        log.append({"a": 1})
    assert "failed>" in repr(log)
    log.close()
    assert not (folder / manifest_name(segments(folder)[-1].name)).exists()


# Opening, appending, closing.


@pytest.mark.parametrize("key", [K1, ED, None], ids=["hmac", "ed25519", "unkeyed"])
def test_a_closed_log_is_attested_to_its_end(key: SigningKey | None, tmp_path: Path) -> None:
    fill(tmp_path, key=key)
    assert attested(tmp_path, key)
    fill(tmp_path, key=key)
    assert attested(tmp_path, key)
    assert len(lines_of(tmp_path)) == 6


def test_the_file_holds_what_seal_writes(tmp_path: Path) -> None:
    events = [{"b": 1, "a": "\u00e9"}, {}, {"integrity": 1}]
    with open_log(tmp_path, stream="audit") as log:
        receipts = [log.append(event) for event in events]
    state = ChainState("audit")
    for line, receipt, payload in zip(
        lines_of(tmp_path), receipts, [b'{"a":"\xc3\xa9","b":1}', b"{}", b'{"integrity_":1}'], strict=True
    ):
        expected, state = seal(payload, state, K1)
        assert line == expected
        assert receipt == Receipt("audit", state.seq, b64url_encode(state.chain_hash))
    assert log.head == state


def test_an_entry_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for number in range(1, 4):
            receipt = log.append({"n": number})
            last = split(lines_of(tmp_path)[-1])[1]
            assert (last.seq, last.chain_hash) == (number, b64url_decode(receipt.chain_hash))
            assert receipt.seq == number
            assert log.head == ChainState("log", number, last.chain_hash)


def test_a_stream_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    first = fill(tmp_path)
    with open_log(tmp_path) as log:
        assert log.head == ChainState("log", 3, b64url_decode(first[-1].chain_hash))
        assert log.append({}).seq == 4
    assert [split(line)[1].seq for line in lines_of(tmp_path)] == [1, 2, 3, 4]
    head = parse_head(head_of(tmp_path).read_bytes())
    assert (head.seq, head.first_seq) == (4, 1)
    assert head.origin == b64url_decode(first[0].chain_hash)
    assert head.segment == segments(tmp_path)[1].name
    assert head.offset == segments(tmp_path)[1].stat().st_size


def test_the_manifest_describes_the_segment(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_log(tmp_path) as log:
        log.append({"timestamp": "b"})
        log.append({"timestamp": 5})
        log.append({"x": {"timestamp": "0"}})
        log.append(b'{"timestamp":"a"}')
        log.append({"timestamp": "c"})
    path = segments(tmp_path)[1]
    manifest = parse_manifest((tmp_path / manifest_name(path.name)).read_bytes())
    assert (manifest.first_seq, manifest.last_seq, manifest.record_count) == (4, 8, 5)
    assert (manifest.first_ts, manifest.last_ts) == ("a", "c")
    assert (manifest.file, manifest.size_bytes) == (path.name, path.stat().st_size)
    assert manifest.file_sha256 == sha256(path.read_bytes()).digest()
    assert manifest.created_ts <= manifest.closed_ts
    lines = lines_of(tmp_path)
    assert manifest.continues_from == split(lines[2])[1].chain_hash
    assert manifest.root_chain_hash == split(lines[-1])[1].chain_hash
    assert manifest.origin == split(lines[0])[1].chain_hash


@pytest.mark.parametrize("stamp", [1_700_000_000, 0, -5])
def test_a_timestamp_that_is_a_number_is_none(stamp: int, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append({"timestamp": stamp})
    assert verify_path(tmp_path, keyring=KEYRING).valid
    assert verify_path(tmp_path, keyring=KEYRING, deep=True).valid


def test_without_timestamps_the_manifest_has_none(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append({"a": 1})
    manifest = parse_manifest((tmp_path / manifest_name(segments(tmp_path)[0].name)).read_bytes())
    assert (manifest.first_ts, manifest.last_ts) == (None, None)


def test_a_log_without_entries_leaves_no_segment(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.close()
    assert segments(tmp_path) == []
    assert list(tmp_path.glob("*.manifest.json")) == []
    assert not head_of(tmp_path).exists()
    fill(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    open_log(tmp_path).close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert attested(tmp_path)


def test_closing_twice_does_nothing_and_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append({})
    log.close()
    with pytest.raises(StoreError, match=r"closed. Open it again"):
        log.append({})
    assert attested(tmp_path)


def test_leaving_the_block_by_an_error_closes_the_log(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_log(tmp_path) as log:  # noqa: PT012 (the block is the rule)
        log.append({})
        raise ZeroDivisionError
    assert attested(tmp_path)


def test_repr_tells_stream_place_key_and_state(tmp_path: Path) -> None:
    log = open_log(tmp_path, stream="audit")
    log.append({})
    assert repr(log) == f"<SealedLog 'audit' in {str(tmp_path)!r}, seq 1, key k1, open>"
    log.close()
    assert repr(log).endswith("seq 1, key k1, closed>")
    with open_log(tmp_path, None, stream="plain") as log:
        assert "unkeyed, open" in repr(log)
    assert K1.secret.hex() not in repr(log)


@pytest.mark.parametrize("stream", ["pr\u00fcf", "a/b", "..", ".x", "x.jsonl", "a_2026-11-20", "audit.w2", "s" * 180])
def test_any_stream_name_makes_files_that_verify(stream: str, tmp_path: Path) -> None:
    for _ in range(2):
        fill(tmp_path / "log", stream=stream)
    assert attested(tmp_path / "log")
    assert {split(line)[1].stream for line in lines_of(tmp_path / "log")} == {stream}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {path.parent for path in files} == {tmp_path / "log", tmp_path / "log" / STATE_FOLDER}


@pytest.mark.parametrize("stream", ["", "a b", "a%b", "s" * 181, "e\u0301"])
def test_a_name_that_is_none_is_refused_before_anything_is_made(stream: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        open_log(tmp_path / "log", stream=stream)
    assert not (tmp_path / "log").exists()


def test_streams_in_one_folder_do_not_touch_each_other(tmp_path: Path) -> None:
    with open_log(tmp_path, stream="a") as a, open_log(tmp_path, stream="a_2026-11-20") as b:
        for number in range(5):
            assert a.append({}).seq == b.append({}).seq == number + 1
    fill(tmp_path, stream="a")
    assert attested(tmp_path)


@posix
def test_modes_of_folders_and_files(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        fill(tmp_path / "log", state_dir=tmp_path / "state")
        fill(tmp_path / "log2")
    finally:
        os.umask(before)
    for folder in ("log", "state", "log2", f"log2/{STATE_FOLDER}"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o750
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, path


def test_the_head_can_lie_elsewhere(tmp_path: Path) -> None:
    log, state = tmp_path / "log", tmp_path / "deep" / "state"
    fill(log, state_dir=state)
    assert not (log / STATE_FOLDER).exists()
    assert verify_path(log, keyring=KEYRING, head=state / "log.chainstate", require_end=True).valid
    fill(log, state_dir=state)
    assert len(lines_of(log)) == 6
    with pytest.raises(StoreError, match="no head"):
        open_log(log)


def test_a_key_can_be_given_as_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    path.write_bytes(K1.secret)
    path.chmod(0o600)
    fill(tmp_path / "log", key=f"file:{path}?kid=k1&alg=HMAC-SHA256")
    assert attested(tmp_path / "log")
    with pytest.raises(SealKeyError):
        open_log(tmp_path / "other", f"file:{path}.missing?kid=k1&alg=HMAC-SHA256")
    assert not (tmp_path / "other").exists()


# Payloads.


GOOD_RAW = [b"{}", b'{"b":1,"a":2}', b'{ "a" : 1.0 , "e":"\\u00e9" }', '{"\u00e9":"\u2028"}'.encode()]


def test_good_raw_bytes_are_stored_as_they_are(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for raw in GOOD_RAW:
            log.append(raw)
    assert [split(line)[0] for line in lines_of(tmp_path)] == GOOD_RAW
    assert attested(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}\n",
        b" {}",
        b"{ }",
        b'{"a":1}{"b":2}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":\n1}',
        b'{"a":\r1}',
        b'{"a":"\xff"}',
        b'{"integrity":{}}',
        b'{"\\u0069ntegrity":{}}',
        b'{"sealed_log":{"kind":"gap"}}',
        b'{"a":"' + b"x" * 65_535 + b'"}',
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_malformed_raw_bytes_are_refused_and_leave_no_trace(raw: bytes, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        with pytest.raises(PayloadError):
            log.append(raw)
        assert segments(tmp_path) == []
        log.append({"a": 1})
        with pytest.raises(PayloadError):
            log.append(raw)
        assert log.append({"a": 2}).seq == 2
    assert attested(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [b'{"timestamp":"a","n":1e400}', b'{"timestamp":"\\ud800"}', b'{"x":{"timestamp":1},"n":' + b"9" * 400 + b"}"],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_check_payload_takes_or_refuses_never_breaks_the_chain(raw: bytes, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        with suppress(PayloadError):
            log.append(raw)
        log.append({"a": 1})
    assert verify_path(tmp_path, keyring=KEYRING).valid


def test_the_limit_of_payloads_is_that_of_the_log(tmp_path: Path) -> None:
    with open_log(tmp_path, max_payload=300) as log:
        with pytest.raises(PayloadError, match="300"):
            log.append(b'{"a":"' + b"x" * 300 + b'"}')
        log.append({"a": "x" * 1000})
    payload = split(lines_of(tmp_path)[0])[0]
    assert len(payload) <= 300
    assert b"[cut " in payload
    with open_log(tmp_path, max_payload=100_000) as log:
        log.append(b'{"a":"' + b"x" * 90_000 + b'"}')
    assert attested(tmp_path)


@pytest.mark.parametrize("limit", [0, 255, 2**20 + 1, 1000.0, True, None])
def test_a_limit_that_is_none_is_refused_before_anything_is_made(limit: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_log(tmp_path / "log", max_payload=limit)
    assert not (tmp_path / "log").exists()


# Keys.


def test_an_unkeyed_log_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="key"):
        SealedLog.open(tmp_path)  # type: ignore[call-arg]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "no key"),
        (K2, "k2 was given"),
        (HmacKey("k1", bytes(32)), "does not hold"),
        (Ed25519SigningKey("k1", bytes(32)), "does not hold"),
    ],
    ids=["no key", "another key", "another secret", "another algorithm"],
)
def test_a_keyed_stream_opens_under_its_key_only(key: SigningKey | None, message: str, tmp_path: Path) -> None:
    fill(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SealKeyError, match=message) as caught:
        open_log(tmp_path, key)
    assert caught.value.hint
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    fill(tmp_path)  # the lock was let go
    assert attested(tmp_path)


def test_an_unkeyed_stream_may_go_on_under_a_key(tmp_path: Path) -> None:
    fill(tmp_path, key=None)
    fill(tmp_path, key=K1)
    assert attested(tmp_path)
    with pytest.raises(SealKeyError, match="no key"):
        open_log(tmp_path, None)


@dataclass
class FlakyKey:
    """A key in a service that is away for the first `away` signatures."""

    away: int
    key_id: str = "k1"
    algorithm: Algorithm = Algorithm.HMAC_SHA256

    def sign(self, message: bytes) -> bytes:
        self.away -= 1
        if self.away >= 0:
            raise SealKeyError("the key service is away.", hint="Try again.")
        return K1.sign(message)

    def verifying_key(self) -> HmacKey:
        return K1


def test_an_append_that_could_not_be_signed_can_be_tried_again(tmp_path: Path) -> None:
    key = FlakyKey(2)
    with open_log(tmp_path, key) as log:
        for _ in range(2):
            with pytest.raises(SealKeyError, match="away"):
                log.append({"a": 1})
        assert log.append({"a": 1}).seq == 1
    assert attested(tmp_path)


def test_a_log_whose_only_append_could_not_be_signed_opens_again(tmp_path: Path) -> None:
    with open_log(tmp_path, FlakyKey(1)) as log, pytest.raises(SealKeyError):
        log.append({"a": 1})
    fill(tmp_path)
    assert attested(tmp_path)


def test_a_close_that_could_not_be_signed_attests_nothing_and_lets_the_stream_go(tmp_path: Path) -> None:
    key = FlakyKey(0)
    log = open_log(tmp_path, key)
    log.append({})
    key.away = 1
    with pytest.raises(SealKeyError, match="away"):
        log.close()
    assert not head_of(tmp_path).exists()
    assert verify_path(tmp_path, keyring=KEYRING).valid
    with pytest.raises(StoreError, match="not closed cleanly"):
        open_log(tmp_path)


# One writer.


def test_a_second_writer_in_this_process_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        with pytest.raises(StoreError, match=r"log: another writer .* Close it there"):
            open_log(tmp_path)
        log.append({})
    fill(tmp_path)
    assert attested(tmp_path)


def python(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Start an interpreter with `folder` and `key` ready."""
    prelude = (
        "import os, sys\n"
        "from fapilog_tamper import SealedLog, StoreError\n"
        "from fapilog_tamper.keys import HmacKey\n"
        "key = HmacKey('k1', bytes(range(32)))\n"
        "folder = sys.argv[1]\n"
    )
    command = [sys.executable, "-W", "error", "-c", prelude + code, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def test_a_second_writer_in_another_process_is_refused(tmp_path: Path) -> None:
    code = "with SealedLog.open(folder, key=key) as log: log.append({}); print('open', flush=True); sys.stdin.read()"
    with python(code, tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="another writer"):
            open_log(tmp_path)
        fill(tmp_path, stream="another")
        child.communicate("")
    assert child.returncode == 0
    fill(tmp_path)
    assert attested(tmp_path)


def test_a_lock_is_free_again_after_release_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = StreamLock(path)
    with pytest.raises(StoreError, match=r"^a: another writer"):
        StreamLock(path)
    lock.release()
    lock.release()
    StreamLock(path).release()
    assert path.exists()


def test_two_streams_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, stream="audit")
    with pytest.raises((StoreError, ConfigError)):
        fill(tmp_path, stream="Audit")


# Threads and processes.


def test_eight_threads_make_one_chain(tmp_path: Path) -> None:
    receipts: dict[int, list[Receipt]] = {}
    start = threading.Barrier(8)
    log = open_log(tmp_path)

    def run(thread: int) -> None:
        start.wait()
        receipts[thread] = [log.append({"thread": thread, "n": number}) for number in range(500)]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert attested(tmp_path)
    stored = {}
    for line in lines_of(tmp_path):
        payload, block = split(line)
        event = json.loads(payload)
        stored[event["thread"], event["n"]] = (block.seq, b64url_encode(block.chain_hash))
    assert len(stored) == 4000
    for thread, mine in receipts.items():
        assert [stored[thread, number] for number in range(500)] == [(one.seq, one.chain_hash) for one in mine]
        assert [one.seq for one in mine] == sorted(one.seq for one in mine)


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyError"], ids=["returns", "exits", "raises"])
def test_a_program_that_ends_without_closing_is_closed_by_atexit(end: str, tmp_path: Path) -> None:
    code = f"log = SealedLog.open(folder, key=key)\nfor n in range(3): log.append({{'n': n}})\n{end}"
    with python(code, tmp_path, stderr=subprocess.DEVNULL) as child:
        child.communicate()
    assert child.returncode == {"": 0, "sys.exit(3)": 3, "raise KeyError": 1}[end]
    assert attested(tmp_path)
    assert len(lines_of(tmp_path)) == 3


@posix
@pytest.mark.parametrize("acknowledged", [1, 50, 400])
@pytest.mark.parametrize("sessions", [0, 1])
def test_kill_9_loses_nothing_that_was_acknowledged(acknowledged: int, sessions: int, tmp_path: Path) -> None:
    for _ in range(sessions):
        fill(tmp_path)
    code = (
        "log = SealedLog.open(folder, key=key)\n"
        "while True:\n"
        "    receipt = log.append({'x': 'y' * 300})\n"
        "    print(receipt.seq, receipt.chain_hash, flush=True)\n"
    )
    with python(code, tmp_path) as child:
        assert child.stdout is not None
        acks = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        acks += child.stdout.read().splitlines(keepends=True)
    assert child.returncode == -signal.SIGKILL
    whole = [line for line in lines_of(tmp_path) if line.endswith(b"\n")]
    stored = {(block.seq, b64url_encode(block.chain_hash)) for block in (split(line)[1] for line in whole)}
    said = {(int(ack.split()[0]), ack.split()[1]) for ack in acks if ack.endswith("\n")}
    assert len(said) >= acknowledged
    assert said <= stored
    report = verify_path(tmp_path, keyring=KEYRING)
    assert report.outcome is not Outcome.TAMPERED, report.findings
    assert report.streams[0].entries == len(whole)
    assert not verify_path(tmp_path, keyring=KEYRING, require_end=True).valid
    with pytest.raises(StoreError, match="not closed cleanly") as caught:
        open_log(tmp_path)
    assert "open a stream of another name" in caught.value.hint
    fill(tmp_path, stream="another")


@posix
@pytest.mark.parametrize("act", ["sys.exit(0)", "log.append({}); os._exit(0)"], ids=["exits", "appends"])
def test_a_forked_child_does_not_touch_the_log(act: str, tmp_path: Path) -> None:
    code = (
        "log = SealedLog.open(folder, key=key)\n"
        "log.append({})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        f"    {act}\n"
        "os.waitpid(pid, 0)\n"
        "log.append({}); print('here', flush=True); sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with python(code, tmp_path, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        outcome = verify_path(tmp_path, keyring=KEYRING).outcome
        child.communicate("")
    assert outcome is Outcome.INTACT


# What a crash or somebody else left.


def test_a_segment_without_a_head_is_not_gone_on_with(tmp_path: Path) -> None:
    fill(tmp_path)
    head_of(tmp_path).unlink()
    with pytest.raises(StoreError, match=r"no head .*Verify the folder"):
        open_log(tmp_path)


def test_a_malformed_head_is_not_gone_on_with(tmp_path: Path) -> None:
    fill(tmp_path)
    path = head_of(tmp_path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StoreError, match=r"malformed.*Verify the folder"):
        open_log(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_segment_without_a_manifest_is_not_gone_on_with(compressed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    for _ in range(2):
        fill(tmp_path)
    path = segments(tmp_path)[0]
    (tmp_path / manifest_name(path.name)).unlink()
    if compressed:
        path.rename(path.with_name(path.name + ".gz"))
    with pytest.raises(StoreError, match=r"has no manifest.*Verify the folder"):
        open_log(tmp_path)


@pytest.mark.parametrize("raw", [None, b"", b"{}\n"])
def test_a_manifest_that_cannot_be_read_is_not_gone_on_with(raw: bytes | None, tmp_path: Path) -> None:
    fill(tmp_path)
    path = segments(tmp_path)[0]
    manifest = tmp_path / manifest_name(path.name)
    manifest.unlink()
    if raw is None:
        path.unlink()
    else:
        manifest.write_bytes(raw)
    with pytest.raises(StoreError, match="not closed cleanly"):
        open_log(tmp_path)


def test_an_older_head_is_not_gone_on_with(tmp_path: Path) -> None:
    """Rolled back to the first session, with the manifest of its segment exchanged for the later one."""
    fill(tmp_path)
    head = head_of(tmp_path).read_bytes()
    fill(tmp_path)
    first, second = (tmp_path / manifest_name(path.name) for path in segments(tmp_path))
    first.write_bytes(second.read_bytes())
    head_of(tmp_path).write_bytes(head)
    with pytest.raises(StoreError, match="do not end where its head does"):
        open_log(tmp_path)


def test_a_name_in_a_head_is_never_opened(tmp_path: Path) -> None:
    log, outside = tmp_path / "log", tmp_path / "outside"
    outside.mkdir()
    fill(log, key=None)
    path = segments(log)[0]
    manifest = log / manifest_name(path.name)
    manifest.rename(outside / manifest.name)
    path.unlink()
    head = parse_head(head_of(log).read_bytes())
    head_of(log).write_bytes(format_head(replace(head, segment=f"../outside/{path.name}")))
    with pytest.raises(StoreError):
        open_log(log, None)


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot be opened for writing.*Check the path"):
        open_log(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_log(tmp_path / "file" / "below")


def test_a_segment_that_cannot_be_made_is_a_store_error_and_can_be_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder, state_dir=tmp_path / "state")
    folder.rename(tmp_path / "away")
    with pytest.raises(StoreError, match=r"cannot be made.*Check the folder"):
        log.append({})
    (tmp_path / "away").rename(folder)
    assert log.append({}).seq == 1
    log.close()
    assert verify_path(folder, keyring=KEYRING).valid


# Names.


def test_a_name_is_not_used_again_where_its_manifest_is(tmp_path: Path) -> None:
    fill(tmp_path)
    path = segments(tmp_path)[0]
    data = path.read_bytes()
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
    path.unlink()
    fill(tmp_path)
    assert [one.name for one in segments(tmp_path)] == [path.name.replace(".jsonl", ".1.jsonl")]
    fill(tmp_path)
    assert [one.name for one in segments(tmp_path)] == [path.name.replace(".jsonl", f".{n}.jsonl") for n in (1, 2)]
    assert attested(tmp_path)


def test_a_file_that_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """Another stream's writer, or anybody, may take a name between two looks at the folder."""
    log = open_log(tmp_path)
    path = tmp_path / segment_name("log", datetime.now(UTC).date())
    path.write_bytes(b"")
    log.append({})
    log.close()
    assert path.read_bytes() == b""
    assert sorted(one.stat().st_size > 0 for one in segments(tmp_path)) == [False, True]


@pytest.mark.parametrize("stream", ["x.tmp", "x.torn-1", "x.manifest.json"])
def test_a_stream_whose_name_holds_an_ending_of_ours_verifies(stream: str, tmp_path: Path) -> None:
    fill(tmp_path, stream=stream)
    assert attested(tmp_path)


def test_the_head_may_lie_in_the_folder_of_the_log(tmp_path: Path) -> None:
    fill(tmp_path, stream="x.jsonl", state_dir=tmp_path)
    assert verify_path(tmp_path, keyring=KEYRING, head=tmp_path / "x.jsonl.chainstate").valid


def test_head_and_manifest_say_where_the_other_streams_stand(tmp_path: Path) -> None:
    last = fill(tmp_path, stream="a")[-1]
    fill(tmp_path, stream="b")
    said = (("a", 3, b64url_decode(last.chain_hash)),)
    assert json.loads(head_of(tmp_path, "b").read_bytes()).get("others") == format_claims(said)


# Failing disks. `broken` stands before a call of the operating system; only regular files and folders are concerned.


class Faulty:
    """Replaces functions of `os`; the n-th call that `hits` takes raises, before or after it has had its effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: list[str] = []

    def fail(self, name: str, at: int = 1, *, code: int = errno.EIO, effect: bool = False, kind: str = "any") -> None:
        real = getattr(os, name)
        left = at

        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            if not _is_kind(args[0], kind):
                return real(*args, **options)
            left -= 1
            if left:
                return real(*args, **options)
            if effect:
                real(*args, **options)
            raise OSError(code, os.strerror(code))

        self._patch.setattr(os, name, call)

    def write(self, room: int, *, chunk: int | None = None) -> None:
        """Let `room` bytes in, at most `chunk` at a time; what does not fit meets a full disk."""
        real = os.write

        def call(fd: int, data: Any) -> int:
            nonlocal room
            if not _is_kind(fd, "file"):
                return real(fd, data)
            size = min(len(data), room, chunk or len(data))
            if size == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room -= size
            return real(fd, bytes(data[:size]))

        self._patch.setattr(os, "write", call)

    def undo(self) -> None:
        self._patch.undo()


def _is_kind(target: Any, kind: str) -> bool:
    if kind == "any" or not isinstance(target, int):
        return True
    mode = os.fstat(target).st_mode
    return stat.S_ISDIR(mode) if kind == "folder" else stat.S_ISREG(mode)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    return Faulty(monkeypatch)


def test_a_write_that_takes_one_byte_at_a_time_gives_right_lines(tmp_path: Path, faulty: Faulty) -> None:
    faulty.write(10**9, chunk=1)
    fill(tmp_path)
    faulty.undo()
    assert attested(tmp_path)
    assert len(lines_of(tmp_path)) == 3


def test_write_all_offers_the_rest_again(tmp_path: Path, faulty: Faulty) -> None:
    faulty.write(10**9, chunk=7)
    with (tmp_path / "x").open("wb") as file:
        write_all(file.fileno(), bytes(range(256)))
        write_all(file.fileno(), b"")
    assert (tmp_path / "x").read_bytes() == bytes(range(256))


@pytest.mark.parametrize("sessions", [0, 1])
@pytest.mark.parametrize("entries", [0, 2])
@pytest.mark.parametrize("room", [0, 1, 100, -1])
def test_a_full_disk_is_no_tampering(room: int, entries: int, sessions: int, tmp_path: Path, faulty: Faulty) -> None:
    for _ in range(sessions):
        fill(tmp_path)
    log = open_log(tmp_path)
    for _ in range(entries):
        log.append({"a": 1})
    state = log.head
    size = len(seal(b'{"a":1}', state, K1)[0])
    faulty.write(room % size)
    with pytest.raises(StoreError, match="No space left") as caught:
        log.append({"a": 1})
    assert "was not written" in caught.value.message
    assert caught.value.hint
    faulty.undo()
    assert log.head == state
    refused(log, tmp_path)
    assert len(segments(tmp_path)[-1].read_bytes()) == entries * size + room % size or state.seq > 8
    report = verify_path(tmp_path, keyring=KEYRING)
    assert report.outcome is (Outcome.UNDETERMINED if room or not entries + sessions else Outcome.INTACT)
    assert sum(stream.entries for stream in report.streams) == 3 * sessions + entries
    if room or entries:
        with pytest.raises(StoreError, match="not closed cleanly"):
            open_log(tmp_path)
    else:
        fill(tmp_path)
    fill(tmp_path, stream="another")


def test_a_refusal_after_a_failed_write_has_a_hint(tmp_path: Path, faulty: Faulty) -> None:
    faulty.write(3)
    with open_log(tmp_path) as log:
        with pytest.raises(StoreError):
            log.append({})
        with pytest.raises(StoreError, match="No space left") as caught:
            log.append({})
    assert caught.value.hint


@pytest.mark.parametrize("then", ["append", "close"])
def test_an_interrupt_behind_the_write_does_not_break_the_chain(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    log.append({})
    real = os.write

    def write(fd: int, data: Any) -> int:
        # Where Python runs the handler of SIGINT: behind the call, before its result is used.
        real(fd, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(KeyboardInterrupt):
        log.append({})
    monkeypatch.undo()
    if then == "append":
        with suppress(StoreError):
            log.append({})
    log.close()
    assert verify_path(tmp_path, keyring=KEYRING).outcome is not Outcome.TAMPERED


FAULTS_AT_CLOSE = {
    "segment not synced": ("fdatasync", 1, "file"),
    "folder of the segment not synced": ("fsync", 1, "folder"),
    "manifest not synced": ("fsync", 1, "file"),
    "manifest not renamed": ("replace", 1, "any"),
    "folder of the manifest not synced": ("fsync", 2, "folder"),
    "head not synced": ("fsync", 2, "file"),
    "head not renamed": ("replace", 2, "any"),
    "folder of the head not synced": ("fsync", 3, "folder"),
}


@posix
@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="segments are synced otherwise here")
@pytest.mark.parametrize("effect", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("sessions", [0, 1])
@pytest.mark.parametrize("fault", FAULTS_AT_CLOSE)
def test_a_failure_at_closing_attests_nothing_behind_it(
    fault: str,
    sessions: int,
    effect: bool,  # noqa: FBT001 (a column)
    tmp_path: Path,
    faulty: Faulty,
) -> None:
    for _ in range(sessions):
        fill(tmp_path)
    old = head_of(tmp_path).read_bytes() if sessions else None
    log = open_log(tmp_path)
    log.append({"a": 1})
    name, at, kind = FAULTS_AT_CLOSE[fault]
    faulty.fail(name, at, kind=kind, effect=effect)
    with pytest.raises(StoreError, match=r"could not be closed: .* Verify the folder"):
        log.close()
    faulty.undo()
    log.close()
    place = list(FAULTS_AT_CLOSE).index(fault)
    renamed = int(effect)
    assert (tmp_path / manifest_name(segments(tmp_path)[-1].name)).exists() == (place + renamed > 3)
    head = head_of(tmp_path).read_bytes() if head_of(tmp_path).exists() else None
    assert (head != old) == (place + renamed > 6)
    assert list(tmp_path.rglob("*.tmp")) == []
    assert verify_path(tmp_path, keyring=KEYRING).valid


@posix
@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="segments are synced otherwise here")
@pytest.mark.parametrize("sessions", [0, 1])
@pytest.mark.parametrize("fault", FAULTS_AT_CLOSE)
def test_after_a_failed_close_the_stream_is_refused_or_goes_on_rightly(
    fault: str, sessions: int, tmp_path: Path, faulty: Faulty
) -> None:
    for _ in range(sessions):
        fill(tmp_path)
    log = open_log(tmp_path)
    log.append({"a": 1})
    name, at, kind = FAULTS_AT_CLOSE[fault]
    faulty.fail(name, at, kind=kind)
    with pytest.raises(StoreError):
        log.close()
    faulty.undo()
    with suppress(StoreError):
        fill(tmp_path)
    assert verify_path(tmp_path, keyring=KEYRING).valid


@posix
@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="segments are synced otherwise here")
def test_what_is_attested_was_synced_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 7 of the design: segment, its folder, then the manifest and its folder, then the head and its folder."""
    log = open_log(tmp_path)
    log.append({"a": 1})
    calls: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(target: Any, *rest: Any) -> Any:
            path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(target)
            calls.append((name, path.name))
            return real(target, *rest)

        monkeypatch.setattr(os, name, call)

    for name in ("fdatasync", "fsync", "replace"):
        watch(name)
    log.close()
    monkeypatch.undo()
    segment = segments(tmp_path)[0].name
    manifest, head = manifest_name(segment) + ".tmp", "log.chainstate.tmp"
    assert calls == [
        ("fdatasync", segment),
        ("fsync", tmp_path.name),
        ("fsync", manifest),
        ("replace", manifest),
        ("fsync", tmp_path.name),
        ("fsync", head),
        ("replace", head),
        ("fsync", STATE_FOLDER),
    ]


# Replacing a file.


@posix
@pytest.mark.parametrize("existing", [True, False], ids=["old bytes", "no file"])
@pytest.mark.parametrize(
    ("name", "at", "effect", "is_new"),
    [
        ("open", 1, False, False),
        ("write", 1, False, False),
        ("write", 1, True, False),
        ("fsync", 1, False, False),
        ("fsync", 1, True, False),
        ("close", 1, True, False),
        ("replace", 1, False, False),
        ("replace", 1, True, True),
        ("open", 2, False, True),
        ("fsync", 2, False, True),
        ("fsync", 2, True, True),
        ("close", 2, True, True),
    ],
)
def test_replacing_a_file_leaves_the_old_or_the_new_bytes_whole(
    name: str,
    at: int,
    effect: bool,  # noqa: FBT001 (a column)
    is_new: bool,  # noqa: FBT001 (a column)
    existing: bool,  # noqa: FBT001 (a column)
    tmp_path: Path,
    faulty: Faulty,
) -> None:
    path = tmp_path / "head"
    if existing:
        path.write_bytes(b"old")
    faulty.fail(name, at, effect=effect)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        replace_file(path, b"new bytes")
    faulty.undo()
    expected = b"new bytes" if is_new else b"old" if existing else None
    assert (path.read_bytes() if path.exists() else None) == expected
    assert not path.with_name("head.tmp").exists()
    replace_file(path, b"again")
    assert path.read_bytes() == b"again"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


@pytest.mark.parametrize("room", [0, 1, 8])
def test_replacing_a_file_on_a_full_disk_leaves_the_old_bytes(room: int, tmp_path: Path, faulty: Faulty) -> None:
    path = tmp_path / "head"
    path.write_bytes(b"old")
    faulty.write(room)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new bytes")
    faulty.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


def test_what_a_crash_left_of_a_replacement_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "head.tmp").write_bytes(b"a longer rest of something older")
    replace_file(tmp_path / "head", b"new")
    assert (tmp_path / "head").read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["head"]


@posix
def test_a_replaced_file_has_the_mode_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        replace_file(tmp_path / "head", b"")
        replace_file(tmp_path / "key", b"", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "head").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize(
    "levels",
    [1, 3],
)
def test_every_folder_that_is_made_is_durable(levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.add(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path.joinpath(*"abc"[:levels])
    make_folder(folder)
    make_folder(folder)
    assert folder.is_dir()
    made = {folder, *folder.parents} - {tmp_path, *tmp_path.parents}
    assert {one.parent for one in made} <= synced
