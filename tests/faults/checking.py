"""What is asked of a log after something went wrong: never tampered, then opened, intact, and every promise kept."""

from __future__ import annotations

import gzip
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fapilog_tamper import Outcome, SealedLog, verify_path
from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, Keyring, SigningKey
from fapilog_tamper.layout import is_segment_name
from fapilog_tamper.testing import MemoryDisk, MemoryStore

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fapilog_tamper import Receipt, VerifyReport

K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED1 = Ed25519SigningKey("ed-1", bytes(range(100, 132)))
ED2 = Ed25519SigningKey("ed-2", bytes(range(60, 92)))
KEYS: dict[str, tuple[SigningKey, ...]] = {"hmac": (K1, K2), "ed25519": (ED1, ED2), "unkeyed": ()}
KEYRING = Keyring([K1, K2, ED1, ED2])

Promised = dict[tuple[str, int], bytes]
"""Receipts: the chain hash by stream and seq."""


def ring_of(how: str) -> Keyring | None:
    """Return what a verifier trusts."""
    return KEYRING if KEYS[how] else None


@contextmanager
def on_disk(disk: MemoryDisk) -> Iterator[Path]:
    """Give a real folder with what is on a disk in memory."""
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 (a fresh folder in it)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=shared) as temporary:
        disk.dump(Path(temporary, "log"))
        yield Path(temporary, "log")


def verify(place: Path | MemoryDisk, how: str, *, closed: bool = False) -> VerifyReport:
    """Verify a log; a `closed` one must have manifests and an attested end, too."""
    if isinstance(place, MemoryDisk):
        with on_disk(place) as folder:
            return verify(folder, how, closed=closed)
    return verify_path(place, keyring=ring_of(how), require_manifests=closed, require_end=closed)


def found_in(files: Mapping[str, bytes]) -> dict[tuple[str, int], set[bytes]]:
    """Return the entries that stand in segments: chain hashes by stream and seq."""
    found: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for name, content in files.items():
        if is_segment_name(name) and "/" not in name:
            for line in _unpacked(content).splitlines(keepends=True):
                try:
                    _, block = split(line)
                except FormatError:
                    continue
                found[block.stream, block.seq].add(block.chain_hash)
    return found


def _unpacked(content: bytes) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    return zstd.decompress(content) if content.startswith(b"\x28\xb5\x2f\xfd") else content


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a log's folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def lost_of(promised: Mapping[tuple[str, int], bytes], files: Mapping[str, bytes]) -> list[tuple[str, int]]:
    """Return which promised entries are not there as their receipts have them."""
    found = found_in(files)
    return [place for place, chain in promised.items() if chain not in found.get(place, ())]


def as_promised(receipts: Iterable[Receipt]) -> Promised:
    """Return receipts by their place."""
    return {(receipt.stream, receipt.seq): receipt.chain for receipt in receipts}


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Tell whether something becomes true before long; returns as soon as it is."""
    end = time.monotonic() + seconds
    look = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        look.wait(0.001)
    return True


def explain(report: VerifyReport) -> str:
    """Return a report in a few lines."""
    findings = [f"{one.code.value} {one.place()} seq {one.seq}: {one.message}" for one in report.findings[:10]]
    return "\n  ".join([report.outcome.value, *findings, *report.not_checked])


def require_not_tampered(place: Path | MemoryDisk, how: str) -> Outcome:
    """A crash is no attack: what it leaves may be undetermined, never tampered."""
    report = verify(place, how)
    assert report.outcome is not Outcome.TAMPERED, f"before reopening: {explain(report)}"
    return report.outcome


def require_kept(place: Path | MemoryDisk, how: str, promised: Promised, *, closed: bool = False) -> None:
    """A log is intact and holds every promised entry; a `closed` one has manifests and attested ends, too."""
    report = verify(place, how, closed=closed)
    assert report.outcome is Outcome.INTACT, f"after recovery: {explain(report)}"
    lost = lost_of(promised, place.image() if isinstance(place, MemoryDisk) else files_of(place))
    assert not lost, f"lost: {lost[:20]} of {len(promised)}"


def require_recovers(place: Path | MemoryDisk, how: str, promised: Promised) -> None:
    """The next writer opens the log, goes on, and closes it; then it is intact. So it is when all slots were in use."""
    store: Path | MemoryStore = MemoryStore(place) if isinstance(place, MemoryDisk) else place
    key = KEYS[how][-1] if KEYS[how] else None
    with SealedLog.open(store, key=key, keyring=ring_of(how)) as log:
        last = log.append({"what": "the next writer"}, durability="synced")
    promised = {**promised, **as_promised([last])}
    others = any(".w" in name for name in store.names()) if isinstance(store, MemoryStore) else True
    require_kept(place, how, promised, closed=not others)
    if not others:
        return
    with ExitStack() as slots:
        for _ in range(2):
            log = slots.enter_context(SealedLog.open(store, key=key, keyring=ring_of(how)))
            promised |= as_promised([log.append({"what": "a later writer"})])
    require_kept(place, how, promised, closed=True)
