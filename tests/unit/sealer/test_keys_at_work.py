"""Keys at work: which entries carry a mac, late seals, changing keys, and which keys a stream opens under."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from unit.sealer.scene import (
    ED,
    ED2,
    K1,
    K2,
    KEYRING,
    blocks_of,
    controls_of,
    events_of,
    faulty,
    files_of,
    fill,
    head_of,
    lines_of,
    manifest_of,
    memory,
    open_log,
    segments,
    until,
    verified,
)

from fapilog_tamper import (
    HeadError,
    Keyring,
    NoteCode,
    Outcome,
    SealedLog,
    SealKeyError,
    StoreError,
    TrustedKey,
    verify_path,
)
from fapilog_tamper.encoding import b64url_decode
from fapilog_tamper.entry import mac_message
from fapilog_tamper.keys import Algorithm, Ed25519SigningKey, HmacKey, SigningKey, VerifyingKey, thumbprint

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"hmac": K1, "ed25519": ED}


def test_under_hmac_each_entry_carries_a_mac_and_no_seal_follows() -> None:
    folder = memory()
    fill(folder, 50)
    assert all(block.mac is not None and block.key_id == "k1" for block in blocks_of(folder))
    assert len(lines_of(folder)) == 50


def test_an_unkeyed_chain_has_neither_key_nor_mac_nor_signature() -> None:
    folder = memory()
    fill(folder, key=None)
    assert {(block.key_id, block.mac, block.algo) for block in blocks_of(folder)} == {(None, None, "SHA-256")}
    manifest, head = manifest_of(folder, segments(folder)[0]), head_of(folder)
    assert (manifest.key_id, manifest.signature, head.key_id, head.mac) == (None, None, None, None)
    verified(folder, None)


def test_under_a_signature_only_some_entries_carry_a_mac() -> None:
    folder = memory()
    with open_log(folder, ED) as log:
        for number in range(300):
            log.append({"n": number})
    macs = [block.mac is not None for block in blocks_of(folder)]
    assert macs[0]
    assert not all(macs)
    verified(folder)


def test_what_no_mac_covers_gets_a_late_seal() -> None:
    folder = memory()
    with open_log(folder, ED) as log:
        receipts = [log.append({"n": number}) for number in range(30)]
        assert blocks_of(folder)[-1].mac is None
        until(lambda: controls_of(folder, "seal"))
        assert log.stats.seals == 1
        [found] = controls_of(folder, "seal")
        assert (found["seq"], found["chain_hash"]) == (30, receipts[-1].chain_hash)
        assert (found["key_id"], found["algo"], found["at"]) == ("ed-2026", "Ed25519", 31)
        assert ED.verifying_key().verify(mac_message(receipts[-1].chain), b64url_decode(found["mac"]))
    verified(folder)


def test_a_live_log_under_a_signature_has_no_unauthenticated_tail_once_it_is_quiet(tmp_path: Path) -> None:
    with open_log(tmp_path, ED) as log:
        for number in range(30):
            log.append({"n": number})
        until(lambda: controls_of(tmp_path, "seal"))
        assert verify_path(tmp_path, keyring=KEYRING).valid
        assert len(lines_of(tmp_path)) == 31


class RemoteKey:
    """A key of a service: each signature is a call, made by the thread that is noted."""

    algorithm = Algorithm.ED25519

    def __init__(self, key: Ed25519SigningKey = ED) -> None:
        self.key_id = key.key_id
        self.away = False
        self.threads: list[str] = []
        self.refused: list[bytes] = []
        self._key = key

    def sign(self, message: bytes) -> bytes:
        self.threads.append(threading.current_thread().name)
        if self.away:
            self.refused.append(message)
            raise SealKeyError("the key service is away.")
        return self._key.sign(message)

    def verifying_key(self) -> VerifyingKey:
        return self._key.verifying_key()


def test_a_remote_key_is_never_asked_by_who_appends() -> None:
    folder, key = memory(), RemoteKey()
    with open_log(folder, key) as log:
        for _ in range(20):
            log.append({})
        until(lambda: controls_of(folder, "seal"))
        assert set(key.threads) == {"sealed-log log"}
    assert {block.mac for block in blocks_of(folder)} == {None}
    verified(folder)


def test_appends_go_on_while_a_remote_key_is_away_and_are_sealed_when_it_is_back() -> None:
    folder, key = memory(), RemoteKey()
    key.away = True
    with open_log(folder, key) as log:
        log.append({})
        until(lambda: not log.health())
        assert "the key service is away" in (log.health().reason or "")
        log.append({})
        assert not controls_of(folder, "seal")
        key.away = False
        until(lambda: controls_of(folder, "seal"))
        assert log.health()
    verified(folder)


def test_heads_go_on_when_a_remote_key_that_was_away_for_one_is_back() -> None:
    folder, key = memory(), RemoteKey()
    with open_log(folder, key) as log:
        log.append({})
        key.away = True
        until(lambda: any(b"/v1/head" in message for message in key.refused))
        key.away = False
        until(lambda: log.stats.heads)
    verified(folder)


# Changing keys.


@pytest.mark.parametrize("new", [K2, ED2], ids=["to hmac", "to ed25519"])
@pytest.mark.parametrize("old", [K1, ED], ids=["from hmac", "from ed25519"])
def test_rotating_the_key_writes_the_last_entry_under_the_old_one_and_goes_on(old: SigningKey, new: SigningKey) -> None:
    folder = memory()
    with open_log(folder, old) as log:
        before = [log.append({"n": number}) for number in range(5)]
        receipt = log.rotate_key(new)
        after = [log.append({"n": number}) for number in range(5, 10)]
        assert f"key {new.key_id}" in repr(log)
    [entry] = controls_of(folder, "key")
    assert entry["at"] == receipt.seq > before[-1].seq
    assert after[0].seq > receipt.seq
    assert entry["next_key_id"] == new.key_id
    public = new.verifying_key()
    assert entry.get("thumbprint") == (None if isinstance(public, HmacKey) else thumbprint(public))
    by_key = [block.key_id for block in blocks_of(folder)]
    assert by_key == [old.key_id] * receipt.seq + [new.key_id] * (len(by_key) - receipt.seq)
    assert blocks_of(folder)[receipt.seq - 1].mac is not None
    assert (head_of(folder).key_id, manifest_of(folder, segments(folder)[-1]).key_id) == (new.key_id, new.key_id)
    verified(folder)


def test_the_key_entry_is_synced_when_rotate_key_returns() -> None:
    folder = faulty()
    with open_log(folder) as log:
        with folder.faults.hold("sync"), pytest.raises(StoreError, match="not synced in time"):
            log.rotate_key(K2, timeout=0.02)
        log.append({})
    assert [block.key_id for block in blocks_of(folder)] == ["k1", "k2", "k2"]
    verified(folder)


@pytest.mark.parametrize("old", KEYS)
def test_nothing_comes_between_the_keys_of_threads_that_append(old: str) -> None:
    folder = memory()
    with open_log(folder, KEYS[old]) as log:
        threads = [threading.Thread(target=lambda: [log.append({}) for _ in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for key in (K2, ED2):
            log.rotate_key(key)
            log.append({})
        for thread in threads:
            thread.join()
    order = list(dict.fromkeys(block.key_id for block in blocks_of(folder)))
    assert order == [KEYS[old].key_id, "k2", "ed-2027"]
    assert len(events_of(folder)) == 402
    verified(folder)


def test_after_a_rotation_segment_and_head_are_signed_by_the_key_of_their_last_entry() -> None:
    folder = memory()
    with open_log(folder) as log:
        log.append({})
        log.rotate()
        log.rotate_key(K2)
        log.rotate()
        log.append({})
    keys = [manifest_of(folder, name).key_id for name in segments(folder)]
    assert keys == ["k1", "k2", "k2"]
    verified(folder)


@pytest.mark.parametrize(("old", "new"), [(K1, K2), (ED, ED2), (K1, ED)])
def test_a_stream_whose_key_was_rotated_last_is_opened_with_the_new_key_alone(old: Any, new: Any) -> None:
    folder = memory()
    with open_log(folder, old) as log:
        log.append({})
        log.rotate_key(new)
    with pytest.raises(SealKeyError, match=f"under key {new.key_id}"):
        open_log(folder, old)
    fill(folder, key=new)
    verified(folder)


class MuteKey:
    """A key of a service that macs each entry, and is away."""

    key_id = "mute"
    algorithm = Algorithm.HMAC_SHA256

    def sign(self, message: bytes) -> bytes:
        raise SealKeyError("the key service is away.")

    def verifying_key(self) -> VerifyingKey:
        return K2


def test_a_new_key_that_cannot_sign_leaves_the_old_one_at_work() -> None:
    folder = memory()
    with open_log(folder) as log:
        with pytest.raises(SealKeyError, match="away"):
            log.rotate_key(MuteKey())
        log.append({})
    assert {block.key_id for block in blocks_of(folder)} == {"k1"}
    verified(folder)


def test_a_rotated_stream_is_opened_again_under_its_new_key() -> None:
    folder = memory()
    with open_log(folder) as log:
        log.rotate_key(K2)
        log.append({})
    fill(folder, key=K2, keyring=Keyring([K1]))
    assert blocks_of(folder)[-1].key_id == "k2"
    verified(folder)


def test_a_key_can_be_rotated_by_uri(tmp_path: Path) -> None:
    path = tmp_path / "k2.key"
    path.write_bytes(K2.secret)
    path.chmod(0o600)
    with open_log(tmp_path / "log") as log:
        log.rotate_key(f"file:{path}?kid=k2&alg=HMAC-SHA256")
        log.append({})
    verified(tmp_path / "log")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, K1, "is unkeyed"),
        (K1, K1, "key_id of the old one"),
        (K1, HmacKey("k1", bytes(32)), "key_id of the old one"),
        (K1, "file:/nowhere?kid=k9&alg=HMAC-SHA256", "nowhere"),
    ],
    ids=["unkeyed", "the same", "the same name", "none"],
)
def test_a_rotation_that_cannot_be_leaves_the_log_as_it_was(old: SigningKey | None, new: Any, message: str) -> None:
    folder = memory()
    with open_log(folder, old) as log:
        log.append({})
        with pytest.raises(SealKeyError, match=message) as caught:
            log.rotate_key(new)
        assert caught.value.hint
        assert log.append({}).seq == 2
    assert len(blocks_of(folder)) == 2
    verified(folder, old)


# Opening.


def test_an_unkeyed_log_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="key"):
        SealedLog.open(tmp_path)  # type: ignore[call-arg]
    assert list(tmp_path.iterdir()) == []


def test_a_key_can_be_given_as_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    path.write_bytes(K1.secret)
    path.chmod(0o600)
    fill(tmp_path / "log", key=f"file:{path}?kid=k1&alg=HMAC-SHA256")
    verified(tmp_path / "log")
    with pytest.raises(SealKeyError):
        open_log(tmp_path / "other", f"file:{path}.missing?kid=k1&alg=HMAC-SHA256")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (None, SealKeyError, "no key was given"),
        (K2, SealKeyError, "under key k1, and k2 was given"),
        (HmacKey("k1", bytes(32)), HeadError, "does not hold under key k1"),
        (Ed25519SigningKey("k1", bytes(32)), HeadError, "does not hold under key k1"),
    ],
    ids=["no key", "another key", "another secret", "another algorithm"],
)
def test_a_keyed_stream_opens_under_its_key_only(key: Any, error: Any, message: str, tmp_path: Path) -> None:
    fill(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(error, match=message) as caught:
        open_log(tmp_path, key)
    assert caught.value.hint
    assert files_of(tmp_path) == before
    with open_log(tmp_path) as log:
        assert log.stream == "log"
    verified(tmp_path)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_stream_goes_on_under_another_key_where_the_keyring_knows_the_old_one(crashed: bool) -> None:  # noqa: FBT001
    folder = memory()
    log = open_log(folder)
    log.append({})
    if crashed:
        folder = type(folder)(folder.disk.kill(), folder.path)
    log.close()
    fill(folder, key=ED, keyring=Keyring([K1]))
    assert {block.key_id for block in blocks_of(folder)} == {"k1", "ed-2026"}
    verified(folder)
    with pytest.raises(SealKeyError, match="ed-2026"):
        open_log(folder)


def test_an_unkeyed_stream_may_go_on_under_a_key() -> None:
    folder = memory()
    fill(folder, key=None)
    fill(folder, key=K1)
    assert [block.key_id for block in blocks_of(folder)] == [None] * 3 + ["k1"] * 4
    [recovery] = controls_of(folder, "recovery")
    assert (recovery["reason"], recovery["unsigned"]) == ("unkeyed", [1, 3])
    assert NoteCode.ADOPTED in {note.code for note in verified(folder).notes}


@pytest.mark.parametrize("keyring", [None, Keyring([K1])], ids=["no keyring", "keyring"])
def test_a_keyed_stream_never_goes_on_without_a_key(keyring: Keyring | None) -> None:
    folder = memory()
    fill(folder)
    with pytest.raises(SealKeyError):
        fill(folder, key=None, keyring=keyring)
    assert {block.key_id for block in blocks_of(folder)} == {"k1"}
    verified(folder)


def test_the_keyring_of_the_caller_is_not_changed() -> None:
    folder, ring = memory(), Keyring([K2])
    with open_log(folder, K1, keyring=ring) as log:
        log.append({})
        log.rotate_key(ED)
    assert ring.key_ids == ("k2",)


def test_a_keyring_that_has_another_key_of_this_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError, match="two different keys"):
        open_log(tmp_path / "log", K1, keyring=Keyring([HmacKey("k1", bytes(32))]))


def test_what_an_old_key_may_no_longer_sign_is_not_adopted() -> None:
    """The keyring decides: entries of a key beyond its seqs are no reason to go on."""
    folder = memory()
    log = open_log(folder, K1)
    for _ in range(4):
        log.append({})
    crashed = type(folder)(folder.disk.kill(), folder.path)
    log.close()
    ring = Keyring([TrustedKey(K1.verifying_key(), last_seq=2)])
    with pytest.raises(StoreError, match="line 3"):
        open_log(crashed, K2, keyring=ring)


def test_a_verdict_without_keys_is_undetermined(tmp_path: Path) -> None:
    fill(tmp_path)
    assert verify_path(tmp_path).outcome is Outcome.UNDETERMINED
