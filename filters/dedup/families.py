"""Families: which texts are copies of one another. A function of the set of texts, not of the order they came in.

Signatures are cut into bands; two texts that agree on a band are candidates (Leskovec et al., Mining of Massive Datasets,
ch. 3). A band shared by many (a template) does not cost n²: of up to `GROUP` texts every pair is a candidate, in a larger
group each text with the `GROUP` smallest ids. Candidates that another function finds alike (similarity.py) are linked,
linked texts are one family.

Limits: a family can hold two texts that are less alike than the threshold, linked through a third. Candidates whose
signatures are four standard errors below the threshold are dropped unread (one true pair in 30,000 at the threshold).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from filters.dedup.signature import distinct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Uint64s = npt.NDArray[np.uint64]
    Uint32s = npt.NDArray[np.uint32]

GROUP = 64
_ROWS = 1 << 14  # signatures at a time
BATCH = 1 << 22  # candidate pairs at a time


@lru_cache(maxsize=8)
def bands(threshold: float, permutations: int, false_negatives: float) -> tuple[int, int]:
    """(bands, rows of a band) as datasketch chooses them; `false_negatives` is the weight of missing a pair, 0..1."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(1.0 - false_negatives, false_negatives))
    return int(lsh.b), int(lsh.r)


class Signatures:
    """Signatures where they lie, in the chunks of a binary column: nothing is copied but what is taken.

    column: binary, little-endian uint32 [permutations] in each of `rows`; the other rows may hold none.
    """

    def __init__(self, column: pa.ChunkedArray, rows: Ints, permutations: int) -> None:
        import numpy as np

        self.permutations = permutations
        self._values: list[Uint32s] = []
        starts, before = [], 0  # of each row's signature: its number in all values, had they been joined
        for chunk in column.chunks:
            if not len(chunk):
                continue
            _, offsets, data = chunk.buffers()
            at = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk)].astype(np.int64)
            values = np.frombuffer(data, "<u4", count=len(data) // 4) if data else np.zeros(0, np.uint32)
            starts.append(before + at // 4)
            self._values.append(values)
            before += len(values)
        self._before = np.cumsum([0] + [len(v) for v in self._values])
        self._starts = np.concatenate(starts)[rows] if starts else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def take(self, places: Ints) -> Uint32s:
        """uint32 [places, permutations]; a place counts the rows given at the beginning."""
        import numpy as np

        starts = self._starts[places]
        out = np.empty((len(starts), self.permutations), np.uint32)
        chunk = np.searchsorted(self._before, starts, "right") - 1
        columns = np.arange(self.permutations)
        for number in np.unique(chunk).tolist():
            (here,) = (chunk == number).nonzero()
            out[here] = self._values[number][(starts[here] - self._before[number])[:, None] + columns]
        return out

    def agreement(self, pairs: Ints) -> Floats:
        """Jaccard similarity of each pair [n, 2] as its signatures estimate it."""
        import numpy as np

        out = np.empty(len(pairs))
        for start in range(0, len(pairs), _ROWS):
            block = pairs[start : start + _ROWS]
            out[start : start + _ROWS] = (self.take(block[:, 0]) == self.take(block[:, 1])).mean(axis=1)
        return out


def band_keys(signatures: Signatures, shape: tuple[int, int]) -> Uint64s:
    """uint64 [bands, n]: equal where a band is equal (and, for one pair in 2^64, where it is not)."""
    import numpy as np

    count, rows = shape
    keys = np.empty((count, len(signatures)), np.uint64)
    for start in range(0, len(signatures), _ROWS):
        block = signatures.take(np.arange(start, min(start + _ROWS, len(signatures))))
        values = block[:, : count * rows].reshape(len(block), count, rows)
        total = np.zeros((len(block), count), np.uint64)
        for row in range(rows):
            total = (total ^ values[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            total ^= total >> np.uint64(29)
        keys[:, start : start + len(block)] = total.T
    return keys


def candidates(keys: Uint64s) -> Iterator[Ints]:
    """int64 [pairs, 2], first < second: the columns of `keys` [bands, n] that share a row's value. In batches of some
    millions, so that memory is bounded; a batch is distinct and in order, a pair can come again in another."""
    import numpy as np

    n = max(1, keys.shape[1])
    found: list[Ints] = []
    fresh = 0
    for band in keys:
        for codes in _sharing(band, n):
            found.append(codes)
            fresh += len(codes)
            if fresh > BATCH:
                found, fresh = [distinct(np.concatenate(found))], 0
                if len(found[0]) > BATCH:
                    yield np.stack(np.divmod(found.pop(), n), axis=1)
    if found:
        yield np.stack(np.divmod(distinct(np.concatenate(found)), n), axis=1)


def _sharing(band: Uint64s, n: int) -> Iterator[Ints]:
    """Pairs with equal values, as first·n + second: each member of a group with those of rank below GROUP before it."""
    import numpy as np

    order = np.argsort(band, kind="stable")
    ordered = band[order]
    same = np.zeros(len(order), bool)  # as the one before
    same[1:] = ordered[1:] == ordered[:-1]
    shared = same.copy()
    shared[:-1] |= same[1:]
    order, same = order[shared], same[shared]
    place = np.arange(len(order))
    start = np.maximum.accumulate(np.where(same, 0, place))
    for rank in range(GROUP):
        later = place - start > rank
        if not later.any():
            return
        place, start = place[later], start[later]
        yield order[start + rank] * n + order[place]


def components(size: int, pairs: Ints) -> Ints:
    """int64 [size]: the smallest member of each one's connected component in the graph with these edges [n, 2]."""
    import numpy as np

    root = np.arange(size)
    first, second = pairs[:, 0], pairs[:, 1]
    while len(first):
        a, b = root[first], root[second]
        apart = a != b
        first, second, a, b = first[apart], second[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        root = flattened(root)
    return root


def flattened(root: Ints) -> Ints:
    """Every member's root, in a forest that gives each member one that is nearer to the root."""
    while (root[root] != root).any():
        root = root[root]
    return root


def lot(identity: str) -> int:
    """The lot a document draws, 0 ≤ lot < 2³²: the same for ever, uniform over documents."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=4, person=b"athanor lot").digest(), "big")
