"""What somebody with write access does to the folder of an audit trail: the trail says that it is not valid, and where.

The untouched twin of each is valid.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fapilog_audit import AuditTrail
from fapilog_tamper import verify_path
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey
from fapilog_tamper.testing import OPERATORS, NothingToChangeError

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"unkeyed": None, "hmac": HmacKey("k1", bytes(range(32))), "ed25519": Ed25519SigningKey("ed", bytes(range(32)))}
SEEDS = range(6)
PLACED = {"flip_payload_byte", "edit_payload", "delete_line", "swap_lines", "duplicate_line"}
"""Attacks on a line that is still there, or whose neighbours are; what was cut off an end has no place."""

INVISIBLE = {("unkeyed", "set_head_back"), ("unkeyed", "remove_last_segment")}
"""Attacks on an unkeyed trail that may leave nothing to see: whoever changes the folder may write its head anew."""

CRASH = """
import os, sys
from fapilog_audit import AuditTrail
trail = AuditTrail(storage_path=sys.argv[1])
for number in range(5):
    trail.log("acme.test.happened", "before a crash", n=number)
os._exit(1)
"""


def write(folder: Path, key: object, count: int, **settings: object) -> None:
    with AuditTrail(storage_path=folder, key=key, **settings) as trail:
        for number in range(count):
            trail.log("data_access", f"invoice {number} was read", user_id=f"u-{number % 7}", n=number)


def one_run(folder: Path, key: object) -> None:
    write(folder, key, 12)


def restarts(folder: Path, key: object) -> None:
    for _ in range(3):
        write(folder, key, 6)


def many_files(folder: Path, key: object) -> None:
    write(folder, key, 30, max_bytes=4096)


def two_streams(folder: Path, key: object) -> None:
    with AuditTrail(storage_path=folder, key=key) as one, AuditTrail(storage_path=folder, key=key) as two:
        for number in range(20):
            [one, two][number % 2].log("data_access", f"invoice {number}", n=number)


HISTORIES = {history.__name__: history for history in (one_run, restarts, many_files, two_streams)}


@pytest.fixture(params=HISTORIES)
def history(request):
    return request.param


@pytest.fixture(params=KEYS)
def situation(request):
    return request.param


@pytest.fixture
def folder(history, situation, tmp_path):
    HISTORIES[history](tmp_path / "log", KEYS[situation])
    return tmp_path / "log"


def check(folder: Path, key: object):
    return asyncio.run(AuditTrail(storage_path=folder, key=key).verify_chain_from_storage())


def test_the_untouched_twin_is_valid(folder, situation):
    result = check(folder, KEYS[situation])
    assert result.valid, result.error_message
    assert (result.first_invalid_sequence, result.error_message) == (None, None)
    assert result.keyed is (situation != "unkeyed")


@pytest.mark.parametrize("name", OPERATORS)
def test_an_attack_on_the_folder_makes_it_invalid(name, folder, situation, tmp_path):
    tried = 0
    for seed in SEEDS:
        copy = shutil.copytree(folder, tmp_path / str(seed))
        try:
            said = OPERATORS[name](copy, random.Random(seed))
        except NothingToChangeError:
            continue
        tried += 1
        result = check(copy, KEYS[situation])
        report = verify_path(copy, keys=[KEYS[situation]] if KEYS[situation] else None)
        assert result.valid is report.valid
        if result.valid:
            assert (situation, name) in INVISIBLE, said
            continue
        assert result.error_message, said
        if name in PLACED:
            assert result.first_invalid_sequence is not None, said
            assert result.error_message.startswith("tampered: "), said
    assert tried


@pytest.mark.parametrize("name", sorted(PLACED))
def test_the_place_is_that_of_the_change(name, situation, tmp_path):
    one_run(tmp_path / "log", KEYS[situation])
    before = next((tmp_path / "log").glob("*.jsonl")).read_bytes().splitlines(keepends=True)
    for seed in SEEDS:
        copy = shutil.copytree(tmp_path / "log", tmp_path / str(seed))
        OPERATORS[name](copy, random.Random(seed))
        after = next(copy.glob("*.jsonl")).read_bytes().splitlines(keepends=True)
        first = next(at for at, (one, two) in enumerate(zip([*before, b""], [*after, b""], strict=False)) if one != two)
        result = check(copy, KEYS[situation])
        if name == "duplicate_line":
            # It has the number of its original, which stands before it.
            assert result.first_invalid_sequence <= first + 1
        else:
            # A deleted line is missed at the next.
            assert result.first_invalid_sequence in (first + 1, first + 2)


def test_a_chain_written_anew_without_the_key_is_invalid(folder, situation):
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".jsonl":
            path.unlink()
    for path in sorted(folder.glob("audit_*.jsonl"))[1:] + sorted(folder.glob("audit.w2*.jsonl")):
        path.unlink()
    path, state, lines = next(folder.glob("audit_*.jsonl")), ChainState("audit"), []
    for line in path.read_bytes().splitlines(keepends=True):
        members = json.loads(split(line)[0]) | {"user_id": "nobody"}
        payload = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
        sealed, state = seal(payload, state, None)
        lines.append(sealed)
    path.write_bytes(b"".join(lines))
    result = check(folder, KEYS[situation])
    if situation == "unkeyed":
        # What keys are for: nobody can see it, and the verdict says so.
        assert not result.keyed
        assert any("anyone can recompute" in note for note in result.notes)
    else:
        assert not result.valid
        assert result.error_message


def test_events_that_were_read_from_a_changed_file_do_not_verify(folder, situation, tmp_path):
    trail = AuditTrail(storage_path=folder, key=KEYS[situation])
    honest = {one.event_id for one in asyncio.run(trail.get_events(limit=None))}
    for seed in SEEDS:
        copy = shutil.copytree(folder, tmp_path / str(seed))
        OPERATORS["edit_payload"](copy, random.Random(seed))
        OPERATORS["flip_payload_byte"](copy, random.Random(seed))
        changed = AuditTrail(storage_path=copy, key=KEYS[situation])
        events = asyncio.run(changed.get_events(limit=None))
        # A line that is no event any more is not in the list; at an end of it, nothing but the count tells.
        assert events.unreadable or not changed.verify_chain(events).valid
        assert sum(changed.verify_event(one) for one in events) < len(honest)


def test_a_crash_is_no_attack_and_an_attack_behind_a_crash_is_one(tmp_path):
    folder = tmp_path / "log"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CRASH, folder], check=False)
        with max(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns).open("ab") as file:
            file.write(b'{"torn')
    write(folder, None, 3)
    assert check(folder, None).valid
    for name in PLACED:
        copy = shutil.copytree(folder, tmp_path / name)
        OPERATORS[name](copy, random.Random(1))
        assert not check(copy, None).valid, name


def test_a_started_trail_under_the_wrong_key_adds_nothing(tmp_path):
    folder = tmp_path / "log"
    write(folder, KEYS["hmac"], 3)
    other = AuditTrail(storage_path=folder, key=HmacKey("k1", bytes(32)))
    with pytest.warns(RuntimeWarning, match="cannot be opened"):
        other.start_now()
    assert not other.health()
    other.stop_now()
    assert check(folder, KEYS["hmac"]).valid
    assert check(folder, KEYS["hmac"]).events_checked == 3


def test_a_line_that_somebody_appended_is_seen(folder, situation):
    path = max(folder.glob("audit_*.jsonl"))
    line = path.read_bytes().splitlines(keepends=True)[-1]
    payload, block = split(line)
    forged, _ = seal(payload, ChainState("audit", block.seq, block.chain_hash), None)
    with path.open("ab") as file:
        file.write(forged)
    result = check(folder, KEYS[situation])
    assert not result.valid
    assert result.error_message
