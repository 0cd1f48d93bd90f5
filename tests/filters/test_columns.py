from __future__ import annotations

from texts import LEFT, RIGHT, columns

from filters.columns import fused


def test_every_line_of_two_fused_columns_is_counted() -> None:
    assert fused(columns(LEFT, RIGHT)) == (16, 16)
    assert fused("Un titolo\n\n" + columns(LEFT, RIGHT) + "\n\nUna nota.") == (16, 18)


def test_a_table_of_words_and_numbers_is_not_taken_for_fused_columns() -> None:
    assert (
        fused("\n".join(f"Comune di {name:<30}{n} casi accertati" for n, name in enumerate(["Bari", "Lecce", "Roma", "Pisa"] * 5)))[0] == 0
    )


def test_a_table_of_sentences_is_not_taken_for_fused_columns() -> None:
    row = f"{'Il ricorso è accolto.':<40}La norma è abrogata."
    assert fused("\n".join([row] * 20))[0] == 0


def test_justified_prose_and_a_single_column_are_not_taken_for_fused_columns() -> None:
    assert fused("\n".join(LEFT))[0] == 0
    assert fused("\n".join(["dichiara   inammissibili   le   questioni   di   legittimità"] * 20))[0] == 0
