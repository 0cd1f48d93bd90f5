"""Bytes to text, Italian first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.decode import decode

ITALIAN = "Perché la città è così bella? L’età dell’oro – «già» costò 10 €, né più né meno: andò a metà."


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp1252"]
)
def test_italian_text_survives_every_common_encoding(encoding: str) -> None:
    assert decode((ITALIAN * 3).encode(encoding))[0] == ITALIAN * 3


def test_latin_1_accents_are_read() -> None:
    assert decode("Perché l'età è così".encode("latin-1"))[0] == "Perché l'età è così"


def test_a_declared_encoding_wins_when_it_decodes() -> None:
    assert decode("привет, как дела".encode("koi8-r"), "koi8-r")[0] == "привет, как дела"
    assert decode(ITALIAN.encode(), "ascii")[0] == ITALIAN
    assert decode(ITALIAN.encode(), "no-such-encoding")[0] == ITALIAN


def test_cyrillic_is_not_taken_for_italian() -> None:
    text = "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью. " * 5
    assert decode(text.encode("cp1251"))[0] == text


def test_mojibake_is_left_for_normalize() -> None:
    broken = "perchÃ© la cittÃ "
    assert decode(broken.encode())[0] == broken


def test_a_few_bad_bytes_do_not_turn_utf_8_into_something_else() -> None:
    text, encoding = decode((ITALIAN * 20).encode() + b"\xc3")
    assert encoding == "utf-8"
    assert text.startswith(ITALIAN)


@given(st.binary(max_size=500))
def test_decoding_never_fails(data: bytes) -> None:
    assert isinstance(decode(data)[0], str)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\ufeff\x00"), max_size=200))
def test_utf_8_is_always_read_back(text: str) -> None:
    assert decode(text.encode())[0] == text


@pytest.mark.parametrize("encoding", ["cp850", "mac_roman", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        "Perché no? È già così.",
        "Il contratto è stipulato in Forlì; la società dichiara che il prezzo sarà pagato, perciò nulla è più dovuto.",
        "Alle Menschen sind frei und gleich an Würde und Rechten: Größe, Übung, Ärger.",
    ],
)
def test_old_machines_wrote_italian_in_their_own_way(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "koi8-r", "cp1251", "cp866"])
def test_other_alphabets_are_read_without_a_mark(encoding: str) -> None:
    text = "Все люди рождаются свободными и равными в своем достоинстве и правах. " * 8
    assert decode(text.encode(encoding))[0] == text


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp", "iso2022_jp", "utf-16-le"])
def test_japanese_is_read(encoding: str) -> None:
    text = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 6
    assert decode(text.encode(encoding))[0] == text


def test_a_declared_western_encoding_gives_way_to_utf_8_and_stands_for_that_of_windows() -> None:
    assert decode(ITALIAN.encode(), "iso-8859-1") == (ITALIAN, "utf-8")
    assert decode(ITALIAN.encode("cp1252"), "ISO-8859-1") == (ITALIAN, "cp1252")
