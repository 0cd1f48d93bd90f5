"""Causal attention: grouped key/value heads, rotary positions, and every option that touches queries, keys, values or what
comes out of a head. One implementation for training, evaluation and decoding.

    q, k = rope(norm(x Wq)) * gain, rope(norm(x Wk));   y = softmax(cap(q k^T * scale) where visible) v;   out = gate(xsa(y)) Wo

XSA (arXiv 2603.09078) takes the component along a token's own value out of y. Gates are one scalar per head and token.
Values may get a token embedding (a table, or a projected narrow one) and a share of the first layer's values (ResFormer).

Limit: with a score softcap the weights are written out, O(T^2) memory, except on the flex path.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cache import KVCache
from model.config import DecoderConfig
from model.layers import Embedding, Linear, RMSNorm
from model.masks import Sight
from model.rope import rotate
from model.ternary import TernaryLinear

GATE_SCALE = 0.5  # of the sparse gate


@dataclass
class Step:
    """What all layers of one forward share."""

    rope: Tensor  # [2, T, r/2] or [2, B, 1, T, r/2]
    sight: Sight  # of whole rows; with a cache that is not empty its own masks hold
    ids: Tensor  # [B, T]
    cache: KVCache | None = None
    embedded: Tensor | None = None  # [B, T, Hk*dh], the shared value embedding
    first: list[Tensor] = field(default_factory=list)  # the first layer's values
    turn: tuple[Tensor, Tensor] | None = None  # the rope as `inference.py` wants it


class Gate(nn.Module):
    """One factor per head: [B, T, d] -> [B, T, Hq].

    attn_out 2s(W n[:w]), 1 at first; gated s(W n) (arXiv 2505.06708); sparse s(0.5 W n[:w]); gated_bias s(W n + b), b = 4.
    """

    def __init__(self, kind: str, n_head: int, d_model: int, window: int) -> None:
        super().__init__()
        self.kind, self.width = kind, window if kind in ("attn_out", "sparse") else d_model
        self.weight = nn.Parameter(torch.empty(n_head, self.width))
        self.bias = nn.Parameter(torch.empty(n_head)) if kind == "gated_bias" else None

    def forward(self, n: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(n.dtype)
        z = F.linear(n[..., : self.width], self.weight.to(n.dtype), bias)
        return 2 * torch.sigmoid(z) if self.kind == "attn_out" else torch.sigmoid(GATE_SCALE * z if self.kind == "sparse" else z)


class Attention(nn.Module):
    """The attention of one layer."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        c = config
        self.n_head, self.n_kv_head, self.d_head, self.scale, self.softcap = c.n_head, c.n_kv_head, c.d_head, c.scale, c.attn_softcap
        self.window = c.windows()[layer]
        linear = functools.partial(TernaryLinear, group=c.ternary_group, activations=c.ternary_activations) if c.ternary_attn else Linear
        self.q = linear(c.d_model, c.n_head * c.d_head)
        self.k = linear(c.d_model, c.n_kv_head * c.d_head)
        self.v = linear(c.d_model, c.n_kv_head * c.d_head)
        self.o = linear(c.n_head * c.d_head, c.d_model)
        self.q_norm = RMSNorm(c.d_head, c.norm_eps, c.qk_norm == "affine") if c.qk_norm != "none" else None
        self.k_norm = RMSNorm(c.d_head, c.norm_eps, c.qk_norm == "affine") if c.qk_norm != "none" else None
        self.sub_norm = RMSNorm(c.n_head * c.d_head, c.norm_eps) if c.ternary_attn and c.ternary_sub_norm else None
        self.gain = nn.Parameter(torch.empty(c.n_head)) if c.qk_gain else None
        self.gate = Gate(c.attn_gate, c.n_head, c.d_model, c.gate_window) if c.attn_gate != "none" else None
        self.exclusive = layer >= c.n_layer - c.xsa_last_n
        self.strength = nn.Parameter(torch.empty(c.n_head)) if self.exclusive and c.xsa == "learned" else None
        self.mix = nn.Parameter(torch.empty(2)) if c.value_residual and layer else None
        self.keeps_values = c.value_residual and not layer
        embeds = c.value_embed if c.value_embed is not None and layer in c.value_embed.layers else None
        tabled = embeds is not None and embeds.kind == "table"
        self.joined: nn.Module | None = None  # instead of `heads`, in a copy for inference
        self.whole: Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor] | None = None  # instead of `attend`, where it trains
        self.whole_from = 1  # with so many rows or more
        self.value_scale = nn.Parameter(torch.empty(1)) if embeds is not None and not tabled else None
        self.value_table = Embedding(c.padded_vocab_size, c.n_kv_head * c.d_head) if tabled else None
        self.value_gate = nn.Parameter(torch.empty(c.n_kv_head, c.gate_window)) if tabled else None

    def forward(self, x: Tensor, step: Step, slot: int) -> Tensor:
        """Normed input [B, T, d] -> [B, T, d]; `slot` is this run's place in the cache."""
        B, T, _ = x.shape
        q, k, v = self.heads(x, step) if self.joined is None else self.joined(x, step)
        v = self.values(v, x, step).view(B, T, self.n_kv_head, self.d_head).transpose(1, 2)
        keys, values, mask = k, v, None
        if step.cache is not None:
            keys, values, mask = step.cache.append(slot, k, v)
        if keys is not k:
            y = attend(q, keys, values, mask, self.scale, self.softcap)
        elif self.whole is not None and step.sight.by_first and self.whole_from <= B:
            y = self.whole(q, k, v, step.sight.first(self.window), self.scale)
        else:
            y = attend(q, k, v, step.sight.mask(self.window), self.scale, self.softcap)
        if self.exclusive:
            y = self.without_own(y, v)
        y = y.transpose(1, 2)
        if self.gate is not None:
            y = y * self.gate(x)[..., None]
        y = y.reshape(B, T, self.n_head * self.d_head)
        return self.o(y if self.sub_norm is None else self.sub_norm(y))

    def heads(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, d] -> queries [B, Hq, T, dh] and keys [B, Hk, T, dh], turned, and values [B, T, Hk*dh]."""
        B, T, _ = x.shape
        q = self.q(x).view(B, T, self.n_head, self.d_head)
        k = self.k(x).view(B, T, self.n_kv_head, self.d_head)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q.transpose(1, 2), step.rope), rotate(k.transpose(1, 2), step.rope)
        return q if self.gain is None else q * self.gain.to(q.dtype)[:, None, None], k, self.v(x)

    def values(self, v: Tensor, x: Tensor, step: Step) -> Tensor:
        """[B, T, Hk*dh]: as projected from x, with the token's value embedding, mixed with the first layer's."""
        if self.value_scale is not None and step.embedded is not None:
            v = v + self.value_scale.to(v.dtype) * step.embedded
        elif self.value_table is not None and self.value_gate is not None:
            gate = 3 * torch.sigmoid(F.linear(x[..., : self.value_gate.shape[1]], self.value_gate.to(x.dtype)))  # [B, T, Hk]
            table = self.value_table(step.ids.clamp(min=0)) * (step.ids >= 0)[..., None]  # patches of an image have no token
            table = table.to(v.dtype).view(*v.shape[:2], self.n_kv_head, self.d_head)
            v = v + (gate[..., None] * table).flatten(2)
        if self.keeps_values and not step.first:
            step.first.append(v)
        if self.mix is not None:
            mix = self.mix.to(v.dtype)
            v = mix[0] * step.first[0] + mix[1] * v
        return v

    def without_own(self, y: Tensor, v: Tensor) -> Tensor:
        """y [B, Hq, T, dh] less its component along the token's own value [B, Hk, T, dh], all of it or tanh(strength)."""
        B, _, T, dh = y.shape
        heads, own = y.view(B, self.n_kv_head, -1, T, dh), v[:, :, None].float()
        along = (heads * own).sum(-1, keepdim=True) / own.square().sum(-1, keepdim=True).clamp(min=1e-12)
        if self.strength is not None:
            along = along * torch.tanh(self.strength).view(self.n_kv_head, -1, 1, 1)
        return (heads - along * own).to(y.dtype).view_as(y)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, softcap: float = 0.0) -> Tensor:
    """[B, Hq, Tq, dh], [B, Hk, Tk, dh] x2 -> [B, Hq, Tq, dh].

    mask: None (causal; the last query sees all keys), a bool tensor [B or 1, 1, Tq, Tk], or a BlockMask. On CPU too the fused
    kernel is the faster one, forward and backward: 2 x beside two written-out products at 512 tokens, 5 x at 2,048 (bf16).
    """
    if mask is not None and not isinstance(mask, Tensor):
        return _flex(q, k, v, mask, scale, softcap)
    Hq, Tq, Hk, Tk = q.shape[1], q.shape[2], k.shape[1], k.shape[2]
    if softcap:
        return _written_out(q, k, v, mask, Hq // Hk, scale, softcap)
    if Hq != Hk and Tq == 1 and q.device.type == "cpu":  # one query: its group's heads are rows of one product
        return F.scaled_dot_product_attention(q.view(len(q), Hk, Hq // Hk, -1), k, v, mask, scale=scale).view_as(q)
    if mask is None and 1 < Tq < Tk:  # the kernel's own causal mask would be of the first queries
        mask = torch.ones(Tq, Tk, dtype=torch.bool, device=q.device).tril(Tk - Tq)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None and Tq > 1, scale=scale, enable_gqa=Hq != Hk)


def _written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, groups: int, scale: float, softcap: float) -> Tensor:
    B, Hq, Tq, dh = q.shape
    Hk, Tk = k.shape[1], k.shape[2]
    q = (q * scale).reshape(B, Hk, groups * Tq, dh)  # a group's query heads share its keys in one product
    scores = (q @ k.transpose(-1, -2)).float().view(B, Hk, groups, Tq, Tk)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        at = torch.arange(Tk, device=q.device)
        seen = at[Tk - Tq :, None] >= at
    else:
        seen = mask[:, :, None]
    weights = torch.softmax(torch.where(seen, scores, -1e30), -1).to(v.dtype).view(B, Hk, groups * Tq, Tk)
    return (weights @ v).view(B, Hq, Tq, dh)


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, softcap: float) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    kernel = flex_attention if torch.compiler.is_compiling() or q.device.type != "cuda" else _compiled_flex()
    cap = functools.partial(_capped, softcap) if softcap else None
    return kernel(q, k, v, score_mod=cap, block_mask=mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1])  # type: ignore[return-value]


def _capped(softcap: float, score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return softcap * torch.tanh(score / softcap)


@functools.cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
