"""The file's own quotes and dashes come back where they are certain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extractors.pdf.typography import restored

PAGE = "L’autorità – così “detta” – è l’ente. E l'uomo, e l’uomo."


def test_words_that_the_file_writes_in_one_way_are_written_that_way() -> None:
    assert restored("L'autorità - così \"detta\" - è l'ente.", [PAGE]) == "L’autorità – così “detta” – è l’ente."


def test_words_that_it_writes_in_two_ways_stay_plain() -> None:
    assert restored("E l'uomo,", ["E l’uomo, e l'uomo,"]) == "E l'uomo,"


def test_bullets_and_rules_of_tables_are_no_dashes() -> None:
    text = "- voce\n- altra\n\n| a | b |\n| --- | --- |\n| - | x - y |"
    assert restored(text, ["x – y – z"]) == text.replace("x - y", "x – y")


@given(st.text("ab’'“\"–- \n|*", max_size=60), st.text("ab’'“\"–- \n", max_size=60))
def test_nothing_but_signs_changes(text: str, page: str) -> None:
    plain = str.maketrans("’“–", "'\"-")
    assert restored(text, [page]).translate(plain) == text.translate(plain)
