from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.dedup.families import GROUP, bands, candidates, estimated, linked, lot


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
    signatures = np.array(rows, np.uint32).reshape(len(rows), 6)
    expected = {
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if any(rows[i][k : k + 2] == rows[j][k : k + 2] for k in (0, 2, 4))
    }
    assert {tuple(pair) for pair in candidates(signatures, (3, 2)).tolist()} == expected


def test_a_band_shared_by_many_is_compared_with_the_smallest_ids_only() -> None:
    size = 300
    signatures = np.zeros((size, 4), np.uint32)
    pairs = candidates(signatures, (1, 4))
    assert len(pairs) == GROUP * size - GROUP * (GROUP + 1) // 2
    assert pairs[:, 0].max() == GROUP - 1
    assert set(linked(signatures, (1, 4), 0.8).tolist()) == {0}


def test_links_are_transitive_and_need_the_threshold() -> None:
    signatures = np.array([[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 2], [9, 9, 9, 9]], np.uint32)
    assert linked(signatures, (4, 1), 0.75).tolist() == [0, 0, 0, 3]
    assert linked(signatures, (4, 1), 0.8).tolist() == [0, 1, 2, 3]
    assert estimated(signatures, np.array([[0, 1], [0, 3]])).tolist() == [0.75, 0.0]


def test_another_similarity_can_verify_the_candidates() -> None:
    signatures = np.array([[1, 1], [1, 2]], np.uint32)
    assert linked(signatures, (2, 1), 0.5, lambda pairs: np.zeros(len(pairs))).tolist() == [0, 1]


def test_an_empty_set_has_no_families() -> None:
    assert linked(np.zeros((0, 8), np.uint32), (4, 2), 0.8).tolist() == []


def test_lots_are_fixed_and_uniform() -> None:
    lots = [lot(f"{i:032x}") for i in range(4000)]
    assert lots[0] == lot("0" * 32) and all(0 <= n < 1 << 32 for n in lots)
    assert 0.03 < sum(n < 0.05 * (1 << 32) for n in lots) / 4000 < 0.07
