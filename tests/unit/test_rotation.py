"""`Rotation`: when a segment ends, as a pure decision."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest

from fapilog_tamper import ConfigError, Rotation


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("begun", "end"),
    [
        ("2026-11-20T00:00:00", "2026-11-21T00:00:00"),
        ("2026-11-20T12:34:56.789", "2026-11-21T00:00:00"),
        ("2026-11-20T23:59:59.999999", "2026-11-21T00:00:00"),
        ("2026-12-31T08:00:00", "2027-01-01T00:00:00"),
        ("2028-02-28T08:00:00", "2028-02-29T00:00:00"),
        ("2026-03-29T00:30:00", "2026-03-30T00:00:00"),
        ("1970-01-01T00:00:00", "1970-01-02T00:00:00"),
    ],
)
def test_a_day_ends_at_midnight_utc(begun: str, end: str) -> None:
    assert Rotation().deadline(at(begun)) == at(end)


def test_an_age_counts_from_the_beginning_of_the_segment() -> None:
    assert Rotation(daily=False, max_age=90.5).deadline(1000.0) == 1090.5


def test_of_day_and_age_whichever_comes_first_counts() -> None:
    noon = at("2026-11-20T12:00:00")
    rotation = Rotation(max_age=6 * 3600)
    assert rotation.deadline(noon) == noon + 6 * 3600
    late = noon + 8 * 3600
    assert rotation.deadline(late) == late + 4 * 3600


@pytest.mark.parametrize("max_age", [None, inf])
def test_without_a_bound_a_segment_has_no_end(max_age: float | None) -> None:
    assert Rotation(daily=False, max_age=max_age).deadline(1000.0) == inf


def test_the_end_is_always_behind_the_beginning() -> None:
    begun = at("2026-11-20T00:00:00")
    for hours in range(500):
        moment = begun + timedelta(hours=hours).total_seconds()
        assert moment < Rotation().deadline(moment) <= moment + 86_400


@pytest.mark.parametrize(
    ("size", "more", "overflows"),
    [(0, 4097, False), (0, 10**9, False), (1, 4095, False), (1, 4096, True), (4096, 1, True), (4095, 1, False)],
)
def test_a_segment_that_holds_something_does_not_grow_beyond_its_bound(size: int, more: int, overflows: bool) -> None:  # noqa: FBT001
    assert Rotation(max_bytes=4096).overflows(size, more) is overflows


def test_without_a_bound_nothing_overflows() -> None:
    assert not Rotation(max_bytes=None).overflows(2**50, 2**50)


def test_unless_set_a_segment_ends_at_midnight_or_at_256_mebibytes() -> None:
    assert Rotation() == Rotation(daily=True, max_bytes=256 * 2**20, max_age=None)


@pytest.mark.parametrize("max_bytes", [0, -1, 4095, 4096.0, "4096", True])
def test_a_size_that_cannot_be_kept_is_refused(max_bytes: Any) -> None:
    with pytest.raises(ConfigError, match="max_bytes") as caught:
        Rotation(max_bytes=max_bytes)
    assert caught.value.hint


@pytest.mark.parametrize("max_age", [0, -1, -inf, nan, "60", [60]])
def test_an_age_that_cannot_be_kept_is_refused(max_age: Any) -> None:
    with pytest.raises(ConfigError, match="max_age") as caught:
        Rotation(max_age=max_age)
    assert caught.value.hint


def test_a_rotation_is_a_value() -> None:
    rotation = Rotation(max_age=5)
    assert {rotation, Rotation(max_age=5)} == {rotation}
    with pytest.raises(FrozenInstanceError):
        rotation.daily = False  # type: ignore[misc]
