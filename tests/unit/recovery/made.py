"""Facts that are made up: segments, heads and claims of several histories of one stream."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from fapilog_tamper.entry import GENESIS
from fapilog_tamper.head import Head
from fapilog_tamper.recovery.facts import (
    FoundClaim,
    FoundSegment,
    StreamFacts,
)

TIME = "2026-11-20T12:00:00.000000Z"


def chain(seq: int, history: str = "a") -> bytes:
    """Return the chain hash of an entry in one of several histories."""
    return GENESIS if seq == 0 else sha256(f"{history}{seq}".encode()).digest()


def segment(first: int, last: int, history: str = "a", before: str | None = None, **members: Any) -> FoundSegment:
    """Return a segment without a mac; `before` is the history that it goes on from, where that is another."""
    return FoundSegment(
        **{
            "name": f"log_2026-11-20.{first}.jsonl",
            "size": 100,
            "good": 100,
            "first_seq": first,
            "first_prev": chain(first - 1, before or history),
            "last_seq": last,
            "last_chain": chain(last, history),
            "run": b"".join(chain(seq, history) for seq in range(first, last + 1)),
            "authenticated": last,
            "last_event": last,
            **members,
        }
    )


def keyed(first: int, last: int, *args: Any, **members: Any) -> FoundSegment:
    return segment(first, last, *args, **{"keyed_from": first, "key_id": "k1", "algo": "HMAC-SHA256", **members})


def head(seq: int, history: str = "a", **members: Any) -> Head:
    return Head(
        **{
            "stream": "log",
            "origin": chain(1),
            "seq": seq,
            "chain_hash": chain(seq, history),
            "first_seq": 1,
            "segment": "log_2026-11-20.1.jsonl",
            "offset": 100,
            "last_updated": TIME,
            **members,
        }
    )


def keyed_head(seq: int, history: str = "a", **members: Any) -> Head:
    return head(seq, history, algo="HMAC-SHA256", key_id="k1", mac=bytes(32), **members)


def facts(*segments: FoundSegment, **members: Any) -> StreamFacts:
    return StreamFacts(**{"stream": "log", "segments": segments, **members})


def claim(seq: int, history: str = "a") -> FoundClaim:
    return FoundClaim("other", seq, chain(seq, history))
