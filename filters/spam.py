"""Spam: how much a text wants to sell something.

No sign convicts alone: a consumer code speaks of prices and offers, a proclamation is in capitals, a reference list is
full of links. The score, 0 to 1, adds advertising words and phrases (Italian, English), exclamation marks, prices,
links, capitals and repeated phrases, each from its own threshold on; more than one half takes two or three of them.

Limits: a language without advertising words is judged by the other signs only (`has_words` says which have them).
"""

from __future__ import annotations

import re
from itertools import pairwise

_WORDS = {
    "it": """gratis gratuita omaggio sconto sconti scontato scontatissimo offerta offerte offertissima promo imperdibile imperdibili
        affrettati approfitta approfittane acquista acquistalo compra compralo ordina ordinalo clicca cliccate iscriviti
        registrati guadagna guadagnare guadagni vinci vincita vincite vincitore bonus casinò casino scommesse slot dimagrire
        dimagrisci viagra cialis miracoloso garantito garantita rimborsati risparmia risparmio saldi outlet coupon voucher
        regalo""",
    "en": """free gratis discount discounts sale deal deals promo hurry buy click subscribe signup earn earning winner win won prize prizes
        bonus casino betting slots jackpot viagra cialis pills pharmacy miracle guaranteed guarantee refund cheap cheapest
        lowest coupon voucher gift unlimited amazing incredible urgent""",
}
_PHRASES = {
    "it": (
        "clicca qui|clicca subito|compra ora|compra adesso|acquista ora|acquista subito|ordina ora|ordina subito|solo oggi|"
        "solo per oggi|soddisfatti o|offerta limitata|tempo limitato|ultimi pezzi|prezzo speciale|prezzi imbattibili|"
        "spedizione gratuita|consegna gratuita|guadagna da|da casa|senza rischi|senza impegno|scopri di|non perdere|chiama ora|"
        "chiama subito|hai vinto|iscriviti ora|affiliato"
    ),
    "en": (
        "click here|click now|buy now|buy one|order now|order today|act now|shop now|limited time|limited offer|special offer|"
        "best price|lowest price|free shipping|free trial|money back|risk free|no obligation|work from|from home|call now|"
        "sign up|subscribe now|you won|have won|miss out|get yours|while supplies|satisfaction guaranteed|earn money|make money"
    ),
}
WORDS: dict[str, frozenset[str]] = {code: frozenset(words.split()) for code, words in _WORDS.items()}
_SINGLE = frozenset().union(*WORDS.values())
_PAIRS = frozenset(tuple(phrase.split()[:2]) for phrases in _PHRASES.values() for phrase in phrases.split("|"))
_PRICE = re.compile(r"[€$£%]|\beuro?\b", re.I)
_LINK = re.compile(r"://|www\.|<URL>|[.](?:com|it|net|org|biz|info|shop)\b")


def has_words(lang: str) -> bool:
    """Are there advertising words for this language?"""
    return lang in WORDS


def spam(text: str, words: list[str], tokens: list[str], repeated: float = 0.0) -> float:
    """Spam score 0..1 of a text: its words in lower case, its tokens between blanks, the share of words in repeated phrases."""
    if not words:
        return 0.0
    count = len(words)
    hits = sum(map(_SINGLE.__contains__, words)) + 2 * sum(map(_PAIRS.__contains__, pairwise(words)))
    shouting = sum(len(token) >= 4 and token.isupper() and token[0] != "<" for token in tokens)
    score = (
        0.45 * _ramp(hits / count, 0.02, 0.09)
        + 0.25 * _ramp(text.count("!") / count, 0.008, 0.04)
        + 0.15 * _ramp(len(_PRICE.findall(text)) / count, 0.01, 0.05)
        + 0.2 * _ramp(len(_LINK.findall(text)) / count, 0.01, 0.06)
        + 0.15 * _ramp(shouting / count, 0.05, 0.25)
        + 0.15 * _ramp(repeated, 0.2, 0.6)
    )
    return min(1.0, score)


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
