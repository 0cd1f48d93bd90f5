"""perplexity: how surprising a document is under an n-gram model of its own language (as in CCNet, Wenzek et al. 2020).

Measured: bits per byte of the whole text and of its most surprising chunk, its rank among the documents the models were
fitted on, and its *novelty*, the share of 8-byte sequences not seen before within a window of the same text. The model
that judges a document has never held it (see the ngram stage). Decided: `too_surprising` for what is no prose of this
language (tables of numbers, encoded data, noise, a wrong language), `too_predictable` for text that repeats itself.

The defaults are permissive: 1.3 times the bits that 99 fitted documents in 100 stay below, a tenth of the sequences new.
The limit hangs on that tail and not on the median, which in a corpus of law texts is so low that an encyclopedia article
costs twice as much. Predictability under the model (`min_bits`) rejects nothing unless it is set: before near duplicates
are removed, two copies of one document make each other predictable, and both would go.

A language without a model is kept with the reason `no_model` and an empty `scored_by`: it is never scored with another
language. Short texts (below `least_bytes`) are measured and kept, `too_short`: their figures are mostly chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Misuse, Outcome, rejected
from corpus.stage import DocumentStage, Inputs, Measurements

MODELS = ("ngram",)
SEQUENCE = 8  # bytes: one 64-bit word


@dataclass(frozen=True)
class PerplexityConfig:
    model: str = measured("ngram", "what scores: 'ngram'")
    chunk_bytes: int = measured(2000, "length of the chunks of which the most surprising is recorded")
    window_bytes: int = measured(10_000, "length of the windows in which repetition is looked for")
    max_ratio: float | None = decided(1.3, "bits per byte at most this many times the 99% quantile of the fitted documents")
    max_bits: float | None = decided(None, "bits per byte at most this")
    max_rank: float | None = decided(None, "rank among the fitted documents at most this, 0 to 1")
    max_chunk_bits: float | None = decided(None, "bits per byte of the most surprising chunk at most this")
    min_bits: float | None = decided(None, "bits per byte at least this; see the module on near duplicates")
    min_novelty: float | None = decided(0.1, "share of new 8-byte sequences at least this")
    least_bytes: int = decided(200, "shorter texts are kept whatever they score")

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise Misuse(f"perplexity.model: only 'ngram' can score today, not '{self.model}'; set perplexity.model=ngram.")
        if self.chunk_bytes < 1 or self.window_bytes < 2 * SEQUENCE:
            raise ValueError(f"chunk_bytes must be at least 1 and window_bytes at least {2 * SEQUENCE}")


MEASURES = pa.schema(
    [
        pa.field("scored_by", pa.string(), metadata={"doc": "language of the model that scored, '' when there is none"}),
        pa.field("bits_per_byte", pa.float64(), metadata={"doc": "bits a byte costs under the model, null without one"}),
        pa.field("worst_chunk", pa.float64(), metadata={"doc": "bits per byte of the most surprising chunk"}),
        pa.field("q99", pa.float64(), metadata={"doc": "bits per byte that 99% of the documents the models were fitted on stay below"}),
        pa.field("rank", pa.float64(), metadata={"doc": "share of those documents that are more predictable, 0 to 1"}),
        pa.field("novelty", pa.float64(), metadata={"doc": "share of 8-byte sequences new within their window, 0 to 1"}),
        pa.field("n_bytes", pa.int64(), metadata={"doc": "bytes of the text in UTF-8"}),
    ]
)

WRITES = pa.schema(
    [
        pa.field("bits_per_byte", pa.float64(), metadata={"doc": "bits a byte costs under the n-gram of its language, null without one"}),
        pa.field("scored_by", pa.string(), metadata={"doc": "language of that model, '' when there is none"}),
    ]
)


def measure(config: PerplexityConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Opens the n-gram models; without an artifact nothing is scored."""
    from filters.ngram import Judges

    artifact = inputs.artifacts.get("ngram")
    judges = Judges(artifact.path) if artifact is not None else None

    def one(document: Document) -> Measurements:
        text = (document["text"] or "").encode("utf-8", "replace")
        lang = document["lang"] or "und"
        found: Measurements = {"scored_by": "", "novelty": novelty(text, config.window_bytes), "n_bytes": len(text)}
        found |= {"bits_per_byte": None, "worst_chunk": None, "q99": None, "rank": None}
        if judges is None or lang not in judges.languages or not text:
            return found
        bits = -judges.judge(lang, document["id"]).score(np.frombuffer(text, np.uint8))
        mean = float(bits.mean())
        found |= {"scored_by": lang, "bits_per_byte": mean, "worst_chunk": worst_chunk(bits, config.chunk_bytes)}
        found |= {"q99": judges.quantile(lang, 0.99), "rank": judges.rank(lang, mean)}
        return found

    return one


