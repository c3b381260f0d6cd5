"""Which key may check which stream, and the trust file that says so.

A trust file holds what an auditor was given, in strict JSON; unknown and repeated members are errors:

    {"version":"1.0",
     "keys":[{"key_id":"ed-2026","algorithm":"Ed25519","public_key":"<base64url>","streams":["audit"],"seqs":[1,null],
              "macs":"commit"},
             {"key_id":"audit-2025","algorithm":"HMAC-SHA256","ref":"file:old.jwk"}],
     "origins":{"audit":"<base64url chain_hash of entry 1>"}}

`key_id`, `algorithm` and one of `public_key` and `ref` are required. `ref` is a key URI; a relative path in `file:`
counts from the trust file's folder. Left out: `streams` is every stream, `seqs` all of them, `macs` what `TrustedKey`
says, `origins` none. A trust file never holds a secret: HMAC keys stand in it by `ref` only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from fapilog_tamper.encoding import MAX_SEQ, b64url_decode, b64url_encode
from fapilog_tamper.errors import EncodingError, SealKeyError
from fapilog_tamper.keys.base import Algorithm, SigningKey, VerifyingKey, parse_algorithm, verifying_half
from fapilog_tamper.keys.file import read_key_file
from fapilog_tamper.keys.local import Ed25519VerifyingKey
from fapilog_tamper.keys.reading import located, parse_object, text_member
from fapilog_tamper.keys.uri import KeyURI, open_verifying_key
from fapilog_tamper.names import base_stream, check_stream

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Macs", "TrustedKey", "check_origins", "format_trust_file", "parse_trust_file", "trusted"]

VERSION: Final = "1.0"

_HASH_BYTES: Final = 32
_MEMBERS: Final = frozenset({"version", "keys", "origins"})
_KEY_MEMBERS: Final = frozenset({"key_id", "algorithm", "public_key", "ref", "streams", "seqs", "macs"})


class Macs(StrEnum):
    """Where a key's macs stand (format section 4)."""

    EACH = "each"
    """On every entry."""
    COMMIT = "commit"
    """On the last entry of each commit, or in a `seal` after it."""


@dataclass(frozen=True, slots=True, init=False)
class TrustedKey:
    """A verifying key and what it is trusted for.

    Attributes:
        key: The key. It fixes key_id and algorithm.
        streams: The streams that it may sign; None is every stream. A stream covers the writer's own names under it:
            `audit` covers `audit.w2` and `audit.r3`.
        first_seq: The first seq that it may sign. The seqs count in each stream that the key covers, the writer's own
            names included; leave them open for a log with several writers.
        last_seq: The last seq that it may sign; None is open.
        macs: Where its macs stand. By default on each entry for HMAC-SHA256, at commits for signatures.

    Raises:
        SealKeyError: if a stream's name or the seqs cannot be.
    """

    key: VerifyingKey
    streams: frozenset[str] | None
    first_seq: int
    last_seq: int | None
    macs: Macs

    def __init__(
        self,
        key: VerifyingKey | SigningKey,
        streams: Iterable[str] | None = None,
        first_seq: int = 1,
        last_seq: int | None = None,
        macs: Macs | None = None,
    ) -> None:
        half = verifying_half(key)
        default = Macs.EACH if half.algorithm is Algorithm.HMAC_SHA256 else Macs.COMMIT
        object.__setattr__(self, "key", half)
        object.__setattr__(self, "streams", None if streams is None else _check_streams(half.key_id, streams))
        object.__setattr__(self, "first_seq", first_seq)
        object.__setattr__(self, "last_seq", last_seq)
        object.__setattr__(self, "macs", default if macs is None else Macs(macs))
        if not 1 <= first_seq <= (MAX_SEQ if last_seq is None else last_seq) <= MAX_SEQ:
            raise SealKeyError(
                f"key {half.key_id}: seqs {first_seq} to {last_seq} are no range.", hint="Seqs count from 1 up."
            )

    @property
    def key_id(self) -> str:
        """The name of the key in entries."""
        return self.key.key_id

    def covers(self, stream: str, seq: int) -> bool:
        """Return whether the key may sign entry `seq` of `stream`."""
        if self.streams is not None and stream not in self.streams and base_stream(stream) not in self.streams:
            return False
        return self.first_seq <= seq and (self.last_seq is None or seq <= self.last_seq)


def trusted(key: str | SigningKey | VerifyingKey | TrustedKey) -> TrustedKey:
    """Return what is trusted as it is, and any other key or key URI as trusted for every stream."""
    return key if isinstance(key, TrustedKey) else TrustedKey(open_verifying_key(key))


def check_origins(origins: Mapping[str, object]) -> dict[str, str]:
    """Return a copy of `origins`: stream name to the chain_hash of its entry 1.

    Raises:
        SealKeyError: if a name cannot be a stream's, or a value is not base64url of 32 bytes.
    """
    for stream, origin in origins.items():
        try:
            check_stream(stream)
            good = isinstance(origin, str) and len(b64url_decode(origin)) == _HASH_BYTES
        except EncodingError:
            good = False
        if not good:
            raise SealKeyError(
                f"origin of stream {stream[:180]!r}: not a stream name and a hash.",
                hint="Give the chain_hash of entry 1, as it stands in the log.",
            )
    return cast("dict[str, str]", dict(origins))


def parse_trust_file(path: str | os.PathLike[str]) -> tuple[list[TrustedKey], dict[str, str]]:
    """Return the keys and origins of a trust file.

    Raises:
        SealKeyError: if the file cannot be read, breaks the format, or a key in it cannot be opened.
    """
    file = read_key_file(path, what="trust file")
    with located(f"trust file {file.path}"):
        return _parse_members(file.raw, file.path.absolute().parent)


