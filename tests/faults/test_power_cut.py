"""Power cuts on the memory store: what `synced` promised is there, and the log opens. `make soak` has more of them."""

from __future__ import annotations

import warnings

import pytest
from faults.cutting import cut_power

CHUNKS = 4
TRIALS = 400


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_was_synced_survives_a_power_cut(chunk):
    size = TRIALS // CHUNKS
    with warnings.catch_warnings():
        # Failing syncs are a part of the trials.
        warnings.simplefilter("ignore", RuntimeWarning)
        outcomes = [cut_power(seed) for seed in range(chunk * size, (chunk + 1) * size)]
    assert sum(one.promised for one in outcomes)
    assert sum(one.lost for one in outcomes), "a power cut that loses nothing shows nothing"
