"""MinHash signatures of word shingles, vectorised.

The permutations are datasketch's (scheme 'affine32', seed 1: murmur finalizer, then a·h + b mod 2³²), so for the same
32-bit hashes of the same shingles the signature equals `datasketch.MinHash`'s. The hash of a shingle is our own: words
are hashed once (SHA-1, 64 bits, remembered), a shingle's hash is a polynomial of its words' hashes, computed for all
shingles of a text at once. `shingle_hash` is the same function for one shingle, to give to datasketch as `hashfunc`.

Words are runs of letters, digits and underscores in lower case: numbers count, and so do placeholders such as <PERSONA>.

Limits: 32-bit hashes collide for texts of millions of words; a text shorter than a shingle is one shingle.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Uint64s = npt.NDArray[np.uint64]
    Uint32s = npt.NDArray[np.uint32]

_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd: multiplying by it loses nothing mod 2^64
_MASK = (1 << 64) - 1
_REMEMBERED = 500_000  # words a worker remembers the hash of
_BLOCK = 4096  # shingles at a time: 2 MiB for 128 permutations


def words_of(text: str) -> list[str]:
    """The words of a text, lower case."""
    return _WORD.findall(text.lower())


class WordHashes(dict[str, int]):
    """64-bit hash of each word, computed when first asked for. One per worker."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = int.from_bytes(hashlib.sha1(word.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[:8], "little")
        self[word] = value
        return value

    def of(self, words: list[str]) -> Uint64s:
        """uint64 [n] of these words."""
        import numpy as np

        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def grams(hashes: Uint64s, size: int) -> Uint64s:
    """uint64 [n - size + 1]: a well mixed hash of each run of `size` words; of the whole, when there are fewer."""
    import numpy as np

    size = min(size, len(hashes))
    count = len(hashes) - size + 1
    if not size:
        return np.zeros(0, np.uint64)
    total = np.zeros(count, np.uint64)
    for k in range(size):
        total = total * np.uint64(_BASE) + hashes[k : k + count]
    total ^= total >> np.uint64(33)
    total *= np.uint64(0xFF51AFD7ED558CCD)
    return total ^ (total >> np.uint64(33))


def shingles(hashes: Uint64s, size: int) -> Uint32s:
    """Distinct 32-bit hashes of the word shingles of a text."""
    import numpy as np

    return np.unique((grams(hashes, size) >> np.uint64(32)).astype(np.uint32))


def shingle_hash(shingle: bytes) -> int:
    """32-bit hash of one shingle, its words joined by spaces."""
    total = 0
    for word in shingle.decode("utf-8", "surrogatepass").split(" "):
        total = (
            total * _BASE
            + int.from_bytes(hashlib.sha1(word.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[:8], "little")
        ) & _MASK
    total ^= total >> 33
    total = (total * 0xFF51AFD7ED558CCD) & _MASK
    return (total ^ (total >> 33)) >> 32


@lru_cache(maxsize=8)
def permutations(count: int, seed: int = 1) -> tuple[Uint32s, Uint32s]:
    """datasketch's (a, b) of `count` affine permutations of the 32-bit numbers."""
    import numpy as np

    random = np.random.RandomState(seed)
    a = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, random.randint(0, 1 << 32, count, dtype=np.uint32)


def signature(shingles: Uint32s, count: int = 128) -> Uint32s:
    """MinHash signature, uint32 [count], of these shingle hashes; all ones for none."""
    import numpy as np

    a, b = permutations(count)
    h = shingles ^ (shingles >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    least = np.full(count, 0xFFFFFFFF, np.uint32)
    for start in range(0, len(h), _BLOCK):
        np.minimum(least, (h[start : start + _BLOCK, None] * a + b).min(axis=0), out=least)
    return least
