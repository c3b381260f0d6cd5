"""What does not work now, counted and told: one warning an episode."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Troubles", "warn"]


class Troubles:
    """The episodes of failing of one log, by what fails ("write", "sync", ...).

    Attributes:
        failures: how often something failed.
        episodes: how often something went from working to failing.
    """

    def __init__(self, log: str) -> None:
        self.failures = 0
        self.episodes = 0
        self._log = log
        self._reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __str__(self) -> str:
        # One call into C: another thread may have it change meanwhile.
        reasons = list(self._reasons.items())
        return "; ".join(f"{what} fails ({reason})" for what, reason in reasons)

    def meet(self, what: str, error: Exception) -> None:
        """Take note that something failed; the first time of an episode, warn."""
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.failures += 1
        first = what not in self._reasons
        self._reasons[what] = reason
        if first:
            self.episodes += 1
            warn(f"sealed log {self._log}: {what} fails ({reason}); trying again.")

    def concern(self, what: Iterable[str]) -> bool:
        """Tell whether any of these fails now."""
        return not self._reasons.keys().isdisjoint(what)

    def well(self, what: str) -> None:
        """Take note that something works (again)."""
        self._reasons.pop(what, None)


def warn(text: str) -> None:
    """Tell the user."""
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except Exception:  # noqa: BLE001 - warning runs the user's code: filters, hooks, log handlers
        # Where warnings are errors, none of these may end a thread of ours or refuse an event; and it must be said.
        with suppress(Exception):
            sys.stderr.write(f"RuntimeWarning: {text}\n")
