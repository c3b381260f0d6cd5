"""What heads, manifests and other streams say of a stream, held against what is there.

A claim is checked whether or not its signature can be: an unsigned word that does not fit shows that something was
changed. Only a claim whose signature holds authenticates entries or attests an end in a keyed stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.head import head_message
from fapilog_tamper.manifest import manifest_message
from fapilog_tamper.verify.report import Code, Finding
from fapilog_tamper.verify.tags import TagStatus, Tally, check_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper.entry import Integrity
    from fapilog_tamper.head import Head
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.manifest import Manifest
    from fapilog_tamper.verify.inventory import FoundHead, FoundManifest, Scope
    from fapilog_tamper.verify.lookup import Lookup
    from fapilog_tamper.verify.stream import Piece, StreamPath

__all__ = ["Claim", "Judged", "check_claims", "gather_claims", "judge_head", "judge_manifest"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says: `stream` has an entry `seq` with this chain hash.

    `source` is "head", "manifest" or "another stream"; `proven`: the signature over it holds. `binding`: the stream
    must reach that entry even where the caller gave only some of its files. `given`: the caller vouches for it.
    """

    stream: str
    seq: int
    chain_hash: bytes
    source: str
    file: str
    proven: bool
    binding: bool = True
    given: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What the signature of a document is worth: `proven`, or not known, or refused by `finding`."""

    proven: bool = False
    finding: Finding | None = None


def judge_head(found: FoundHead, keyring: Keyring | None, tally: Tally, *, keyed: bool) -> Judged:
    """Judge the mac of a head. `keyed`: its stream is keyed, so an unkeyed head proves nothing."""
    head: Head = found.head
    if head.key_id is None:
        if not keyed:
            return Judged()
        text = "an unkeyed head for a keyed stream"
        return Judged(finding=Finding(Code.HEAD_MAC, text, found.file, seq=head.seq))
    status = check_tag(
        keyring,
        head.key_id,
        head.algo,
        stream=head.stream,
        seq=head.seq,
        message=head_message(head),
        tag=head.mac,
    )
    return _judged(status, Code.HEAD_MAC, "head", head.key_id, found.file, head.seq, tally)


def judge_manifest(found: FoundManifest, keyring: Keyring | None, tally: Tally) -> Judged:
    """Judge the signature of a manifest; a keyed segment has a signed one."""
    manifest: Manifest = found.manifest
    key_id = manifest.signature_key_id or manifest.key_id
    if key_id is None:
        return Judged()
    if manifest.signature is None:
        text = "no signature on the manifest of a keyed segment"
        return Judged(finding=Finding(Code.MANIFEST_SIGNATURE, text, str(found.path), seq=manifest.last_seq))
    status = check_tag(
        keyring,
        key_id,
        manifest.signature_algo,
        stream=manifest.stream,
        seq=manifest.last_seq,
        message=manifest_message(manifest),
        tag=manifest.signature,
    )
    code = Code.MANIFEST_SIGNATURE
    return _judged(status, code, "manifest", key_id, str(found.path), manifest.last_seq, tally)


def _judged(  # noqa: PLR0917 (one table of what to say)
    status: TagStatus, code: Code, what: str, key_id: str, file: str, seq: int, tally: Tally
) -> Judged:
    if status is TagStatus.VALID:
        tally.valid[key_id] += 1
        return Judged(proven=True)
    if status is TagStatus.UNKNOWN_KEY:
        tally.unknown[key_id] += 1
        return Judged()
    if status is TagStatus.INVALID:
        tally.invalid[key_id] += 1
        text = f"the signature of the {what} does not hold under key {key_id}"
        return Judged(finding=Finding(code, text, file, seq=seq, key_id=key_id))
    reason = {
        TagStatus.WRONG_ALGO: f"the {what} names another algorithm than key {key_id} has",
        TagStatus.EXPIRED: f"key {key_id} is not trusted for this {what}",
    }.get(status, f"no signature on the {what}")
    return Judged(finding=Finding(code, reason, file, seq=seq))


def gather_claims(scope: Scope, heads: Mapping[int, Judged], manifests: Mapping[int, Judged]) -> list[Claim]:
    """Return all claims of documents whose signature was not refused; documents by their `id`."""
    claims: list[Claim] = []
    for found in scope.heads:
        judged = heads[id(found)]
        if judged.finding is None:
            head, binding = found.head, scope.whole or found.given
            claims.append(
                Claim(head.stream, head.seq, head.chain_hash, "head", found.file, judged.proven, binding, found.given)
            )
            claims += [Claim(*other, "another stream", found.file, judged.proven, scope.whole) for other in head.others]
    for document in scope.manifests:
        judged, manifest, file = manifests[id(document)], document.manifest, str(document.path)
        if judged.finding is None:
            ends = (manifest.stream, manifest.last_seq, manifest.root_chain_hash)
            claims.append(Claim(*ends, "manifest", file, judged.proven, binding=False))
            claims += [Claim(*other, "another stream", file, judged.proven, scope.whole) for other in manifest.others]
    return claims


def check_claims(
    path: StreamPath, claims: list[Claim], scope: Scope, lookup: Lookup, missing: Code
) -> tuple[list[Claim], list[Finding]]:
    """Hold the claims about one stream against its chain.

    Returns:
        The claims that hold: only they may authenticate an entry or attest an end. And the findings: `missing` where
        the stream should reach an entry and does not.
    """
    held: list[Claim] = []
    findings: list[Finding] = []
    lookup.fetch((piece.path, piece.span, claim.seq) for claim in claims if (piece := path.piece_of(claim.seq)))
    for claim in claims:
        piece = path.piece_of(claim.seq)
        chain = None if piece is None else lookup.chain(piece.path, piece.span, claim.seq)
        if chain == claim.chain_hash:
            held.append(claim)
        elif _is_superseded(path, claim, lookup):
            continue
        elif piece is not None and chain is not None:
            findings.append(_differs(claim, piece, chain))
        elif claim.seq > path.last_seq and (claim.binding or _is_gone(path, claim, scope)):
            findings.append(_ends_early(claim, path, missing))
    return held, findings


def _is_superseded(path: StreamPath, claim: Claim, lookup: Lookup) -> bool:
    """Tell whether a claim speaks of an entry that a recovery or a restore, on record, took the place of.

    What the caller vouches for is never excused: that is what a head kept elsewhere is for.
    """
    if claim.given:
        return False
    pieces = [piece for piece in path.superseded if piece.span.first_seq <= claim.seq <= piece.span.last_seq]
    return any(lookup.chain(piece.path, piece.span, claim.seq) == claim.chain_hash for piece in pieces)


def _is_gone(path: StreamPath, claim: Claim, scope: Scope) -> bool:
    """Tell whether entries behind the given files are nowhere: no file beside them goes on, or may do so."""
    if claim.source != "head":
        return False
    return not any(first is None or _goes_on(first, path) for first in scope.siblings)


def _goes_on(first: Integrity, path: StreamPath) -> bool:
    return first.stream == path.stream and first.seq > path.last_seq


def _differs(claim: Claim, piece: Piece, chain: bytes) -> Finding:
    line = None if piece.span.broken else piece.span.first_line + claim.seq - piece.span.first_seq
    return Finding(
        Code.ROLLBACK,
        f"entry {claim.seq} is not the one that {claim.file} attests",
        piece.span.file,
        line,
        claim.seq,
        b64url_encode(claim.chain_hash),
        b64url_encode(chain),
    )


def _ends_early(claim: Claim, path: StreamPath, missing: Code) -> Finding:
    last = path.pieces[-1]
    return Finding(
        missing,
        f"entries {path.last_seq + 1} to {claim.seq} of stream {path.stream} are missing at the end: {claim.file}",
        last.span.file,
        last.span.last_line,
        path.last_seq,
        str(claim.seq),
        str(path.last_seq),
    )
