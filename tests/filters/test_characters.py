from __future__ import annotations

from filters.characters import repair


def test_mojibake_in_italian_is_undone() -> None:
    assert repair("La cittÃ\xa0 Ã¨ piÃ¹ bella perchÃ© câ€™Ã¨ il mare.") == "La città è più bella perché c’è il mare."


def test_ligatures_and_hard_spaces_are_folded_but_superscripts_fractions_and_ordinals_stay() -> None:
    assert repair("eﬃcace, ﬁne,\u00a0n.º 1ª, 10² m, ½ litro, ① e ´") == "efficace, fine, n.º 1ª, 10² m, ½ litro, ① e ´"


def test_typographic_quotes_and_dashes_stay() -> None:
    assert repair("«Sì», disse – “forse” ‘no’ — poi…") == "«Sì», disse – “forse” ‘no’ — poi..."


def test_control_characters_soft_hyphens_and_line_ends_go() -> None:
    assert repair("uno\r\ndue\x00\x07 co\u00adsti\u00ad\ntuzione\u200b\ufeff\r") == "uno\ndue costituzione\n"
