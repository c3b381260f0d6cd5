"""Operators change what they say, the verifier sees each of them, and `assert_intact` says what it saw; the clock."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from support.logs import ED, ED_COMMIT, HMAC, K1, K2, UNKEYED_CHAIN, Shape, make_log, write_image

from fapilog_tamper import ConfigError, Keyring, Outcome
from fapilog_tamper.testing import (
    OPERATORS,
    FakeClock,
    MemoryDisk,
    MemoryStore,
    NothingToChangeError,
    assert_intact,
)

SEEDS = range(25)
BARE = Shape(manifests=False, head=False, others=False)


def image_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    return write_image(make_log(HMAC).image, tmp_path / "log")


@pytest.mark.parametrize("situation", [HMAC, ED_COMMIT], ids=lambda one: one.name)
@pytest.mark.parametrize("shape", [Shape(), Shape(manifests=False, others=False)], ids=lambda one: one.name)
@pytest.mark.parametrize("name", OPERATORS)
def test_no_change_is_called_intact_and_each_says_what_it_did(name, shape, situation, tmp_path):
    image = make_log(situation, shape).image
    assert_intact(write_image(image, tmp_path / "untouched"), situation.keyring, require_end=True)
    for seed in SEEDS:
        changed = write_image(image, tmp_path / str(seed))
        said = OPERATORS[name](changed, random.Random(seed))
        assert said.endswith(".")
        assert image_of(changed) != image
        with pytest.raises(AssertionError, match=r"is tampered, not intact"):
            assert_intact(changed, situation.keyring)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ("cut_tail", "set_head_back")])
def test_a_log_without_a_key_shows_what_was_not_computed_anew(name, tmp_path):
    changed = write_image(make_log(UNKEYED_CHAIN).image, tmp_path / "log")
    OPERATORS[name](changed, random.Random(1))
    with pytest.raises(AssertionError, match=r"is tampered, not intact"):
        assert_intact(changed, None)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_same_seed_makes_the_same_change(name, folder, tmp_path):
    other = write_image(image_of(folder), tmp_path / "other")
    assert OPERATORS[name](folder, random.Random(5)) == OPERATORS[name](other, random.Random(5))
    assert image_of(folder) == image_of(other)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("what", ["absent", "empty", "unreadable", "small"])
def test_a_folder_with_nothing_to_change_is_left_alone(name, what, tmp_path):
    folder = tmp_path / "log"
    if what != "absent":
        folder.mkdir()
    if what == "unreadable":
        (folder / "audit_2026-11-20.jsonl").write_bytes(b"{}\n")
        (folder / "audit_2026-11-20.1.jsonl").write_bytes(b"")
        (folder / ".fapilog").mkdir()
        (folder / ".fapilog" / "audit.chainstate").write_bytes(b"{}\n")
    if what == "small":
        write_image(make_log(HMAC, Shape(others=False), segments=1, entries=1, seed=3).image, folder)
        if name in ("edit_payload", "flip_payload_byte", "duplicate_line", "remove_last_segment"):
            assert OPERATORS[name](folder, random.Random(1))
            return
    before = image_of(folder)
    with pytest.raises(NothingToChangeError, match=r"in |payload"):
        OPERATORS[name](folder, random.Random(1))
    assert image_of(folder) == before


def test_a_segment_of_empty_events_has_no_byte_to_flip(tmp_path):
    from support.logs import DAY

    from fapilog_tamper.entry import ChainState, seal
    from fapilog_tamper.layout import segment_name

    line, _ = seal(b"{}", ChainState("audit"), K1)
    (tmp_path / segment_name("audit", DAY)).write_bytes(line)
    with pytest.raises(NothingToChangeError, match="no payload"):
        OPERATORS["flip_payload_byte"](tmp_path, random.Random(1))


def test_a_log_is_checked_with_whatever_names_a_key(folder):
    secret = K1.verifying_key()
    for key in (K1, secret, [K1, K2], Keyring([K1]), HMAC.keyring):
        report = assert_intact(folder, key)
        assert report.outcome is Outcome.INTACT
        assert report.entries == 30


def test_several_workers_find_the_same(folder):
    assert assert_intact(folder, K1, jobs=2) == assert_intact(str(folder), K1)


def test_the_number_of_workers_reaches_the_verifier(folder):
    with pytest.raises(ConfigError, match="jobs is -1"):
        assert_intact(folder, K1, jobs=-1)


def test_the_manifest_goes_with_the_last_segment(folder):
    before = set(image_of(folder))
    OPERATORS["remove_last_segment"](folder, random.Random(1))
    gone = sorted(before - set(image_of(folder)))
    assert len(gone) == 2
    assert gone[1] == f"{gone[0]}.manifest.json"


def test_a_wrong_key_is_not_intact(folder):
    with pytest.raises(
        AssertionError, match=r"is undetermined, not intact: 30 entries, 6 files\.\nfindings:\n  key-unk"
    ):
        assert_intact(folder, ED)
    with pytest.raises(AssertionError, match="key-unknown"):
        assert_intact(folder, None)


def test_the_message_has_places_findings_and_what_was_not_checked(folder):
    OPERATORS["delete_line"](folder, random.Random(1))
    (folder / ".fapilog" / "audit.chainstate").write_bytes(b"{}\n")
    with pytest.raises(AssertionError) as caught:
        assert_intact(folder, K1, deep=True)
    text = str(caught.value)
    assert "seq-gap" in text
    assert "head-malformed (" in text
    assert ".jsonl:" in text


def test_options_reach_the_verifier(tmp_path):
    folder = write_image(make_log(HMAC, BARE).image, tmp_path / "log")
    assert_intact(folder, K1)
    with pytest.raises(AssertionError, match="end-not-attested"):
        assert_intact(folder, K1, require_end=True)
    with pytest.raises(AssertionError, match="manifest-missing"):
        assert_intact(folder, K1, require_manifests=True)
    assert assert_intact(folder, K1, stream="audit").entries == 15


def test_a_log_in_memory_is_checked_as_real_files(folder):
    disk = MemoryDisk.load(folder)
    assert assert_intact(disk, K1, require_end=True).entries == 30
    assert assert_intact(MemoryStore(disk), K1).entries == 30
    with pytest.raises(AssertionError, match=r"memory:/\.fapilog is undetermined"):
        assert_intact(MemoryStore(disk, (".fapilog",)), K1)
    store = MemoryStore(disk)
    store.remove(store.names()[0])
    with pytest.raises(AssertionError, match="not intact"):
        assert_intact(disk, K1)


def test_many_findings_are_counted_behind_the_first(tmp_path):
    log = make_log(HMAC, BARE, segments=30, entries=3)
    folder = write_image(log.image, tmp_path / "log")
    for path in folder.glob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"event_type"', b'"event_kind"'))
    with pytest.raises(AssertionError, match=r"  and \d+ more"):
        assert_intact(folder, K1)


def test_the_clock_stands_until_it_is_told_otherwise():
    clock = FakeClock(1000.5)
    assert clock() == clock() == 1000.5
    clock.advance(2)
    assert clock() == 1002.5
    clock.advance(-3)
    assert clock() == 999.5
    clock.set(7)
    assert clock() == 7.0
    assert repr(clock) == "FakeClock(7.0)"


def test_importing_it_loads_no_test_framework_and_nothing_heavy():
    code = (
        "import fapilog_tamper.testing, sys\n"
        "heavy = {'pytest', '_pytest', 'hypothesis', 'fapilog', 'cryptography', 'typer', 'rich', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
