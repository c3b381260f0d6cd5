"""The contract of `Store` as a suite that any implementation can be put through.

    check_store(lambda: MyStore(new_empty_place()))

Each rule is a function that takes a store of a folder which is not there yet, and raises `AssertionError` with the
sentence that does not hold. With pytest, `STORE_RULES` makes each rule a test of its own:

    @pytest.mark.parametrize("rule", STORE_RULES, ids=lambda rule: rule.__name__)
    def test_my_store(rule, tmp_path): rule(MyStore(tmp_path / "log"))

What a crash or a power cut leaves cannot be seen from inside and is not checked here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fapilog_tamper.store.base import Store

__all__ = ["STORE_RULES", "Rule", "check_store"]

Rule = Callable[["Store"], None]
"""Raises AssertionError where a store breaks the rule."""

_NAME: Final = "audit_2026-11-20.jsonl"
_OTHER: Final = "audit_2026-11-20.1.jsonl"
_BYTES: Final = bytes(range(256))


def check_store(make: Callable[[], Store]) -> None:
    """Put a kind of store through all rules.

    Args:
        make: returns the store of another folder each time, which must not be there yet.

    Raises:
        AssertionError: a rule does not hold; the message names it.
    """
    for rule in STORE_RULES:
        try:
            rule(make())
        except OSError as error:
            raise AssertionError(f"{rule.__name__}: a call failed that must not: {error!r}") from error
        except AssertionError as error:
            raise AssertionError(f"{rule.__name__}: {error}") from error


def folders(store: Store) -> None:
    """A folder is not there before it is made; making it makes its parents, and may be done again."""
    with _raises(FileNotFoundError, "names of a folder that was not made"):
        store.names()
    inner = store.child("one").child("two")
    inner.make()
    _equal(list(inner.names()), [], "names of a new folder")
    _put(inner, _NAME, b"kept")
    inner.make()
    store.make()
    _equal(inner.read(_NAME), b"kept", "a file in a folder that was made again")
    _equal(list(store.names()), [], "names of a folder that holds only a folder")


def children(store: Store) -> None:
    """A child is a folder of its own, and the same one each time."""
    store.make()
    store.child("inner").make()
    _put(store, _NAME, b"outside")
    _put(store.child("inner"), _NAME, b"inside")
    _equal(store.read(_NAME), b"outside", "a file of a folder whose child has one of the same name")
    _equal(store.child("inner").read(_NAME), b"inside", "a file of a child that was asked for twice")
    store.child("inner").remove(_NAME)
    _equal(list(store.names()), [_NAME], "names of a folder after its child's file was removed")
    _equal(list(store.child("inner").names()), [], "names of a child after its file was removed")


def creation(store: Store) -> None:
    """A created file is there at once, empty; a name is created once."""
    store.make()
    store.close(store.create(_NAME))
    _equal(list(store.names()), [_NAME], "names after a file was created")
    _equal(store.size(_NAME), 0, "the size of a created file")
    _equal(store.read(_NAME), b"", "the bytes of a created file")
    store.remove(_NAME)
    _put(store, _NAME, b"kept")
    with _raises(FileExistsError, "creating a name that is there"):
        store.create(_NAME)
    _equal(store.read(_NAME), b"kept", "a file after its name was created again in vain")


def absence(store: Store) -> None:
    """Only removing does not mind that a file is not there."""
    store.make()
    calls: dict[str, Callable[[], object]] = {
        "size": lambda: store.size(_NAME),
        "read": lambda: store.read(_NAME),
        "open": lambda: store.open(_NAME),
        "rename": lambda: store.rename(_NAME, _OTHER),
    }
    for method, call in calls.items():
        with _raises(FileNotFoundError, f"{method} of a name that is not there"):
            call()
    store.remove(_NAME)
    _equal(list(store.names()), [], "names after calls about a file that is not there")


def opening(store: Store) -> None:
    """Opening a file leaves it as it is; what one handle wrote is seen by all."""
    store.make()
    _put(store, _NAME, b"first")
    handle, other = store.open(_NAME), store.open(_NAME)
    _equal(store.read(_NAME), b"first", "a file that was opened")
    _write(store, handle, b" second", 5)
    _write(store, other, b"F", 0)
    _equal(store.read(_NAME), b"First second", "a file that two handles wrote to")
    store.close(handle)
    _write(store, other, b"!", 12)
    store.close(other)
    _equal(store.read(_NAME), b"First second!", "a file after one of two handles was closed")


def writing(store: Store) -> None:
    """Bytes go where the offset says, whatever was written before; doing it again changes nothing."""
    store.make()
    handle = store.create(_NAME)
    _write(store, handle, b"aaaa", 0)
    _write(store, handle, b"bbbb", 4)
    _equal(store.size(_NAME), 8, "the size of a file that is being written")
    _write(store, handle, b"aaaa", 0)
    _write(store, handle, b"bbbb", 4)
    _equal(store.read(_NAME), b"aaaabbbb", "a file after its writes were repeated")
    _write(store, handle, b"xx", 3)
    _equal(store.read(_NAME), b"aaaxxbbb", "a file written over in the middle")
    store.sync(handle)
    _write(store, handle, _BYTES * 4096, 8)
    store.sync(handle)
    store.close(handle)
    _equal(store.size(_NAME), 8 + (1 << 20), "the size of a file of a mebibyte and 8")
    if store.read(_NAME, 8) != _BYTES * 4096:
        raise AssertionError("a mebibyte of all byte values does not come back as it was written")


def reading(store: Store) -> None:
    """A read gives what is asked for, less only at the end of the file."""
    store.make()
    _put(store, _NAME, b"0123456789")
    for start, most, expected in (
        (0, -1, b"0123456789"),
        (3, -1, b"3456789"),
        (3, 4, b"3456"),
        (8, 5, b"89"),
        (0, 0, b""),
        (10, 1, b""),
        (99, -1, b""),
        (99, 9, b""),
    ):
        _equal(store.read(_NAME, start, most), expected, f"read of 10 bytes from {start}, at most {most}")


def truncation(store: Store) -> None:
    """A file can be cut and written on from there."""
    store.make()
    _put(store, _NAME, b"0123456789")
    handle = store.open(_NAME)
    store.truncate(handle, 4)
    store.sync(handle)
    _equal(store.size(_NAME), 4, "the size of a file that was cut at 4")
    _write(store, handle, b"end", 4)
    _equal(store.read(_NAME), b"0123end", "a file that was cut at 4 and written on")
    store.truncate(handle, 0)
    _equal(store.read(_NAME), b"", "a file that was cut at 0")
    store.close(handle)


def replacing(store: Store) -> None:
    """A replaced file is whole, and nothing else is left of it."""
    store.make()
    for content in (b"a long first version", b"short", b"", _BYTES * 100):
        store.replace(_NAME, content)
        _equal(store.read(_NAME), content, "a file that was replaced")
        _equal(list(store.names()), [_NAME], "names after a file was replaced")


def renaming(store: Store) -> None:
    """A renamed file has only its new name, and pushes another one out of it."""
    store.make()
    _put(store, _NAME, b"moved")
    store.rename(_NAME, _OTHER)
    store.sync_names()
    _equal(list(store.names()), [_OTHER], "names after a rename")
    _put(store, _NAME, b"moved over it")
    store.rename(_NAME, _OTHER)
    _equal(list(store.names()), [_OTHER], "names after a rename over a file")
    _equal(store.read(_OTHER), b"moved over it", "a file that was renamed over another")


def removing(store: Store) -> None:
    """A removed file is gone, and its name is free."""
    store.make()
    _put(store, _NAME, b"old")
    _put(store, _OTHER, b"other")
    store.remove(_NAME)
    store.sync_names()
    _equal(list(store.names()), [_OTHER], "names after a file was removed")
    with _raises(FileNotFoundError, "reading a removed file"):
        store.read(_NAME)
    store.close(store.create(_NAME))
    _equal(store.read(_NAME), b"", "a file created where one was removed")


def file_names(store: Store) -> None:
    """The names of a log pass unchanged: percent signs, dots, 250 characters, upper and lower case."""
    store.make()
    names = {"%C3%A9.w2_2026-11-20.jsonl", "a.jsonl.manifest.json", "a.jsonl.torn-1", "a-b_c.chainstate", "x" * 250}
    for name in names:
        _put(store, name, name.encode())
    _equal(sorted(store.names()), sorted(names), "names of a folder")
    for name in names:
        _equal(store.read(name), name.encode(), f"the file {name}")


def locks(store: Store) -> None:
    """A lock is held once, in this process too, until it is released; names and folders do not disturb each other."""
    store.make()
    store.child("inner").make()
    held = store.lock("a.lock")
    _held(held is not None, "a lock that nobody holds is not given")
    _held(store.lock("a.lock") is None, "a lock that is held is given a second time")
    other, inner = store.lock("b.lock"), store.child("inner").lock("a.lock")
    _held(other is not None, "a lock is not given while one of another name is held")
    _held(inner is not None, "a lock is not given while one of the same name is held in another folder")
    _held(store.child("inner").lock("a.lock") is None, "a lock is given twice through two stores of one folder")
    for lock in filter(None, (held, inner)):
        lock.release()
        lock.release()
    again = store.lock("a.lock")
    _held(again is not None, "a lock that was released is not given again")
    if held is not None:
        held.release()
    _held(store.lock("a.lock") is None, "a lock is freed by the release of an earlier one")
    for lock in filter(None, (again, other)):
        lock.release()


def threads(store: Store) -> None:
    """Several threads may write to files of their own, through handles that another thread opened."""
    store.make()
    names = [f"{number}.jsonl" for number in range(4)]
    handles = [store.create(name) for name in names]
    broken: list[OSError | AssertionError] = []

    def work(handle: int, letter: bytes) -> None:
        try:
            for at in range(100):
                _write(store, handle, letter * 10, at * 10)
            store.sync(handle)
        except (OSError, AssertionError) as error:
            broken.append(error)

    running = [threading.Thread(target=work, args=(handle, b"%d" % number)) for number, handle in enumerate(handles)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if broken:
        raise broken[0]
    for number, name in enumerate(names):
        store.close(handles[number])
        _equal(store.read(name), b"%d" % number * 1000, "a file written by one of several threads")


STORE_RULES: Final[tuple[Rule, ...]] = (
    folders,
    children,
    creation,
    absence,
    opening,
    writing,
    reading,
    truncation,
    replacing,
    renaming,
    removing,
    file_names,
    locks,
    threads,
)
"""All rules; each wants a store of its own."""


def _put(store: Store, name: str, content: bytes) -> None:
    handle = store.create(name)
    _write(store, handle, content, 0)
    store.sync(handle)
    store.close(handle)


def _write(store: Store, handle: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        taken = store.write(handle, content[done:], offset + done)
        if not 1 <= taken <= len(content) - done:
            raise AssertionError(f"a write of {len(content) - done} bytes says that it took {taken}")
        done += taken


def _equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {_short(expected)}, found {_short(found)}")


def _held(holds: bool, sentence: str) -> None:  # noqa: FBT001 (it is what is asserted)
    if not holds:
        raise AssertionError(sentence)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."  # noqa: PLR2004 (a message has to end somewhere)


@contextmanager
def _raises(kind: type[OSError], what: str) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    except OSError as error:
        raise AssertionError(f"{what}: expected {kind.__name__}, found {error!r}") from error
    raise AssertionError(f"{what}: expected {kind.__name__}, and nothing was raised")
