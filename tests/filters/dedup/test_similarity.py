from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.dedup import similarity
from filters.dedup.similarity import Known, Texts, jaccard, shingle_set

WORDS = [f"parola{i}" for i in range(30)]


def sentence(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def true(a: str, b: str, size: int = 3) -> float:
    one, other = ({" ".join(t.split()[i : i + size]) for i in range(len(t.split()) - size + 1)} for t in (a, b))
    return len(one & other) / len(one | other)


class Reader(Texts):
    """Counts how often each text is read."""

    def __init__(self, texts: list[str]) -> None:
        self.log: list[int] = []
        super().__init__(self._texts, np.array([len(t.split()) for t in texts], np.int64), 3)
        self.texts = texts

    def _texts(self, some: np.ndarray) -> list[str]:
        assert some.tolist() == sorted(some.tolist())
        self.log += some.tolist()
        return [self.texts[i] for i in some.tolist()]


def everything(pairs: np.ndarray) -> np.ndarray:
    return np.ones(len(pairs), bool)


def all_pairs(size: int) -> np.ndarray:
    return np.stack(np.triu_indices(size, 1), axis=1).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=30), st.lists(st.sampled_from("abcd"), min_size=3, max_size=30))
def test_jaccard_is_that_of_the_sets_of_shingles(one: list[str], other: list[str]) -> None:
    a, b = " ".join(one), " ".join(other)
    assert jaccard(shingle_set(a, 3), shingle_set(b, 3)) == true(a, b)


def test_texts_without_words_are_not_alike() -> None:
    assert [jaccard(shingle_set("...", 5), shingle_set(other, 5)) for other in ("", "...", "tre")] == [0.0, 0.0, 0.0]


def test_similarities_come_in_the_order_asked_for_and_each_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [sentence(i % 7) + " " + sentence(100 + i, 5) for i in range(40)]
    reader = Reader(texts)
    pairs = np.random.default_rng(1).integers(0, 40, (200, 2))
    expected = [pytest.approx(true(texts[a], texts[b])) for a, b in pairs.tolist()]
    assert reader.similarities(pairs).tolist() == expected
    assert sorted(reader.log) == sorted(set(pairs.ravel().tolist()))
    monkeypatch.setattr(similarity, "CHUNK", 100)
    monkeypatch.setattr(similarity, "_READ", 60)
    assert reader.similarities(pairs).tolist() == expected
    assert reader.similarities(pairs[:0]).tolist() == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=25),
    st.sampled_from([0.3, 0.5, 0.8]),
    st.randoms(),
    st.sampled_from([1 << 26, 200, 50]),
)
def test_families_are_the_components_of_the_pairs_that_are_alike(
    specs: list[tuple[int, int]], threshold: float, shuffle: random.Random, chunk: int
) -> None:
    texts = []
    for n, (seed, edits) in enumerate(specs):
        words = sentence(seed).split()
        for k in range(edits):
            words[random.Random(n * 10 + k).randrange(40)] = "cambiata"
        texts.append(" ".join(words))
    pairs = all_pairs(len(texts))
    near = {(a, b): true(texts[a], texts[b]) for a, b in pairs.tolist() if true(texts[a], texts[b]) >= threshold}
    expected = similarity.components(len(texts), np.array(list(near), np.int64).reshape(-1, 2)).tolist()
    batches = list(pairs)
    shuffle.shuffle(batches)
    cut = shuffle.randrange(len(batches) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "CHUNK", chunk)
        got, known = Reader(texts).families(
            [np.array(sorted(map(tuple, part)), np.int64).reshape(-1, 2) for part in (batches[:cut], batches[cut:])], everything, threshold
        )
    assert got.tolist() == expected
    seen = known.look_up(pairs[:, ::-1])
    for (a, b), value in zip(pairs.tolist(), seen.tolist(), strict=True):
        assert np.isnan(value) or value == pytest.approx(near[a, b])


def test_a_large_family_costs_as_many_comparisons_as_it_has_members(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [sentence(1, 60)] * 100
    calls: list[int] = []

    def counted(a: np.ndarray, b: np.ndarray) -> float:
        calls.append(1)
        return jaccard(a, b)

    monkeypatch.setattr(similarity, "jaccard", counted)
    root, _ = Reader(texts).families([all_pairs(100)], everything, 0.8)
    assert set(root.tolist()) == {0} and len(calls) < 110


def test_pairs_that_are_not_plausible_are_not_read() -> None:
    reader = Reader([sentence(1)] * 4)
    root, _ = reader.families([all_pairs(4)], lambda pairs: pairs[:, 0] == 2, 0.8)
    assert root.tolist() == [0, 1, 2, 2] and reader.log == [2, 3]


def test_what_was_not_compared_is_not_known() -> None:
    known = Known(10)
    assert np.isnan(known.look_up(np.array([[1, 2]]))).all()
    known.add(1, 2, 0.9)
    assert known.look_up(np.array([[2, 1], [1, 3]])).tolist()[0] == 0.9
    assert np.isnan(known.look_up(np.array([[9, 8]]))).all()
