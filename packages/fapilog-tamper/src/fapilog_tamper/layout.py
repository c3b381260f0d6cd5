"""File names of a sealed log as pure functions, each with its inverse (spec sections 6 and 7).

Names help people and hint at where to look first. No verdict rests on one: which stream a segment belongs to, and
where in it, is read from its entries.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import EncodingError
from fapilog_tamper.names import check_stream, percent_decode, percent_encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "STATE_FOLDER",
    "head_name",
    "is_segment_name",
    "lock_name",
    "manifest_name",
    "parse_head_name",
    "parse_segment_name",
    "plain_name",
    "segment_name",
    "segment_place",
    "torn_name",
    "torn_names",
]

STATE_FOLDER: Final = ".fapilog"
"""Where heads lie, in the folder of the log, unless the writer was told otherwise."""

_MANIFEST: Final = ".manifest.json"
_HEAD: Final = ".chainstate"
_COMPRESSED: Final = (".gz", ".zst")
_SEGMENT: Final = re.compile(r"(.+)_(\d{4}-\d\d-\d\d)(?:\.([1-9]\d{0,8}))?\.jsonl", re.ASCII)
# Only the ending counts: a stream may have ".tmp" or ".jsonl" in its own name.
_NOT_A_SEGMENT: Final = re.compile(r"(?:\.manifest\.json|\.tmp|\.torn-[0-9]+|\.chainstate|\.lock)\Z", re.ASCII)


def segment_name(stream: str, day: date | str, number: int = 0) -> str:
    """Return the name of the segment that `stream` began on `day` as the `number`-th after the first."""
    text = day if isinstance(day, str) else day.isoformat()
    return f"{percent_encode(stream)}_{text}{f'.{number}' if number else ''}.jsonl"


def segment_place(name: str, stream: str) -> tuple[str, int] | None:
    """Return day and number of a segment of `stream` from its name or that of its manifest; None for other names.

    The writer never gives a name that is not greater than those before, so its segments are in the order of these.
    """
    found = _places_of(stream).fullmatch(name)
    return None if found is None else (found[1], int(found[2] or 0))


@lru_cache(maxsize=64)
def _places_of(stream: str) -> re.Pattern[str]:
    endings = "|".join(re.escape(ending) for ending in (*_COMPRESSED, _MANIFEST))
    pattern = r"_(\d{4}-\d\d-\d\d)(?:\.([1-9]\d{0,8}))?\.jsonl(?:" + endings + ")?"
    return re.compile(re.escape(percent_encode(stream)) + pattern, re.ASCII)


def parse_segment_name(name: str) -> tuple[str, date, int] | None:
    """Return stream, day and number of a name that `segment_name` gives, else None."""
    found = _SEGMENT.fullmatch(name)
    if found is None:
        return None
    try:
        parsed = (percent_decode(found[1]), date.fromisoformat(found[2]), int(found[3] or 0))
    except (EncodingError, ValueError):
        return None
    return parsed


def plain_name(name: str) -> str:
    """Return a segment's name without the ending that tells its compression."""
    return next((name.removesuffix(ending) for ending in _COMPRESSED if name.endswith(ending)), name)


def manifest_name(segment: str) -> str:
    """Return the name of a segment's manifest; compressed or not, it is the same."""
    return plain_name(segment) + _MANIFEST


def is_manifest_name(name: str) -> bool:
    """Tell whether a file of this name is read as a manifest."""
    return ".jsonl" in name and name.endswith(_MANIFEST)


def is_segment_name(name: str) -> bool:
    """Tell whether a regular file of this name is read as a segment."""
    return ".jsonl" in name and not _NOT_A_SEGMENT.search(name)


def torn_name(segment: str, number: int) -> str:
    """Return the name of the copy of a torn tail."""
    return f"{segment}.torn-{number}"


def torn_names(segment: str, names: Iterable[str]) -> list[str]:
    """Return which of `names` are copies of torn tails of a segment."""
    return sorted(name for name in names if re.fullmatch(re.escape(segment) + r"\.torn-[0-9]+", name))


def head_name(stream: str) -> str:
    """Return the name of a stream's head in the state folder."""
    return percent_encode(stream) + _HEAD


def lock_name(stream: str) -> str:
    """Return the name of a stream's lock in the state folder."""
    return percent_encode(stream) + ".lock"


def parse_head_name(name: str) -> str | None:
    """Return the stream of a name that `head_name` gives, else None."""
    if not name.endswith(_HEAD):
        return None
    try:
        stream = percent_decode(name.removesuffix(_HEAD))
        check_stream(stream)
    except EncodingError:
        return None
    return stream
