"""What tests of applications ask of a trail."""

from __future__ import annotations

import pytest

from fapilog_audit import AuditTrail, CompliancePolicy, ConfigError, FileStorageBackend
from fapilog_audit.testing import assert_audited, assert_chain_intact, recorded_events
from fapilog_tamper.keys import HmacKey


@pytest.fixture
def trail(tmp_path):
    with AuditTrail(CompliancePolicy(real_time_alerts=False), tmp_path / "log") as opened:
        yield opened


def test_the_newest_event_that_fits_is_returned(trail):
    for number in range(3):
        trail.log("acme.x", f"m{number}", user_id="u-1")
    trail.log("acme.y", "other")
    assert assert_audited(trail, "acme.x", user_id="u-1").message == "m2"
    assert assert_audited(trail).message == "other"


def test_with_a_count_all_are_returned(trail):
    for number in range(3):
        trail.log("acme.x", "m", number=number)
    assert [event.metadata["number"] for event in assert_audited(trail, "acme.x", count=3)] == [0, 1, 2]
    assert assert_audited(trail, "acme.y", count=0) == []
    with pytest.raises(AssertionError, match=r"3 events with event_type='acme.x'; expected 2"):
        assert_audited(trail, "acme.x", count=2)


def test_fields_metadata_and_members_of_the_error_are_compared(trail):
    trail.log("acme.x", "m", outcome="failure", error=ValueError("no"), amount=12, unit="EUR")
    assert_audited(trail, outcome="failure", amount=12, error={"type": "ValueError"}, metadata={"unit": "EUR"})
    for wrong in ({"amount": 13}, {"error": {"type": "KeyError"}}, {"metadata": {"nothing": None}}, {"user_id": "u"}):
        with pytest.raises(AssertionError, match="no event"):
            assert_audited(trail, "acme.x", **wrong)


def test_a_failure_shows_what_was_recorded(trail):
    trail.log("acme.x", "one", user_id="u-1")
    with pytest.raises(AssertionError) as raised:
        assert_audited(trail, "acme.x", user_id="u-2")
    assert str(raised.value).splitlines() == [
        "no event with event_type='acme.x', user_id='u-2'.",
        "Recorded, 1 in all:",
        "  acme.x  'one'  user_id='u-1'",
    ]


def test_a_failure_shows_the_last_twenty(trail):
    for number in range(25):
        trail.log("acme.x", f"m{number}")
    with pytest.raises(AssertionError) as raised:
        assert_audited(trail, "acme.y")
    assert "m4'" not in str(raised.value)
    assert "m5'" in str(raised.value)
    assert str(raised.value).endswith("and 5 before these")


def test_a_trail_without_events_says_so(tmp_path):
    with pytest.raises(AssertionError, match="Nothing was recorded"):
        assert_audited(tmp_path / "nowhere")


def test_a_type_that_is_none_is_an_error_of_the_test(trail):
    with pytest.raises(ConfigError, match="event_type is"):
        assert_audited(trail, "nonsense", count=0)


async def test_what_nobody_waited_for_is_found_too(trail):
    await trail.log_event("acme.x", "m", durability="accepted")
    assert len(assert_audited(trail, "acme.x", count=1)) == 1


def test_a_folder_will_do(trail):
    trail.log("acme.x", "m")
    assert_audited(trail.storage_path, "acme.x")
    assert_audited(str(trail.storage_path), "acme.x")


def test_a_file_backend_will_do(tmp_path):
    with AuditTrail(backend=FileStorageBackend(tmp_path / "log")) as trail:
        trail.log("acme.x", "m")
        assert_audited(trail, "acme.x")


async def test_a_backend_is_asked_by_its_own_tests(tmp_path):
    class Elsewhere:
        async def write(self, event): ...

        async def flush(self): ...

        async def close(self): ...

    async with AuditTrail(backend=Elsewhere(), state_dir=tmp_path) as trail:
        with pytest.raises(ConfigError, match="hands its events to a backend"):
            recorded_events(trail)


def test_an_intact_chain_is_reported(trail):
    trail.log("acme.x", "m")
    assert assert_chain_intact(trail).entries == 1


@pytest.mark.parametrize("given", [True, False])
def test_a_changed_byte_is_found_under_the_key_of_the_trail(tmp_path, given):
    key = HmacKey("test", bytes(range(32)))
    with AuditTrail(storage_path=tmp_path / "log", key=key) as trail:
        trail.log("acme.x", "paid 100")
    assert_chain_intact(trail)
    (path,) = (tmp_path / "log").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"paid 100", b"paid 900"))
    with pytest.raises(AssertionError, match="payload-changed"):
        assert_chain_intact(trail.storage_path if given else trail, key=key if given else None)


def test_no_folder_is_no_intact_chain(tmp_path):
    with pytest.raises(AssertionError, match="nothing was recorded"):
        assert_chain_intact(tmp_path / "nowhere")
