"""The table of the matrix has what it promises: each value meets each other one."""

from __future__ import annotations

from itertools import combinations

import fapilog
import pytest
from integration.matrix.pairwise import pairwise
from integration.matrix.rows import DIMENSIONS, PRESETS, all_rows, clash


def pairs_in(rows):
    return {pair for row in rows for pair in combinations(row.items(), 2)}


def test_small_table_has_all_pairs():
    rows = pairwise({"a": (1, 2), "b": (1, 2), "c": (1, 2)})
    assert {(row["a"], row["b"]) for row in rows} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert {(row["a"], row["c"]) for row in rows} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert {(row["b"], row["c"]) for row in rows} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert len(rows) == 4


def test_values_that_clash_never_meet():
    rows = pairwise({"a": (1, 2), "b": (1, 2), "c": (1, 2)}, lambda one, other: {one, other} == {("a", 1), ("c", 2)})
    assert {(row["a"], row["c"]) for row in rows} == {(1, 1), (2, 1), (2, 2)}


def test_a_pair_that_no_row_can_have_is_an_error():
    def clash_always(one, other):
        return "c" in {one[0], other[0]}

    with pytest.raises(ValueError, match="no value of c goes with"):
        pairwise({"a": (1, 2), "b": (1, 2), "c": (1, 2)}, clash_always)


def test_every_possible_pair_of_the_matrix_stands_in_a_row():
    found = pairs_in(row.as_dict() for row in all_rows())
    for one, other in combinations(DIMENSIONS, 2):
        for value in DIMENSIONS[one]:
            for second in DIMENSIONS[other]:
                pair = ((one, value), (other, second))
                assert (pair in found) is not clash(*pair), pair


def test_only_five_ends_of_servers_and_one_of_with_blocks_are_impossible():
    impossible = [
        (value, second)
        for one, other in combinations(DIMENSIONS, 2)
        for value in DIMENSIONS[one]
        for second in DIMENSIONS[other]
        if clash((one, value), (other, second))
    ]
    ends = ("drain", "exception", "exit", "own sigterm", "plain")
    assert sorted(impossible) == sorted([*((end, "fastapi") for end in ends), ("plain", "runtime")])


def test_the_table_is_the_same_every_time_and_has_few_rows():
    rows = all_rows()
    assert rows == all_rows()
    # Sources and ends alone make 72 pairs.
    assert 72 <= len(rows) <= 80


def test_all_presets_of_fapilog_are_in_the_table():
    assert list(PRESETS) == fapilog.list_presets()
