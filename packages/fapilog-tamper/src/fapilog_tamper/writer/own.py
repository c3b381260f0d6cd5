"""Entries that the writer adds by itself while it runs: late seals, and gaps."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import SealKeyError
from fapilog_tamper.payload import control_payload
from fapilog_tamper.writer.promise import Promise

if TYPE_CHECKING:
    from fapilog_tamper.writer.engine import Engine

__all__ = ["OwnEntries"]

_SEAL_SECONDS: Final = 0.2
_SIGN_AGAIN: Final = 1.0


class OwnEntries:
    """What one engine has to say for itself; called by the worker's step.

    Attributes:
        seals: how many late seals were written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seals = 0

    def seal_pause(self) -> float | None:
        """Return the seconds until a seal is due; None where all is covered."""
        since = self._engine.signer.unsigned_since
        return None if since is None else since + _SEAL_SECONDS - perf_counter()

    def cover(self) -> bool:
        """Seal what no mac covers, if that is due; return whether an entry was added."""
        engine, signer = self._engine, self._engine.signer
        pause = self.seal_pause()
        if pause is None or pause > 0:
            return False
        seq, chain = engine.last
        try:
            payload = signer.seal_payload(seq, chain)
        except SealKeyError as error:
            engine.troubles.meet("signing", error)
            signer.unsigned_since = perf_counter() + _SIGN_AGAIN
            return False
        engine.troubles.well("signing")
        item, _ = engine.put(payload, None, Promise.SYNCED, internal=True)
        self.seals += 1
        with engine.mutex:
            # An entry that came in between is covered by nothing yet; the seal itself needs no cover.
            if item[0] == seq + 1:
                signer.unsigned_since = None
        return True

    def count_gap(self) -> None:
        """Put on record how many events were refused, once there is room again."""
        engine = self._engine
        with engine.mutex:
            if not engine.admission.may_tell(engine.pending_bytes):
                return
            count, *times = engine.admission.tell()
        first, last = (engine.shelf.time_text(seconds) for seconds in times)
        payload = control_payload("gap", count=count, reason="buffer full", first_ts=first, last_ts=last)
        engine.put(payload, None, Promise.SYNCED, internal=True)
