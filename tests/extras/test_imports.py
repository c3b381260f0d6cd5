"""What importing costs and brings, each in an interpreter of its own."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import pytest

import fapilog_audit
import fapilog_tamper

HEAVY = ("fapilog", "cryptography", "orjson", "rfc8785", "typer", "rich", "asyncio", "httpx", "pydantic", "logging")


def modules_after(code: str) -> set[str]:
    """The top-level modules that are loaded after `code`, beside those of a bare interpreter."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {name.partition(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_after("import fapilog_tamper")
    assert not loaded & set(HEAVY)
    assert not [name for name in loaded if name.startswith("fapilog_tamper.")]


@pytest.mark.parametrize("name", ["fapilog_tamper.entry", "fapilog_tamper.layout", "fapilog_tamper.errors"])
def test_the_formats_of_lines_and_names_need_no_other_package(name: str) -> None:
    assert not modules_after(f"import {name}") & {"fapilog", "cryptography", "orjson", "typer", "rich"}


def test_writing_and_verifying_under_a_secret_need_neither_fapilog_nor_the_command_line(tmp_path) -> None:
    code = (
        "from fapilog_tamper import SealedLog, verify_path\n"
        "from fapilog_tamper.keys import HmacKey\n"
        "key = HmacKey('k1', bytes(32))\n"
        f"with SealedLog.open({str(tmp_path)!r}, key=key) as log: log.append({{'a': 1}})\n"
        f"assert verify_path({str(tmp_path)!r}, keys=[key], require_end=True).valid"
    )
    assert not modules_after(code) & {"fapilog", "fapilog_audit", "cryptography", "typer", "rich", "pydantic", "httpx"}


def test_the_command_line_loads_neither_fapilog_nor_what_belongs_to_it() -> None:
    loaded = modules_after("import fapilog_tamper.cli, fapilog_tamper.cli.app")
    assert "typer" in loaded
    assert not loaded & {"fapilog", "fapilog_audit", "httpx", "pydantic", "pydantic_settings"}


@pytest.mark.parametrize("name", fapilog_tamper.__all__)
def test_every_public_name_loads_by_itself(name: str) -> None:
    value = getattr(fapilog_tamper, name)
    assert getattr(fapilog_tamper, name) is value
    if name != "__version__":
        assert value.__name__ == name
        assert getattr(sys.modules[value.__module__], name) is value


def test_all_names_load_in_a_fresh_interpreter() -> None:
    modules_after(
        "import fapilog_tamper\n"
        "for name in fapilog_tamper.__all__: getattr(fapilog_tamper, name)\n"
        "from fapilog_tamper import *\n"
        "assert SealedLog is fapilog_tamper.SealedLog"
    )


def test_dir_lists_the_public_names() -> None:
    assert dir(fapilog_tamper) == sorted(fapilog_tamper.__all__)
    assert len(set(fapilog_tamper.__all__)) == len(fapilog_tamper.__all__)
    assert set(fapilog_tamper._HOMES) == set(fapilog_tamper.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ["nothing", "SealedLogs", "__wrapped__", "_private", "orjson"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'fapilog_tamper' has no attribute '{name}'"):
        getattr(fapilog_tamper, name)
    assert not hasattr(fapilog_tamper, name)


def test_an_unknown_name_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="nothing"):
        from fapilog_tamper import nothing  # noqa: F401


def test_the_audit_package_imports_by_itself() -> None:
    assert fapilog_audit.__doc__
    assert not modules_after("import fapilog_audit") & {"fapilog", "cryptography", "pydantic"}


@pytest.mark.parametrize("package", ["fapilog_tamper", "fapilog_audit"])
def test_the_marker_of_types_is_shipped(package: str) -> None:
    assert importlib.resources.files(package).joinpath("py.typed").is_file()
