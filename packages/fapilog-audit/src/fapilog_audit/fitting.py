"""Events that are larger than a line may be: what is cut, so that id, time, type, and who did it stay.

The sealed log cuts whatever it likes of an object that is too large. In an event some members are worth more than
others: a thousand rows of metadata must not push out the user. Each part is made to fit a share of its own, by the
rules of the sealed log, and metadata gets what the others leave.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fapilog_tamper.payload import DEFAULT_LIMIT, MAX_LIMIT, encode_payload

__all__ = ["fit_members", "is_whole"]

_FIXED: Final = ("event_id", "timestamp", "event_type", "log_level", "compliance_level")
_TEXTS: Final = 32_768
_ERROR: Final = 12_288
_TAGS: Final = 4096
_SHORT: Final = 512
"""Characters of a text that is never cut for others."""

_CUTS: Final = (b"[cut ", b"$truncated")


def is_whole(payload: bytes, members: dict[str, Any]) -> bool:
    """Tell whether no short text among the members was cut to make the payload fit."""
    if not any(cut in payload for cut in _CUTS):
        return True
    stored = _parse(payload)
    texts = {name: value for name, value in members.items() if type(value) is str and len(value) <= _SHORT}
    if all(stored.get(name) == text for name, text in texts.items()):
        return True
    # Texts may differ for their lone surrogates alone, and speak of cuts themselves.
    id_stays = stored.get("event_id") == members["event_id"]
    return id_stays and len(encode_payload(members, limit=MAX_LIMIT)) <= DEFAULT_LIMIT


def fit_members(members: dict[str, Any]) -> bytes:
    """Return the payload of an event that is too large, cut where it hurts least."""
    texts = dict(members)
    fixed = {name: texts.pop(name) for name in _FIXED}
    error, tags, metadata = (texts.pop(name, None) for name in ("error", "regulatory_tags", "metadata"))
    parts: dict[str, Any] = {**_fit(texts, _TEXTS), **fixed}
    if error is not None:
        parts["error"] = _fit(error, _ERROR)
    if tags is not None:
        kept = _fit({"tags": tags}, _TAGS).get("tags")
        parts["regulatory_tags"] = kept if isinstance(kept, list) else ["$truncated"]
    if metadata is not None:
        left = DEFAULT_LIMIT - len(encode_payload({**parts, "metadata": {}}))
        parts["metadata"] = _fit(metadata, left)
    return encode_payload(parts)


def _fit(part: object, limit: int) -> dict[str, Any]:
    return _parse(encode_payload(part, limit=limit))


def _parse(payload: bytes) -> dict[str, Any]:
    # As floats, numbers of 2^53 and more come out as they stand; as ints they would become text.
    parsed: dict[str, Any] = json.loads(payload, parse_int=float)
    return parsed
