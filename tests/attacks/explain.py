"""Why a changed log may be called intact: the little that no verifier can see, and that the report must name.

Written from docs/spec/sealed-log.md, apart from the verifier: what is left must be the same entries, in one run from
some seq to some seq, and every head and manifest as it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from attacks.model import is_head, is_manifest

from fapilog_tamper.entry import Integrity, split
from fapilog_tamper.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.logs import Situation

    from fapilog_tamper.verify.report import VerifyReport

Entries = dict[str, dict[int, set[tuple[bytes, Integrity]]]]

_UNCOMPARED = {"created_ts", "closed_ts", "first_ts", "last_ts", "file", "others", "segment", "offset", "last_updated"}
"""Members of unsigned heads and manifests that nothing else in the log bears out."""


def explain(
    situation: Situation,
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    report: VerifyReport,
    honest: Sequence[bytes] = (),
) -> str | None:
    """Return why `after` must not be intact, None where it may be and the report says what is open.

    Args:
        situation: the keys.
        before: the logical bytes of the files as they were, None where they cannot be unpacked.
        after: the same, changed.
        report: what the verifier said.
        honest: files of other logs under the same keys: in the place of a log that nobody attests, one of them is
            another life of it.
    """
    for name in after:
        if (is_head(name) or is_manifest(name)) and after[name] != before.get(name):
            reason = _explain_document(situation, name, before, after)
            if reason is not None:
                return reason
    try:
        old, new = _entries(before), _entries(after)
    except (FormatError, TypeError) as error:
        return f"a file cannot be read: {error}"
    if not any(is_head(name) or is_manifest(name) for name in after):
        _add_lives(old, honest)
    for stream, rows in new.items():
        reason = _explain_stream(situation, stream, old.get(stream, {}), rows, report)
        if reason is not None:
            return reason
    return None


def _explain_document(
    situation: Situation, name: str, before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]
) -> str | None:
    if after[name] in [raw for other, raw in before.items() if is_head(other) == is_head(name)]:
        return None
    if situation.keys:
        return f"{name} is another"
    try:
        old, new = json.loads(before[name] or b""), json.loads(after[name] or b"")
    except ValueError:
        return f"{name} is no JSON"
    changed = {member for member in old.keys() | new.keys() if old.get(member) != new.get(member)}
    compared = (changed & old.keys()) - _UNCOMPARED - ({"first_seq"} if is_head(name) else set())
    return f"{name} has another {sorted(compared)}" if compared else None


def _entries(image: Mapping[str, bytes | None]) -> Entries:
    """Return all entries by stream and seq."""
    found: Entries = defaultdict(lambda: defaultdict(set))
    for name, data in image.items():
        if is_head(name) or is_manifest(name):
            continue
        if data is None:
            raise TypeError(name)
        *lines, rest = data.split(b"\n")
        if rest:
            raise FormatError("a torn line")
        for line in lines:
            payload, block = split(line + b"\n")
            found[block.stream][block.seq].add((payload, block))
    return found


def _add_lives(old: Entries, honest: Sequence[bytes]) -> None:
    for number, data in enumerate(honest):
        for stream, rows in _entries({str(number): data}).items():
            for seq, row in rows.items():
                old[stream][seq] |= row


def _is_linked(rows: dict[int, set[tuple[bytes, Integrity]]]) -> bool:
    """Tell whether there is one entry for each seq, linked to the one before."""
    blocks = [{block.chain_hash: block for _, block in rows[seq]} for seq in sorted(rows)]
    if any(len(block) != 1 for block in blocks):
        return False
    chain = [next(iter(block.values())) for block in blocks]
    return all(two.prev_chain_hash == one.chain_hash for one, two in pairwise(chain))


def _explain_stream(
    situation: Situation,
    stream: str,
    old: dict[int, set[tuple[bytes, Integrity]]],
    new: dict[int, set[tuple[bytes, Integrity]]],
    report: VerifyReport,
) -> str | None:
    for seq, rows in new.items():
        if not all(_is_known(situation, row, old.get(seq, set())) for row in rows):
            return f"entry {seq} of {stream} is another"
    if sorted(new) != list(range(min(new), max(new) + 1)):
        return f"there is a hole in {stream}"
    if not _is_linked(new):
        return f"{stream} is not one chain"
    notes = {note.code.value for note in report.notes}
    if min(new) > min(old) and "begins-late" not in notes:
        return f"nothing says that {stream} begins late"
    if max(new) < max(old) and "end-open" not in notes and not report.not_checked:
        return f"nothing says that the end of {stream} is open"
    return None


def _is_known(situation: Situation, row: tuple[bytes, Integrity], old: set[tuple[bytes, Integrity]]) -> bool:
    """Tell whether an entry is as it was; where macs stand at commits only, one may be gone: a later one covers it."""
    payload, block = row
    if (block.key_id is None) != (not situation.keys):
        return False
    return any(
        payload == other_payload
        and block.chain_hash == other.chain_hash
        and block.algo == other.algo
        and (block.mac == other.mac or (block.mac is None and situation.macs == "commit"))
        for other_payload, other in old
    )
