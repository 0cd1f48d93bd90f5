"""Names of persons by rule: found with exact ends, and not where a law, a street or a firm bears a name. Invented data."""

from __future__ import annotations

import re

import pytest

from filters.pii import names
from filters.pii.spans import resolve

FOUND = [
    "Il sottoscritto [Gualtiero Zambrutti], nato a Forlì",
    "l'avv. [Zubrowski] ha depositato il ricorso",
    "il dott. [Ferdinando Pizzorno] e la dott.ssa [Maria De Luca]",
    "La signora [Bianchi] ha detto di no.",
    "[Gustavo ZAMBARDI], Presidente",
    "F.to: [LEONETTO AMBRUZZI] - [GIULIO GIONFRIDA]",
    "Presidente [Mario Verdini] apre la seduta",
    "Ieri [Luca Ferrarin] è arrivato con [Anna Maria Colli].",
    "[Rossi Mario], impiegato",
    "[G. Rossi] e altri",
    "Mi chiamo [Tiziano Quaglioni] e scrivo",
    "Distinti saluti,\n[Ottavia Brunelleschi]",
    "Mittente: [Zeno Cantalamessa]",
    "tra [Drago Zuppik], nato il 3 marzo, e il Comune",
    "Hello, my name is [Ubul Vrabec].",
    "Dear Mr. [Klerk], thank you",
    "Sincerely,\n[Hortense Quill]",
    "Yesterday [Jennifer O'Brien] met [John A. Leiva] in Paris.",
    "From: [Wendell Ashgrove] <w@example.org>",
    "said [Robert Smith-Jones] on Monday",
]
LEFT = [
    "La legge Merloni e il decreto Bersani non si applicano.",
    "La Corte costituzionale, visto il ricorso della Regione Toscana, ordina.",
    "L'Istituto Comprensivo Giovanni Pascoli di San Giovanni Rotondo",
    "in Piazza Enrico Berlinguer e via Aldo Moro",
    "la Fondazione Enzo Biagi, il Premio Anna Magnani",
    "Giuseppe Garibaldi sbarcò a Marsala; Dante Alighieri scrisse la Commedia.",
    "la Mario Rossi S.p.A. e la Bianchi Srl",
    "Nella zona di Reggio Emilia e del Friuli-Venezia Giulia",
    "Ministero dell'Economia, Presidenza del Consiglio dei Ministri",
    "Gentile Cliente, grazie; cari cittadini. Cliente e cittadini, cliente.",
    "Santa Caterina e San Francesco, Papa Francesco",
    "Rosa è il colore; la Vittoria; in April or May, Will you go?",
    "The Stanford University and the Robert Smith Foundation",
    "Supreme Court of the United States, New York, Buenos Aires",
    "User <PERSONA> and <EMAIL>, @MarioRossi, /Anna/Bianchi",
]


def found(text: str) -> list[str]:
    common = names.common_words(text)
    first = [s for s in names.find(text, common) if s.score >= 0.5]
    return [text[s.start : s.end] for s in resolve([*first, *names.spread(text, first, common)])]


@pytest.mark.parametrize("marked", FOUND)
def test_persons_are_found_with_exact_ends(marked: str) -> None:
    assert found(marked.replace("[", "").replace("]", "")) == re.findall(r"\[([^\]]+)\]", marked)


@pytest.mark.parametrize("text", LEFT)
def test_laws_places_firms_and_persons_of_history_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_surname_is_known_once_its_full_name_was_read() -> None:
    text = "Il teste Mario Zambrutti tace. Zambrutti ha torto, ZAMBRUTTI insiste; la legge Zambrutti e la Zambrutti S.r.l. restano."
    assert found(text) == ["Mario Zambrutti", "Zambrutti", "ZAMBRUTTI"]
    assert found("Zambrutti ha torto.") == []


def test_a_name_broken_over_two_lines_of_a_paragraph_is_one_name() -> None:
    assert found("Questa riga di testo è abbastanza lunga e finisce con Giuseppe\nZambrutti, che va a capo.") == ["Giuseppe\nZambrutti"]
    assert found("Giuseppe\nZambrutti") == ["Giuseppe"]
