"""Asking the real verifier about a log, in one line of a test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from fapilog_tamper.testing.disk import MemoryDisk
from fapilog_tamper.testing.memory import MemoryStore

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from fapilog_tamper.keys import Keyring
    from fapilog_tamper.verify.log import KeyLike, PathLike
    from fapilog_tamper.verify.report import Finding, VerifyReport

__all__ = ["VerifySettings", "assert_intact"]

_SHOWN: Final = 20


class VerifySettings(TypedDict, total=False):
    """The options of `verify_path` that `assert_intact` passes on."""

    require_manifests: bool
    require_end: bool
    head: PathLike | Sequence[PathLike]
    manifest: PathLike
    stream: str
    deep: bool
    export: bool


def assert_intact(
    folder: str | os.PathLike[str] | MemoryStore | MemoryDisk,
    key: KeyLike | Iterable[KeyLike] | Keyring | None,
    *,
    jobs: int = 1,
    **settings: Unpack[VerifySettings],
) -> VerifyReport:
    """Verify a log and return the report.

    Args:
        folder: a real folder or file, or a folder in memory, which is written to a temporary one.
        key: a key URI, a key, several of them, a keyring, or None for a log without a key.
        jobs: worker processes.
        settings: further options of `verify_path`.

    Raises:
        AssertionError: the outcome is not `intact`; the message has the outcome, the findings and what was not checked.
    """
    from fapilog_tamper.keys import Keyring
    from fapilog_tamper.verify.log import verify_path

    keyring = key if isinstance(key, Keyring) or key is None else Keyring(_all(key))
    with tempfile.TemporaryDirectory(prefix="fapilog-tamper-") as temporary:
        path = _real(folder, Path(temporary, "log"))
        report = verify_path(path, keyring=keyring, jobs=jobs, **settings)
    if not report.valid:
        raise AssertionError(_explain(report, str(folder)))
    return report


def _all(key: KeyLike | Iterable[KeyLike]) -> list[KeyLike]:
    return list(key) if isinstance(key, Iterable) and not isinstance(key, str) else [key]


def _real(folder: str | os.PathLike[str] | MemoryStore | MemoryDisk, temporary: Path) -> Path:
    if isinstance(folder, MemoryDisk):
        folder.dump(temporary)
    elif isinstance(folder, MemoryStore):
        folder.disk.dump(temporary, folder.path)
    else:
        return Path(folder)
    return temporary


def _explain(report: VerifyReport, folder: str) -> str:
    lines = [f"{folder} is {report.outcome.value}, not intact: {report.entries} entries, {len(report.files)} files."]
    lines += _list("findings", [_text(one) for one in report.findings], report.suppressed)
    lines += _list("not checked", report.not_checked)
    lines += _list("notes", [f"{note.code.value}: {note.message}" for note in report.notes])
    return "\n".join(lines)


def _text(finding: Finding) -> str:
    place = ", ".join(filter(None, (finding.place(), "" if finding.seq is None else f"seq {finding.seq}")))
    compared = "".join(
        f" {word} {value}." for word, value in (("Expected", finding.expected), ("Found", finding.found)) if value
    )
    return f"{finding.code.value}{f' ({place})' if place else ''}: {finding.message}.{compared} {finding.hint}"


def _list(title: str, items: Sequence[str], more: int = 0) -> list[str]:
    if not items:
        return []
    left = len(items) - _SHOWN + more if len(items) > _SHOWN else more
    return [f"{title}:", *(f"  {item}" for item in items[:_SHOWN]), *([f"  and {left} more"] if left else [])]
