"""A shard says what it is, and one that is not whole is refused with what is wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packer.shards import FILE, open_shard, read_header, write_shard


def write(folder, lists, vocab_size=1000):
    n = len(lists)
    column = pa.chunked_array([pa.array(lists, pa.list_(pa.uint32()))])
    hashes = pa.chunked_array([pa.array([None if x is None else "abc" for x in lists], pa.string())])
    sizes = pa.chunked_array([pa.array([None if x is None else vocab_size for x in lists], pa.int64())])
    lengths = pa.chunked_array([pa.array([None if x is None else 2 * len(x) for x in lists], pa.int64())])
    assert len(column) == n
    return write_shard(folder, column, hashes, sizes, lengths)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 999), max_size=20)), max_size=8))
def test_what_is_written_is_read_back_at_its_offset(tmp_path_factory, lists) -> None:
    folder = tmp_path_factory.mktemp("shard")
    offsets = write(folder, lists).to_pylist()
    tokens = open_shard(folder / FILE)
    for offset, expected in zip(offsets, lists, strict=True):
        assert (offset is None) == (expected is None)
        if expected is not None:
            assert tokens[offset : offset + len(expected)].tolist() == expected
    header, begin = read_header(folder / FILE)
    assert header.count == sum(len(x) for x in lists if x is not None)
    assert header.documents == sum(x is not None for x in lists)
    assert begin % 64 == 0


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_tokens_take_two_bytes_up_to_65536_and_four_beyond(tmp_path, vocab_size, dtype) -> None:
    write(tmp_path, [[0, vocab_size - 1]], vocab_size)
    assert open_shard(tmp_path / FILE).dtype == dtype
    assert open_shard(tmp_path / FILE)[1] == vocab_size - 1


def test_a_token_outside_the_vocabulary_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="outside a vocabulary of 10"):
        write(tmp_path, [[10]], 10)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not a token shard"),
        (lambda data: b"NOTTOKEN" + data[8:], "not a token shard"),
        (lambda data: data[:-1], "bytes long and its header says"),
        (lambda data: data + b"\0", "bytes long and its header says"),
        (lambda data: data[:8] + b"\xff\xff\xff\x7f" + data[12:], "header would be"),
        (lambda data: data[:12] + b"x" + data[13:], "cannot be read"),
        (lambda data: data.replace(b'"version": 1', b'"version": 9'), "version 9"),
    ],
)
def test_a_damaged_shard_is_refused(tmp_path, damage, message) -> None:
    write(tmp_path, [[1, 2, 3]])
    path = tmp_path / FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        open_shard(path)


def test_one_shard_holds_one_tokenizer(tmp_path) -> None:
    lists, numbers = pa.chunked_array([pa.array([[1], [2]], pa.list_(pa.uint32()))]), pa.chunked_array([pa.array([5, 5])])
    with pytest.raises(ValueError, match="one tokenizer"):
        write_shard(tmp_path, lists, pa.chunked_array([pa.array(["a", "b"])]), numbers, numbers)
