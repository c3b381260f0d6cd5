"""The attack matrix: every attack in every situation and shape gets the verdict that the format gives it."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from attacks.operators import ATTACKS, applicable
from attacks.trial import complaint, verify_changed, verify_folder, write_changed
from support.logs import ED, HMAC, OTHER_ED, SHAPES, SITUATIONS, UNKEYED_CHAIN, HmacKey, make_log, write_image

from fapilog_tamper import Keyring, verify_path
from fapilog_tamper.keys import TrustedKey

if TYPE_CHECKING:
    from pathlib import Path

    from attacks.model import Attack
    from support.logs import Log, Shape, Situation

SEED = 1
NAMES = [f"{attack.group}: {attack.name}" for attack in ATTACKS]
KEYED = [situation for situation in SITUATIONS if situation.keys]
ATTESTED = [shape for shape in SHAPES if shape.head and shape.manifests]


@cache
def log_of(situation: Situation, shape: Shape) -> Log:
    return make_log(situation, shape, seed=SEED)


def dice(*names: str) -> random.Random:
    return random.Random(f"{SEED}/{'/'.join(names)}")


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return time of change and hash of every file below a folder, and the time of change of every folder."""
    return {
        str(path): (
            path.lstat().st_mtime_ns,
            sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder",
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_every_attack_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(NAMES)
    assert all(list(applicable(attack)) for attack in ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_attack_gets_its_verdict_in_every_situation_and_shape(attack: Attack, tmp_path):
    wrong = []
    for situation, shape, verdict in applicable(attack):
        base = tmp_path / f"{situation.name} {shape.name}"
        base.mkdir()
        log = log_of(situation, shape)
        changed = attack.run(log, dice(attack.name, situation.name, shape.name))
        assert changed.image != log.image or changed.links
        said = complaint(changed, verdict, verify_changed(log, changed, base), base / "log")
        if said is not None:
            wrong.append(f"{situation.name}, {shape.name}: {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_two_workers_and_small_parts_give_an_equal_report_and_nothing_is_written(attack: Attack, tmp_path, monkeypatch):
    monkeypatch.setattr("fapilog_tamper.verify.segment.PART_SIZE", 300)
    cells = list(applicable(attack))
    for situation, shape, _ in dice(attack.name).sample(cells, min(3, len(cells))):
        base = tmp_path / f"{situation.name} {shape.name}"
        base.mkdir()
        log = log_of(situation, shape)
        changed = attack.run(log, dice(attack.name, situation.name, shape.name))
        folder, heads = write_changed(changed, base)
        before = tree(base)
        one = verify_folder(log, changed, folder, heads)
        with ThreadPoolExecutor(2) as pool:
            two = verify_folder(log, changed, folder, heads, jobs=2, executor=pool)
        assert one == two, f"{situation.name}, {shape.name}"
        assert tree(base) == before


@pytest.mark.parametrize("shape", ATTESTED, ids=lambda shape: shape.name)
@pytest.mark.parametrize("situation", KEYED, ids=lambda one: one.name)
@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_without_keys_a_keyed_log_is_undetermined(situation, shape, deep, tmp_path):
    report = verify_path(write_image(log_of(situation, shape).image, tmp_path / "log"), deep=deep)
    assert report.outcome == "undetermined"
    assert {finding.code for finding in report.findings} == {"key-unknown"}


def wrong_ring(situation: Situation) -> Keyring:
    """Return a keyring with other keys under the same key ids."""
    wrong = {key.key_id: HmacKey(key.key_id, bytes(range(1, 33))) for key in situation.keys}
    wrong[ED.key_id] = OTHER_ED
    return Keyring(wrong[key.key_id] for key in situation.keys)


@pytest.mark.parametrize("shape", ATTESTED, ids=lambda shape: shape.name)
@pytest.mark.parametrize("situation", KEYED, ids=lambda one: one.name)
@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_under_wrong_keys_an_untouched_log_is_undetermined(situation, shape, deep, tmp_path):
    folder = write_image(log_of(situation, shape).image, tmp_path / "log")
    report = verify_path(folder, keyring=wrong_ring(situation), deep=deep)
    assert report.outcome == "undetermined", report.findings
    assert "key-unknown" in {finding.code for finding in report.findings}


def test_keys_given_for_an_unkeyed_log_leave_it_undetermined(tmp_path):
    folder = write_image(log_of(UNKEYED_CHAIN, SHAPES[0]).image, tmp_path / "log")
    report = verify_path(folder, keyring=HMAC.keyring)
    assert report.outcome == "undetermined"
    assert {finding.code for finding in report.findings} == {"unkeyed"}


@pytest.mark.parametrize("situation", KEYED, ids=lambda one: one.name)
def test_a_key_outside_its_streams_is_tampered(situation, tmp_path):
    folder = write_image(log_of(situation, SHAPES[-1]).image, tmp_path / "log")
    ring = Keyring(TrustedKey(key, streams=["other"]) for key in situation.keys)
    report = verify_path(folder, keyring=ring)
    assert report.outcome == "tampered"
    assert "key-expired" in {finding.code for finding in report.findings}


@pytest.mark.parametrize("situation", KEYED, ids=lambda one: one.name)
def test_a_key_beyond_its_seqs_is_tampered_from_the_first_such_entry_on(situation, tmp_path):
    log = log_of(situation, SHAPES[-1])
    folder = write_image(log.image, tmp_path / "log")
    ring = Keyring(TrustedKey(key, last_seq=9) for key in situation.keys)
    report = verify_path(folder, keyring=ring)
    assert report.outcome == "tampered"
    expired = [finding for finding in report.findings if finding.code == "key-expired"]
    assert min(finding.seq for finding in expired) == 10
