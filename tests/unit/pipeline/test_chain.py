"""The chain of an enricher: it goes on where it ended well, begins anew everywhere else, and gives no seq twice."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

import pytest

from fapilog_tamper import Keyring, Verifier
from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.head import parse_head
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.pipeline.chain import Chain
from fapilog_tamper.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

K1 = HmacKey("k1", bytes(range(32)))
STATE = "events.chain"


def make(folder: Path, **options: object) -> Chain:
    return Chain(folder, "events", options.pop("key", K1), clock=options.pop("clock", FakeClock()), **options)  # type: ignore[arg-type]


def seal(chain: Chain, count: int = 3) -> list[bytes]:
    return [chain.seal(b'{"n":%d}' % number) for number in range(count)]


def places(lines: list[bytes]) -> list[tuple[str, int]]:
    return [(block.stream, block.seq) for block in map(block_of, lines)]


def block_of(line: bytes) -> Integrity:
    return split(line)[1]


def run(folder: Path, count: int = 3, **options: object) -> list[bytes]:
    """Seal in a process that ends well."""
    chain = make(folder, **options)
    lines = seal(chain, count)
    chain.close()
    return lines


def test_a_chain_goes_on_where_it_ended_well(tmp_path):
    lines = run(tmp_path) + run(tmp_path) + run(tmp_path)
    assert len({stream for stream, _ in places(lines)}) == 1
    assert [seq for _, seq in places(lines)] == list(range(1, 10))
    assert Verifier(Keyring([K1])).verify_chain(lines).valid


def test_a_record_behind_the_end_goes_on_as_well(tmp_path):
    chain = make(tmp_path)
    lines = seal(chain)
    chain.close()
    lines += seal(chain)
    chain.close()
    chain.close()
    assert Verifier(Keyring([K1])).verify_chain(lines + run(tmp_path)).valid


def test_the_state_is_taken_off_the_disk_before_anything_is_sealed_behind_it(tmp_path):
    run(tmp_path)
    chain = make(tmp_path)
    assert (tmp_path / STATE).exists()
    seal(chain, 1)
    assert not (tmp_path / STATE).exists()
    chain.close()
    assert parse_head((tmp_path / STATE).read_bytes()).seq == 4


def test_a_chain_that_did_not_end_is_not_gone_on_with(tmp_path):
    """What a crash leaves: the lock is free, and there is no state."""
    crashed = make(tmp_path)
    lines = seal(crashed)
    crashed.let_go()
    other = run(tmp_path)
    assert {stream for stream, _ in places(lines)}.isdisjoint(stream for stream, _ in places(other))
    assert [seq for _, seq in places(other)] == [1, 2, 3]


def test_two_at_once_have_a_chain_each_and_both_go_on(tmp_path):
    one, two = make(tmp_path), make(tmp_path)
    lines = seal(one) + seal(two)
    one.close()
    two.close()
    one, two = make(tmp_path), make(tmp_path)
    lines += seal(one) + seal(two)
    one.close()
    two.close()
    assert len(set(places(lines))) == 12
    assert len({stream for stream, _ in places(lines)}) == 2
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".chain"} == {STATE, "events.w2.chain"}


@pytest.mark.parametrize("content", [b"", b"junk", b"{}\n", b"\x00" * 300, b"x" * 5_000_000], ids=len)
def test_a_damaged_state_is_said_and_a_new_chain_begins(tmp_path, content):
    first = run(tmp_path)
    (tmp_path / STATE).write_bytes(content)
    with pytest.warns(RuntimeWarning, match="the state of its chain is damaged"):
        second = run(tmp_path)
    assert [seq for _, seq in places(second)] == [1, 2, 3]
    assert not set(places(first)) & set(places(second))


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_changed_state_is_never_believed(tmp_path, at):
    first = run(tmp_path)
    content = bytearray((tmp_path / STATE).read_bytes())
    content[int(len(content) * at)] ^= 1
    (tmp_path / STATE).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        second = run(tmp_path)
    assert [seq for _, seq in places(second)] == [1, 2, 3]
    assert not set(places(first)) & set(places(second))


def test_a_state_under_another_key_of_that_name_is_said_and_a_new_chain_begins(tmp_path):
    first = run(tmp_path, key=HmacKey("k1", bytes(32)))
    with pytest.warns(RuntimeWarning, match="is not of this key"):
        second = run(tmp_path)
    assert not set(places(first)) & set(places(second))


def test_another_key_begins_a_chain_of_its_own_and_is_no_reason_to_warn(tmp_path):
    first = run(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        second = run(tmp_path, key=HmacKey("k2", bytes(32)))
    assert said == []
    assert [seq for _, seq in places(second)] == [1, 2, 3]
    assert not set(places(first)) & set(places(second))


def test_a_state_of_another_stream_is_not_taken(tmp_path):
    Chain(tmp_path, "other", K1, clock=FakeClock()).seal(b"{}")
    other = Chain(tmp_path, "orders", K1, clock=FakeClock())
    other.seal(b"{}")
    other.close()
    (tmp_path / "orders.chain").rename(tmp_path / STATE)
    assert {stream.partition(".")[0] for stream, _ in places(run(tmp_path))} == {"events"}


def test_a_state_that_is_gone_begins_a_new_chain(tmp_path):
    first = run(tmp_path)
    (tmp_path / STATE).unlink()
    assert not set(places(first)) & set(places(run(tmp_path)))


def test_a_restart_is_a_chain_of_its_own_each_time(tmp_path):
    lines = [line for _ in range(3) for line in run(tmp_path, restart=True)]
    assert len({stream for stream, _ in places(lines)}) == 3


def test_where_nothing_can_be_kept_each_start_is_a_chain_of_its_own(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        first = run(tmp_path / "file")
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        second = run(tmp_path / "file")
    assert not set(places(first)) & set(places(second))


def test_a_state_that_cannot_be_stored_is_said(tmp_path):
    folder = tmp_path / "state"
    chain = make(folder)
    seal(chain)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.warns(RuntimeWarning, match="is not stored"):
        chain.close()


def test_any_thread_may_seal(tmp_path):
    chain = make(tmp_path)
    lines: list[bytes] = []

    def work() -> None:
        for _ in range(200):
            lines.append(chain.seal(b"{}"))  # noqa: PERF401 (one append at a time, beside others)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(lines, key=lambda line: block_of(line).seq)
    assert Verifier(Keyring([K1])).verify_chain(ordered).valid
    assert len(ordered) == 1600


def test_a_closed_chain_that_sealed_nothing_keeps_the_state(tmp_path):
    first = run(tmp_path)
    make(tmp_path).close()
    assert Verifier(Keyring([K1])).verify_chain(first + run(tmp_path)).valid
