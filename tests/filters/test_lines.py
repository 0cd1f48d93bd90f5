from __future__ import annotations

import pytest
from texts import VERSE, WRAPPED

from filters.lines import repair


def clean(value: str) -> str:
    return repair(value)[0]


def test_wrapped_paragraphs_become_one_line_and_broken_words_one_word() -> None:
    got, changes = repair(f"{WRAPPED}\n\n\n\n\n{WRAPPED}")
    first, blank, second = got.split("\n")
    assert first == second and blank == ""
    assert "amministrazioni rendono" in first and "stabilisce i termini" in first
    assert changes.joined == 6 and changes.dehyphenated == 4


def test_a_compound_written_with_its_hyphen_elsewhere_keeps_it() -> None:
    assert "italo-americano arrivò" in clean(
        "Un accordo fra le parti sul diritto italo-\namericano arrivò tardi. Il diritto italo-americano resta."
    )


@pytest.mark.parametrize(
    "kept",
    [
        VERSE,
        "- pane e olio\n- latte intero\n- uova fresche di giornata\n- farina",
        "1. Il primo punto dell'elenco è breve.\n2. Il secondo punto è un poco più lungo.\n3. Il terzo.",
        "| Regione | Casi |\n|---|---|\n| Lazio | 12 |\n| Puglia | 9 |",
        "Regione          Casi    Morti\nLazio            1200       12\nPuglia            900        9",
        "```python\nfor i in range(10):\n    print(i)\n```",
        "def somma(a, b):\n    return a + b\n\ndef meno(a, b):\n    return a - b",
        "---\ntitle: Prova\nlang: it\n---\n\nTesto.",
    ],
)
def test_verse_lists_tables_code_and_front_matter_keep_their_lines(kept: str) -> None:
    assert clean(kept) == kept


def test_a_list_item_is_joined_with_its_own_continuation_only() -> None:
    item = (
        "- il titolare del trattamento comunica senza ritardo all'autorità la\n  violazione dei dati "
        "personali di cui è venuto a conoscenza nel corso\n  delle proprie attività"
    )
    got = clean(f"{item}\n- il responsabile tace")
    assert got.split("\n")[0].endswith("venuto a conoscenza nel corso delle proprie attività")
    assert got.split("\n")[1] == "- il responsabile tace"


def test_quoted_mail_is_joined_inside_its_level() -> None:
    quoted = "\n".join("> " + line for line in WRAPPED.split("\n"))
    got = clean(f"D'accordo, procediamo.\n\n{quoted}\n>> Va bene?")
    lines = got.split("\n")
    assert lines[0] == "D'accordo, procediamo."
    assert lines[2].startswith("> Il presente decreto") and lines[2].endswith("provvede.")
    assert lines[3] == "> > Va bene?"


def test_justified_prose_loses_its_stretched_spaces() -> None:
    text = (
        "     a)    dichiara   inammissibili   le   questioni   di   legittimità\n"
        " costituzionale dell'art. 10,  secondo  comma,  n.  13,  della  legge  9\n"
        " febbraio 1963, n. 59, sollevate con il ricorso indicato in epigrafe  dal\n"
        " Presidente della Regione e decise in camera di consiglio senza rinvio."
    )
    got = clean(text)
    assert "\n" not in got and "  " not in got.strip()
