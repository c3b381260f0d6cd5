"""The public API as a user types it; read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, assert_type

import fapilog_tamper
from fapilog_tamper import (
    Code,
    ConfigError,
    EncodingError,
    Finding,
    FormatError,
    IntegrityEnricher,
    Keyring,
    Note,
    NoteCode,
    Outcome,
    PayloadError,
    Receipt,
    SealedLog,
    SealedSink,
    SealKeyError,
    StoreError,
    TamperConfig,
    TamperError,
    TrustedKey,
    Verifier,
    VerifyInterrupted,
    VerifyReport,
    canonicalize,
    get_sealed_logger,
    install_exit_drain,
    run_self_check,
    verify_chain_across_files,
    verify_path,
)
from fapilog_tamper.entry import ChainState, Integrity, seal, split
from fapilog_tamper.keys import (
    Algorithm,
    Ed25519SigningKey,
    EnvKeyStore,
    FileKeyStore,
    HmacKey,
    KeyProvider,
    LocalKeyProvider,
    SigningKey,
    VerifyingKey,
    open_signing_key,
    open_verifying_key,
)
from fapilog_tamper.verify.report import FileReport, StreamReport

if TYPE_CHECKING:
    from pathlib import Path


def keys() -> None:
    signing = open_signing_key("file:audit.key")
    assert_type(signing, SigningKey)
    assert_type(signing.key_id, str)
    assert_type(signing.algorithm, Algorithm)
    assert_type(signing.sign(b""), bytes)
    assert_type(signing.verifying_key(), VerifyingKey)
    assert_type(signing.verifying_key().verify(b"", b""), bool)
    assert_type(open_signing_key(signing), SigningKey)
    assert_type(open_verifying_key("file:audit.pub"), VerifyingKey)
    hmac: SigningKey = HmacKey("k1", bytes(32))
    also: VerifyingKey = HmacKey("k1", bytes(32))
    pair: SigningKey = Ed25519SigningKey("ed", bytes(32))
    _provider: KeyProvider = LocalKeyProvider([hmac, also, pair])
    open_signing_key(b"file:audit.key")  # type: ignore[arg-type]


def keyrings(signing: SigningKey, verifying: VerifyingKey, path: Path) -> None:
    ring = Keyring(
        ["file:a.pub", signing, verifying, TrustedKey(verifying, streams=["audit"], first_seq=1, last_seq=None)],
        stores=[EnvKeyStore(), FileKeyStore(path)],
        origins={"audit": "A" * 43},
    )
    assert_type(ring, Keyring)
    assert_type(Keyring.load(path), Keyring)
    assert_type(Keyring.load("trust.json"), Keyring)
    assert_type(ring.key_ids, tuple[str, ...])
    assert_type(ring.origins, Mapping[str, str])
    assert_type(ring.get("k1"), TrustedKey | None)
    assert_type(len(ring), int)
    assert_type([key.covers("audit", 1) for key in ring], list[bool])
    Keyring([b"file:a.pub"])  # type: ignore[list-item]


def writing(path: Path, signing: SigningKey) -> None:
    with SealedLog.open(path, key="file:audit.key") as log:
        assert_type(log, SealedLog)
        receipt = log.append({"event_type": "data_access", "n": 1, "inner": {"a": [None, object()]}})
        assert_type(receipt, Receipt)
        assert_type((receipt.stream, receipt.seq, receipt.chain_hash), tuple[str, int, str])
        assert_type(log.append(b"{}"), Receipt)
        assert_type(log.head, ChainState)
    assert_type(log.close(), None)
    SealedLog.open("audit-log", key=signing, stream="audit", state_dir=path, max_payload=1000)
    SealedLog.open("audit-log", key=None)
    SealedLog.open("audit-log")  # type: ignore[call-arg]
    SealedLog.open("audit-log", "file:audit.key")  # type: ignore[call-arg]
    log.append("text")  # type: ignore[arg-type]
    log.append([1])  # type: ignore[arg-type]
    receipt.seq = 2  # type: ignore[misc]


class Audited(SealedLog):
    """A subclass opens as itself."""


def subclasses() -> None:
    assert_type(Audited.open("audit-log", key=None), Audited)


def verifying(path: Path, signing: SigningKey, half: VerifyingKey, ring: Keyring) -> None:
    report = verify_path(path, keys=["file:audit.pub"])
    assert_type(report, VerifyReport)
    verify_path("audit-log", keys="file:audit.pub")
    verify_path(["a.jsonl", path], keys=[signing, half, TrustedKey(half)])
    verify_path(path, keyring=ring, require_manifests=True, require_end=True, head=[path], manifest=path)
    verify_path(path, stream="audit", jobs=0, deep=True, export=True, progress=lambda done, total: None)
    assert_type(verify_chain_across_files([path, "b.jsonl"], ring), VerifyReport)
    verify_path(path, "file:audit.pub")  # type: ignore[call-arg]
    verify_path(b"audit-log")  # type: ignore[arg-type]
    verify_path(path, keys=[b"secret"])  # type: ignore[list-item]


def reports(report: VerifyReport) -> None:
    assert_type(report.outcome, Outcome)
    assert_type(report.outcome.exit_code, int)
    assert_type(report.valid, bool)
    assert_type(report.findings, tuple[Finding, ...])
    assert_type(report.notes, tuple[Note, ...])
    assert_type(report.streams, tuple[StreamReport, ...])
    assert_type(report.files, tuple[FileReport, ...])
    assert_type(report.to_json(), str)
    assert_type(report.duration, float)
    for finding in report.findings:
        assert_type(finding.code, Code)
        assert_type(finding.code.outcome, Outcome)
        assert_type(finding.line, int | None)
        assert_type(finding.to_dict(), dict[str, object])
    for note in report.notes:
        assert_type(note.code, NoteCode)
    report.valid = True  # type: ignore[misc]


async def verifiers(ring: Keyring, path: Path) -> None:
    verifier = Verifier(ring)
    Verifier()
    assert_type(verifier.verify_record(b"{}"), bool)
    assert_type(verifier.verify_record("{}"), bool)
    assert_type(verifier.verify_record({"a": 1, "integrity": {"v": 1}}), bool)
    assert_type(verifier.verify_chain([b"", "", {}]), VerifyReport)
    assert_type(await verifier.verify_file(path), VerifyReport)
    assert_type(await verifier.verify_file("a.jsonl", path), VerifyReport)

    async def alert(finding: Finding) -> None: ...

    await run_self_check([path], ring, interval=60, on_finding=alert)
    await run_self_check("audit-log", None, interval=0.5, on_finding=lambda finding: None)


def lines(signing: SigningKey) -> None:
    assert_type(seal(b"{}", ChainState("audit"), signing, mac=False), tuple[bytes, ChainState])
    assert_type(split(b""), tuple[bytes, Integrity])
    assert_type(canonicalize({1, 2}), bytes)
    assert_type(fapilog_tamper.__version__, str)


async def plugins(signing: SigningKey, sink: SealedSink, log: SealedLog) -> None:
    config = TamperConfig(enabled=True, key=signing, algorithm="Ed25519", compress_rotated="zstd")
    SealedSink()
    SealedSink(config)
    SealedSink(config=config)
    SealedSink(directory="logs", key="file:audit.key")
    IntegrityEnricher(config)
    assert_type(await sink.health_check(), bool)
    assert_type(sink.health(), str | None)
    await sink.rotate()
    install_exit_drain(timeout=5)
    logger = get_sealed_logger("shop", preset="production", directory="logs")
    logger.info("order taken", order=1)
    assert_type(await log.append_line({"a": 1}), bytes)
    TamperConfig(algorithm="MD5")  # type: ignore[arg-type]


def errors(error: TamperError, stopped: VerifyInterrupted) -> None:
    assert_type((error.message, error.hint), tuple[str, str])
    assert_type(FormatError("text", hint="hint").newer, bool)
    roots: list[type[TamperError]] = [ConfigError, EncodingError, FormatError, PayloadError, SealKeyError, StoreError]
    assert_type(roots, list[type[TamperError]])
    assert_type(stopped.report, VerifyReport)
