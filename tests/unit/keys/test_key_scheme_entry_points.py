"""Key URI schemes of other packages, found through real entry points."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import HmacKey, open_signing_key, open_verifying_key

if TYPE_CHECKING:
    from pathlib import Path

Install = Callable[[str, dict[str, str]], None]

MODULE = """
from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.keys import HmacKey

def open_signing_key(uri):
    if uri.path == "gone":
        raise SealKeyError("no such key.", hint="Look again.")
    return HmacKey(uri.path, bytes(range(32)))

open_verifying_key = open_signing_key

class Scheme:
    def open_signing_key(self, uri):
        return open_signing_key(uri)
    def open_verifying_key(self, uri):
        return open_signing_key(uri)

class Half:
    def open_signing_key(self, uri):
        return open_signing_key(uri)

instance = Scheme()
half = Half()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a distribution with the given entry points and a module of the same name."""

    def make(name: str, entries: dict[str, str]) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{scheme} = {target}" for scheme, target in entries.items())
        (info / "entry_points.txt").write_text(f"[fapilog_tamper.key_providers]\n{lines}\n")
        (tmp_path / f"{name}.py").write_text(MODULE)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("target", ["seal_scheme_a", "seal_scheme_a:instance"])
def test_a_module_or_an_object_serves_a_scheme(install: Install, target: str) -> None:
    install("seal_scheme_a", {"myvault": target})
    expected = HmacKey("k1", bytes(range(32)))
    assert open_signing_key("myvault:k1") == expected
    assert open_verifying_key("myvault:k1?kid=k1&alg=HMAC-SHA256") == expected


def test_errors_of_a_scheme_come_through(install: Install) -> None:
    install("seal_scheme_b", {"myvault": "seal_scheme_b"})
    with pytest.raises(SealKeyError, match=r"^no such key\. Look again\.$"):
        open_signing_key("myvault:gone")


@pytest.mark.parametrize("open_key", [open_signing_key, open_verifying_key])
def test_a_scheme_must_open_the_key_that_was_asked_for(install: Install, open_key: Callable[..., object]) -> None:
    install("seal_scheme_c", {"myvault": "seal_scheme_c"})
    with pytest.raises(SealKeyError, match=r"myvault:k1\?kid=k2 opened key k1"):
        open_key("myvault:k1?kid=k2")
    with pytest.raises(SealKeyError, match="opened a key for HMAC-SHA256"):
        open_key("myvault:k1?alg=Ed25519")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("seal_scheme_missing", "cannot be loaded"),
        ("seal_scheme_d:absent", "cannot be loaded"),
        ("seal_scheme_d:Scheme", "is not a KeyScheme"),
        ("seal_scheme_d:half", "is not a KeyScheme"),
    ],
)
def test_a_broken_registration_is_named(install: Install, target: str, reason: str) -> None:
    install("seal_scheme_d", {"myvault": target})
    with pytest.raises(SealKeyError, match=f"scheme myvault: {target} {reason}") as error:
        open_signing_key("myvault:k1")
    assert error.value.hint


def test_two_packages_for_one_scheme_are_refused(install: Install) -> None:
    install("seal_scheme_e", {"myvault": "seal_scheme_e"})
    install("seal_scheme_f", {"myvault": "seal_scheme_f:instance"})
    with pytest.raises(SealKeyError, match="several packages provide it: seal_scheme_e, seal_scheme_f:instance"):
        open_signing_key("myvault:k1")


def test_a_package_cannot_take_over_a_built_in_scheme(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("seal_scheme_g", {"env": "seal_scheme_g"})
    monkeypatch.delenv("SEAL_NO_SUCH", raising=False)
    with pytest.raises(SealKeyError, match="environment variable SEAL_NO_SUCH is not set"):
        open_signing_key("env:SEAL_NO_SUCH")


def test_installed_schemes_are_listed(install: Install) -> None:
    install("seal_scheme_h", {"myvault": "seal_scheme_h"})
    with pytest.raises(SealKeyError, match=r"Known schemes: .*myvault"):
        open_signing_key("nosuch:x")


def run(code: str, folder: Path) -> str:
    program = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(program, capture_output=True, text=True, check=True, cwd=folder).stdout.strip()


def test_the_room_loads_neither_cryptography_nor_metadata_before_they_are_needed(tmp_path: Path) -> None:
    shown = run(
        """
        import sys
        import fapilog_tamper.keys as keys
        def loaded():
            return [name for name in ("cryptography", "importlib.metadata") if name in sys.modules]
        key = keys.HmacKey("k", bytes(32))
        ring = keys.Keyring([key])
        public = keys.Ed25519VerifyingKey("e", bytes([2]) + bytes(31))
        print(loaded())
        public.verify(b"", b"")
        print(loaded())
        try:
            keys.open_signing_key("nosuch:x")
        except keys.base.SealKeyError:
            print(loaded())
        """,
        tmp_path,
    )
    assert shown.splitlines() == ["[]", "['cryptography']", "['cryptography', 'importlib.metadata']"]
