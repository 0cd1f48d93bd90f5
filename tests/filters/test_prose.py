from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.outcome import Outcome
from corpus.stage import Inputs
from filters.prose import STAGE, ProseConfig, decide, kept_chunks, measure, split, text

ITALIAN = """La mattina del giorno dopo il vecchio uscì presto di casa, perché voleva arrivare al mercato prima degli altri. La strada era
ancora bagnata dalla pioggia della notte e l'aria sapeva di terra. Incontrò soltanto il mugnaio, che lo salutò con un cenno
della mano e gli chiese se avesse notizie del figlio. «Nessuna», rispose, e continuò a camminare senza voltarsi.""".replace("\n", " ")
ENGLISH = """The committee met again in the spring, when most of its members had returned from the provinces. It was agreed that the
report should be published without delay, and that the evidence on which it rested should be made available to anyone who
asked for it.""".replace("\n", " ")
LAW = """## Art. 5

1. Le pubbliche amministrazioni di cui all'articolo 1, comma 2, del decreto legislativo 30 marzo 2001, n. 165, rendono disponibili i dati.

2. Ai fini del presente decreto si intende per:

a) dato aperto: un dato che può essere liberamente utilizzato, riutilizzato e ridistribuito da chiunque;

b) titolare: l'amministrazione che ha originariamente formato il documento che contiene il dato (art. 2, lett. i, d.lgs. n. 36/2006)."""
MENU = "\n".join(
    ["Home", "Chi siamo", "Servizi", "Contatti", "Area riservata", "Mappa del sito", "Accessibilità", "Credits", "Cookie", "Login"] * 12
)
NUMBERS = "\n".join(f"{y} | {y * 3 % 977} | {y * 7 % 613},{y % 90} | {y * 11 % 4409} | {y % 13}%" for y in range(1950, 2010))
CODE = "\n".join(
    f"    def f{i}(self, x):\n        self.data[{i}] = x * {i} + self._cache.get('{i}', 0)\n        return self.data" for i in range(20)
)
WORDS = "\n".join(
    ["abaco", "abate", "abbaglio", "abisso", "accento", "accordo", "acero", "acqua", "adagio", "aereo", "affetto", "agata"] * 10
)
GIBBERISH = " ".join(["xkq", "zzrt", "plomf", "grbwt", "qwex", "vvrtk", "mnbvc", "lkjh", "trwpq", "sdfgh"] * 25)
TABLE = "\n".join(
    ["| Regione | Abitanti | Superficie |", "|---|---|---|"] + [f"| Regione {n} | {n * 31337} | {n * 977} |" for n in range(1, 13)]
)

MEASURE = measure(ProseConfig(), Inputs())


def measured(value: str) -> dict[str, Any]:
    return MEASURE({"id": "0" * 32, "text": value})


def outcome(value: str, **settings: Any) -> Outcome:
    return decide(ProseConfig(**settings), measured(value))


@pytest.mark.parametrize(("value", "lang"), [(ITALIAN, "it"), (ENGLISH, "en"), (LAW, "it"), ("\n\n".join([ITALIAN] * 40), "it")])
def test_prose_and_law_are_kept_whole_with_their_language(value: str, lang: str) -> None:
    got = outcome(value)
    assert got.status == "kept" and got.fields == {"lang": lang}
    assert text(ProseConfig(), measured(value), value) == value


@pytest.mark.parametrize("value", [MENU, NUMBERS, CODE, WORDS, GIBBERISH], ids=["menu", "numbers", "code", "words", "gibberish"])
def test_what_is_not_prose_is_rejected_with_the_score_that_decided(value: str) -> None:
    got = outcome(value)
    assert (got.status, got.reason) == ("rejected", "not_prose")
    assert got.value is not None and got.threshold is not None and got.value < got.threshold


def test_a_table_of_moderate_size_inside_a_document_stays() -> None:
    document = f"{ITALIAN}\n\n{ITALIAN}\n\n{TABLE}\n\n{ITALIAN}\n\n{ITALIAN}"
    assert text(ProseConfig(), measured(document), document) == document


def test_a_menu_before_and_after_the_text_is_dropped() -> None:
    document = f"{MENU}\n\n{ITALIAN}\n\n{ITALIAN}\n\n{MENU}"
    m = measured(document)
    assert decide(ProseConfig(), m).status == "kept"
    new = text(ProseConfig(), m, document)
    assert ITALIAN in new and "Area riservata" not in new


