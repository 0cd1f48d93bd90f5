"""Noise is too surprising, repetition too predictable, and a language without a model is kept and said so."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import config
from corpus.canonical import digest_text
from corpus.outcome import Misuse
from corpus.stage import Inputs
from filters.ngram import NgramConfig, build
from filters.perplexity import STAGE, PerplexityConfig, decide, measure, novelty, worst_chunk

SYLLABLES = ["ca", "ro", "ti", "ma", "le", "so", "ne", "vi", "do", "pa", "lu", "gra", "sto", "men", "te", "zio"]
RNG = random.Random(0)
WORDS = ["".join(RNG.choices(SYLLABLES, k=RNG.randint(1, 4))) for _ in range(400)]


def prose(seed: int, n: int = 120) -> str:
    rng = random.Random(seed)
    return " ".join(WORDS[min(int(rng.expovariate(0.02)), 399)] for _ in range(n)) + "."


def document(text, lang="it"):
    return {"id": digest_text(text), "text": text, "lang": lang, "form": "prose"}


class Job:
    scratch, workers, device = None, 1, "cpu"

    def progress(self, done, total, note=""):
        pass


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngram")
    found = [document(prose(n)) for n in range(120)]
    view = SimpleNamespace(documents=lambda *fields, ids=None: iter(found))
    build(NgramConfig(order=5, least_bytes=1000), Inputs(views={"prose": view}), folder, Job())
    return Inputs(artifacts={"ngram": SimpleNamespace(path=folder, digest="", record={})})


def outcome(inputs, text, lang="it", **settings):
    chosen = PerplexityConfig(**settings)
    return decide(chosen, measure(chosen, inputs)(document(text, lang)))


def test_prose_is_kept_with_its_figures(inputs) -> None:
    found = outcome(inputs, prose(999))
    assert (found.status, found.reason) == ("kept", "")
    assert found.fields["scored_by"] == "it"
    assert 0.5 < found.fields["bits_per_byte"] < 3


@pytest.mark.parametrize(
    "text",
    [
        " | ".join(str(random.Random(n).randint(0, 99999)) for n in range(200)),
        "".join(random.Random(5).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij+/0123456789", k=1500)),
        "".join(random.Random(6).choices("àèìòù€ÃÂ¬¢qwxyk  ", k=1000)),
    ],
    ids=["numbers", "encoded", "mojibake"],
)
def test_what_is_no_prose_of_the_language_is_too_surprising(inputs, text) -> None:
    found = outcome(inputs, text)
    assert (found.status, found.reason) == ("rejected", "too_surprising")
    assert found.value > found.threshold


def test_text_that_repeats_itself_is_too_predictable_in_any_language(inputs) -> None:
    for lang in ("it", "de"):
        found = outcome(inputs, "Accetta i cookie per continuare la navigazione. " * 100, lang)
        assert (found.status, found.reason) == ("rejected", "too_predictable")
        assert found.value < found.threshold == 0.1


def test_a_language_without_a_model_is_kept_and_never_scored_with_another(inputs) -> None:
    for lang in ("en", "und", ""):
        found = outcome(inputs, prose(3), lang)
        assert (found.status, found.reason) == ("kept", "no_model")
        assert found.fields == {"bits_per_byte": None, "scored_by": ""}
    assert outcome(Inputs(), prose(3)).reason == "no_model"


def test_short_texts_are_kept_and_said_to_be_short(inputs) -> None:
    found = outcome(inputs, "0x7f3a9c 8812 ##@@")
    assert (found.status, found.reason) == ("kept", "too_short")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"max_bits": 0.1}, "too_surprising"),
        ({"max_ratio": 0.1}, "too_surprising"),
        ({"max_rank": -1.0}, "too_surprising"),
        ({"max_chunk_bits": 0.1}, "too_surprising"),
        ({"min_bits": 7.9}, "too_predictable"),
        ({"min_novelty": 1.1}, "too_predictable"),
    ],
)
def test_every_threshold_decides_with_its_value(inputs, setting, reason) -> None:
    found = outcome(inputs, prose(7), **setting)
    assert (found.status, found.reason) == ("rejected", reason)
    assert found.value is not None
    assert found.threshold is not None
    assert outcome(inputs, prose(7), **dict.fromkeys(setting)).status == "kept"


def test_noise_in_the_middle_shows_in_the_worst_chunk(inputs) -> None:
    one = measure(PerplexityConfig(chunk_bytes=300), inputs)
    clean = one(document(prose(1, 400)))
    noisy = one(document(prose(1, 200) + "#7$k9!zQ" * 40 + prose(2, 200)))
    assert noisy["worst_chunk"] > 1.8 * clean["worst_chunk"]
    assert clean["bits_per_byte"] <= clean["worst_chunk"]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.integers(1, 30))
def test_the_worst_chunk_is_at_least_the_mean(bits, length) -> None:
    assert worst_chunk(np.array(bits), length) >= np.mean(bits) - 1e-9


@given(st.binary(max_size=300), st.integers(16, 64))
def test_novelty_is_a_share(text, window) -> None:
    assert 0 < novelty(text, window) <= 1


def test_novelty_counts_new_sequences_within_a_window() -> None:
    assert novelty(b"a" * 107, 1000) == 1 / 100
    assert novelty(bytes(range(200)), 1000) == 1
    assert novelty(b"", 100) == 1


def test_another_scorer_is_refused_with_what_works() -> None:
    for model in ("hf:folder", "generation", "kenlm"):
        with pytest.raises(Misuse, match=r"perplexity\.model=ngram"):
            config.load(PerplexityConfig, {"model": model}, "perplexity")


def test_measurements_are_those_the_stage_declares(inputs) -> None:
    assert list(measure(PerplexityConfig(), inputs)(document(prose(1)))) != []
    assert set(measure(PerplexityConfig(), inputs)(document(prose(1)))) == set(STAGE.measures.names)
    assert STAGE.passes_chat
    assert STAGE.optional == ("ngram",)
