from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.dedup import families
from filters.dedup.families import GROUP, Signatures, band_keys, bands, candidates, components, lot


def signatures(rows: list[list[int]], width: int, chunks: int = 1) -> Signatures:
    packed = [np.array(row, "<u4").tobytes() for row in rows]
    step = max(1, -(-len(rows) // chunks))
    column = pa.chunked_array([pa.array(packed[i : i + step], pa.binary()) for i in range(0, len(rows), step)], pa.binary())
    return Signatures(column, np.arange(len(rows)), width)


def pairs_of(rows: list[list[int]], shape: tuple[int, int]) -> list[tuple[int, int]]:
    keys = band_keys(signatures(rows, shape[0] * shape[1]), shape)
    return [(a, b) for batch in candidates(keys) for a, b in batch.tolist()]


def test_the_bands_are_datasketchs() -> None:
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    assert bands(0.8, 128, 0.5) == (lsh.b, lsh.r)


def test_more_weight_on_missed_pairs_makes_the_bands_more_sensitive() -> None:
    def found(shape: tuple[int, int]) -> float:
        return float(1 - (1 - 0.8 ** shape[1]) ** shape[0])

    assert found(bands(0.8, 128, 0.9)) > found(bands(0.8, 128, 0.5))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), max_size=20))
def test_candidates_are_the_pairs_that_share_a_band(rows: list[list[int]]) -> None:
    expected = {
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if any(rows[i][k : k + 2] == rows[j][k : k + 2] for k in (0, 2, 4))
    }
    found = pairs_of(rows, (3, 2))
    assert set(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("size", [GROUP, GROUP + 1, 300])
def test_a_band_shared_by_many_is_compared_with_the_smallest_ids_only(size: int) -> None:
    found = pairs_of([[7, 7]] * size + [[8, 9], [9, 9]], (1, 2))
    assert set(found) == {(a, b) for a in range(GROUP) for b in range(a + 1, size)}


def test_many_candidates_come_in_batches_that_leave_none_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).integers(0, 3, (60, 8)).tolist()
    whole = pairs_of(rows, (4, 2))
    monkeypatch.setattr(families, "BATCH", 50)
    keys = band_keys(signatures(rows, 8), (4, 2))
    batches = [{(a, b) for a, b in batch.tolist()} for batch in candidates(keys)]
    assert len(batches) > 3 and set().union(*batches) == set(whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_named_by_their_smallest_member(size: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % size, b % size) for a, b in edges]
    root = list(range(size))
    for _ in range(size):
        for a, b in edges:
            root[a] = root[b] = min(root[a], root[b])
    assert components(size, np.array(edges, np.int64).reshape(-1, 2)).tolist() == root


@pytest.mark.parametrize("chunks", [1, 4])
def test_signatures_are_read_where_they_lie(chunks: int) -> None:
    rows = np.random.default_rng(1).integers(0, 1 << 32, (50, 16), dtype=np.uint32)
    packed = [row.astype("<u4").tobytes() if n % 5 else b"" for n, row in enumerate(rows)]
    pieces = [pa.array(packed[i : i + 50 // chunks], pa.binary()) for i in range(0, 50, 50 // chunks)]
    column = pa.chunked_array([p.slice(0, 7) for p in pieces[:1]] + [p.slice(7) for p in pieces[:1]] + pieces[1:])
    wanted = np.array([n for n in range(49, -1, -1) if n % 5])
    read = Signatures(column, wanted, 16)
    assert (read.take(np.array([3, 0, 39, 3])) == rows[wanted[[3, 0, 39, 3]]]).all()
    same = read.agreement(np.array([[0, 0], [0, 1]]))
    assert same.tolist() == [1.0, (rows[wanted[0]] == rows[wanted[1]]).mean()]


def test_an_empty_set_has_no_candidates() -> None:
    assert pairs_of([], (4, 2)) == []


def test_lots_are_fixed_and_uniform() -> None:
    lots = [lot(f"{i:032x}") for i in range(4000)]
    assert lots[0] == lot("0" * 32) and all(0 <= n < 1 << 32 for n in lots)
    assert 0.03 < sum(n < 0.05 * (1 << 32) for n in lots) / 4000 < 0.07
