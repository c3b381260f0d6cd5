"""Which lines a query wants: looked for in the raw bytes first, then in what they say.

Most lines are refused unparsed, whole blocks of them at once. That must never lose a line, however it is spelled: a
text can stand in JSON as itself or, in part, as an escape, so a line that holds such an escape is parsed. Lines of the
trail hold one for control characters only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import orjson

from fapilog_audit.event import AuditEvent, NotAnEventError
from fapilog_audit.kinds import AuditLogLevel
from fapilog_audit.reading.moments import moment_of
from fapilog_tamper.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapilog_audit.reading.query import Query

__all__ = ["CONTROL_MARK", "Matcher", "Members", "UnreadableError", "all_lines", "is_control", "read_members", "seq_of"]

Members = dict[str, Any]

CONTROL_MARK: Final = b'"sealed_log"'
_BLOCK: Final = b'"integrity":{"v":'
_SEQ: Final = re.compile(rb'"integrity":\{"v":[0-9]{1,16},"stream":"[^"\\]{1,720}","seq":([0-9]{1,16}),', re.ASCII)
_ESCAPE: Final = b"\\u"
_EXACT: Final = ("request_id", "user_id", "tenant_id", "component")


class UnreadableError(ValueError):
    """A line is not a JSON object."""


def read_members(line: bytes) -> Members:
    """Return the members of a line.

    Raises:
        UnreadableError: it is not a JSON object.
    """
    try:
        parsed = orjson.loads(line)
    except ValueError:
        # JSON that orjson refuses: lone surrogates, very long numbers.
        parsed = _parse_slowly(line, parse_int=float)
    if not isinstance(parsed, dict):
        raise UnreadableError
    return parsed


def _parse_slowly(line: bytes, **how: Any) -> Any:  # noqa: ANN401 (whatever the JSON held)
    try:
        return json.loads(line, **how)
    except (ValueError, RecursionError):
        raise UnreadableError from None


def seq_of(line: bytes) -> int | None:
    """Return the seq of a sealed line, None where there is none."""
    found = _SEQ.search(line, max(0, line.rfind(_BLOCK)))
    return None if found is None else int(found[1])


def is_control(line: bytes) -> bool:
    """Tell whether a line is an entry of the log itself."""
    if CONTROL_MARK not in line:
        return False
    try:
        return "sealed_log" in read_members(line)
    except UnreadableError:
        return False


class _Marks(NamedTuple):
    """Bytes of which a wanted line holds at least one; `folded`: in small letters."""

    marks: tuple[bytes, ...]
    folded: bool = False

    @classmethod
    def of(cls, values: tuple[str, ...], *, folded: bool = False, quoted: bool = True) -> Self:
        """Return the marks of lines that hold one of `values`."""
        quote = '"' if quoted else ""
        marks = {_ESCAPE}
        for value in values:
            text = value.lower() if folded else value
            if any(char in '"\\' or char < " " for char in text):
                # Never as itself.
                marks.add(b"\\")
                continue
            if "/" in text:
                marks.add(b"\\/")
            # Of text with other letters than ASCII, the folded bytes say nothing: those lines are parsed.
            if not folded or text.isascii():
                marks.add(f"{quote}{text}{quote}".encode("utf-8", "surrogatepass"))
        return cls(tuple(marks), folded)

    def seen_in(self, line: bytes) -> bool:
        """Tell whether a line may be wanted."""
        if self.folded:
            if not line.isascii():
                return True
            line = line.lower()
        return any(mark in line for mark in self.marks)


class Matcher:
    """A query, made ready to be asked of many lines. Any thread may ask."""

    def __init__(self, query: Query, *, event_id: str | None = None) -> None:
        self.start, self.end = query.start, query.end
        self.include_control = query.include_control
        self._levels = query.levels
        self._exact: dict[str, tuple[str, ...]] = {}
        if event_id is not None:
            self._exact["event_id"] = (event_id,)
        for name in _EXACT:
            value = getattr(query, name)
            if value is not None:
                self._exact[name] = (value,)
        if query.types is not None:
            self._exact["event_type"] = query.types
        self._text = None if query.text is None else query.text.lower()
        groups = [_Marks.of(values) for values in self._exact.values()]
        if query.text is not None:
            groups.append(_Marks.of((query.text,), folded=True, quoted=False))
        if self._levels is not None and AuditLogLevel.INFO not in self._levels:
            # An event that tells no level is of level info.
            groups.append(_Marks.of(self._levels, folded=True, quoted=False))
        if self.include_control:
            groups = [group._replace(marks=(*group.marks, CONTROL_MARK)) for group in groups]
        self._groups = groups

    @property
    def takes_all(self) -> bool:
        """Whether every event is wanted."""
        return not (self._exact or self._groups or self._levels or self.start or self.end)

    def lines(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each line of a block of whole lines that may be wanted."""
        if not self._groups:
            yield from all_lines(data)
            return
        first, *rest = self._groups
        folded = data.lower() if first.folded else data
        spans = all_lines(data) if first.folded and not data.isascii() else _lines_with(folded, first.marks)
        for start, end in spans:
            if all(group.seen_in(data[start:end]) for group in rest):
                yield start, end

    def wants(self, members: Members, line: bytes) -> bool:
        """Tell whether an event is wanted, by what it says."""
        if "sealed_log" in members:
            if not self.include_control:
                return False
            control = _control_members(line)
            if control is None:
                return False
            members = control
        return (
            all(members.get(name) in values for name, values in self._exact.items())
            and self._is_of_level(members)
            and self._is_in_time(members)
            and (self._text is None or _holds(_spelled(line), self._text))
        )

    def wants_event(self, event: AuditEvent) -> bool:
        """Tell whether an event that was read is wanted."""
        line = event.sealed_line
        return line is not None and self.wants(read_members(line), line)

    def _is_of_level(self, members: Members) -> bool:
        if self._levels is None:
            return True
        level = members.get("log_level", AuditLogLevel.INFO)
        return isinstance(level, str) and level.strip().lower() in self._levels

    def _is_in_time(self, members: Members) -> bool:
        if self.start is None and self.end is None:
            return True
        moment = moment_of(members.get("timestamp"))
        return (
            moment is not None
            and (self.start is None or moment >= self.start)
            and (self.end is None or moment <= self.end)
        )


def _control_members(line: bytes) -> Members | None:
    """Return an entry of the log itself in the words of an event."""
    try:
        event = AuditEvent.from_line(line)
    except (FormatError, NotAnEventError):
        return None
    stamps = (event.metadata.get(name) for name in ("ts", "last_ts"))
    stamp = next((one for one in stamps if isinstance(one, str)), None)
    return {"event_type": event.event_type, "component": event.component, "timestamp": stamp}


def _spelled(line: bytes) -> object:
    """Return the members of a line, its numbers as they are written, without its integrity block."""
    parsed = _parse_slowly(line, parse_int=str, parse_float=str)
    if isinstance(parsed, dict):
        parsed.pop("integrity", None)
    return parsed


def _holds(value: object, text: str) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if text in one.lower():
                return True
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return False


def all_lines(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each line of a block of whole lines."""
    start = 0
    while end := data.find(b"\n", start) + 1:
        yield start, end
        start = end


def _lines_with(data: bytes, marks: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each line that holds one of `marks`."""
    found = {mark: at for mark in marks if (at := data.find(mark)) >= 0}
    while found:
        at = min(found.values())
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at) + 1
        yield start, end
        for mark, last in tuple(found.items()):
            if last >= end:
                continue
            at = data.find(mark, end)
            if at < 0:
                del found[mark]
            else:
                found[mark] = at
