"""Runs programs as a parent: reads what they report, ends them, and collects what they said.

A program reports on a pipe, line by line: `accepted N`, `written METHOD N`, or any other word with its text.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from pathlib import Path

SECONDS = 60
"""A program that takes longer hangs."""

REPORTS = "REPORTS"
"""Stands in a command for the file descriptor that reports go to."""


@dataclass
class Told:
    """What a program reported, and how it ended."""

    accepted: list[int] = field(default_factory=list)
    written: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    words: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    stdout: str = ""
    stderr: str = ""

    @property
    def all_written(self) -> set[int]:
        """The events for which a method of the sink returned."""
        return set().union(*self.written.values())

    def note(self, line: str) -> None:
        """Take a line."""
        word, *rest = line.split()
        if word == "accepted":
            self.accepted.append(int(rest[0]))
        elif word == "written":
            self.written[rest[0]].add(int(rest[1]))
        else:
            self.words[word] = " ".join(rest)


class Program:
    """A running Python program. Its outputs go to files, so that it never waits for whoever reads them."""

    def __init__(self, script: Path, *arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.told = Told()
        self.lines: list[str] = []
        self._folder = folder
        self._reader, writer = os.pipe()
        # fork() beside threads is deprecated from Python 3.12 on; where a program does that, it is what is tested.
        python = [sys.executable, "-W", "always", "-W", "ignore:This process:DeprecationWarning", str(script)]
        given = [argument.replace(REPORTS, str(writer)) for argument in arguments]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [*python, *given],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                pass_fds=[writer],
                env=environment(env or {}),
                cwd=folder,
            )
        os.close(writer)
        self._deadline = monotonic() + SECONDS
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._rest = b""
        self._open = True

    def read_until(self, enough: Callable[[Told], bool]) -> None:
        """Read until the reports are so; the end of the program is enough, too."""
        while self._open and not enough(self.told):
            if not self._selector.select(max(0.0, self._deadline - monotonic())):
                self._give_up()
            data = os.read(self._reader, 1 << 16)
            if not data:
                self._open = False
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode() for line in lines]
            for line in lines:
                self.told.note(line.decode())

    def close_input(self) -> None:
        """Close its standard input."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def finish(self) -> Told:
        """Read to the end and return everything."""
        self.read_until(lambda told: False)
        try:
            self.told.code = self.process.wait(max(0.0, self._deadline - monotonic()))
        except subprocess.TimeoutExpired:
            self._give_up()
        self.close_input()
        self._selector.close()
        os.close(self._reader)
        self.told.stdout, self.told.stderr = ((self._folder / name).read_text() for name in ("stdout", "stderr"))
        return self.told

    def _give_up(self) -> None:
        self.process.kill()
        self.process.wait()
        said = (self._folder / "stderr").read_text()[-2000:]
        raise AssertionError(f"the program hangs; {len(self.told.accepted)} events accepted; it said: {said}")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: ours without what would configure fapilog."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FAPILOG_", "PYTHONWARNINGS"))}
    return {**ours, **more}
