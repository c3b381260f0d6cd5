"""All reading commands on the folder of a writer that writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from unit.audit.cli.conftest import HMAC, invoke
from unit.audit.reading.trails import SMALL, event

from fapilog_tamper import SealedLog

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("half", [b"", b'{"event_id":"half'])
def test_reading_commands_work_while_a_writer_writes(place: Path, half: bytes) -> None:
    folder = place / "live"
    with SealedLog.open(folder, key=HMAC, stream="audit", rotation=SMALL) as log:
        for number in range(20):
            log.append(event(number, event_id=f"id-{number:08}"), durability="written")
        newest = max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        whole = newest.read_bytes()
        if half:
            with newest.open("ab") as file:
                file.write(half)
        assert len(json.loads(invoke("query", "live", "--json").stdout)["events"]) == 20
        assert json.loads(invoke("stats", "live", "--json").stdout)["events"] == 20
        assert invoke("show", "id-00000019", "live", "--key", "file:hmac.jwk").exit_code == 0
        assert invoke("export", "live").stdout.count("\n") == 20
        assert invoke("tail", "live", "-n", "3").stdout.count("\n") == 3
        assert invoke("retain", "live").exit_code == 0
        # Half a line is no proof of anything, and not intact either.
        assert invoke("verify", "live", "--key", "file:hmac.jwk").exit_code == (3 if half else 0)
        newest.write_bytes(whole)
        assert not list(place.glob("live/.fapilog/*.tmp"))
