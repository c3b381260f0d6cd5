"""What there is to verify: heads first, then the list of files, then the manifests among them.

The order matters in a folder that is being written to: a head that was read first never speaks of entries that the
files listed later do not hold. Everything is read, nothing is opened for writing, links are not followed. Which
manifest belongs to which segment is decided by stream and seq; names only break ties.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from fapilog_tamper.document import MAX_DOCUMENT
from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.errors import FormatError
from fapilog_tamper.head import Head, parse_head
from fapilog_tamper.layout import (
    STATE_FOLDER,
    is_manifest_name,
    is_segment_name,
    manifest_name,
    parse_head_name,
    parse_segment_name,
    plain_name,
)
from fapilog_tamper.manifest import Manifest, parse_manifest
from fapilog_tamper.verify.report import Code, Finding, Note, NoteCode
from fapilog_tamper.verify.source import CHUNK, MAX_LINE, SourceError, open_source, read_small, whole_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

__all__ = ["FoundHead", "FoundManifest", "Scope", "Segment", "take_stock"]


@dataclass(frozen=True, slots=True)
class FoundHead:
    """A head and where it was found. `given`: the caller named it, so the log must reach it."""

    file: str
    head: Head
    given: bool


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A manifest and where it was found."""

    path: Path
    manifest: Manifest


@dataclass(slots=True)
class Segment:
    """A file of entries; `first` is the block of its first line, None where that line cannot be split."""

    path: Path
    first: Integrity | None = None
    manifest: FoundManifest | None = None

    @property
    def file(self) -> str:
        """The name of the file in reports: its path as the caller gave it."""
        return str(self.path)


@dataclass(slots=True)
class Scope:
    """What is verified together: one folder, or a list of files. `whole`: nothing of it was left out by the caller."""

    name: str
    whole: bool
    segments: list[Segment] = field(default_factory=list)
    heads: list[FoundHead] = field(default_factory=list)
    manifests: list[FoundManifest] = field(default_factory=list)
    unpaired: list[FoundManifest] = field(default_factory=list)
    siblings: list[Integrity | None] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    listed: bool = True
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def take_stock(
    paths: Sequence[Path], heads: Sequence[Path] = (), stream: str | None = None, manifest: Path | None = None
) -> list[Scope]:
    """Return the scopes of `paths`: each folder is one, all files together are one.

    Args:
        paths: files and folders as the caller gave them.
        heads: head files that the caller vouches for; they hold in every scope that has their stream.
        stream: look at this stream only.
        manifest: the manifest of the one file among `paths`, wherever it lies.
    """
    # os.path answers for any path where Path raises: names too long, NUL, folders without rights, loops of links.
    files = [path for path in paths if not os.path.isdir(path)]  # noqa: PTH112
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112
    scopes = [_folder_scope(folder, heads) for folder in folders]
    if files:
        scopes.append(_file_scope(files, heads, manifest))
    for scope in scopes:
        if stream is not None:
            _keep_stream(scope, stream)
        _pair(scope, manifest)
    return scopes


def _folder_scope(folder: Path, heads: Sequence[Path]) -> Scope:
    scope = Scope(str(folder), whole=True)
    _read_given(scope, heads)
    _read_state(scope, folder / STATE_FOLDER)
    names = _list_folder(scope, folder, is_segment_name, is_manifest_name)
    scope.listed = names is not None
    for name in names or ():
        if is_manifest_name(name):
            _read_manifest(scope, folder / name)
    for name in names or ():
        if is_segment_name(name):
            _add_segment(scope, folder / name)
    return scope


def _file_scope(files: Sequence[Path], heads: Sequence[Path], manifest: Path | None) -> Scope:
    scope = Scope(str(files[0]) if len(files) == 1 else f"{len(files)} files", whole=False)
    _read_given(scope, heads)
    given = {os.path.abspath(path) for path in files}  # noqa: PTH100 (see take_stock)
    for folder in dict.fromkeys(path.parent for path in files):
        _read_state(scope, folder / STATE_FOLDER)
        if scope.heads:
            scope.siblings += _peek_siblings(folder, given)
    for path in dict.fromkeys(files):
        sidecar = manifest or path.parent / manifest_name(path.name)
        if manifest or os.path.lexists(sidecar):
            _read_manifest(scope, sidecar)
        _add_segment(scope, path)
    streams = {segment.first.stream if segment.first else None for segment in scope.segments}
    if None not in streams:
        # Heads of streams that were not asked for say nothing about these files.
        scope.heads = [found for found in scope.heads if found.given or found.head.stream in streams]
    return scope


def _read_given(scope: Scope, heads: Sequence[Path]) -> None:
    for path in heads:
        _read_head(scope, path, given=True)


