from __future__ import annotations

import pytest

from filters.lang import FUNCTION_WORDS, Identifier, sampled

TEXTS = {
    "it": (
        "La sera, quando il lavoro era finito, gli uomini tornavano dai campi lungo "
        "la strada che costeggia il fiume e si fermavano a parlare."
    ),
    "en": (
        "In the evening, when the work was done, the men came back from the fields "
        "along the road by the river and stopped to talk for a while."
    ),
    "fr": (
        "Le soir, quand le travail était fini, les hommes revenaient des champs par "
        "la route qui longe la rivière et s'arrêtaient pour parler."
    ),
    "de": (
        "Am Abend, wenn die Arbeit getan war, kamen die Männer von den Feldern über "
        "die Straße am Fluss zurück und blieben stehen, um zu reden."
    ),
    "es": (
        "Por la tarde, cuando el trabajo estaba terminado, los hombres volvían de los "
        "campos por el camino que sigue el río y se paraban a hablar."
    ),
    "la": (
        "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam "
        "Aquitani, tertiam qui ipsorum lingua Celtae appellantur."
    ),
}


@pytest.fixture(scope="module")
def identify() -> Identifier:
    return Identifier()


@pytest.mark.parametrize("code", TEXTS)
def test_each_language_gets_its_code(identify: Identifier, code: str) -> None:
    assert identify(TEXTS[code])[0] == code


def test_another_script_is_named_too(identify: Identifier) -> None:
    assert identify("Вечером, когда работа была закончена, мужчины возвращались с полей по дороге вдоль реки.")[0] == "ru"
    assert identify("בערב, כשהעבודה הסתיימה, חזרו האנשים מן השדות בדרך שלאורך הנהר ועצרו לדבר.")[0] == "he"


def test_what_is_too_short_or_no_language_is_und(identify: Identifier) -> None:
    assert identify("") == ("und", 0.0)
    assert identify("Ciao a tutti")[0] == "und"
    assert identify("12 34 56 78 90 " * 50)[0] == "und"
    assert identify("Rossi Bianchi Verdi Neri Ferrari Esposito Romano Colombo Ricci Marino Greco Bruno Gallo Conti " * 4)[0] == "und"


def test_a_dialect_is_not_passed_off_as_the_nearest_language(identify: Identifier) -> None:
    friulian = (
        "Fate buine e proclamade de Samblee gjenerâl des Nazion Unidis. Ducj i oms a nassin libars e compagns come dignitât e dirits. "
        "A an sintiment e cussience e bisugne che si tratin un culaltri come fradis. Ogni om al à di vê ducj i dirits e lis libertâts."
    )
    assert identify(friulian)[0] == "und"


def test_a_foreign_quotation_does_not_change_the_language(identify: Identifier) -> None:
    assert identify(TEXTS["it"] * 6 + TEXTS["de"] + TEXTS["it"] * 6)[0] == "it"


def test_an_unknown_code_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'xx'"):
        Identifier(("it", "xx"))


def test_a_sample_is_bounded_and_comes_from_more_than_the_beginning() -> None:
    text = "a" * 50_000 + "b" * 50_000
    assert len(sampled(text, 600)) <= 602
    assert {"a", "b"} <= set(sampled(text, 600))
    assert sampled("breve", 600) == "breve"


def test_function_words_are_lower_case_words() -> None:
    assert all(word.isalpha() and word == word.lower() for words in FUNCTION_WORDS.values() for word in words)
