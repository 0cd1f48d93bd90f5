"""Exact bits per byte: the sum of -log p over every target token, once each, divided by ln 2 and by the bytes of the text.

Documents are read alone, in the windows of packer/rows.py: a window scores only the targets no earlier one has scored,
each beyond the first window with at least `length - stride` tokens of context. Sums are float64. The token that begins
a document is given, not scored; the end of a document is not coded (its length counts as known).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.decoder import Decoder
from packer.rows import Documents, windows
from train.batch import IGNORED


class Sample:
    """Some of the documents, each up to `longest` tokens, held in memory; what `windows` needs of Documents."""

    def __init__(self, tokens: Sequence[NDArray[Any]]) -> None:
        self.pieces = [np.asarray(t, np.int64) for t in tokens]
        self.n_tokens = np.array([len(p) for p in self.pieces], np.int64)

    @classmethod
    def of(cls, documents: Documents, tokens: int, longest: int) -> Sample:
        """The first documents in id order (a hash of their bytes) until they hold `tokens`."""
        pieces: list[NDArray[Any]] = []
        for number in range(len(documents)):
            if sum(map(len, pieces)) >= tokens:
                break
            pieces.append(documents.read(number, 0, longest))
        return cls(pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def read(self, document: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        return self.pieces[document][start:stop]

    def bytes(self, token_bytes: NDArray[np.integer]) -> int:
        """Bytes of the scored tokens."""
        return int(sum(token_bytes[p[1:]].astype(np.int64).sum() for p in self.pieces))


@torch.no_grad()
def document_nats(
    model: Decoder,
    documents: Documents | Sample,
    length: int,
    stride: int = 0,
    rows: int = 16,
    report: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """-sum log p of each document, in nats. `stride` 0 is half the length; `report` is told the last document begun."""
    nats = np.zeros(len(documents), np.float64)
    device = model.embedding.weight.device
    for block in windows(documents, length, rows, stride or max(1, length // 2)):  # type: ignore[arg-type]
        widest = int(np.flatnonzero(block.scored.any(0))[-1]) + 1
        tokens = torch.from_numpy(block.tokens[:, : widest + 1])
        targets = tokens[:, 1:].masked_fill(~torch.from_numpy(block.scored[:, :widest]), IGNORED).to(device)
        losses = model.token_nats(model.hidden(tokens[:, :-1].to(device)), targets)
        np.add.at(nats, block.documents, losses.double().sum(1).cpu().numpy())
        report(int(block.documents[-1]))
    return nats


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """nats / ln 2 / bytes."""
    return float(nats) / math.log(2) / max(1, int(n_bytes))
