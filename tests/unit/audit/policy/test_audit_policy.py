from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from fapilog_audit.errors import ConfigError
from fapilog_audit.kinds import AuditLogLevel, ComplianceLevel
from fapilog_audit.policy import SYNCED_FRAMEWORKS, CompliancePolicy

DAYS = ["retention_days", "archive_after_days"]
SWITCHES = [each.name for each in fields(CompliancePolicy) if isinstance(each.default, bool)]
OTHER = {
    "level": "hipaa",
    "audit_access_roles": ["auditor"],
    "on_storage_failure": "block",
    "durability": {"info": "synced"},
    **dict.fromkeys(DAYS, 400),
    **{each.name: not each.default for each in fields(CompliancePolicy) if isinstance(each.default, bool)},
}
RELAXED = sorted(set(ComplianceLevel) - SYNCED_FRAMEWORKS)


def test_the_defaults_are_those_of_the_reference():
    assert CompliancePolicy().to_dict() == {
        "level": "basic",
        "enabled": True,
        "retention_days": 365,
        "archive_after_days": 90,
        "encrypt_audit_logs": False,
        "require_integrity_check": True,
        "audit_access_roles": ["admin", "auditor"],
        "gdpr_data_subject_rights": False,
        "hipaa_minimum_necessary": False,
        "sox_change_control": False,
        "real_time_alerts": True,
        "alert_on_critical_errors": True,
        "alert_on_security_events": True,
        "on_storage_failure": "contain",
        "durability": None,
        "audit_reads": False,
        "lifecycle_events": False,
    }


def test_the_first_fields_can_be_given_by_place_as_before():
    policy = CompliancePolicy(ComplianceLevel.GDPR, False, 40, 8)  # noqa: FBT003
    assert (policy.level, policy.enabled, policy.retention_days, policy.archive_after_days) == ("gdpr", False, 40, 8)


@pytest.mark.parametrize("spelled", ["pci_dss", "PCI-DSS", "Pci Dss", ComplianceLevel.PCI_DSS])
def test_a_level_becomes_its_member_however_it_is_spelled(spelled):
    assert CompliancePolicy(level=spelled).level is ComplianceLevel.PCI_DSS


@pytest.mark.parametrize("wrong", ["hippa", "", None, 3, True])
def test_a_level_that_does_not_exist_is_never_basic(wrong):
    with pytest.raises(ConfigError, match=r"compliance level is .*Use one of none, basic, sox"):
        CompliancePolicy(level=wrong)


@pytest.mark.parametrize("name", DAYS)
@pytest.mark.parametrize("wrong", [-1, True, 1.0, "30", None])
def test_days_are_whole_numbers_from_zero_on(name, wrong):
    with pytest.raises(ConfigError, match=f"^{name} is .*, not a whole number of days"):
        CompliancePolicy(**{name: wrong})


@pytest.mark.parametrize("name", DAYS)
def test_zero_days_can_be_meant(name):
    assert getattr(CompliancePolicy(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("wrong", [1, 0, "true", None])
def test_a_switch_is_a_bool(name, wrong):
    with pytest.raises(ConfigError, match=rf"^{name} is {wrong!r}\. Give True or False"):
        CompliancePolicy(**{name: wrong})


@pytest.mark.parametrize("wrong", ["admin", b"admin", None, {"admin"}, 3])
def test_roles_are_a_sequence(wrong):
    with pytest.raises(ConfigError, match=r"^audit_access_roles is"):
        CompliancePolicy(audit_access_roles=wrong)


@pytest.mark.parametrize("wrong", ["", "  ", None, 3])
def test_each_role_is_a_name(wrong):
    with pytest.raises(ConfigError, match=f"^audit_access_roles has {wrong!r} in it"):
        CompliancePolicy(audit_access_roles=["admin", wrong])


def test_roles_equal_the_list_and_the_tuple_of_the_same():
    roles = CompliancePolicy(audit_access_roles=["a", "b"]).audit_access_roles
    assert roles == ["a", "b"]
    assert ["a", "b"] == roles  # noqa: SIM300 (the other side)
    assert roles == ("a", "b")
    assert roles != ["a"]
    assert roles != ["b", "a"]
    assert not roles != ["a", "b"]  # noqa: SIM202 (the other operator)
    assert roles != "ab"


def test_the_roles_of_a_policy_do_not_change_with_the_list_that_was_given():
    given = ["admin"]
    policy = CompliancePolicy(audit_access_roles=given, durability=(promises := {"info": "synced"}))
    given.append("everybody")
    promises["info"] = "accepted"
    assert policy.audit_access_roles == ["admin"]
    assert policy.promise_for(AuditLogLevel.INFO, "written") == "synced"


@pytest.mark.parametrize("wrong", ["ignore", "RAISE", None, ["raise"]])
def test_a_failure_to_store_is_met_in_one_of_three_ways(wrong):
    with pytest.raises(ConfigError, match=r"^on_storage_failure is .*Use one of contain, raise, block\."):
        CompliancePolicy(on_storage_failure=wrong)


@pytest.mark.parametrize("wrong", ["sync", True, 1, ["synced"]])
def test_a_durability_that_does_not_exist_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"^durability is .*Use one of accepted, written, synced\."):
        CompliancePolicy(durability=wrong)
    with pytest.raises(ConfigError, match=r"^durability of info is"):
        CompliancePolicy(durability={"info": wrong})


def test_a_durability_of_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match=r"^log_level is 'grave'"):
        CompliancePolicy(durability={"grave": "synced"})


