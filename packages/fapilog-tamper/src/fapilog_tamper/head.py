"""The head of a stream: what a writer needs to go on, and what shows a rollback (spec section 7).

Pure functions: `parse_head` and `format_head` are inverse, `sign_head` makes the mac. Where heads lie and when they
may be written is the business of the store.
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

__all__ = ["Head", "format_head", "head_message", "parse_head", "sign_head"]

_DOMAIN: Final = b"fapilog-tamper/v1/head"


@dataclass(frozen=True, slots=True)
class Head:
    """One head. `chain_hash` is stored under the name `prev_chain_hash`: the next entry takes it as that."""

    stream: str
    origin: bytes
    seq: int
    chain_hash: bytes
    first_seq: int
    segment: str
    offset: int
    last_updated: str
    others: tuple[Claim, ...] = ()
    algo: str = UNKEYED
    key_id: str | None = None
    mac: bytes | None = None
    v: int = 1
    extra: Mapping[str, object] = field(default_factory=dict)


_KNOWN: Final = frozenset(
    [
        "v",
        "stream",
        "origin",
        "seq",
        "prev_chain_hash",
        "first_seq",
        "segment",
        "offset",
        "others",
        "last_updated",
        "algo",
        "key_id",
        "mac",
    ]
)


def _members(head: Head) -> dict[str, object]:
    members: dict[str, object] = {
        **head.extra,
        "v": head.v,
        "stream": head.stream,
        "origin": b64url_encode(head.origin),
        "seq": head.seq,
        "prev_chain_hash": b64url_encode(head.chain_hash),
        "first_seq": head.first_seq,
        "segment": head.segment,
        "offset": head.offset,
        "last_updated": head.last_updated,
        "algo": head.algo,
    }
    if head.others:
        members["others"] = format_claims(head.others)
    if head.key_id is not None:
        members["key_id"] = head.key_id
    if head.mac is not None:
        members["mac"] = b64url_encode(head.mac)
    return members


def format_head(head: Head) -> bytes:
    """Return the stored bytes of a head."""
    return format_document(_members(head))


def head_message(head: Head) -> bytes:
    """Return the message of a head's mac."""
    return tag_message(_DOMAIN, _members(head), "mac")


def sign_head(head: Head, key: SigningKey | None) -> Head:
    """Return the head with algo, key id and mac of `key`; of None, as an unkeyed head."""
    if key is None:
        return replace(head, algo=UNKEYED, key_id=None, mac=None)
    named = replace(head, algo=str(key.algorithm), key_id=key.key_id, mac=None)
    return replace(named, mac=key.sign(head_message(named)))


def parse_head(raw: bytes) -> Head:
    """Return the head that `raw` spells.

    Raises:
        FormatError: when `raw` is not exactly what `format_head` writes. The mac is not checked here.
    """
    document = parse_document(raw)
    members = Members(document)
    members.require_version("v", 1)
    head = Head(
        v=members.number("v"),
        stream=members.stream(),
        origin=members.raw("origin"),
        seq=members.number("seq", least=1),
        chain_hash=members.raw("prev_chain_hash"),
        first_seq=members.number("first_seq", least=1),
        segment=members.text("segment"),
        offset=members.number("offset"),
        others=members.others(),
        last_updated=members.time("last_updated"),
        algo=members.text("algo"),
        key_id=members.key_id("key_id"),
        mac=members.optional_raw("mac"),
        extra={name: value for name, value in document.items() if name not in _KNOWN},
    )
    if len({head.algo != UNKEYED, head.key_id is not None, head.mac is not None}) != 1:
        raise FormatError("algo, key_id and mac do not go together.")
    if format_head(head) != raw:
        raise FormatError("a member that must be left out when it is empty.")
    return head
