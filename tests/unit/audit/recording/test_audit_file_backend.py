"""`FileStorageBackend`: alone it seals; given to a trail it is its folder; behind another backend it keeps a copy."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.audit import TYPE, ids, messages, require_gapless, require_intact, run, sealed

from fapilog_audit import AuditEvent, AuditTrail, FileStorageBackend
from fapilog_audit.errors import ConfigError, StorageError
from fapilog_audit.reading import Query
from fapilog_tamper import Keyring
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import parse_segment_name

if TYPE_CHECKING:
    from pathlib import Path

K1 = HmacKey("k1", bytes(range(32)))


def event(number: int) -> AuditEvent:
    return AuditEvent(event_type=TYPE, message=f"m{number}")


class Handing:
    """A backend that hands on what it gets."""

    def __init__(self, inner: FileStorageBackend) -> None:
        self.inner = inner
        self.events: list[AuditEvent] = []

    async def write(self, event: AuditEvent) -> None:
        self.events.append(event)
        await self.inner.write(event)

    async def flush(self) -> None:
        await self.inner.flush()

    async def close(self) -> None:
        await self.inner.close()


@pytest.mark.parametrize("key", [None, K1])
async def test_alone_it_seals_what_it_is_given(tmp_path, key):
    backend = FileStorageBackend(tmp_path, key=key)
    given = [event(number) for number in range(10)]
    for one in given:
        await backend.write(one)
    await backend.flush()
    await backend.close()
    assert ids(tmp_path) == [one.event_id for one in given]
    require_intact(tmp_path, None if key is None else Keyring([key]))
    page = await backend.read(Query())
    assert sorted(one.message for one in page) == sorted(f"m{number}" for number in range(10))


async def test_alone_it_may_be_used_from_any_thread_and_loop(tmp_path):
    backend = FileStorageBackend(tmp_path)

    async def many() -> None:
        await asyncio.gather(*(backend.write(event(number)) for number in range(40)))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    await many()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await backend.close()
    assert len(set(ids(tmp_path))) == 200
    require_gapless(sealed(tmp_path))
    require_intact(tmp_path)


async def test_alone_it_says_that_an_event_is_not_stored(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    backend = FileStorageBackend(tmp_path / "logs")
    with pytest.raises(StorageError) as caught:
        await backend.write(event(0))
    assert caught.value.hint
    await backend.close()


async def test_alone_it_rotates(tmp_path):
    backend = FileStorageBackend(tmp_path, max_bytes=4096)
    for number in range(40):
        await backend.write(event(number))
    await backend.close()
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert messages(tmp_path) == [f"m{number}" for number in range(40)]


async def test_given_to_a_trail_it_is_the_folder_of_the_trail(tmp_path):
    backend = FileStorageBackend(
        tmp_path / "logs", key=K1, max_bytes=4096, compress="gzip", state_dir=tmp_path / "state"
    )
    async with AuditTrail(backend=backend) as trail:
        said = [await trail.log_event(TYPE, "m") for _ in range(30)]
        assert trail.storage_path == tmp_path / "logs"
    assert ids(tmp_path / "logs") == said
    assert (tmp_path / "state" / "audit.chainstate").exists()
    assert not (tmp_path / "state" / "outbox").exists()
    assert list((tmp_path / "logs").glob("*.gz"))
    require_intact(tmp_path / "logs", Keyring([K1]))


def test_given_to_a_trail_with_another_folder_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the backend stores in") as caught:
        AuditTrail(storage_path=tmp_path / "a", backend=FileStorageBackend(tmp_path / "b"))
    assert caught.value.hint


async def test_behind_another_backend_it_copies_lines_byte_for_byte(tmp_path):
    backend = Handing(FileStorageBackend(tmp_path / "copy"))
    async with AuditTrail(backend=backend, state_dir=tmp_path / "state") as trail:
        said = [await trail.log_event(TYPE, f"m{number}") for number in range(30)]
        assert await trail.drain() == []
    assert ids(tmp_path / "copy") == said
    assert sealed(tmp_path / "copy") == sealed(tmp_path / "state" / "outbox")
    require_intact(tmp_path / "copy")


def lines_of(folder: Path, many: int) -> list[AuditEvent]:
    """Return sealed events, as a trail hands them on."""
    with AuditTrail(storage_path=folder) as trail:
        for number in range(many):
            trail.log(TYPE, f"m{number}")
    return [AuditEvent.from_line(line) for line in sealed(folder)]


async def copy(backend: FileStorageBackend, events: list[AuditEvent]) -> None:
    for one in events:
        await backend.write(one)
    await backend.close()


@pytest.mark.parametrize("max_bytes", [None, 4096])
async def test_a_copy_has_each_line_once_however_often_it_is_offered(tmp_path, max_bytes):
    events = lines_of(tmp_path / "logs", 40)
    for first, last in ((0, 10), (5, 20), (0, 21), (19, 40), (0, 40)):
        await copy(FileStorageBackend(tmp_path / "copy", max_bytes=max_bytes), events[first:last])
    assert sealed(tmp_path / "copy") == sealed(tmp_path / "logs")


@pytest.mark.parametrize("tear", [1, 7, 100, 10**9])
async def test_a_torn_tail_of_a_copy_is_cut_and_written_again(tmp_path, tear):
    """A kill may leave half a line; or a file that was made, and nothing in it."""
    events = lines_of(tmp_path / "logs", 20)
    await copy(FileStorageBackend(tmp_path / "copy"), events[:10])
    await copy(FileStorageBackend(tmp_path / "copy"), events[10:15])
    newest = max((tmp_path / "copy").glob("*.jsonl"), key=lambda path: parse_segment_name(path.name))
    data = newest.read_bytes()
    newest.write_bytes(data[: max(0, len(data) - tear)])
    await copy(FileStorageBackend(tmp_path / "copy"), events[5:])
    assert sealed(tmp_path / "copy") == sealed(tmp_path / "logs")


async def test_a_copy_has_several_streams(tmp_path):
    events = lines_of(tmp_path / "logs", 5)
    with AuditTrail(storage_path=tmp_path / "two") as one, AuditTrail(storage_path=tmp_path / "two") as other:
        one.log(TYPE, "a")
        other.log(TYPE, "b")
    both = [AuditEvent.from_line(line) for line in sealed(tmp_path / "two")]
    await copy(FileStorageBackend(tmp_path / "copy"), both)
    assert sealed(tmp_path / "copy") == sealed(tmp_path / "two")
    assert events


async def test_a_copy_that_cannot_be_written_says_so(tmp_path):
    events = lines_of(tmp_path / "logs", 3)
    (tmp_path / "copy").write_text("in the way")
    with pytest.raises(StorageError):
        await FileStorageBackend(tmp_path / "copy").write(events[0])
    (tmp_path / "copy").unlink()


def test_a_forked_child_writes_beside_its_parent(tmp_path):
    code = """
import asyncio, os, sys
from pathlib import Path
from fapilog_audit import AuditEvent, FileStorageBackend
backend = FileStorageBackend(sys.argv[1])
def write(who):
    async def many():
        for number in range(20):
            await backend.write(AuditEvent(event_type="acme.x.y", message=f"{who}{number}"))
    asyncio.run(many())
write("before")
pid = os.fork()
write("child" if pid == 0 else "parent")
asyncio.run(backend.close())
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    run(code, tmp_path)
    assert sorted(messages(tmp_path)) == sorted(f"{who}{n}" for who in ("before", "child", "parent") for n in range(20))
    require_intact(tmp_path)


def test_a_backend_shows_its_folder(tmp_path):
    assert str(tmp_path) in repr(FileStorageBackend(tmp_path))


def test_a_wrong_setting_is_refused():
    wrong: list[dict[str, Any]] = [{"storage_path": ""}, {"storage_path": "x", "max_bytes": -1}, {"storage_path": "x", "compress": "rar"}]  # fmt: skip  # noqa: E501
    for given in wrong:
        with pytest.raises(ConfigError):
            FileStorageBackend(**given)
