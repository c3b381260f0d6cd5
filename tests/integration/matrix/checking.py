"""What is asked of a log on the disk, and the keys under which the programs seal."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson

from fapilog_tamper import Code, Outcome, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.keys.jwk import format_private_jwk, format_public_jwk
from fapilog_tamper.layout import is_segment_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fapilog_tamper.keys import SigningKey

KEYS: dict[str, SigningKey] = {
    "HMAC-SHA256": HmacKey("matrix", bytes(range(32))),
    "Ed25519": Ed25519SigningKey("matrix", bytes(range(100, 132))),
}
KEY = KEYS["HMAC-SHA256"]
KEY_TEXT = bytes(range(32)).hex()
"""The material of that key, as an environment variable has it."""


def key_text(algorithm: str) -> str:
    """Return a key as an environment variable has it: HMAC as hex, which has no name of its own, Ed25519 as JWK."""
    return KEY_TEXT if algorithm == "HMAC-SHA256" else format_private_jwk(KEYS[algorithm])


def write_key_file(folder: Path, algorithm: str = "HMAC-SHA256") -> Path:
    """Write the private key to a new file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "key.jwk"
    path.touch(mode=0o600)
    path.write_text(format_private_jwk(KEYS[algorithm]))
    return path


def verifying_key_file(folder: Path, algorithm: str) -> Path:
    """Write the key that verifies to a new file: of Ed25519 the public one."""
    path = folder / "verifying.jwk"
    format_key = format_private_jwk if algorithm == "HMAC-SHA256" else format_public_jwk
    path.touch(mode=0o600)
    path.write_text(format_key(KEYS[algorithm]))
    return path


def payloads(folder: Path) -> Iterator[dict]:
    """Give the events that are stored, in the order of files and lines, without the entries of the log itself."""
    for path in sorted(folder.iterdir()):
        if is_segment_name(path.name):
            for line in path.read_bytes().splitlines(keepends=True):
                payload = orjson.loads(split(line)[0])
                if payload.keys() == {"log", "schema_version"}:
                    yield payload
                else:
                    assert payload.keys() == {"sealed_log"}, payload


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the events that are stored, without those that have none."""
    found = (payload["log"]["data"].get("n") for payload in payloads(folder))
    return [number for number in found if number is not None]


def check_intact(folder: Path, algorithm: str = "HMAC-SHA256") -> None:
    """Check that the log is intact, with a manifest for each segment and a head for its end."""
    report = verify_path(folder, keys=[KEYS[algorithm]], require_manifests=True, require_end=True)
    assert (report.outcome, report.findings) == (Outcome.INTACT, ())
    assert report.entries


def check_not_tampered(folder: Path, algorithm: str) -> None:
    """Check what holds of a log whose writer was killed: its end may not be authenticated yet."""
    report = verify_path(folder, keys=[KEYS[algorithm]])
    assert {finding.code for finding in report.findings} <= {Code.UNAUTHENTICATED_TAIL}


def check_command_says_intact(folder: Path, key_file: Path) -> None:
    """Check that the real command line says the same."""
    command = [sys.executable, "-m", "fapilog_tamper", "verify", folder, "--key", f"file:{key_file}"]
    done = subprocess.run(
        [*command, "--require-manifests", "--require-end"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("INTACT  ")


def check_stored(folder: Path, accepted: Sequence[int], *, unsure: int = 0) -> None:
    """Check that exactly the accepted events are stored, each once.

    A signal may come behind the call of the logger and before its report: `unsure` such events may be stored, too.
    """
    stored = numbers(folder)
    assert len(stored) == len(set(stored))
    assert set(accepted) - set(stored) == set()
    beyond = sorted(set(stored) - set(accepted))
    assert len(beyond) <= unsure, beyond
    assert all(number > accepted[-1] for number in beyond), beyond
