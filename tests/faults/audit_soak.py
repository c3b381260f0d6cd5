"""Kill trails as often as one likes: `python tests/faults/audit_soak.py [KILLS]`; ends with an error where one is lost."""  # noqa: E501

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.audit_killing import KEYS, kill_backend, kill_some, require_delivered, require_kept
from faults.audit_victim import Appending

from fapilog_audit import AuditTrail


def soak(kills: int) -> None:
    """Kill, look, and go on in the same folder for ten kills."""
    total = twice = 0
    for begin in range(0, kills, 10):
        with tempfile.TemporaryDirectory() as scratch:
            how = tuple(KEYS)[begin // 10 % len(KEYS)]
            folder, state = Path(scratch) / "logs", Path(scratch) / "state"
            said: list[str] = []
            handed: list[str] = []
            for seed in range(begin, min(begin + 10, kills)):
                said += kill_some(folder, seed, how, processes=1 + 2 * (seed % 5 == 0))
                require_kept(folder, said, how)
                handed += kill_backend(state, seed)[0]
            got = Path(scratch) / "got"
            with AuditTrail(backend=Appending(str(got)), state_dir=state) as trail:
                assert trail._recorder.drain(30) == []
            twice += require_delivered(got.read_bytes().splitlines(keepends=True), handed)
            total += len(said) + len(handed)
        sys.stdout.write(f"{min(begin + 10, kills)} kills: {total} acknowledged, 0 lost, {twice} handed on twice\n")


def main() -> None:
    """Take the number of kills from the command line."""
    soak(int(sys.argv[1]) if len(sys.argv) > 1 else 200)


if __name__ == "__main__":
    main()
