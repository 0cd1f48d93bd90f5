"""Interpolated modified Kneser-Ney n-grams in arrays (Chen & Goodman 1998, section 4.1.6; counts as in Heafield et al. 2013).

    p_k(w | c) = max(a(c w) - D_k(a), 0) / a(c .) + gamma(c) p_{k-1}(w | c')        p_0 = 1 / vocab_size

`a` is the count for the highest order and for what begins a document, else the number of distinct tokens seen before it;
`c'` is `c` without its first token; `D_k` takes three values (count 1, 2, 3 or more) estimated from the counts of counts
of its order. `gamma` is what the discounts freed, so every p(. | c) sums to one over the vocabulary and is never zero.

An n-gram has no object of its own: at order k it is the row of a sorted uint64 array, `key = row of its first k-1
tokens * (vocab_size + 1) + last token`, beside its final probability and its backoff weight. So any order and any
vocabulary below 2**31 fit in 64 bits, the continuations of a context lie together, and fitting and scoring are sorts and
searches over whole streams.

Limits: counts are exact, nothing is pruned; memory is linear in the tokens (some 30 bytes a token while fitting) and in
the distinct n-grams (24 bytes each afterwards; at most 2**31 of one order). The end of a document is not an event: a
caller who wants it coded adds a token of its own. Where an order has too few counts of counts for an estimate, it uses
discounts 0.5, 1 and 1.5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

FORMAT, VERSION = "athanor-ngram", 1
FALLBACK = (0.5, 1.0, 1.5)
CHUNK = 1 << 20  # tokens scored at a time: bounds the memory of `score`, not its result
DENSE_FIT, DENSE_FIND = 1 << 25, 1 << 22  # key spaces small enough to be counted, or looked up, by a table

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Discounts = tuple[float, float, float]


@dataclass
class Level:
    """The n-grams of one order, in key order.

    keys (n,) uint64; prob (n,) interpolated probability of the last token given the others; backoff (n,) weight of the
    lower order when the n-gram is a context (1 where it never was one; empty at the highest order).
    """

    keys: NDArray[np.uint64]
    prob: Floats
    backoff: Floats
    space: int  # keys are below this number
    _table: NDArray[np.int32] | None = field(default=None, repr=False)

    def find(self, keys: Ints) -> Ints:
        """Row of each key, -1 where it is absent. Negative keys are absent."""
        if self.space <= DENSE_FIND:
            if self._table is None:
                self._table = np.full(self.space, -1, np.int32)
                self._table[self.keys] = np.arange(len(self.keys), dtype=np.int32)
            return np.where(keys >= 0, self._table[np.maximum(keys, 0)], -1).astype(np.int64)
        rows = np.full(len(keys), -1, np.int64)
        asked = np.flatnonzero(keys >= 0)
        asked = asked[np.argsort(keys[asked])]  # in order, the search stays in the cache
        wanted = keys[asked].astype(np.uint64)
        places = np.searchsorted(self.keys, wanted)
        places[places == len(self.keys)] = 0
        hit = self.keys[places] == wanted
        rows[asked[hit]] = places[hit]
        return rows


class NGram:
    """A fitted model: `NGram.fit(tokens, order, vocab_size, doc_starts)`, `score`, `distribution`, `save`, `load`."""

    def __init__(self, order: int, vocab_size: int, levels: list[Level], discounts: list[Discounts], fitted_tokens: int) -> None:
        self.order, self.vocab_size, self.levels, self.discounts, self.fitted_tokens = order, vocab_size, levels, discounts, fitted_tokens

    @classmethod
    def fit(cls, tokens: ArrayLike, order: int, vocab_size: int, doc_starts: ArrayLike | None = None) -> NGram:
        """Fit on a stream.

        tokens (n,) integers in [0, vocab_size); doc_starts: positions where a document begins (0 is implied); no n-gram
        crosses one. ValueError for tokens outside the vocabulary or an order below 1.
        """
        if order < 1 or not 0 < vocab_size < 1 << 31:
            raise ValueError(f"order {order} and vocabulary {vocab_size} must be at least 1 (and the vocabulary below 2**31)")
        stream = _with_starts(tokens, vocab_size, doc_starts)
        keys, counts = _count(stream, order, vocab_size)
        return cls._estimate(keys, counts, vocab_size, fitted_tokens=int((stream != vocab_size).sum()))

    @classmethod
    def _estimate(cls, keys: list[Ints], counts: list[Ints], vocab_size: int, fitted_tokens: int) -> NGram:
        order, base = len(keys), vocab_size + 1
        levels = [Level(k.astype(np.uint64), np.empty(0), np.empty(0), _space(keys, i, base)) for i, k in enumerate(keys)]
        suffix: list[Ints] = [np.zeros(len(keys[0]), np.int64)]  # row, one order below, of the n-gram without its first token
        for k in range(1, order):
            shorter = keys[k] % base if k == 1 else suffix[k - 1][keys[k] // base] * base + keys[k] % base
            suffix.append(levels[k - 1].find(shorter))
        begins = keys[0] == vocab_size  # of one order: n-grams whose first token is the start of a document
        adjusted: list[Ints] = []
        for k in range(order):
            if k:
                begins = begins[keys[k] // base]
            last = k == order - 1
            adjusted.append(counts[k] if last else np.where(begins, counts[k], np.bincount(suffix[k + 1], minlength=len(keys[k]))))
        adjusted[0] = np.where(keys[0] == vocab_size, 0, adjusted[0])  # the start is a context, never predicted
        discounts = [_discounts(a) for a in adjusted]

        for k in range(order):
            a, (d1, d2, d3) = adjusted[k], discounts[k]
            discount = np.select([a == 0, a == 1, a == 2], [0.0, d1, d2], d3)
            contexts = 1 if k == 0 else len(keys[k - 1])
            context = np.zeros(len(a), np.int64) if k == 0 else keys[k] // base
            total = np.bincount(context, weights=a, minlength=contexts)
            seen = total > 0
            share = np.divide(1.0, total, out=np.zeros(contexts), where=seen)
            freed = np.where(seen, np.bincount(context, weights=discount, minlength=contexts) * share, 1.0)
            lower = np.full(len(a), 1.0 / vocab_size) if k == 0 else levels[k - 1].prob[suffix[k]]
            levels[k].prob = (a - discount) * share[context] + freed[context] * lower
            if k:
                levels[k - 1].backoff = freed
        return cls(order, vocab_size, levels, discounts, fitted_tokens)

    def score(self, tokens: ArrayLike, doc_starts: ArrayLike | None = None) -> Floats:
        """log2 p(token | up to order-1 tokens before it in its document), (n,) float64, finite and at most 0."""
        stream = _with_starts(tokens, self.vocab_size, doc_starts)
        pieces = []
        for start in range(0, len(stream), CHUNK):
            before = min(start, self.order - 1)
            chunk = stream[start - before : start + CHUNK]
            predicted = chunk != self.vocab_size
            predicted[:before] = False
            pieces.append(np.log2(self._probabilities(chunk)[predicted]))
        return np.concatenate(pieces) if pieces else np.empty(0)

    def _probabilities(self, stream: NDArray[np.int32]) -> Floats:
        """Probability of each token of a stream with starts in it; its first order-1 may lack context."""
        base, begins = self.vocab_size + 1, stream == self.vocab_size
        rows, p = stream.astype(np.int64), self.levels[0].prob[stream]
        for lower, level in zip(self.levels, self.levels[1:], strict=False):
            if not len(level.keys):
                break
            context = np.concatenate(([-1], rows[:-1]))
            context[begins] = -1
            p = np.where(context >= 0, p * lower.backoff[context], p)
            rows = level.find(np.where(context >= 0, context * base + stream, -1))
            p = np.where(rows >= 0, level.prob[rows], p)
        return p

    def distribution(self, context: ArrayLike, at_start: bool = False) -> Floats:
        """p(. | context), (vocab_size,): sums to one. `at_start`: the context is all of the document so far."""
        words = np.arange(self.vocab_size)
        history = _checked(context, self.vocab_size).tolist()
        history = ([self.vocab_size] if at_start else []) + history
        tails = np.array([*history, 0], np.int64)
        p = self.levels[0].prob[: self.vocab_size].copy()
        rows = tails
        for lower, level in zip(self.levels, self.levels[1:], strict=False):
            if not len(level.keys):
                break
            before = np.concatenate(([-1], rows[:-1]))
            row = int(before[-1])
            if row >= 0:
                p *= lower.backoff[row]
                found = level.find(row * (self.vocab_size + 1) + words)
                p[found >= 0] = level.prob[found[found >= 0]]
            rows = level.find(np.where(before >= 0, before * (self.vocab_size + 1) + tails, -1))
        return p

    def save(self, folder: Path) -> None:
        """Write `ngram.json` and three .npy arrays per order."""
        folder.mkdir(parents=True, exist_ok=True)
        for k, level in enumerate(self.levels, 1):
            for name in ("keys", "prob", "backoff"):
                np.save(folder / f"{k}.{name}.npy", getattr(level, name), allow_pickle=False)
        header = {"format": FORMAT, "version": VERSION, "order": self.order, "vocab_size": self.vocab_size, "tokens": self.fitted_tokens}
        header |= {"ngrams": [len(level.keys) for level in self.levels], "discounts": self.discounts}
        (folder / "ngram.json").write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> NGram:
        """Open a saved model; arrays are mapped, so processes share them. ValueError when it is not one."""
        header = json.loads((folder / "ngram.json").read_text(encoding="utf-8"))
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise ValueError(f"{folder.name} is not an n-gram model of version {VERSION}")
        levels, contexts = [], 1
        for k, n in enumerate(header["ngrams"], 1):
            paths = [folder / f"{k}.{name}.npy" for name in ("keys", "prob", "backoff")]
            keys, prob, backoff = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
            if len(keys) != n or len(prob) != n or len(backoff) != (n if k < header["order"] else 0):
                raise ValueError(f"{folder.name}: order {k} has not the length its header says")
            levels.append(Level(keys, prob, backoff, contexts * (header["vocab_size"] + 1)))
            contexts = n
        return cls(header["order"], header["vocab_size"], levels, [(d1, d2, d3) for d1, d2, d3 in header["discounts"]], header["tokens"])


def _checked(tokens: ArrayLike, vocab_size: int) -> NDArray[np.integer]:
    array = np.asarray(tokens)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise ValueError("tokens must be one row of integers")
    if len(array) and (array.min() < 0 or array.max() >= vocab_size):
        raise ValueError(f"tokens must lie between 0 and {vocab_size - 1}; found {array.min()} to {array.max()}")
    return array.astype(np.int64) if not len(array) else array


def _with_starts(tokens: ArrayLike, vocab_size: int, doc_starts: ArrayLike | None) -> NDArray[np.int32]:
    """The stream with the symbol `vocab_size` before each document."""
    array = _checked(tokens, vocab_size)
    starts = np.unique(np.append(np.asarray([] if doc_starts is None else doc_starts, np.int64), 0))
    if starts[0] < 0 or starts[-1] > len(array):
        raise ValueError(f"document starts must lie between 0 and {len(array)}")
    return np.insert(array.astype(np.int32), starts, vocab_size)


def _count(stream: NDArray[np.int32], order: int, vocab_size: int) -> tuple[list[Ints], list[Ints]]:
    """Sorted keys and counts of the n-grams of each order. Order 1 lists the whole vocabulary and the start."""
    base, begins = vocab_size + 1, stream == vocab_size
    keys, counts = [np.arange(base)], [np.bincount(stream, minlength=base)]
    rows: NDArray[np.int32] = stream  # row of the k-gram that ends at each position, -1 where it would cross a start
    for k in range(1, order):
        here = np.empty(len(rows), np.int64)
        here[0], here[1:] = -1, rows[:-1]
        here[begins] = -1
        inside = here >= 0
        here *= base
        here += stream
        wanted = here[inside]
        del here
        space = len(keys[-1]) * base
        if space <= DENSE_FIT:
            number = np.bincount(wanted, minlength=space)
            distinct = np.flatnonzero(number)
            counts.append(number[distinct])
            number[distinct] = np.arange(len(distinct))
            found = number[wanted] if k < order - 1 else None
        else:
            ordered = np.sort(wanted)
            first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else np.empty(0, np.int64)
            distinct = ordered[first]
            counts.append(np.diff(np.append(first, len(ordered))))
            del ordered
            found = np.searchsorted(distinct, wanted) if k < order - 1 else None
        keys.append(distinct)
        if found is not None:
            rows = np.full(len(stream), -1, np.int32)
            rows[inside] = found
    return keys, counts


def _space(keys: list[Ints], k: int, base: int) -> int:
    return base if k == 0 else len(keys[k - 1]) * base


def _discounts(counts: Ints) -> Discounts:
    """D1, D2, D3+ from the counts of counts n1..n4 (Chen & Goodman, equation 26); the fallback when they do not say."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    d = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return d if all(0 < value <= limit for value, limit in zip(d, (1, 2, 3), strict=True)) else FALLBACK
