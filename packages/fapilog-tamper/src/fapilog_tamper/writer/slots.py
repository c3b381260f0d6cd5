"""Writer slots: a second writer of a stream gets a stream of its own beside it.

`log` is the first slot, then `log.w2`, `log.w3`, ... Whoever opens takes the lowest that nobody holds, and goes on
where its last holder stopped. Heads and manifests name the other streams of the state folder, so that none can vanish.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.errors import ConfigError, FormatError, StoreError
from fapilog_tamper.head import parse_head
from fapilog_tamper.layout import head_name, lock_name, parse_head_name, parse_segment_name, plain_name
from fapilog_tamper.names import base_stream, check_stream, percent_encode

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from fapilog_tamper.document import Claim
    from fapilog_tamper.head import Head
    from fapilog_tamper.store.base import Lock, Store

__all__ = [
    "check_own_stream",
    "heads_of",
    "others_of",
    "require_distinct",
    "slot_name",
    "slots_of",
    "take_restart",
    "take_slot",
]

_MOST_SLOTS: Final = 10_000


def slot_name(stream: str, number: int) -> str:
    """Return the stream of a slot; the first is the stream itself."""
    return stream if number == 1 else f"{stream}.w{number}"


def check_own_stream(stream: str) -> None:
    """Accept the name of a stream that a user may open.

    Raises:
        FormatError: if it cannot be a name.
        ConfigError: if it is one of those that belong to the writer.
    """
    check_stream(stream)
    if base_stream(stream) != stream:
        text = f"stream {stream}: names that end in .w<digits> or .r<digits> belong to the writer."
        raise ConfigError(text, hint=f"Open {base_stream(stream)}, and the writer takes a free slot by itself.")


def take_slot(state: Store, stream: str, besides: Container[str] = ()) -> tuple[str, Lock]:
    """Take the lowest slot that nobody holds, and that is none of `besides`; return its stream and its lock."""
    for number in range(1, _MOST_SLOTS):
        name = slot_name(stream, number)
        if name in besides:
            continue
        lock = state.lock(lock_name(name))
        if lock is not None:
            return name, lock
    raise StoreError(f"all slots of stream {stream} are taken.", hint="Close some of its writers.")


def take_restart(folder: Store, state: Store, stream: str) -> tuple[str, Lock]:
    """Take the lowest number behind all chains of a stream that have a segment or a head; return its stream and lock.

    The first chain has the name of the stream itself, the others are `<stream>.r2` and so on.
    """
    number = 1 + _last_restart(folder, state, stream)
    while True:
        name = stream if number == 1 else f"{stream}.r{number}"
        lock = state.lock(lock_name(name))
        if lock is not None:
            # Another process may have begun and ended this one since the folder was read.
            if _last_restart(folder, state, stream) < number:
                return name, lock
            lock.release()
        number += 1


def _last_restart(folder: Store, state: Store, stream: str) -> int:
    """Return the greatest number of a chain that is there, 0 for none."""
    heads = {parsed for name in state.names() if (parsed := parse_head_name(name)) is not None}
    numbered = re.compile(re.escape(stream) + r"(?:\.w[1-9][0-9]*)?(?:\.r([1-9][0-9]*))?(?:\.w[1-9][0-9]*)?")
    found = (numbered.fullmatch(name) for name in slots_of(folder.names(), stream) | heads)
    return max((int(match[1] or 1) for match in found if match is not None), default=0)


def slots_of(names: Iterable[str], stream: str) -> set[str]:
    """Return the slots and restarted chains of a stream that have segments, as their names tell."""
    prefix = percent_encode(stream)
    ours = (name for name in names if name.startswith((f"{prefix}.w", f"{prefix}.r", f"{prefix}_")))
    parsed = (parse_segment_name(plain_name(name)) for name in ours)
    slots = re.compile(re.escape(stream) + r"(?:\.[wr][1-9][0-9]*)*")
    return {found[0] for found in parsed if found is not None and slots.fullmatch(found[0])}


def require_distinct(folder: Store, state: Store, stream: str) -> None:
    """Accept a stream unless another differs from it by case only: some file systems cannot tell their files apart.

    Raises:
        ConfigError: when there is one.
    """
    prefix = percent_encode(stream)
    folded, size = prefix.casefold(), len(prefix)
    near = [
        name for name in (*folder.names(), *state.names()) if name[:size] != prefix and name[:size].casefold() == folded
    ]
    for name in near:
        segment = parse_segment_name(plain_name(name))
        other = parse_head_name(name) if segment is None else segment[0]
        if other is not None and other.casefold() == stream.casefold():
            text = f"stream {stream} differs from stream {other} by case only."
            raise ConfigError(text, hint="Some file systems cannot tell them apart: use another name.")


def heads_of(state: Store, stream: str) -> Iterator[Head]:
    """Yield the heads of the other streams, as far as they can be read."""
    for name in state.names():
        if name != head_name(stream) and parse_head_name(name) is not None:
            with suppress(FormatError, OSError):
                yield parse_head(state.read(name, 0, MAX_DOCUMENT + 1))


def others_of(state: Store, stream: str) -> tuple[Claim, ...]:
    """Return where the other streams of the state folder stand, as their stored heads say."""
    claims = {head.stream: (head.stream, head.seq, head.chain_hash) for head in heads_of(state, stream)}
    return tuple(claims[name] for name in sorted(claims) if name != stream)
