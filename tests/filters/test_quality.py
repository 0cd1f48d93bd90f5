from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.outcome import Outcome
from corpus.stage import Inputs
from filters.quality import STAGE, QualityConfig, decide, measure, repetition

GOOD = """La mattina del giorno dopo il vecchio uscì presto di casa, perché voleva arrivare al mercato prima degli altri. La strada era
ancora bagnata dalla pioggia della notte e l'aria sapeva di terra. Incontrò soltanto il mugnaio, che lo salutò con un cenno
della mano e gli chiese se avesse notizie del figlio. «Nessuna», rispose, e continuò a camminare senza voltarsi. Al ponte si
fermò, posò il sacco e guardò l'acqua che correva torbida fra le pietre: da quella parte, tanti anni prima, era partito anche
lui, con le scarpe nuove in spalla per non consumarle, e nessuno gli aveva chiesto quando sarebbe tornato.""".replace("\n", " ")
SPAM = (
    "OFFERTA!!! Clicca qui http://x.example.com e acquista subito: sconto 70%, "
    "spedizione gratuita! Vinci un bonus di 100 €! Approfitta ora!"
)
REPEATED = "Il servizio non è disponibile nella sua zona, riprovi più tardi oppure contatti il nostro ufficio clienti. " * 30
POOR = "\n".join(
    f"# {{{word}}} | {word[::-1]}#{n}\n... ...\n- {word[:2].upper()}{n * 7919}/{n}" for n, word in enumerate(GOOD.split()[:40])
)


def measured(value: str, lang: str = "it") -> dict[str, Any]:
    return measure(QualityConfig(), Inputs())({"id": "0" * 32, "text": value, "lang": lang})


def outcome(value: str, lang: str = "it") -> Outcome:
    return decide(QualityConfig(), measured(value, lang))


def test_good_prose_is_kept_with_a_high_quality() -> None:
    got = outcome(GOOD)
    assert got.status == "kept" and got.fields["quality"] > 0.9 and got.fields["quality_rules"] == "full"


@pytest.mark.parametrize(("value", "reason"), [(SPAM, "spam"), (REPEATED, "repetitive"), (POOR, "low_quality")])
def test_each_defect_has_its_reason_and_the_numbers_that_decided(value: str, reason: str) -> None:
    got = outcome(value)
    assert (got.status, got.reason) == ("rejected", reason)
    assert got.value is not None and got.threshold is not None


def test_a_worse_text_never_scores_better() -> None:
    scores = [measured(text)["score"] for text in (GOOD, GOOD + "\n" + POOR, POOR)]
    assert scores == sorted(scores, reverse=True)


def test_a_language_without_rules_says_so_in_the_outcome() -> None:
    assert outcome(GOOD, "fr").fields.get("quality_rules", "no_spam_words") == "no_spam_words"
    assert outcome(GOOD, "ru").fields["quality_rules"] == "form_only"
    assert measured(GOOD, "ru")["function_words"] == 0.0


def test_function_words_are_those_of_the_documents_language() -> None:
    assert measured(GOOD, "it")["function_words"] > 0.35 > 0.2 > measured(GOOD, "en")["function_words"]


def test_repetition_counts_the_words_in_phrases_seen_before_or_again() -> None:
    words = [f"w{i}" for i in range(100)]
    assert repetition(words, 8) == 0.0
    assert repetition(words + words, 8) == pytest.approx(0.5, abs=0.01)
    assert repetition(words + words[:50], 8) == pytest.approx(1 / 3, abs=0.01)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=120), st.integers(2, 6))
def test_repetition_agrees_with_counting_by_hand(words: list[str], gram: int) -> None:
    covered: set[int] = set()
    seen: set[tuple[str, ...]] = set()
    for i in range(len(words) - gram + 1):
        phrase = tuple(words[i : i + gram])
        if phrase in seen:
            covered.update(range(i, i + gram))
        seen.add(phrase)
    expected = len(covered) / len(words) if len(words) >= 4 * gram else 0.0
    assert repetition(words, gram) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400), st.sampled_from(["it", "en", "fr", "ru", "und"]))
def test_any_text_gets_scores_between_zero_and_one_and_every_declared_measurement(value: str, lang: str) -> None:
    m = measured(value, lang)
    assert 0.0 <= m["score"] <= 1.0 and 0.0 <= m["spam"] <= 1.0 and 0.0 <= m["repeated"] <= 1.0
    assert set(m) == set(STAGE.measures.names)


@pytest.mark.parametrize(
    "value", ["\n" * 100_000, "\n \n" * 50_000, "- " * 50_000, "a   b   " * 20_000], ids=["lines", "blanks", "bullets", "gaps"]
)
def test_degenerate_texts_take_no_more_than_linear_time(value: str) -> None:
    start = time.process_time()
    measured(value)
    assert time.process_time() - start < 3.0
