"""The chain of an old trail: which line follows which, in bounded memory and whatever the order of the lines.

A line names the checksum of the one before it; the first of a run, from the start of a process to its end, names none.
Runs of several processes may stand in each other's lines, and the lines of one run out of order: that is how the old
trail wrote. What counts is whether each line finds the one that it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from fapilog_audit.importing.lines import OldLine

__all__ = ["Chain", "Fact", "Place"]

_MOST_RUNS: Final = 100_000
"""Runs, and pieces of them behind gaps, that are held; then those that ended longest ago are judged as they are."""
_MOST_USED: Final = 16_384
"""Lines that are remembered as followed, to tell a repeated line from a missing one."""


class Place(NamedTuple):
    """Where a line stands: the number of its file in the folder, and its own in the file."""

    file: int
    line: int


class Fact(NamedTuple):
    """What was found at a line: `begun`, `unordered`, `skipped`; or a break: `gap`, `repeated`, `sequence`."""

    kind: str
    place: Place
    sequence: int | None
    text: str = ""


@dataclass(slots=True, eq=False)
class _Run:
    """Lines that follow each other without a gap. `needs`: the checksum of the line before, not found yet."""

    begin: Place
    first: int | None
    needs: str | None
    whole: bool
    end: str
    last: int | None
    until: Place


class Chain:
    """Takes the lines of a folder one after the other; `facts` are what came to light, to be taken away."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.interleaved = 0
        self._ends: dict[str, _Run] = {}
        self._needed: dict[str, _Run] = {}
        self._used: dict[str, None] = {}
        self._until: Place | None = None

    def take(self, place: Place, line: OldLine) -> None:
        """Put a line that has a checksum where it belongs."""
        checksum, previous = line.checksum, line.previous
        if checksum is None:
            return
        if checksum in self._ends or checksum in self._used:
            self._tell("repeated", place, line.sequence, "it stands there a second time")
            return
        run = None if previous is None else self._ends.pop(previous, None)
        if run is None:
            run = self._begin(place, line, checksum)
        else:
            self._use(run.end)
            self._compare(run.last, line.sequence, place)
            run.end, run.last, run.until = checksum, line.sequence, place
        follower = self._needed.get(checksum)
        if follower is not None and follower is not run:
            self._join(run, follower)
        self._ends[run.end] = run
        if len(self._ends) > _MOST_RUNS:
            self._let_go(next(iter(self._ends)))

    def finish(self) -> None:
        """Judge what is left: nothing more comes."""
        for checksum in sorted(self._ends, key=lambda checksum: self._ends[checksum].begin):
            self._let_go(checksum)

    def _begin(self, place: Place, line: OldLine, checksum: str) -> _Run:
        previous = line.previous
        run = _Run(place, line.sequence, previous, previous is None, checksum, line.sequence, place)
        if previous is None:
            self._tell("begun", place, line.sequence)
            self._compare(0, line.sequence, place)
        elif previous in self._used or previous in self._needed:
            self._tell("repeated", place, line.sequence, "another line follows the line that it names already")
            run.needs = None
        else:
            self._needed[previous] = run
        return run

    def _join(self, run: _Run, follower: _Run) -> None:
        """Put a piece behind the line that it names, which stands further on in the files."""
        self._tell("unordered", follower.begin, follower.first)
        del self._needed[run.end], self._ends[follower.end]
        self._use(run.end)
        self._compare(run.last, follower.first, follower.begin)
        run.end, run.last = follower.end, follower.last
        run.begin = min(run.begin, follower.begin)

    def _use(self, checksum: str) -> None:
        self._used[checksum] = None
        if len(self._used) > 2 * _MOST_USED:
            for old in list(islice(self._used, _MOST_USED)):
                del self._used[old]

    def _compare(self, last: int | None, sequence: int | None, place: Place) -> None:
        """Compare the numbers of two lines of which the second names the first.

        Where numbers are missing and the link holds, no line is: the old trail gave a number to an event before it
        turned out that it could not be written.
        """
        if last is None or sequence is None:
            return
        if sequence > last + 1:
            self._tell("skipped", place, sequence, f"numbers {last + 1} to {sequence - 1} were never written")
        elif sequence <= last:
            self._tell("sequence", place, sequence, f"its number is not behind {last}, the number of the line it names")

    def _let_go(self, checksum: str) -> None:
        run = self._ends.pop(checksum)
        if run.needs is not None and self._needed.get(run.needs) is run:
            del self._needed[run.needs]
            self._tell(
                "gap",
                run.begin,
                run.first,
                "the line that it names is not there: it was removed, replaced, or never written",
            )
        if run.whole:
            self.interleaved += self._until is not None and run.begin < self._until
            self._until = run.until if self._until is None else max(self._until, run.until)

    def _tell(self, kind: str, place: Place, sequence: int | None, text: str = "") -> None:
        self.facts.append(Fact(kind, place, sequence, text))
