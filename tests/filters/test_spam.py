from __future__ import annotations

import pytest

from filters.lang import WORD
from filters.spam import has_words, spam

SPAM = {
    "it": """OFFERTA IMPERDIBILE!!! Solo oggi sconto del 70% su tutti i prodotti! Clicca qui http://offerte.example.com e acquista subito:
spedizione gratuita! Approfitta ora, ultimi pezzi! Guadagna 500 € al giorno da casa senza rischi! Iscriviti ora e vinci un
bonus!""",
    "en": """Congratulations! You have won a FREE gift card! Click here http://win.example.com now to claim your prize. Limited time
offer: buy now and get a 50% discount. Earn money from home, $500 a day guaranteed! Order today, free shipping, money back
guarantee!""",
    "shop": """Nuova collezione di scarpe in offerta a partire da 29,90 €. Acquista online su www.scarpe.example.it, spedizione gratuita
sopra i 50 €. Sconti fino al 40%! Registrati e risparmia subito 10 €!""",
}
HONEST = {
    "code": """Il consumatore che acquista un bene ha diritto di conoscere il prezzo, le spese di spedizione e la durata dell'offerta
prima che il contratto sia concluso. Le promozioni e gli sconti devono indicare il prezzo iniziale e la percentuale di riduzione
applicata.""",
    "news": """The company said on Monday that sales rose 4% to $2.1 billion in the quarter, helped by lower prices, and that it would offer
its staff a bonus of up to 3% of their pay. Its shares closed at $41, having lost 12% of their value since the beginning of
the year.""",
    "proclamation": (
        "PER QUESTI MOTIVI LA CORTE COSTITUZIONALE dichiara non fondata la questione di legittimità costituzionale della norma."
    ),
    "exclamations": (
        "Ah! Che disgrazia! gridò la vecchia. Povero figlio mio! E si mise a piangere, mentre gli altri correvano verso il fiume."
    ),
}


def score(text: str) -> float:
    return spam(text, WORD.findall(text.lower()), text.split())


@pytest.mark.parametrize("name", SPAM)
def test_advertising_scores_above_one_half(name: str) -> None:
    assert 0.5 < score(SPAM[name]) <= 1.0


@pytest.mark.parametrize("name", HONEST)
def test_honest_texts_with_one_sign_of_spam_stay_well_below(name: str) -> None:
    assert score(HONEST[name]) < 0.4


def test_no_words_no_spam() -> None:
    assert score("") == score("!!! 100% €€€") == 0.0


def test_only_italian_and_english_have_advertising_words() -> None:
    assert has_words("it") and has_words("en") and not has_words("fr") and not has_words("und")
