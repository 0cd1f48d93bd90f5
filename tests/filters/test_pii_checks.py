"""Control characters: what is valid, what one changed character does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.pii import checks


@pytest.mark.parametrize("code", ["RSSMRA80A01H501U", "rssmra80a01h501u", "RSSMRA80A41H501Y", "RSSMRA80A01H50MM"])
def test_a_codice_fiscale_with_its_control_character_is_valid_omocodia_included(code: str) -> None:
    assert checks.codice_fiscale(code)


@pytest.mark.parametrize("code", ["RSSMRA80A01H501X", "RSSMRA80A32H501U", "RSSMRA80F01H501U", "RSSMRA80A01H501", "", "RSSMRA80A01H50ıU"])
def test_a_codice_fiscale_with_a_wrong_character_is_refused(code: str) -> None:
    assert not checks.codice_fiscale(code)


def test_partita_iva_needs_its_control_digit_and_an_office_that_exists() -> None:
    assert checks.partita_iva("00743110157")
    assert not checks.partita_iva("00743110158")
    assert not checks.partita_iva("0074311015")
    assert not checks.partita_iva("00000000000")


@pytest.mark.parametrize(
    "code", ["IT60X0542811101000000123456", "GB82WEST12345698765432", "DE89370400440532013000", "SM86U0322509800000000270100"]
)
def test_an_iban_is_valid_modulo_97_with_the_length_of_its_country(code: str) -> None:
    assert checks.iban(code)
    assert not checks.iban(code[:-1])
    assert not checks.iban(code[:-1] + ("1" if code[-1] != "1" else "2"))


def test_cards_pass_luhn_and_repeated_digits_do_not() -> None:
    assert checks.luhn("4111111111111111")
    assert checks.card_brand("4111111111111111")
    assert not checks.luhn("4111111111111112")
    assert not checks.luhn("0000000000000000")
    assert not checks.card_brand("9999999999999995")


@given(st.text("0123456789", min_size=11, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_no_single_wrong_digit_passes_luhn(digits: str, place: int, shift: int) -> None:
    if checks.luhn(digits) and place < len(digits):
        wrong = digits[:place] + str((int(digits[place]) + shift) % 10) + digits[place + 1 :]
        assert not checks.luhn(wrong)


def test_social_security_numbers_that_were_never_issued_are_refused() -> None:
    assert checks.us_ssn(219, 9, 9999)
    assert not checks.us_ssn(666, 12, 1234)
    assert not checks.us_ssn(900, 12, 1234)
    assert not checks.us_ssn(219, 0, 1234)
