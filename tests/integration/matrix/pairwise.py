"""Pairwise tables: few rows in which each value of a dimension meets each value of every other one at least once.

The same dimensions give the same rows, always. Some values may not meet; no row then has both.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Choice = tuple[str, object]
"""A dimension and one of its values."""

Pair = tuple[Choice, Choice]


def possible_pairs(dimensions: Mapping[str, Sequence[object]], clash: Callable[[Choice, Choice], bool]) -> list[Pair]:
    """Return all pairs that rows should have, in the order of the dimensions."""
    return [
        ((one, value), (other, second))
        for one, other in combinations(dimensions, 2)
        for value in dimensions[one]
        for second in dimensions[other]
        if not clash((one, value), (other, second))
    ]


def pairwise(
    dimensions: Mapping[str, Sequence[object]], clash: Callable[[Choice, Choice], bool] = lambda one, other: False
) -> list[dict[str, object]]:
    """Return rows that have all possible pairs: greedily, each begins with a pair that no row had yet.

    Raises:
        ValueError: a pair cannot be made a row, because each value of another dimension clashes with it.
    """
    missing = dict.fromkeys(possible_pairs(dimensions, clash))
    uses: Counter[Pair] = Counter()
    rows: list[dict[str, object]] = []
    while missing:
        row = dict(next(iter(missing)))
        for name in dimensions:
            if name not in row:
                row[name] = _best(name, dimensions[name], row, clash, missing, uses, list(dimensions))
        for pair in _pairs_of(row, dimensions):
            missing.pop(pair, None)
            uses[pair] += 1
        rows.append({name: row[name] for name in dimensions})
    return rows


def _best(
    name: str,
    values: Sequence[object],
    row: Mapping[str, object],
    clash: Callable[[Choice, Choice], bool],
    missing: Mapping[Pair, None],
    uses: Mapping[Pair, int],
    order: list[str],
) -> object:
    """Return the value that brings the most pairs that are missing, of those the one that met the others least."""
    free = [value for value in values if not any(clash((name, value), one) for one in row.items())]
    if not free:
        raise ValueError(f"no value of {name} goes with {row}")

    def gain(value: object) -> tuple[int, int]:
        pairs = _pairs_with((name, value), row.items(), order)
        return sum(pair in missing for pair in pairs), -sum(uses[pair] for pair in pairs)

    return max(free, key=gain)


def _pairs_with(choice: Choice, others: Iterable[Choice], order: list[str]) -> list[Pair]:
    at = order.index(choice[0])
    return [(other, choice) if order.index(other[0]) < at else (choice, other) for other in others]


def _pairs_of(row: Mapping[str, object], dimensions: Iterable[str]) -> list[Pair]:
    return list(combinations([(name, row[name]) for name in dimensions], 2))
