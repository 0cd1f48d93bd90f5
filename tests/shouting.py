"""A stage of one's own, as a user would write it: one file, and one line in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from corpus.config import decided
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements


@dataclass(frozen=True)
class ShoutingConfig:
    max_share: float = decided(0.3, "documents with a larger share of capitals are rejected")


def measure(config: ShoutingConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Share of the letters that are capitals."""

    def one(document: Document) -> Measurements:
        letters = [c for c in document["text"] if c.isalpha()]
        return {"capitals": sum(map(str.isupper, letters)) / max(1, len(letters))}

    return one


def decide(config: ShoutingConfig, m: Measurements) -> Outcome:
    if m["capitals"] > config.max_share:
        return rejected("shouting", m["capitals"], config.max_share, "share of capitals")
    return kept(capitals=m["capitals"])


STAGE = DocumentStage(
    name="shouting",
    version=1,
    config=ShoutingConfig(),
    doc="who shouts is left out",
    measures=pa.schema([("capitals", pa.float64())]),
    writes=pa.schema([("capitals", pa.float64())]),
    measure=measure,
    decide=decide,
    sensitive=True,
)
