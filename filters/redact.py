"""Personal data becomes placeholders: `<PERSONA>`, `<EMAIL>`, `<CF>`, … in text and title.

Forms with a control character or a fixed shape are found by rules (filters/pii), names by a spaCy package when one is
installed and by rules always; everything runs behind Presidio's analyzer. Only offsets, kinds and scores are remembered,
never the words. From here on a document is no longer sensitive: only whitelisted metadata passes, itself redacted.

Limits: a name in lower case, an unknown name without a title beside it and a nickname are not found; an indirect
description ("the only notary of the village") is out of reach. Placeholders are fixed words in every language.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Misuse, Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs

PACKAGES = tuple(f"{lang}-core-{family}-{size}" for lang, family in (("it", "news"), ("en", "web")) for size in ("lg", "md", "sm"))

SURE = 0.5  # score from which title and metadata are redacted: their words are not kept, so no threshold can be moved later


@dataclass(frozen=True)
class RedactConfig:
    """How personal data is found (measured) and what is done about it (decided)."""

    ner: str = measured(
        "auto", "names of persons by: 'auto' (an installed spaCy package for the language, else rules), 'rules', or 'spacy:<package>'"
    )
    metadata: tuple[str, ...] = measured(
        ("date", "pages", "sheets", "slides", "extractor", "format", "encoding", "lang", "language", "licence", "license"),
        "metadata keys that pass; the values are redacted",
    )
    min_score: float = decided(0.5, "what is found with less certainty stays, 0 to 1")
    min_scores: dict[str, float] = decided({}, "the same by kind, such as {PERSONA: 0.6}")
    patterns_only: tuple[str, ...] = decided((), "languages without a name model that pass with patterns alone")
    max_share: float | None = decided(None, "documents with a larger share of personal characters are rejected")
    numbered: bool = decided(False, "<PERSONA_1>, <PERSONA_2>: the same value has the same number within a document")

    def __post_init__(self) -> None:
        from filters.pii.spans import KINDS

        if self.ner not in ("auto", "rules") and not self.ner.startswith("spacy:"):
            raise ValueError("ner must be 'auto', 'rules' or 'spacy:<package>'")
        unknown = sorted(set(self.min_scores) - set(KINDS))
        if unknown:
            raise ValueError(f"unknown kind '{unknown[0]}' in min_scores; there are {', '.join(KINDS)}")


def measure(config: RedactConfig, inputs: Inputs) -> Callable[[Document], dict[str, Any]]:
    """Offsets, kinds and scores; the title and the whitelisted metadata, redacted."""
    from filters.pii.analyzer import Analyzer, installed, packages
    from filters.pii.spans import Span, replace

    chosen = config.ner.removeprefix("spacy:") if config.ner.startswith("spacy:") else ""
    if chosen and not installed(chosen):
        raise Misuse(f"Config 'redact.ner': the spaCy package '{chosen}' is not installed; install it or set redact.ner to 'rules'.")
    analyzers: dict[str, Analyzer] = {}

    def analyzer(lang: str) -> Analyzer:
        if lang not in analyzers:
            package = chosen if chosen.partition("_")[0] == lang else ""
            if config.ner == "auto":
                package = next((p for p in packages(lang) if p.replace("_", "-") in PACKAGES and installed(p)), "")
            analyzers[lang] = Analyzer(lang, package)
        return analyzers[lang]

    def look(document: Document) -> dict[str, Any]:
        text, title, lang = document.get("text") or "", document.get("title") or "", document.get("lang") or "und"
        small = _whitelisted(document.get("metadata") or "{}", config.metadata)
        words = [key for key, value in small.items() if isinstance(value, str)]
        finder = analyzer(lang)
        in_text, in_title, *in_metadata = finder.find([text, title, *(small[key] for key in words)], chat=document.get("form") == "chat")
        sure = [[s for s in spans if s.score >= SURE] for spans in (in_title, *in_metadata)]
        small |= {key: replace(small[key], spans) for key, spans in zip(words, sure[1:], strict=True)}
        entities: list[Span] = in_text
        return {
            "entities": [span._asdict() for span in entities],
            "title": replace(title, sure[0]),
            "metadata": json.dumps(small, ensure_ascii=False, sort_keys=True),
            "counts": json.dumps(_counts(entities), sort_keys=True),
            "chars": len(text),
            "lang": lang,
            "ner": finder.ner,
        }

    return look


def decide(config: RedactConfig, m: dict[str, Any]) -> Outcome:
    """Rejected: a language whose names cannot be found ('no_name_model'), a document that is 'mostly_personal_data'."""
    if m["ner"] == "none" and m["lang"] not in config.patterns_only:
        return rejected(
            "no_name_model", detail=f"names of persons cannot be found in language '{m['lang']}'; redact.patterns_only lets it pass"
        )
    if config.max_share is not None and m["chars"]:
        share = sum(e["end"] - e["start"] for e in _wanted(config, m)) / m["chars"]
        if share > config.max_share:
            return rejected("mostly_personal_data", round(share, 6), config.max_share, "too large a share of the text is personal data")
    return kept(title=m["title"], metadata=m["metadata"])


def text(config: RedactConfig, m: dict[str, Any], before: str) -> str:
    """The text with the personal data replaced."""
    from filters.pii.spans import Span, replace

    return replace(before, [Span(e["start"], e["end"], e["kind"], e["score"]) for e in _wanted(config, m)], config.numbered)


def _wanted(config: RedactConfig, m: dict[str, Any]) -> list[dict[str, Any]]:
    return [e for e in m["entities"] if e["score"] >= config.min_scores.get(e["kind"], config.min_score)]


def _counts(spans: list[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for span in spans:
        counts[span.kind] = counts.get(span.kind, 0) + 1
    return counts


def _whitelisted(metadata: str, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(metadata)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if key in keys and isinstance(value, (str, int, float, bool))}


STAGE = DocumentStage(
    name="redact",
    version=1,
    config=RedactConfig(),
    doc="personal data becomes placeholders (Presidio, spaCy, checksums, name rules)",
    engines=("presidio-analyzer", "spacy", *PACKAGES),
    reads=("text", "title", "lang", "form", "metadata"),
    measures=pa.schema(
        [
            pa.field(
                "entities",
                pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("kind", pa.string()), ("score", pa.float64())])),
            ),
            pa.field("title", pa.string()),
            pa.field("metadata", pa.string()),
            pa.field("counts", pa.string(), metadata={"doc": "JSON object: spans of each kind found, whatever their score"}),
            pa.field("chars", pa.int32(), metadata={"doc": "length of the text, characters"}),
            pa.field("lang", pa.string()),
            pa.field("ner", pa.string(), metadata={"doc": "by what names were found: 'rules', 'spacy:<package> <version>', 'none'"}),
        ]
    ),
    writes=pa.schema([pa.field("title", pa.string()), pa.field("metadata", pa.string())]),
    measure=measure,
    decide=decide,
    text=text,
    edits=True,
)
