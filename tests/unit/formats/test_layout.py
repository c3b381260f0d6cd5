"""File names: tables, and each function with its inverse."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapilog_tamper.errors import FormatError
from fapilog_tamper.layout import (
    STATE_FOLDER,
    head_name,
    is_manifest_name,
    is_segment_name,
    manifest_name,
    parse_head_name,
    parse_segment_name,
    plain_name,
    segment_name,
    torn_name,
)
from fapilog_tamper.names import check_stream

DAY = date(2026, 11, 20)


def _is_stream(name: str) -> bool:
    try:
        check_stream(name)
    except FormatError:
        return False
    return True


streams = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ["..", "a.jsonl", "x_2026-11-20", "x_2026-11-20.1", "x.chainstate", "/etc/passwd", "a.gz"]
)
streams = streams.map(lambda text: unicodedata.normalize("NFC", text)).filter(_is_stream)


@pytest.mark.parametrize(
    ("stream", "number", "name"),
    [
        ("audit", 0, "audit_2026-11-20.jsonl"),
        ("audit", 1, "audit_2026-11-20.1.jsonl"),
        ("audit", 999_999_999, "audit_2026-11-20.999999999.jsonl"),
        ("audit.w2.r3", 10, "audit.w2.r3_2026-11-20.10.jsonl"),
        ("a/b", 0, "a%2Fb_2026-11-20.jsonl"),
        ("..", 0, "%2E%2E_2026-11-20.jsonl"),
        (".a.", 0, "%2Ea%2E_2026-11-20.jsonl"),
        ("pr\u00fcf", 0, "pr%C3%BCf_2026-11-20.jsonl"),
        ("NUL", 0, "NUL_2026-11-20.jsonl"),
        ("a:b*?<>|~", 0, "a%3Ab%2A%3F%3C%3E%7C%7E_2026-11-20.jsonl"),
        ("x_2026-11-19.3", 0, "x_2026-11-19.3_2026-11-20.jsonl"),
        ("x.jsonl", 2, "x.jsonl_2026-11-20.2.jsonl"),
    ],
)
def test_segment_names(stream: str, number: int, name: str) -> None:
    assert segment_name(stream, DAY, number) == name
    assert parse_segment_name(name) == (stream, DAY, number)
    assert is_segment_name(name)
    assert not is_manifest_name(name)


@settings(deadline=None)
@given(stream=streams, day=st.dates(), number=st.integers(0, 999_999_999))
def test_segment_names_are_read_as_they_were_written(stream: str, day: date, number: int) -> None:
    name = segment_name(stream, day, number)
    assert parse_segment_name(name) == (stream, day, number)
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>|\x00\n ')
    assert len(f"{name}.manifest.json.tmp") < 255


@settings(deadline=None)
@given(name=st.from_regex(r"(?s).{0,6}_?\d{4}-\d\d-\d\d(\.\d{1,3})?\.jsonl(\.gz)?"))
def test_what_is_read_is_written_the_same(name: str) -> None:
    parsed = parse_segment_name(name)
    assert parsed is None or segment_name(*parsed) == name


HOSTILE = [
    "",
    ".",
    "..",
    ".jsonl",
    "_2026-11-20.jsonl",
    "audit.jsonl",
    "audit_2026-11-20",
    "audit_2026-11-20.json",
    "audit_2026-11-20.jsonl.gz",
    "audit_2026-11-20.jsonl\n",
    "audit_2026-11-20.jsonl ",
    "audit_2026-11-20.0.jsonl",
    "audit_2026-11-20.01.jsonl",
    "audit_2026-11-20.-1.jsonl",
    "audit_2026-11-20.1000000000.jsonl",
    "audit_2026-11-20.\u0661.jsonl",
    "audit_2026-11-20.1\u0662.jsonl",
    "audit_2026-11-20..jsonl",
    "audit_2026-02-30.jsonl",
    "audit_2026-13-01.jsonl",
    "audit_0000-01-01.jsonl",
    "audit_20261120.jsonl",
    "audit_2026-W47-5.jsonl",
    "audit_\u0662\u0660\u0662\u0666-11-20.jsonl",
    "audit-2026-11-20.jsonl",
    "a/b_2026-11-20.jsonl",
    "../x_2026-11-20.jsonl",
    "/x_2026-11-20.jsonl",
    "a b_2026-11-20.jsonl",
    "\u00e9_2026-11-20.jsonl",
    "%2f_2026-11-20.jsonl",
    "%41_2026-11-20.jsonl",
    "%2_2026-11-20.jsonl",
    "%_2026-11-20.jsonl",
    "%FF_2026-11-20.jsonl",
    "%ED%A0%80_2026-11-20.jsonl",
    ".a_2026-11-20.jsonl",
    "a._2026-11-20.jsonl",
    "a\x00_2026-11-20.jsonl",
    "a\n_2026-11-20.jsonl",
    "\udcff_2026-11-20.jsonl",
    "a_2026-11-20.JSONL",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_no_writer_gives(name: str) -> None:
    assert parse_segment_name(name) is None


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.jsonl", "a.jsonl"),
        ("a.jsonl.gz", "a.jsonl"),
        ("a.jsonl.zst", "a.jsonl"),
        ("a.jsonl.gz.gz", "a.jsonl.gz"),
        ("a.jsonl.zst.gz", "a.jsonl.zst"),
        ("a.jsonl.GZ", "a.jsonl.GZ"),
        ("a.jsonl.bz2", "a.jsonl.bz2"),
        ("a.gz.jsonl", "a.gz.jsonl"),
        ("gz", "gz"),
        (".gz", ""),
        ("", ""),
    ],
)
def test_plain_and_manifest_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert manifest_name(name) == f"{plain}.manifest.json"


@pytest.mark.parametrize(
    ("name", "is_segment", "is_manifest"),
    [
        ("a.jsonl", True, False),
        ("a.jsonl.gz", True, False),
        ("a.jsonl.zst", True, False),
        ("a.jsonl.1", True, False),
        ("a.jsonl.old", True, False),
        (".jsonl", True, False),
        ("a.jsonl.torn", True, False),
        ("a.jsonl.torn-", True, False),
        ("a.jsonl.torn-x", True, False),
        ("a.jsonl.torn-1", False, False),
        ("a.jsonl.torn-12", False, False),
        ("a.jsonl.tmp", False, False),
        ("a.jsonl.manifest.json", False, True),
        ("a.jsonl.manifest.json.tmp", False, False),
        ("a.manifest.json", False, False),
        ("a.json", False, False),
        ("a.JSONL", False, False),
        ("a.jsonl.lock", False, False),
        ("audit.key", False, False),
        ("", False, False),
    ],
)
def test_what_a_folder_is_read_as(name: str, is_segment: bool, is_manifest: bool) -> None:  # noqa: FBT001 (columns)
    assert is_segment_name(name) is is_segment
    assert is_manifest_name(name) is is_manifest


@settings(deadline=None)
@given(stream=streams, number=st.integers(0, 99))
def test_what_lies_beside_a_segment_is_none(stream: str, number: int) -> None:
    name = segment_name(stream, DAY, number)
    assert is_manifest_name(manifest_name(name))
    assert manifest_name(name + ".gz") == manifest_name(name + ".zst") == manifest_name(name)
    for beside in (manifest_name(name), manifest_name(name) + ".tmp", torn_name(name, 1), name + ".tmp"):
        assert not is_segment_name(beside)
        assert parse_segment_name(beside) is None


@pytest.mark.parametrize(
    "stream",
    [
        "x.jsonl",
        "x.gz",
        "x.torn-",
        "x.chainstate",
        "x.tmp",
        "x.tmp.y",
        pytest.param("x.template", marks=()),
        "x.tmpl",
        "x.torn-1",
        "x.manifest.json",
        "x.manifest.jsonl",
    ],
)
def test_the_segment_of_any_stream_is_read_as_a_segment(stream: str) -> None:
    assert is_segment_name(segment_name(stream, DAY))
    assert is_segment_name(segment_name(stream, DAY, 3) + ".gz")


def test_torn_names() -> None:
    assert torn_name("a_2026-11-20.jsonl", 3) == "a_2026-11-20.jsonl.torn-3"


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        ("audit", "audit.chainstate"),
        ("audit.w2", "audit.w2.chainstate"),
        ("../x", "%2E.%2Fx.chainstate"),
        ("x.chainstate", "x.chainstate.chainstate"),
        ("\u6f22", "%E6%BC%A2.chainstate"),
    ],
)
def test_head_names(stream: str, name: str) -> None:
    assert head_name(stream) == name
    assert parse_head_name(name) == stream


@settings(deadline=None)
@given(stream=streams)
def test_head_names_are_read_as_they_were_written(stream: str) -> None:
    assert parse_head_name(head_name(stream)) == stream
    assert len(f"{head_name(stream)}.tmp") < 255


@pytest.mark.parametrize(
    "name",
    [
        "",
        "audit",
        "audit.lock",
        "audit.chainstate.tmp",
        "audit.chainstate\n",
        "audit.CHAINSTATE",
        "a/b.chainstate",
        "%2fa.chainstate",
        "%41.chainstate",
        "%FF.chainstate",
        "\u00e9.chainstate",
        "\udcff.chainstate",
        "..chainstate",
        "a..chainstate",
        ".chainstate",
        "%20.chainstate",
    ],
)
def test_names_that_are_no_heads(name: str) -> None:
    assert parse_head_name(name) is None


def test_the_state_folder_is_hidden() -> None:
    assert STATE_FOLDER == ".fapilog"
