"""The manifest of a closed segment (spec section 6): what the segment holds, under a signature.

Pure functions: `parse_manifest` and `format_manifest` are inverse, `sign_manifest` makes the signature. File names in
a manifest are compared and never opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import Claim, Members, format_claims, format_document, parse_document, tag_message
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import UNKEYED
from fapilog_tamper.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper.keys.base import SigningKey

__all__ = ["Manifest", "format_manifest", "manifest_message", "parse_manifest", "sign_manifest"]

_DOMAIN: Final = b"fapilog-tamper/v1/manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest. `first_ts` and `last_ts` are the least and greatest `timestamp` strings of the events, or None."""

    stream: str
    origin: bytes
    file: str
    created_ts: str
    closed_ts: str
    record_count: int
    first_seq: int
    last_seq: int
    first_ts: str | None
    last_ts: str | None
    continues_from: bytes
    root_chain_hash: bytes
    size_bytes: int
    file_sha256: bytes
    algo: str = UNKEYED
    key_id: str | None = None
    others: tuple[Claim, ...] = ()
    signature_algo: str | None = None
    signature_key_id: str | None = None
    signature: bytes | None = None
    version: str = "1.0"
    integrity_version: str = "1.0"
    extra: Mapping[str, object] = field(default_factory=dict)


_KNOWN: Final = frozenset(
    [
        "version",
        "integrity_version",
        "stream",
        "origin",
        "file",
        "created_ts",
        "closed_ts",
        "record_count",
        "first_seq",
        "last_seq",
        "first_ts",
        "last_ts",
        "continues_from",
        "root_chain_hash",
        "size_bytes",
        "file_sha256",
        "algo",
        "key_id",
        "others",
        "signature_algo",
        "signature_key_id",
        "signature",
    ]
)


def _members(manifest: Manifest) -> dict[str, object]:
    members: dict[str, object] = {
        **manifest.extra,
        "version": manifest.version,
        "integrity_version": manifest.integrity_version,
        "stream": manifest.stream,
        "origin": b64url_encode(manifest.origin),
        "file": manifest.file,
        "created_ts": manifest.created_ts,
        "closed_ts": manifest.closed_ts,
        "record_count": manifest.record_count,
        "first_seq": manifest.first_seq,
        "last_seq": manifest.last_seq,
        "first_ts": manifest.first_ts,
        "last_ts": manifest.last_ts,
        "continues_from": b64url_encode(manifest.continues_from),
        "root_chain_hash": b64url_encode(manifest.root_chain_hash),
        "size_bytes": manifest.size_bytes,
        "file_sha256": b64url_encode(manifest.file_sha256),
        "algo": manifest.algo,
    }
    optional: dict[str, object] = {
        "key_id": manifest.key_id,
        "others": format_claims(manifest.others) or None,
        "signature_algo": manifest.signature_algo,
        "signature_key_id": manifest.signature_key_id,
        "signature": None if manifest.signature is None else b64url_encode(manifest.signature),
    }
    return members | {name: value for name, value in optional.items() if value is not None}


def format_manifest(manifest: Manifest) -> bytes:
    """Return the stored bytes of a manifest."""
    return format_document(_members(manifest))


def manifest_message(manifest: Manifest) -> bytes:
    """Return the message of a manifest's signature."""
    return tag_message(_DOMAIN, _members(manifest), "signature")


def sign_manifest(manifest: Manifest, key: SigningKey | None) -> Manifest:
    """Return the manifest with the signature of `key`; of None, without any."""
    if key is None:
        return replace(manifest, signature_algo=None, signature_key_id=None, signature=None)
    same = key.key_id == manifest.key_id
    named = replace(
        manifest,
        signature_algo=str(key.algorithm),
        signature_key_id=None if same else key.key_id,
        signature=None,
    )
    return replace(named, signature=key.sign(manifest_message(named)))


def parse_manifest(raw: bytes) -> Manifest:
    """Return the manifest that `raw` spells.

    Raises:
        FormatError: when `raw` is not exactly what `format_manifest` writes, or its members cannot all be true of one
            segment. The signature is not checked here.
    """
    document = parse_document(raw)
    members = Members(document)
    members.require_version("version", "1.0")
    members.require_version("integrity_version", "1.0")
    manifest = Manifest(
        version=members.text("version"),
        integrity_version=members.text("integrity_version"),
        stream=members.stream(),
        origin=members.raw("origin"),
        file=members.text("file"),
        created_ts=members.time("created_ts"),
        closed_ts=members.time("closed_ts"),
        record_count=members.number("record_count", least=1),
        first_seq=members.number("first_seq", least=1),
        last_seq=members.number("last_seq", least=1),
        first_ts=members.optional_text("first_ts"),
        last_ts=members.optional_text("last_ts"),
        continues_from=members.raw("continues_from"),
        root_chain_hash=members.raw("root_chain_hash"),
        size_bytes=members.number("size_bytes"),
        file_sha256=members.raw("file_sha256"),
        algo=members.text("algo"),
        key_id=members.key_id("key_id"),
        others=members.others(),
        signature_algo=members.optional_text("signature_algo"),
        signature_key_id=members.key_id("signature_key_id"),
        signature=members.optional_raw("signature"),
        extra={name: value for name, value in document.items() if name not in _KNOWN},
    )
    _check(manifest)
    if format_manifest(manifest) != raw:
        raise FormatError("a member that must be left out when it is empty.")
    return manifest


def _check(manifest: Manifest) -> None:
    if manifest.record_count != manifest.last_seq - manifest.first_seq + 1:
        raise FormatError("record_count is not last_seq - first_seq + 1.")
    if (manifest.algo == UNKEYED) != (manifest.key_id is None):
        raise FormatError("algo and key_id do not go together.")
    if (manifest.signature is None) != (manifest.signature_algo is None):
        raise FormatError("signature and signature_algo do not go together.")
    if manifest.signature is None and manifest.signature_key_id is not None:
        raise FormatError("signature_key_id without a signature.")
    if manifest.signature is not None and manifest.signature_key_id is None and manifest.key_id is None:
        raise FormatError("a signature under no key.")
