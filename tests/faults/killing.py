"""`kill -9` at random moments: one trial starts `victim`, kills it, and looks at what it has left.

Every other kill comes after a random time, wherever the victim is then; its marker says afterwards where that was. The
others are aimed: the victim stops itself at a call of one phase, and is killed there. A reader takes the
acknowledgements all the while, so that the victim never waits on its pipe.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from faults.checking import KEYS, Promised, files_of, lost_of, require_not_tampered, require_recovers
from faults.victim import PHASES

if TYPE_CHECKING:
    from fapilog_tamper import Outcome

VICTIM = Path(__file__).with_name("victim.py")
WHEN = ("before", "halfway", "behind")
LONGEST = 20.0
"""Seconds until a victim that does not come by the call aimed at is killed wherever it is."""


@dataclass
class Kill:
    """What one trial saw: where the kill fell, what the verifier said before anybody repaired it, and the receipts."""

    how: str
    aim: str
    phases: tuple[str, ...]
    before: Outcome
    written: Promised = field(default_factory=dict)
    accepted: Promised = field(default_factory=dict)
    accepted_lost: int = 0


def kill_once(folder: Path, seed: int) -> Kill:
    """Run one trial in a new folder; raise where a promise was broken."""
    rng = random.Random(f"kill {seed}")
    how = tuple(KEYS)[seed % len(KEYS)]
    aimed = seed % 2 == 0
    # Eleven and six share no divisor with the numbers of keys and of phases, so that all pairs come.
    aim = f"{PHASES[seed // 2 % len(PHASES)]},{rng.choice(WHEN)},{rng.randint(1, 12)}" if aimed else "none,none,0"
    folder.mkdir()
    marker = folder / "marker"
    marker.write_bytes(bytes(len(PHASES)))
    log = folder / "log"
    command = [sys.executable, str(VICTIM), str(log), str(marker), how, str(seed), aim]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        reader = _Reader(victim)
        try:
            reader.ready.wait(LONGEST)
            if aimed:
                _wait_until_stopped(victim.pid)
            else:
                time.sleep(rng.uniform(0.0, 0.4))
        finally:
            os.kill(victim.pid, signal.SIGKILL)
        reader.join()
        assert victim.wait() == -signal.SIGKILL, "the victim died before it was killed"
    phases = tuple(phase for phase, count in zip(PHASES, marker.read_bytes(), strict=True) if count)
    if not log.is_dir():
        log.mkdir()
    kill = Kill(how, aim, phases, require_not_tampered(log, how))
    kill.written, kill.accepted = reader.written, reader.accepted
    kill.accepted_lost = len(lost_of(kill.accepted, files_of(log)))
    require_recovers(log, how, kill.written)
    return kill


def _wait_until_stopped(pid: int) -> None:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        stopped, _ = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if stopped:
            return
        time.sleep(0.001)


class _Reader(threading.Thread):
    """Takes what the victim says, and remembers the receipts. A last line that the kill tore does not count."""

    def __init__(self, victim: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self.ready = threading.Event()
        self.written: Promised = {}
        self.accepted: Promised = {}
        self._victim = victim
        self.start()

    def run(self) -> None:
        assert self._victim.stdout is not None
        for line in self._victim.stdout:
            self.ready.set()
            words = line.split()
            if len(words) == 4 and line.endswith(b"\n"):
                promised = self.accepted if words[0] == b"accepted" else self.written
                promised[words[1].decode(), int(words[2])] = bytes.fromhex(words[3].decode())
        self.ready.set()


def table(kills: list[Kill]) -> str:
    """Return how many kills fell where, in words."""
    lines = []
    by_phase = Counter(phase for kill in kills for phase in kill.phases or ("between",))
    aimed = Counter(phase for kill in kills for phase in kill.phases if kill.aim.startswith(phase))
    lines.append(f"{'phase':<10}{'kills':>7}{'aimed':>7}   (a kill may fall inside several)")
    lines += [f"{phase:<10}{by_phase[phase]:>7}{aimed[phase]:>7}" for phase in (*PHASES, "between")]
    before = Counter((kill.how, kill.before.value) for kill in kills)
    lines += [f"{how}: {what} before it was opened again: {count}" for (how, what), count in sorted(before.items())]
    written, accepted = sum(len(kill.written) for kill in kills), sum(len(kill.accepted) for kill in kills)
    lost = sum(kill.accepted_lost for kill in kills)
    lines.append(f"{len(kills)} kills; receipts: {written} written or synced, 0 lost; {accepted} accepted, {lost} lost")
    return "\n".join(lines)
