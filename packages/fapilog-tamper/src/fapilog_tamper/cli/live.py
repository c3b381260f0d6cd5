"""What a folder says of the writers of its streams: who has them open, and how far heads lag behind.

Nothing is written, not even a lock file. Whether a writer holds a slot is asked with a shared lock that is given back
at once, on a descriptor that can only read. A writer that opens in that very moment would take the next slot, so each
lock is tried once.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import parse_head
from fapilog_tamper.layout import STATE_FOLDER, head_name, lock_name
from fapilog_tamper.names import check_stream, percent_decode
from fapilog_tamper.verify.overview import Overview, Problem, ScopeView, SegmentView
from fapilog_tamper.verify.source import SourceError, read_small

__all__ = ["LiveView", "Writer", "view_live"]

_HALF: Final = "bytes stand behind its last whole line"
_EMPTY: Final = "it is empty"
_NONE: Final = "there is no segment"
_LOCK: Final = ".lock"


class Writer(StrEnum):
    """Whether a writer has a stream open."""

    OPEN = "open"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LiveView:
    """The writing end of one stream.

    Attributes:
        stream: its name.
        writer: whether somebody has it open.
        last_seq: its last whole entry, None where there is none or it cannot be read.
        head_seq: the entry of its stored head.
        head_lag: entries behind the stored head; None where either is not known.
        open_segments: files without a manifest.
        tail: what stands behind the last whole line, in words.
    """

    stream: str
    writer: Writer
    last_seq: int | None
    head_seq: int | None
    head_lag: int | None
    open_segments: tuple[str, ...]
    tail: str | None


def view_live(overview: Overview, state_dir: Path | None) -> tuple[Overview, list[list[LiveView]]]:
    """Return the writing ends of the streams of each scope, and the overview without what is normal under a writer."""
    scopes: list[ScopeView] = []
    lives: list[list[LiveView]] = []
    for scope in overview.scopes:
        folder = Path(scope.name)
        if not folder.is_dir():
            scopes.append(scope)
            lives.append([])
            continue
        state = folder / STATE_FOLDER if state_dir is None else state_dir
        live = [_view(scope, stream, state) for stream in _streams(scope, state)]
        live = [one for one in live if one.writer is not Writer.NONE or _is_known(scope, one.stream)]
        scopes.append(_settled(scope, {one.stream for one in live if one.writer is Writer.OPEN}))
        lives.append(live)
    return Overview(tuple(scopes)), lives


def _is_known(scope: ScopeView, stream: str) -> bool:
    return any(view.stream == stream for view in scope.streams)


def _streams(scope: ScopeView, state: Path) -> list[str]:
    names = {view.stream for view in scope.streams}
    with suppress(OSError):
        for path in state.iterdir():
            if path.name.endswith(_LOCK):
                with suppress(FormatError):
                    name = percent_decode(path.name.removesuffix(_LOCK))
                    check_stream(name)
                    names.add(name)
    return sorted(names)


def _view(scope: ScopeView, stream: str, state: Path) -> LiveView:
    segments = [segment for segment in scope.segments if segment.stream == stream and not segment.mixed]
    last = max((segment.last_seq for segment in segments if segment.last_seq is not None), default=None)
    head = _head_seq(scope, stream, state)
    writer = _writer(state / lock_name(stream))
    return LiveView(
        stream=stream,
        writer=writer,
        last_seq=last,
        head_seq=head,
        head_lag=None if head is None or last is None else max(0, last - head),
        open_segments=tuple(segment.file for segment in segments if segment.manifest is None),
        tail=_tail(segments, writer),
    )


def _head_seq(scope: ScopeView, stream: str, state: Path) -> int | None:
    known = next((view.head_seq for view in scope.streams if view.stream == stream), None)
    if known is None:
        with suppress(SourceError, FormatError):
            return parse_head(read_small(state / head_name(stream), MAX_DOCUMENT)).seq
    return known


def _tail(segments: Sequence[SegmentView], writer: Writer) -> str | None:
    if not any(_HALF in (segment.problem or "") for segment in segments if segment.manifest is None):
        return None
    if writer is Writer.OPEN:
        return "a line is being written"
    return "a torn line, as a crash leaves it; it is put aside when the stream is opened"


def _settled(scope: ScopeView, written: set[str]) -> ScopeView:
    """Return a scope without the problems that are none while its writers write."""
    if not written:
        return scope
    segments = tuple(replace(one, problem=None) if _is_normal(one, written) else one for one in scope.segments)
    normal = {(one.problem, one.file) for one in scope.segments if _is_normal(one, written)} | {(_NONE, scope.name)}
    problems: tuple[Problem, ...] = tuple(one for one in scope.problems if (one.message, one.file) not in normal)
    return replace(scope, segments=segments, problems=problems)


def _is_normal(segment: SegmentView, written: set[str]) -> bool:
    if segment.problem == _EMPTY:
        return True
    return segment.problem == _HALF and segment.stream in written and segment.manifest is None


def _writer(lock: Path) -> Writer:
    try:
        import fcntl
    except ImportError:
        return Writer.UNKNOWN
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Writer.NONE
    except OSError:
        return Writer.UNKNOWN
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except BlockingIOError:
        return Writer.OPEN
    except OSError:
        return Writer.UNKNOWN
    finally:
        os.close(fd)
    return Writer.NONE
