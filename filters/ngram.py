"""ngram: one byte model per language, fitted on the prose of this corpus, in two halves that judge each other.

A document looks too good to a model that was fitted on it. So the documents of a language are halved by a hash of their
id, a model is fitted on each half, and whoever scores a document uses the model of the *other* half, which by
construction has never held it: no document is special, new ones included. The artifact also keeps the quantiles of the
scores so obtained, so that a threshold can be a rank in this corpus as well as a number of bits.

Bytes at order 8 and not words at order 3: fitted on 12 MB of Italian, with the line where 1% of unseen real passages lie
above it, bytes find 99% of the passages with shuffled words and 95% of those with OCR noise, words 80% and 69%; and bytes
need no vocabulary and see any script.

Limits: near copies of a document may lie in both halves (duplicates go later on) and look predictable. What is fitted is
a sample, the documents with the smallest hash up to `language_bytes`, each cut at `document_bytes`; a language below
`least_bytes`, and 'und', get no model and are listed. Fitted before redaction: sensitive.
"""

from __future__ import annotations

import heapq
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.canonical import digest_text
from corpus.config import measured
from corpus.outcome import Misuse, Skip
from corpus.stage import CorpusStage, Inputs, Job
from model.ngram import NGram

TABLE = "languages.json"
RANKS = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class NgramConfig:
    order: int = measured(8, "longest sequence of bytes that is counted")
    language_bytes: int = measured(8_000_000, "bytes fitted per language, over both halves")
    document_bytes: int = measured(200_000, "bytes fitted of one document, from its beginning")
    least_bytes: int = measured(20_000, "a language with less text than this in either half gets no model")

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 16:
            raise ValueError(f"order must lie between 1 and 16, not {self.order}")
        if not 0 < self.document_bytes <= self.language_bytes:
            raise ValueError("document_bytes must be positive and at most language_bytes")


def half(document_id: str) -> int:
    """0 or 1: the half that a document belongs to. Models of half h are fitted on it, and judge half 1-h."""
    return int(digest_text("half:" + document_id)[-1], 16) & 1


def stream(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as one row of bytes, and where each begins."""
    lengths = [len(text) for text in texts]
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *lengths[:-1]])


class Sample:
    """The documents with the smallest hashes whose bytes fit under a cap: the same set in whatever order they come."""

    def __init__(self, cap: int) -> None:
        self.cap, self.total, self.seen, self.limit = cap, 0, 0, "~"
        self.heap: list[tuple[tuple[int, ...], str, str, bytes]] = []  # largest hash first

    def add(self, document_id: str, text: bytes) -> None:
        rank = digest_text("sample:" + document_id)
        self.seen += 1
        if rank >= self.limit:
            return
        heapq.heappush(self.heap, (tuple(-ord(c) for c in rank), rank, document_id, text))
        self.total += len(text)
        while self.total > self.cap:
            _, self.limit, _, dropped = heapq.heappop(self.heap)
            self.total -= len(dropped)

    def halves(self) -> tuple[list[bytes], list[bytes]]:
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        for _, _, document_id, text in sorted(self.heap, key=lambda entry: entry[1]):
            parts[half(document_id)].append(text)
        return parts


def build(config: NgramConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Fit the models; write `<language>/<half>/` and the table of languages. Metrics: what was fitted, what left out."""
    samples: dict[str, Sample] = {}
    for document in inputs.views["prose"].documents("text", "lang", "form"):
        text = (document["text"] or "").encode("utf-8", "replace")[: config.document_bytes]
        if document.get("form") != "chat" and text:
            samples.setdefault(document["lang"] or "und", Sample(config.language_bytes)).add(document["id"], text)
    if not samples:
        raise Skip("there are no prose documents to fit n-grams on")

    languages: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for done, (lang, sample) in enumerate(sorted(samples.items())):
        job.progress(done, len(samples), lang)
        parts = sample.halves()
        sizes = [sum(map(len, part)) for part in parts]
        if lang == "und" or not re.fullmatch("[a-z]{2,3}", lang):
            left_out[lang] = f"{sample.seen} documents of unknown language"
        elif min(sizes) < config.least_bytes:
            halves = f"halves of {sizes[0]:,} and {sizes[1]:,} bytes, {config.least_bytes:,} needed in each"
            left_out[lang] = f"{sample.seen} documents, {halves}"
        else:
            languages[lang] = {"documents": sum(map(len, parts)), "bytes": sum(sizes), **_fit(config, parts, folder / lang)}
    table = {"order": config.order, "languages": languages, "left_out": left_out}
    (folder / TABLE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    job.progress(len(samples), len(samples))
    median = RANKS.index(0.5)
    fitted = {lang: {"documents": e["documents"], "bytes": e["bytes"], "median_bits": e["bits"][median]} for lang, e in languages.items()}
    return {"languages": fitted, "left_out": left_out}


def _fit(config: NgramConfig, parts: tuple[list[bytes], list[bytes]], folder: Path) -> dict[str, Any]:
    models = []
    for h, texts in enumerate(parts):
        tokens, starts = stream(texts)
        models.append(NGram.fit(tokens, config.order, 256, starts))
        models[-1].save(folder / str(h))
    bits: list[float] = []
    for h, texts in enumerate(parts):
        tokens, starts = stream(texts)
        spent = np.add.reduceat(-models[1 - h].score(tokens, starts), starts)
        bits += (spent / [len(text) for text in texts]).tolist()
    return {"ranks": RANKS, "bits": [round(float(q), 6) for q in np.quantile(bits, RANKS)]}


def bits_per_byte(model: NGram, text: bytes) -> float:
    """Mean bits a byte of the text costs under the model."""
    return float(-model.score(np.frombuffer(text, np.uint8)).mean())


class Judges:
    """The artifact, opened: which languages it knows, and the model that has never held a given document."""

    def __init__(self, folder: Path) -> None:
        if not (folder / TABLE).is_file():
            raise Misuse("The n-gram artifact holds no table of languages; run with --refit ngram.")
        table = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        self.folder: Path = folder
        self.languages: dict[str, dict[str, Any]] = table["languages"]
        self._open: dict[tuple[str, int], NGram] = {}

    def judge(self, lang: str, document_id: str) -> NGram:
        """The model of the half that does not hold this document. KeyError for a language without a model."""
        key = (lang, 1 - half(document_id))
        if lang not in self.languages:
            raise KeyError(lang)
        if key not in self._open:
            self._open[key] = NGram.load(self.folder / lang / str(key[1]))
        return self._open[key]

    def rank(self, lang: str, bits: float) -> float:
        """Share of this language's fitted documents that are more predictable, 0 to 1 (linear between the quantiles)."""
        entry = self.languages[lang]
        return float(np.interp(bits, entry["bits"], entry["ranks"]))

    def quantile(self, lang: str, rank: float) -> float:
        """Bits per byte that this share of the language's fitted documents stays below; `rank` is one of RANKS."""
        return float(self.languages[lang]["bits"][RANKS.index(rank)])


STAGE = CorpusStage(
    name="ngram",
    version=1,
    config=NgramConfig(),
    doc="fits a byte model per language, in two halves that judge each other",
    inputs=("prose",),
    reads=("text", "lang", "form"),
    build=build,
    pinned=True,
    sensitive=True,
)
