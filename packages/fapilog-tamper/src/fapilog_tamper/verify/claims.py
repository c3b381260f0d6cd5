"""What heads, manifests and other streams say of a stream, held against what is there.

A claim is checked whether or not its signature can be: an unsigned word that does not fit shows that something was
changed. Only a claim whose signature holds authenticates entries or attests an end in a keyed stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    from fapilog_tamper.keys.keyring import Keyring, TrustedKey
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
    `reach` is the first entry that the key of the signature may speak for.
    """

    stream: str
    seq: int
    chain_hash: bytes
    source: str
    file: str
    proven: bool
    binding: bool = True
    given: bool = False
    reach: int = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """What the signature of a document is worth: it holds under `key`, or is not known, or is refused by `finding`."""

    key: TrustedKey | None = None
    finding: Finding | None = None

    @property
    def proven(self) -> bool:
        """True where the signature holds."""
        return self.key is not None

    def speaks_for(self, stream: str, first: int, last: int) -> bool:
        """Tell whether the signature holds and its key is trusted for these entries."""
        return self.key is not None and self.key.covers(stream, first) and self.key.covers(stream, last)


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
    return _judged(status, Code.HEAD_MAC, "head", head.key_id, found.file, head.seq, tally, keyring)


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
    return _judged(status, code, "manifest", key_id, str(found.path), manifest.last_seq, tally, keyring)


def _judged(  # noqa: PLR0917 (one table of what to say)
    status: TagStatus, code: Code, what: str, key_id: str, file: str, seq: int, tally: Tally, keyring: Keyring | None
) -> Judged:
    if status is TagStatus.VALID:
        tally.valid[key_id] += 1
        return Judged(None if keyring is None else keyring.get(key_id))
    if status is TagStatus.UNKNOWN_KEY:
        tally.add_unknown(key_id)
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
        judged, head, file = heads[id(found)], found.head, found.file
        if judged.finding is None:
            own = Claim(head.stream, head.seq, head.chain_hash, "head", file, judged.proven)
            binding = scope.whole or found.given
            claims.append(replace(own, binding=binding, given=found.given, reach=_reach(judged)))
            claims += [_of_another(other, judged, file, scope) for other in head.others]
    for document in scope.manifests:
        judged, manifest, file = manifests[id(document)], document.manifest, str(document.path)
        if judged.finding is None:
            own = Claim(manifest.stream, manifest.last_seq, manifest.root_chain_hash, "manifest", file, judged.proven)
            claims.append(replace(own, binding=False, reach=_reach(judged)))
            claims += [_of_another(other, judged, file, scope) for other in manifest.others]
    return claims


def _reach(judged: Judged) -> int:
    return 1 if judged.key is None else judged.key.first_seq


def _of_another(other: tuple[str, int, bytes], judged: Judged, file: str, scope: Scope) -> Claim:
    stream, seq, chain = other
    proven = judged.speaks_for(stream, seq, seq)
    return Claim(stream, seq, chain, "another stream", file, proven, binding=scope.whole)


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
        elif piece is not None and claim.given:
            text = f"entry {claim.seq}, of which {claim.file} speaks, could not be looked up"
            findings.append(Finding(Code.UNREADABLE, text, piece.span.file, None, claim.seq))
        elif claim.seq > path.last_seq and (claim.binding or _is_gone(path, claim, scope)):
            findings.append(_ends_early(claim, path, missing))
    return held, findings


def _is_superseded(path: StreamPath, claim: Claim, lookup: Lookup) -> bool:
    """Tell whether a claim speaks of an entry that a recovery or a restore, on record, took the place of.

    What the caller vouches for is never excused: that is what a head kept elsewhere is for.
    """
    if claim.given:
        return False
    restores = [restore for piece in path.pieces for restore in piece.result.lines.restores]
    if claim.source == "another stream" and any(after < claim.seq <= lost for after, lost in restores):
        return True
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
