"""The conformance suite: three kinds of store pass it, and each of many broken ones is caught by name."""

from __future__ import annotations

import errno
import re

import pytest

from fapilog_tamper.store.files import FileStore
from fapilog_tamper.testing import STORE_RULES, FaultyStore, MemoryStore, check_store


@pytest.mark.parametrize("rule", STORE_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("kind", ["files", "memory", "faulty", "faulty files"])
def test_our_stores_keep_the_contract(rule, kind, tmp_path):
    made = MemoryStore() if "files" not in kind else FileStore(tmp_path / "log")
    rule(FaultyStore(made) if "faulty" in kind else made)


def test_the_whole_suite_runs_with_a_new_store_for_each_rule():
    made = []

    def make() -> MemoryStore:
        made.append(MemoryStore())
        return made[-1]

    check_store(make)
    assert len(made) == len(STORE_RULES)


class Broken(MemoryStore):
    """A store whose children are broken in the same way."""

    def child(self, name):
        return type(self)(self.disk, (*self.path, name))


class NamesOfNothing(Broken):
    def names(self):
        return super().names() if self.path in self.disk.folders else []


class MakesOnce(Broken):
    def make(self):
        if self.path in self.disk.folders:
            raise FileExistsError(errno.EEXIST, "there", str(self))
        super().make()


class ListsFolders(Broken):
    def names(self):
        return [*super().names(), *{path[len(self.path)] for path in self.disk.folders if len(path) > len(self.path)}]


class OneFolder(Broken):
    def child(self, name):
        return self


class ForgetfulChild(Broken):
    def child(self, name):
        return MemoryStore()


class CreatesOver(Broken):
    def create(self, name):
        self.remove(name)
        return super().create(name)


class CreatesLate(Broken):
    def names(self):
        return [name for name in super().names() if self.size(name)]


class RemovesStrictly(Broken):
    def remove(self, name):
        self.size(name)
        super().remove(name)


class EmptyForMissing(Broken):
    def read(self, name, start=0, most=-1):
        return super().read(name, start, most) if name in self.names() else b""


class FailsDifferently(Broken):
    def open(self, name):
        if name not in self.names():
            raise PermissionError(errno.EACCES, "not there", name)
        return super().open(name)


class OpensEmpty(Broken):
    def open(self, name):
        handle = super().open(name)
        self.truncate(handle, 0)
        return handle


class ClosesAll(Broken):
    def close(self, handle):
        self.disk._open.clear()


class Appends(Broken):
    def write(self, handle, data, offset):
        file, _ = self.disk.behind(handle)
        return super().write(handle, data, len(file))


class TakesNothing(Broken):
    def write(self, handle, data, offset):
        super().write(handle, data, offset)
        return 0


class TakesTooMuch(Broken):
    def write(self, handle, data, offset):
        return super().write(handle, data, offset) + 1


class TextMode(Broken):
    def write(self, handle, data, offset):
        super().write(handle, data.replace(b"\r", b"\n"), offset)
        return len(data)


class ReadsAll(Broken):
    def read(self, name, start=0, most=-1):
        return super().read(name, start)


class NothingBehindTheEnd(Broken):
    def read(self, name, start=0, most=-1):
        if start > self.size(name):
            raise OSError(errno.EINVAL, "behind the end")
        return super().read(name, start, most)


class CutsNothing(Broken):
    def truncate(self, handle, size):
        self.disk.behind(handle)


class ReplacesInPlace(Broken):
    def replace(self, name, data):
        handle = self.open(name) if name in self.names() else self.create(name)
        self.write(handle, data, 0)


class LeavesTemporary(Broken):
    def replace(self, name, data):
        super().replace(name, data)
        super().replace(f"{name}.tmp", data)


class RenamesIntoFree(Broken):
    def rename(self, old, new):
        if new in self.names():
            raise FileExistsError(errno.EEXIST, "there", new)
        super().rename(old, new)


class Copies(Broken):
    def rename(self, old, new):
        content = self.read(old)
        handle = self.open(new) if new in self.names() else self.create(new)
        self.truncate(handle, 0)
        self.write(handle, content, 0)


class KeepsRemoved(Broken):
    def remove(self, name):
        if name in super().names():
            self.truncate(self.open(name), 0)


class FoldsCase(Broken):
    def create(self, name):
        return super().create(name.lower().replace("%c3%a9", "é"))


class LocksAlways(Broken):
    def lock(self, name):
        return super().lock(name) or super().lock(f"{name}.again")


class LocksOneFolder(Broken):
    def lock(self, name):
        return MemoryStore(self.disk).lock(name)


class LocksByObject(Broken):
    def __init__(self, disk=None, path=()):
        super().__init__(disk, path)
        self._locks = MemoryStore()
        self._locks.make()

    def lock(self, name):
        return self._locks.lock(name)


class NeverReleases(Broken):
    def lock(self, name):
        lock = super().lock(name)
        if lock is not None:
            lock.release = lambda: None
        return lock


class ReleasesForOthers(Broken):
    def lock(self, name):
        lock = super().lock(name)
        if lock is not None:
            lock.release = lambda: self.disk.locks.discard((self.path, name))
        return lock


class WritesToTheLast(Broken):
    """Writes to the file that was opened last, whatever the handle."""

    def write(self, handle, data, offset):
        return super().write(self.disk._last_handle, data, offset)


class FailsWhileBusy(Broken):
    def sync(self, handle):
        if len(self.disk._open) > 2:
            raise OSError(errno.EBUSY, "busy")
        super().sync(handle)


BROKEN = {
    NamesOfNothing: "folders: names of a folder that was not made",
    MakesOnce: "folders: a call failed",
    ListsFolders: "folders: names of a folder that holds only a folder",
    OneFolder: "folders: |children: ",
    ForgetfulChild: "folders: |children: ",
    CreatesOver: "creation: creating a name that is there",
    CreatesLate: "creation: names after a file was created",
    RemovesStrictly: "absence: a call failed",
    EmptyForMissing: "absence: read of a name",
    FailsDifferently: "absence: open of a name that is not there: expected FileNotFoundError, found PermissionError",
    OpensEmpty: "opening: a file that was opened",
    ClosesAll: "opening: a call failed",
    Appends: "opening: |writing: ",
    TakesNothing: "says that it took 0",
    TakesTooMuch: "says that it took",
    TextMode: "writing: a mebibyte",
    ReadsAll: "reading: read of 10 bytes from 3, at most 4",
    NothingBehindTheEnd: "reading: a call failed",
    CutsNothing: "truncation: the size",
    ReplacesInPlace: "replacing: a file that was replaced",
    LeavesTemporary: "replacing: names after",
    RenamesIntoFree: "renaming: a call failed|replacing: a call failed",
    Copies: "renaming: names after a rename|replacing: names after",
    KeepsRemoved: "children: |creation: ",
    FoldsCase: "file_names: names of a folder",
    LocksAlways: "locks: a lock that is held is given a second time",
    LocksOneFolder: "locks: a lock is not given while one of the same name is held in another folder",
    LocksByObject: "locks: a lock is given twice through two stores",
    NeverReleases: "locks: a lock that was released",
    ReleasesForOthers: "locks: a lock is freed by the release of an earlier one",
    WritesToTheLast: "threads: a file written by one of several threads",
    FailsWhileBusy: "threads: a call failed",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_caught_with_the_rule_that_it_breaks(kind):
    with pytest.raises(AssertionError) as caught:
        check_store(kind)
    assert re.search(BROKEN[kind], str(caught.value)), str(caught.value)


def test_every_rule_catches_somebody():
    caught = set()
    for kind in BROKEN:
        for rule in STORE_RULES:
            try:
                rule(kind())
            except (AssertionError, OSError):
                caught.add(rule)
    assert caught == set(STORE_RULES)
