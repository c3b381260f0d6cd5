"""What the tests of `SealedLog` share: keys, ways to open, read and verify a log, and programs of their own."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from fapilog_tamper import Keyring, Receipt, SealedLog
from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.head import Head, parse_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, is_segment_name, manifest_name, plain_name, segment_place
from fapilog_tamper.manifest import Manifest, parse_manifest
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.testing import FaultyStore, MemoryStore, assert_intact

if TYPE_CHECKING:
    from collections.abc import Callable

    from fapilog_tamper.store.base import Store
    from fapilog_tamper.verify.report import VerifyReport

K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
ED2 = Ed25519SigningKey("ed-2027", bytes(range(150, 182)))
KEYRING = Keyring([K1, K2, ED, ED2])
NOON = 1_800_014_400.0 - 1_800_014_400.0 % 86_400 + 43_200
DAY = 86_400.0
posix = pytest.mark.skipif(os.name == "nt", reason="modes, fork, kill -9 and folder sync are of POSIX")


def open_log(folder: Any, key: str | SigningKey | None = K1, **options: Any) -> SealedLog:
    return SealedLog.open(folder, key=key, **{"timeout": 10, **options})


def fill(folder: Any, count: int = 3, key: str | SigningKey | None = K1, **options: Any) -> list[Receipt]:
    with open_log(folder, key, **options) as log:
        return [log.append({"n": number, "timestamp": f"t{number:04d}"}) for number in range(count)]


def store_of(folder: Any) -> Store:
    return FileStore(folder) if isinstance(folder, Path) else folder


def segments(folder: Any, stream: str = "log") -> list[str]:
    """Return the names of the stream's segments, in their order."""
    places = {
        name: place
        for name in store_of(folder).names()
        if is_segment_name(name) and (place := segment_place(name, stream)) is not None
    }
    return sorted(places, key=lambda name: places[name])


def content(folder: Any, name: str) -> bytes:
    raw = store_of(folder).read(name)
    if name.endswith(".gz"):
        return gzip.decompress(raw)
    return zstd.decompress(raw) if name.endswith(".zst") else raw


def lines_of(folder: Any, stream: str = "log") -> list[bytes]:
    return [line for name in segments(folder, stream) for line in content(folder, name).splitlines(keepends=True)]


def blocks_of(folder: Any, stream: str = "log") -> list[Integrity]:
    return [split(line)[1] for line in lines_of(folder, stream)]


def payloads_of(folder: Any, stream: str = "log") -> list[dict[str, Any]]:
    return [json.loads(split(line)[0]) for line in lines_of(folder, stream)]


def events_of(folder: Any, stream: str = "log") -> list[dict[str, Any]]:
    """Return the payloads that callers gave."""
    return [payload for payload in payloads_of(folder, stream) if "sealed_log" not in payload]


def controls_of(folder: Any, kind: str, stream: str = "log") -> list[dict[str, Any]]:
    """Return the control entries of a kind, each with its own seq as `at`."""
    found = [
        (block.seq, json.loads(payload).get("sealed_log")) for payload, block in map(split, lines_of(folder, stream))
    ]
    return [{**control, "at": seq} for seq, control in found if control and control["kind"] == kind]


def manifest_of(folder: Any, name: str) -> Manifest:
    return parse_manifest(store_of(folder).read(manifest_name(name)))


def has_manifest(folder: Any, name: str) -> bool:
    return manifest_name(plain_name(name)) in store_of(folder).names()


def head_of(folder: Any, stream: str = "log", state: Any = None) -> Head:
    place = store_of(folder).child(STATE_FOLDER) if state is None else store_of(state)
    return parse_head(place.read(head_name(stream)))


def verified(folder: Any, key: SigningKey | None = K1, **options: Any) -> VerifyReport:
    """Ask the real verifier about a closed log: every line, manifest and end."""
    inner = folder.inner if isinstance(folder, FaultyStore) else folder
    settings = {"require_end": True, "require_manifests": True, "deep": True, **options}
    return assert_intact(inner, None if key is None else KEYRING, **settings)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so; fail when it does not come about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


def memory() -> MemoryStore:
    """Return a folder of its own in memory."""
    return MemoryStore(path=("log",))


def faulty() -> FaultyStore:
    """Return a folder in memory that fails on demand."""
    return FaultyStore(memory())


PRELUDE = """
import asyncio, atexit, os, sys, threading
from fapilog_tamper import SealedLog, StoreError
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
key = HmacKey('k1', bytes(range(32)))
ed = Ed25519SigningKey('ed-2026', bytes(range(100, 132)))
folder = sys.argv[1]
"""


def python(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Start an interpreter with `folder`, `key` and `ed` ready."""
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", PRELUDE + code]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *map(str, args)], text=True, **{**pipes, **options})


def run(code: str, *args: object, returns: int = 0) -> tuple[str, str]:
    """Run a program to its end; return what it wrote to stdout and stderr."""
    with python(code, *args) as child:
        try:
            out, err = child.communicate(timeout=60)
        except BaseException:
            child.kill()
            raise
    assert child.returncode == returns, err
    return out, err
