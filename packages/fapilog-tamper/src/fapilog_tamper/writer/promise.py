"""What an append promises, and the receipt that it returns."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, NamedTuple

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.errors import ConfigError, StoreError

__all__ = ["Durability", "Promise", "Receipt", "broken_promise", "parse_promise"]

Durability = Literal["accepted", "written", "synced"]


class Promise(IntEnum):
    """How far an entry is when its append returns; each includes the one before."""

    ACCEPTED = 0
    """Sealed, in its place in the chain, in memory: lost with the process."""
    WRITTEN = 1
    """In the operating system: survives the process, not the machine."""
    SYNCED = 2
    """On the disk: survives the machine."""


_PROMISES: Final = {promise.name.lower(): promise for promise in Promise}


class Receipt(NamedTuple):
    """What an append returns: the place of the entry, and the hash that stands for it and all before it.

    Attributes:
        stream: the stream, which for a second writer is that of its slot.
        seq: the position in it, from 1.
        chain: the chain hash, 32 bytes.
    """

    stream: str
    seq: int
    chain: bytes

    @property
    def chain_hash(self) -> str:
        """The chain hash as it stands in the entry."""
        return b64url_encode(self.chain)

    def __repr__(self) -> str:
        return f"Receipt(stream={self.stream!r}, seq={self.seq}, chain_hash={self.chain_hash!r})"


def parse_promise(durability: str) -> Promise:
    """Return the promise of this name.

    Raises:
        ConfigError: if there is none.
    """
    try:
        return _PROMISES[durability]
    except (KeyError, TypeError):
        choice = ", ".join(_PROMISES)
        raise ConfigError(f"durability is {durability!r}.", hint=f"Use one of {choice}.") from None


def broken_promise(stream: str, seq: int, promise: Promise, failed: StoreError | None, troubles: str) -> StoreError:
    """Return the error of an entry whose promise was not kept in time, or (`failed`) never will be."""
    if failed is not None:
        error = StoreError(f"entry {seq} of {stream}: {failed.message}", hint=failed.hint)
    else:
        error = StoreError(
            f"entry {seq} of {stream} is accepted and not {promise.name.lower()} in time"
            f": {troubles or 'the disk does not answer'}.",
            hint="It is stored as soon as the disk takes it; do not append it again.",
        )
    error.seqs = (seq,)
    return error
