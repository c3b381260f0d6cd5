"""Twenty thousand mutated files: none intact, no traceback, none slow. `make fuzz` tries a million."""

from __future__ import annotations

import pytest
from attacks.fuzz import mutate, run
from attacks.mutations import PLAIN

FILES = 20_000
CHUNKS = 10
SEED = 2026


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_mutated_file_is_intact(chunk):
    # One number in fifty changes nothing, so a few more are tried.
    size = FILES // CHUNKS
    more = size + size // 25
    score = run(SEED, range(chunk * more, (chunk + 1) * more))
    assert not score.bad, "\n".join(score.bad[:5])
    assert score.tried.total() >= size
    assert score.tried.keys() >= {mutation.__name__ for mutation in PLAIN} | {"splice"}


def test_a_mutant_depends_on_seed_and_number_alone():
    assert [mutate(1, number) for number in (5, 12, 5)] == [mutate(1, number) for number in (5, 12, 5)]
    assert mutate(1, 5) != mutate(2, 5)
