"""Each store call fails in each flavour, one call after the other: no false receipt, none lost, intact afterwards."""

from __future__ import annotations

import warnings
from itertools import count

import pytest
from faults.walking import FLAVOURS, PARTS, walk


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def walk_all(how: str, *flavours: dict[str, object], **options) -> int:
    """Let one call after the other fail, in the flavours by turns, and return how many there were."""
    for number in count():
        if not walk(how, number, flavours[number % len(flavours)], **options):
            return number
    raise AssertionError


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
def test_a_call_that_fails_once(flavour):
    assert walk_all("hmac", flavour, times=1, threads=False) > 60


@pytest.mark.parametrize("how", ["ed25519", "unkeyed"])
def test_a_call_that_fails_once_in_other_streams(how):
    assert walk_all(how, *FLAVOURS.values(), times=1, threads=False) > 60


@pytest.mark.parametrize("method", PARTS)
def test_a_call_that_does_a_part_and_fails(method):
    for flavour in PARTS[method]:
        assert walk_all("hmac", flavour, times=1, threads=False, method=method) > 3


def test_a_call_that_fails_once_with_threads_and_compression():
    assert walk_all("hmac", *reversed(FLAVOURS.values()), times=1, threads=True) > 60


def test_a_disk_that_is_dead_from_some_call_on():
    assert walk_all("hmac", {}, times=None, threads=False) > 60
