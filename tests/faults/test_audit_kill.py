"""`kill -9` of trails at twenty moments; `audit_soak` has as many as one likes."""

from __future__ import annotations

import os

import pytest
from faults.audit_killing import KEYS, kill_backend, kill_some, require_delivered, require_kept
from faults.audit_victim import Appending

from fapilog_audit import AuditTrail

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", KEYS)
def test_what_was_acknowledged_survives_a_kill(tmp_path, how, seed):
    folder = tmp_path / "logs"
    said = kill_some(folder, seed, how)
    said += kill_some(folder, seed + 100, how)
    require_kept(folder, said, how)


@pytest.mark.parametrize("how", ["unkeyed", "hmac"])
def test_what_three_processes_were_told_survives_a_kill_of_all(tmp_path, how):
    folder = tmp_path / "logs"
    said = kill_some(folder, 7, how, processes=3)
    assert said
    require_kept(folder, said, how)


def test_a_backend_gets_all_that_was_acknowledged_however_often_its_process_dies(tmp_path):
    folder = tmp_path / "state"
    said = []
    for seed in range(3):
        more, _ = kill_backend(folder, seed)
        said += more
    got = tmp_path / "got"
    with AuditTrail(backend=Appending(str(got)), state_dir=folder) as trail:
        said.append(trail.log("acme.test.happened", "after"))
    assert trail._recorder.pending == 0
    require_delivered(got.read_bytes().splitlines(keepends=True), said)
