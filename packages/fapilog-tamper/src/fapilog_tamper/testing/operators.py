"""Changes that somebody with write access may make to a sealed log, for the tests of those who keep one.

Each operator changes the files of a folder in place and says what it did. It has no key and computes nothing anew, so
a verifier with the right key must not call the result intact:

    folder = shutil.copytree("audit-log", tmp_path / "copy")
    for name, change in OPERATORS.items(): ...

Two of them take something from the end, which only a head or a manifest shows. Uncompressed segments are changed, and
heads in the folder `.fapilog` of the log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.errors import FormatError, TamperError
from fapilog_tamper.head import format_head, parse_head
from fapilog_tamper.layout import STATE_FOLDER, is_segment_name, manifest_name

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = [
    "OPERATORS",
    "NothingToChangeError",
    "Operator",
    "cut_tail",
    "delete_line",
    "duplicate_line",
    "edit_payload",
    "flip_payload_byte",
    "remove_last_segment",
    "set_head_back",
    "swap_lines",
]

Operator = Callable[["Path", "random.Random"], str]
"""Changes a folder and returns one sentence that says how. Raises `NothingToChangeError` and then changed nothing."""


class NothingToChangeError(TamperError):
    """A folder holds nothing that the operator could change."""

    default_hint = "Give it the folder of a sealed log that is large enough."


def flip_payload_byte(folder: Path, rng: random.Random) -> str:
    """Change one bit of a payload."""
    path, lines = _any_segment(folder, rng, least=1)
    found = [at for at, line in enumerate(lines) if _size_of_payload(line) > len("{}")]
    if not found:
        raise NothingToChangeError(f"no payload but {{}} in {path}.")
    at = rng.choice(found)
    # The braces are left alone: the closing one does not stand in the line as such.
    place = rng.randrange(1, _size_of_payload(lines[at]) - 1)
    line = bytearray(lines[at])
    line[place] ^= 1
    lines[at] = bytes(line)
    path.write_bytes(b"".join(lines))
    return f"The lowest bit of byte {place} of line {at + 1} of {path.name} was changed."


def edit_payload(folder: Path, rng: random.Random) -> str:
    """Write another event in place of one, under the same integrity block."""
    path, lines = _any_segment(folder, rng, least=1)
    at = rng.randrange(len(lines))
    size = _size_of_payload(lines[at])
    block = lines[at][size - 1 :].removeprefix(b",")
    forged = json.dumps({"forged": rng.getrandbits(64)}).encode()
    lines[at] = forged[:-1] + b"," + block
    path.write_bytes(b"".join(lines))
    return f"The event on line {at + 1} of {path.name} was replaced by {forged.decode()}."


def delete_line(folder: Path, rng: random.Random) -> str:
    """Delete a line that stands between two others."""
    path, lines = _any_segment(folder, rng, least=3)
    at = rng.randrange(1, len(lines) - 1)
    del lines[at]
    path.write_bytes(b"".join(lines))
    return f"Line {at + 1} of {path.name} was deleted."


def swap_lines(folder: Path, rng: random.Random) -> str:
    """Swap two lines of a segment."""
    path, lines = _any_segment(folder, rng, least=2)
    one, two = sorted(rng.sample(range(len(lines)), 2))
    lines[one], lines[two] = lines[two], lines[one]
    path.write_bytes(b"".join(lines))
    return f"Lines {one + 1} and {two + 1} of {path.name} were swapped."


def duplicate_line(folder: Path, rng: random.Random) -> str:
    """Write a line a second time, right behind itself or further on."""
    path, lines = _any_segment(folder, rng, least=1)
    at = rng.randrange(len(lines))
    to = rng.randint(at + 1, len(lines))
    lines.insert(to, lines[at])
    path.write_bytes(b"".join(lines))
    return f"Line {at + 1} of {path.name} was written again as line {to + 1}."


def cut_tail(folder: Path, rng: random.Random) -> str:
    """Cut lines from the end of the last segment of a stream; a head or the segment's manifest shows it."""
    path = _any_last_segment(folder, rng, least=2)
    lines = path.read_bytes().splitlines(keepends=True)
    left = rng.randrange(1, len(lines))
    path.write_bytes(b"".join(lines[:left]))
    return f"The last {len(lines) - left} lines of {path.name} were cut off."


def remove_last_segment(folder: Path, rng: random.Random) -> str:
    """Remove the last segment of a stream, with its manifest; a head or another stream shows it."""
    path = _any_last_segment(folder, rng, least=1)
    path.unlink()
    path.with_name(manifest_name(path.name)).unlink(missing_ok=True)
    return f"{path.name} was removed, with its manifest."


def set_head_back(folder: Path, rng: random.Random) -> str:
    """Let a head speak of an earlier entry. Its mac shows it; the head of an unkeyed stream has none."""
    heads = []
    for path in sorted((folder / STATE_FOLDER).glob("*.chainstate")):
        try:
            head = parse_head(path.read_bytes())
        except FormatError:
            continue
        earlier = [
            (segment, block)
            for segment, blocks in _segments(folder)
            for block in blocks
            if block.stream == head.stream and head.first_seq <= block.seq < head.seq
        ]
        if earlier:
            heads.append((path, head, earlier))
    if not heads:
        raise NothingToChangeError(f"no head of two entries or more in {folder / STATE_FOLDER}.")
    path, head, earlier = rng.choice(heads)
    segment, block = rng.choice(earlier)
    text = json.loads(format_head(head))
    text |= {"seq": block.seq, "prev_chain_hash": b64url_encode(block.chain_hash), "segment": segment.name, "offset": 0}
    path.write_bytes(json.dumps(text, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    return f"{path.name} was set back from seq {head.seq} to seq {block.seq}."


OPERATORS: Final[Mapping[str, Operator]] = {
    operator.__name__: operator
    for operator in (
        flip_payload_byte,
        edit_payload,
        delete_line,
        swap_lines,
        duplicate_line,
        cut_tail,
        remove_last_segment,
        set_head_back,
    )
}
"""All operators by name."""


def _segments(folder: Path) -> list[tuple[Path, list[Integrity]]]:
    """Return the uncompressed segments with the blocks of their lines, by stream and seq."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_segment_name(path.name) and path.is_file():
            try:
                blocks = [split(line)[1] for line in path.read_bytes().splitlines(keepends=True)]
            except FormatError:
                continue
            if blocks:
                found.append((path, blocks))
    return sorted(found, key=lambda one: (one[1][0].stream, one[1][0].seq))


def _any_segment(folder: Path, rng: random.Random, *, least: int) -> tuple[Path, list[bytes]]:
    paths = [path for path, blocks in _segments(folder) if len(blocks) >= least]
    return _lines_of_one(folder, paths, rng, least)


def _any_last_segment(folder: Path, rng: random.Random, *, least: int) -> Path:
    last = {blocks[0].stream: (path, blocks) for path, blocks in _segments(folder)}
    paths = [path for path, blocks in last.values() if len(blocks) >= least]
    return _lines_of_one(folder, paths, rng, least)[0]


def _lines_of_one(folder: Path, paths: list[Path], rng: random.Random, least: int) -> tuple[Path, list[bytes]]:
    if not paths:
        raise NothingToChangeError(f"no uncompressed segment of {least} lines or more in {folder}.")
    path = rng.choice(paths)
    return path, path.read_bytes().splitlines(keepends=True)


def _size_of_payload(line: bytes) -> int:
    return len(split(line)[0])