def test_a_durability_names_each_level_once():
    with pytest.raises(ConfigError, match=r"^durability names info twice"):
        CompliancePolicy(durability={"info": "synced", "INFO": "written"})


@pytest.mark.parametrize("framework", sorted(SYNCED_FRAMEWORKS))
@pytest.mark.parametrize("default", ["accepted", "written", "synced"])
def test_security_and_critical_are_synced_under_sox_hipaa_and_pci_dss(framework, default):
    promises = CompliancePolicy(level=framework).promises(default)
    grave = {AuditLogLevel.SECURITY, AuditLogLevel.CRITICAL}
    assert promises == {level: "synced" if level in grave else default for level in AuditLogLevel}


@pytest.mark.parametrize("framework", RELAXED)
@pytest.mark.parametrize("default", ["accepted", "written", "synced"])
def test_other_frameworks_leave_the_default(framework, default):
    assert CompliancePolicy(level=framework).promises(default) == dict.fromkeys(AuditLogLevel, default)


def test_the_frameworks_that_ask_for_synced_are_three():
    assert sorted(SYNCED_FRAMEWORKS) == ["hipaa", "pci_dss", "sox"]


@pytest.mark.parametrize("framework", list(ComplianceLevel))
def test_a_durability_for_all_levels_wins(framework):
    policy = CompliancePolicy(level=framework, durability="accepted")
    assert policy.promises("synced") == dict.fromkeys(AuditLogLevel, "accepted")


def test_a_durability_by_level_wins_for_its_levels_only():
    policy = CompliancePolicy(
        level=ComplianceLevel.SOX, durability={"SECURITY": "written", AuditLogLevel.INFO: "synced"}
    )
    assert policy.promises("accepted") == {
        AuditLogLevel.DEBUG: "accepted",
        AuditLogLevel.INFO: "synced",
        AuditLogLevel.WARNING: "accepted",
        AuditLogLevel.ERROR: "accepted",
        AuditLogLevel.CRITICAL: "synced",
        AuditLogLevel.SECURITY: "written",
    }


@pytest.mark.parametrize("durability", [None, "synced", {"info": "accepted"}])
@pytest.mark.parametrize("framework", list(ComplianceLevel))
def test_the_promise_of_one_level_is_that_of_all_six(framework, durability):
    policy = CompliancePolicy(level=framework, durability=durability)
    promises = policy.promises("written")
    assert {level: policy.promise_for(level, "written") for level in AuditLogLevel} == promises


def test_promises_do_not_depend_on_whether_the_policy_is_enabled():
    policy = CompliancePolicy(level=ComplianceLevel.HIPAA)
    assert replace(policy, enabled=False).promises("written") == policy.promises("written")


def test_a_default_promise_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"^durability is 'sync'"):
        CompliancePolicy().promises("sync")


def test_encryption_can_be_asked_for_and_is_not_possible_yet():
    with pytest.raises(ConfigError) as caught:
        CompliancePolicy(encrypt_audit_logs=True).require_possible()
    assert caught.value.message.startswith("encrypt_audit_logs: ")
    assert "encryption comes with the key management work; " in caught.value.message
    assert "encrypted volume" in caught.value.hint


def test_every_other_value_is_possible():
    CompliancePolicy().require_possible()
    CompliancePolicy.from_dict(OTHER | {"encrypt_audit_logs": False}).require_possible()


def test_there_is_another_value_of_each_field():
    assert set(OTHER) == {each.name for each in fields(CompliancePolicy)}


@pytest.mark.parametrize("members", [{}, OTHER, *({name: value} for name, value in OTHER.items())])
def test_a_policy_survives_json_pickle_and_copy(members):
    policy = CompliancePolicy(**members)
    assert policy.to_dict() == CompliancePolicy().to_dict() | members
    assert CompliancePolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 (our own)
    assert copy.deepcopy(policy) == replace(policy) == policy
    assert hash(copy.deepcopy(policy)) == hash(policy)
    assert (policy == CompliancePolicy()) is (not members)


def test_a_policy_is_frozen():
    with pytest.raises(FrozenInstanceError):
        CompliancePolicy().enabled = False


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("retention_day", "Did you mean retention_days?"),
        ("Durability", "Did you mean durability?"),
        ("xyz", "It has level, enabled,"),
        (3, "It has level, enabled,"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_field(name, hint):
    with pytest.raises(ConfigError) as caught:
        CompliancePolicy.from_dict({name: 1})
    assert caught.value.message == f"policy has no field {name!r}."
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("wrong", [None, [], "basic"])
def test_a_policy_is_made_of_a_table(wrong):
    with pytest.raises(ConfigError, match="not a table"):
        CompliancePolicy.from_dict(wrong)
