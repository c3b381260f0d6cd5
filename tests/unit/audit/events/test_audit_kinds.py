"""The words of an event: twenty types, own types with a namespace, levels, frameworks; a typo is an error."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from unit.audit.events.recording import record

from fapilog_audit import AuditEventType, AuditLogLevel, AuditTrail, ComplianceLevel, CompliancePolicy, ConfigError
from fapilog_audit.kinds import parse_compliance_level, parse_event_type, parse_log_level

FAMILIES = {
    "error": "error_occurred error_recovered error_escalated",
    "security": "authentication_failed authorization_failed security_violation",
    "system": "system_startup system_shutdown component_failure component_recovery",
    "data": "data_access data_modification data_deletion data_export",
    "configuration": "config_changed plugin_loaded plugin_unloaded",
    "compliance": "compliance_check audit_log_access retention_policy_applied",
}
LEVELS = "debug info warning error critical security"
FRAMEWORKS = "none basic sox hipaa gdpr pci_dss soc2 iso27001"


@pytest.mark.parametrize(
    ("kind", "words"),
    [(AuditEventType, " ".join(FAMILIES.values())), (AuditLogLevel, LEVELS), (ComplianceLevel, FRAMEWORKS)],
)
def test_the_words_are_these_and_members_are_called_like_them(kind, words):
    assert [str(member) for member in kind] == words.split()
    assert [member.name for member in kind] == words.upper().split()
    assert all(member == member.value for member in kind)


@pytest.mark.parametrize("word", AuditEventType)
def test_each_type_is_taken_as_member_and_as_text(word, tmp_path):
    assert record(tmp_path / "a", word, "m")["event_type"] == word.value
    assert record(tmp_path / "b", word.value, "m")["event_type"] == word.value
    assert parse_event_type(word.value) is word


@pytest.mark.parametrize("word", AuditLogLevel)
def test_each_level_is_taken_as_member_as_text_and_in_capitals(word, tmp_path):
    for number, given in enumerate([word, word.value, word.name]):
        assert record(tmp_path / str(number), log_level=given)["log_level"] == word.value


@pytest.mark.parametrize("word", ComplianceLevel)
def test_each_framework_stands_in_the_event(word, tmp_path):
    policy = CompliancePolicy(str(word), enabled=True)
    with nullcontext() if word in {"none", "basic"} else pytest.warns(UserWarning, match="Compliance: "):
        assert record(tmp_path, policy=policy)["compliance_level"] == word.value


OWN = ["acme.payment.approved", "a.b", "A-1.b_2.3", "a.b.c.d.e.f.g.h", "a" * 64 + ".b"]
NOT_OWN = [
    "payment",
    "data_acess",
    "DATA_ACCESS",
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "1.b",
    "a b.c",
    "acme.péage",
    "sealed_log.gap",
    "a.b\n",
    "a" * 65 + ".b",
    "a.b.c.d.e.f.g.h.i",
    None,
    7,
    b"a.b",
    [],
    {},
]


@pytest.mark.parametrize("kind", OWN)
def test_an_own_type_with_a_namespace_is_taken(kind, tmp_path):
    assert record(tmp_path, kind, "m")["event_type"] == kind


@pytest.mark.parametrize("kind", NOT_OWN, ids=repr)
def test_a_type_that_is_none_is_an_error_and_stores_nothing(kind, tmp_path):
    with AuditTrail(storage_path=tmp_path) as trail:
        with pytest.raises(ConfigError, match=r"event_type is .* namespace"):
            trail.log(kind, "m")
        assert trail.health()
    assert not any(path.read_bytes() for path in tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("level", ["warn", "fatal", "", None, 20, b"info", [], {}], ids=repr)
async def test_a_level_that_is_none_is_an_error(level, tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        with pytest.raises(ConfigError, match=r"log_level is .* Use one of debug, info"):
            await trail.log_event("data_access", "m", log_level=level)
        with pytest.raises(ConfigError, match="log_level is"):
            trail.log("data_access", "m", log_level=level)
        assert await trail.count() == 0


@pytest.mark.parametrize("durability", ["sync", "", "SYNCED", 1, True, [], b"synced"], ids=repr)
async def test_a_durability_that_is_none_is_an_error(durability, tmp_path):
    async with AuditTrail(storage_path=tmp_path) as trail:
        with pytest.raises(ConfigError, match=r"durability is .* accepted, written, synced"):
            await trail.log_event("data_access", "m", durability=durability)
        with pytest.raises(ConfigError, match="durability is"):
            trail.log("data_access", "m", durability=durability)
        assert await trail.count() == 0


@pytest.mark.parametrize("level", ["hippa", "pci", "", None, 1, [], "basic!"], ids=repr)
def test_a_framework_that_is_none_is_an_error_never_basic(level):
    with pytest.raises(ConfigError, match="compliance level is"):
        CompliancePolicy(level)


@pytest.mark.parametrize("spelling", ["PCI-DSS", "pci_dss", "Pci Dss", " PCI_DSS "])
def test_spellings_that_mean_one_framework_are_taken(spelling):
    assert parse_compliance_level(spelling) is ComplianceLevel.PCI_DSS


def test_levels_are_parsed_to_members():
    assert parse_log_level("Critical") is AuditLogLevel.CRITICAL
