"""Words, shingles and MinHash signatures of a text, computed on arrays of code points: no string is made of a word.

A text becomes its *normal form*: its words in lower case, joined by one space. Words are runs of letters, digits and
underscores (`\\w`), so numbers count and so do placeholders such as <PERSONA>. The hash of a run of words is a polynomial
of the code points of those words joined by spaces, mod 2^64; prefix sums give it for all runs of a text at once
(Karp and Rabin 1987). A finalizer mixes it, a shingle keeps the upper 32 bits. `shingle_hash` is the same for one string.

The permutations are datasketch's (scheme 'affine32', seed 1: murmur finalizer, then a·h + b mod 2³²), so a signature
equals that of `datasketch.MinHash(hashfunc=shingle_hash)` over the same shingles (Broder 1997).

Limits: letters are lowered one by one (İ is i, a final ς is σ). 32-bit hashes collide for texts of millions of words. A
text shorter than a shingle is one shingle. Polynomials mod 2^64 can be attacked by who writes texts for it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Uint64s = npt.NDArray[np.uint64]
    Uint32s = npt.NDArray[np.uint32]
    Numbers = TypeVar("Numbers", Uint32s, Uint64s, Ints)

SPACE = 32
_BASE = 0x9E3779B97F4A7C15  # odd: it has an inverse mod 2^64
_MIX = 0xFF51AFD7ED558CCD
_MASK = (1 << 64) - 1
_CHARACTERS = 1 << 16  # of a text at a time
_RUNS = 1 << 13  # runs of words at a time
_HASHES = 1 << 10  # hashes at a time: with 128 permutations the buffer is 512 KiB


@lru_cache(maxsize=1)
def _letters() -> Uint32s:
    """uint32 [all code points]: the lower-case code point of what belongs to words, SPACE for the rest."""
    import numpy as np

    table = np.full(0x110000, SPACE, np.uint32)
    everything = np.arange(len(table), dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    for run in re.finditer(r"\w+", everything):
        table[run.start() : run.end()] = [ord(c.lower()[0]) for c in run.group()]
    table[ord("ς")] = ord("σ")
    return table


def normal_form(text: str) -> Uint32s:
    """The code points of the words of a text, lower case, joined by one space; lone surrogates separate words."""
    import numpy as np

    letters = _letters()
    pieces = []
    inside = False  # does the character before belong to a word?
    for start in range(0, len(text), _CHARACTERS):
        block = text[start : start + _CHARACTERS].encode("utf-32-le", "surrogatepass")
        codes = letters.take(np.frombuffer(block, "<u4"))
        word = codes != SPACE
        stays = word.copy()
        stays[0] |= inside
        stays[1:] |= word[:-1]  # the one separator after a word
        inside = bool(word[-1])
        pieces.append(codes[stays])
    if not pieces:
        return np.zeros(0, np.uint32)
    codes = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return codes if inside else codes[:-1]


def string_of(codes: Uint32s) -> str:
    """A normal form as a string."""
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le")


def count_words(codes: Uint32s) -> int:
    """How many words a normal form has."""
    import numpy as np

    return int(np.count_nonzero(codes == SPACE)) + 1 if len(codes) else 0


@lru_cache(maxsize=4)
def _cached_powers(length: int) -> tuple[Uint64s, Uint64s]:
    import numpy as np

    base = np.full(length, _BASE, np.uint64)
    inverse = np.full(length, pow(_BASE, -1, 1 << 64), np.uint64)
    base[0] = inverse[0] = 1
    return np.multiply.accumulate(base), np.multiply.accumulate(inverse)


def _powers(length: int) -> tuple[Uint64s, Uint64s]:
    """Powers of the base and of its inverse mod 2^64, at least `length`; kept unless a run of words is enormous."""
    size = 1 << max(16, (length - 1).bit_length())
    return _cached_powers(size) if size <= 1 << 18 else _cached_powers.__wrapped__(size)


def grams(codes: Uint32s, size: int) -> Uint64s:
    """uint64 [n - size + 1]: a well mixed hash of each run of `size` of the n words of a normal form; of the whole, when
    there are fewer words."""
    import numpy as np

    if not len(codes):
        return np.zeros(0, np.uint64)
    (spaces,) = (codes == SPACE).nonzero()
    size = min(size, len(spaces) + 1)
    count = len(spaces) - size + 2
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    first[0], first[1:] = 0, spaces[: count - 1] + 1
    last[:-1], last[-1] = spaces[size - 1 :], len(codes)
    total = np.empty(count, np.uint64)
    for start in range(0, count, _RUNS):
        a, b = first[start : start + _RUNS], last[start : start + _RUNS]
        offset = int(a[0])
        part = codes[offset : int(b[-1])]
        if offset:
            a, b = a - offset, b - offset
        up, down = _powers(len(part))
        sums = np.empty(len(part) + 1, np.uint64)
        sums[0] = 0
        np.add.accumulate(part * up[: len(part)], out=sums[1:])
        total[start : start + _RUNS] = (sums.take(b) - sums.take(a)) * down.take(a)
    total ^= total >> np.uint64(33)
    total *= np.uint64(_MIX)
    total ^= total >> np.uint64(33)
    return total


def shingles(codes: Uint32s, size: int) -> Uint32s:
    """32-bit hashes of the word shingles of a normal form, in the text's order, repeated ones too."""
    import numpy as np

    return (grams(codes, size) >> np.uint64(32)).astype(np.uint32)


def distinct(numbers: Numbers) -> Numbers:
    """The distinct ones of these numbers, in order. (numpy's own takes several times as long for integers.)"""
    import numpy as np

    ordered = np.sort(numbers)
    fresh = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return ordered[fresh]


def shingle_hash(shingle: bytes) -> int:
    """32-bit hash of one shingle: its words in lower case, joined by spaces, in UTF-8."""
    total, power = 0, 1
    for letter in shingle.decode("utf-8"):
        total = (total + ord(letter) * power) & _MASK
        power = (power * _BASE) & _MASK
    total ^= total >> 33
    total = (total * _MIX) & _MASK
    return (total ^ (total >> 33)) >> 32


@lru_cache(maxsize=8)
def permutations(count: int, seed: int = 1) -> tuple[Uint32s, Uint32s]:
    """datasketch's (a, b) of `count` affine permutations of the 32-bit numbers."""
    import numpy as np

    random = np.random.RandomState(seed)
    a = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, random.randint(0, 1 << 32, count, dtype=np.uint32)


class Signer:
    """Makes MinHash signatures of `count` numbers. Keeps a buffer: one for each thread."""

    def __init__(self, count: int = 128) -> None:
        import numpy as np

        self.count = count
        self._a, self._b = (p[:, None].copy() for p in permutations(count))
        self._buffer = np.empty(count * _HASHES, np.uint32)

    def __call__(self, hashes: Uint32s) -> Uint32s:
        """The signature, uint32 [count], of these shingle hashes; all ones for none."""
        import numpy as np

        h = hashes ^ (hashes >> np.uint32(16))
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
        least = np.full(self.count, 0xFFFFFFFF, np.uint32)
        for start in range(0, len(h), _HASHES):
            part = h[start : start + _HASHES]
            values = self._buffer[: self.count * len(part)].reshape(self.count, len(part))  # a fresh one costs more than the sums
            np.multiply(self._a, part, out=values)
            np.add(values, self._b, out=values)
            np.minimum(least, values.min(axis=1), out=least)
        return least
