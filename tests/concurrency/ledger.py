"""What callers were promised, against what stands on the disk.

A caller is anything that appends one event after the other: a thread, a coroutine, a process. Its events are
`{"caller": name, "n": 0, 1, 2 ...}`, and its receipts go into a file, one line each, so that they outlive it.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import split
from fapilog_tamper.head import parse_head
from fapilog_tamper.keys import HmacKey
from fapilog_tamper.layout import STATE_FOLDER, is_segment_name, parse_head_name, plain_name
from fapilog_tamper.manifest import parse_manifest
from fapilog_tamper.testing import assert_intact

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable
    from pathlib import Path

    from fapilog_tamper import Receipt
    from fapilog_tamper.head import Head
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.manifest import Manifest
    from fapilog_tamper.verify.report import VerifyReport

KEY = HmacKey("k1", bytes(range(32)))
CONTROL = "sealed_log"


class Kept(NamedTuple):
    """A receipt, and what it is of."""

    caller: str
    n: int
    stream: str
    seq: int
    chain_hash: str


class Receipts:
    """Writes receipts into a file at once, so that they survive a kill; any thread may call it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def keep(self, caller: str, n: int, receipt: Receipt) -> None:
        """Put a receipt on record."""
        os.write(self._fd, f"{caller} {n} {receipt.stream} {receipt.seq} {receipt.chain_hash}\n".encode())


def receipts_in(*paths: Path) -> list[Kept]:
    """Read receipts back."""
    kept = []
    for path in paths:
        for line in path.read_text().splitlines():
            caller, n, stream, seq, chain_hash = line.split(" ")
            kept.append(Kept(caller, int(n), stream, int(seq), chain_hash))
    return kept


def kept(caller: str, n: int, receipt: Receipt) -> Kept:
    """Return a receipt with what it is of."""
    return Kept(caller, n, receipt.stream, receipt.seq, receipt.chain_hash)


@dataclass(frozen=True)
class Line:
    """An entry as it stands in a file."""

    stream: str
    seq: int
    chain_hash: str
    event: dict[str, Any]

    @property
    def of(self) -> tuple[str, int] | None:
        """The caller and its number; None for an entry of the writer itself."""
        return None if CONTROL in self.event else (self.event["caller"], self.event["n"])


def unpacked(name: str, content: bytes) -> bytes:
    """Return what a segment holds."""
    if name.endswith(".gz"):
        return gzip.decompress(content)
    return zstd.decompress(content) if name.endswith(".zst") else content


def lines_of(files: dict[str, bytes]) -> dict[str, list[Line]]:
    """Return the entries of each stream by seq, each once, and check that no seq is missing or stands twice."""
    streams: dict[str, list[Line]] = defaultdict(list)
    segments = {plain_name(name): name for name in sorted(files, reverse=True) if is_segment_name(name)}
    for name in segments.values():
        for raw in unpacked(name, files[name]).splitlines(keepends=True):
            payload, block = split(raw)
            streams[block.stream].append(
                Line(block.stream, block.seq, b64url_encode(block.chain_hash), json.loads(payload))
            )
    for stream, lines in streams.items():
        lines.sort(key=lambda line: line.seq)
        assert [line.seq for line in lines] == list(range(1, len(lines) + 1)), stream
    return dict(streams)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a log."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def check_receipts(
    streams: dict[str, list[Line]], receipts: Iterable[Kept], *, unsure: Iterable[tuple[str, int]] = ()
) -> None:
    """Each receipt stands on the disk, each event once, and each caller's in the order in which it appended.

    Args:
        streams: the entries.
        receipts: what callers were given.
        unsure: events whose append did not return; these, and no others, may be there without a receipt.
    """
    receipts = list(receipts)
    for one in receipts:
        line = streams[one.stream][one.seq - 1]
        assert (line.chain_hash, line.of) == (one.chain_hash, (one.caller, one.n)), one
    there = Counter(line.of for lines in streams.values() for line in lines if line.of is not None)
    twice = [event for event, count in there.items() if count > 1]
    assert not twice, twice
    nobodys = there.keys() - {(one.caller, one.n) for one in receipts} - set(unsure)
    assert not nobodys, sorted(nobodys)[:20]
    for stream, lines in streams.items():
        latest: dict[str, int] = {}
        for line in lines:
            if line.of is not None:
                caller, n = line.of
                assert n > latest.get(caller, -1), f"{stream}: event {n} of {caller} stands behind {latest[caller]}"
                latest[caller] = n


def check_intact(folder: Path, key: SigningKey | None = KEY, *, jobs: int = 1) -> VerifyReport:
    """Verify a closed log: its end and each segment must be attested."""
    return assert_intact(folder, key, jobs=jobs, require_end=True, require_manifests=True)


def heads_of(folder: Path) -> dict[str, Head]:
    """Return the heads of a log by stream."""
    paths = [path for path in (folder / STATE_FOLDER).iterdir() if parse_head_name(path.name) is not None]
    return {head.stream: head for head in (parse_head(path.read_bytes()) for path in paths)}


def manifests_of(folder: Path) -> list[Manifest]:
    """Return the manifests of a log."""
    return [parse_manifest(path.read_bytes()) for path in sorted(folder.glob("*.manifest.json"))]


def check_others(folder: Path, floor: dict[str, int], streams: dict[str, list[Line]]) -> None:
    """Every head, and every manifest of entries behind the floor, names all other streams of the floor, truthfully.

    Args:
        folder: the log.
        floor: streams, and the seq that the head of each had reached at a moment when all had one.
        streams: the entries.
    """
    heads = heads_of(folder)
    assert heads.keys() == streams.keys()
    late = [one for one in manifests_of(folder) if one.first_seq > floor.get(one.stream, 1 << 53)]
    assert {one.stream for one in late} == floor.keys(), "a stream has no manifest of its entries behind the floor"
    for document in (*heads.values(), *late):
        said = {stream: (seq, chain) for stream, seq, chain in document.others}
        missing = floor.keys() - said.keys() - {document.stream}
        assert not missing, f"{document.stream} does not name {sorted(missing)}"
        for stream, (seq, chain) in said.items():
            assert seq >= floor.get(stream, 1)
            assert streams[stream][seq - 1].chain_hash == b64url_encode(chain)


def run_all(threads: Iterable[threading.Thread]) -> None:
    """Start threads and see them end."""
    threads = list(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
