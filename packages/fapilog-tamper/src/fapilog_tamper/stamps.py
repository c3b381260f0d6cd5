"""Events as payloads, and the `timestamp` in them, of which a manifest tells the least and the greatest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from fapilog_tamper.payload import check_payload, encode_within

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Encoded", "encode_event", "timestamp_of"]

_SHORT: Final = 64
"""Characters of a `timestamp` that is short enough never to be cut to fit."""


class Encoded(NamedTuple):
    """A payload that was made as `encode_payload` makes it, and the `timestamp` in it; a log takes both as they are.

    For programs that encode their own events and know what is in them. Nothing is checked: bytes that are not the
    RFC 8785 text of an object, or are larger than the log's limit, would be refused by every verifier.
    """

    payload: bytes
    timestamp: str | None


def encode_event(event: Mapping[str, object] | bytes | Encoded, limit: int) -> tuple[bytes, str | None]:
    """Return the payload of an event, and the `timestamp` in it.

    Raises:
        PayloadError: for bytes that are not what a payload must be.
    """
    if type(event) is dict:
        payload = encode_within(event, limit)
        stamp = event.get("timestamp")
        # What a short plain string says, the payload says; anything else is read back from there.
        if type(stamp) is str and len(stamp) <= _SHORT and stamp.isascii():
            return payload, stamp
    elif type(event) is Encoded:
        return event
    elif isinstance(event, bytes):
        check_payload(event, limit=limit)
        payload = event
    else:
        payload = encode_within(event, limit)
    return payload, timestamp_of(payload)


def timestamp_of(payload: bytes) -> str | None:
    """Return the top-level `timestamp` of a payload or line, where it is a string."""
    # In raw bytes a name may be spelled with escapes, and stand before white space.
    if b"timestamp" not in payload and b"\\u" not in payload:
        return None
    try:
        stamp = json.loads(payload, parse_int=float).get("timestamp")
    except (ValueError, RecursionError):
        return None
    return stamp if isinstance(stamp, str) else None
