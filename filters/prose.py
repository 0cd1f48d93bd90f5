"""prose: is this running text? Chunks are scored, poor ones dropped, documents without prose rejected; the language found.

A chunk is a few paragraphs. Its score, 0 to 1, adds signs of prose (function words of its language, lines that end
like sentences or are long, letters rather than digits and signs, punctuation as sentences have it) and is cut down by
signs of something else (symbols of code and tables, the same words again and again, words too long to be words).
What is dropped is decided later, from the scores: a poor passage between two good ones (a table, a formula, a list in
a chapter) stays when it is short.

Limits: fluent nonsense scores like prose (perplexity judges that), and so do glued sentences; a language without a list
of function words is judged by the other signs. A document is in one language here. Curated chat is not scored: it only
gets its language, which redaction needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from filters.lang import FUNCTION_WORDS, RECOGNISED, UNKNOWN, WORD, Identifier

_DIGITS = re.compile(r"\d+")
_SYMBOLS = re.compile(r"[{}\[\]<>|=_/\\@#$%^&*~+`]")
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]*>")
_MARKER = re.compile(r"<\|im_start\|>\w*|<\|im_end\|>")
_PUNCTUATION = re.compile(r"[.,;:!?…](?=\s|$|[»”\"')])")
_CODE = re.compile(  # lines that are code in one of the common languages
    r"^[ \t]*(?:(?:def|class|return|import|elif|else|try|except|raise|assert|const|let|var|function|public|private|static|void)\b"
    r"|from \S+ import|(?:if|for|while|with)\b.*[:{]$|@\w|#include|//|/\*|[\w.\[\]'\", ]+ [-+*/|]?= |[}\])]+[,;]?$"
    r"|[\w.]+\(.*\)?;?$|['\"\[{(].*[,:\[{(]$)|[;{]$|\bself\.",
    re.M,
)
_SENTENCE = (".", "!", "?", ":", ";", "…", "»", "”", '"', ")", ",")


@dataclass(frozen=True)
class ProseConfig:
    """Settings of prose."""

    chunk_chars: int = measured(1200, "a chunk is closed at the end of a line after this many characters")
    paragraph_chars: int = measured(400, "and at a blank line after this many")
    recognised: tuple[str, ...] = measured(RECOGNISED, "languages that are told apart (ISO 639-1)")
    min_confidence: float = measured(0.8, "lingua's confidence below which a language is unknown")
    min_function_words: float = measured(0.12, "share of function words a language must have to be believed")
    languages: tuple[str, ...] = decided(("it", "en"), "languages that are kept")
    allow_unknown: bool = decided(False, "keep prose whose language is unknown")
    min_chunk_score: float = decided(0.4, "chunks with a lower score are dropped")
    min_score: float = decided(0.5, "documents whose kept chunks have a lower mean score are rejected")
    max_gap_chars: int = decided(1200, "a dropped passage between two kept ones stays when it is no longer than this")
    min_share: float = decided(0.1, "documents of which a smaller share is prose are rejected")
    min_chars: int = decided(150, "documents with fewer characters of kept prose are rejected")


def split(text: str, chunk_chars: int, paragraph_chars: int) -> Iterator[tuple[int, int]]:
    """(start, end) of chunks that cover the text, cut after line ends, or anywhere when a line exceeds four chunks."""
    start = position = 0
    while start < len(text):
        position = text.find("\n", position)
        end = len(text) if position < 0 else position + 1
        blank = position >= 0 and text.startswith("\n", position + 1)
        if end - start > 4 * chunk_chars:
            end = min(end, start + 4 * chunk_chars)
        elif end < len(text) and not (end - start >= chunk_chars or (blank and end - start >= paragraph_chars)):
            position = end
            continue
        end += blank and end == position + 1
        yield start, end
        start = position = end


def score(chunk: str, languages: tuple[str, ...]) -> tuple[float, int]:
    """(score 0..1, words) of a chunk, its function words looked for in these languages, the best counted."""
    body = _PLACEHOLDER.sub("Nome", chunk) if "<" in chunk else chunk
    words = WORD.findall(body.lower())
    if len(words) < 3:
        return 0.0, len(words)
    inked = len(body) - body.count(" ") - body.count("\n")
    letters = sum(map(len, words))
    function = max((sum(map(FUNCTION_WORDS[code].__contains__, words)) for code in languages if code in FUNCTION_WORDS), default=-1) / len(
        words
    )
    digits = sum(map(len, _DIGITS.findall(body))) / inked
    symbols = len(_SYMBOLS.findall(body)) / inked
    punctuation = len(_PUNCTUATION.findall(body)) / len(words)
    lines = [line.rstrip() for line in body.split("\n") if line and not line.isspace()]
    shaped = sum(len(line) for line in lines if len(line) >= 80 or (len(line) >= 25 and line.endswith(_SENTENCE))) / sum(map(len, lines))
    coded = [line for line in lines if len(line) < 160 and _CODE.search(line)] if symbols + body.count("(") / inked > 0.005 else []
    code = sum(map(len, coded)) / sum(map(len, lines))
    variety = len(set(words)) / len(words)
    good = (
        0.45 * (_up(function, 0.08, 0.30) if function >= 0 else 0.6)
        + 0.25 * _up(shaped, 0.05, 0.6)
        + 0.15 * _up(letters / inked, 0.6, 0.85)
        + 0.15 * (_up(punctuation, 0.0, 0.06) * _down(punctuation, 0.35, 0.8))
    )
    repeated = _up(variety, 0.04, 0.16) if len(words) >= 60 else _up(variety, 0.1, 0.3)
    listed = 0.35 + 0.65 * _up(shaped + 3 * punctuation, 0.05, 0.3)  # short lines without punctuation: a menu
    bad = (
        listed
        * _down(code, 0.1, 0.4)
        * _down(symbols, 0.04, 0.15)
        * _down(digits, 0.15, 0.4)
        * repeated
        * _down(letters / len(words), 9.0, 14.0)
    )
    return good * bad, len(words)


def _up(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _down(value: float, low: float, high: float) -> float:
    return 1.0 - _up(value, low, high)


def measure(config: ProseConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Chunks with their scores, the document's mean score, its language."""
    identify = Identifier(config.recognised, min_confidence=config.min_confidence, min_function_words=config.min_function_words)

    def one(document: Document) -> Measurements:
        text = document["text"]
        if document.get("form") == "chat":
            lang, confidence = identify.likeliest(_MARKER.sub(" ", text))
            return {"chunks": None, "score": None, "lang": lang, "lang_confidence": confidence}
        lang, confidence = identify(text)
        languages = tuple(dict.fromkeys((lang, "it", "en"))) if lang != UNKNOWN else tuple(FUNCTION_WORDS)
        chunks: list[dict[str, Any]] = []
        for start, end in split(text, config.chunk_chars, config.paragraph_chars):
            value, words = score(text[start:end], languages)
            chunks.append({"start": start, "end": end, "score": round(value, 6), "words": words})
        mean = _mean(chunks)
        return {"chunks": chunks, "score": mean, "lang": lang, "lang_confidence": confidence}

    return one