def format_trust_file(
    keys: Iterable[SigningKey | VerifyingKey | TrustedKey], *, origins: Mapping[str, str] | None = None
) -> str:
    """Return the text of a trust file for public keys, with a line end.

    Raises:
        SealKeyError: for a key without a public half that is local; such a key is named by `ref`, by hand.
    """
    members = {
        "version": VERSION,
        "keys": [_key_members(trusted(key)) for key in keys],
        **({"origins": check_origins(origins)} if origins else {}),
    }
    return json.dumps(members, indent=1) + "\n"


def _check_streams(key_id: str, streams: Iterable[str]) -> frozenset[str]:
    names = frozenset({streams} if isinstance(streams, str) else streams)
    with located(f"key {key_id}"):
        for name in names:
            check_stream(name)
    return names


def _check_members(members: Mapping[str, object], known: frozenset[str]) -> None:
    unknown = sorted(members.keys() - known)
    if unknown:
        # Not the value, and not all of a long name: someone may have put a secret there.
        raise SealKeyError(
            f"the member {unknown[0][:20]!r} is unknown.",
            hint=f"Known are {', '.join(sorted(known))}; secrets stand elsewhere, named by ref.",
        )


def _parse_members(raw: bytes, folder: Path) -> tuple[list[TrustedKey], dict[str, str]]:
    members = parse_object(raw)
    _check_members(members, _MEMBERS)
    if members.get("version") != VERSION:
        raise SealKeyError(f"not of version {VERSION}.", hint=f'Write "version":"{VERSION}".')
    rows, origins = members.get("keys"), members.get("origins", {})
    if not isinstance(rows, list) or not isinstance(origins, dict):
        raise SealKeyError("keys is not a list, or origins not an object.", hint='Write "keys":[...],"origins":{...}.')
    keys = []
    for number, row in enumerate(rows, 1):
        with located(f"key {number}"):
            keys.append(_parse_key(row, folder))
    return keys, check_origins(origins)


def _parse_key(row: object, folder: Path) -> TrustedKey:
    if not isinstance(row, dict):
        raise SealKeyError("not an object.", hint='Write {"key_id":...,"algorithm":...}.')
    _check_members(row, _KEY_MEMBERS)
    key = _open_key(row, folder)
    first, last = _parse_seqs(row.get("seqs", [1, None]))
    return TrustedKey(key, _parse_streams(row.get("streams")), first, last, _parse_macs(row))


def _open_key(row: Mapping[str, object], folder: Path) -> VerifyingKey:
    key_id, algorithm = text_member(row, "key_id"), parse_algorithm(text_member(row, "algorithm"))
    if ("public_key" in row) == ("ref" in row):
        raise SealKeyError("it needs one of public_key and ref.", hint="Write one of them.")
    if "public_key" not in row:
        return _open_ref(KeyURI.parse(text_member(row, "ref")), key_id, algorithm, folder)
    if algorithm is not Algorithm.ED25519:
        raise SealKeyError(
            f"{algorithm} has no public key, and a secret does not belong in a trust file.",
            hint='Put the secret elsewhere and name it: "ref":"file:KEY.jwk" or "ref":"env:VARIABLE".',
        )
    return Ed25519VerifyingKey(key_id, b64url_decode(text_member(row, "public_key")))


def _open_ref(ref: KeyURI, key_id: str, algorithm: Algorithm, folder: Path) -> VerifyingKey:
    if ref.key_id not in {None, key_id} or ref.algorithm not in {None, algorithm}:
        raise SealKeyError(
            f"ref {ref} contradicts key_id {key_id}, algorithm {algorithm}.", hint="Leave kid and alg out of the ref."
        )
    path = ref.path
    if ref.scheme == "file" and not path.startswith("//"):
        path = str(folder / path)  # an absolute path stays what it is
    return open_verifying_key(str(KeyURI(ref.scheme, path, key_id, algorithm)))


def _parse_streams(streams: object) -> list[str] | None:
    if streams is None:
        return None
    if not isinstance(streams, list) or not all(isinstance(name, str) for name in streams):
        raise SealKeyError("streams is not a list of names.", hint='Write "streams":["audit"], or leave it out.')
    return streams


def _parse_seqs(seqs: object) -> tuple[int, int | None]:
    match seqs:
        case [int(first), int() | None as last] if not isinstance(first, bool) and not isinstance(last, bool):
            return first, last
    raise SealKeyError("seqs is not [first, last].", hint='Write "seqs":[1,null] for all.')


def _parse_macs(row: Mapping[str, object]) -> Macs | None:
    if "macs" not in row:
        return None
    try:
        return Macs(text_member(row, "macs"))
    except ValueError:
        raise SealKeyError("macs is unknown.", hint=f"Write {' or '.join(Macs)}.") from None


def _key_members(trust: TrustedKey) -> dict[str, object]:
    key = trust.key
    if not isinstance(key, Ed25519VerifyingKey):
        raise SealKeyError(
            f"key {key.key_id}: {key.algorithm} here has no public key to write.",
            hint='Add the key by hand: "ref":"file:KEY.jwk" or "ref":"env:VARIABLE".',
        )
    members: dict[str, object] = {
        "key_id": key.key_id,
        "algorithm": str(key.algorithm),
        "public_key": b64url_encode(key.public),
    }
    if trust.streams is not None:
        members["streams"] = sorted(trust.streams)
    return {**members, "seqs": [trust.first_seq, trust.last_seq], "macs": str(trust.macs)}
