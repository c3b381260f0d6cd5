"""One line: what `seal` writes, what `split` reads, and every text near to it that must be refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from dataclasses import dataclass

import pytest

from fapilog_tamper.encoding import MAX_SEQ, b64url_encode
from fapilog_tamper.entry import (
    GENESIS,
    TAG_SIZES,
    ChainState,
    Integrity,
    block_format,
    chain_hash,
    leaf_hash,
    mac_contexts,
    mac_message,
    prepare_seal,
    seal,
    split,
)
from fapilog_tamper.errors import FormatError
from fapilog_tamper.keys import Algorithm, Ed25519SigningKey, HmacKey, Keyring, SigningKey, VerifyingKey
from fapilog_tamper.verify.verifier import Verifier

K1 = HmacKey("k1", bytes(range(32)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
UNI = HmacKey("schl\u00fcssel#7", bytes(32))
PREV = hashlib.sha256(b"the entry before").digest()
P, C, M = (b64url_encode(bytes([value]) * 32) for value in (0, 1, 2))
S64 = b64url_encode(bytes(64))


def make(payload: bytes, key: SigningKey | None, stream: str = "audit", seq: int = 7) -> bytes:
    return seal(payload, ChainState(stream, seq - 1, PREV), key)[0]


LINES = {
    "hmac": (make(b'{"a":1,"m":"x \\" \xc3\xa9"}', K1), Keyring([K1])),
    "ed25519": (make(b'{"a":1}', ED), Keyring([ED])),
    "unkeyed": (make(b'{"a":1}', None), None),
    "hmac-empty-object": (make(b"{}", K1), Keyring([K1])),
    "unkeyed-empty-object": (make(b"{}", None), None),
    "hmac-unicode-names": (make(b'{"a":1}', UNI, "pr\u00fcf.w2", 1), Keyring([UNI])),
    "block-inside-payload": (make(b'{"a":{"integrity":{"v":1}}}', K1), Keyring([K1])),
}
lines = pytest.mark.parametrize(("line", "keyring"), LINES.values(), ids=LINES)


@lines
def test_a_good_line_is_accepted(line: bytes, keyring: Keyring | None) -> None:
    assert Verifier(keyring).verify_record(line)


@lines
def test_every_proper_prefix_of_a_good_line_is_refused(line: bytes, keyring: Keyring | None) -> None:
    for end in range(len(line)):
        with pytest.raises(FormatError):
            split(line[:end])


@lines
def test_bytes_before_or_behind_a_good_line_are_refused(line: bytes, keyring: Keyring | None) -> None:
    for extra in (b" ", b"\n", b"\x00", b"{", b"}", b",", b"\xef\xbb\xbf", line):
        with pytest.raises(FormatError):
            split(line + extra)
        assert not Verifier(keyring).verify_record(extra + line)


def substitutes(byte: int) -> set[int]:
    """Other bytes: each bit flipped, the letter's other case, and the characters that mean something to the format."""
    return {byte ^ (1 << bit) for bit in range(8)} | set(b'\x00\t\n\r "#%+,-/019:=AZ\\_az{}\x7f\x80\xff')


@lines
def test_every_single_byte_change_of_a_good_line_is_refused(line: bytes, keyring: Keyring | None) -> None:
    verifier = Verifier(keyring)
    passed = [
        (at, value)
        for at, byte in enumerate(line)
        for value in substitutes(byte) - {byte}
        if verifier.verify_record(line[:at] + bytes([value]) + line[at + 1 :])
    ]
    assert passed == []


@lines
def test_every_removed_or_doubled_byte_is_refused(line: bytes, keyring: Keyring | None) -> None:
    verifier = Verifier(keyring)
    for at in range(len(line) - 1):  # verify_record takes a line without its newline
        assert not verifier.verify_record(line[:at] + line[at + 1 :]), at
        assert not verifier.verify_record(line[:at] + line[at : at + 1] + line[at:]), at


@lines
def test_split_changes_are_refused_or_show_in_the_hash(line: bytes, keyring: Keyring | None) -> None:
    """The rule of `split` alone: what it reads of a changed line has another chain hash, mac, or algo than it says."""
    original = split(line)
    for at, byte in enumerate(line):
        changed = line[:at] + bytes([byte ^ 1]) + line[at + 1 :]
        try:
            payload, block = split(changed)
        except FormatError:
            continue
        assert (payload, block) != original
        rest = (block.v, block.algo, block.mac)
        fits = chain_hash(block.stream, block.key_id, block.seq, block.prev_chain_hash, payload) == block.chain_hash
        assert not fits or rest != (1, original[1].algo, original[1].mac)


