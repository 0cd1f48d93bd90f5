"""split: what is trained on and what is held out, by duplicate family; documents that hold evaluation items go.

Every document draws a lot, from its id alone; a family's lot is the largest of its members'. Families whose lot lies in
the lowest `val_share` are held out whole. So a new document can move its family from val to train, never from train to
val, and nobody's place depends on when he came. Prose and chat are split each for itself.

A small set would hold out too little to measure anything by. Then, in the order of the lots, further documents give a
*block* (corpus.document.held_out) until `min_val` documents and `min_val_bytes` are held out, but never more than a
tenth of the set: a short document is held out whole, a long one gives a tenth (1,000 to 10,000 characters), at a place
its lot decides.

Limits: while a set is that small, and only then, a block can still move from train to val: a tenth of a larger set is
more. Text beside a held-out block is of the same document: such a val set flatters a model. Families that are kept whole
(templates) give no blocks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements, Texts
from filters.decontaminate import Index, digest_of

TENTH = 10
BLOCK = (1_000, 10_000)  # characters: smallest and largest block


@dataclass(frozen=True)
class SplitConfig:
    """Settings of split."""

    val_share: float = decided(0.05, "share of the families that is held out, 0..1")
    min_val: int = decided(20, "documents held out at least, else blocks of further ones, up to a tenth of the set")
    min_val_bytes: int = decided(50_000, "bytes of prose held out at least, else blocks, up to a tenth of the set")
    eval_files: tuple[str, ...] = measured((), "files and folders of evaluation sets whose items must not be in the corpus")
    eval_digest: str = measured("", "hash of these files' content; filled in when the settings are read")
    max_overlap: float = decided(0.1, "reject a document that holds more than this share of an item's 13-word runs")


def measure(config: SplitConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Size, and overlap with the evaluation items where there are some."""
    index = Index(config.eval_files) if config.eval_files else None

    def one(document: Document) -> Measurements:
        text = document["text"]
        overlap, item = index.overlap(text) if index else (0.0, "")
        return {"n_chars": len(text), "n_bytes": len(text.encode("utf-8", "surrogatepass")), "overlap": overlap, "item": item}

    return one


def elect(config: SplitConfig, rows: pa.Table, texts: Texts) -> list[Outcome]:
    """One outcome a row, in row order; rows need id, lot, form, n_chars, n_bytes, overlap and item."""
    table = {name: rows.column(name).to_pylist() for name in ("id", "lot", "form", "n_chars", "n_bytes", "overlap", "item")}
    contaminated = [overlap > config.max_overlap for overlap in table["overlap"]]
    held: dict[int, str | None] = {}
    for chat in (False, True):
        group = [row for row in range(rows.num_rows) if not contaminated[row] and (table["form"][row] == "chat") == chat]
        held.update(_held(config, group, table, chat))
    return [
        rejected("contaminated", table["overlap"][row], config.max_overlap, f"holds part of {table['item'][row]}")
        if contaminated[row]
        else kept(split="val" if row in held and held[row] is None else "train", held=held.get(row))
        for row in range(rows.num_rows)
    ]


def _held(config: SplitConfig, group: list[int], table: dict[str, list[Any]], chat: bool) -> dict[int, str | None]:
    """row -> the block of it that is held out, None for the whole document."""
    if config.val_share <= 0:
        return {}
    lots, sizes = table["lot"], table["n_bytes"]
    limit = int(config.val_share * (1 << 32))
    drawn = [row for row in group if lots[row] < limit] if len(group) > 1 else []
    held: dict[int, str | None] = dict.fromkeys(drawn)
    total, most = sum(sizes[row] for row in drawn), sum(sizes[row] for row in group) / TENTH
    enough = 0 if chat else config.min_val_bytes
    if len(drawn) >= config.min_val and total >= enough:
        return held
    alone = Counter(lots[row] for row in group)
    for row in sorted((r for r in group if r not in held and alone[lots[r]] == 1), key=lambda row: (lots[row], table["id"][row])):
        if len(held) >= config.min_val and total >= enough:
            break
        length = table["n_chars"][row]
        whole = chat or length < 2 * BLOCK[0]
        size = sizes[row] if whole else sizes[row] * _block_size(length) / length
        if (total + size <= most or not held) and not (whole and len(group) == 1):
            held[row] = None if whole else _block(length, lots[row])
            total += size
    return held


def _block_size(length: int) -> int:
    return min(max(length // TENTH, BLOCK[0]), BLOCK[1])


def _block(length: int, lot: int) -> str:
    """The block that a document of `length` characters gives, "start:end": its place is decided by the lot."""
    size = _block_size(length)
    start = (length - size) * (lot % 9973) // 9973
    return f"{start}:{start + size}"


@dataclass(frozen=True)
class SplitStage(DocumentStage):
    """Ties its identity to the content of the evaluation files."""

    def with_config(self, config: SplitConfig) -> Any:
        """The stage with these settings; Misuse for evaluation files that are not there."""
        return dataclasses.replace(self, config=dataclasses.replace(config, eval_digest=digest_of(config.eval_files)))


STAGE = SplitStage(
    name="split",
    version=2,
    config=SplitConfig(),
    doc="train and val by duplicate family, evaluation items kept out",
    measures=pa.schema(
        [
            pa.field("n_chars", pa.int64(), metadata={"doc": "characters of the text"}),
            pa.field("n_bytes", pa.int64(), metadata={"doc": "bytes of the text in UTF-8"}),
            pa.field("overlap", pa.float64(), metadata={"doc": "largest share of an evaluation item's 13-word runs in the text"}),
            pa.field("item", pa.string(), metadata={"doc": "that item: file and row"}),
        ]
    ),
    writes=pa.schema(
        [
            pa.field("split", pa.string(), metadata={"doc": "'train' or 'val'"}),
            pa.field("held", pa.string(), metadata={"doc": "block of a train document that is held out, 'start:end' in characters"}),
        ]
    ),
    measure=measure,
    elect=elect,
    elects_on=("lot", "form"),
)
