"""Whether a slot may stand beside its stream: a second writer under another key, or none, is a mistake or an attack.

Read from the first lines of segments only. It refuses what is plainly wrong before anything is written; what the lines
are worth is for recovery and for the verifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fapilog_tamper.entry import split
from fapilog_tamper.errors import FormatError, SealKeyError
from fapilog_tamper.layout import is_segment_name, segment_place
from fapilog_tamper.recovery.content import open_stored
from fapilog_tamper.verify.source import SourceError, whole_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_tamper.entry import Integrity
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.keys.keyring import Keyring
    from fapilog_tamper.store.base import Store

__all__ = ["first_line", "is_stranger", "require_kin"]


def require_kin(folder: Store, stream: str, key: SigningKey | None, keyring: Keyring | None) -> None:
    """Accept a writer beside the one that has `stream`.

    Raises:
        SealKeyError: that one is under a key which this one does not know.
    """
    newest = _first_of(folder, list(reversed(_segments_of(folder, stream))))
    if newest is None or newest.key_id is None:
        return
    known = {trusted.key_id for trusted in keyring or ()} | ({key.key_id} if key is not None else set())
    if newest.key_id not in known:
        given = "no key was given" if key is None else f"{key.key_id} was given"
        raise SealKeyError(
            f"stream {stream} in {folder} is being written under key {newest.key_id}, and {given}.",
            hint="Give its key, too, or write to a folder of your own.",
        )


def is_stranger(folder: Store, stream: str, slot: str, key: SigningKey | None) -> bool:
    """Tell whether what stands in a slot was never written beside `stream`: unkeyed, where that always had a key.

    A writer with a key would adopt it, and from then on the key would speak for what anybody may have put there.
    """
    if key is None:
        return False
    other, own = (_first_of(folder, _segments_of(folder, name)) for name in (slot, stream))
    return other is not None and other.key_id is None and own is not None and own.key_id is not None


def _segments_of(folder: Store, stream: str) -> list[str]:
    places = {name: place for name in folder.names() if (place := segment_place(name, stream)) is not None}
    return sorted((name for name in places if is_segment_name(name)), key=lambda name: places[name])


def _first_of(folder: Store, names: Sequence[str]) -> Integrity | None:
    """Return the integrity block of the first line that can be read, None without any."""
    line = _first_line(folder, names)
    return None if line is None else split(line)[1]


def first_line(folder: Store, stream: str) -> bytes | None:
    """Return the first line of a stream that can be read, None without any."""
    return _first_line(folder, _segments_of(folder, stream))


def _first_line(folder: Store, names: Sequence[str]) -> bytes | None:
    for name in names:
        try:
            for block in whole_lines(open_stored(folder, name).chunks()):
                line = bytes(block.data).split(b"\n", 1)[0] + b"\n"
                split(line)
                return line
        except (FormatError, SourceError, OSError):
            continue
    return None