# The form, member by member.


def block(**changes: str) -> str:
    """A block of the right form with members replaced; the value "" leaves one out."""
    members = {
        "v": "1",
        "stream": '"audit"',
        "seq": "7",
        "prev_chain_hash": f'"{P}"',
        "chain_hash": f'"{C}"',
        "algo": '"HMAC-SHA256"',
        "key_id": '"k1"',
        "mac": f'"{M}"',
    } | changes
    return '"integrity":{' + ",".join(f'"{name}":{text}' for name, text in members.items() if text) + "}}\n"


def test_the_form_is_read() -> None:
    payload, read = split(b'{"a":1,' + block().encode())
    assert payload == b'{"a":1}'
    assert read == Integrity("audit", 7, bytes(32), b"\x01" * 32, "HMAC-SHA256", "k1", b"\x02" * 32, 1)


UNKEYED_BLOCK = {"algo": '"SHA-256"', "key_id": "", "mac": ""}
GOOD_BLOCKS = {
    "no mac under a key": {"mac": ""},
    "unkeyed": UNKEYED_BLOCK,
    "Ed25519": {"algo": '"Ed25519"', "mac": f'"{S64}"'},
    "ECDSA": {"algo": '"ECDSA-P256-SHA256"', "mac": f'"{S64}"'},
    "RSA, any size": {"algo": '"RSA-PSS-SHA256"', "mac": f'"{b64url_encode(bytes(384))}"'},
    "ML-DSA-44": {"algo": '"ML-DSA-44"', "mac": f'"{b64url_encode(bytes(2420))}"'},
    "an algo that is not known here": {"algo": '"ML-DSA-87"', "mac": f'"{b64url_encode(bytes(4200))}"'},
    "a later version of the same form": {"v": "2"},
    "v 0": {"v": "0"},
    "the greatest seq": {"seq": str(MAX_SEQ)},
    "the longest stream": {"stream": f'"{"s" * 180}"'},
    "the longest key_id": {"key_id": f'"{"k" * 128}"'},
    "unicode": {"stream": '"pr\u00fcf-\u6f22"', "key_id": '"\U0001f511#12"'},
    "names with JSON's other characters": {"stream": '"a/b\'{}[]:,"', "key_id": '"a/b:c@d"'},
}


@pytest.mark.parametrize("changes", GOOD_BLOCKS.values(), ids=GOOD_BLOCKS)
def test_blocks_that_are_read(changes: dict[str, str]) -> None:
    assert split(b"{" + block(**changes).encode())[0] == b"{}"


