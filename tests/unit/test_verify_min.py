"""The second verifier, tools/verify_min.py, on the vectors and on small folders made of them."""

from __future__ import annotations

import ast
import base64
import contextlib
import gzip
import hashlib
import hmac
import importlib.util
import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import logs

from fapilog_tamper import verify_path

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("verify_min", ROOT / "tools/verify_min.py")
assert SPEC is not None
assert SPEC.loader is not None
TOOL = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TOOL)
VECTORS = json.loads((ROOT / "tests/vectors/sealed-log-v1.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
STREAMS = {
    stream["stream"]: [entry["line"].encode() + b"\n" for entry in stream["entries"]] for stream in VECTORS["streams"]
}
ED25519 = {
    "päyments/eu",
    "late",
    "signatures stripped to the end",
    "HMAC keyed with an Ed25519 public key",
    "late seal is false",
}
MANIFEST = base64.b64decode(VECTORS["manifest_text_b64"])
HEAD = base64.b64decode(VECTORS["head_text_b64"])
DAY = "audit_2026-11-20.jsonl"
K1 = {"k1": KEYS["k1"]}
MOST_LINES = 270


def verify(path: Path, keys: dict[str, Any] = KEYS) -> tuple[str, list[str]]:
    given = [arg for key, of in keys.items() if "secret_hex" in of for arg in ("--key", f"{key}:{of['secret_hex']}")]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = TOOL.main([str(path), *given])
    *findings, outcome = printed.getvalue().splitlines()
    assert code == {"intact": 0, "tampered": 1, "undetermined": 3}[outcome]
    assert all(re.fullmatch(r"[a-z-]+ .+:(-|\d+) seq=(-|\d+)", line) for line in findings)
    return outcome, findings


def codes(findings: list[str]) -> list[str]:
    return [line.split()[0] for line in findings]


def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def sealed(document: dict[str, Any], member: str, domain: str, **changes: Any) -> bytes:
    """A document with changes, with a good tag of k1; its members are such that json.dumps writes RFC 8785 text."""
    bare = {name: value for name, value in (document | changes).items() if name != member and value != ...}

    def text(value: dict[str, Any]) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    message = f"fapilog-tamper/v1/{domain}\0".encode() + hashlib.sha256(text(bare)).digest()
    tag = hmac.digest(bytes.fromhex(KEYS["k1"]["secret_hex"]), message, "sha256")
    return text(bare | {member: base64.urlsafe_b64encode(tag).decode().rstrip("=")}) + b"\n"


def head(**changes: Any) -> bytes:
    return sealed(VECTORS["head"], "mac", "head", **({"others": ...} | changes))


def manifest(**changes: Any) -> bytes:
    return sealed(VECTORS["manifest"], "signature", "manifest", **changes)


@pytest.mark.parametrize("stream", VECTORS["streams"], ids=lambda stream: stream["stream"])
def test_a_valid_stream_is_intact_or_of_an_unknown_key(stream: dict[str, Any], tmp_path: Path) -> None:
    path = folder(tmp_path, {"x": b"".join(STREAMS[stream["stream"]])}) / "x"
    outcome, findings = verify(path, {} if stream["stream"] == "plain" else KEYS)
    if stream["stream"] in ED25519:
        assert (outcome, codes(findings)) == ("undetermined", ["key-unknown"])
    else:
        assert (outcome, findings) == ("intact", [])


@pytest.mark.parametrize("case", VECTORS["broken"], ids=lambda case: case["name"])
def test_a_broken_file_has_its_outcome_and_code(case: dict[str, Any], tmp_path: Path) -> None:
    path = folder(tmp_path, {"x": base64.b64decode(case["data_b64"])}) / "x"
    outcome, findings = verify(path, case.get("keys", KEYS))
    if case["name"] in ED25519:
        assert (outcome, codes(findings)) == ("undetermined", ["key-unknown"])
        return
    at = r"(-|\d+)" if case["line"] is None else case["line"]
    assert outcome == case["outcome"]
    assert any(re.match(f"{case['code']} .*:{at} seq=", line) for line in findings), findings


LINES = STREAMS["audit"]
WHOLE = b"".join(LINES)
PART_1, PART_2 = b"".join(LINES[:2]), b"".join(LINES[2:])
STATE = ".fapilog/audit.chainstate"
CLAIM = {"stream": "audit.w2", "seq": 2, "chain_hash": "A" * 43}
BAD_MAC = LINES[3].replace(b'"mac":"zq', b'"mac":"zz')


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({DAY: WHOLE, DAY + ".manifest.json": MANIFEST, STATE: HEAD}, [], id="all as in the vectors"),
        pytest.param({DAY + ".gz": gzip.compress(WHOLE), DAY + ".manifest.json": MANIFEST}, [], id="gzip"),
        pytest.param({DAY + ".gz": gzip.compress(WHOLE), DAY: WHOLE}, ["unreadable"], id="copy, not supported"),
        pytest.param({DAY: WHOLE, STATE: head(others=[CLAIM])}, [], id="others are not looked at"),
        pytest.param({"a.jsonl": PART_1, "b.jsonl": PART_2, STATE: head()}, [], id="two segments"),
        pytest.param({"b.jsonl": PART_1, "a.jsonl": PART_2, STATE: head()}, [], id="names give no order"),
        pytest.param({"a.jsonl": LINES[0], "b.jsonl": PART_2}, ["segment-missing"], id="hole between segments"),
        pytest.param({"b.jsonl": PART_2, STATE: head()}, ["segment-missing"], id="beginning gone"),
        pytest.param({"b.jsonl": PART_2, STATE: head(first_seq=3)}, [], id="beginning pruned"),
        pytest.param({"a.jsonl": PART_1, STATE: head()}, ["segment-missing"], id="end gone"),
        pytest.param({STATE: head()}, ["segment-missing"], id="all gone"),
        pytest.param({DAY + ".manifest.json": MANIFEST}, ["segment-missing"], id="only the manifest left"),
        pytest.param(
            {"a.jsonl": PART_1 + b"{\n", "b.jsonl": LINES[3]}, ["line-malformed"], id="a line stands for an entry"
        ),
        pytest.param({DAY: WHOLE, STATE: head(seq=4)}, ["rollback"], id="another entry than the head says"),
        pytest.param({DAY: WHOLE, STATE: head(origin="A" * 43)}, ["rollback"], id="another origin"),
        pytest.param(
            {DAY: WHOLE, STATE: HEAD.replace(b'"offset":1501', b'"offset":1')}, ["head-mac"], id="head changed"
        ),
        pytest.param({DAY: WHOLE, STATE: HEAD[:-1]}, ["head-malformed"], id="head without newline"),
        pytest.param({DAY: WHOLE, STATE: head(v=2)}, ["version-unknown"], id="head of a later version"),
        pytest.param({DAY: PART_1, DAY + ".manifest.json": MANIFEST}, ["manifest-mismatch"], id="cut at a line"),
        pytest.param(
            {DAY: WHOLE, DAY + ".manifest.json": MANIFEST.replace(b'A8PA"', b'A8PB"')}, ["manifest-malformed"], id="b64"
        ),
        pytest.param({DAY: WHOLE, DAY + ".manifest.json": manifest(size_bytes=9)}, ["manifest-mismatch"], id="size"),
        pytest.param({DAY: WHOLE, DAY + ".manifest.json": manifest(record_count=4)}, ["manifest-mismatch"], id="count"),
        pytest.param({DAY: WHOLE, DAY + ".manifest.json": manifest(origin=...)}, ["manifest-malformed"], id="missing"),
        pytest.param(
            {DAY: WHOLE, DAY + ".manifest.json": manifest(integrity_version="2.0")},
            ["version-unknown"],
            id="manifest of a later version",
        ),
        pytest.param(
            {DAY: WHOLE, DAY + ".manifest.json": MANIFEST.replace(b'"size_bytes":1501', b'"size_bytes":1500')},
            ["manifest-signature"],
            id="manifest changed",
        ),
        pytest.param({"b.jsonl": WHOLE, DAY + ".manifest.json": MANIFEST}, ["unreadable"], id="renamed, not supported"),
        pytest.param(
            {DAY: WHOLE[:-1], DAY + ".manifest.json": MANIFEST},
            ["line-malformed", "manifest-mismatch"],
            id="no tear here",
        ),
        pytest.param({DAY: WHOLE[:-1]}, ["torn-tail"], id="tear"),
        pytest.param({DAY: WHOLE + b"\n\n"}, ["torn-tail"], id="blank lines at the end"),
        pytest.param(
            {DAY: WHOLE[:-1], STATE: head()}, ["line-malformed", "segment-missing"], id="tear before the head"
        ),
        pytest.param({DAY + ".gz": gzip.compress(WHOLE)[:-9]}, ["unreadable"], id="damaged gzip"),
        pytest.param({DAY + ".gz": gzip.compress(WHOLE) + b"x"}, ["line-malformed"], id="bytes behind gzip"),
        pytest.param({DAY: b"\x28\xb5\x2f\xfd"}, ["unreadable"], id="zstd, not supported"),
        pytest.param({DAY: b"\x28\xb5\x2f\xfd", STATE: head()}, ["unreadable", "unreadable"], id="zstd and a head"),
        pytest.param({DAY: b""}, ["empty"], id="empty file"),
        pytest.param({}, ["empty"], id="empty folder"),
        pytest.param({DAY: b"".join(LINES[:3]) + BAD_MAC + LINES[4]}, ["mac-invalid"], id="one mac"),
        pytest.param({DAY: BAD_MAC}, ["key-unknown"], id="nothing holds"),
        pytest.param({DAY: LINES[0].replace(b'"v":1', b'"v":2') + LINES[1]}, ["version-unknown"], id="later version"),
        pytest.param(
            {"a.jsonl": WHOLE, "b.jsonl": LINES[2] + BAD_MAC},
            ["unreadable"],
            id="other history, not supported",
        ),
    ],
)
def test_a_folder(files: dict[str, bytes], expected: list[str], tmp_path: Path) -> None:
    outcome, findings = verify(folder(tmp_path, files), K1)
    assert codes(findings) == expected, findings
    assert (outcome == "intact") == (not expected)


