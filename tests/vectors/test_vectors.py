"""The vectors of another program, byte for byte."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, chain_hash, leaf_hash, seal, split
from fapilog_tamper.head import format_head, head_message, parse_head, sign_head
from fapilog_tamper.keys import Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, Keyring
from fapilog_tamper.manifest import format_manifest, manifest_message, parse_manifest, sign_manifest
from fapilog_tamper.verify.log import verify_path

VECTORS = json.loads((Path(__file__).parent / "sealed-log-v1.json").read_text())
STREAMS = {stream["stream"]: stream for stream in VECTORS["streams"]}


def signing_keys(keys=VECTORS["keys"]):
    made = {}
    for key_id, key in keys.items():
        if "secret_hex" in key:
            made[key_id] = HmacKey(key_id, bytes.fromhex(key["secret_hex"]))
        else:
            made[key_id] = Ed25519SigningKey(key_id, bytes.fromhex(key["seed_hex"]))
    return made


KEYS = signing_keys()
KEYRING = Keyring(key.verifying_key() for key in KEYS.values())


def test_the_public_key_belongs_to_the_seed():
    public = bytes.fromhex(VECTORS["keys"]["ed-2026"]["public_hex"])
    assert KEYS["ed-2026"].verifying_key() == Ed25519VerifyingKey("ed-2026", public)


@pytest.mark.parametrize("name", STREAMS)
def test_sealing_gives_the_lines_of_the_vector(name):
    state = ChainState(name)
    for entry in STREAMS[name]["entries"]:
        line = entry["line"].encode() + b"\n"
        payload, block = split(line)
        assert payload == entry["payload"].encode()
        assert b64url_encode(leaf_hash(payload)) == entry["leaf_hash"]
        key = KEYS[block.key_id] if block.key_id else None
        sealed, state = seal(payload, state, key, mac=block.mac is not None)
        assert sealed == line
        assert b64url_encode(state.chain_hash) == entry["chain_hash"]
        assert chain_hash(name, block.key_id, block.seq, block.prev_chain_hash, payload) == block.chain_hash


@pytest.mark.parametrize("name", STREAMS)
def test_the_streams_verify_as_intact(name, tmp_path):
    file = tmp_path / "any-name"
    file.write_bytes(b"".join(entry["line"].encode() + b"\n" for entry in STREAMS[name]["entries"]))
    keyring = None if name == "plain" else KEYRING
    report = verify_path(file, keyring=keyring)
    assert report.valid, report.findings
    assert report.streams[0].stream == name


def test_the_manifest_is_read_and_written_to_the_byte():
    raw = base64.b64decode(VECTORS["manifest_text_b64"])
    manifest = parse_manifest(raw)
    assert format_manifest(manifest) == raw
    assert sign_manifest(manifest, KEYS["k1"]) == manifest
    assert KEYS["k1"].verify(manifest_message(manifest), manifest.signature)
    assert json.loads(raw) == VECTORS["manifest"]


def test_the_head_is_read_and_written_to_the_byte():
    raw = base64.b64decode(VECTORS["head_text_b64"])
    head = parse_head(raw)
    assert format_head(head) == raw
    assert sign_head(head, KEYS["k1"]) == head
    assert KEYS["k1"].verify(head_message(head), head.mac)
    assert json.loads(raw) == VECTORS["head"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("where", ["file", "folder"])
@pytest.mark.parametrize("case", VECTORS["broken"], ids=[case["name"] for case in VECTORS["broken"]])
def test_broken_cases_have_their_outcome_and_code_at_the_line(case, where, jobs, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    file = folder / "x.jsonl"
    file.write_bytes(base64.b64decode(case["data_b64"]))
    keyring = Keyring(signing_keys(case["keys"]).values()) if "keys" in case else KEYRING
    report = verify_path(file if where == "file" else folder, keyring=keyring, jobs=jobs)
    found = [(finding.code.value, finding.line) for finding in report.findings]
    assert report.outcome == case["outcome"], found
    if case["line"] is None:
        assert case["code"] in [code for code, _ in found]
    else:
        assert (case["code"], case["line"]) in found
