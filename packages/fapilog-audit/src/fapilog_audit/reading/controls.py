"""Entries of the log itself that stand right before a place in a block of lines."""

from __future__ import annotations

from fapilog_audit.reading.matching import is_control

__all__ = ["Lines", "controls_before"]

Lines = tuple[bytes, ...]


def controls_before(data: bytes, end: int) -> tuple[Lines, bool]:
    """Return the control lines right before a place in a block, and whether another line stands before them."""
    lines: list[bytes] = []
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        line = data[start:end]
        if not is_control(line):
            return tuple(reversed(lines)), True
        lines.append(line)
        end = start
    return tuple(reversed(lines)), False
