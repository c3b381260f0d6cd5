from __future__ import annotations

import json
import os

import pytest

from fapilog_audit.errors import ConfigError
from fapilog_audit.policy import CompliancePolicy, load_policy

WANTED = CompliancePolicy(
    level="hipaa", retention_days=2200, audit_access_roles=["auditor"], durability={"security": "synced"}
)
TOML = """
level = "HIPAA"
retention_days = 2200
audit_access_roles = ["auditor"]
[durability]
security = "synced"
"""
TOML_BELOW = """
[policy]
level = "HIPAA"
retention_days = 2200
audit_access_roles = ["auditor"]
durability = { security = "synced" }
[storage]
path = "elsewhere"
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("policy.toml", TOML),
        ("policy.toml", TOML_BELOW),
        ("POLICY.TOML", TOML),
        ("policy.json", json.dumps(WANTED.to_dict())),
        ("policy.json", json.dumps({"policy": WANTED.to_dict(), "other": 1})),
        ("policy.json", "\ufeff" + json.dumps(WANTED.to_dict())),
    ],
)
def test_a_policy_stands_at_top_level_or_under_policy(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_policy(tmp_path / name) == WANTED
    assert load_policy(str(tmp_path / name)) == WANTED


def test_an_empty_table_named_policy_is_the_default(tmp_path):
    (tmp_path / "policy.toml").write_text("[policy]\n")
    assert load_policy(tmp_path / "policy.toml") == CompliancePolicy()


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("p.json", b"", "the file is empty"),
        ("p.toml", b" \n", "the file is empty"),
        ("p.json", b"{}", "holds no policy"),
        ("p.toml", b"# nothing\n", "holds no policy"),
        ("p.json", b"{", "is not valid JSON: Expecting"),
        ("p.toml", b"level =", "is not valid TOML: Invalid"),
        ("p.json", b'{"level": "\xff"}', "is not valid JSON: 'utf-8'"),
        ("p.json", b"[" * 50_000, "is nested too deep"),
        ("p.json", b"[1]", r"holds \[1\], not a table"),
        ("p.json", b'{"policy": 3}', "policy is 3, not a table"),
        ("p.json", b'{"level": "sox", "level": "none"}', "is not valid JSON: a name stands twice"),
        ("p.toml", b"level = 'sox'\nlevel = 'none'\n", "is not valid TOML: Cannot overwrite"),
        ("p.toml", b"enabled = false\n[policy]\nlevel = 'sox'\n", "enabled stands beside the policy, not in it"),
        ("p.toml", b"levle = 'sox'\n", "policy has no field 'levle'. Did you mean level?"),
        ("p.toml", b"level = 'hippa'\n", "compliance level is 'hippa'"),
        ("p.json", b'{"retention_days": 1e3}', "retention_days is 1000.0, not a whole number"),
        ("p.json", b'{"enabled": null}', "enabled is None"),
        ("p.json", b"{" + b" " * (1 << 16) + b"}", "has more than 65536 bytes"),
        ("p.yaml", b"level: sox", "its name ends with '.yaml', not .json or .toml"),
        ("policy", b"{}", "its name ends with '', not .json or .toml"),
    ],
)
def test_a_file_that_holds_no_good_policy_is_named_with_what_is_wrong(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ConfigError, match=message) as caught:
        load_policy(tmp_path / name)
    assert caught.value.message.startswith(f"{tmp_path / name}: ")
    assert caught.value.hint


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.json: the file cannot be read: No such file"):
        load_policy(tmp_path / "absent.json")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "p.json").write_text("{}")
    (tmp_path / "p.json").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_policy(tmp_path / "p.json")


def test_a_folder_is_no_policy(tmp_path):
    (tmp_path / "p.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: not a regular file"):
        load_policy(tmp_path / "p.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.json")
    with pytest.raises(ConfigError, match="cannot be read: not a regular file"):
        load_policy(tmp_path / "p.json")


def test_a_large_file_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "p.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="has more than 65536 bytes"):
        load_policy(tmp_path / "p.json")
