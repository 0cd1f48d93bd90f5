"""Causal attention: rotary positions, grouped key/value heads, document masks, key/value cache.

One implementation, three masks. Without documents a row is one causal stream (fused kernel, no mask in memory). With
document ids [B, T] a token sees only its own document: a dense [B, 1, T, T] mask, O(T^2) memory. With a cache the mask
is aligned to the bottom right: the new tokens are the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import DecoderConfig
from model.ffn import Linear, RMSNorm

WRITTEN_OUT = 512  # longest row for which attention is written out on CPU


def rope_table(length: int, d_head: int, base: float, device: torch.device | str | None = None) -> Tensor:
    """cos and sin of position * base^(-2j/d_head): [2, length, d_head/2], fp32."""
    rates = base ** (-torch.arange(0, d_head, 2, dtype=torch.float64, device=device) / d_head)
    angles = torch.arange(length, dtype=torch.float64, device=device)[:, None] * rates
    return torch.stack((angles.cos(), angles.sin())).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Half-split rotation of [B, H, T, dh] by [2, T, dh/2] (or [2, B, 1, T, dh/2])."""
    cos, sin = table[0].to(x.dtype), table[1].to(x.dtype)
    x1, x2 = x.chunk(2, -1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1)


@dataclass
class KVCache:
    """Keys and values of the tokens so far: [L, B, Hk, capacity, dh] each, `length` of them filled.

    `start` [B] is each row's first real position: rows of different length are padded on the left.
    """

    keys: Tensor
    values: Tensor
    length: int = 0
    start: Tensor | None = None

    @classmethod
    def empty(cls, config: DecoderConfig, rows: int, capacity: int, dtype: torch.dtype, device: torch.device | str) -> KVCache:
        shape = (config.n_layer, rows, config.n_kv_head, capacity, config.d_head)
        return cls(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, Hk, T, dh] behind what is there; everything up to and with it comes back."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def document_mask(documents: Tensor) -> Tensor:
    """[B, T] document ids -> [B, 1, T, T], true where the query may see the key: same document, not later."""
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    return (documents[:, :, None].eq(documents[:, None, :]) & causal)[:, None]


def cache_mask(new: int, cache: KVCache, device: torch.device) -> Tensor | None:
    """[B or 1, 1, new, total] for `new` tokens behind the cache; None when every token sees everything."""
    total = cache.length + new
    if new == 1 and cache.start is None:
        return None
    keys = torch.arange(total, device=device)
    mask = keys <= torch.arange(cache.length, total, device=device)[:, None]
    if cache.start is None:
        return mask[None, None]
    own = keys == torch.arange(cache.length, total, device=device)[:, None]  # a padding token sees itself: no empty softmax
    return ((mask & (keys >= cache.start[:, None, None])) | own)[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, training_shape: bool) -> Tensor:
    """[B, Hq, Tq, dh], [B, Hk, Tk, dh] x2 -> [B, Hq, Tq, dh]. Without a mask it is causal (Tq > 1: then Tq must equal Tk).

    Short rows on CPU are written out as two matrix products: the CPU's fused kernel is 2-3 x slower in the backward pass.
    """
    groups = q.shape[1] // k.shape[1]
    if training_shape and q.device.type == "cpu" and q.shape[2] <= WRITTEN_OUT:
        return _written_out(q, k, v, mask, groups)
    if groups > 1:  # repeating is as fast as enable_gqa on CPU and exists for every kernel
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and q.shape[2] > 1)


def _written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, groups: int) -> Tensor:
    B, Hq, T, dh = q.shape
    Hk = k.shape[1]
    q = (q * dh**-0.5).reshape(B, Hk, groups * T, dh)  # a group's query heads share its keys in one product
    scores = (q @ k.transpose(-1, -2)).float().view(B, Hk, groups, T, T)
    if mask is None:
        at = torch.arange(T, device=q.device)
        seen = at[:, None] >= at
    else:
        seen = mask[:, :, None]
    weights = torch.softmax(torch.where(seen, scores, -1e30), -1).to(v.dtype).view(B, Hk, groups * T, T)
    return (weights @ v).view(B, Hq, T, dh)


class Attention(nn.Module):
    """softmax(q k^T / sqrt(dh)) v with Hq query heads over Hk key/value heads."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.n_head, self.n_kv_head, self.d_head = c.n_head, c.n_kv_head, c.d_head
        self.q = Linear(c.d_model, c.n_head * c.d_head)
        self.k = Linear(c.d_model, c.n_kv_head * c.d_head)
        self.v = Linear(c.d_model, c.n_kv_head * c.d_head)
        self.o = Linear(c.n_head * c.d_head, c.d_model)
        self.q_norm = RMSNorm(c.d_head, c.norm_eps) if c.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(c.d_head, c.norm_eps) if c.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        B, T, _ = x.shape
        q = self.q_norm(self.q(x).view(B, T, self.n_head, self.d_head)).transpose(1, 2)  # (B, Hq, T, dh)
        k = self.k_norm(self.k(x).view(B, T, self.n_kv_head, self.d_head)).transpose(1, 2)  # (B, Hk, T, dh)
        v = self.v(x).view(B, T, self.n_kv_head, self.d_head).transpose(1, 2)
        q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        y = attend(q, k, v, mask, cache is None)
        return self.o(y.transpose(1, 2).reshape(B, T, self.n_head * self.d_head))
