"""One event through a real trail, and what then stands in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fapilog_audit import AuditTrail
from fapilog_tamper.entry import split

if TYPE_CHECKING:
    from pathlib import Path

    from fapilog_audit import CompliancePolicy

TYPE = "acme.test.happened"


def lines(folder: Path) -> list[bytes]:
    """Return the lines of the files of a folder."""
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]


def members(line: bytes) -> dict[str, Any]:
    """Return what stands in a line, without its integrity block."""
    return json.loads(split(line)[0])


def record(folder: Path, *args: object, policy: CompliancePolicy | None = None, **fields: Any) -> dict[str, Any]:
    """Log one event and return its members as they are stored."""
    with AuditTrail(policy, storage_path=folder) as trail:
        event_id = trail.log(*args, **({} if args else {"event_type": TYPE, "message": "it happened"}) | fields)
    found = [one for one in map(members, lines(folder)) if one.get("event_id") == event_id]
    assert len(found) == 1
    return found[0]