def _read_state(scope: Scope, folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink():
        scope.notes.append(Note(NoteCode.PASSED_OVER, "not a regular folder: passed over", str(folder)))
        return
    for name in _list_folder(scope, folder, _is_head_name) or ():
        _read_head(scope, folder / name, given=False)


def _is_head_name(name: str) -> bool:
    return parse_head_name(name) is not None


def _list_folder(scope: Scope, folder: Path, *wanted: Callable[[str], bool]) -> list[str] | None:
    """Return the names of the regular files of a folder that any of `wanted` takes, sorted; None if it cannot tell.

    Hazard: reading a folder is not one step. While a writer compresses, the new name may come behind the place that was
    read and the old one be gone before it, so the folder is read twice.
    """
    noted = len(scope.notes)
    before = _list_once(scope, folder, wanted)
    del scope.notes[noted:]
    names = None if before is None else _list_once(scope, folder, wanted)
    if before is None or names is None:
        return None
    here = {plain_name(name) for name in names}
    return sorted([*names, *(name for name in before if name not in names and plain_name(name) not in here)])


def _list_once(scope: Scope, folder: Path, wanted: tuple[Callable[[str], bool], ...]) -> set[str] | None:
    names: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not any(want(entry.name) for want in wanted):
                    continue
                if entry.is_file(follow_symlinks=False):
                    names.add(entry.name)
                else:
                    text = "not a regular file: passed over"
                    scope.notes.append(Note(NoteCode.PASSED_OVER, text, entry.path))
    except OSError as error:
        scope.findings.append(Finding(Code.UNREADABLE, f"the folder cannot be listed: {error.strerror}", str(folder)))
        return None
    return names


def _read_head(scope: Scope, path: Path, *, given: bool) -> None:
    try:
        scope.heads.append(FoundHead(str(path), parse_head(read_small(path, MAX_DOCUMENT)), given))
    except SourceError as error:
        scope.findings.append(Finding(Code.UNREADABLE, f"the head cannot be read: {error}", str(path)))
    except FormatError as error:
        code = Code.VERSION_UNKNOWN if error.newer else Code.HEAD_MALFORMED
        hint = ""
        if given and not error.newer:
            # What the caller names may be any file: that accuses nobody.
            code, hint = Code.UNREADABLE, "Is this the right file? A head is named STREAM.chainstate."
        scope.findings.append(Finding(code, f"head: {error.message}", str(path), hint=hint))


def _read_manifest(scope: Scope, path: Path) -> None:
    try:
        scope.manifests.append(FoundManifest(path, parse_manifest(read_small(path, MAX_DOCUMENT))))
    except SourceError as error:
        scope.findings.append(Finding(Code.UNREADABLE, f"the manifest cannot be read: {error}", str(path)))
    except FormatError as error:
        code = Code.VERSION_UNKNOWN if error.newer else Code.MANIFEST_MALFORMED
        scope.findings.append(Finding(code, f"manifest: {error.message}", str(path)))


def _add_segment(scope: Scope, path: Path) -> None:
    try:
        if path.stat().st_size == 0 and os.path.isfile(path):  # noqa: PTH113
            scope.empty.append(str(path))
            return
    except (OSError, ValueError):
        pass
    scope.segments.append(Segment(path, _peek(path)))


def _peek(path: Path) -> Integrity | None:
    """Return the block of a file's first line, where it can be split."""
    try:
        with open_source(path) as source:
            # A line that is longer than any entry says nothing; it is not read to its end for that.
            for block in whole_lines(islice(source.chunks(), MAX_LINE // CHUNK + 2)):
                return split(block.data[: block.data.find(b"\n") + 1])[1]
    except (SourceError, FormatError):
        pass
    return None


def _peek_siblings(folder: Path, given: Collection[str]) -> list[Integrity | None]:
    """Return the first blocks of the segments beside the given files: what was not asked for is not missing."""
    try:
        segments = [path for path in folder.iterdir() if is_segment_name(path.name)]
        paths = [path for path in segments if os.path.abspath(path) not in given]  # noqa: PTH100 (see take_stock)
    except OSError:
        return []
    return [_peek(path) for path in paths if _holds_bytes(path)]


def _holds_bytes(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _keep_stream(scope: Scope, stream: str) -> None:
    scope.segments = [segment for segment in scope.segments if _may_hold(segment, stream)]
    # What the documents of other streams say of this one is kept.
    scope.manifests = [one for one in scope.manifests if _speaks_of(stream, one.manifest)]
    scope.heads = [one for one in scope.heads if _speaks_of(stream, one.head)]


def _speaks_of(stream: str, document: Head | Manifest) -> bool:
    return document.stream == stream or any(name == stream for name, _, _ in document.others)


def _may_hold(segment: Segment, stream: str) -> bool:
    """Tell whether a segment is of a stream; where its first line cannot say, its name may."""
    if segment.first is not None:
        return segment.first.stream == stream
    parsed = parse_segment_name(plain_name(segment.path.name))
    return parsed is None or parsed[0] == stream


def _pair(scope: Scope, given: Path | None) -> None:
    """Pair manifests and segments: by content and name, then by content, then by name."""

    def same_place(segment: Segment, found: FoundManifest) -> bool:
        first, manifest = segment.first, found.manifest
        return first is not None and (first.stream, first.seq) == (manifest.stream, manifest.first_seq)

    def same_name(segment: Segment, found: FoundManifest) -> bool:
        return found.path in (given, segment.path.parent / manifest_name(segment.path.name))

    # A file and its compressed copy share one manifest; two files of other names do not.
    _assign(scope, scope.manifests, lambda segment, found: same_place(segment, found) and same_name(segment, found))
    for rule in (same_place, same_name):
        _assign(scope, _unused(scope), rule)
    for segment in scope.segments:
        owner = segment.manifest
        if owner is not None and owner.manifest.file != plain_name(segment.path.name):
            text = f"its manifest {owner.path.name} calls it {owner.manifest.file}: the file was renamed"
            scope.notes.append(Note(NoteCode.RENAMED, text, segment.file))
    scope.unpaired = _unused(scope)


def _assign(scope: Scope, pool: list[FoundManifest], rule: Callable[[Segment, FoundManifest], bool]) -> None:
    for segment in scope.segments:
        if segment.manifest is None:
            segment.manifest = next((found for found in pool if rule(segment, found)), None)


def _unused(scope: Scope) -> list[FoundManifest]:
    used = [segment.manifest for segment in scope.segments if segment.manifest is not None]
    return [found for found in scope.manifests if not any(found is one for one in used)]
