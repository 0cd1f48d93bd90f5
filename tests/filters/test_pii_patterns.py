"""Forms of personal data: what is found exactly, and what is left alone. All data are invented."""

from __future__ import annotations

import re

import pytest

from filters.pii.english import ENGLISH
from filters.pii.italian import ITALIAN
from filters.pii.patterns import COMMON, scan
from filters.pii.spans import resolve

FOUND = [
    ("it", "Scrivere a [EMAIL mario.rossi-1@posta.esempio.it]."),
    ("it", "PEC: [EMAIL studio.bianchi@pec.esempio.it]; fax [TELEFONO 06/55512345]"),
    ("it", "info [EMAIL anna(at)esempio.it]"),
    ("it", "C.F. [CF RSSMRA80A01H501U], nata"),
    ("it", "codice fiscale: [CF RSS MRA 80A01 H501U]"),
    ("it", "cod. fisc. [CF RSSMRA80A01H501X] (con un refuso)"),
    ("it", "P. IVA [PIVA 00743110157]"),
    ("it", "partita iva [PIVA IT00743110157]."),
    ("it", "IBAN: [IBAN IT60X0542811101000000123456]"),
    ("it", "IBAN [IBAN IT60 X054 2811 1010 0000 0123 456], intestato"),
    ("it", "con carta [CARTA 4111 1111 1111 1111] scaduta"),
    ("it", "tel. [TELEFONO 06 5551234], cell. [TELEFONO 333 1234567]"),
    ("it", "chiamami al [TELEFONO +39 347 1234567]"),
    ("it", "al numero [TELEFONO 3471234567] dopo le 18"),
    ("it", "abita in [INDIRIZZO via Giuseppe Garibaldi, 12] da anni"),
    ("it", "residente in [INDIRIZZO Via dei Mille n. 4/b, 00185 Roma (RM)], di seguito"),
    ("it", "sede in [INDIRIZZO P.zza XX Settembre 7, 40121 Bologna BO]"),
    ("it", "[INDIRIZZO Viale dell'Industria 15/A] è chiuso"),
    ("it", "l'autovettura targata [TARGA AB 123 CD] e poi"),
    ("it", "la targa [TARGA EX456YZ]"),
    ("it", "carta d'identità n. [DOCUMENTO AX1234567] rilasciata"),
    ("it", "carta di identità elettronica [DOCUMENTO CA12345AB]"),
    ("it", "passaporto [DOCUMENTO YA1234567]"),
    ("it", "nata a Forlì il [DATA_NASCITA 3 marzo 1968] e"),
    ("it", "data di nascita: [DATA_NASCITA 01/02/1980]"),
    ("it", "dall'indirizzo IP [IP 93.184.216.34]"),
    ("it", "e [IP 2001:db8:85a3::8a2e:370:7334] pure"),
    ("en", "my SSN is [SSN 219-09-9999]"),
    ("en", "call [TELEFONO (212) 555-0147] or [TELEFONO 212-555-0199]"),
    ("en", "lives at [INDIRIZZO 742 Evergreen Terrace, Springfield, IL 62704]"),
    ("en", "ship to [INDIRIZZO 12 Old Mill Road Apt. 4], please"),
    ("en", "passport number [DOCUMENTO 533401234]"),
    ("en", "born on [DATA_NASCITA March 4, 1971] in"),
]
LEFT = [
    ("it", "ai sensi dell'art. 3, comma 12, della legge 23 dicembre 2014, n. 190"),
    ("it", "la sentenza n. 1234/2015 e gli artt. 36, 97 e 117"),
    ("it", "il paragrafo 3.4.1.2 e la versione 2.10.0"),
    ("it", "il 12/03/2019 alle 10:30, per 1.234.567,89 euro"),
    ("it", "per via telematica 3 volte; il corso di laurea 2020"),
    ("it", "un numero di 11 cifre 12345678901 senza controllo"),
    ("it", "un codice 4111 1111 1111 1112 che non è una carta"),
    ("it", "IBAN finto in tabella AB12 3456"),
    ("it", "CIG 12345678AB, CUP J51B21001234567, protocollo 2020/0012345"),
    ("it", "totale 3331234567,50 e 0.0.0.0 o 127.0.0.1"),
    ("en", "between 1998-2003 and 555-12, about 1,234,567 people"),
    ("en", "ISBN 978-3-16-148410-0, RFC 2119 and section 4.2.1.3"),
    ("en", "10 Main points, 5 Way tie"),
]


def found(lang: str, text: str) -> list[tuple[str, str]]:
    rules = COMMON + (ITALIAN if lang == "it" else ENGLISH)
    return [(s.kind, text[s.start : s.end]) for s in resolve(s for s in scan(rules, text) if s.score >= 0.5)]


@pytest.mark.parametrize("lang,marked", FOUND)
def test_each_form_is_found_with_exact_ends(lang: str, marked: str) -> None:
    wanted = re.findall(r"\[([A-Z_]+) ([^\]]+)\]", marked)
    text = re.sub(r"\[[A-Z_]+ ([^\]]+)\]", r"\1", marked)
    assert found(lang, text) == wanted


@pytest.mark.parametrize("lang,text", LEFT)
def test_what_only_resembles_personal_data_is_left_alone(lang: str, text: str) -> None:
    assert found(lang, text) == []


def test_scanning_long_runs_of_one_character_takes_linear_time() -> None:
    for char in "1a@.A:- +\n":
        list(scan(COMMON + ITALIAN + ENGLISH, char * 20_000))
    list(scan(COMMON + ITALIAN + ENGLISH, "Via Roma " * 3000 + "1 2 3 4 " * 3000 + "a.b-" * 5000))
