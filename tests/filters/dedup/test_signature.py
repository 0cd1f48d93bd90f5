from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.dedup.signature import WordHashes, grams, permutations, shingle_hash, shingles, signature, words_of

WORDS = st.lists(st.text(alphabet="abcàè019_", min_size=1, max_size=6), max_size=60)


def strings(words: list[str], size: int) -> list[bytes]:
    size = min(size, len(words))
    return [" ".join(words[i : i + size]).encode() for i in range(len(words) - size + 1)] if size else []


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 7))
def test_shingles_of_a_text_are_the_hashes_of_its_shingles_one_by_one(words: list[str], size: int) -> None:
    assert shingles(WordHashes().of(words), size).tolist() == sorted({shingle_hash(s) for s in strings(words, size)})


@settings(max_examples=60, deadline=None)
@given(WORDS, st.sampled_from([16, 128, 256]))
def test_the_signature_is_datasketchs_for_the_same_shingles(words: list[str], count: int) -> None:
    from datasketch import MinHash

    reference = MinHash(num_perm=count, hashfunc=shingle_hash)
    for shingle in strings(words, 5):
        reference.update(shingle)
    ours = signature(shingles(WordHashes().of(words), 5), count)
    assert ours.tolist() == reference.hashvalues.tolist()


def test_the_signature_is_datasketchs_for_its_own_hashes_too() -> None:
    from datasketch import MinHash
    from datasketch.hashfunc import sha1_hash32

    shingles_ = [f"parola {i}".encode() for i in range(10_000)]  # more than a block
    reference = MinHash(num_perm=128)
    reference.update_batch(shingles_)
    assert signature(np.array([sha1_hash32(s) for s in shingles_], np.uint32)).tolist() == reference.hashvalues.tolist()
    assert [p.tolist() for p in permutations(128)] == [p.tolist() for p in reference.permutations]


def test_numbers_and_placeholders_count_and_case_and_punctuation_do_not() -> None:
    assert words_of("Il 3 maggio, <PERSONA> (n. 12)") == ["il", "3", "maggio", "persona", "n", "12"]
    a, b, c = (
        shingles(WordHashes().of(words_of(t)), 5).tolist()
        for t in ("Art. 1: uno due tre quattro", "ART 1 UNO due tre, quattro!", "Art. 2: uno due tre quattro")
    )
    assert a == b != c


def test_the_estimate_is_near_the_true_jaccard_similarity() -> None:
    hashes = WordHashes()
    words = [f"w{i}" for i in range(3000)]
    a, b = shingles(hashes.of(words[:2500]), 5), shingles(hashes.of(words[500:]), 5)
    true = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
    estimate = (signature(a, 1024) == signature(b, 1024)).mean()
    assert estimate == pytest.approx(true, abs=0.06)


def test_hashes_do_not_depend_on_what_was_asked_before() -> None:
    fresh, used = WordHashes(), WordHashes()
    used.of([f"x{i}" for i in range(1000)])
    assert fresh.of(["uno", "due"]).tolist() == used.of(["uno", "due"]).tolist()
    assert len(grams(fresh.of([]), 5)) == 0