def test_one_file_is_looked_at_without_heads(tmp_path: Path) -> None:
    here = folder(tmp_path, {"a.jsonl": PART_1, "b.jsonl": PART_2, STATE: HEAD})
    assert verify(here / "a.jsonl", K1) == ("intact", [])
    assert verify(here / "b.jsonl", K1) == ("intact", [])
    assert codes(verify(here / "none.jsonl", K1)[1]) == ["unreadable"]


def test_without_keys_a_keyed_stream_is_undetermined(tmp_path: Path) -> None:
    assert codes(verify(folder(tmp_path, {DAY: WHOLE, STATE: head()}), {})[1]) == ["key-unknown"]


def test_every_change_of_one_byte_is_seen(tmp_path: Path) -> None:
    for at in range(0, len(WHOLE), 7):
        changed = WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]
        outcome, _ = verify(folder(tmp_path, {DAY: changed, STATE: head()}), K1)
        assert outcome != "intact", at


def test_it_is_a_program_of_its_own(tmp_path: Path) -> None:
    here = folder(tmp_path, {DAY: WHOLE})
    command = [sys.executable, "-I", "-S", str(ROOT / "tools/verify_min.py"), str(here)]
    done = subprocess.run([*command, "--key", "k1:" + KEYS["k1"]["secret_hex"]], capture_output=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"intact"], b"")


