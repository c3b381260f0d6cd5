"""The plan of what fails in a store: which calls, how often, with which error, and how much of the work is done.

A test changes the plan while the store is in use. Of several faults that are planned for one call, the one that was
planned first is met. What a fault does to a call is the business of `fapilog_tamper.testing.faults`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from fapilog_tamper.errors import ConfigError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FAILING", "REPLACE_STEPS", "Fault", "Faults", "Hold"]

FAILING: Final = (
    "make",
    "names",
    "size",
    "read",
    "create",
    "open",
    "write",
    "sync",
    "truncate",
    "replace",
    "rename",
    "remove",
    "sync_names",
)
"""What "*" and random faults are about. `lock` fails only when it is named, `child` and `close` never do."""

REPLACE_STEPS: Final = 4
"""Steps in which `replace` may stop: the temporary file made, written, synced, renamed (the name not synced)."""

_DISK_ERRORS: Final = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
_FOR_EVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call.

    Without an `error` it is a short write. `part` counts the bytes of a write or the steps of a replace that are done
    first; without it the work is `done` as a whole or not at all.
    """

    error: int | None = None
    done: bool = False
    part: int | None = None
    lost: bool = False

    def to_error(self, name: str | None) -> OSError:
        """Return the error to raise."""
        code = errno.EIO if self.error is None else self.error
        text = f"{os.strerror(code)} (planned)"
        return OSError(code, text) if name is None else OSError(code, text, name)


class Hold:
    """Calls that wait: `reached` is set when the first of them has come, `release` lets them all go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._free = threading.Event()

    def release(self) -> None:
        """Let the calls go on, those that come later too."""
        self._free.set()

    def wait(self) -> None:
        """Say that a call has come, and wait until it may go on."""
        self.reached.set()
        self._free.wait()


@dataclass(slots=True)
class _Rule:
    """Applies to `left` calls of `method` about `name`, once `after` of them have passed."""

    method: str
    name: str | None
    after: int
    left: int
    choose: Callable[[str, int], Fault | None] | None = None
    pause: Callable[[], None] | None = None

    def applies(self, method: str, names: Sequence[str]) -> bool:
        if self.method != method and not (self.method == "*" and method in FAILING):
            return False
        return self.name is None or any(fnmatchcase(name, self.name) for name in names)

    def take(self) -> bool:
        """Count one call and tell whether it is one of those meant."""
        if self.left <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.left -= 1
        return True


class Faults:
    """The plan of what fails, shared by a store and its children. May be changed and asked from several threads.

    Everywhere, `name` is a pattern of file names as in a shell (`*.jsonl`) and None stands for all calls, `method` is
    the name of a method of `Store` or "*", `after` is how many matching calls pass first, and `times` how many are
    then meant, None for all. `calls` counts the calls of each method, `failed` those that a fault was raised from.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._rules: list[_Rule] = []
        self._mutex = threading.Lock()

    def fail(
        self,
        method: str,
        *,
        error: int = errno.EIO,
        times: int | None = 1,
        after: int = 0,
        name: str | None = None,
        done: bool = False,
        part: int | None = None,
        lost: bool = False,
    ) -> None:
        """Let calls raise `OSError(error)`.

        Args:
            method: which calls.
            error: the errno.
            times: how many of them.
            after: how many pass first.
            name: about which files.
            done: the work is done first; else nothing is.
            part: so many bytes of a `write`, or steps of a `replace` (`REPLACE_STEPS`), are done first.
            lost: a `sync` drops what it should have brought to the disk, and the next one succeeds (fsyncgate). The
                inner store must have a method `lose`, as `MemoryStore` does.

        Raises:
            ConfigError: the method is unknown, or the flavour is not one of its own.
        """
        if part is not None and (method not in ("write", "replace") or done or part < 1):
            raise ConfigError(f"part={part} of {method}.", hint="Only write and replace have parts, from 1 on.")
        if lost and (method != "sync" or done):
            raise ConfigError(f"lost with {method}.", hint="Only a sync that was not done loses what was written.")
        fault = Fault(error, done=done, part=part, lost=lost)
        self._plan(method, name, after, times, choose=lambda _method, _size: fault)

    def short(self, taken: int, *, times: int | None = 1, after: int = 0, name: str | None = None) -> None:
        """Let writes take only `taken` bytes, and say so."""
        if taken < 1:
            raise ConfigError(f"a write that takes {taken} bytes.", hint="A store takes at least one.")
        self._plan("write", name, after, times, choose=lambda _method, _size: Fault(part=taken))

    def stall(
        self, method: str, seconds: float, *, times: int | None = None, after: int = 0, name: str | None = None
    ) -> None:
        """Let calls sleep before they do anything."""
        self._plan(method, name, after, times, pause=lambda: time.sleep(seconds))

    @contextmanager
    def hold(self, method: str, *, name: str | None = None, after: int = 0) -> Iterator[Hold]:
        """Let calls wait within the `with`, or until the `Hold` is released: a stall that ends when a test says so."""
        hold = Hold()
        self._plan(method, name, after, None, pause=hold.wait)
        try:
            yield hold
        finally:
            hold.release()

    def random(
        self,
        rng: random.Random,
        rate: float,
        *,
        errors: Sequence[int] = _DISK_ERRORS,
        methods: Sequence[str] = FAILING,
    ) -> None:
        """Let this share of all calls fail, in any flavour; a write may also be short."""

        def choose(method: str, size: int) -> Fault | None:
            if rng.random() >= rate:
                return None
            error = rng.choice(errors)
            if method == "write" and size and rng.random() < 1 / 2:
                return Fault(rng.choice((None, error)), part=rng.randint(1, size))
            if method == "replace" and rng.random() < 1 / 2:
                return Fault(error, part=rng.randint(1, REPLACE_STEPS))
            return Fault(error, done=rng.random() < 1 / 2)

        for method in methods:
            self._plan(method, None, 0, None, choose=choose)

    def clear(self) -> None:
        """Let nothing fail any more. The counts stay, and a `Hold` goes on until it is released."""
        with self._mutex:
            self._rules.clear()

    def meet(self, method: str, names: Sequence[str], size: int = 0) -> Fault | None:
        """Count a call, stall it where that is planned, and return what happens to it."""
        with self._mutex:
            self.calls[method] += 1
            pauses, fault = [], None
            for rule in self._rules:
                if not rule.applies(method, names) or (rule.choose is not None and fault is not None):
                    continue
                if rule.take():
                    if rule.pause is not None:
                        pauses.append(rule.pause)
                    if rule.choose is not None:
                        fault = rule.choose(method, size)
            if fault is not None and fault.error is not None:
                self.failed[method] += 1
        for pause in pauses:
            pause()
        return fault

    def _plan(
        self,
        method: str,
        name: str | None,
        after: int,
        times: int | None,
        *,
        choose: Callable[[str, int], Fault | None] | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self._check(method)
        rule = _Rule(method, name, after, _FOR_EVER if times is None else times, choose, pause)
        with self._mutex:
            self._rules.append(rule)

    def _check(self, method: str) -> None:
        if method not in (*FAILING, "lock", "*"):
            raise ConfigError(f"no call {method!r} to fail.", hint=f"Use one of {', '.join(FAILING)}, lock or *.")