BAD_BLOCKS = {
    "seq 0": {"seq": "0"},
    "seq with a leading zero": {"seq": "07"},
    "seq 2^53": {"seq": str(MAX_SEQ + 1)},
    "seq of 16 nines": {"seq": "9" * 16},
    "seq of 17 digits": {"seq": "1" * 17},
    "seq of 5,000 digits": {"seq": "1" * 5000},
    "negative seq": {"seq": "-1"},
    "seq with a plus": {"seq": "+7"},
    "seq as a float": {"seq": "7.0"},
    "seq with an exponent": {"seq": "7e0"},
    "seq as text": {"seq": '"7"'},
    "seq null": {"seq": "null"},
    "seq in Arabic digits": {"seq": "\u0667"},
    "v with a leading zero": {"v": "01"},
    "v as text": {"v": '"1"'},
    "v as a float": {"v": "1.0"},
    "v true": {"v": "true"},
    "v above 2^53": {"v": "9" * 16},
    "prev with spare bits": {"prev_chain_hash": f'"{P[:-1]}B"'},
    "chain with spare bits": {"chain_hash": f'"{C[:-1]}F"'},
    "mac with spare bits": {"mac": f'"{M[:-1]}J"'},
    "prev padded": {"prev_chain_hash": f'"{P}="'},
    "prev of 31 bytes": {"prev_chain_hash": f'"{P[:42]}"'},
    "chain in the other alphabet": {"chain_hash": f'"{C[:-2]}+A"'},
    "chain as hex": {"chain_hash": f'"{"0" * 64}"'},
    "a non-ASCII letter in a hash": {"chain_hash": f'"{C[:-1]}\u00e9"'},
    "mac of no bytes": {"mac": '""'},
    "mac of one character": {"mac": '"A"'},
    "mac null": {"mac": "null"},
    "HMAC mac of 31 bytes": {"mac": f'"{b64url_encode(bytes(31))}"'},
    "HMAC mac of 33 bytes": {"mac": f'"{b64url_encode(bytes(33))}"'},
    "HMAC mac of 64 bytes": {"mac": f'"{S64}"'},
    "Ed25519 mac of 32 bytes": {"algo": '"Ed25519"'},
    "ECDSA mac of 70 bytes (DER)": {"algo": '"ECDSA-P256-SHA256"', "mac": f'"{b64url_encode(bytes(70))}"'},
    "ML-DSA-44 mac of 2,421 bytes": {"algo": '"ML-DSA-44"', "mac": f'"{b64url_encode(bytes(2421))}"'},
    "a mac of 5,601 characters": {"algo": '"X"', "mac": f'"{"A" * 5601}"'},
    "SHA-256 with a key_id and a mac": {"algo": '"SHA-256"'},
    "SHA-256 with a key_id": {"algo": '"SHA-256"', "mac": ""},
    "SHA-256 with a mac": {"algo": '"SHA-256"', "key_id": ""},
    "a mac without a key_id": {"key_id": ""},
    "a keyed algo without a key_id": {"key_id": "", "mac": ""},
    "no algo": {"algo": ""},
    "no seq": {"seq": ""},
    "no stream": {"stream": ""},
    "no prev": {"prev_chain_hash": ""},
    "empty algo": {"algo": '""'},
    "algo of 33 characters": {"algo": f'"{"A" * 33}"'},
    "algo with an underscore": {"algo": '"HMAC_SHA256"'},
    "empty key_id": {"key_id": '""'},
    "empty stream": {"stream": '""'},
    "key_id of 129 bytes": {"key_id": f'"{"k" * 129}"'},
    "stream of 181 bytes": {"stream": f'"{"s" * 181}"'},
    "stream of 61 bytes that encode to 183": {"stream": f'"{"~" * 61}"'},
    "key_id with two epochs": {"key_id": '"a#1#2"'},
    "key_id that is only an epoch": {"key_id": '"#1"'},
    "key_id with a zero epoch spelled twice": {"key_id": '"a#00"'},
    "stream with a space": {"stream": '"a b"'},
    "stream with a percent sign": {"stream": '"a%b"'},
    "stream with a plus": {"stream": '"a+b"'},
    "stream with DEL": {"stream": '"a\x7fb"'},
    "stream with a C1 control": {"stream": '"a\u0085b"'},
    "stream with a line feed": {"stream": '"a\nb"'},
    "stream not NFC": {"stream": '"e\u0301"'},
    "key_id not NFC": {"key_id": '"\u212b"'},
    "stream with an escape": {"stream": '"a\\u0062"'},
    "stream with an escaped quote": {"stream": '"a\\""'},
    "a member that is not known": {"x": "1"},
}


@pytest.mark.parametrize("changes", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_blocks_that_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(FormatError):
        split(b'{"a":1,' + block(**changes).encode())


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
@pytest.mark.parametrize("name", ["stream", "key_id"])
def test_a_name_that_is_not_utf_8_is_refused(name: str, raw: bytes) -> None:
    with pytest.raises(FormatError, match="integrity block"):
        split(b"{" + block(**{name: '"@"'}).encode().replace(b"@", raw))


def test_any_other_member_order_is_refused() -> None:
    members = list(block()[len('"integrity":{') : -3].split(","))
    for at in range(len(members) - 1):
        swapped = [*members[:at], members[at + 1], members[at], *members[at + 2 :]]
        with pytest.raises(FormatError):
            split(b"{" + ('"integrity":{' + ",".join(swapped) + "}}\n").encode())


def test_a_doubled_member_is_refused() -> None:
    text = block()
    for part in text[len('"integrity":{') : -3].split(","):
        with pytest.raises(FormatError):
            split(b"{" + text.replace(part, f"{part},{part}").encode())


def test_white_space_anywhere_in_the_block_is_refused() -> None:
    text = block().encode()
    for at in range(len(text)):
        for space in (b" ", b"\t", b"\r", b"\n"):
            with pytest.raises(FormatError):
                split(b'{"a":1,' + text[:at] + space + text[at:])


HEADS = {
    b"{": b"{}",
    b'{"a":1,': b'{"a":1}',
    b'{ \t"a" : 1 ,': b'{ \t"a" : 1 }',
    b'{"a":{"integrity":{"v":1,"stream":"x"}},': b'{"a":{"integrity":{"v":1,"stream":"x"}}}',
    b'{"a":"\\"integrity\\":{",': b'{"a":"\\"integrity\\":{"}',
}


@pytest.mark.parametrize(("before", "payload"), HEADS.items())
def test_what_stands_before_the_block_becomes_the_payload(before: bytes, payload: bytes) -> None:
    assert split(before + block().encode())[0] == payload


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"{,",
        b"{ ",
        b"{ ,",
        b" {",
        b'{"a":1',
        b'{"a":1}',
        b'{"a":1, ',
        b'{"a":1,\t',
        b'["a",',
        b'"a",',
        b"{a,",
        b"{1:2,",
        b'{{"a":1},',
        b' {"a":1,',
        b'\xef\xbb\xbf{"a":1,',
        b'{\n"a":1,',
        b'{\r"a":1,',
        b'{"a":"\n",',
        b'{"a":1,\r\n"b":2,',
        b'{"a":"\r",',
        b'{\x0b"a":1,',
        b'{\xc2\xa0"a":1,',
        b'x{"a":1,',
    ],
)
def test_what_no_payload_begins_with_is_refused(before: bytes) -> None:
    with pytest.raises(FormatError):
        split(before + block().encode())


