"""The checks of `--deep`: what the payload of an entry is as JSON. The seal holds whatever the answer is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

from fapilog_tamper.verify.report import Note, NoteCode

__all__ = ["PayloadFacts", "inspect_payload"]


@dataclass(frozen=True, slots=True)
class PayloadFacts:
    """`defect`: why no writer makes such a payload. `duplicate`: a member name that stands twice in one object."""

    defect: str | None = None
    duplicate: str | None = None
    timestamp: str | None = None

    def note(self, file: str, line: int, seq: int) -> Note:
        """Return the note about the duplicate member."""
        return Note(NoteCode.DUPLICATE_KEY, f"the member {self.duplicate!r} stands twice", file, line, seq)


def inspect_payload(payload: bytes) -> PayloadFacts:
    """Parse a payload and tell what is odd about it."""
    duplicates: list[str] = []

    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name, value in members:
            if name in seen and not duplicates:
                duplicates.append(name)
            seen[name] = value
        return seen

    try:
        # Given bytes, json would take lone surrogates in UTF-8 for text. As integers, numbers of more than 4,300
        # digits would be refused; their value is of no interest here.
        text = payload.decode("utf-8")
        record = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse, parse_int=float)
    except RecursionError:
        # How deep Python reads depends on who calls: that is no defect of the payload.
        return PayloadFacts()
    except ValueError:
        return PayloadFacts(defect="the payload is not UTF-8 JSON")
    if "integrity" in record:
        return PayloadFacts(defect="the payload has a member integrity of its own")
    timestamp = record.get("timestamp")
    return PayloadFacts(
        duplicate=duplicates[0] if duplicates else None,
        timestamp=_text(timestamp) if isinstance(timestamp, str) else None,
    )


def _text(value: str) -> str:
    """Return a string as canonical text has it: lone surrogates become U+FFFD."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