def worst_chunk(bits: np.ndarray, length: int) -> float:
    """Largest mean over chunks of `length`; a last chunk shorter than half of that is part of the one before it."""
    chunks = max(1, round(len(bits) / length))
    starts = np.arange(chunks) * length
    sizes = np.diff(np.append(starts, len(bits)))
    return float((np.add.reduceat(bits, starts) / sizes).max())


def novelty(text: bytes, window: int) -> float:
    """Share of 8-byte sequences that are new within their window; 1 for texts shorter than two sequences."""
    if len(text) < 2 * SEQUENCE:
        return 1.0
    new = total = 0
    for start in range(0, len(text) - SEQUENCE + 1, window):
        piece = np.frombuffer(text[start : start + window + SEQUENCE - 1], np.uint8)
        words = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(piece, SEQUENCE)).view("<u8").ravel()
        new, total = new + len(np.unique(words)), total + len(words)
    return new / total


def decide(config: PerplexityConfig, m: Measurements) -> Outcome:
    """Rejects what is too surprising or too predictable; keeps, and says so, what no model could judge."""
    bits, fields = m["bits_per_byte"], {"bits_per_byte": m["bits_per_byte"], "scored_by": m["scored_by"]}
    if m["n_bytes"] < config.least_bytes:
        return Outcome("kept", "too_short", float(m["n_bytes"]), float(config.least_bytes), fields=fields)
    if config.min_novelty is not None and m["novelty"] < config.min_novelty:
        return rejected("too_predictable", m["novelty"], config.min_novelty, "the text repeats itself")
    if bits is None:
        return Outcome("kept", "no_model", detail="no n-gram model of this language, or too little text of it to fit one", fields=fields)
    if config.max_bits is not None and bits > config.max_bits:
        return rejected("too_surprising", bits, config.max_bits, "bits per byte above the limit")
    if config.max_ratio is not None and bits > config.max_ratio * m["q99"]:
        limit = round(config.max_ratio * m["q99"], 6)
        return rejected("too_surprising", bits, limit, f"bits per byte above {config.max_ratio:g} times the 99% quantile")
    if config.max_rank is not None and m["rank"] > config.max_rank:
        return rejected("too_surprising", m["rank"], config.max_rank, "rank among the fitted documents above the limit")
    if config.max_chunk_bits is not None and m["worst_chunk"] > config.max_chunk_bits:
        return rejected("too_surprising", m["worst_chunk"], config.max_chunk_bits, "bits per byte of a chunk above the limit")
    if config.min_bits is not None and bits < config.min_bits:
        return rejected("too_predictable", bits, config.min_bits, "bits per byte below the limit")
    return Outcome(fields=fields)


STAGE = DocumentStage(
    name="perplexity",
    version=1,
    config=PerplexityConfig(),
    doc="how surprising the text is under an n-gram of its language",
    inputs=("ngram",),
    optional=("ngram",),
    reads=("text", "lang"),
    measures=MEASURES,
    writes=WRITES,
    measure=measure,
    decide=decide,
    passes_chat=True,
    sensitive=True,
)
