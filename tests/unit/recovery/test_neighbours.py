"""Slots of the stream that nobody holds are recovered by whoever opens; others are left alone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from unit.recovery.scene import (
    K1,
    add_bytes,
    assert_true_manifests,
    controls_of,
    files_of,
    fill,
    intact,
    manifest_path,
    segments,
)

from fapilog_tamper import SealedLog

if TYPE_CHECKING:
    from pathlib import Path

# Neighbours.


def two_slots(tmp_path: Path) -> Path:
    """Return the image of a crash with two slots open, each with a torn tail."""
    alive, image = tmp_path / "alive", tmp_path / "crashed"
    fill(alive, 1)
    one, two = SealedLog.open(alive, key=K1), SealedLog.open(alive, key=K1)
    assert (one.stream, two.stream) == ("log", "log.w2")
    one.append({})
    two.append({})
    shutil.copytree(alive, image)
    two.close()
    one.close()
    for stream in ("log", "log.w2"):
        add_bytes(segments(image, stream)[-1], b"half")
    return image


def test_torn_tails_of_slots_that_nobody_holds_are_recovered_by_whoever_opens(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    fill(folder, 1)
    assert len(controls_of(folder)) == 1
    [entry] = controls_of(folder, stream="log.w2")
    assert entry["torn"]
    assert_true_manifests(folder, "log.w2")
    intact(folder)


def test_a_slot_that_is_held_is_left_alone(tmp_path: Path) -> None:
    with SealedLog.open(tmp_path, key=K1) as one:
        one.append({})
        before = segments(tmp_path)[-1].read_bytes()
        with SealedLog.open(tmp_path, key=K1) as two:
            assert two.stream == "log.w2"
            two.append({})
        [path] = segments(tmp_path)
        assert path.read_bytes() == before
        assert not manifest_path(path).exists()
        one.append({})
    intact(tmp_path)


def test_a_neighbour_that_is_refused_warns_and_does_not_stop_the_open(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    path = segments(folder, "log.w2")[-1]
    path.write_bytes(b'{"not":"sealed"}\n' + path.read_bytes())
    content = path.read_bytes()
    with pytest.warns(RuntimeWarning, match=r"log\.w2 in .* was not recovered: .*restore --reason"):
        log = SealedLog.open(folder, key=K1)
    with log:
        assert log.stream == "log"
        log.append({})
    assert path.read_bytes() == content


def test_the_neighbours_of_another_stream_are_left_alone(tmp_path: Path) -> None:
    folder = two_slots(tmp_path)
    before = {name: content for name, content in files_of(folder).items() if name.startswith("log")}
    fill(folder, 1, stream="log.other")
    after = files_of(folder)
    assert {name: after[name] for name in before} == before
