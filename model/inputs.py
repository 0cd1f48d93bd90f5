"""What may be added to a token's embedding: a hashed pair, the token before; and what goes to the values of later layers.

All of them look one token back, so all of them stop where a document begins: without that, the last token of a document
would leak into the next one of its row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import BigramHash, DecoderConfig
from model.layers import Embedding, Linear


def beginnings(ids: Tensor, documents: Tensor | None, bos_id: int) -> Tensor:
    """[B, T] true where a token has none before it: the first, a begin token, another document, nothing (-1) before."""
    begins = torch.ones_like(ids, dtype=torch.bool)
    begins[:, 1:] = ids[:, :-1] < 0
    if bos_id >= 0:
        begins |= ids == bos_id
    if documents is not None:
        begins[:, 1:] |= documents[:, 1:] != documents[:, :-1]
    return begins


class Bigram(nn.Module):
    """scale * P table[xor(36313 t, 27191 t') mod (rows - 1)], in wrapping 32 bits; the last row where nothing is before t.

    The projection is zero at first and the table is not: with both at zero neither would ever move.
    """

    def __init__(self, shape: BigramHash, d_model: int) -> None:
        super().__init__()
        self.rows = shape.rows
        self.table = Embedding(shape.rows, shape.dim)
        self.proj = Linear(shape.dim, d_model)
        self.scale = nn.Parameter(torch.empty(1))

    def forward(self, ids: Tensor, begins: Tensor) -> Tensor:
        now, before = ids.int(), F.pad(ids, (1, 0))[:, :-1].int()
        pair = torch.remainder((now * 36313) ^ (before * 27191), self.rows - 1)  # the remainder is not negative
        return self.scale * self.proj(self.table(torch.where(begins, self.rows - 1, pair).long()))


class Smear(nn.Module):
    """Some of the previous token's embedding.

    gate: x + scale * s(w x[:width]) x', nothing at first (modded-nanogpt). channel: (1-s) x + s x', s per channel, half at
    first; kept to reproduce a published run, it stops at documents but not at the begin token.
    """

    def __init__(self, kind: str, d_model: int, width: int) -> None:
        super().__init__()
        self.channel = nn.Parameter(torch.empty(d_model)) if kind == "channel" else None
        self.weight = nn.Parameter(torch.empty(width)) if kind == "gate" else None
        self.scale = nn.Parameter(torch.empty(1)) if kind == "gate" else None

    def forward(self, x: Tensor, begins: Tensor) -> Tensor:
        before = torch.where(begins[..., None], 0, F.pad(x, (0, 0, 1, 0))[:, :-1])
        if self.weight is not None and self.scale is not None:
            gate = torch.sigmoid(x[..., : len(self.weight)] @ self.weight.to(x.dtype))
            return x + (self.scale.to(x.dtype) * gate)[..., None] * before
        assert self.channel is not None
        return torch.lerp(x, before, torch.sigmoid(self.channel).to(x.dtype))


class ValueEmbedding(nn.Module):
    """One narrow table for all layers that use it: scale * P table[t], [B, T, Hk*dh]."""

    def __init__(self, config: DecoderConfig, dim: int) -> None:
        super().__init__()
        self.table = Embedding(config.padded_vocab_size, dim)
        self.proj = Linear(dim, config.n_kv_head * config.d_head)
        self.scale = nn.Parameter(torch.empty(1))

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        return self.scale.to(dtype) * self.proj(self.table(ids).to(dtype))
