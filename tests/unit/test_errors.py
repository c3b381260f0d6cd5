"""The tree of errors, their hints, and their way between processes."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from fapilog_tamper import errors
from fapilog_tamper.errors import (
    ConfigError,
    EncodingError,
    ExamineError,
    FormatError,
    FullError,
    HeadError,
    HintedError,
    PayloadError,
    PlainKeyError,
    RollbackError,
    SealKeyError,
    StoreError,
    TamperError,
)

PARENTS = {
    HintedError: Exception,
    TamperError: HintedError,
    EncodingError: TamperError,
    FormatError: EncodingError,
    PayloadError: TamperError,
    ConfigError: TamperError,
    ExamineError: TamperError,
    SealKeyError: TamperError,
    PlainKeyError: SealKeyError,
    StoreError: TamperError,
    FullError: StoreError,
    RollbackError: StoreError,
    HeadError: StoreError,
}
kinds = pytest.mark.parametrize("kind", PARENTS)


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert {kind: kind.__base__ for kind in PARENTS} == PARENTS
    assert sorted(kind.__name__ for kind in PARENTS) == sorted(errors.__all__)
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        assert len(re.findall(rf"\b{name}\b", drawn)) == 1


@kinds
def test_the_text_ends_with_the_hint(kind: type[TamperError]) -> None:
    error = kind("this is wrong.", hint="Do that.")
    assert str(error) == "this is wrong. Do that."
    assert (error.message, error.hint) == ("this is wrong.", "Do that.")
    assert error.args == ("this is wrong.",)


@kinds
def test_without_a_hint_the_kind_of_error_has_one(kind: type[TamperError]) -> None:
    assert kind("this is wrong.").hint == kind.default_hint
    assert str(kind("this is wrong.")) == f"this is wrong. {kind.default_hint}"


@kinds
def test_the_hint_is_given_by_name(kind: type[TamperError]) -> None:
    with pytest.raises(TypeError):
        kind("this is wrong.", "Do that.")  # type: ignore[misc]


@kinds
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_is_the_same_in_another_process(kind: type[TamperError], protocol: int) -> None:
    error = pickle.loads(pickle.dumps(kind("m \u00e9.", hint="h"), protocol))  # noqa: S301 (our own bytes)
    assert type(error) is kind
    assert (error.message, error.hint, str(error)) == ("m \u00e9.", "h", "m \u00e9. h")


@kinds
def test_a_copy_is_equal_in_all_that_is_said(kind: type[TamperError]) -> None:
    error = copy.copy(kind("m", hint="h"))
    assert (type(error), error.message, error.hint) == (kind, "m", "h")


def test_an_error_of_the_format_is_not_newer_unless_marked() -> None:
    assert FormatError("m").newer is False
    one = FormatError("m")
    one.newer = True
    assert FormatError("m").newer is False


def test_newer_is_the_same_in_another_process() -> None:
    error = FormatError("m")
    error.newer = True
    assert pickle.loads(pickle.dumps(error)).newer  # noqa: S301 (our own bytes)
