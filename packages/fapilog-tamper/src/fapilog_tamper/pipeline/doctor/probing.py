"""Probes: events that are sent through the logger, looked for in the files of the sealed log, and verified there."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from fapilog.core.levels import get_level_priority

from fapilog_tamper.errors import ExamineError
from fapilog_tamper.keys import Keyring
from fapilog_tamper.layout import is_segment_name
from fapilog_tamper.pipeline.config import open_keyring
from fapilog_tamper.pipeline.doctor.case import key_state
from fapilog_tamper.verify.log import verify_path
from fapilog_tamper.verify.source import SourceError, open_source, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fapilog_tamper.pipeline.doctor.case import Case, KeyState
    from fapilog_tamper.pipeline.options import SinkOptions
    from fapilog_tamper.verify.report import VerifyReport

__all__ = ["LEVELS", "MESSAGE", "Probed", "probe"]

MESSAGE: Final = "fapilog-tamper doctor probe"
LEVELS: Final = ("INFO", "ERROR", "AUDIT", "SECURITY")

_OPAQUE: Final = b'"$base64"'
_MARKED: Final = re.compile(rb'"doctor_probe":"[0-9a-f]{32}"')


@dataclass(slots=True)
class Probed:
    """What became of the probes.

    Attributes:
        sent: the levels that were sent.
        found: the levels that are in the sealed log.
        streams: the streams in which they are.
        opaque: new entries that cannot be read, because a processor made something else of the events.
        dropped: how many events fapilog says it dropped.
        reports: the verification of each of the streams.
        key: the key of the sealed log; None where there is no such log.
    """

    sent: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    opaque: int = 0
    dropped: int = 0
    reports: list[VerifyReport] = field(default_factory=list)
    key: KeyState | None = None

    @property
    def could_be_sealed(self) -> bool:
        """Whether there is a log that seals, with a key."""
        return self.key is not None and self.key.key is not None


def probe(case: Case, seconds: float) -> Probed:
    """Send probes, drain the logger, and look for them.

    Raises:
        ExamineError: the logger does not end in time, or the files cannot be read.
    """
    probed = Probed()
    mark = uuid4().hex
    options = case.log()
    before = {} if options is None else _sizes(options.directory)
    with _own_stdout():
        if not case.was_drained:
            probed.sent = tuple(level for level in LEVELS if get_level_priority(level) >= case.threshold())
            _send(case, probed.sent, mark)
            probed.dropped = _drain(case.logger, seconds)
    # Only now, since a sink that routes makes its own when it is started.
    options = case.log()
    if options is None:
        return probed
    probed.key = key_state(options)
    if probed.sent:
        try:
            _look(probed, options.directory, before, mark)
            probed.reports = [_verify(options, probed.key, stream) for stream in probed.streams]
        except (OSError, SourceError) as error:
            raise ExamineError(f"the sealed log in {options.directory} cannot be read: {error}.") from error
    return probed


@contextmanager
def _own_stdout() -> Iterator[None]:
    """Keep what sinks write to stdout away from what the command writes there."""
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")):
        yield


def _send(case: Case, levels: tuple[str, ...], mark: str) -> None:
    async def send() -> None:
        for level in levels:
            await getattr(case.logger, level.lower())(MESSAGE, doctor_probe=mark)

    if case.is_async:
        asyncio.run(send())
        return
    for level in levels:
        getattr(case.logger, level.lower())(MESSAGE, doctor_probe=mark)


def _drain(logger: Any, seconds: float) -> int:  # noqa: ANN401 (a logger of fapilog)
    """Drain a logger; return how many events it says it dropped."""
    results: list[Any] = []

    def drain() -> None:
        try:
            results.append(asyncio.run(logger.stop_and_drain()))
        except Exception as error:  # noqa: BLE001 (told below, in the thread that waits)
            results.append(error)

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise ExamineError(
            f"the logger was not drained within {seconds:g} seconds.", hint="A sink hangs: try without the others."
        )
    if isinstance(results[0], Exception):
        raise ExamineError(f"the logger cannot be drained: {results[0]}.") from results[0]
    return int(results[0].dropped)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    return {path.name: path.stat().st_size for path in folder.iterdir() if is_segment_name(path.name)}


def _look(probed: Probed, folder: Path, before: Mapping[str, int], mark: str) -> None:
    found, streams = set(), set()
    for name, size in sorted(_sizes(folder).items()):
        if size == before.get(name):
            continue
        for line in _lines(folder / name, before.get(name, 0)):
            # A redactor may have taken the mark; a line with another is of an earlier examination.
            if mark.encode() in line or (MESSAGE.encode() in line and not _MARKED.search(line)):
                level, stream = _facts(line)
                found.add(level)
                streams.add(stream)
            elif _OPAQUE in line:
                probed.opaque += 1
    probed.found = tuple(level for level in LEVELS if level in found)
    probed.streams = tuple(sorted(stream for stream in streams if stream is not None))


def _lines(path: Path, start: int) -> Iterator[bytes]:
    with open_source(path) as source:
        chunks = source.plain_chunks(start, source.size) if source.packing == "plain" else source.chunks()
        for block in whole_lines(chunks):
            yield from block.data.splitlines()


def _facts(line: bytes) -> tuple[str | None, str | None]:
    """Return level and stream of a line that holds a probe."""
    try:
        entry = json.loads(line)
        stream = entry["integrity"]["stream"]
        event = entry.get("log", entry)
        return event.get("level"), stream if isinstance(stream, str) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None


def _verify(options: SinkOptions, state: KeyState, stream: str) -> VerifyReport:
    ring = open_keyring(options) or Keyring()
    keyring = ring if state.key is None else ring.with_key(state.key)
    return verify_path(options.directory, keyring=keyring, stream=stream)
