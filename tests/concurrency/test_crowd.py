"""Many writers at once: everything they appended is there, in order, once, and verifies."""

from __future__ import annotations

import pytest
from concurrency import soak


@pytest.mark.slow
def test_eight_processes_with_threads_loops_and_children_share_a_folder(tmp_path):
    figures = soak.run(tmp_path, appends=20_000)
    assert figures.streams >= len(soak.SHAPES)


@pytest.mark.parametrize("shape", ["mixed", "forks", "execs"])
def test_one_process_under_much_rotation(shape, tmp_path):
    figures = soak.run(tmp_path, appends=1_500, shapes=(shape,), max_bytes=8 << 10)
    assert figures.segments > figures.streams
