"""What a child that was just forked begins with: locks of its own, and nothing of what its parent still has to store.

The real forks are in tests/concurrency; here each part is told by itself.
"""

from __future__ import annotations

import pytest
from support.audit import SOON, Kept, ids

from fapilog_audit import AuditTrail, CompliancePolicy, StorageError
from fapilog_audit.sink.config import parse_sink_config
from fapilog_audit.sink.sharing import shared_trail

TYPE = "acme.door.opened"


async def test_deliveries_of_the_parent_are_not_made_twice(tmp_path):
    backend = Kept()
    trail = AuditTrail(backend=backend, state_dir=tmp_path)
    first = await trail.log_event(TYPE, "m0", durability="synced")
    assert await trail.drain(SOON) == []
    delivery = trail._recorder._delivery
    delivery.stop(SOON)
    delivery.let_go()
    assert (delivery.running, delivery.undelivered) == (False, 0)
    second = await trail.log_event(TYPE, "m1", durability="synced")
    assert backend.ids == [first, second]
    await trail.stop()


def test_a_shared_trail_of_the_parent_is_made_anew(tmp_path):
    shared = shared_trail(parse_sink_config(None, {"storage_path": str(tmp_path)}).plan())
    before = shared.trail
    shared.let_go()
    assert shared.trail is not before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("now", [True, False])
async def test_an_event_that_no_log_has_taken_is_refused_by_raise(tmp_path, now):
    trail = AuditTrail(CompliancePolicy(on_storage_failure="raise"), tmp_path / "logs")
    trail.start_now()
    trail._recorder.ledger.give_up(trail._recorder.ledger.log)
    (tmp_path / "logs").rename(tmp_path / "moved")
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(StorageError, match="cannot be opened") as caught:
        trail.log(TYPE, "m0") if now else await trail.log_event(TYPE, "m0")
    assert not caught.value.pending
    numbers = await trail.get_statistics()
    assert [numbers[name] for name in ("accepted", "stored", "failed", "pending")] == [1, 0, 1, 0]
    await trail.stop()


async def test_events_that_are_only_accepted_are_remembered_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("fapilog_audit.recorder._UNSEEN", 8)
    async with AuditTrail(storage_path=tmp_path) as trail:
        for number in range(64):
            await trail.log_event(TYPE, f"m{number}", durability="accepted")
            if number % 8 == 7:
                await trail.drain(SOON)
        assert len(trail._recorder._unseen) <= 16
    assert len(ids(tmp_path)) == 64
