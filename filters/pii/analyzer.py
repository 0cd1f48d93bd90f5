"""Presidio at work: which recognizers are loaded, over which NLP engine, and how a document goes through in windows.

Presidio's own defaults are not loaded: they start by downloading (a model, a list of domains), are silent on Italian, and
keep quadratic lists. The recognizers here are the rules of this folder behind Presidio's interface, plus Presidio's spaCy
recognizer when a spaCy package is named. Without a package the NLP engine is a blank spaCy tokenizer that is given no
text: rules need none. A window ends at a line break, so time is linear in the length of the document.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import spacy

from corpus.lean import hidden
from filters.pii import names
from filters.pii.english import ENGLISH
from filters.pii.italian import ITALIAN
from filters.pii.patterns import COMMON, FLOOR, Rule, scan
from filters.pii.spans import Span, outside, protected, resolve

with hidden("transformers"):
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

WINDOW = 20_000
NAME_RULES = ("it", "en")


def packages(language: str) -> tuple[str, ...]:
    """spaCy packages with names for a language, the best first."""
    family = "web" if language in ("en", "zh") else "news"
    return tuple(f"{language}_core_{family}_{size}" for size in ("lg", "md", "sm"))


def installed(package: str) -> bool:
    """Whether spaCy can load this package."""
    return bool(spacy.util.is_package(package)) and importlib.util.find_spec(package) is not None


class Rules(EntityRecognizer):
    """A set of rules as a Presidio recognizer."""

    def __init__(self, rules: tuple[Rule, ...], language: str) -> None:
        self.rules = rules
        super().__init__(sorted({rule.kind for rule in rules}), name=f"rules-{language}-{len(rules)}", supported_language=language)

    def load(self) -> None:
        return

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        return [RecognizerResult(s.kind, s.start, s.end, s.score) for s in scan(self.rules, text)]


class Names(EntityRecognizer):
    """The name rules as a Presidio recognizer; `common` is set to the common words of the document at hand."""

    common: frozenset[str] = frozenset()

    def __init__(self, language: str) -> None:
        super().__init__(["PERSONA"], name=f"names-{language}", supported_language=language)

    def load(self) -> None:
        return

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        return [RecognizerResult(s.kind, s.start, s.end, s.score) for s in names.find(text, self.common) if s.score >= FLOOR]


class _NoContext(ContextAwareEnhancer):
    """Rules look at their context themselves."""

    def __init__(self) -> None:
        super().__init__(0.0, 0.0, 0, 0)

    def enhance_using_context(self, text: str, raw_results: Any, nlp_artifacts: Any, recognizers: Any, context: Any = None) -> Any:
        return raw_results


class _Language(NlpEngine):
    """spaCy for one language: a package, or a blank pipeline that is not fed."""

    def __init__(self, language: str, package: str) -> None:
        self.language, self.package = language, package
        self.nlp: Any = None

    def load(self) -> None:
        if self.package:
            self.nlp = spacy.load(self.package, exclude=["parser", "lemmatizer", "attribute_ruler", "senter"])
            self.nlp.max_length = 10 * WINDOW
        else:
            self.nlp = spacy.blank("xx")

    def is_loaded(self) -> bool:
        return self.nlp is not None

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        doc = self.nlp(text if self.package else "")
        return NlpArtifacts([e for e in doc.ents if e.label_ in ("PER", "PERSON")], doc, [], [], self, language)

    def process_batch(
        self, texts: Any, language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        return False

    def is_punct(self, word: str, language: str) -> bool:
        return False

    def get_supported_entities(self) -> list[str]:
        return ["PER", "PERSON"] if self.package else []

    def get_supported_languages(self) -> list[str]:
        return [self.language]


class Analyzer:
    """Finds personal data in documents of one language. `ner` says by what names are found: 'rules', 'none', or a package."""

    def __init__(self, language: str, package: str = "") -> None:
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        by_rules = language in NAME_RULES
        self.ner = f"spacy:{package} {spacy.util.get_package_version(package)}" if package else "rules" if by_rules else "none"
        rules = COMMON + (ITALIAN if language != "en" else ()) + (ENGLISH if language == "en" else ())
        self._names = Names(language) if by_rules else None
        recognizers: list[EntityRecognizer] = [Rules(rules, language)]
        if language == "en":
            recognizers.append(Rules(tuple(r for r in ITALIAN if r.kind in ("CF", "PIVA")), language))
        recognizers += [self._names] if self._names else []
        if package:
            recognizers.append(
                SpacyRecognizer(
                    supported_language=language,
                    supported_entities=["PERSON", "PER"],
                    check_label_groups=[({"PERSON", "PER"}, {"PERSON", "PER"})],
                )
            )
        self._language = language
        self._engine = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers, supported_languages=[language]),
            nlp_engine=_Language(language, package),
            supported_languages=[language],
            context_aware_enhancer=_NoContext(),
        )

    def find(self, texts: list[str], chat: bool = False) -> list[list[Span]]:
        """Spans of personal data in each of the texts of one document: a person named in one is known in all."""
        common = names.common_words("\n".join(texts))
        if self._names:
            self._names.common = common
        found = [self._scan(text, protected(text, chat)) for text in texts]
        known = frozenset().union(
            *(names.surnames(t, [s for s in spans if s.kind == "PERSONA"], common) for t, spans in zip(texts, found, strict=True))
        )
        return [
            resolve([*spans, *outside(names.mentions(text, known), protected(text, chat))])
            for text, spans in zip(texts, found, strict=True)
        ]

    def _scan(self, text: str, places: list[tuple[int, int]]) -> list[Span]:
        spans: list[Span] = []
        for start, window in windows(text):
            for r in self._engine.analyze(window, self._language):
                kind = "PERSONA" if r.entity_type in ("PER", "PERSON") else r.entity_type
                spans.append(Span(start + r.start, start + r.end, kind, r.score))
        return resolve(outside(spans, places))


def windows(text: str) -> Iterator[tuple[int, str]]:
    """(offset, piece) of pieces of at most WINDOW characters, cut after a line break, else after a space, where there is one."""
    start = 0
    while len(text) - start > WINDOW:
        end = start + WINDOW
        for mark in ("\n\n", "\n", " "):
            cut = text.rfind(mark, start + WINDOW // 2, end)
            if cut > 0:
                end = cut + len(mark)
                break
        yield start, text[start:end]
        start = end
    if start < len(text):
        yield start, text[start:]
