"""Holding a segment against its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.verify.report import Code, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_tamper.manifest import Manifest
    from fapilog_tamper.verify.segment import SegmentResult

__all__ = ["compare_manifest"]


def compare_manifest(file: str, result: SegmentResult, manifest: Manifest) -> list[Finding]:
    """Return one finding that names every member of the manifest which the segment does not bear out."""
    differences = list(_differences(result, manifest))
    if not differences:
        return []
    name, expected, found = differences[0]
    others = ", ".join(other for other, _, _ in differences[1:])
    text = f"{name} differs from the manifest" + (f", and so do {others}" if others else "")
    line = result.lines.lines or None
    seq = result.lines.spans[-1].last_seq if result.lines.spans else None
    return [Finding(Code.MANIFEST_MISMATCH, text, file, line, seq, expected, found)]


def _differences(result: SegmentResult, manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    lines = result.lines
    if not lines.spans:
        yield "record_count", str(manifest.record_count), "0"
        return
    span = lines.spans[0]
    pairs: list[tuple[str, object, object]] = [
        ("stream", manifest.stream, span.stream),
        ("first_seq", manifest.first_seq, span.first_seq),
        ("last_seq", manifest.last_seq, span.last_seq),
        ("record_count", manifest.record_count, span.entries),
        ("continues_from", manifest.continues_from, span.first_prev),
        ("root_chain_hash", manifest.root_chain_hash, span.last_chain),
        ("algo", manifest.algo, span.algo),
        ("key_id", manifest.key_id, span.key_id),
        ("size_bytes", manifest.size_bytes, result.size_bytes),
        ("file_sha256", manifest.file_sha256, result.file_sha256),
    ]
    if span.first_seq == 1 and span.first_chain:
        pairs.append(("origin", manifest.origin, span.first_chain))
    if lines.inspected:
        pairs += [("first_ts", manifest.first_ts, lines.first_ts), ("last_ts", manifest.last_ts, lines.last_ts)]
    yield from ((name, _text(expected), _text(found)) for name, expected, found in pairs if expected != found)


def _text(value: object) -> str:
    return b64url_encode(value) if isinstance(value, bytes) else "none" if value is None else str(value)
