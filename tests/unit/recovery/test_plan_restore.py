"""`plan_restore` on facts that are made up: what it goes on behind, and what it excuses."""

from __future__ import annotations

import pytest
from unit.recovery.made import chain, claim, facts, head, keyed, keyed_head, segment

from fapilog_tamper import SealKeyError
from fapilog_tamper.encoding import b64url_encode
from fapilog_tamper.entry import GENESIS
from fapilog_tamper.recovery.facts import (
    RESTORED,
    format_restored,
    restored_behind,
)
from fapilog_tamper.recovery.plan import plan_restore

# Restoring.


def test_a_restore_goes_on_behind_the_last_sound_entry() -> None:
    plan = plan_restore(facts(segment(1, 3, closed=True), head=head(6)))
    assert (plan.seq, plan.chain_hash, plan.reason, plan.lost) == (3, chain(3), "restore", (6, chain(6)))
    assert (plan.origin, plan.first_seq) == (chain(1), 1)


def test_a_restore_stops_before_a_defect_and_leaves_it_alone() -> None:
    found = segment(1, 3, defect="line 4: changed", torn="half")
    plan = plan_restore(facts(found, head=head(6)))
    assert (plan.seq, plan.late, plan.repairs, plan.empty) == (3, (), (), ())


def test_a_restore_adopts_nothing_that_no_mac_covers() -> None:
    found = keyed(1, 6, authenticated=4)
    plan = plan_restore(facts(found, head_problem="malformed", keyed=True))
    assert (plan.seq, plan.chain_hash, plan.late) == (4, chain(4), ())


def test_a_restore_of_nothing_begins_again() -> None:
    plan = plan_restore(facts(head=head(6), claims=(claim(8),)))
    assert (plan.seq, plan.chain_hash, plan.origin, plan.first_seq) == (0, GENESIS, b"", 1)
    assert plan.lost == (8, chain(8))


def test_a_restore_believes_no_unkeyed_entries_where_there_are_keyed_ones() -> None:
    for forged in (segment(50, 99, "f"), segment(1, 99, "f")):
        plan = plan_restore(facts(forged, keyed(1, 3), head_problem="malformed", keyed=True))
        assert (plan.seq, plan.chain_hash) == (3, chain(3))
    assert plan_restore(facts(segment(1, 9), head=keyed_head(3), keyed=True)).seq == 0


def test_a_restore_believes_unkeyed_entries_before_keyed_ones() -> None:
    plan = plan_restore(facts(segment(1, 3), keyed(4, 6), head_problem="malformed", keyed=True))
    assert (plan.seq, plan.origin, plan.first_seq) == (6, chain(1), 1)


def test_a_restore_excuses_what_it_contradicts_and_no_more() -> None:
    old = segment(1, 6)
    new = segment(4, 7, "b", "a", first_kind="restore")
    claims = (claim(2), claim(3), claim(5), claim(6, "b"), claim(9))
    plan = plan_restore(facts(old, new, head=head(9), claims=claims))
    assert (plan.seq, plan.chain_hash) == (7, chain(7, "b"))
    assert plan.excused == (claim(5), claim(9))


def test_a_restore_takes_the_origin_from_the_head_where_the_beginning_is_lost() -> None:
    plan = plan_restore(facts(segment(5, 6), head=head(9)))
    assert (plan.origin, plan.first_seq) == (chain(1), 1)


def test_a_restore_of_a_wrong_key_is_refused() -> None:
    for found in (
        facts(unknown_key="k9", keyed=True),
        facts(keyed(1, 3, authenticated=0, unknown_key="k9"), keyed=True),
    ):
        with pytest.raises(SealKeyError, match="under key k9, and no key was given"):
            plan_restore(found)


def test_what_a_restore_says_is_read_back() -> None:
    said = format_restored("log_2026-11-20.4.jsonl", [claim(6), claim(5), claim(6)])
    rows = [{"seq": seq, "chain_hash": b64url_encode(chain(seq))} for seq in (5, 6)]
    assert said == {"behind": "log_2026-11-20.4.jsonl", "claims": rows}
    assert restored_behind(head(4, extra={RESTORED: said})) == "log_2026-11-20.4.jsonl"
