"""Reading segments: bounded, one member, only regular files, whole lines."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapilog_tamper.verify.source import (
    CHUNK,
    MAX_LINE,
    ExtraBytesError,
    SourceError,
    open_source,
    read_small,
    whole_lines,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DATA = b"".join(b'{"n":%d}\n' % number for number in range(40_000))


def read_all(path: Path, limit: int | None = None) -> bytes:
    with open_source(path) as source:
        return b"".join(source.chunks(limit))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
def test_every_packing_gives_the_same_bytes(pack, tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(pack(DATA))
    assert read_all(path) == DATA


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize(
    "behind", [b"x", b"\n", gzip.compress(b"{}\n", mtime=0), zstd.compress(b"{}\n"), b"\x00" * 70_000]
)
def test_bytes_behind_the_one_member_are_refused(pack, behind, tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(pack(DATA) + behind)
    with pytest.raises(ExtraBytesError):
        read_all(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_compressed_data_that_ends_early_is_damaged(pack, tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(pack(DATA)[:-9])
    with pytest.raises(SourceError, match=r"ends early|damaged") as caught:
        read_all(path)
    assert caught.value.damaged


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_no_more_is_unpacked_than_the_limit(pack, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(pack(b"\x00" * 50_000_000))
    taken: list[bytes] = []
    with open_source(path) as source, pytest.raises(SourceError, match="more than the 1000 bytes"):
        taken.extend(source.chunks(1000))
    assert sum(map(len, taken)) <= 1000 + CHUNK


def test_a_fifo_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceError, match="not a regular file"):
        read_all(tmp_path / "fifo")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not a regular file"):
        read_all(tmp_path)


def test_an_absent_file_is_told_apart(tmp_path):
    with pytest.raises(SourceError) as caught:
        read_all(tmp_path / "nothing")
    assert caught.value.absent
    with pytest.raises(SourceError, match="null"):
        read_all(Path("nul\x00"))


def test_a_file_that_becomes_shorter_is_noticed(tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(DATA)
    with open_source(path) as source:
        chunks = source.chunks()
        next(chunks)
        os.truncate(path, 1000)
        with pytest.raises(SourceError, match="shorter"):
            list(chunks)


def test_a_file_is_read_to_its_size_at_opening(tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(b"one\n")
    with open_source(path) as source:
        assert not source.grew()
        with path.open("ab") as file:
            file.write(b"two\n")
        assert b"".join(source.chunks()) == b"one\n"
        assert source.grew()


def test_a_small_file_is_read_to_one_byte_more_than_allowed(tmp_path):
    path = tmp_path / "head"
    path.write_bytes(b"x" * 100)
    assert read_small(path, 200) == b"x" * 100
    assert len(read_small(path, 50)) == 51


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc", b"\n\n", b"{}"]), max_size=30), st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_lines_do_not_depend_on_how_the_bytes_come(pieces, size):
    data = b"".join(pieces)
    blocks = list(whole_lines(data[at : at + size] for at in range(0, len(data), size)))
    assert b"".join(block.data for block in blocks) == data
    offset = 0
    for block in blocks:
        assert block.offset == offset
        offset += len(block.data)
        assert block.kind == ("lines" if block.data.endswith(b"\n") else "end")
    assert [block.kind for block in blocks[:-1]] == ["lines"] * (len(blocks) - 1)


def test_a_line_longer_than_any_entry_is_not_held():
    long = b"x" * (MAX_LINE + 70_000)
    data = b"one\n" + long + b"\ntwo\n" + long
    blocks = list(whole_lines(data[at : at + 65536] for at in range(0, len(data), 65536)))
    assert [block.kind for block in blocks] == ["lines", "long", "lines", "end"]
    assert max(len(block.data) for block in blocks) < 300
    assert blocks[2].offset == 4 + len(long) + 1


def test_parts_begin_behind_a_newline(tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(b"aaaa\nbbbb\ncccc")
    with open_source(path) as source:
        assert [source.line_start(offset) for offset in (0, 4, 5, 12)] == [5, 5, 10, 14]
