"""For the tests of those who write sealed logs, or a store for them.

A log in memory, a power cut, and the real verifier on what is left:

    store = MemoryStore()
    faults = Faults()
    faults.fail("sync", error=errno.ENOSPC, after=3)
    write_my_log(FaultyStore(store, faults), clock=FakeClock())
    for seed in range(100):
        assert_intact(store.disk.power_cut(random.Random(seed)), "file:audit.key")

Somebody who changes a real folder:

    for change in OPERATORS.values():
        copy = shutil.copytree("audit-log", new_folder())
        print(change(copy, random.Random(1)))
        with pytest.raises(AssertionError):
            assert_intact(copy, "file:audit.key", require_end=True)

A store of one's own:

    check_store(lambda: MyStore(new_folder() / "log"))

Nothing here needs a test framework.
"""

from __future__ import annotations

from fapilog_tamper.testing.check import assert_intact
from fapilog_tamper.testing.clock import FakeClock
from fapilog_tamper.testing.conformance import STORE_RULES, check_store
from fapilog_tamper.testing.faults import FaultyStore
from fapilog_tamper.testing.memory import MemoryDisk, MemoryStore
from fapilog_tamper.testing.operators import OPERATORS, NothingToChangeError
from fapilog_tamper.testing.plan import Faults

__all__ = [
    "OPERATORS",
    "STORE_RULES",
    "FakeClock",
    "Faults",
    "FaultyStore",
    "MemoryDisk",
    "MemoryStore",
    "NothingToChangeError",
    "assert_intact",
    "check_store",
]
