"""The chain of an enricher: sealed records that go where we cannot look, and the state that outlives the process.

Nobody can read back how far such a chain came. So its state is taken off the disk when the chain goes on, and put back
when it ends well: after a crash there is none, and a new chain begins, instead of one that gives a seq twice. A chain
has a name of its own, `<stream>.r<number>`, because many processes and machines may send records to one place.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from fapilog_tamper.document import MAX_DOCUMENT, format_time
from fapilog_tamper.entry import GENESIS, ChainState, prepare_seal
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, format_head, head_message, parse_head, sign_head
from fapilog_tamper.names import base_stream, percent_encode
from fapilog_tamper.store.files import FileStore
from fapilog_tamper.writer import exits
from fapilog_tamper.writer.troubles import warn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fapilog_tamper.clock import Clock
    from fapilog_tamper.keys import SigningKey
    from fapilog_tamper.store.base import Lock

__all__ = ["Chain"]

_MOST_SLOTS: Final = 1000
_DIGITS: Final = 1_000_000


class Chain:
    """One chain at a time, under one key. Any thread may seal."""

    def __init__(self, folder: Path, stream: str, key: SigningKey, *, clock: Clock, restart: bool = False) -> None:
        self.key = key
        self._store = FileStore(folder)
        self._base = stream
        self._clock = clock
        self._restart = restart
        self._mutex = threading.Lock()
        self._slot: tuple[str, Lock] | None = None
        self._state: ChainState | None = None
        self._origin = GENESIS
        self._seal: Callable[[bytes, int, bytes], tuple[bytes, bytes]] | None = None

    @property
    def state(self) -> ChainState | None:
        """Where the chain stands; None before the first record and behind the end."""
        return self._state

    def seal(self, payload: bytes) -> bytes:
        """Seal a payload behind the one before; return the line."""
        with self._mutex:
            if self._state is None or self._seal is None:
                self._state = self._begin()
                self._seal = prepare_seal(self._state.stream, self.key)
            state = self._state
            line, chain = self._seal(payload, state.seq + 1, state.chain_hash)
            if state.seq == 0:
                self._origin = chain
            self._state = replace(state, seq=state.seq + 1, chain_hash=chain)
            return line

    def close(self) -> None:
        """Put the state where the next process finds it; a record that still comes goes on from there."""
        with self._mutex:
            state, self._state, self._seal = self._state, None, None
            slot, self._slot = self._slot, None
            exits.unregister(self)
            if slot is None:
                return
            try:
                if state is not None and state.seq:
                    self._store.replace(slot[0], format_head(sign_head(self._head(state), self.key)))
            except OSError as error:
                warn(f"integrity enricher: the state of its chain is not stored ({error}); a new one will begin.")
            slot[1].release()

    def close_at_exit(self) -> None:
        """Close: the interpreter ends."""
        self.close()

    def let_go(self) -> None:
        """Leave the chain to the parent: this process was just forked from it."""
        self._mutex = threading.Lock()
        slot, self._slot = self._slot, None
        self._state = self._seal = None
        if slot is not None:
            slot[1].abandon()

    def _begin(self) -> ChainState:
        exits.register(self)
        try:
            self._store.make()
            self._slot = self._take_slot()
            found = self._take_state(self._slot[0])
        except OSError as error:
            warn(f"integrity enricher: the state of its chain cannot be kept ({error}); each start begins anew.")
            found = None
        if found is not None:
            self._origin = found.origin
            return ChainState(found.stream, found.seq, found.chain_hash)
        number = int(self._clock() * 1000) * _DIGITS + secrets.randbelow(_DIGITS)
        return ChainState(f"{self._base}.r{number}")

    def _take_slot(self) -> tuple[str, Lock]:
        for number in range(1, _MOST_SLOTS):
            name = percent_encode(self._base if number == 1 else f"{self._base}.w{number}") + ".chain"
            lock = self._store.lock(f"{name}.lock")
            if lock is not None:
                return name, lock
        raise OSError("too many processes share its state folder")

    def _take_state(self, name: str) -> Head | None:
        """Return the state that a process left that ended well, and remove it."""
        try:
            head = parse_head(self._store.read(name, 0, MAX_DOCUMENT + 1))
        except FileNotFoundError:
            return None
        except FormatError as error:
            head = None
            warn(f"integrity enricher: the state of its chain is damaged ({error}); a new chain begins.")
        # Durably, before a record is sealed behind it: else a crash would have the next process seal behind it again.
        self._store.remove(name)
        self._store.sync_names()
        if head is None or self._restart or base_stream(head.stream) != self._base or head.key_id != self.key.key_id:
            return None
        if head.mac is None or not self.key.verifying_key().verify(head_message(replace(head, mac=None)), head.mac):
            warn("integrity enricher: the state of its chain is not of this key; a new chain begins.")
            return None
        return head

    def _head(self, state: ChainState) -> Head:
        return Head(
            stream=state.stream,
            origin=self._origin,
            seq=state.seq,
            chain_hash=state.chain_hash,
            first_seq=1,
            segment="",
            offset=0,
            last_updated=format_time(datetime.fromtimestamp(self._clock(), UTC)),
        )
