"""A log that is closed while threads append: a receipt that stands on the disk, or an error; nothing in between."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from concurrency.ledger import KEY, Kept, check_intact, check_receipts, files_of, kept, lines_of, run_all

from fapilog_tamper import Rotation, SealedLog, StoreError
from fapilog_tamper.layout import STATE_FOLDER, lock_name
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.testing import Faults, FaultyStore

if TYPE_CHECKING:
    from fapilog_tamper import Receipt

DEADLINE = 30.0


@dataclass
class Caller:
    """A thread that appends until the log refuses."""

    name: str
    log: SealedLog
    promise: str
    far_enough: threading.Semaphore
    receipts: list[Kept] = field(default_factory=list)
    refused: StoreError | None = None

    def run(self) -> None:
        n = 0
        while self.refused is None:
            try:
                receipt: Receipt = self.log.append({"caller": self.name, "n": n}, durability=self.promise)
            except StoreError as error:
                self.refused = error
            else:
                self.receipts.append(kept(self.name, n, receipt))
                n += 1
                self.far_enough.release()


@pytest.mark.parametrize("round_", range(4))
@pytest.mark.parametrize("inline", [True, False])
def test_every_append_has_a_receipt_that_holds_or_is_refused(round_, inline, tmp_path):
    log = SealedLog.open(tmp_path, key=KEY, inline=inline, rotation=Rotation(max_bytes=16 << 10))
    far_enough = threading.Semaphore(0)
    promises = ["accepted", "written", "synced"]
    callers = [Caller(f"t{number}", log, promises[number % 3], far_enough) for number in range(9)]

    def close() -> None:
        for _ in range(100 + 50 * round_):
            assert far_enough.acquire(timeout=DEADLINE)
        log.close()

    run_all([*(threading.Thread(target=caller.run) for caller in callers), threading.Thread(target=close)])
    for caller in callers:
        assert caller.refused is not None
        # What was refused was not accepted, so that the caller may append it elsewhere.
        assert caller.refused.seqs == ()
    check_receipts(lines_of(files_of(tmp_path)), [one for caller in callers for one in caller.receipts])
    check_intact(tmp_path)


def test_a_writer_that_stands_in_a_write_keeps_its_slot(tmp_path):
    """Closing cannot wait for ever for a caller inside a system call, and must not let others go on behind its back."""
    store, faults = FileStore(tmp_path), Faults()
    log = SealedLog.open(FaultyStore(store, faults), key=KEY)
    receipts = [kept("before", 0, log.append({"caller": "before", "n": 0}))]
    late: list[Kept] = []

    def append() -> None:
        try:
            late.append(kept("late", 0, log.append({"caller": "late", "n": 0}, timeout=0.2)))
        except StoreError:
            return

    with faults.hold("write") as hold:
        thread = threading.Thread(target=append)
        thread.start()
        assert hold.reached.wait(DEADLINE)
        with pytest.raises(StoreError, match="could not be closed"):
            log.close(timeout=0.2)
        with SealedLog.open(store, key=KEY) as other:
            receipts += [kept("other", n, other.append({"caller": "other", "n": n})) for n in range(3)]
            hold.release()
            thread.join(DEADLINE)
            receipts += [kept("other", n, other.append({"caller": "other", "n": n})) for n in range(3, 6)]
    assert not thread.is_alive()
    # Whoever opens next, once the write has returned and the slot is free, finds everything in order.
    deadline = time.monotonic() + DEADLINE
    while (lock := store.child(STATE_FOLDER).lock(lock_name("log"))) is None and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert lock is not None
    lock.release()
    SealedLog.open(store, key=KEY).close()
    check_receipts(lines_of(files_of(tmp_path)), [*receipts, *late], unsure=[("late", 0)])
    check_intact(tmp_path)
