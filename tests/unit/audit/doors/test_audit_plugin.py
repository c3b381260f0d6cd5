"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

# pytester forgets what the inner run imports: what is here already stays as it is.
import fapilog_audit.pytest_plugin
import fapilog_audit.testing  # noqa: F401

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]


@pytest.fixture
def project(tmp_path):
    """A project of a user, with nothing but what it says."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def run(project: Path, *options: str, **files: str) -> str:
    for name, text in files.items():
        (project / f"{name}.py").write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_", "COVERAGE"))}
    # Temporary folders of this run can be told from others.
    (project / "tmp").mkdir(exist_ok=True)
    env |= {"TMPDIR": str(project / "tmp"), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugins = ("-p", "no:cacheprovider", "-p", "fapilog_audit.pytest_plugin")
    command = [sys.executable, "-m", "pytest", "-q", *plugins, *options]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def passes(project: Path, number: int, *options: str, **files: str) -> None:
    printed = run(project, *options, **files)
    assert f"{number} passed" in printed, printed
    assert "failed" not in printed, printed
    assert "warning" not in printed, printed


FIXTURE = """
import asyncio
from fapilog_audit import AuditTrail, audit_data_access, audited, get_audit_trail
from fapilog_audit.testing import assert_audited, assert_chain_intact

@audited("acme.user.update", fields=["user_id"])
def update(user_id): ...

def test_code_under_test_logs_into_the_fixture(audit_trail, tmp_path):
    assert isinstance(audit_trail, AuditTrail)
    assert audit_trail.storage_path.is_relative_to(tmp_path)
    update("u-1")
    assert_audited(audit_trail, "acme.user.update", count=1, user_id="u-1")
    assert_chain_intact(audit_trail)

def test_nothing_is_left_of_the_test_before(audit_trail):
    assert_audited(audit_trail, count=0)
    asyncio.run(audit_data_access("invoice/17", "read"))
    assert_audited(audit_trail, "data_access", count=1)
"""


def test_the_fixture_is_the_default_trail_in_a_folder_of_the_test(project):
    passes(project, 2, test_it=FIXTURE)
    assert not (project / "audit_logs").exists()


def test_the_settings_of_the_fixture_can_be_chosen(project):
    text = """
import asyncio, pytest
from fapilog_audit import CompliancePolicy, get_audit_trail

POLICY = CompliancePolicy(level="soc2", audit_reads=True)

@pytest.fixture
def audit_trail_settings():
    return {"policy": POLICY}

def test_it(audit_trail):
    assert audit_trail.policy is POLICY
    assert asyncio.run(get_audit_trail(POLICY)) is audit_trail
"""
    passes(project, 1, test_it=text)


RESET = """
from fapilog_audit.instances import _trails, find_audit_trail, get_audit_trail_now
import pytest

seen = []

@pytest.fixture
def late():
    yield
    find_audit_trail().log("acme.late", "fixtures still log")

def test_one(late):
    seen.append(get_audit_trail_now())
    seen.append(get_audit_trail_now("web"))
    seen[0].log("acme.x", "m")

def test_two():
    assert find_audit_trail() is None and find_audit_trail("web") is None
    assert not any(trail.started for trail in seen)
    fresh = get_audit_trail_now()
    assert fresh.storage_path != seen[0].storage_path
"""


def test_named_trails_are_stopped_and_forgotten_behind_each_test(project):
    passes(project, 2, test_it=RESET)
    assert sorted(path.name for path in project.iterdir()) == ["pytest.ini", "test_it.py", "tmp"]
    assert not list((project / "tmp").glob("fapilog-audit-*"))


@pytest.mark.parametrize("text", [FIXTURE, RESET])
def test_it_leaves_the_process_as_it_was(pytester, monkeypatch, text):
    monkeypatch.setenv("FAPILOG_AUDIT_TEST_FOLDER", "kept")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(text)
    pytester.runpytest_inprocess("-p", "fapilog_audit.pytest_plugin").assert_outcomes(passed=2)
    assert os.environ["FAPILOG_AUDIT_TEST_FOLDER"] == "kept"


def test_a_folder_that_was_named_is_used(project):
    text = """
from fapilog_audit import get_audit_trail
import asyncio

def test_it():
    trail = asyncio.run(get_audit_trail(storage_path="mine"))
    trail.log("acme.x", "m")
"""
    passes(project, 1, test_it=text)
    assert len(list((project / "mine").glob("*.jsonl"))) == 1


def test_subprocesses_of_a_test_leave_nothing_either(project):
    text = """
import subprocess, sys

def test_it():
    code = "import asyncio, fapilog_audit as a; asyncio.run(a.audit_data_access('r', 'read'))"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
    passes(project, 1, test_it=text)
    assert not (project / "audit_logs").exists()


def test_a_project_that_does_not_use_it_imports_nothing_of_it(project):
    text = """
import sys, os

def test_it():
    found = sorted(name for name in sys.modules if name.startswith(("fapilog", "pydantic", "orjson")))
    assert found == ["fapilog_audit", "fapilog_audit.pytest_plugin", "fapilog_audit.version"]

def test_the_folder_is_made_with_the_first_trail_only():
    assert not os.path.exists(os.environ["FAPILOG_AUDIT_TEST_FOLDER"])
"""
    passes(project, 2, test_it=text)


def test_workers_of_xdist_have_default_trails_of_their_own(project):
    text = """
import os, pytest
from fapilog_audit.instances import get_audit_trail_now
from fapilog_audit.testing import assert_audited

@pytest.mark.parametrize("number", range(8))
def test_it(number):
    trail = get_audit_trail_now()
    assert trail.storage_path.name == os.environ["PYTEST_XDIST_WORKER"]
    trail.log("acme.x", "m", number=number)
    assert_audited(trail, count=1, number=number)

@pytest.mark.parametrize("number", range(4))
def test_fixture(audit_trail, number):
    audit_trail.log("acme.x", "m", number=number)
    assert_audited(audit_trail, count=1, number=number)
"""
    passes(project, 12, "-p", "xdist", "-n", "2", test_it=text)


ASYNC = """
import pytest
from fapilog_audit import get_audit_trail
from fapilog_audit.testing import assert_audited

{mark}
async def test_first(audit_trail):
    assert await get_audit_trail() is audit_trail
    await audit_trail.log_event("acme.x", "m")
    assert_audited(audit_trail, "acme.x", count=1)

{mark}
async def test_second():
    trail = await get_audit_trail()
    await trail.log_event("acme.x", "m", durability="accepted")
    assert_audited(trail, "acme.x", count=1)
"""


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("@pytest.mark.asyncio", ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]),
        ("@pytest.mark.anyio", ["-p", "anyio.pytest_plugin"]),
    ],
)
def test_it_works_beside_the_plugins_for_loops(project, mark, options):
    conftest = "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    passes(project, 2, *options, test_it=ASYNC.format(mark=mark), conftest=conftest)


def test_unittest_cases_are_tests_too(project):
    text = """
import unittest
from fapilog_audit.instances import find_audit_trail, get_audit_trail_now

class Case(unittest.TestCase):
    def test_one(self):
        assert find_audit_trail() is None
        get_audit_trail_now()

    def test_two(self):
        self.test_one()
"""
    passes(project, 2, test_it=text)
    assert not (project / "audit_logs").exists()
