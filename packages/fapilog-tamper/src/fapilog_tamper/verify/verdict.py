"""From findings to the verdict: wrong keys told apart from wrong macs, order, outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fapilog_tamper.verify.report import HINTS, Code, Finding, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fapilog_tamper.verify.tags import Tally

__all__ = ["outcome_of", "settle"]

_KEY_CODES: Final = frozenset({Code.MAC_INVALID, Code.MANIFEST_SIGNATURE, Code.HEAD_MAC})


def settle(findings: Sequence[Finding], tally: Tally) -> list[Finding]:
    """Return the findings in order of place, with those that only show a wrong key put into one each.

    Where every mac under a known key fails, heads and manifests included, a wrong key and a wholesale rewrite look
    the same, and the finding says so.
    """
    wrong = tally.wrong_keys()
    kept = [
        finding
        for finding in findings
        if not (finding.key_id in wrong and finding.code in _KEY_CODES | {Code.UNAUTHENTICATED_TAIL})
    ]
    kept += [_wrong_key(key_id, tally.invalid[key_id] + tally.seals[key_id]) for key_id in wrong]
    kept += [_unknown_key(key_id, count) for key_id, count in sorted(tally.unknown.items())]
    ordered = sorted(kept, key=lambda one: (one.file or "", one.line or 0, one.seq or 0, one.code.value, one.message))
    return [replace(one, hint=one.hint or HINTS[one.code]) for one in ordered]


def _wrong_key(key_id: str, count: int) -> Finding:
    text = (
        f"every mac under key {key_id} fails ({count}): the key given is not the one that was used, or everything "
        "was rewritten by somebody without it; the two look the same"
    )
    return Finding(Code.KEY_UNKNOWN, text, key_id=key_id, hint="Check that the key is the right one.")


def _unknown_key(key_id: str, count: int) -> Finding:
    text = f"{count} macs or chained entries are under key {key_id}, which was not given"
    return Finding(Code.KEY_UNKNOWN, text, key_id=key_id)


def outcome_of(findings: Sequence[Finding]) -> Outcome:
    """Return the gravest outcome: tampered before undetermined before intact."""
    outcomes = {finding.code.outcome for finding in findings}
    return next((one for one in (Outcome.TAMPERED, Outcome.UNDETERMINED) if one in outcomes), Outcome.INTACT)