def test_a_long_table_between_good_passages_is_dropped() -> None:
    document = f"{ITALIAN}\n\n{ITALIAN}\n\n{NUMBERS * 4}\n\n{ITALIAN}"
    new = text(ProseConfig(), measured(document), document)
    assert len(new) < len(document) - 3 * len(NUMBERS) and new.count("mugnaio") == 3


def test_a_language_that_is_not_configured_is_named_and_never_kept_as_english() -> None:
    german = (
        "Am Abend, wenn die Arbeit getan war, kamen die Männer von den Feldern über "
        "die Straße am Fluss zurück und blieben stehen, um zu reden. "
    ) * 3
    got = outcome(german)
    assert got.reason == "language_not_configured" and "de" in got.detail.split(";")[0]
    assert outcome(german, languages=("it", "de")).fields == {"lang": "de"}


def test_prose_in_no_known_language_is_rejected_as_such_unless_allowed() -> None:
    friulian = (
        "Fate buine e proclamade de Samblee gjenerâl des Nazion Unidis, ducj i oms a nassin libars e compagns come dignitât e dirits. "
        "A an sintiment e cussience e bisugne che si tratin un culaltri come fradis, e ogni om al à di vê ducj i dirits e lis libertâts."
    )
    assert outcome(friulian).reason == "language_unknown"
    assert outcome(friulian, allow_unknown=True).fields == {"lang": "und"}


def test_short_and_empty_documents_are_too_short() -> None:
    for value in ("", "Sì.", "Una riga sola di testo, breve."):
        assert outcome(value).reason == "too_short"


def test_a_higher_threshold_decides_anew_from_the_same_measurements() -> None:
    m = measured(ENGLISH + " 1234 5678" * 8)
    assert decide(ProseConfig(), m).status == "kept"
    strict = decide(ProseConfig(min_score=1.0), m)
    assert strict.reason == "not_prose" and strict.threshold == 1.0


def test_thresholds_do_not_bear_on_what_is_measured() -> None:
    strict = dataclasses.replace(ProseConfig(), min_score=0.9, min_chunk_score=0.7, languages=("it",))
    assert STAGE.identity() == STAGE.with_config(strict).identity()


def test_placeholders_of_redaction_do_not_count_against_prose() -> None:
    redacted = ITALIAN.replace("il vecchio", "<PERSONA>").replace("il mugnaio", "<PERSONA>").replace("al mercato", "a <INDIRIZZO>")
    assert abs(measured(redacted)["score"] - measured(ITALIAN)["score"]) < 0.1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab .\n", max_size=3000), st.integers(1, 300), st.integers(1, 300))
def test_chunks_cover_the_text_without_gap_or_overlap(value: str, chunk: int, paragraph: int) -> None:
    spans = list(split(value, chunk, paragraph))
    assert "".join(value[a:b] for a, b in spans) == value
    assert all(a < b for a, b in spans)
    assert all(b - a <= 4 * chunk + 1 for a, b in spans)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([ITALIAN, ENGLISH, MENU, NUMBERS, TABLE, LAW, "Titolo", ""]), max_size=8).map("\n\n".join))
def test_the_outcome_agrees_with_the_text_that_is_kept(value: str) -> None:
    m = measured(value)
    got = decide(ProseConfig(), m)
    new = text(ProseConfig(), m, value)
    if got.status == "kept":
        assert sum(c["end"] - c["start"] for c in kept_chunks(ProseConfig(), m)) >= ProseConfig().min_chars
        assert new.strip() and len(new) <= len(value)


def test_chat_is_not_scored_but_gets_its_language_however_short():
    one = measure(ProseConfig(), Inputs())
    for said, lang in (("Che cos'è il lievito madre?", "it"), ("What is the tide?", "en"), ("Put in order: tide, bread, moon.", "en")):
        m = one({"id": "1", "text": f"<|im_start|>user\n{said}<|im_end|>\n", "form": "chat"})
        outcome = decide(ProseConfig(), m)
        assert outcome.status == "kept" and outcome.fields["lang"] == lang
        assert text(ProseConfig(), m, "as it is") == "as it is"
