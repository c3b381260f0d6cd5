"""Slots beside a keyed stream: no second writer without its key, and nothing unkeyed that was put there is adopted."""

from __future__ import annotations

import pytest
from unit.sealer.scene import ED, K1, blocks_of, memory, open_log, verified

from fapilog_tamper import Keyring, SealKeyError, verify_path
from fapilog_tamper.store.files import FileStore


@pytest.mark.parametrize(("key", "told"), [(None, "no key was given"), (ED, "ed-2026 was given")])
def test_a_second_writer_must_know_the_key_of_the_first(key, told):
    folder = memory()
    with open_log(folder, K1) as log:
        log.append({})
        with pytest.raises(SealKeyError, match=f"is being written under key k1, and {told}"):
            open_log(folder, key)
        log.append({})
    assert len(blocks_of(folder)) == 2
    verified(folder)


def test_a_second_writer_may_go_over_to_another_key_if_it_knows_the_old_one():
    folder = memory()
    with open_log(folder, K1) as log:
        log.append({})
        with open_log(folder, ED, keyring=Keyring([K1])) as other:
            assert other.stream == "log.w2"
            other.append({})


def test_writers_without_a_key_and_beside_one_without_are_let_in():
    folder = memory()
    with open_log(folder, None) as log:
        log.append({})
        with open_log(folder, None) as other, open_log(folder, K1) as keyed:
            assert (other.stream, keyed.stream) == ("log.w2", "log.w3")


def _plant(tmp_path, folder, *, head):
    """Put a slot without a key, made elsewhere, into the folder of a keyed log."""
    elsewhere = tmp_path / "elsewhere"
    with open_log(elsewhere, None), open_log(elsewhere, None) as planted:
        planted.append({"message": "planted"})
    for path in elsewhere.glob("log.w2_*"):
        (folder / path.name).write_bytes(path.read_bytes())
    if head:
        name = "log.w2.chainstate"
        (folder / ".fapilog" / name).write_bytes((elsewhere / ".fapilog" / name).read_bytes())


@pytest.mark.parametrize("head", [True, False])
def test_what_was_put_beside_a_keyed_stream_without_its_key_is_never_adopted(tmp_path, head):
    folder = tmp_path / "log"
    with open_log(folder, K1) as log:
        log.append({})
    _plant(tmp_path, folder, head=head)
    with open_log(folder, K1) as log:
        with pytest.warns(RuntimeWarning, match=r"log\.w2 is unkeyed, and log never was"):
            other = open_log(folder, K1)
        with other:
            assert other.stream == "log.w3"
            other.append({})
        log.append({})
    report = verify_path(folder, keyring=Keyring([K1]))
    assert not report.valid
    assert {finding.code for finding in report.findings} == {"unkeyed"}
    assert len(blocks_of(FileStore(folder), "log.w2")) == 1


def test_an_unkeyed_past_of_all_slots_is_adopted_on_record():
    folder = memory()
    with open_log(folder, None) as log, open_log(folder, None) as other:
        log.append({})
        other.append({})
    with open_log(folder, K1) as log, open_log(folder, K1) as other:
        assert other.stream == "log.w2"
        other.append({})
        log.append({})
    verified(folder)
