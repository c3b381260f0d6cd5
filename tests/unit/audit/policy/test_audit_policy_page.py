"""The reference page and the tables say the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from fapilog_audit.compliance import general
from fapilog_audit.compliance.validate import DATA_RULES, POLICY_RULES
from fapilog_audit.kinds import ComplianceLevel
from fapilog_audit.policy import CompliancePolicy

PAGE = (Path(__file__).parents[4] / "docs/reference/policy.md").read_text(encoding="utf-8")
HEAD = "| field | severity | what is said | clause |\n|---|---|---|---|\n"


def rows(rules):
    return HEAD + "".join(f"| `{rule.field}` | {rule.severity} | {rule.message} | {rule.clause} |\n" for rule in rules)


def section(title):
    found = re.search(rf"^### {re.escape(title)}\n\n(\|.*?\n)(?:\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section {title}"
    return found[1]


def tables(rules):
    return {str(level): table for level, table in rules.items() if table}


@pytest.mark.parametrize("level", tables(POLICY_RULES))
def test_the_page_shows_the_rules_of_each_framework(level):
    assert section(f"Policy under `{level}`") == rows(POLICY_RULES[ComplianceLevel(level)])


@pytest.mark.parametrize("level", tables(DATA_RULES))
def test_the_page_shows_the_rules_of_each_framework_on_data(level):
    assert section(f"Data handling under `{level}`") == rows(DATA_RULES[ComplianceLevel(level)])


def test_the_page_shows_the_general_rules():
    assert section("Policy under every level") == rows(general.POLICY_RULES)
    assert section("Data handling under every level") == rows(general.DATA_RULES)


def test_the_page_shows_no_rules_that_are_not_there():
    shown = PAGE.count(HEAD)
    assert shown == len(tables(POLICY_RULES)) + len(tables(DATA_RULES)) + 2


def test_the_page_shows_each_field_with_its_default_in_order():
    listed = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", PAGE.partition("## Rules")[0], re.MULTILINE)
    defaults = CompliancePolicy()
    wanted = []
    for each in fields(CompliancePolicy):
        default = getattr(defaults, each.name)
        wanted.append((each.name, str(default) if each.name != "audit_access_roles" else str(list(default))))
    assert listed == wanted