def test_whether_the_payload_is_json_is_not_looked_at() -> None:
    assert split(b'{"a":1},' + block().encode())[0] == b'{"a":1}}'


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b"{}", b'{"integrity":{}}\n', b"\x00" * 512, b"null\n"])
def test_what_is_no_sealed_line_is_refused_with_a_hint(line: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        split(line)
    assert str(caught.value).endswith("Only sealed lines can be read.")


def test_two_blocks_in_one_line_are_read_as_the_last_and_the_hash_shows_it() -> None:
    line = make(b'{"a":1}', None)
    twice = line[:-2] + b"," + line[line.rindex(b'"integrity"') :]
    assert not Verifier().verify_record(twice)


# Hashes and tags, computed here by hand.


@pytest.mark.parametrize("key", [K1, HmacKey("k1", bytes(range(64))), HmacKey("k1", bytes(range(200)))])
def test_hashes_and_mac_are_those_of_the_specification(key: HmacKey) -> None:
    payload = b'{"a":"\xc3\xa9"}'
    leaf = hashlib.sha256(b"\x00" + payload).digest()
    message = b"fapilog-tamper/v1/link\x00\x00\x05pr\xc3\xbcf\x00\x02k1" + (7).to_bytes(8, "big") + PREV + leaf
    chain = hashlib.sha256(message).digest()
    mac = hmac.digest(key.secret, b"fapilog-tamper/v1/mac\x00" + chain, "sha256")
    line, state = seal(payload, ChainState("pr\u00fcf", 6, PREV), key)
    assert state == ChainState("pr\u00fcf", 7, chain)
    assert split(line)[1] == Integrity("pr\u00fcf", 7, PREV, chain, "HMAC-SHA256", "k1", mac)
    assert mac_message(chain) == b"fapilog-tamper/v1/mac\x00" + chain
    assert leaf_hash(payload) == leaf


def test_an_unkeyed_entry_hashes_an_empty_key_id() -> None:
    message = b"fapilog-tamper/v1/link\x00\x00\x05audit\x00\x00" + (1).to_bytes(8, "big") + bytes(32) + leaf_hash(b"{}")
    assert chain_hash("audit", None, 1, GENESIS, b"{}") == hashlib.sha256(message).digest()
    assert seal(b"{}", ChainState("audit"), None)[1].chain_hash == hashlib.sha256(message).digest()


def test_the_line_is_one_json_object_with_the_payload_in_it() -> None:
    line = make(b'{"a":[1,{"b":null}]}', K1)
    members = json.loads(line)
    assert list(members) == ["a", "integrity"]
    assert list(members["integrity"]) == [
        "v",
        "stream",
        "seq",
        "prev_chain_hash",
        "chain_hash",
        "algo",
        "key_id",
        "mac",
    ]
    assert line.count(b"\n") == 1


def test_without_mac_the_member_is_left_out_and_the_chain_is_the_same() -> None:
    state = ChainState("audit", 6, PREV)
    with_mac, without = seal(b"{}", state, K1), seal(b"{}", state, K1, mac=False)
    assert split(without[0])[1].mac is None
    assert with_mac[1] == without[1]
    assert without[0] == with_mac[0][: with_mac[0].index(b',"mac"')] + b"}}\n"


def test_the_chain_runs_on_under_another_key() -> None:
    first, state = seal(b'{"a":1}', ChainState("audit"), K1)
    second, _ = seal(b'{"a":2}', state, ED)
    assert split(second)[1].prev_chain_hash == split(first)[1].chain_hash
    assert Verifier(Keyring([K1, ED])).verify_chain([first, second]).valid


@pytest.mark.parametrize("stream", ["", "a b", "a%b", 'a"', "a\\", "e\u0301", "s" * 181, "\ud800"])
def test_a_name_that_is_none_is_not_sealed_under(stream: str) -> None:
    with pytest.raises(FormatError):
        prepare_seal(stream, None)


def test_a_key_whose_name_is_none_does_not_seal() -> None:
    with pytest.raises(FormatError):
        prepare_seal("audit", Wrapped("a b", Algorithm.HMAC_SHA256, K1))


# Keys of other makers, and threads.


@dataclass(frozen=True)
class Wrapped:
    """A signing key that shows no secret, like one in a key service."""

    key_id: str
    algorithm: Algorithm
    inner: SigningKey

    def sign(self, message: bytes) -> bytes:
        return self.inner.sign(message)

    def verifying_key(self) -> VerifyingKey:
        return self.inner.verifying_key()


@dataclass(frozen=True)
class WithForeignSecret(Wrapped):
    """A key whose attribute `secret` is the name of one, not its bytes."""

    secret: str = "vault:prod/audit"


@pytest.mark.parametrize("kind", [Wrapped, WithForeignSecret])
@pytest.mark.parametrize("key", [K1, ED], ids=["hmac", "ed25519"])
def test_a_key_without_a_secret_to_read_gives_the_same_line(kind: type[Wrapped], key: SigningKey) -> None:
    handle = kind(key.key_id, key.algorithm, key)
    assert isinstance(handle, SigningKey)
    for payload in (b"{}", b'{"a":1}'):
        assert make(payload, handle) == make(payload, key)


def test_a_key_of_another_algorithm_signs_itself_even_if_it_has_a_secret() -> None:
    @dataclass(frozen=True)
    class SecretEd(Wrapped):
        secret: bytes = bytes(32)

    assert make(b"{}", SecretEd(ED.key_id, ED.algorithm, ED)) == make(b"{}", ED)


def test_the_hash_contexts_of_a_mac_are_hmac() -> None:
    for size in (32, 63, 64, 65, 300):
        secret = bytes(byte % 251 for byte in range(size))
        inner, outer = mac_contexts(secret)
        one = inner()
        one.update(b"c" * 32)
        two = outer()
        two.update(one.digest())
        assert two.digest() == hmac.digest(secret, mac_message(b"c" * 32), "sha256")


@pytest.mark.parametrize("key", [K1, None], ids=["hmac", "unkeyed"])
def test_one_seal_function_serves_many_threads(key: SigningKey | None) -> None:
    """Each thread has a chain of its own, so that a prev of one thread in the line of another would show."""
    sealing = prepare_seal("audit", key)
    results: dict[int, list[bytes]] = {}
    start = threading.Barrier(8)

    def run(thread: int) -> None:
        prev, made = GENESIS, []
        start.wait()
        for seq in range(1, 401):
            line, prev = sealing(b'{"thread":%d,"n":%d}' % (thread, seq), seq, prev)
            made.append(line)
        results[thread] = made

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8))
    for thread, made in results.items():
        state = ChainState("audit")
        for seq, line in enumerate(made, 1):
            expected, state = seal(b'{"thread":%d,"n":%d}' % (thread, seq), state, key)
            assert line == expected


def test_a_seal_function_gives_the_same_line_again_and_out_of_order() -> None:
    sealing = prepare_seal("audit", K1)
    chain = [GENESIS]
    for seq in range(1, 5):
        chain.append(sealing(b"{}", seq, chain[-1])[1])
    for seq in (4, 4, 1, 1, 3, 2, 4):
        assert (
            sealing(b"{}", seq, chain[seq - 1])[0] == seal(b"{}", ChainState("audit", seq - 1, chain[seq - 1]), K1)[0]
        )


def test_the_template_takes_names_as_they_are() -> None:
    template = block_format(b"a/{}", b"SHA-256", b"", mac=False)
    assert template % (1, b"P", b"C") == (
        b'"integrity":{"v":1,"stream":"a/{}","seq":1,"prev_chain_hash":"P","chain_hash":"C","algo":"SHA-256"}}\n'
    )


def test_the_sizes_of_tags() -> None:
    assert TAG_SIZES == {
        "HMAC-SHA256": 32,
        "Ed25519": 64,
        "ECDSA-P256-SHA256": 64,
        "RSA-PSS-SHA256": None,
        "ML-DSA-44": 2420,
    }