@pytest.mark.parametrize("argument", ["k1", "k1:zz"])
def test_a_bad_key_is_wrong_use(argument: str, tmp_path: Path) -> None:
    assert TOOL.main([str(tmp_path), "--key", argument]) == 2


def test_it_stays_short_and_needs_only_the_standard_library() -> None:
    source = (ROOT / "tools/verify_min.py").read_text(encoding="utf-8")
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add(str(node.module).split(".")[0])
    assert modules <= sys.stdlib_module_names
    assert len(source.splitlines()) <= MOST_LINES


def both(path: Path, situation: logs.Situation) -> tuple[str, set[str], str]:
    """The outcome and codes of the package's verifier, and the outcome of the small one."""
    report = verify_path(path, keyring=situation.keyring)
    keys = {key.key_id: KEYS[key.key_id] for key in situation.keys}
    return str(report.outcome), {str(finding.code) for finding in report.findings}, verify(path, keys)[0]


LOGS = [(situation, shape) for situation in (logs.HMAC, logs.ROTATED, logs.UNKEYED_CHAIN) for shape in logs.SHAPES]


@pytest.mark.parametrize(("situation", "shape"), LOGS, ids=lambda value: value.name)
def test_both_verifiers_say_that_an_untouched_log_is_intact(situation, shape, tmp_path: Path) -> None:
    image = logs.make_log(situation, shape).image
    here = logs.write_image(image, tmp_path / "log")
    assert both(here, situation) == ("intact", set(), "intact")
    for name in image:
        if name.endswith(".jsonl"):
            outcome, _, small = both(here / name, situation)
            assert small == outcome, name


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file with one change, of a byte, a run of bytes or a line."""
    lines = data.splitlines(keepends=True)
    at, line, other = rng.randrange(len(data)), rng.randrange(len(lines)), rng.randrange(len(lines))
    swapped = list(lines)
    swapped[line], swapped[other] = lines[other], lines[line]
    return rng.choice(
        [
            data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
            data[:at] + rng.randbytes(1) + data[at:],
            data[:at] + data[at + 1 :],
            data[:at],
            data[:at] + bytes(len(data[at : at + 64])) + data[at + 64 :],
            b"".join(lines[:line] + lines[line + 1 :]),
            b"".join(lines[: line + 1] + lines[line:]),
            b"".join(swapped),
        ]
    )


@pytest.mark.parametrize(("situation", "shape"), LOGS, ids=lambda value: value.name)
def test_both_verifiers_agree_on_a_changed_log(situation, shape, tmp_path: Path) -> None:
    log = logs.make_log(situation, shape)
    for trial in range(20):
        rng = random.Random(f"{situation.name}/{shape.name}/{trial}")
        name = rng.choice(sorted(log.image))
        here = logs.write_image(log.image | {name: mutated(log.image[name], rng)}, tmp_path / str(trial))
        outcome, found, small = both(here, situation)
        # The one thing that is known: nothing seals the document of an unkeyed stream, and the small verifier does not
        # look at the types of members that it has no use for.
        unsealed = situation is logs.UNKEYED_CHAIN and not name.endswith(".jsonl")
        if unsealed and small == "intact" and found <= {"head-malformed", "manifest-malformed", "rollback"}:
            continue
        assert (small == "intact") == (outcome == "intact"), (trial, name, outcome, found)
