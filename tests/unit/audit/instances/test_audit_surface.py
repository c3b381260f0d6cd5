"""The public names, what an import costs, and that fapilog knows nothing of us."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib.metadata import entry_points
from types import ModuleType

import pytest

import fapilog_audit

STABLE = [
    "AuditTrail",
    "AuditEvent",
    "AuditEventType",
    "AuditLogLevel",
    "AuditChainVerificationResult",
    "CompliancePolicy",
    "ComplianceLevel",
    "AuditConfig",
    "DataHandlingSettings",
    "AuditSink",
    "AuditSinkConfig",
    "get_audit_trail",
    "reset_audit_trail",
    "reset_all_audit_trails",
    "audit_error",
    "audit_security_event",
    "audit_data_access",
    "emit_compliance_alert",
    "log_error",
    "log_security_event",
    "validate_compliance_policy",
    "validate_data_handling",
    "validate_audit_config",
    "StorageBackend",
    "FileStorageBackend",
]

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", STABLE)
def test_a_stable_name_can_be_imported(name):
    assert getattr(fapilog_audit, name) is not None
    assert name in fapilog_audit.__all__


@pytest.mark.parametrize("name", fapilog_audit.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(fapilog_audit, name)
    if not isinstance(value, str):
        assert inspect.getdoc(value)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fapilog_audit' has no attribute 'nothing'"):
        _ = fapilog_audit.nothing
    run("try: from fapilog_audit import nothing\nexcept ImportError: pass")


def test_the_names_are_shown():
    assert set(fapilog_audit.__all__) <= set(dir(fapilog_audit))


def test_backends_are_a_module():
    run("import fapilog_audit; fapilog_audit.backends.FileStorageBackend")
    backends = importlib.import_module("fapilog_audit.backends")
    assert isinstance(backends, ModuleType)
    assert backends.StorageBackend is fapilog_audit.StorageBackend


def test_an_import_loads_nothing_but_the_package_itself():
    code = "import sys; before = set(sys.modules); import fapilog_audit; print(*sorted(set(sys.modules) - before))"
    loaded = run(code).split()
    assert [
        name for name in loaded if name.partition(".")[0] in {"fapilog", "pydantic", "orjson", "fapilog_tamper"}
    ] == []
    assert [name for name in loaded if name.startswith("fapilog_audit")] == ["fapilog_audit", "fapilog_audit.version"]


# fapilog without us.


def test_fapilog_core_holds_no_audit_code():
    with pytest.raises(ImportError):
        importlib.import_module("fapilog.core.audit")


def test_audit_is_in_no_built_in_registry_of_fapilog():
    from fapilog.plugins import loader

    registries = {name: value for name, value in vars(loader).items() if name.startswith("BUILTIN_")}
    assert "BUILTIN_SINKS" in registries
    for name, value in registries.items():
        assert "audit" not in value, name


def test_the_entry_point_is_ours():
    found = [one for one in entry_points(group="fapilog.sinks") if one.name == "audit"]
    assert [one.value for one in found] == ["fapilog_audit:AuditSink"]


def test_the_entry_point_loads():
    (found,) = (one for one in entry_points(group="fapilog.sinks") if one.name == "audit")
    assert found.load() is fapilog_audit.AuditSink


def test_fapilog_works_with_neither_of_our_packages():
    code = BLOCKED.format(blocked="{'fapilog_audit', 'fapilog_tamper'}")
    code += "import fapilog\nwith fapilog.runtime() as logger: logger.info('m', n=1)\n"
    code += "print('done', [name for name in sys.modules if name.startswith(('fapilog_audit', 'fapilog_tamper'))])"
    assert run(code).rstrip().endswith("done []")
