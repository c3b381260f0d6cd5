"""Reading the JSON that people write, JWKs and trust files: strict, and silent about what it read.

Python's reader takes the last of two equal members, which another program may not; and its errors carry the text, which
may be a private key. So every error of this room is made anew and says where, what was expected, and no more.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from fapilog_tamper.errors import SealKeyError, TamperError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["located", "parse_object", "text_member"]


@contextmanager
def located(source: str) -> Iterator[None]:
    """Turn errors about spelling, names and keys into `SealKeyError` that begin with `source`."""
    try:
        yield
    except TamperError as error:
        kind = type(error) if isinstance(error, SealKeyError) else SealKeyError
        raise kind(f"{source}: {error.message}", hint=error.hint) from None


def parse_object(raw: bytes) -> dict[str, object]:
    """Return the members of the one JSON object that `raw` holds, in UTF-8.

    Raises:
        SealKeyError: if it is not JSON, not an object, or an object in it has two members of one name.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SealKeyError(
            "not one JSON object with each member once.", hint="Look for a missing comma or a repeated member."
        )
    return value


def text_member(members: Mapping[str, object], name: str) -> str:
    """Return a member that must be there and be text.

    Raises:
        SealKeyError: if it is not.
    """
    value = members.get(name)
    if not isinstance(value, str):
        raise SealKeyError(f"no text member {name}.", hint="Add it.")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
