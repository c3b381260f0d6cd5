"""The payload of an entry: the bytes of one JSON object (docs/spec/sealed-log.md, section 3).

`encode_payload` makes one of any event and loses none; `check_payload` judges bytes that a caller made;
`control_payload` makes those of the writer's own entries. Two top-level names belong to the log and never to a caller:
`integrity` and `sealed_log`. The text is made by `canonical` and `coerce`, made to fit by `fit`, and sealed by
`entry`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NoReturn

from fapilog_tamper.canonical import canonicalize
from fapilog_tamper.coerce import MAX_NODES, TRUNCATED, Walk, less_deep
from fapilog_tamper.errors import ConfigError, PayloadError
from fapilog_tamper.fit import fit_text
from fapilog_tamper.members import UNREAD, Names, pairs_of
from fapilog_tamper.plain import fast_text
from fapilog_tamper.scalars import FAILED, attempt
from fapilog_tamper.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fapilog_tamper.members import Pairs
    from fapilog_tamper.plain import Plain

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "MIN_LIMIT",
    "RESERVED_NAMES",
    "check_limit",
    "check_payload",
    "control_payload",
    "encode_payload",
    "encode_within",
]

MIN_LIMIT: Final = 256
DEFAULT_LIMIT: Final = 65_535
"""The greatest payload in bytes that tlog-tiles can serve."""

MAX_LIMIT: Final = 2**20

RESERVED_NAMES: Final = frozenset({"integrity", "sealed_log"})
"""Top-level members that only the log writes."""

_LEAST_MEMBER: Final = 5  # bytes of `"":0,`


def encode_payload(event: Mapping[str, object] | object, *, limit: int = DEFAULT_LIMIT) -> bytes:
    """Return the canonical text of an event as one JSON object of at most `limit` bytes.

    Never raises for the event's sake, KeyboardInterrupt apart. An event that is no object becomes the member `$value`;
    reserved names get a trailing `_`; what is too large is cut and counted (see `fit`). Any thread may call it.

    Args:
        event: The event; a small flat dict of plain values takes about 2 µs.
        limit: The greatest size in bytes, `MIN_LIMIT` to `MAX_LIMIT`.

    Raises:
        ConfigError: if `limit` is out of bounds.
    """
    check_limit(limit)
    return encode_within(event, limit)


def encode_within(event: Mapping[str, object] | object, limit: int) -> bytes:
    """Return what `encode_payload` does, for a limit that was checked before: a log has one for all its events."""
    text = fast_text(event, limit)
    if (
        text is not None
        and len(text) <= limit
        and type(event) is dict
        and "integrity" not in event
        and "sealed_log" not in event
    ):
        return text
    return less_deep(lambda levels: _encode(event, limit, levels))


def check_payload(raw: bytes, *, limit: int = DEFAULT_LIMIT) -> None:
    """Accept bytes that a caller made as a payload, or raise.

    The bytes are parsed once and stored as they are; they need not be canonical.

    Raises:
        PayloadError: unless they are one JSON object in UTF-8 on one line, with the braces at the ends, without
            duplicate names at any depth, without reserved names at the top, and of at most `limit` bytes.
        ConfigError: if `limit` is out of bounds.
    """
    check_limit(limit)
    if type(raw) is not bytes:
        raise PayloadError(f"payload is a {type(raw).__name__}, not bytes.", hint="Encode the JSON text as UTF-8.")
    if len(raw) > limit:
        raise PayloadError(
            f"payload has {len(raw)} bytes, the limit is {limit}.", hint="Shorten it, or raise the limit of the log."
        )
    if not (raw.startswith(b"{") and raw.endswith(b"}")):
        raise PayloadError(
            "payload does not begin with { and end with }.", hint="Pass one JSON object, nothing around."
        )
    if b"\n" in raw or b"\r" in raw:
        raise PayloadError("payload holds a line break.", hint="Write the JSON on one line.")
    members = _parse(raw)
    if not members and raw != b"{}":
        raise PayloadError("an object without members must be exactly {}.", hint="Remove the white space.")
    reserved = RESERVED_NAMES.intersection(members)
    if reserved:
        raise PayloadError(
            f"payload has the member {min(reserved)!r}, which belongs to the log.", hint="Give the member another name."
        )


def control_payload(kind: str, **members: object) -> bytes:
    """Return the payload of a control entry (section 5), which only the writer makes."""
    return canonicalize({"sealed_log": {"kind": kind, **members}})


def check_limit(limit: int) -> None:
    """Accept a payload limit in bytes.

    Raises:
        ConfigError: if it is not a whole number from `MIN_LIMIT` to `MAX_LIMIT`.
    """
    if type(limit) is not int or not MIN_LIMIT <= limit <= MAX_LIMIT:
        raise ConfigError(
            f"payload limit is {limit!r}, not a whole number from {MIN_LIMIT} to {MAX_LIMIT}.",
            hint=f"Leave it at {DEFAULT_LIMIT} unless events are larger.",
        )


def _encode(event: object, limit: int, levels: int) -> bytes:
    walk = Walk(Texts(limit), nodes=limit, levels=levels)
    pairs = pairs_of(event, limit)
    if pairs is not None:
        walk.enter(event)
        tree, unread = _members(walk, pairs, event, limit)
        return fit_text(tree, limit, unread=unread)
    whole = walk.tree(event)
    if not isinstance(whole, dict):
        return fit_text({"$value": whole}, limit)
    names = Names()
    return fit_text({names.free(_own(name)): member for name, member in whole.items()}, limit)


def _members(walk: Walk, pairs: Pairs, event: object, limit: int) -> tuple[dict[str, Plain], int | None]:
    """Return the members of the event, and how many were not read.

    Each member has a budget of its own, so that a large one does not take the place of those behind it. A member that
    uses it up cannot fit and gives way in `fit_text`.
    """
    tree: dict[str, Plain] = {}
    names = Names()
    spare = MAX_NODES
    for key, value in pairs:
        if key is UNREAD or len(tree) * _LEAST_MEMBER > limit:
            total = attempt(len, event)
            return tree, max(total - len(tree), 1) if type(total) is int else None
        walk.nodes = budget = max(min(limit, spare), 2)
        name = names.free(_own(walk.name(key, 2)))
        tree[name] = TRUNCATED if value is FAILED else walk.tree(value, 2)
        spare -= budget - walk.nodes
    return tree, 0


def _own(name: str) -> str:
    return f"{name}_" if name in RESERVED_NAMES else name


def _parse(raw: bytes) -> dict[str, object]:
    try:
        # Numbers stay text: int() refuses more than 4,300 digits, which are valid JSON.
        parsed = json.loads(
            raw.decode(),
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
            parse_int=str,
            parse_float=str,
        )
    except RecursionError:
        raise PayloadError("payload is nested too deeply.", hint="Nest it less.") from None
    except ValueError as error:
        raise PayloadError(
            f"payload is not JSON in UTF-8: {error}.", hint="Pass the text of one JSON object."
        ) from None
    # The bytes begin with a brace, so what json returned is an object.
    return dict(parsed)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise PayloadError("payload has an object with duplicate names.", hint="Write each name once.")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise PayloadError(f"payload holds {name}, which is not JSON.", hint="Write it as a string.")
