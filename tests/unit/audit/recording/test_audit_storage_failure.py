"""What becomes of an event that cannot be stored: `contain`, `raise` and `block`, from coroutines and from threads."""

# ruff: noqa: PT031 (warnings come from anywhere in these blocks, and from threads)

from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.audit import SOON, TYPE, comes_true, disk, ids, messages, require_intact, require_sum

from fapilog_audit import AuditTrail, CompliancePolicy
from fapilog_audit.errors import StorageError
from fapilog_tamper.errors import HintedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOWS = pytest.mark.parametrize("how", ["log", "log_event"])


async def say(trail: AuditTrail, how: str, message: str, **fields: Any) -> str:
    if how == "log":
        return await asyncio.to_thread(lambda: trail.log(TYPE, message, **fields))
    return await trail.log_event(TYPE, message, **fields)


def policy(on_failure: Any, **fields: Any) -> CompliancePolicy:
    return CompliancePolicy(on_storage_failure=on_failure, **fields)


def a_file(folder: Path) -> tuple[Path, Callable[[], object]]:
    """A storage path where a file lies."""
    path = folder / "taken"
    path.write_text("x")
    return path, path.unlink


def below_a_file(folder: Path) -> tuple[Path, Callable[[], object]]:
    path, clear = a_file(folder)
    return path / "logs", clear


def a_dangling_link(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = folder / "link"
    path.symlink_to(folder / "nowhere" / "deeper")
    return path, path.unlink


PLACES = pytest.mark.parametrize("place", [a_file, below_a_file, a_dangling_link])


@HOWS
@PLACES
async def test_contain_keeps_an_event_until_the_folder_can_be_used(tmp_path, how, place):
    path, clear = place(tmp_path)
    with pytest.warns(RuntimeWarning) as warned:
        trail = AuditTrail(storage_path=path)
        await trail.start()
        said = [await say(trail, how, f"m{number}") for number in range(3)]
        assert all(said)
        assert await trail.drain(0.05) == said
    assert sum("kept to be stored later" in str(one.message) for one in warned) == 1
    assert not trail.health()
    assert trail.health().reason
    await require_sum(trail, accepted=3, pending=3)
    clear()
    assert await trail.drain(SOON) == []
    await require_sum(trail, accepted=3, stored=3)
    assert trail.health()
    said.append(await say(trail, how, "m3"))
    assert await trail.stop() == []
    assert ids(path) == said
    require_intact(path)


@HOWS
async def test_contain_stores_in_the_background_without_being_asked(tmp_path, how):
    path, clear = a_file(tmp_path)
    with pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=path)
        said = [await say(trail, how, f"m{number}") for number in range(3)]
    clear()
    assert await asyncio.to_thread(comes_true, lambda: path.is_dir() and ids(path) == said)
    assert await asyncio.to_thread(comes_true, trail.health)
    assert await trail.stop() == []


@HOWS
async def test_contain_returns_what_was_never_stored_when_it_stops(tmp_path, how):
    path, _ = a_file(tmp_path)
    with pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=path)
        said = [await say(trail, how, f"m{number}") for number in range(3)]
        assert await trail.stop(0.05) == said
    await require_sum(trail, accepted=3, failed=3)


@HOWS
@PLACES
async def test_raise_refuses_an_event_that_is_not_stored(tmp_path, how, place):
    path, clear = place(tmp_path)
    trail = AuditTrail(policy("raise"), path)
    with pytest.raises(HintedError):
        await say(trail, how, "m0")
    clear()
    await asyncio.to_thread(comes_true, lambda: _starts(trail))
    said = await say(trail, how, "m1")
    assert await trail.stop() == []
    assert ids(path) == [said]


def _starts(trail: AuditTrail) -> bool:
    try:
        trail.start_now()
    except HintedError:
        return False
    return True


@HOWS
async def test_raise_says_which_event_and_that_it_is_pending(tmp_path, how):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(policy("raise"), tmp_path / "logs")
        first = await say(trail, how, "m0")
        broken.fail("write")
        with pytest.raises(StorageError) as caught:
            await say(trail, how, "m1")
        assert caught.value.hint
        assert caught.value.event_id in str(caught.value)
        await require_sum(trail, accepted=2, stored=1, failed=0 if caught.value.pending else 1)
        broken.mend()
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    expected = [first, caught.value.event_id] if caught.value.pending else [first]
    assert ids(tmp_path / "logs") == expected
    require_intact(tmp_path / "logs")


