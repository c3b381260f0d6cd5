"""The end of a stream: whose macs reach it, who attests it, and what stays unchecked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.verify.report import Code, Finding, Note, NoteCode, StreamReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.verify.claims import Claim
    from fapilog_tamper.verify.stream import StreamPath

__all__ = ["Closing", "close_stream"]


@dataclass(slots=True)
class Closing:
    """What is to be said of a stream as a whole."""

    report: StreamReport
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


def close_stream(
    path: StreamPath,
    claims: Sequence[Claim],
    keyring: Keyring | None,
    *,
    seals: Sequence[tuple[int, int]],
    require_end: bool,
) -> Closing:
    """Judge keys and end of a stream.

    Args:
        path: the stream, walked.
        claims: what heads, manifests and other streams say of it and what is so.
        keyring: what the caller trusts; falsy where no key was given.
        seals: what late seals were found to cover: from the first entry that the key may speak for, to the last.
        require_end: an end that no head attests is a finding. A manifest speaks of its own segment only: who removes
            the last segments removes their manifests, too.
    """
    reached = _authenticated_through(path, claims, seals)
    attested = _attested_by(path, claims)
    closing = Closing(_report(path, reached if path.is_whole() else 0, attested))
    last = path.pieces[-1].span
    if path.first_seq > 1:
        text = f"stream {path.stream} begins at seq {path.first_seq}; what came before was not checked"
        closing.notes.append(Note(NoteCode.BEGINS_LATE, text, path.pieces[0].span.file, None, path.first_seq))
        closing.not_checked.append(f"stream {path.stream} before seq {path.first_seq}")
    _judge_keys(path, keyring, reached, closing)
    if path.keyed:
        _judge_reach(path, claims, seals, reached, closing)
    if attested is None or (require_end and attested == "manifest"):
        text = f"the end of stream {path.stream} is not attested: no head covers entry {path.last_seq}"
        closing.not_checked.append(f"whether stream {path.stream} ends at seq {path.last_seq}")
        if require_end:
            closing.findings.append(Finding(Code.END_NOT_ATTESTED, text, last.file, last.last_line, path.last_seq))
        else:
            closing.notes.append(Note(NoteCode.END_OPEN, text, last.file, None, path.last_seq))
    elif attested == "manifest":
        text = f"whether stream {path.stream} went on behind seq {path.last_seq} in later segments (no head says so)"
        closing.not_checked.append(text)
    return closing


def _judge_keys(path: StreamPath, keyring: Keyring | None, reached: int, closing: Closing) -> None:
    last = path.pieces[-1].span
    if not path.keyed:
        if keyring:
            text = f"stream {path.stream} has no keyed entry, and keys were given"
            closing.findings.append(Finding(Code.UNKEYED, text, path.pieces[0].span.file, None, path.first_seq))
        else:
            text = f"stream {path.stream} is unkeyed: anyone can recompute this chain"
            closing.notes.append(Note(NoteCode.UNKEYED_CHAIN, text, path.pieces[0].span.file))
        return
    last_event = max(min(piece.span.last_event, piece.high) for piece in path.pieces[path.unbroken_from() :])
    known = bool(keyring) and last.key_id is not None and keyring is not None and keyring.get(last.key_id) is not None
    if known and reached < last_event:
        text = f"entries {reached + 1} to {path.last_seq} of stream {path.stream} are covered by no mac"
        piece = path.piece_of(reached + 1)
        line = None
        if piece is not None and not piece.span.broken:
            line = piece.span.first_line + reached + 1 - piece.span.first_seq
        file = last.file if piece is None else piece.span.file
        closing.findings.append(Finding(Code.UNAUTHENTICATED_TAIL, text, file, line, reached + 1, key_id=last.key_id))


def _judge_reach(
    path: StreamPath, claims: Sequence[Claim], seals: Sequence[tuple[int, int]], reached: int, closing: Closing
) -> None:
    """Find entries that are covered only by keys that may not speak for them: a mac reaches back to its key's first."""
    tail = path.pieces[path.unbroken_from() :]
    # What a span's own macs leave uncovered inside it was found at its lines.
    covered = [(min(piece.span.reach, piece.low), piece.span.authenticated) for piece in tail if piece.span.reach]
    covered += [*seals, *((claim.reach, claim.seq) for claim in claims if claim.proven)]
    at = tail[0].low
    for first, last in sorted(covered):
        if first > at:
            break
        at = max(at, last + 1)
    if at <= reached:
        text = f"entry {at} and those behind it are covered only by keys that are not trusted for them"
        piece = path.piece_of(at)
        file = path.pieces[-1].span.file if piece is None else piece.span.file
        closing.findings.append(Finding(Code.UNAUTHENTICATED_TAIL, text, file, None, at))


def _authenticated_through(path: StreamPath, claims: Sequence[Claim], seals: Sequence[tuple[int, int]]) -> int:
    """Return the last entry that is covered, in the unbroken chain at the end: a mac speaks of all before it."""
    start = path.unbroken_from()
    tail = path.pieces[start:]
    reached = max([0, *(seq for _, seq in seals), *(min(piece.span.authenticated, piece.high) for piece in tail)])
    for claim in claims:
        if claim.proven and claim.source != "another stream" and tail[0].low <= claim.seq <= path.last_seq:
            reached = max(reached, claim.seq)
    return reached


def _attested_by(path: StreamPath, claims: Sequence[Claim]) -> str | None:
    """Return who says that the stream ends here; in a keyed stream only a word whose signature holds counts."""
    sources = {claim.source for claim in claims if claim.seq == path.last_seq and (claim.proven or not path.keyed)}
    return next((source for source in ("head", "manifest", "another stream") if source in sources), None)


def _report(path: StreamPath, reached: int, attested: str | None) -> StreamReport:
    key_ids = dict.fromkeys(key_id for piece in path.pieces for key_id in piece.span.key_ids)
    return StreamReport(
        stream=path.stream,
        first_seq=path.first_seq,
        last_seq=path.last_seq,
        entries=sum(piece.span.entries - _cut(piece.span.last_seq, piece.high) for piece in path.pieces),
        origin=None if path.origin is None else b64url_encode(path.origin),
        key_ids=tuple(key_ids),
        authenticated_through=reached,
        end_attested_by=attested,
        segments=len({piece.span.file for piece in path.pieces}),
    )


def _cut(last: int, high: int) -> int:
    return max(0, last - high)
