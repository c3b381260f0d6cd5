"""Cursors: where the next page begins, as one opaque word.

    base64url( {"v":1,"newest":true,"at":{"<stream>":["<running time>","<segment>",<offset>]}} )

The place is between two lines of a segment: of its plain bytes, so compressing it changes nothing. An offset of null
is the end of the segment that has not begun to be read.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from fapilog_audit.errors import ConfigError
from fapilog_tamper.encoding import b64url_decode, b64url_encode
from fapilog_tamper.errors import EncodingError

__all__ = ["Place", "format_cursor", "parse_cursor"]

_VERSION: Final = 1


class Place(NamedTuple):
    """Where reading goes on in one stream: the running time there, the segment, and the offset in it."""

    moment: str
    segment: str
    offset: int | None


def format_cursor(places: dict[str, Place], *, newest_first: bool) -> str:
    """Return the cursor of these places, by stream."""
    text = json.dumps({"v": _VERSION, "newest": newest_first, "at": places}, separators=(",", ":"))
    return b64url_encode(text.encode())


def parse_cursor(cursor: object, *, newest_first: bool) -> dict[str, Place]:
    """Return the places that a cursor tells, by stream.

    Raises:
        ConfigError: it is no cursor, or one of the other order.
    """
    try:
        newest, places = _read(cursor if isinstance(cursor, str) else "")
    except (EncodingError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(
            f"cursor is {cursor!r:.80}.", hint="Give the cursor of the page before, or leave it out for the first."
        ) from None
    if newest is not newest_first:
        raise ConfigError(
            "cursor is of a query in the other order.", hint="Leave newest_first as it was for the page before."
        )
    return places


def _read(cursor: str) -> tuple[object, dict[str, Place]]:
    parsed = json.loads(b64url_decode(cursor))
    if parsed["v"] != _VERSION:
        raise ValueError
    return parsed["newest"], {str(stream): _place(*place) for stream, place in parsed["at"].items()}


def _place(moment: Any, segment: Any, offset: Any) -> Place:  # noqa: ANN401 (whatever the JSON held)
    if not (isinstance(moment, str) and isinstance(segment, str)):
        raise TypeError
    if offset is not None and (type(offset) is not int or offset < 0):
        raise TypeError
    return Place(moment, segment, offset)
