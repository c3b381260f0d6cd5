"""One trial: write the changed image, verify it, and hold the report against what must come out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attacks.model import NOT_CHECKED, Changed, Verdict
from support.logs import Log, write_image

from fapilog_tamper import Keyring, verify_path

if TYPE_CHECKING:
    from fapilog_tamper.verify.report import Finding, VerifyReport

LONG_AGO = 1_700_000_000
"""A time of change far in the past: a file that was just written may still be growing, and is waited for."""


def write_changed(changed: Changed, base: Path) -> tuple[Path, list[Path]]:
    """Write folder, links and heads below `base`; return the folder and the heads."""
    folder = write_image(changed.image, base / "log")
    outside = base / "outside"
    outside.mkdir()
    for name, data in changed.links.items():
        (outside / name).write_bytes(data)
        (folder / name).symlink_to(outside / name)
    heads = []
    for number, data in enumerate(changed.head):
        heads.append(outside / f"{number}.chainstate")
        heads[-1].write_bytes(data)
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    return folder, heads


def verify_changed(log: Log, changed: Changed, base: Path, **options: object) -> VerifyReport:
    """Write and verify a changed log with what its verifier trusts."""
    folder, heads = write_changed(changed, base)
    return verify_folder(log, changed, folder, heads, **options)


def verify_folder(log: Log, changed: Changed, folder: Path, heads: list[Path], **options: object) -> VerifyReport:
    """Verify a changed log that was written."""
    keyring = log.situation.keyring
    if changed.origins is not None and keyring is not None:
        keyring = Keyring(keyring, origins=changed.origins)
    return verify_path(folder, keyring=keyring, head=heads, **changed.options, **options)  # type: ignore[arg-type]


def is_found(verdict: Verdict, report: VerifyReport) -> bool:
    """Tell whether outcome and code are among those that must come out."""
    codes = {finding.code.value for finding in report.findings}
    return report.outcome.value in verdict.outcomes and (not verdict.codes or bool(codes & set(verdict.codes)))


def is_named(verdict: Verdict, report: VerifyReport) -> bool:
    """Tell whether an intact report names the gap that it must name."""
    said = {note.code.value for note in report.notes} | ({NOT_CHECKED} if report.not_checked else set())
    return not verdict.notes or bool(said & set(verdict.notes))


def is_located(changed: Changed, report: VerifyReport, folder: Path) -> bool:
    """Tell whether a finding names one of the acceptable places."""
    if not changed.where:
        return True
    return any(_stands_at(finding, place, folder) for finding in report.findings for place in changed.where)


def _stands_at(finding: Finding, place: tuple[str, int | None], folder: Path) -> bool:
    file, line = place
    if finding.file is None or Path(finding.file) != folder / file:
        return False
    return line is None or (finding.line is not None and finding.line <= line <= (finding.last_line or finding.line))


def complaint(changed: Changed, verdict: Verdict, report: VerifyReport, folder: Path) -> str | None:
    """Return why a report is not what must come out, None where it is."""
    said = [f"{one.code.value} {one.place()} {one.message}" for one in report.findings]
    if not is_found(verdict, report):
        return f"expected {verdict.outcomes} {verdict.codes}, found {report.outcome.value} {said}"
    if verdict.invisible:
        return None if is_named(verdict, report) else f"none of {verdict.notes} is said: {report.notes}"
    if not is_located(changed, report, folder):
        return f"none of the findings stands at {changed.where}: {said}"
    return None
