"""True Jaccard similarity of the word shingles of texts, and the families it makes.

Candidates are verified on the texts themselves, which are read again: only theirs, in chunks whose shingles fit in memory,
ordered so that a text is read about once. Pairs that are already of one family need no look, so a large family costs about
as many comparisons as it has members; which texts are linked does not depend on that.

Limits: shingles are compared by 32-bit hashes: of two unrelated texts of a million words some 200 shingles seem shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from filters.dedup.families import components, flattened
from filters.dedup.signature import distinct, normal_form, shingles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Uint32s = npt.NDArray[np.uint32]
    Bools = npt.NDArray[np.bool_]
    Filter = Callable[[Ints], Bools]

CHUNK = 1 << 25  # words of texts whose shingles are in memory together (4 bytes each)
_READ = 1 << 20  # words of texts in memory together
_SMALL = 8  # texts among which every candidate pair is compared: one survives, and its similarities to the others are wanted


def shingle_set(text: str, size: int) -> Uint32s:
    """Distinct hashes, in order, of the shingles of a text."""
    return distinct(shingles(normal_form(text), size))


def jaccard(a: Uint32s, b: Uint32s) -> float:
    """|a ∩ b| / |a ∪ b| of two sets given as distinct numbers; 0 when both are empty."""
    import numpy as np

    both = np.concatenate((a, b))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / max(1, len(both) - shared)


class Texts:
    """Texts that are read for being compared. `read`: numbers of texts, ascending -> the texts; `words`: length of each."""

    def __init__(self, read: Callable[[Ints], list[str]], words: Ints, shingle_words: int) -> None:
        self.read, self.words, self.shingle_words = read, words, shingle_words

    def similarities(self, pairs: Ints) -> Floats:
        """True Jaccard similarity of each pair [n, 2]."""
        import numpy as np

        out = np.empty(len(pairs))
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        for chunk, sets in self._chunks(order, pairs):
            out[chunk] = [jaccard(sets[first], sets[second]) for first, second in plain_rows(pairs[chunk, 0], pairs[chunk, 1])]
        return out

    def families(self, batches: Iterable[Ints], plausible: Filter, threshold: float) -> tuple[Ints, Known]:
        """(int64 [texts]: the smallest member of each one's family, the similarities of pairs at or above the threshold).

        batches: candidate pairs [n, 2], first < second, in order. plausible: which of some pairs are worth reading.
        """
        import numpy as np

        size = len(self.words)
        root = list(range(size))
        known = Known(size)

        def find(text: int) -> int:
            while root[text] != text:
                root[text] = text = root[root[text]]
            return text

        def link(pairs: Ints, group: Ints, crowded: Bools) -> None:
            settled = flattened(np.array(root))
            some = np.flatnonzero(~crowded | (settled[pairs[:, 0]] != settled[pairs[:, 1]]))
            some = some[plausible(pairs[some])]
            pairs, group, crowded = pairs[some], group[some], crowded[some]
            for chunk, sets in self._chunks(np.lexsort((pairs[:, 0], pairs[:, 1], group)), pairs):
                for first, second, many in plain_rows(pairs[chunk, 0], pairs[chunk, 1], crowded[chunk]):
                    a, b = find(first), find(second)
                    if many and a == b:
                        continue
                    similarity = jaccard(sets[first], sets[second])
                    if similarity >= threshold:
                        root[max(a, b)] = min(a, b)
                        known.add(first, second, similarity)

        for pairs in batches:
            settled = flattened(np.array(root))
            pairs = pairs[settled[pairs[:, 0]] != settled[pairs[:, 1]]]
            component = components(size, pairs)
            group = component[pairs[:, 0]]
            crowded = (np.bincount(component, minlength=size) > _SMALL)[group]
            star = np.zeros(len(pairs), bool)
            star[np.unique(pairs[:, 1], return_index=True)[1]] = True  # each text with the smallest one: may settle them all
            for round in (star | ~crowded, crowded & ~star):
                link(pairs[round], group[round], crowded[round])
        return flattened(np.array(root, np.int64)), known

    def _chunks(self, order: Ints, pairs: Ints) -> Iterator[tuple[Ints, dict[int, Uint32s]]]:
        """Pieces of `order` (numbers of pairs) with the shingles of the texts in them."""
        import numpy as np

        ordered = pairs[order].ravel()  # a text costs its words where it first occurs
        cost = np.zeros(len(ordered), np.int64)
        _, first = np.unique(ordered, return_index=True)
        cost[first] = self.words[ordered[first]]
        chunk = np.cumsum(cost)[1::2] // CHUNK
        for piece in np.split(order, np.flatnonzero(np.diff(chunk)) + 1) if len(order) else ():
            wanted = distinct(pairs[piece].ravel())
            block = np.cumsum(self.words[wanted]) // _READ
            sets: dict[int, Uint32s] = {}
            for some in np.split(wanted, np.flatnonzero(np.diff(block)) + 1):
                for number, text in zip(some.tolist(), self.read(some), strict=True):
                    sets[number] = shingle_set(text, self.shingle_words)
            yield piece, sets


def plain_rows(*columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of these columns as plain numbers, few at a time: as Python's they take ten times the memory."""
    for start in range(0, len(columns[0]), 1 << 14):
        yield from zip(*(column[start : start + (1 << 14)].tolist() for column in columns), strict=True)


class Known:
    """Similarities of pairs that were compared."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._codes: list[int] = []
        self._values: list[float] = []

    def add(self, first: int, second: int, similarity: float) -> None:
        """Remember a pair, first < second."""
        self._codes.append(first * self._size + second)
        self._values.append(similarity)

    def look_up(self, pairs: Ints) -> Floats:
        """Similarity of each pair [n, 2], in either order; NaN where it was not compared."""
        import numpy as np

        codes, values = np.array([*self._codes, np.iinfo(np.int64).max], np.int64), np.array([*self._values, np.nan])
        order = np.argsort(codes, kind="stable")
        codes, values = codes[order], values[order]
        wanted = pairs.min(axis=1) * self._size + pairs.max(axis=1)
        at = np.searchsorted(codes, wanted)
        return np.where(codes[at] == wanted, values[at], np.nan)
