"""split: what is trained on and what is held out, by duplicate family; documents that hold evaluation items go.

Every document draws a lot, from its id alone; a family's lot is the largest of its members'. Families whose lot lies in
the lowest `val_share` are held out. So a new document can move its family from val to train, never from train to val,
and nobody's place depends on when he came. Prose and chat are split each for itself.

A small set would hold out nobody, by bad luck: then the lowest lots are held out until there are `min_val` documents,
but no more than a tenth of the set and at least one document when there are two. Limits: there, and only there, can a
growing set move a document from train to val, because a tenth of it is more documents than before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from filters.decontaminate import Index, digest_of


@dataclass(frozen=True)
class SplitConfig:
    """Settings of split."""

    val_share: float = decided(0.05, "share of the families that is held out, 0..1")
    min_val: int = decided(20, "documents held out at least, as long as they are no more than a tenth of the set")
    eval_files: tuple[str, ...] = measured((), "files and folders of evaluation sets whose items must not be in the corpus")
    eval_digest: str = measured("", "hash of these files' content; filled in when the settings are read")
    max_overlap: float = decided(0.1, "reject a document that holds more than this share of an item's 13-word runs")


def measure(config: SplitConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Overlap with the evaluation items, where there are some."""
    index = Index(config.eval_files) if config.eval_files else None

    def one(document: Document) -> Measurements:
        overlap, item = index.overlap(document["text"]) if index else (0.0, "")
        return {"overlap": overlap, "item": item}

    return one


def elect(config: SplitConfig, rows: pa.Table) -> list[Outcome]:
    """One outcome a row, in row order; rows need id, lot, form, overlap and item."""
    table = {name: rows.column(name).to_pylist() for name in ("id", "lot", "form", "overlap", "item")}
    held = [overlap > config.max_overlap for overlap in table["overlap"]]
    val: set[int] = set()
    for chat in (False, True):
        group = [row for row in range(rows.num_rows) if not held[row] and (table["form"][row] == "chat") == chat]
        val.update(_lowest(config, group, table))
    return [
        rejected("contaminated", table["overlap"][row], config.max_overlap, f"holds part of {table['item'][row]}")
        if held[row]
        else kept(split="val" if row in val else "train")
        for row in range(rows.num_rows)
    ]


def _lowest(config: SplitConfig, group: list[int], table: dict[str, list[Any]]) -> list[int]:
    """The rows of the group that are held out."""
    limit = int(config.val_share * (1 << 32))
    ordered = sorted(group, key=lambda row: (table["lot"][row], table["id"][row]))
    drawn = sum(table["lot"][row] < limit for row in ordered)
    floor = min(config.min_val, max(1, len(group) // 10)) if len(group) > 1 and config.val_share > 0 else 0
    return ordered[: max(drawn if len(group) > 1 else 0, floor)]


@dataclass(frozen=True)
class SplitStage(DocumentStage):
    """Reads texts only when there are evaluation items to look for, and ties its identity to their content."""

    def with_config(self, config: SplitConfig) -> Any:
        """The stage with these settings; Misuse for evaluation files that are not there."""
        config = dataclasses.replace(config, eval_digest=digest_of(config.eval_files))
        return dataclasses.replace(self, config=config, reads=("text",) if config.eval_files else ("form",))


STAGE = SplitStage(
    name="split",
    version=1,
    config=SplitConfig(),
    doc="train and val by duplicate family, evaluation items kept out",
    reads=("form",),
    measures=pa.schema(
        [
            pa.field("overlap", pa.float64(), metadata={"doc": "largest share of an evaluation item's 13-word runs in the text"}),
            pa.field("item", pa.string(), metadata={"doc": "that item: file and row"}),
        ]
    ),
    writes=pa.schema([pa.field("split", pa.string(), metadata={"doc": "'train' or 'val'"})]),
    measure=measure,
    elect=elect,
    elects_on=("lot", "form"),
)
