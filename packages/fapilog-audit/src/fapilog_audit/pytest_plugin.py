"""The pytest plugin: a trail for a test, none left behind, and nothing in the working folder.

* The fixture `audit_trail` is the default trail, started, in the test's `tmp_path`, with what the fixture
  `audit_trail_settings` returns.
* Behind each test all named trails are stopped and forgotten.
* Trails that nobody gave a `storage_path` lie in a temporary folder, one a test, removed at the end.

It imports nothing of the audit trail until a test does. `fapilog_audit.testing` has the assertions. To do without:
`-p no:fapilog_audit`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fapilog_audit.trail import AuditTrail

__all__ = ["audit_trail", "audit_trail_settings"]

_FOLDER: Final = "FAPILOG_AUDIT_TEST_FOLDER"
_INSTANCES: Final = "fapilog_audit.instances"

_root: Final = pytest.StashKey[Path]()
_tests: Final = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose a folder, which comes into being with the first trail."""
    config.stash[_root] = Path(tempfile.gettempdir(), f"fapilog-audit-{os.getpid()}-{os.urandom(6).hex()}")
    config.stash[_tests] = 0


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what tests have left in the folder."""
    root = config.stash.get(_root, None)
    if root is not None and root.exists():
        import shutil

        shutil.rmtree(root, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give each test a folder of its own; subprocesses of it have it, too."""
    stash = item.config.stash
    stash[_tests] += 1
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = str(stash[_root] / str(stash[_tests]))
    try:
        return (yield)
    finally:
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Stop and forget all trails, when the fixtures of the test are gone."""
    try:
        return (yield)
    finally:
        instances = sys.modules.get(_INSTANCES)
        if instances is not None:
            instances.reset_all_audit_trails_now()


@pytest.fixture
def audit_trail_settings() -> dict[str, Any]:
    """Give the settings of `audit_trail`, those of `AuditTrail`; to be overridden in a test module or a conftest.py."""
    return {}


@pytest.fixture
def audit_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audit_trail_settings: dict[str, Any]
) -> Iterator[AuditTrail]:
    """Give the default audit trail, started, in `tmp_path`: what `get_audit_trail()` gives the code under test."""
    from fapilog_audit.instances import get_audit_trail_now, reset_all_audit_trails_now

    monkeypatch.setenv(_FOLDER, str(tmp_path / "audit_logs"))
    yield get_audit_trail_now(**audit_trail_settings)
    reset_all_audit_trails_now()
