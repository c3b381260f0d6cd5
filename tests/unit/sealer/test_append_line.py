"""`SealedLog.append_line`: the line as it stands in the log, with a mac of its own, for somewhere else."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import ED, K1, KEYRING, blocks_of, faulty, lines_of, memory, open_log, verified

from fapilog_tamper import ConfigError, PayloadError, StoreError, Verifier
from fapilog_tamper.entry import split

if TYPE_CHECKING:
    from fapilog_tamper.keys import SigningKey

keyed = pytest.mark.parametrize("key", [K1, ED], ids=["hmac", "ed25519"])
VERIFIER = Verifier(KEYRING)


@keyed
@pytest.mark.parametrize("inline", [True, False])
async def test_it_is_the_stored_line_byte_for_byte_and_verifies_alone(key: SigningKey, inline: bool) -> None:  # noqa: FBT001 (a column)
    folder = memory()
    with open_log(folder, key, inline=inline) as log:
        lines = [await log.append_line({"n": n, "text": "é"}) for n in range(20)]
    assert lines == lines_of(folder)
    assert all(VERIFIER.verify_record(line) for line in lines)
    assert all(VERIFIER.verify_record(json.loads(line)) for line in lines)
    verified(folder, key)


@keyed
@pytest.mark.parametrize("inline", [True, False])
async def test_fifty_coroutines_get_fifty_lines(key: SigningKey, inline: bool) -> None:  # noqa: FBT001 (a column)
    folder = memory()
    with open_log(folder, key, inline=inline) as log:

        async def work(name: int) -> list[bytes]:
            return [await log.append_line({"name": name, "n": n}) for n in range(4)]

        found = await asyncio.gather(*(work(name) for name in range(50)))
    for name, lines in enumerate(found):
        events = [json.loads(line) for line in lines]
        assert [(event["name"], event["n"]) for event in events] == [(name, n) for n in range(4)]
        seqs = [event["integrity"]["seq"] for event in events]
        assert seqs == sorted(seqs)
    lines = sorted((line for lines in found for line in lines), key=lambda line: split(line)[1].seq)
    # A signing key may put a seal of its own behind what was written without a mac.
    assert [line for line in lines_of(folder) if b'"sealed_log"' not in line] == lines
    assert all(VERIFIER.verify_record(line) for line in lines)
    verified(folder, key)


async def test_beside_it_entries_of_a_signing_key_need_no_mac_of_their_own() -> None:
    """What makes the difference: of entries that are written together, only the last is signed."""
    folder = faulty()
    with open_log(folder, ED, inline=False, durability="accepted") as log:
        with folder.faults.hold("write"):
            for _ in range(5):
                await log.append_async({})
            line = await log.append_line({})
            for _ in range(5):
                await log.append_async({})
        log.flush()
    macs = {block.seq: block.mac is not None for block in blocks_of(folder)}
    assert VERIFIER.verify_record(line)
    assert macs[split(line)[1].seq]
    assert sum(macs.values()) < 11
    verified(folder, ED)


async def test_of_an_unkeyed_log_it_has_no_mac() -> None:
    folder = memory()
    with open_log(folder, None) as log:
        line = await log.append_line({"n": 1})
    assert [line] == lines_of(folder)
    assert split(line)[1].mac is None
    assert Verifier().verify_record(line)
    assert not VERIFIER.verify_record(line)


async def test_bytes_are_stored_and_returned_as_they_are() -> None:
    folder = memory()
    with open_log(folder) as log:
        line = await log.append_line(b'{"b": 1, "a": 2}')
        with pytest.raises(PayloadError):
            await log.append_line(b"[]")
    assert line.startswith(b'{"b": 1, "a": 2,"integrity":')
    assert [line] == lines_of(folder)


@keyed
async def test_synced_it_is_on_the_disk(key: SigningKey) -> None:
    folder = faulty()
    with open_log(folder, key) as log:
        await log.append_line({})
        assert folder.faults.calls["sync"] == 0
        line = await log.append_line({}, durability="synced")
        assert folder.faults.calls["sync"] > 0
        assert log.stats.synced == 2
    assert lines_of(folder)[1] == line


async def test_synced_as_the_log_promises() -> None:
    folder = faulty()
    with open_log(folder, durability="synced") as log:
        for count in range(1, 4):
            await log.append_line({})
            assert log.stats.synced == count


@pytest.mark.parametrize("inline", [True, False])
async def test_a_promise_that_is_not_kept_in_time_names_the_entry(inline: bool) -> None:  # noqa: FBT001 (a column)
    folder = faulty()
    with open_log(folder, inline=inline) as log:
        folder.faults.fail("sync", times=None)
        with pytest.warns(RuntimeWarning), pytest.raises(StoreError, match="in time") as caught:
            await log.append_line({"n": 1}, durability="synced", timeout=0.05)
        assert caught.value.seqs == (1,)
        folder.faults.clear()
        log.flush(20)
    assert len(lines_of(folder)) == 1
    verified(folder)


@pytest.mark.parametrize("options", [{"timeout": -1}, {"durability": "fsync"}])
async def test_what_cannot_be_is_refused_before_anything_is_accepted(options: dict[str, Any]) -> None:
    with open_log(memory()) as log:
        with pytest.raises(ConfigError):
            await log.append_line({}, **options)
        assert log.head.seq == 0


async def test_a_closed_log_gives_no_line() -> None:
    log = open_log(memory())
    log.close()
    with pytest.raises(StoreError, match="the log is closed"):
        await log.append_line({})
