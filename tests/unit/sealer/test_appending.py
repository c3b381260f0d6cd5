"""What an append puts on the disk, and what it refuses."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    ED,
    K1,
    blocks_of,
    events_of,
    faulty,
    fill,
    head_of,
    lines_of,
    memory,
    open_log,
    segments,
    verified,
)

from fapilog_tamper import FormatError, PayloadError, Receipt, SealKeyError, StoreError
from fapilog_tamper.encoding import b64url_decode, b64url_encode
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.keys import Algorithm, HmacKey, SigningKey
from fapilog_tamper.testing import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("key", [K1, ED, None], ids=["hmac", "ed25519", "unkeyed"])
def test_a_closed_log_is_attested_to_its_end(key: SigningKey | None, tmp_path: Path) -> None:
    for sessions in (1, 2):
        fill(tmp_path, key=key)
        verified(tmp_path, key)
        assert [event["n"] for event in events_of(tmp_path)] == [0, 1, 2] * sessions


def test_the_file_holds_what_seal_writes() -> None:
    folder = memory()
    events: list[dict[str, object]] = [{"b": 1, "a": "\u00e9"}, {}, {"integrity": 1, "sealed_log": 2}]
    with open_log(folder, stream="audit") as log:
        receipts = [log.append(event) for event in events]
    state = ChainState("audit")
    payloads = [b'{"a":"\xc3\xa9","b":1}', b"{}", b'{"integrity_":1,"sealed_log_":2}']
    for line, receipt, payload in zip(lines_of(folder, "audit"), receipts, payloads, strict=True):
        expected, state = seal(payload, state, K1)
        assert line == expected
        assert receipt == Receipt("audit", state.seq, state.chain_hash)
    assert log.head == state
    verified(folder)


def test_a_receipt_names_stream_seq_and_chain_hash_as_the_entry_has_them() -> None:
    folder = memory()
    [receipt] = fill(folder, 1)
    block = json.loads(lines_of(folder)[0])["integrity"]
    assert (receipt.stream, receipt.seq, receipt.chain_hash) == ("log", 1, block["chain_hash"])
    assert receipt.chain_hash == b64url_encode(receipt.chain)
    assert repr(receipt) == f"Receipt(stream='log', seq=1, chain_hash={receipt.chain_hash!r})"


def test_an_entry_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for number in range(1, 4):
            receipt = log.append({"n": number})
            last = split(lines_of(tmp_path)[-1])[1]
            assert (last.seq, last.chain_hash, receipt.seq) == (number, b64url_decode(receipt.chain_hash), number)
            assert log.head == ChainState("log", number, last.chain_hash)


def test_a_stream_goes_on_where_it_was_closed() -> None:
    folder = memory()
    first = fill(folder)
    with open_log(folder) as log:
        assert log.head == ChainState("log", 3, first[-1].chain)
        assert log.append({}).seq == 4
    assert [block.seq for block in blocks_of(folder)] == [1, 2, 3, 4]
    head = head_of(folder)
    assert (head.seq, head.first_seq, head.origin) == (4, 1, first[0].chain)
    assert (head.segment, head.offset) == (segments(folder)[1], folder.size(segments(folder)[1]))
    verified(folder)


@pytest.mark.parametrize("stream", ["pr\u00fcf", "a/b", "..", ".x", "x.jsonl", "a_2026-11-20", "x.tmp", "s" * 180])
def test_any_stream_name_makes_files_that_verify(stream: str, tmp_path: Path) -> None:
    for _ in range(2):
        fill(tmp_path / "log", stream=stream)
    verified(tmp_path / "log")
    assert {block.stream for block in blocks_of(tmp_path / "log", stream)} == {stream}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {tmp_path / "log", tmp_path / "log" / ".fapilog"}
    assert len(files) == 6


@pytest.mark.parametrize("stream", ["", "a b", "a%b", "s" * 181, "e\u0301"])
def test_a_name_that_is_none_is_refused_before_anything_is_made(stream: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        open_log(tmp_path / "log", stream=stream)
    assert caught.value.hint
    assert not (tmp_path / "log").exists()


def test_streams_in_one_folder_do_not_touch_each_other() -> None:
    folder = memory()
    with open_log(folder, stream="a") as a, open_log(folder, stream="a_2026-11-20") as b:
        for number in range(5):
            assert a.append({}).seq == b.append({}).seq == number + 1
    fill(folder, stream="a")
    assert {one.stream: one.entries for one in verified(folder).streams} == {"a": 8, "a_2026-11-20": 5}


# Payloads.

GOOD_RAW = [b"{}", b'{"b":1,"a":2}', b'{ "a" : 1.0 , "e":"\\u00e9" }', '{"\u00e9":"\u2028"}'.encode()]


def test_good_raw_bytes_are_stored_as_they_are() -> None:
    folder = memory()
    with open_log(folder) as log:
        for raw in GOOD_RAW:
            log.append(raw)
    assert [split(line)[0] for line in lines_of(folder)] == GOOD_RAW
    verified(folder)


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
def test_malformed_raw_bytes_are_refused_and_leave_no_trace(raw: bytes) -> None:
    folder = memory()
    with open_log(folder) as log:
        with pytest.raises(PayloadError):
            log.append(raw)
        assert segments(folder) == []
        log.append({"a": 1})
        with pytest.raises(PayloadError):
            log.append(raw)
        assert log.append({"a": 2}).seq == 2
    verified(folder)


async def test_raw_bytes_are_judged_for_coroutines_too() -> None:
    folder = memory()
    async with open_log(folder) as log:
        with pytest.raises(PayloadError):
            await log.append_async(b'{"a":1,"a":2}')
        await log.append_async(GOOD_RAW[2])
    assert [split(line)[0] for line in lines_of(folder)] == [GOOD_RAW[2]]


@pytest.mark.parametrize(
    "raw",
    [b'{"timestamp":"a","n":1e400}', b'{"timestamp":"\\ud800"}', b'{"x":{"timestamp":1},"n":' + b"9" * 400 + b"}"],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_check_payload_takes_or_refuses_never_breaks_the_chain(raw: bytes) -> None:
    folder = memory()
    with open_log(folder) as log:
        with suppress(PayloadError):
            log.append(raw)
        log.append({"a": 1})
    verified(folder)


# Keys that fail.


@dataclass
class FlakyKey:
    """A key that is away for the first `away` signatures."""

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


def test_an_append_that_could_not_be_signed_was_not_accepted_and_can_be_tried_again() -> None:
    folder, key = memory(), FlakyKey(2)
    with open_log(folder, key) as log:
        for _ in range(2):
            with pytest.raises(SealKeyError, match="away"):
                log.append({"a": 1})
        assert log.head.seq == 0
        assert log.append({"a": 1}).seq == 1
    verified(folder)


def test_a_log_whose_only_append_could_not_be_signed_opens_again() -> None:
    folder = memory()
    with open_log(folder, FlakyKey(1)) as log, pytest.raises(SealKeyError):
        log.append({"a": 1})
    fill(folder)
    verified(folder)


def test_a_close_that_could_not_be_signed_lets_the_stream_go() -> None:
    folder, key = memory(), FlakyKey(0)
    log = open_log(folder, key, timeout=0.2)
    log.append({})
    key.away = 1 << 40
    with pytest.raises((SealKeyError, StoreError)):
        log.close()
    with open_log(folder) as again:
        assert again.stream == "log"
        again.append({})
    verified(folder)
    assert len(events_of(folder)) == 2


# Threads, interrupts.


@pytest.mark.parametrize("key", [K1, ED], ids=["hmac", "ed25519"])
def test_eight_threads_make_one_chain(key: SigningKey, tmp_path: Path) -> None:
    receipts: dict[int, list[Receipt]] = {}
    start = threading.Barrier(8)
    with open_log(tmp_path, key) as log:

        def work(thread: int) -> None:
            start.wait()
            receipts[thread] = [log.append({"thread": thread, "n": number}) for number in range(200)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    verified(tmp_path, key)
    stored = {}
    for line in lines_of(tmp_path):
        payload, block = split(line)
        event = json.loads(payload)
        if "thread" in event:
            stored[event["thread"], event["n"]] = (block.seq, block.chain_hash)
    assert len(stored) == 1600
    for thread, mine in receipts.items():
        assert [stored[thread, number] for number in range(200)] == [(one.seq, one.chain) for one in mine]
        assert [one.seq for one in mine] == sorted(one.seq for one in mine)


class Interrupted(MemoryStore):
    """The next write meets Ctrl-C: behind the call, before its result is used, or before the call."""

    armed = ""

    def write(self, handle: int, data: bytes, offset: int) -> int:
        armed, self.armed = self.armed, ""
        if armed == "before":
            raise KeyboardInterrupt
        taken = super().write(handle, data, offset)
        if armed == "behind":
            raise KeyboardInterrupt
        return taken


@pytest.mark.parametrize("then", ["append", "close"])
@pytest.mark.parametrize("when", ["before", "behind"])
def test_ctrl_c_in_a_write_neither_breaks_the_chain_nor_gives_a_seq_twice(when: str, then: str) -> None:
    folder = Interrupted(path=("log",))
    log = open_log(folder)
    log.append({"n": 0})
    folder.armed = when
    with pytest.raises(KeyboardInterrupt):
        log.append({"n": 1})
    if then == "append":
        assert log.append({"n": 2}).seq in (2, 3)
    log.close()
    verified(folder)
    numbers = [event["n"] for event in events_of(folder)]
    assert numbers in ([0, 1, 2], [0, 2], [0, 1], [0])
    assert (2 in numbers) == (then == "append")


# What a log tells of itself.


def test_stats_count_what_was_accepted_written_and_synced() -> None:
    folder = memory()
    log = open_log(folder)
    log.append({})
    log.append({}, durability="synced")
    stats = log.stats
    assert (stats.accepted, stats.written, stats.synced, stats.pending, stats.pending_bytes) == (2, 2, 2, 0, 0)
    log.close()
    stats = log.stats
    assert (stats.accepted, stats.synced, stats.segments, stats.refused, stats.failures) == (2, 2, 1, 0, 0)
    assert stats.heads >= 1


def test_stats_begin_anew_with_each_opening() -> None:
    folder = memory()
    fill(folder)
    with open_log(folder) as log:
        assert log.stats.accepted == 0
        log.append({})
        assert log.stats.accepted == 1


def test_health_says_what_does_not_work_and_that_it_works_again() -> None:
    folder = faulty()
    with open_log(folder, timeout=0.1) as log:
        assert log.health()
        folder.faults.fail("write", error=28, times=None)
        with pytest.raises(StoreError):
            log.append({})
        health = log.health()
        assert not health
        assert "No space left" in (health.reason or "")
        folder.faults.clear()
        log.flush(20)
        assert log.health()
    verified(folder)


def test_the_first_failure_of_an_episode_is_a_warning() -> None:
    folder = faulty()
    with open_log(folder) as log:
        folder.faults.fail("write", times=2)
        with pytest.warns(RuntimeWarning, match="write fail") as caught:
            log.append({})
        assert len(caught) == 1
        assert (log.stats.failures, log.stats.episodes) == (2, 1)
    verified(folder)


def any_mapping() -> list[Any]:
    from collections import UserDict
    from types import MappingProxyType

    return [{"a": 1}, UserDict({"a": 1}), MappingProxyType({"a": 1})]


def test_any_mapping_is_an_event() -> None:
    folder = memory()
    with open_log(folder) as log:
        for event in any_mapping():
            log.append(event)
    assert payload_bytes(folder) == [b'{"a":1}'] * 3
    verified(folder)


def payload_bytes(folder: Any) -> list[bytes]:
    return [split(line)[0] for line in lines_of(folder)]
