"""Licence statements are found where they are made, under one name each; words that only sound like one are not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.licences import RESERVED, find, of_document

STATED = {
    "Testo rilasciato con licenza CC BY-SA 4.0.": ["CC-BY-SA-4.0"],
    "CC-BY-NC-ND-3.0": ["CC-BY-NC-ND-3.0"],
    "pubblicato sotto licenza CC-BY": ["CC-BY"],
    "https://creativecommons.org/licenses/by-nc-sa/3.0/it/deed.it": ["CC-BY-NC-SA-3.0"],
    "https://creativecommons.org/publicdomain/zero/1.0/": ["CC0-1.0"],
    "Creative Commons Attribuzione - Non commerciale - Condividi allo stesso modo 4.0 Internazionale": ["CC-BY-NC-SA-4.0"],
    "Creative Commons Attribuzione – Non opere derivate 3.0 Italia": ["CC-BY-ND-3.0"],
    "the Creative Commons Attribution-ShareAlike\n3.0 Unported License": ["CC-BY-SA-3.0"],
    "Creative Commons Attribution 4.0 International (CC BY 4.0)": ["CC-BY-4.0"],
    "I dati sono CC0.": ["CC0-1.0"],
    "This work is in the public domain.": ["Public-Domain"],
    "Quest'opera è di pubblico dominio.": ["Public-Domain"],
    "Licenza: pubblico dominio": ["Public-Domain"],
    "the author released it into the public domain": ["Public-Domain"],
    "This document is placed in the public domain or under the CC0-1.0 license": ["CC0-1.0", "Public-Domain"],
    "Licensed under the Apache License, Version 2.0": ["Apache-2.0"],
    "http://www.apache.org/licenses/LICENSE-2.0": ["Apache-2.0"],
    "Released under the MIT License": ["MIT"],
    "Permission is hereby granted, free of charge,\nto any person obtaining a copy": ["MIT"],
    "BSD 3-Clause License": ["BSD-3-Clause"],
    "GNU General Public License, version 3 or later": ["GPL-3.0"],
    "GNU General Public License\n\n12 articoli": ["GPL"],
    "GNU Affero General Public License v3.0": ["AGPL-3.0"],
    "distribuito con licenza LGPLv2.1": ["LGPL-2.1"],
    "GNU Free Documentation License 1.2": ["GFDL-1.2"],
    "EUPL-1.2": ["EUPL-1.2"],
    "European Union Public Licence v. 1.2": ["EUPL-1.2"],
    "dati.gov.it/iodl/2.0": ["IODL-2.0"],
    "Italian Open Data License v2.0": ["IODL-2.0"],
    "Tutti i diritti riservati.": [RESERVED],
    "© RIPRODUZIONE RISERVATA": [RESERVED],
    "All rights reserved": [RESERVED],
    "Testo CC BY 4.0, codice MIT License": ["CC-BY-4.0", "MIT"],
}
NOT_STATED = [
    "© Mario Rossi 2020",
    "è ormai di dominio pubblico che il ponte è chiuso",
    "la notizia è di pubblico dominio",
    "a debate about the public domain",
    "alcuni diritti riservati",
    "ti metto in cc by the way",
    "l'apache cavalcava nella prateria",
    "il MIT di Boston; la licenza di pesca; la patente GPL",
    "accanto al piccolo ecco l'accordo",
]


@pytest.mark.parametrize(("text", "names"), STATED.items())
def test_a_statement_has_one_name(text, names):
    assert find(text) == names
    assert find(f"Prima di tutto. {text}\nE poi altro.") == names


@pytest.mark.parametrize("text", NOT_STATED)
def test_what_only_sounds_like_a_licence_is_none(text):
    assert find(text) == []


def test_the_licence_a_document_declares_counts_as_well():
    assert of_document("Un testo. All rights reserved", json.dumps({"licence": "CC BY 4.0"})) == [RESERVED, "CC-BY-4.0"]
    assert of_document("Un testo.", None) == of_document("Un testo.", "[1]") == of_document("Un testo.", "{") == []


@given(st.text(), st.sampled_from(sorted(STATED)), st.text())
def test_any_text_can_be_searched_and_what_is_found_is_sorted_and_single(before, statement, after):
    found = find(f"{before}\n{statement}\n{after}")
    assert found == sorted(set(found)) and found
