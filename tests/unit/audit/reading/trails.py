"""Sealed logs of audit events for the tests of the reading side, and a reader that is as simple as can be."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fapilog_audit.reading import Query, read_events
from fapilog_audit.stamp import format_time
from fapilog_tamper import SealedLog
from fapilog_tamper.entry import GENESIS, prepare_seal, split
from fapilog_tamper.layout import is_segment_name, parse_segment_name, plain_name
from fapilog_tamper.rotation import Rotation
from fapilog_tamper.verify.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from fapilog_audit.event import AuditEvent
    from fapilog_audit.reading import EventPage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SMALL = Rotation(daily=False, max_bytes=4096)


def moment(seconds: float) -> str:
    """Return the time so many seconds after noon."""
    return format_time(NOON + timedelta(seconds=seconds))


def event(number: int, *, seconds: float | None = None, **members: object) -> dict[str, object]:
    """Return an event; its time is that of its number unless another is given."""
    return {
        "event_id": f"id-{number}",
        "timestamp": moment(number if seconds is None else seconds),
        "event_type": "data_access",
        "log_level": "info",
        "message": f"event {number}",
        "metadata": {"n": number},
        **members,
    }


def write(folder: Path, events: Iterable[Mapping[str, object] | bytes], **settings: object) -> None:
    """Seal events in a log that is closed behind them."""
    given = {"key": None, "stream": "audit", "rotation": SMALL, **settings}
    with SealedLog.open(folder, **given) as log:
        for one in events:
            log.append(one)


def write_side_by_side(folder: Path, parts: Iterable[Iterable[Mapping[str, object]]], **settings: object) -> None:
    """Seal each part in a stream of its own: audit, audit.w2, ..."""
    given = {"key": None, "stream": "audit", "rotation": SMALL, **settings}
    parts = list(parts)
    logs = [SealedLog.open(folder, **given) for _ in parts]
    for log, events in zip(logs, parts, strict=True):
        for one in events:
            log.append(one)
    for log in logs:
        log.close()


def seal_lines(payloads: Iterable[bytes], stream: str = "audit") -> list[bytes]:
    """Return payloads as the lines of a stream, whatever they hold."""
    seal, prev, lines = prepare_seal(stream, None), GENESIS, []
    for seq, payload in enumerate(payloads, 1):
        line, prev = seal(payload, seq, prev)
        lines.append(line)
    return lines


_CRASH = """
import os, sys
from fapilog_tamper import SealedLog
from unit.audit.reading.trails import SMALL, event
log = SealedLog.open(sys.argv[1], key=None, stream="audit", rotation=SMALL)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    log.append(event(number))
os._exit(1)
"""


WRITER = """
import sys
from fapilog_tamper import SealedLog
from unit.audit.reading.trails import SMALL, event
with SealedLog.open(sys.argv[1], key=None, stream="audit", rotation=SMALL, compress=sys.argv[2]) as log:
    for number in range(int(sys.argv[3])):
        log.append(event(number))
"""
"""What a process of its own runs: folder, compression, number of events."""


def crash(folder: Path, first: int, last: int, tail: bytes = b'{"torn') -> None:
    """Let a writer die behind some events, with a torn line at the end: the next open records a recovery."""
    subprocess.run(
        [sys.executable, "-c", _CRASH, str(folder), str(first), str(last)], check=False, env={"PYTHONPATH": "tests"}
    )
    path = max(folder.glob("audit_*.jsonl"), key=lambda one: parse_segment_name(one.name)[1:])
    with path.open("ab") as file:
        file.write(tail)


def numbers(events: Iterable[AuditEvent]) -> list[int]:
    """Return the numbers of events."""
    return [one.metadata["n"] for one in events]


def all_pages(folder: Path, **asked: object) -> list[EventPage]:
    """Return every page of a query."""
    pages = [read_events(folder, Query(**asked))]
    while pages[-1].cursor is not None:
        pages.append(read_events(folder, Query(**asked, cursor=pages[-1].cursor)))
    return pages


def stored_lines(folder: Path) -> dict[str, list[bytes]]:
    """Return the whole lines of a folder by stream."""
    names = {plain_name(path.name): path for path in folder.iterdir() if is_segment_name(path.name)}
    streams: dict[str, list[bytes]] = defaultdict(list)
    for name in sorted(names, key=parse_segment_name):
        with open_source(names[name]) as source:
            data = b"".join(source.chunks())
        streams[parse_segment_name(name)[0]] += [line + b"\n" for line in data.split(b"\n")[:-1]]
    return dict(streams)


def breaks(events: Iterable[AuditEvent]) -> list[int]:
    """Return the seqs at which the chains of these events, with the control lines before them, are not whole."""
    ends: dict[str, tuple[int, bytes]] = {}
    wrong = []
    for one in events:
        for line in (*one.control_lines, one.sealed_line):
            block = split(line)[1]
            if ends.get(block.stream, (0, GENESIS)) != (block.seq - 1, block.prev_chain_hash):
                wrong.append(block.seq)
            ends[block.stream] = (block.seq, block.chain_hash)
    return wrong


def compress(path: Path) -> None:
    """Do what a writer's packer does with a closed segment."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def canonical(members: Mapping[str, object]) -> bytes:
    """Return an object as the trail writes it."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
