"""A disk that is really full: a small file system where one may be mounted, and a limit on file sizes everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.checking import K1, comes_true, require_kept, require_not_tampered, require_recovers

from fapilog_tamper import Rotation, SealedLog, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="mounts and limits are of POSIX")

SIZE = 256 << 10


@pytest.fixture
def small(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here; the tests beside this one stand in for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_a_file_system_that_fills_up_and_is_emptied(small, compress):
    ballast = small / "ballast"
    ballast.write_bytes(bytes(SIZE // 2))
    folder = small / "log"
    promised, told = {}, []
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        # What is compressed hardly fills a disk: only the open segment does.
        rotation = Rotation(max_bytes=4 << 20 if compress == "gzip" else 16_384)
        log = SealedLog.open(folder, key=K1, rotation=rotation, compress=compress)
        accepted = 0
        while not told:
            try:
                receipt = log.append({"n": accepted, "text": os.urandom(600).hex()}, timeout=0.1)
                promised[receipt.stream, receipt.seq] = receipt.chain
            except StoreError as error:
                told += error.seqs
            accepted += 1
            assert accepted < 1000, "the disk never filled up"
        assert not log.health().ok
        assert told[0] > max(seq for _, seq in promised)
        ballast.unlink()
        log.flush()
        assert comes_true(lambda: log.health().ok)
        log.append({"n": accepted})
        log.close()
    require_kept(folder, "hmac", promised, closed=True)
    if compress == "none":
        events = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
        assert sorted(event["n"] for event in events if "n" in event) == list(range(accepted + 1))


def test_a_full_file_system_whose_writer_dies(small):
    ballast = small / "ballast"
    ballast.write_bytes(bytes(SIZE // 2))
    promised = _write_until_full(small / "log", limit=0)
    ballast.unlink()
    require_not_tampered(small / "log", "hmac")
    require_recovers(small / "log", "hmac", promised)


def test_a_limit_on_file_sizes(tmp_path):
    promised = _write_until_full(tmp_path / "log", limit=30_000)
    require_not_tampered(tmp_path / "log", "hmac")
    require_recovers(tmp_path / "log", "hmac", promised)


def _write_until_full(folder: Path, *, limit: int) -> dict[tuple[str, int], bytes]:
    """Have a process write until it is told that it cannot, and die without closing; return its receipts."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), str(folder), str(limit)], check=True, capture_output=True, text=True
    )
    *receipts, last = done.stdout.splitlines()
    assert last.startswith("told ")
    assert len(receipts) > 5
    return {("log", int(line.split()[0])): bytes.fromhex(line.split()[1]) for line in receipts}


def _fill(folder: str, limit: int) -> None:
    import resource
    import signal

    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    warnings.simplefilter("ignore")
    log = SealedLog.open(folder, key=K1)
    try:
        while True:
            receipt = log.append({"text": os.urandom(600).hex()}, timeout=0.1)
            sys.stdout.write(f"{receipt.seq} {receipt.chain.hex()}\n")
    except StoreError as error:
        sys.stdout.write(f"told {error.seqs}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _fill(sys.argv[1], int(sys.argv[2]))
