"""Sealed logs: entries in a chain under a key, and a verifier that anybody can run offline.

    from fapilog_tamper import SealedLog, verify_path

    with SealedLog.open("audit-log", key="file:audit.key") as log:
        log.append({"event_type": "data_access", "user_id": "u-1"})

    report = verify_path("audit-log", keys=["file:audit.key"])
    assert report.valid

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fapilog_tamper.canonical import canonicalize
    from fapilog_tamper.errors import (
        ConfigError,
        EncodingError,
        ExamineError,
        FormatError,
        FullError,
        HeadError,
        PayloadError,
        PlainKeyError,
        RollbackError,
        SealKeyError,
        StoreError,
        TamperError,
    )
    from fapilog_tamper.keys.keyring import Keyring, TrustedKey
    from fapilog_tamper.pipeline.config import TamperConfig
    from fapilog_tamper.pipeline.draining import install_exit_drain
    from fapilog_tamper.pipeline.enricher import IntegrityEnricher
    from fapilog_tamper.pipeline.loggers import get_sealed_logger
    from fapilog_tamper.pipeline.sink import SealedSink
    from fapilog_tamper.rotation import Rotation
    from fapilog_tamper.sealer import Receipt, SealedLog
    from fapilog_tamper.verify.log import VerifyInterrupted, verify_path
    from fapilog_tamper.verify.report import Code, Finding, Note, NoteCode, Outcome, VerifyReport
    from fapilog_tamper.verify.verifier import Verifier, run_self_check, verify_chain_across_files
    from fapilog_tamper.writer.stats import Health, Stats

__version__ = "0.1.0"

__all__ = [
    "Code",
    "ConfigError",
    "EncodingError",
    "ExamineError",
    "Finding",
    "FormatError",
    "FullError",
    "HeadError",
    "Health",
    "IntegrityEnricher",
    "Keyring",
    "Note",
    "NoteCode",
    "Outcome",
    "PayloadError",
    "PlainKeyError",
    "Receipt",
    "RollbackError",
    "Rotation",
    "SealKeyError",
    "SealedLog",
    "SealedSink",
    "Stats",
    "StoreError",
    "TamperConfig",
    "TamperError",
    "TrustedKey",
    "Verifier",
    "VerifyInterrupted",
    "VerifyReport",
    "__version__",
    "canonicalize",
    "get_sealed_logger",
    "install_exit_drain",
    "run_self_check",
    "verify_chain_across_files",
    "verify_path",
]

_ERRORS: Final = "fapilog_tamper.errors"
_REPORT: Final = "fapilog_tamper.verify.report"
_HOMES: Final = {
    "Code": _REPORT,
    "ConfigError": _ERRORS,
    "EncodingError": _ERRORS,
    "ExamineError": _ERRORS,
    "Finding": _REPORT,
    "FormatError": _ERRORS,
    "FullError": _ERRORS,
    "HeadError": _ERRORS,
    "Health": "fapilog_tamper.writer.stats",
    "IntegrityEnricher": "fapilog_tamper.pipeline.enricher",
    "Keyring": "fapilog_tamper.keys.keyring",
    "Note": _REPORT,
    "NoteCode": _REPORT,
    "Outcome": _REPORT,
    "PayloadError": _ERRORS,
    "PlainKeyError": _ERRORS,
    "Receipt": "fapilog_tamper.sealer",
    "RollbackError": _ERRORS,
    "Rotation": "fapilog_tamper.rotation",
    "SealKeyError": _ERRORS,
    "SealedLog": "fapilog_tamper.sealer",
    "SealedSink": "fapilog_tamper.pipeline.sink",
    "Stats": "fapilog_tamper.writer.stats",
    "StoreError": _ERRORS,
    "TamperConfig": "fapilog_tamper.pipeline.config",
    "TamperError": _ERRORS,
    "TrustedKey": "fapilog_tamper.keys.keyring",
    "Verifier": "fapilog_tamper.verify.verifier",
    "VerifyInterrupted": "fapilog_tamper.verify.log",
    "VerifyReport": _REPORT,
    "canonicalize": "fapilog_tamper.canonical",
    "get_sealed_logger": "fapilog_tamper.pipeline.loggers",
    "install_exit_drain": "fapilog_tamper.pipeline.draining",
    "run_self_check": "fapilog_tamper.verify.verifier",
    "verify_chain_across_files": "fapilog_tamper.verify.verifier",
    "verify_path": "fapilog_tamper.verify.log",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fapilog_tamper' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