@HOWS
@pytest.mark.parametrize("place", [a_file, below_a_file])
async def test_block_returns_only_when_the_event_is_stored(tmp_path, how, place):
    path, clear = place(tmp_path)
    clear()
    trail = AuditTrail(policy("block"), path)
    # It starts; then the folder is in the way.
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        await trail.start()
        broken.fail("write", "open", "mkdir", "replace")
        waiting = asyncio.create_task(say(trail, how, "m0"))
        assert await asyncio.to_thread(comes_true, lambda: trail.health().reason)
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        broken.mend()
        said = await asyncio.wait_for(waiting, SOON)
        assert ids(path) == [said]
    assert await trail.stop() == []


@HOWS
async def test_block_counts_who_waits_as_pending(tmp_path, how):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(policy("block"), tmp_path / "logs")
        await trail.start()
        broken.fail("write")
        waiting = asyncio.create_task(say(trail, how, "m0"))
        try:
            assert await asyncio.to_thread(comes_true, lambda: trail._recorder.pending)
            await require_sum(trail, pending=1)
        finally:
            broken.mend()
            await asyncio.wait_for(waiting, SOON)
        await require_sum(trail, accepted=1, stored=1, pending=0)
        await trail.stop()


@HOWS
@pytest.mark.parametrize("call", ["write", "sync"])
async def test_contain_keeps_an_event_that_an_open_disk_refuses(tmp_path, how, call):
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=tmp_path / "logs", durability="synced")
        said = [await say(trail, how, "m0")]
        broken.fail(call, error=errno.EIO)
        said += [await say(trail, how, f"m{number}") for number in (1, 2, 3)]
        await require_sum(trail, accepted=4, stored=1, pending=3)
        assert await trail.drain(0.05) == said[1:]
        assert not trail.health()
        broken.mend()
        assert await trail.drain(SOON) == []
        await require_sum(trail, accepted=4, stored=4)
        assert await trail.stop() == []
    assert ids(tmp_path / "logs") == said
    require_intact(tmp_path / "logs")


async def test_the_order_of_a_caller_is_kept_through_failures(tmp_path):
    """Whatever fails when: the chain has what one caller said in the order in which he said it."""
    with disk(tmp_path) as broken, pytest.warns(RuntimeWarning):
        trail = AuditTrail(storage_path=tmp_path / "logs", timeout=0.05)

        async def speak(who: int) -> None:
            for number in range(60):
                await trail.log_event(TYPE, f"{who}:{number}")
                await asyncio.sleep(0.001)

        def torment() -> None:
            for number in range(12):
                (broken.fail if number % 2 else broken.hold)("write")
                comes_true(lambda: False, 0.02)
                broken.mend()
                comes_true(lambda: False, 0.01)

        threads = [threading.Thread(target=lambda who=who: [trail.log(TYPE, f"{who}:{n}") for n in range(60)]) for who in (3, 4)]  # fmt: skip  # noqa: E501
        for thread in threads:
            thread.start()
        await asyncio.gather(speak(0), speak(1), speak(2), asyncio.to_thread(torment))
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert await trail.drain(SOON) == []
        assert await trail.stop() == []
    found = messages(tmp_path / "logs")
    for who in range(5):
        assert [message for message in found if message.startswith(f"{who}:")] == [f"{who}:{n}" for n in range(60)]
    require_intact(tmp_path / "logs")


@pytest.mark.parametrize("on_failure", ["contain", "raise", "block"])
def test_start_raises_unless_the_policy_contains(tmp_path, on_failure):
    path, _ = a_file(tmp_path)
    trail = AuditTrail(policy(on_failure), path)
    if on_failure == "contain":
        with pytest.warns(RuntimeWarning, match="cannot be opened"):
            trail.start_now()
        trail.stop_now(0.05)
    else:
        with pytest.raises(HintedError):
            trail.start_now()
