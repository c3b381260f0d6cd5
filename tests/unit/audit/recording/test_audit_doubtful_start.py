"""A trail that finds its own log changed: under `contain` it goes on recording, in a chain of its own, and says so."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from fapilog_audit import AuditTrail, CompliancePolicy, IntegrityError, StorageError

KILLED = """
import os, sys
from fapilog_audit import AuditTrail
trail = AuditTrail(storage_path=sys.argv[1])
for number in range(5):
    trail.log("acme.door.opened", f"m{number}")
os._exit(0)
"""


@pytest.fixture
def folder(tmp_path):
    """A trail whose process was killed, and whose third event was changed then."""
    path = tmp_path / "logs"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True)
    [segment] = path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"m2"', b'"mX"'))
    return path


@pytest.mark.parametrize("checked", [True, False])
async def test_under_contain_what_comes_is_recorded_and_the_change_stays_provable(folder, checked):
    policy = CompliancePolicy(require_integrity_check=checked)
    for number in (5, 6):
        trail = AuditTrail(policy, folder)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await trail.start()
        assert any("chain of its own" in str(one.message) for one in told)
        assert not trail.health().ok
        await trail.log_event("acme.door.opened", f"m{number}")
        numbers = await trail.get_statistics()
        assert (numbers["stored"], numbers["pending"]) == (1, 0)
        assert [event.message for event in await trail.get_events(limit=1)] == [f"m{number}"]
        assert await trail.stop() == []
    assert len(await trail.get_events()) == 7
    result = await trail.verify_chain_from_storage()
    assert (result.valid, result.first_invalid_sequence) == (False, 3)
    assert result.error_message.startswith("tampered")


async def test_an_untouched_twin_goes_on_in_its_own_chain(folder):
    [segment] = folder.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"mX"', b'"m2"'))
    async with AuditTrail(storage_path=folder) as trail:
        await trail.log_event("acme.door.opened", "m5")
        assert trail.health().ok
    assert {event.stream for event in await trail.get_events()} == {"audit"}
    assert (await trail.verify_chain_from_storage()).valid


@pytest.mark.parametrize("how", ["raise", "block"])
async def test_otherwise_it_does_not_start(folder, how):
    with pytest.raises(IntegrityError, match="was changed"):
        await AuditTrail(CompliancePolicy(on_storage_failure=how), folder).start()
    policy = CompliancePolicy(on_storage_failure=how, require_integrity_check=False)
    with pytest.raises(StorageError, match="do not all hold"):
        await AuditTrail(policy, folder).log_event("acme.door.opened", "m5")
