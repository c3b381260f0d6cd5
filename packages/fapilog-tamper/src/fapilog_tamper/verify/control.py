"""Reading control entries (spec section 5): seals, and what the writer put on record about crashes and losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.encoding import MAX_SEQ, b64url_decode
from fapilog_tamper.entry import mac_message
from fapilog_tamper.errors import EncodingError
from fapilog_tamper.verify.report import Code, Note, NoteCode
from fapilog_tamper.verify.tags import TagStatus, check_tag

if TYPE_CHECKING:
    from fapilog_tamper.entry import Integrity
    from fapilog_tamper.keys.keyring import Keyring

__all__ = ["CONTROL_START", "SealClaim", "control_notes", "is_bare_seal", "read_control", "read_seal"]

CONTROL_START: Final = b'{"sealed_log":{'
"""How the payload of every control entry begins: RFC 8785 text with this one member."""

_CHAIN_SIZE: Final = 32
_SEAL_MEMBERS: Final = {"kind", "seq", "chain_hash", "key_id", "algo", "mac"}
_QUOTE: Final = 200


@dataclass(frozen=True, slots=True)
class SealClaim:
    """A seal whose mac holds: entry `seq` has `chain_hash`. With `defect`, a seal that proves a change by itself."""

    seq: int
    chain_hash: bytes
    key_id: str
    line: int
    own_seq: int
    stream: str = ""
    defect: Code | None = None
    message: str = ""


def read_control(payload: bytes) -> tuple[str | None, dict[str, object] | None]:
    """Return kind and members of a control entry, or None and None."""
    if not payload.startswith(CONTROL_START):
        return None, None
    try:
        members = orjson.loads(payload)["sealed_log"]
    except (ValueError, LookupError):
        return None, None
    kind = members.get("kind") if isinstance(members, dict) else None
    return (kind, members) if isinstance(kind, str) else (None, None)


def read_seal(control: dict[str, object], block: Integrity, line: int, keyring: Keyring | None) -> SealClaim | None:
    """Judge a `seal`; None where its key is not known."""
    key_id, algo = control.get("key_id"), control.get("algo")
    seq, chain, mac = control.get("seq"), _bytes(control.get("chain_hash")), _bytes(control.get("mac"))
    if not isinstance(key_id, str) or keyring is None or keyring.get(key_id) is None:
        return None

    def defect(code: Code, message: str, of: int = 0) -> SealClaim:
        return SealClaim(of, b"", str(key_id), line, block.seq, block.stream, code, message)

    if type(seq) is not int or not 1 <= seq < block.seq or mac is None or chain is None or len(chain) != _CHAIN_SIZE:
        return defect(Code.MAC_INVALID, "a seal that speaks of no earlier entry")
    status = check_tag(
        keyring,
        key_id,
        algo if isinstance(algo, str) else None,
        stream=block.stream,
        seq=seq,
        message=mac_message(chain),
        tag=mac,
    )
    if status is TagStatus.WRONG_ALGO:
        return defect(Code.ALGO_MISMATCH, f"a seal with another algorithm than key {key_id} has")
    if status is TagStatus.EXPIRED:
        return defect(Code.KEY_EXPIRED, f"a seal by key {key_id}, which is not trusted for entry {seq}")
    if status is not TagStatus.VALID:
        return defect(Code.MAC_INVALID, f"the seal of entry {seq} does not hold under key {key_id}", seq)
    return SealClaim(seq, chain, key_id, line, block.seq, block.stream)


def is_bare_seal(payload: bytes, control: dict[str, object]) -> bool:
    """Tell whether a seal says nothing but what it seals; anything more in it would be content that no mac covers."""
    return control.keys() == _SEAL_MEMBERS and payload == canonicalize({"sealed_log": control})


def _bytes(value: object) -> bytes | None:
    try:
        return b64url_decode(value) if isinstance(value, str) else None
    except EncodingError:
        return None


def control_notes(control: dict[str, object], file: str, line: int, seq: int) -> list[Note]:
    """Return what a reader must know of a control entry."""
    kind, reason = control.get("kind"), _quote(control.get("reason"))
    notes: list[Note] = []

    def note(code: NoteCode, message: str) -> None:
        notes.append(Note(code, message, file, line, seq))

    unsigned = _range(control.get("unsigned"))
    if kind == "recovery" and unsigned is not None:
        first, last = unsigned
        note(NoteCode.ADOPTED, f"entries {first} to {last} were adopted without a mac after a crash")
    if kind == "restore":
        by, lost = _quote(control.get("by")), _quote(control.get("lost_seq"))
        note(NoteCode.RESTORED, f"the log was restored by {by} ({reason}); the refused head spoke of entry {lost}")
    if kind == "gap":
        note(NoteCode.LOSS_RECORDED, f"{_quote(control.get('count'))} events were not stored ({reason})")
    return notes


def _quote(value: object) -> str:
    """Return a string or number, cut to size; of a hostile value, a word."""
    if isinstance(value, str):
        return value[:_QUOTE]
    return str(value) if type(value) is int and abs(value) <= MAX_SEQ else "unknown"


def _range(value: object) -> tuple[int, int] | None:
    match value:
        case [int(first), int(last)] if 1 <= first <= last <= MAX_SEQ:
            return first, last
    return None
