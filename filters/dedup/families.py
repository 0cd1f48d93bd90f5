"""Families: which texts are copies of one another. A function of the set of texts, not of the order they came in.

Signatures are cut into bands; texts that agree on a band are candidates, candidates whose similarity reaches the
threshold are linked, linked texts are one family. A band shared by many (a template) does not cost n²: up to `GROUP`
texts every pair is looked at, above that each text is compared with the `GROUP` smallest ids.

Limits: the similarity is the one the signatures estimate (standard error about 0.035 at 0.8 with 128 permutations);
another measure, such as the true Jaccard of the shingle sets, can be given as `similar`. A family can hold two texts
that are less alike than the threshold, linked through a third.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Uint32s = npt.NDArray[np.uint32]

GROUP = 64


@lru_cache(maxsize=8)
def bands(threshold: float, permutations: int, false_negatives: float) -> tuple[int, int]:
    """(bands, rows of a band) as datasketch chooses them; `false_negatives` is the weight of missing a pair, 0..1."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(1.0 - false_negatives, false_negatives))
    return int(lsh.b), int(lsh.r)


def candidates(signatures: Uint32s, shape: tuple[int, int]) -> Ints:
    """int64 [pairs, 2], distinct, first < second: rows of `signatures` [n, permutations] that share a band."""
    import numpy as np

    count, rows = shape
    n = len(signatures)
    found: list[Ints] = []
    for band in range(count):
        keys = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows]).view(np.dtype((np.void, 4 * rows))).ravel()
        _, inverse, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(sizes[inverse] > 1)
        members = shared[np.argsort(inverse[shared], kind="stable")]  # grouped by key, in row order inside a group
        for group in np.split(members, np.flatnonzero(np.diff(inverse[members])) + 1) if len(members) else ():
            first, second = np.triu_indices(len(group), 1) if len(group) <= GROUP else _against_smallest(len(group))
            found.append(group[first] * n + group[second])
    codes = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return np.stack([codes // max(1, n), codes % max(1, n)], axis=1)


def _against_smallest(size: int) -> tuple[Ints, Ints]:
    import numpy as np

    first, second = np.meshgrid(np.arange(GROUP), np.arange(size), indexing="ij")
    below = first < second
    return first[below], second[below]


def estimated(signatures: Uint32s, pairs: Ints) -> Floats:
    """Jaccard similarity of each pair as its signatures estimate it."""
    import numpy as np

    out = np.empty(len(pairs))
    for start in range(0, len(pairs), 8192):
        block = pairs[start : start + 8192]
        out[start : start + 8192] = (signatures[block[:, 0]] == signatures[block[:, 1]]).mean(axis=1)
    return out


def linked(signatures: Uint32s, shape: tuple[int, int], threshold: float, similar: Callable[[Ints], Floats] | None = None) -> Ints:
    """int64 [n]: the smallest row of each row's family. Rows must be in id order."""
    import numpy as np

    pairs = candidates(signatures, shape)
    alike = pairs[(similar(pairs) if similar else estimated(signatures, pairs)) >= threshold]
    root = list(range(len(signatures)))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for first, second in alike.tolist():
        a, b = find(first), find(second)
        if a != b:
            root[max(a, b)] = min(a, b)
    return np.array([find(row) for row in range(len(root))], np.int64)


def lot(identity: str) -> int:
    """The lot a document draws, 0 ≤ lot < 2³²: the same for ever, uniform over documents."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=4, person=b"athanor lot").digest(), "big")
