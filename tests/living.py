"""A way of the stages that decide on the whole set, real ones, behind toys that read; and texts that repeat one another."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import toys

from corpus.outcome import Outcome, kept
from corpus.stage import DocumentStage
from filters import split
from filters.dedup import paragraphs
from filters.dedup import stage as dedup
from packer import pack, tokenizer

RNG = random.Random(1)
WORDS = "casa mare monte fiume strada ponte torre piazza legge norma comma atto parte giudice sera notte pane vino".split()
LINES = [" ".join(RNG.choices(WORDS, k=14)) for _ in range(9)]


def graded(config: Any, m: dict[str, Any]) -> Outcome:
    return kept(quality=(m["n"] % 7) / 7)


GRADE = DocumentStage(
    "grade",
    1,
    toys.NothingConfig(),
    measures=pa.schema([("n", pa.int64())]),
    measure=toys.length,
    writes=pa.schema([("quality", pa.float64())]),
    decide=graded,
)


def living(threshold: float, repeated: int, share: float) -> tuple[Any, ...]:
    """The way with these settings."""
    return (
        toys.INGEST,
        toys.READ,
        GRADE,
        dedup.STAGE.with_config(dedup.DedupConfig(threshold=threshold, min_words=5, shingle_words=3)),
        paragraphs.STAGE.with_config(paragraphs.ParagraphsConfig(min_documents=repeated)),
        split.STAGE.with_config(split.SplitConfig(val_share=share, min_val=2)),
        tokenizer.STAGE,
        pack.STAGE,
    )
