from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.dedup import signature
from filters.dedup.signature import Signer, count_words, grams, normal_form, permutations, shingle_hash, shingles, string_of

WORDS = st.lists(st.text(alphabet="abcàè019_жα𝔘𐐨", min_size=1, max_size=6), max_size=60)
ANY = st.text(st.characters(codec=None), max_size=200)  # lone surrogates too


def words_of(text: str) -> list[str]:
    return string_of(normal_form(text)).split()


def strings(words: list[str], size: int) -> list[bytes]:
    size = min(size, len(words))
    return [" ".join(words[i : i + size]).encode() for i in range(len(words) - size + 1)] if size else []


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="İΣς"), max_size=200))
def test_words_are_runs_of_letters_digits_and_underscores_in_lower_case(text: str) -> None:
    assert words_of(text) == re.findall(r"\w+", text.lower())
    assert count_words(normal_form(text)) == len(words_of(text))


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_every_text_has_a_normal_form_which_is_its_own(text: str) -> None:
    once = string_of(normal_form(text))
    assert string_of(normal_form(once)) == once == " ".join(words_of(text))


def test_letters_that_change_their_number_or_place_when_lowered_are_one_word() -> None:
    assert words_of("İSTANBUL ΟΔΟΣ οδος") == ["istanbul", "οδοσ", "οδοσ"]
    assert words_of("uno\ud800due") == ["uno", "due"]
    assert words_of("𝔘𝔫𝔬 𐐀𐐁") == ["𝔘𝔫𝔬", "𐐨𐐩"]


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 7))
def test_shingles_of_a_text_are_the_hashes_of_its_shingles_one_by_one(words: list[str], size: int) -> None:
    text = "".join(f"{word}{', ' if n % 3 else chr(10)}" for n, word in enumerate(words))
    assert shingles(normal_form(text), size).tolist() == [shingle_hash(s) for s in strings(words_of(text), size)]


@settings(max_examples=60, deadline=None)
@given(WORDS, st.sampled_from([16, 128, 256]))
def test_the_signature_is_datasketchs_for_the_same_shingles(words: list[str], count: int) -> None:
    from datasketch import MinHash

    reference = MinHash(num_perm=count, hashfunc=shingle_hash)
    for shingle in strings(words_of(" ".join(words)), 5):
        reference.update(shingle)
    assert Signer(count)(shingles(normal_form(" ".join(words)), 5)).tolist() == reference.hashvalues.tolist()


def test_the_signature_is_datasketchs_for_its_own_hashes_too() -> None:
    from datasketch import MinHash
    from datasketch.hashfunc import sha1_hash32

    shingles_ = [f"parola {i}".encode() for i in range(10_000)]  # more than a block
    reference = MinHash(num_perm=128)
    reference.update_batch(shingles_)
    hashes = np.array([sha1_hash32(s) for s in shingles_], np.uint32)
    assert Signer()(hashes).tolist() == reference.hashvalues.tolist()
    assert [p.tolist() for p in permutations(128)] == [p.tolist() for p in reference.permutations]


def test_numbers_and_placeholders_count_and_case_and_punctuation_do_not() -> None:
    assert words_of("Il 3 maggio, <PERSONA> (n. 12)") == ["il", "3", "maggio", "persona", "n", "12"]
    a, b, c = (
        shingles(normal_form(t), 5).tolist()
        for t in ("Art. 1: uno due tre quattro", "ART 1 UNO due tre, quattro!", "Art. 2: uno due tre quattro")
    )
    assert a == b != c


def test_the_estimate_is_near_the_true_jaccard_similarity() -> None:
    words = [f"w{i}" for i in range(3000)]
    a, b = (shingles(normal_form(" ".join(part)), 5) for part in (words[:2500], words[500:]))
    true = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
    sign = Signer(1024)
    assert (sign(a) == sign(b)).mean() == pytest.approx(true, abs=0.06)


def test_a_text_of_megabytes_is_read_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"parola{i * 7919 % 5003}, È {i}" for i in range(100_000)) + " " + "x" * 300_000 + " fine del testo"
    words = re.findall(r"\w+", text.lower())
    codes = normal_form(text)
    assert len(text) > 1_500_000 and string_of(codes) == " ".join(words)
    got = shingles(codes, 5)
    assert len(got) == len(words) - 4
    for i in (0, 8187, 8188, 8192, 100_000, len(got) - 4, len(got) - 1):
        assert got[i] == shingle_hash(" ".join(words[i : i + 5]).encode())
    monkeypatch.setattr(signature, "_CHARACTERS", 1000)
    monkeypatch.setattr(signature, "_RUNS", 77)
    assert (normal_form(text[:50_000]) == codes[: len(normal_form(text[:50_000]))]).all()
    assert (shingles(codes[:5000], 5)[:500] == got[:500]).all()


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab1_ .,\n", max_size=60), st.integers(1, 9))
def test_the_normal_form_does_not_depend_on_where_blocks_end(text: str, block: int) -> None:
    whole = normal_form(text).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signature, "_CHARACTERS", block)
        assert normal_form(text).tolist() == whole


def test_empty_texts_and_texts_shorter_than_a_shingle_have_signatures() -> None:
    assert len(grams(normal_form(" ... "), 5)) == 0 and words_of("") == []
    assert set(Signer(16)(shingles(normal_form(""), 5)).tolist()) == {0xFFFFFFFF}
    assert shingles(normal_form("Solo tre parole"), 5).tolist() == [shingle_hash(b"solo tre parole")]


def test_distinct_shingles_have_distinct_hashes() -> None:
    hashes = np.concatenate([grams(normal_form(" ".join(f"art {i} comma {j}" for j in range(200))), 5) for i in range(100)])
    assert len(np.unique(hashes)) == len({f"{i} {j}" for i in range(100) for j in range(796)})
