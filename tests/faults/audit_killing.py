"""`kill -9` of trails: what was acknowledged is there, once, in a chain without gaps, and the next process goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.audit import ids, require_gapless, require_intact, sealed

from fapilog_audit import AuditTrail
from fapilog_tamper import Keyring
from fapilog_tamper.entry import split
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey

if TYPE_CHECKING:
    from fapilog_tamper.keys import SigningKey

VICTIM = Path(__file__).with_name("audit_victim.py")
KEYS: dict[str, SigningKey | None] = {
    "unkeyed": None,
    "hmac": HmacKey("k1", bytes(range(32))),
    "ed25519": Ed25519SigningKey("ed-2026", bytes(range(100, 132))),
}


def key_uri(how: str, folder: Path) -> str:
    """Return the URI of a key, whose file is put beside the folder; empty without one."""
    key = KEYS[how]
    if key is None:
        return ""
    path = folder.parent / f"{how}.jwk"
    if not path.exists():
        from fapilog_tamper.encoding import b64url_encode

        secret = b64url_encode(bytes(range(32)) if how == "hmac" else bytes(range(100, 132)))
        path.write_text(secret)
        path.chmod(0o600)
    alg = "HMAC-SHA256" if how == "hmac" else "Ed25519"
    return f"file:{path}?kid={key.key_id}&alg={alg}"


class Victim:
    """One process that logs until it is killed."""

    def __init__(self, folder: Path, seed: int, uri: str, backend: str = "") -> None:
        command = [sys.executable, str(VICTIM), str(folder), str(seed), uri, backend]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.said: list[str] = []
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == b"ready\n":
                self.ready.set()
            elif line.endswith(b"\n"):
                # A last line that the kill tore does not count.
                self.said.append(line.decode().strip())
        self.ready.set()

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._reader.join()
        assert self._process.wait() == -signal.SIGKILL, "the victim died before it was killed"
        assert self._process.stdout is not None
        self._process.stdout.close()


def ring_of(how: str) -> Keyring | None:
    key = KEYS[how]
    return None if key is None else Keyring([key])


def kill_some(folder: Path, seed: int, how: str, *, processes: int = 1) -> list[str]:
    """Let processes log to one folder and kill them; return what was acknowledged, all of which is there."""
    rng = random.Random(f"audit kill {seed}")
    uri = key_uri(how, folder)
    victims = [Victim(folder, seed * 100 + number, uri) for number in range(processes)]
    try:
        for victim in victims:
            assert victim.ready.wait(60)
        time.sleep(rng.uniform(0.0, 0.35))
    finally:
        for victim in victims:
            victim.kill()
    return [event_id for victim in victims for event_id in victim.said]


def require_kept(folder: Path, said: list[str], how: str) -> None:
    """Require that each of these stands in the folder once, and that the next process goes on with it."""
    with AuditTrail(storage_path=folder, key=KEYS[how]) as trail:
        after = trail.log("acme.test.happened", "after")
    counted = Counter(ids(folder))
    assert set(counted.values()) <= {1}
    missing = [event_id for event_id in [*said, after] if event_id not in counted]
    assert not missing, f"{len(missing)} of {len(said)} acknowledged events are not there"
    require_gapless(sealed(folder))
    require_intact(folder, ring_of(how))


def kill_backend(folder: Path, seed: int) -> tuple[list[str], list[bytes]]:
    """Let a process with a backend log, and kill it; return what was acknowledged and what the backend has now."""
    rng = random.Random(f"audit backend {seed}")
    got = folder.parent / "got"
    victim = Victim(folder, seed, "", str(got))
    try:
        assert victim.ready.wait(60)
        time.sleep(rng.uniform(0.0, 0.35))
    finally:
        victim.kill()
    return victim.said, got.read_bytes().splitlines(keepends=True) if got.exists() else []


def require_delivered(lines: list[bytes], said: list[str]) -> int:
    """Require that a backend got all of these, in order, each as the same line; return how many came twice."""
    places: dict[tuple[str, int], bytes] = {}
    first: dict[str, list[int]] = {}
    twice = 0
    for line in lines:
        _, integrity = split(line)
        place = integrity.stream, integrity.seq
        if place in places:
            assert places[place] == line
            twice += 1
        else:
            first.setdefault(integrity.stream, []).append(integrity.seq)
        places[place] = line
    for seqs in first.values():
        assert seqs == list(range(1, len(seqs) + 1))
    have = {event.get("event_id") for event in (json.loads(split(line)[0]) for line in places.values())}
    missing = [event_id for event_id in said if event_id not in have]
    assert not missing, f"{len(missing)} of {len(said)} acknowledged events did not reach the backend"
    return twice
