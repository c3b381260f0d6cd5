"""What the tests of recovery share: logs at the moment of a crash, ways to break them, and what came of it."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from fapilog_tamper import FormatError, Keyring, SealedLog
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import ChainState, seal, split
from fapilog_tamper.head import Head, format_head, parse_head, sign_head
from fapilog_tamper.keys import Ed25519SigningKey, HmacKey, SigningKey
from fapilog_tamper.layout import STATE_FOLDER, head_name, is_segment_name, manifest_name, plain_name, segment_place
from fapilog_tamper.manifest import Manifest, parse_manifest
from fapilog_tamper.testing import assert_intact
from fapilog_tamper.verify.log import verify_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fapilog_tamper.verify.report import VerifyReport

K1 = HmacKey("k1", bytes(range(32)))
K2 = HmacKey("k2", bytes(range(50, 82)))
ED = Ed25519SigningKey("ed-2026", bytes(range(100, 132)))
KEYRING = Keyring([K1, K2, ED])
EACH_KEY = pytest.mark.parametrize("key", [K1, ED, None], ids=["hmac", "ed25519", "unkeyed"])
KEYED = pytest.mark.parametrize("key", [K1, ED], ids=["hmac", "ed25519"])

Key = SigningKey | None


def fill(folder: Any, count: int = 3, key: Key = K1, **options: Any) -> None:
    """Open a log, append some events, and close it."""
    with SealedLog.open(folder, key=key, **options) as log:
        for number in range(count):
            log.append({"n": number, "timestamp": f"t{number:04d}"})


def crashed(tmp_path: Path, key: Key = K1, *, closed: int = 3, behind: int = 1, **options: Any) -> Path:
    """Return a log as a crash leaves it: so many entries closed and attested, so many behind that in an open segment.

    It is copied while it is open. An Ed25519 key signs the first entry of a writer, so with `behind=1` all are covered.
    """
    folder, image = tmp_path / "alive", tmp_path / "crashed"
    if closed:
        fill(folder, closed, key, **options)
    log = SealedLog.open(folder, key=key, **options)
    # On a busy machine the copy may take longer than the head waits for: the crash would then come behind it.
    log._opened.worker._head_pause = 3600
    for number in range(behind):
        log.append({"n": number, "timestamp": f"u{number:04d}"})
    shutil.copytree(folder, image)
    log.close()
    return image


def segments(folder: Path, stream: str = "log") -> list[Path]:
    """Return the segments of a stream in their order."""
    places = {
        path: place
        for path in folder.iterdir()
        if path.is_file() and is_segment_name(path.name) and (place := segment_place(path.name, stream)) is not None
    }
    return sorted(places, key=lambda path: places[path])


def manifest_path(segment: Path) -> Path:
    return segment.with_name(manifest_name(segment.name))


def manifest_of(segment: Path) -> Manifest:
    return parse_manifest(manifest_path(segment).read_bytes())


def head_path(folder: Path, stream: str = "log") -> Path:
    return folder / STATE_FOLDER / head_name(stream)


def head_of(folder: Path, stream: str = "log") -> Head:
    return parse_head(head_path(folder, stream).read_bytes())


def write_head(folder: Path, key: Key, head: Head) -> None:
    head_path(folder, head.stream).write_bytes(format_head(sign_head(head, key)))


def lines_of(folder: Path, stream: str = "log") -> list[bytes]:
    return [line for path in segments(folder, stream) for line in path.read_bytes().splitlines(keepends=True)]


def seqs_of(folder: Path, stream: str = "log") -> list[int]:
    return [split(line)[1].seq for line in lines_of(folder, stream)]


def state_of(folder: Path, stream: str = "log") -> ChainState:
    """Return where the last whole line of a stream stands."""
    block = split(lines_of(folder, stream)[-1])[1]
    return ChainState(stream, block.seq, block.chain_hash)


def add_lines(folder: Path, key: Key, payloads: Sequence[bytes], *, mac: bool = True, stream: str = "log") -> None:
    """Append lines to the last segment as a writer with this key would."""
    state, path = state_of(folder, stream), segments(folder, stream)[-1]
    with path.open("ab") as file:
        for payload in payloads:
            line, state = seal(payload, state, key, mac=mac)
            file.write(line)


def add_bytes(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def cut(path: Path, count: int) -> None:
    """Cut bytes off the end of a file."""
    path.write_bytes(path.read_bytes()[:-count])


def remove_segment(segment: Path) -> None:
    """Remove a segment with its manifest."""
    segment.unlink()
    manifest_path(segment).unlink(missing_ok=True)


def controls_of(folder: Path, kind: str = "recovery", stream: str = "log") -> list[dict[str, Any]]:
    """Return the control entries of a kind, from the lines that are whole."""
    payloads = []
    for line in lines_of(folder, stream):
        with suppress(FormatError):
            payloads.append(json.loads(split(line)[0]))
    controls = [payload["sealed_log"] for payload in payloads if "sealed_log" in payload]
    return [control for control in controls if control["kind"] == kind]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder and its state folder, locks apart."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def intact(folder: Any, key: Key = K1, **options: Any) -> VerifyReport:
    """Ask the real verifier about every line, manifest and end."""
    settings = {"require_end": True, "require_manifests": True, "deep": True, **options}
    return assert_intact(folder, None if key is None else KEYRING, **settings)


def verdict(folder: Path, key: Key = K1) -> VerifyReport:
    return verify_path(folder, keyring=None if key is None else KEYRING)


def codes(report: VerifyReport) -> set[str]:
    return {finding.code.value for finding in report.findings}


def notes(report: VerifyReport) -> set[str]:
    return {note.code.value for note in report.notes}


def goes_on(folder: Path, key: Key = K1, **options: Any) -> list[dict[str, Any]]:
    """Open, append, close, verify, twice; return the `recovery` entries that the first open wrote."""
    before = len(controls_of(folder))
    fill(folder, 1, key, **options)
    intact(folder, key)
    found = controls_of(folder)[before:]
    fill(folder, 1, key, **options)
    intact(folder, key)
    assert len(controls_of(folder)) == before + len(found)
    return found


def torn_row(path: Path) -> dict[str, object]:
    """Return what a `recovery` entry says of the copy of a torn tail."""
    content = path.read_bytes()
    return {"file": path.name, "size_bytes": len(content), "sha256": b64url_encode(sha256(content).digest())}


def assert_true_manifests(folder: Path, stream: str = "log") -> None:
    """Every segment has a manifest, and it says what is so."""
    for segment in segments(folder, stream):
        assert plain_name(segment.name) == segment.name
        manifest, content = manifest_of(segment), segment.read_bytes()
        blocks = [split(line)[1] for line in content.splitlines(keepends=True)]
        assert manifest.file == segment.name
        assert manifest.file_sha256 == sha256(content).digest()
        assert manifest.size_bytes == len(content)
        assert (manifest.first_seq, manifest.last_seq) == (blocks[0].seq, blocks[-1].seq)
        assert manifest.record_count == len(blocks)
        assert manifest.continues_from == blocks[0].prev_chain_hash
        assert manifest.root_chain_hash == blocks[-1].chain_hash
        assert (manifest.algo, manifest.key_id) == (blocks[-1].algo, blocks[-1].key_id)
