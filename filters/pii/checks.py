"""Control characters: which numbers can be real. Every function takes the compact form (no spaces or dashes).

Sources: D.M. 23 December 1976 (codice fiscale) with the omocodia substitutions of the Agenzia delle Entrate; D.P.R.
633/1972 and the Luhn variant of the partita IVA; ISO 13616 (IBAN); ISO/IEC 7812 (cards).
"""

from __future__ import annotations

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ODD_VALUES = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21]
_ODD_VALUES += _ODD_VALUES + [2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
_ODD = dict(zip(_CHARACTERS, _ODD_VALUES, strict=True))
_EVEN = {c: (int(c) if c.isdigit() else ord(c) - 65) for c in _ODD}
_OMOCODIA = str.maketrans("LMNPQRSTUV", "0123456789")
_COUNTRIES = {  # by length of their IBAN
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG DE GB GE IE ME RS VA",
    23: "AE GI IL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL CY HU LB PL",
    29: "BR EG PS QA UA",
    30: "JO KW",
    31: "MT",
}
_IBAN_LENGTHS = {country: length for length, countries in _COUNTRIES.items() for country in countries.split()}


def codice_fiscale(code: str) -> bool:
    """16 characters whose last one is the control character of the others; omocodia letters in place of digits are accepted."""
    code = code.upper()
    if len(code) != 16 or not code.isascii() or not code.isalnum():
        return False
    digits = (code[6:8] + code[9:11] + code[12:15]).translate(_OMOCODIA)
    if not digits.isdigit() or code[8] not in "ABCDEHLMPRST" or not 1 <= int(digits[2:4]) % 40 <= 31:
        return False
    total = sum(_ODD[c] if i % 2 == 0 else _EVEN[c] for i, c in enumerate(code[:15]))
    return code[15] == chr(65 + total % 26)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812 control digit, for 2 digits and more that are not all the same."""
    if len(digits) < 2 or not digits.isascii() or not digits.isdigit() or len(set(digits)) == 1:
        return False
    return _luhn_sum(digits) % 10 == 0


def card_brand(digits: str) -> bool:
    """Whether prefix and length are those of a large card scheme."""
    n, two, four = len(digits), int(digits[:2]), int(digits[:4])
    return (
        (digits[0] == "4" and n in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and n == 16)
        or (two in (34, 37) and n == 15)
        or ((two in (36, 38) or 300 <= int(digits[:3]) <= 305) and n == 14)
        or ((four == 6011 or two == 65 or 3528 <= four <= 3589) and n == 16)
        or (four in (1800, 2131) and n == 15)
        or ((two in (50, 56, 57, 58) or digits[0] == "6") and 12 <= n <= 19)
    )


def partita_iva(digits: str) -> bool:
    """11 digits: 7 of the subject, 3 of the province office (001-100, 120, 121, 888, 999), one of control."""
    if len(digits) != 11 or not digits.isascii() or not digits.isdigit() or digits[:7] == "0000000":
        return False
    office = int(digits[7:10])
    return (1 <= office <= 100 or office in (120, 121, 888, 999)) and _luhn_sum(digits) % 10 == 0


def iban(code: str) -> bool:
    """Country length and remainder 1 modulo 97."""
    code = code.upper()
    if _IBAN_LENGTHS.get(code[:2]) != len(code) or not code.isascii() or not code.isalnum() or not code[2:4].isdigit():
        return False
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def iban_length(country: str) -> int:
    """Characters of an IBAN of this country, 0 when the country has none."""
    return _IBAN_LENGTHS.get(country.upper(), 0)


def us_ssn(area: int, group: int, serial: int) -> bool:
    """Numbers the US administration can have issued."""
    return area not in (0, 666) and area < 900 and group != 0 and serial != 0


def _luhn_sum(digits: str) -> int:
    return sum(d if i % 2 == 0 else (2 * d if d < 5 else 2 * d - 9) for i, d in enumerate(int(c) for c in reversed(digits)))
