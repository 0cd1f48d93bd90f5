"""quality: how good a document is as reading for a model, 0 to 1, by rules one can name; and spam (spam.py).

The rules are those of Gopher (Rae et al. 2021, arXiv:2112.11446, table A1) and C4 (Raffel et al. 2020), softened: each
becomes a ramp from "bad" to "fine", and the score is their weighted geometric mean, so that one very bad sign sinks a
text and many slight ones dent it. Function words are counted in the document's language.

Limits: rules see form, not sense. A language without function words or advertising words is judged without them, and
the field `quality_rules` of the outcome says so: 'full', 'no_spam_words' or 'form_only'.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from filters.lang import FUNCTION_WORDS, WORD, share_of_function_words
from filters.spam import has_words, spam

_BULLET = re.compile(r"^[ \t]*(?:[-*•◦▪·‣●○■□➢✓]|\d{1,3}[.)])\s", re.M)
_PAGE = (
    *("lorem ipsum", "javascript", "cookie policy", "informativa sui cookie", "accetta i cookie", "accept cookies", "accept all cookies"),
    *("terms of use", "terms of service", "privacy policy", "tutti i diritti riservati", "all rights reserved", "condividi su", "share on"),
    *("page not found", "pagina non trovata", "skip to content", "vai al contenuto"),
)
_SENTENCE = (".", "!", "?", ":", ";", "…", "»", "”", '"', ")")


@dataclass(frozen=True)
class QualityConfig:
    """Settings of quality."""

    gram: int = measured(8, "words of the phrases whose repetition is counted")
    min_quality: float = decided(0.35, "documents with a lower quality are rejected")
    max_spam: float = decided(0.5, "documents with a higher spam score are rejected")
    max_repeated: float = decided(0.6, "reject when more than this share of the words lie in phrases or lines that occur again")


def repetition(words: list[str], gram: int) -> float:
    """Share of words that lie in a `gram`-word phrase seen earlier in the same text. Vectorised over word numbers."""
    import numpy as np

    if len(words) < 4 * gram:
        return 0.0
    numbers: dict[str, int] = {}
    ids = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.uint64, len(words))
    ids = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    ids ^= ids >> np.uint64(29)
    size = len(ids) - gram + 1
    hashes = np.zeros(size, np.uint64)
    for k in range(gram):
        hashes = hashes * np.uint64(0xBF58476D1CE4E5B9) + ids[k : k + size]
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
    if not len(again):
        return 0.0
    edges = np.zeros(len(words) + 1, np.int64)
    edges[again] += 1
    np.subtract.at(edges, again + gram, 1)
    return float((np.cumsum(edges[:-1]) > 0).mean())


def features(text: str, lang: str, gram: int) -> dict[str, Any]:
    """What the rules look at, shares in 0..1 unless the name says otherwise."""
    lower = text.lower()
    words = WORD.findall(lower)
    tokens = text.split()
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    length = sum(map(len, lines)) or 1
    counts = Counter(lines)
    twice = sum(len(line) * (n - 1) for line, n in counts.items() if n > 1) if len(counts) < len(lines) else 0
    letters = sum(map(len, words))
    repeated = max(repetition(words, gram), twice / length)
    return {
        "n_words": len(words),
        "word_length": letters / max(1, len(words)),
        "function_words": share_of_function_words(words, lang),
        "worded": min(1.0, len(words) / max(1, len(tokens))),
        "letters": letters / max(1, sum(map(len, tokens))),
        "bullets": len(_BULLET.findall(text)) / max(1, len(lines)),
        "ellipses": sum(line.endswith(("...", "…")) for line in lines) / max(1, len(lines)) if "..." in text or "…" in text else 0.0,
        "sentences": sum(len(line) for line in lines if line.endswith(_SENTENCE)) / length,
        "hashes": (text.count("#") + text.count("{") + text.count("|")) / max(1, len(tokens)),
        "capitals": sum(token.isupper() and token[0] != "<" for token in tokens) / max(1, len(tokens)),  # a placeholder is no shout
        "boilerplate": 100 * sum(map(lower.count, _PAGE)) / max(1, len(words)),
        "repeated": repeated,
        "spam": spam(text, words, tokens, repeated),
    }


def quality(f: dict[str, Any], lang: str) -> float:
    """The score of these features: weighted geometric mean of ramps, rounded to 4 digits."""
    ramps = [
        (1.0, _up(math.log10(1 + f["n_words"]), 1.0, 2.2)),  # 10 words: nothing; 160: enough
        (1.0, _up(f["word_length"], 2.5, 3.8) * _down(f["word_length"], 7.5, 11.0)),
        (2.0, _up(f["function_words"], 0.05, 0.25) if lang in FUNCTION_WORDS else 1.0),
        (1.0, _up(f["letters"], 0.5, 0.78)),
        (1.0, _up(f["worded"], 0.5, 0.8)),
        (0.5, _down(f["bullets"], 0.6, 1.2)),
        (0.5, _down(f["ellipses"], 0.2, 0.8)),
        (1.0, _up(f["sentences"], -0.3, 0.6)),
        (1.0, _down(f["hashes"], 0.05, 0.4)),
        (0.5, _down(f["capitals"], 0.2, 0.8)),
        (1.0, _down(f["boilerplate"], 0.3, 4.0)),
        (1.0, _down(f["repeated"], 0.15, 0.8)),
        (1.0, _down(f["spam"], 0.2, 1.0)),
    ]
    weight = sum(w for w, _ in ramps)
    return round(math.exp(sum(w * math.log(max(r, 0.005)) for w, r in ramps) / weight), 4)


def _up(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _down(value: float, low: float, high: float) -> float:
    return 1.0 - _up(value, low, high)


def measure(config: QualityConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """The features, the quality and the spam score, and which rules there were."""

    def one(document: Document) -> Measurements:
        lang = document["lang"]
        f = features(document["text"], lang, config.gram)
        rules = "full" if has_words(lang) else "no_spam_words" if lang in FUNCTION_WORDS else "form_only"
        return {**f, "score": quality(f, lang), "rules": rules}

    return one


def decide(config: QualityConfig, m: Measurements) -> Outcome:
    """Spam, repetition, then the score."""
    if m["spam"] > config.max_spam:
        return rejected("spam", m["spam"], config.max_spam, "advertising words, exclamations, prices, links, capitals")
    if m["repeated"] > config.max_repeated:
        return rejected("repetitive", m["repeated"], config.max_repeated, "share of the words in phrases that occur again")
    if m["score"] < config.min_quality:
        return rejected("low_quality", m["score"], config.min_quality, f"rules: {m['rules']}")
    return kept(quality=m["score"], quality_rules=m["rules"])


_DOC = {
    "word_length": "mean letters of a word",
    "function_words": "share of function words of the language",
    "worded": "words per token, at most 1",
    "letters": "share of letters among the characters that are not blank",
    "bullets": "share of lines that are list items",
    "ellipses": "share of lines that break off",
    "sentences": "share of text in lines that end like a sentence",
    "hashes": "signs of markup and code per token",
    "capitals": "share of tokens in capitals",
    "boilerplate": "phrases of web pages per 100 words",
    "repeated": "share of words in repeated phrases or lines",
    "spam": "spam score",
    "score": "quality",
}

STAGE = DocumentStage(
    name="quality",
    version=1,
    config=QualityConfig(),
    doc="rules of form, repetition and spam",
    reads=("text", "lang"),
    measures=pa.schema(
        [pa.field("n_words", pa.int64(), metadata={"doc": "words"})]
        + [pa.field(name, pa.float64(), metadata={"doc": doc}) for name, doc in _DOC.items()]
        + [pa.field("rules", pa.string(), metadata={"doc": "'full', 'no_spam_words' or 'form_only'"})]
    ),
    writes=pa.schema(
        [
            pa.field("quality", pa.float64(), metadata={"doc": "quality 0..1"}),
            pa.field("quality_rules", pa.string(), metadata={"doc": "which rules there were for the language"}),
        ]
    ),
    measure=measure,
    decide=decide,
    passes_chat=True,
)