def _mean(chunks: list[dict[str, Any]]) -> float:
    length = sum(chunk["end"] - chunk["start"] for chunk in chunks)
    return sum(chunk["score"] * (chunk["end"] - chunk["start"]) for chunk in chunks) / length if length else 0.0


def kept_chunks(config: ProseConfig, m: Measurements) -> list[dict[str, Any]]:
    """The chunks that stay: the good ones, and the short gaps between them."""
    chunks = m["chunks"]
    good = [i for i, chunk in enumerate(chunks) if chunk["score"] >= config.min_chunk_score]
    stays = set(good)
    for before, after in pairwise(good):
        if chunks[after]["start"] - chunks[before]["end"] <= config.max_gap_chars:
            stays.update(range(before, after))
    return [chunks[i] for i in sorted(stays)]


def decide(config: ProseConfig, m: Measurements) -> Outcome:
    """Chat only gets its language. A known language that is not configured, then length and score, then an unknown language."""
    lang = m["lang"]
    if m["chunks"] is None:
        return kept(lang=lang)
    if lang != UNKNOWN and lang not in config.languages:
        return rejected(
            "language_not_configured", m["lang_confidence"], None, f"language {lang}; configured: {', '.join(config.languages)}"
        )
    chunks = kept_chunks(config, m)
    good = [chunk for chunk in chunks if chunk["score"] >= config.min_chunk_score]
    value = round(_mean(good or m["chunks"]), 6)
    length = sum(chunk["end"] - chunk["start"] for chunk in chunks)
    whole = m["chunks"][-1]["end"] if m["chunks"] else 0
    if whole < config.min_chars:
        return rejected("too_short", whole, config.min_chars, "characters of text")
    if not good or value < config.min_score:
        return rejected("not_prose", value, config.min_score if good else config.min_chunk_score, "mean score of the chunks")
    if length < config.min_share * whole:
        return rejected("little_prose", round(length / whole, 6), config.min_share, "share of the text that is prose")
    if length < config.min_chars:
        return rejected("too_short", length, config.min_chars, f"characters of prose, of {whole}")
    if lang == UNKNOWN and not config.allow_unknown:
        return rejected("language_unknown", m["lang_confidence"], config.min_confidence, "no language can be told with certainty")
    return kept(lang=lang)


def text(config: ProseConfig, m: Measurements, incoming: str) -> str:
    """The chunks that stay, in order; chat as it is."""
    if m["chunks"] is None:
        return incoming
    chunks = kept_chunks(config, m)
    if len(chunks) == len(m["chunks"]):
        return incoming
    return "".join(incoming[chunk["start"] : chunk["end"]] for chunk in chunks).strip("\n")


_CHUNK = pa.struct(
    [pa.field("start", pa.int64()), pa.field("end", pa.int64()), pa.field("score", pa.float64()), pa.field("words", pa.int64())]
)

STAGE = DocumentStage(
    name="prose",
    version=2,
    config=ProseConfig(),
    doc="chunks scored as prose, language identified",
    engines=("lingua-language-detector",),
    reads=("text", "form"),
    measures=pa.schema(
        [
            pa.field("chunks", pa.list_(_CHUNK), metadata={"doc": "character spans with prose score and words; null for chat"}),
            pa.field("score", pa.float64(), metadata={"doc": "mean score of all chunks, weighted by length"}),
            pa.field("lang", pa.string(), metadata={"doc": "ISO 639-1 code, 'und' when unknown"}),
            pa.field("lang_confidence", pa.float64(), metadata={"doc": "lingua's probability of the best language"}),
        ]
    ),
    writes=pa.schema([pa.field("lang", pa.string(), metadata={"doc": "ISO 639-1 code of the main language"})]),
    measure=measure,
    decide=decide,
    text=text,
    edits=True,
    sensitive=True,
)
