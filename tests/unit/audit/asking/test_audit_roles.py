"""Who may read, and what is written of it: behind the read, never in its own result, refusals as well."""

from __future__ import annotations

import asyncio

import pytest

from fapilog_audit import AccessError, AuditTrail, CompliancePolicy, ConfigError

TYPE = "acme.test.happened"
ACCESS = "audit_log_access"
SOON = 30.0

ASKING = {
    "get_events": lambda trail, **who: trail.get_events(user_id="u", **who),
    "get_event": lambda trail, **who: trail.get_event("some-id", **who),
    "count": lambda trail, **who: trail.count(user_id="u", **who),
    "get_subject_events": lambda trail, **who: trail.get_subject_events("u", **who),
    "tail": lambda trail, **who: first_of(trail.tail(from_start=True, **who)),
}


async def first_of(followed):
    try:
        return [await asyncio.wait_for(anext(followed), SOON)]
    finally:
        await followed.aclose()


async def trail_of(tmp_path, **policy):
    given = {"gdpr_data_subject_rights": True, "audit_access_roles": ["auditor"], **policy}
    trail = AuditTrail(CompliancePolicy(**given), storage_path=tmp_path)
    await trail.log_event(TYPE, "m", user_id="u")
    return trail


async def reads_in(tmp_path):
    return await AuditTrail(storage_path=tmp_path).get_events(event_type=ACCESS, newest_first=False)


@pytest.mark.parametrize("what", ASKING)
async def test_a_role_of_the_policy_reads_and_that_is_recorded(what, tmp_path):
    trail = await trail_of(tmp_path)
    found = await ASKING[what](trail, role="auditor")
    reads = await reads_in(tmp_path)
    assert [(one.operation, one.outcome, one.metadata["role"]) for one in reads] == [(what, "success", "auditor")]
    if isinstance(found, list):
        assert [one.message for one in found] == ["m"]
    assert reads[0].metadata["found"] == (0 if what in ("tail", "get_event") else 1)
    await trail.stop()


@pytest.mark.parametrize("role", ["intern", "", "Auditor"])
@pytest.mark.parametrize("what", ASKING)
async def test_another_role_is_refused_and_that_is_recorded(what, role, tmp_path):
    trail = await trail_of(tmp_path)
    with pytest.raises(AccessError, match="may not read the audit trail; those that may: auditor"):
        await ASKING[what](trail, role=role)
    reads = await reads_in(tmp_path)
    assert [(one.operation, one.outcome, one.metadata["role"]) for one in reads] == [(what, "denied", role)]
    assert reads[0].metadata["found"] == 0
    await trail.stop()


@pytest.mark.parametrize("what", ASKING)
async def test_under_minimum_necessary_a_read_names_a_role(what, tmp_path):
    trail = await trail_of(tmp_path, hipaa_minimum_necessary=True)
    with pytest.raises(AccessError, match=f"{what} names no role"):
        await ASKING[what](trail)
    assert await reads_in(tmp_path) == []
    await ASKING[what](trail, role="auditor")
    assert len(await reads_in(tmp_path)) == 1
    await trail.stop()


async def test_a_refusal_without_a_role_is_recorded_where_reads_are(tmp_path):
    trail = await trail_of(tmp_path, hipaa_minimum_necessary=True, audit_reads=True)
    with pytest.raises(AccessError, match="names no role"):
        await trail.get_events()
    reads = await reads_in(tmp_path)
    assert [(one.operation, one.outcome, "role" in one.metadata) for one in reads] == [("get_events", "denied", False)]
    await trail.stop()


@pytest.mark.parametrize("what", ASKING)
async def test_reads_without_a_role_are_recorded_where_the_policy_says_so(what, tmp_path):
    trail = await trail_of(tmp_path / "no")
    await ASKING[what](trail)
    assert await reads_in(tmp_path / "no") == []
    await trail.stop()
    trail = await trail_of(tmp_path / "yes", audit_reads=True)
    await ASKING[what](trail)
    assert [(one.operation, "role" in one.metadata) for one in await reads_in(tmp_path / "yes")] == [(what, False)]
    await trail.stop()


async def test_a_read_is_never_in_its_own_result(tmp_path):
    trail = await trail_of(tmp_path, audit_reads=True)
    for number in range(4):
        assert len(await trail.get_events(event_type=ACCESS)) == number
    assert await trail.count(event_type=ACCESS) == 4
    followed = trail.tail(from_start=True, event_type=ACCESS)
    before = [await asyncio.wait_for(anext(followed), SOON) for _ in range(5)]
    await trail.get_event("x")
    after = await asyncio.wait_for(anext(followed), SOON)
    assert [one.operation for one in [*before, after]] == ["get_events"] * 4 + ["count", "get_event"]
    await followed.aclose()
    await trail.stop()


async def test_the_record_of_a_read_says_what_was_asked(tmp_path):
    trail = await trail_of(tmp_path)
    await trail.get_events(event_type=[TYPE], user_id="u", limit=5, role="auditor")
    await trail.get_event("some-id", role="auditor")
    first, second = (one.metadata for one in await reads_in(tmp_path))
    assert first["found"] == 1
    wanted = {"event_type": [TYPE], "user_id": "u", "limit": 5, "newest_first": True, "include_control": False}
    assert first["query"] == wanted
    assert second["query"] == {"event_id": "some-id"}
    await trail.stop()


async def test_a_query_that_cannot_be_meant_is_no_read(tmp_path):
    trail = await trail_of(tmp_path)
    with pytest.raises(ConfigError, match="limit is 0"):
        await trail.get_events(limit=0, role="auditor")
    assert await reads_in(tmp_path) == []
    await trail.stop()


async def test_nobody_reads_where_no_role_may(tmp_path):
    trail = await trail_of(tmp_path, audit_access_roles=[])
    with pytest.raises(AccessError, match="those that may: none"):
        await trail.get_events(role="auditor")
    await trail.stop()


async def test_a_subjects_events_come_oldest_first_and_all(tmp_path):
    trail = await trail_of(tmp_path)
    for number in range(150):
        await trail.log_event(TYPE, str(number), user_id="u" if number % 2 else "other")
    found = await trail.get_subject_events("u")
    assert [one.message for one in found] == ["m", *(str(n) for n in range(150) if n % 2)]
    await trail.stop()


async def test_without_data_subject_rights_there_is_no_such_question(tmp_path):
    trail = await trail_of(tmp_path, gdpr_data_subject_rights=False)
    with pytest.raises(AccessError, match="no data subject rights"):
        await trail.get_subject_events("u", role="auditor")
    await trail.stop()
