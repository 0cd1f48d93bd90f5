"""What a training step eats, and its two sources: packed text, and a table of ready rows.

A source hands out batches one after the other and can say where it stands (`cursor`, JSON) and go back there (`seek`):
that is all an exact resume needs from the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model.loss import IGNORED
from packer.rows import Rows

__all__ = ["IGNORED", "Batch", "Source", "TableSource", "TextSource"]


@dataclass(frozen=True)
class Batch:
    """inputs, targets [B, T] int64 (IGNORED is not trained); weights [B, T] fp32 or None (all 1); documents [B, T] or None."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    documents: Tensor | None = None

    def to(self, device: str) -> Batch:
        moved = (None if t is None else t.to(device) for t in (self.inputs, self.targets, self.weights, self.documents))
        return Batch(*moved)  # type: ignore[arg-type]

    def __getitem__(self, rows: Tensor) -> Batch:
        return Batch(*(None if t is None else t[rows] for t in (self.inputs, self.targets, self.weights, self.documents)))  # type: ignore[arg-type]


class Source(Protocol):
    """Endless batches of one shape."""

    def next(self) -> Batch: ...

    def cursor(self) -> Any:
        """Where the next batch begins, in JSON terms."""

    def seek(self, cursor: Any) -> None: ...


class TextSource:
    """Batches of packed text: every token of a row predicts the next. `masked` keeps documents of a row apart."""

    def __init__(self, rows: Rows, per_batch: int, masked: bool) -> None:
        self.rows, self.per_batch, self.masked = rows, per_batch, masked

    def next(self) -> Batch:
        batch = self.rows.next(self.per_batch)
        tokens = torch.from_numpy(batch.tokens)
        documents = torch.from_numpy(batch.docs[:, :-1].astype(np.int64)) if self.masked else None
        return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), None, documents)

    def cursor(self) -> Any:
        return self.rows.state()

    def seek(self, cursor: Any) -> None:
        self.rows.seek(cursor)


class TableSource:
    """Batches from rows that lie ready in memory (one big Batch), in a new seeded order each epoch."""

    def __init__(self, table: Batch, per_batch: int, seed: int) -> None:
        if len(table.inputs) == 0:
            raise ValueError("there are no rows to train on")
        self.table, self.per_batch, self.seed = table, per_batch, seed
        self.at = 0  # rows handed out, over all epochs

    def next(self) -> Batch:
        rows = torch.tensor([self._row(self.at + i) for i in range(self.per_batch)])
        self.at += self.per_batch
        return self.table[rows]

    def _row(self, at: int) -> int:
        epoch, place = divmod(at, len(self.table.inputs))
        return int(np.random.default_rng([self.seed, epoch]).permutation(len(self.table.inputs))[place])

    def cursor(self) -> Any:
        return self.at

    def seek(self, cursor: Any) -> None:
        self.at = int(cursor)
