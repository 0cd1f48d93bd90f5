"""The n-gram model is the textbook one, a distribution everywhere, and the same however it is stored or cut."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import ngram
from model.ngram import NGram

START = "start"


class Textbook:
    """Interpolated modified Kneser-Ney with dictionaries, written from the formulas, slow on purpose."""

    def __init__(self, documents: list[list[int]], order: int, vocab: int) -> None:
        self.order, self.vocab = order, vocab
        raw = [Counter() for _ in range(order + 1)]
        for document in documents:
            padded = [START, *document]
            for k in range(1, order + 1):
                for i in range(len(padded) - k + 1):
                    raw[k][tuple(padded[i : i + k])] += 1
        del raw[1][(START,)]
        self.count = [Counter() for _ in range(order + 1)]
        self.count[order] = raw[order]
        for k in range(1, order):
            before = defaultdict(set)
            for gram in raw[k + 1]:
                before[gram[1:]].add(gram[0])
            self.count[k] = Counter({gram: c if gram[0] == START else len(before[gram]) for gram, c in raw[k].items()})
        self.discount = [self.estimate(c) for c in self.count]

    @staticmethod
    def estimate(counts: Counter) -> list[float]:
        n = Counter(counts.values())
        if not all(n[i] for i in (1, 2, 3, 4)):
            return [0, 0.5, 1, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        d = [0.0] + [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
        return d if all(0 < d[i] <= i for i in (1, 2, 3)) else [0, 0.5, 1, 1.5]

    def p(self, context: tuple, word: int) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        lower = 1 / self.vocab if not context else self.p(context[1:], word)
        k = len(context) + 1
        following = {g: c for g, c in self.count[k].items() if g[:-1] == context}
        total = sum(following.values())
        if not total:
            return lower
        c = following.get((*context, word), 0)
        freed = sum(self.discount[k][min(v, 3)] for v in following.values()) / total
        return max(c - self.discount[k][min(c, 3)], 0) / total + freed * lower


def stream(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = [len(d) for d in documents]
    return np.array([t for d in documents for t in d], np.int64), np.cumsum([0, *lengths[:-1]])


def zipf(vocab: int, n: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return np.minimum(rng.geometric(0.35, n) - 1 + (rng.random(n) < 0.1) * rng.integers(0, vocab, n), vocab - 1).tolist()


documents_of_five = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=40), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(documents_of_five, documents_of_five, st.integers(1, 5))
def test_every_probability_equals_the_textbook(fitted: list[list[int]], scored: list[list[int]], order: int) -> None:
    tokens, starts = stream(fitted)
    slow, fast = Textbook(fitted, order, 5), NGram.fit(tokens, order, 5, starts)
    expected = [math.log2(slow.p((START, *d[:i]), d[i])) for d in scored for i in range(len(d))]
    np.testing.assert_allclose(fast.score(*stream(scored)), expected, rtol=1e-11, atol=1e-12)


def test_estimated_discounts_are_used_where_the_counts_allow_them() -> None:
    documents = [zipf(30, 400, seed) for seed in range(4)]
    fast, slow = NGram.fit(*stream(documents)[:1], 3, 30, stream(documents)[1]), Textbook(documents, 3, 30)
    assert [list(d) for d in fast.discounts] == [pytest.approx(d[1:]) for d in slow.discount[1:]]
    assert any(d != ngram.FALLBACK for d in fast.discounts)
    held_out = zipf(30, 100, 9)
    expected = [math.log2(slow.p((START, *held_out[:i]), held_out[i])) for i in range(len(held_out))]
    np.testing.assert_allclose(fast.score(held_out), expected, rtol=1e-11)


@settings(max_examples=60, deadline=None)
@given(documents_of_five, st.lists(st.integers(0, 11), max_size=6), st.integers(1, 5), st.booleans())
def test_probabilities_sum_to_one_after_any_context(fitted: list[list[int]], context: list[int], order: int, at_start: bool) -> None:
    model = NGram.fit(*stream(fitted)[:1], order, 12, stream(fitted)[1])
    p = model.distribution(context, at_start)
    assert abs(p.sum() - 1) < 1e-9
    assert (p > 0).all()


@settings(max_examples=30, deadline=None)
@given(documents_of_five, st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(1, 5))
def test_a_score_is_the_distributions_entry(fitted: list[list[int]], text: list[int], order: int) -> None:
    model = NGram.fit(*stream(fitted)[:1], order, 5, stream(fitted)[1])
    assert model.score(text)[-1] == pytest.approx(math.log2(model.distribution(text[:-1], at_start=True)[text[-1]]), rel=1e-12)


def test_no_context_crosses_a_document() -> None:
    model = NGram.fit(*stream([[1, 2, 3], [3, 1, 2]])[:1], 3, 5, [0, 3])
    together = model.score([1, 2, 3, 1, 2, 3], [0, 3])
    np.testing.assert_array_equal(together[:3], together[3:])
    assert not np.allclose(model.score([1, 2, 3, 1, 2, 3]), together)


def test_tables_and_searches_chunks_and_whole_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [zipf(40, 300, seed) for seed in range(5)]
    tokens, starts = stream(documents)
    expected = NGram.fit(tokens, 4, 40, starts).score(tokens, starts)
    monkeypatch.setattr(ngram, "DENSE_FIT", 0)
    monkeypatch.setattr(ngram, "DENSE_FIND", 0)
    monkeypatch.setattr(ngram, "CHUNK", 7)
    np.testing.assert_array_equal(NGram.fit(tokens, 4, 40, starts).score(tokens, starts), expected)


def test_a_saved_model_scores_the_same_and_its_files_hold_no_pickle(tmp_path) -> None:
    tokens = np.array(zipf(256, 3000), np.uint8)
    model = NGram.fit(tokens, 3, 256)
    model.save(tmp_path)
    np.testing.assert_array_equal(NGram.load(tmp_path).score(tokens), model.score(tokens))
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".npy"}
    header = json.loads((tmp_path / "ngram.json").read_text())
    (tmp_path / "ngram.json").write_text(json.dumps(header | {"version": 99}))
    with pytest.raises(ValueError, match="version"):
        NGram.load(tmp_path)


def test_a_large_vocabulary_fits_at_the_highest_order() -> None:
    tokens = np.random.default_rng(0).integers(0, 1 << 30, 200)
    model = NGram.fit(np.tile(tokens, 3).astype(np.uint32)[:400] % (1 << 20), 5, 1 << 20)
    assert model.score(tokens % (1 << 20))[5:].mean() > -3


def test_an_empty_stream_gives_the_uniform_model() -> None:
    model = NGram.fit([], 3, 8)
    np.testing.assert_allclose(model.score([1, 2, 3]), [-3, -3, -3])


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 4"):
        NGram.fit([1, 2, 5], 2, 5)
    with pytest.raises(ValueError, match="one row of integers"):
        NGram.fit([0.5], 2, 5)
