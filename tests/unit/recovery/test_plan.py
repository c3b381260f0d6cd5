"""`plan_opening` and `plan_restore` on facts that are made up: each row of the table, and where rows meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.recovery.made import chain, claim, facts, head, keyed, keyed_head, segment

from fapilog_tamper import HeadError, RollbackError, SealKeyError
from fapilog_tamper.recovery.facts import (
    RESTORED,
    FoundSegment,
    StreamFacts,
    TornCopy,
    format_restored,
    restored_behind,
)
from fapilog_tamper.recovery.plan import Plan, plan_opening, plan_restore


def refused(found: StreamFacts, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        plan_opening(found)
    assert type(caught.value) is error
    if error is not SealKeyError:
        caught.match(r"fapilog-tamper restore --reason \.\.\. --by \.\.\.")


# The rows.


def test_nothing_at_all_is_genesis() -> None:
    assert plan_opening(facts()) == Plan()
    assert plan_opening(facts(keyed=True)) == Plan()


def test_a_clean_end_goes_on() -> None:
    last = segment(4, 6, closed=True, run=b"", origin=chain(1))
    plan = plan_opening(facts(last, head=head(6)))
    assert plan == Plan(seq=6, chain_hash=chain(6), origin=chain(1))


def test_covered_entries_are_adopted() -> None:
    found = segment(1, 6)
    for members in ({"head": head(3)}, {"head": head(6)}):
        plan = plan_opening(facts(found, **members))
        assert plan == Plan(seq=6, chain_hash=chain(6), origin=chain(1), late=(found,))


def test_entries_of_later_segments_are_adopted() -> None:
    one, two = segment(1, 3, closed=True), segment(4, 6)
    plan = plan_opening(facts(one, two, head=head(2)))
    assert (plan.seq, plan.reason, plan.late) == (6, None, (two,))


def test_uncovered_entries_are_adopted_on_record() -> None:
    found = keyed(1, 6, authenticated=4)
    plan = plan_opening(facts(found, head=keyed_head(2), keyed=True))
    assert (plan.reason, plan.unsigned) == ("crash", (5, 6))


def test_what_the_head_covers_is_not_uncovered() -> None:
    found = keyed(1, 6, authenticated=0)
    plan = plan_opening(facts(found, head=keyed_head(6), keyed=True))
    assert (plan.reason, plan.unsigned) == (None, None)


def test_a_seal_in_a_later_segment_covers_entries_before_it() -> None:
    one = keyed(1, 6, authenticated=0)
    two = keyed(7, 7, authenticated=0, last_event=0, seals={6: chain(6)})
    plan = plan_opening(facts(one, two, head=keyed_head(2), keyed=True))
    assert (plan.reason, plan.unsigned) == (None, None)


def test_a_seal_of_another_entry_covers_nothing() -> None:
    one, two = keyed(1, 6, authenticated=0), keyed(7, 7, authenticated=0, last_event=0, seals={6: chain(6, "b")})
    plan = plan_opening(facts(one, two, head=keyed_head(2), keyed=True))
    assert plan.unsigned == (3, 7)


def test_seals_at_the_very_end_are_no_uncovered_entries() -> None:
    found = keyed(1, 6, authenticated=5, last_event=5)
    assert plan_opening(facts(found, head=keyed_head(2), keyed=True)).unsigned is None


def test_uncovered_entries_in_an_unkeyed_stream_are_nothing_special() -> None:
    plan = plan_opening(facts(segment(1, 6), head=head(2)))
    assert (plan.reason, plan.unsigned) == (None, None)


def test_a_keyed_writer_does_not_take_over_an_unkeyed_past_in_silence() -> None:
    plan = plan_opening(facts(segment(1, 6), head=head(2), keyed=True))
    assert (plan.reason, plan.unsigned) == ("unkeyed", (1, 6))


def test_a_missing_newline_is_repaired_without_a_word() -> None:
    found = segment(1, 6, newline_missing=True)
    plan = plan_opening(facts(found, head=head(2)))
    assert (plan.repairs, plan.late, plan.reason) == ((found,), (found,), None)


def test_a_torn_tail_is_repaired_on_record() -> None:
    found = segment(1, 6, torn="half a line")
    plan = plan_opening(facts(found, head=head(2)))
    assert (plan.repairs, plan.late, plan.reason, plan.seq) == ((found,), (found,), "crash", 6)


def test_a_torn_tail_with_a_successor_is_repaired_and_both_are_closed() -> None:
    """A failed sync: the new segment repeats what was never synced in the old one."""
    old, new = segment(1, 4, torn="zeros"), segment(3, 6)
    plan = plan_opening(facts(old, new, head=head(2)))
    assert (plan.repairs, plan.late, plan.seq) == ((old,), (old, new), 6)


def test_a_successor_that_repeats_only_what_is_there_adds_nothing() -> None:
    plan = plan_opening(facts(segment(1, 6), segment(3, 4), head=head(2)))
    assert (plan.seq, plan.chain_hash, len(plan.late)) == (6, chain(6), 2)


def test_a_segment_of_which_nothing_is_left_is_repaired_and_removed() -> None:
    one, two = segment(1, 3, closed=True), FoundSegment("log_2026-11-20.4.jsonl", size=5, torn="half")
    plan = plan_opening(facts(one, two, head=head(3)))
    assert (plan.repairs, plan.empty, plan.late, plan.reason) == ((two,), (two,), (), "crash")


def test_an_empty_segment_is_removed_without_a_word() -> None:
    empty = FoundSegment("log_2026-11-20.4.jsonl")
    plan = plan_opening(facts(segment(1, 3, closed=True), empty, head=head(3)))
    assert (plan.empty, plan.repairs, plan.reason) == ((empty,), (), None)


def test_a_copy_that_no_record_names_gives_a_record() -> None:
    copy = TornCopy("log_2026-11-20.1.jsonl.torn-1", 4, bytes(32))
    plan = plan_opening(facts(segment(1, 3, copies=(copy,)), head=head(3)))
    assert (plan.reason, plan.repairs) == ("crash", ())


def test_a_torn_beginning_of_a_stream_is_on_record() -> None:
    torn = FoundSegment("log_2026-11-20.jsonl", size=5, torn="half")
    plan = plan_opening(facts(torn))
    assert (plan.seq, plan.reason, plan.repairs, plan.empty) == (0, "crash", (torn,), (torn,))


# Without a head.


def test_a_missing_head_is_a_reason() -> None:
    plan = plan_opening(facts(segment(1, 3, closed=True), segment(4, 6)))
    assert (plan.reason, plan.seq, plan.origin, plan.first_seq) == ("head-missing", 6, chain(1), 1)


def test_a_missing_head_comes_before_a_torn_tail() -> None:
    assert plan_opening(facts(segment(1, 3, torn="half"))).reason == "head-missing"


def test_a_missing_head_of_a_pruned_stream_is_made_from_a_manifest() -> None:
    plan = plan_opening(facts(segment(101, 103, closed=True, origin=chain(1)), segment(104, 106)))
    assert (plan.origin, plan.first_seq, plan.seq) == (chain(1), 101, 106)


def test_the_second_entry_tells_the_origin_too() -> None:
    assert plan_opening(facts(segment(2, 3))).origin == chain(1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts(segment(101, 103)), "its first entry is not there"),
        (facts(segment(1, 3, defect="line 2: changed")), "entries do not all hold: .*line 2: changed"),
        (facts(segment(1, 3), segment(5, 6)), "does not follow on"),
        (facts(traces=("log_2026-11-20.jsonl.manifest.json",)), "neither a head nor an entry"),
        (facts(FoundSegment("log_2026-11-20.jsonl", defect="line 1: malformed")), "line 1: malformed"),
        (facts(segment(1, 3), keyed=True), "there is no head, and its entries are unkeyed"),
        (facts(segment(1, 3, first_prev=chain(9))), "entry 1 that is linked to another before it"),
    ],
)
def test_a_missing_head_is_refused_where_not_all_holds(found: StreamFacts, message: str) -> None:
    refused(found, HeadError, message)


# Refusals.


@pytest.mark.parametrize("problem", ["its head is malformed", "its head does not hold under key k1"])
def test_a_head_that_cannot_be_believed_is_refused(problem: str) -> None:
    refused(facts(segment(1, 3), head_problem=problem), HeadError, f"stream log: {problem}")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts(segment(1, 3), head=head(6)), "its head speaks of entry 6, the stream ends with entry 3"),
        (facts(segment(1, 6), head=head(4, "b")), "entry 4 is not the one that its head speaks of"),
        (facts(head=head(6)), "speaks of entry 6, and no segment has it"),
        (facts(segment(7, 9), head=head(6)), "begins with entry 7, and what is before it is lost"),
        (facts(segment(8, 9), head=head(6, first_seq=7)), "begins with entry 8, and what is before it is lost"),
        (facts(segment(1, 3), segment(5, 6), head=head(3)), "begins with entry 5, which does not follow on"),
        (facts(segment(1, 3), segment(4, 6, before="b"), head=head(3)), "begins with entry 4, which does not follow"),
        (facts(segment(1, 6), segment(4, 8, "b", "a"), head=head(3)), "has other entries from 4 on"),
        (facts(segment(1, 6, defect="line 5: changed"), head=head(3)), "line 5: changed"),
        (facts(segment(1, 3), head=head(3), claims=(claim(4),)), "stream other speaks of entry 4, the stream ends"),
        (facts(segment(1, 3), head=head(3), claims=(claim(2, "b"),)), "stream other speaks of another entry 2"),
        (facts(segment(1, 3), head=head(3), claims=(claim(3, "b"),)), "stream other speaks of another entry 3"),
        (facts(claims=(claim(3),)), "stream other speaks of entry 3, the stream ends with entry 0"),
        (facts(head=head(6, first_seq=7), claims=(claim(6, "b"),)), "stream other speaks of another entry 6"),
        (facts(segment(1, 3), claims=(claim(4),)), "stream other speaks of entry 4"),
    ],
)
def test_a_rollback_is_refused(found: StreamFacts, message: str) -> None:
    refused(found, RollbackError, message)


def test_claims_that_hold_are_no_hindrance() -> None:
    found = facts(segment(1, 6), head=head(3), claims=(claim(2), claim(6)))
    assert plan_opening(found).seq == 6


def test_a_claim_of_an_entry_that_was_not_looked_at_is_believed() -> None:
    last = segment(4, 6, closed=True, run=b"", origin=chain(1))
    assert plan_opening(facts(last, head=head(6), claims=(claim(2, "b"),))).seq == 6


def test_a_head_of_another_origin_is_refused_as_such() -> None:
    for seq in (2, 3, 9):
        found = facts(segment(1, 3), head=head(seq, "b", origin=chain(1, "b")))
        refused(found, HeadError, "its head is of a stream that began with")


def test_an_origin_that_the_keyring_knows_is_required() -> None:
    found = facts(segment(1, 3), head=head(3), pinned=chain(1))
    assert plan_opening(found).seq == 3
    refused(replace(found, pinned=chain(1, "b")), HeadError, "and the keyring says that it began with")
    refused(facts(pinned=chain(1)), HeadError, "it has no entry, and the keyring says")


def test_a_stream_of_which_all_was_pruned_goes_on_from_its_head() -> None:
    plan = plan_opening(facts(head=head(6, first_seq=7)))
    assert (plan.seq, plan.chain_hash, plan.first_seq, plan.origin) == (6, chain(6), 7, chain(1))


def test_entries_behind_a_head_of_which_all_was_pruned_are_adopted() -> None:
    assert plan_opening(facts(segment(7, 9), head=head(6, first_seq=7))).seq == 9


# Keys.


@pytest.mark.parametrize(
    "found",
    [
        facts(keyed(1, 3), head=keyed_head(3)),
        facts(keyed(1, 3)),
        facts(keyed(1, 3), head=head(3)),
        facts(segment(1, 3), head=keyed_head(3)),
        facts(unknown_key="k1"),
    ],
)
def test_a_keyed_stream_needs_a_key(found: StreamFacts) -> None:
    refused(found, SealKeyError, "stream log is keyed, and no key was given")
    with pytest.raises(SealKeyError, match="stream log is keyed, and no key was given"):
        plan_restore(found)


@pytest.mark.parametrize(
    "found",
    [
        facts(unknown_key="k9", keyed=True, key_ids=("k1", "k2")),
        facts(keyed(1, 3, unknown_key="k9"), keyed=True, key_ids=("k1", "k2")),
    ],
)
def test_an_unknown_key_is_named(found: StreamFacts) -> None:
    refused(found, SealKeyError, "under key k9, and k1, k2 was given")


def test_an_unkeyed_head_of_a_keyed_entry_is_refused() -> None:
    refused(facts(keyed(1, 3), head=head(3), keyed=True), HeadError, "its head is unkeyed, and entry 1 is keyed")


def test_an_unkeyed_head_before_the_first_keyed_entry_is_believed() -> None:
    found = facts(segment(1, 3, closed=True), keyed(4, 5), head=head(3), keyed=True)
    assert plan_opening(found).seq == 5


def test_unkeyed_entries_behind_a_keyed_head_are_refused() -> None:
    found = facts(segment(1, 5), head=keyed_head(3), keyed=True)
    refused(found, RollbackError, "entry 4, behind what its keyed head speaks of, is unkeyed")


# Histories that take over, and claims that are excused.


@pytest.mark.parametrize("kind", ["recovery", "restore"])
def test_a_history_that_a_record_begins_takes_over(kind: str) -> None:
    found = facts(segment(1, 6), segment(4, 5, "b", "a", first_kind=kind), head=head(5, "b"))
    plan = plan_opening(found)
    assert (plan.seq, plan.chain_hash) == (5, chain(5, "b"))


def test_other_records_do_not_take_over() -> None:
    found = facts(segment(1, 6), segment(4, 5, "b", "a", first_kind="gap"), head=head(5, "b"))
    refused(found, RollbackError, "has other entries from 4 on")


def test_a_head_of_the_history_that_was_taken_over_is_refused() -> None:
    for seq, message in ((5, "entry 5 is not the one"), (6, "its head speaks of entry 6")):
        found = facts(segment(1, 6), segment(4, 5, "b", "a", first_kind="restore"), head=head(seq))
        refused(found, RollbackError, message)


def test_macs_of_a_history_that_was_taken_over_cover_nothing_of_the_new_one() -> None:
    old, new = keyed(1, 9), keyed(4, 6, "b", "a", first_kind="restore", authenticated=4)
    plan = plan_opening(facts(old, new, head=keyed_head(3), keyed=True))
    assert plan.unsigned == (5, 6)


def test_exactly_what_a_restore_contradicts_is_excused() -> None:
    said = {RESTORED: format_restored("log_2026-11-20.1.jsonl", [claim(6)])}
    found = facts(segment(1, 4), head=head(4, extra=said))
    assert plan_opening(replace(found, claims=(claim(6),))).seq == 4
    for other in (claim(6, "b"), claim(5), claim(3, "b")):
        refused(replace(found, claims=(other,)), RollbackError, "the head of stream other speaks of")


@pytest.mark.parametrize("extra", [{}, {RESTORED: None}, {RESTORED: {"claims": 1}}, {RESTORED: []}])
def test_other_members_of_a_head_excuse_nothing(extra: dict[str, object]) -> None:
    assert restored_behind(head(4, extra=extra)) == ""
    found = facts(segment(1, 4), head=head(4, extra=extra), claims=(claim(6),))
    refused(found, RollbackError, "the head of stream other speaks of entry 6")
