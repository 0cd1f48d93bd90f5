"""The residual stream: which layer runs when, what it reads, how its two branches join.

    x += attention(norm(x));  x += ffn(norm(x))

and the options on it: a mix with the embedding, scaled norms, branches side by side (GPT-J's form, or two lanes that meet at
the end), U-Net skips, layers that run several times.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Attention, Step
from model.config import DecoderConfig
from model.ffn import build_ffn
from model.layers import RMSNorm


@dataclass(frozen=True)
class Visit:
    """One run of a layer. `pop` is the skip taken before it (-1: none), `push` whether its output is kept for one."""

    layer: int
    pop: int = -1
    push: bool = False


def visits(config: DecoderConfig, looping: bool) -> tuple[Visit, ...]:
    """The layers as they run. Skips join the first half with the second, last in first out.

    'gated' skips are between runs; 'plain' ones between layers, of which only the first run takes part.
    """
    order = config.unrolled(looping)
    if config.unet_skips == "none":
        return tuple(Visit(layer) for layer in order)
    plain = config.unet_skips == "plain"
    half = (config.n_layer if plain else len(order)) // 2
    found = []
    for run, layer in enumerate(order):
        place = layer if plain else run
        first = not plain or layer not in order[:run]
        found.append(Visit(layer, place - half if first and half <= place < 2 * half else -1, first and place < half))
    return tuple(found)


class Skips(nn.Module):
    """plain: x + w * skip. gated: between w * skip and x, at s(gate), half way at first."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        n = (config.n_layer if config.unet_skips == "plain" else len(config.unrolled())) // 2
        self.weight = nn.Parameter(torch.empty(n, config.d_model))
        self.gate = nn.Parameter(torch.empty(n, config.d_model)) if config.unet_skips == "gated" else None

    def forward(self, x: Tensor, skip: Tensor, place: int) -> Tensor:
        skip = self.weight[place].to(x.dtype) * skip
        return x + skip if self.gate is None else torch.lerp(skip, x, torch.sigmoid(self.gate[place]).to(x.dtype))


class Block(nn.Module):
    """One layer. `other` is the second lane, None while there is one."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        c = config
        self.kind, self.dropout = c.parallel(layer), c.dropout
        self.norm_scale = (layer + 1) ** -0.5 if c.ln_scale else 1.0
        self.branch = (c.mup_base_layers / c.n_layer) ** 0.5 if c.mup_base_layers else 1.0
        self.attention_norm = RMSNorm(c.d_model, c.norm_eps, c.norm_affine)
        self.attention = Attention(c, layer)
        self.ffn_norm = RMSNorm(c.d_model, c.norm_eps, c.norm_affine) if self.kind != "shared" else None
        self.ffn = build_ffn(c)
        self.attention_scale = nn.Parameter(torch.empty(c.d_model)) if c.branch_scale else None
        self.ffn_scale = nn.Parameter(torch.empty(c.d_model)) if c.branch_scale else None
        self.mix = nn.Parameter(torch.empty(*((2, c.d_model) if c.resid_mix == "vector" else (2,)))) if c.resid_mix != "none" else None
        self.lanes = nn.Parameter(torch.empty(6)) if self.kind == "lanes" else None

    def forward(self, x: Tensor, other: Tensor | None, x0: Tensor, step: Step, slot: int) -> tuple[Tensor, Tensor | None]:
        """[B, T, d], [B, T, d] or None, the embedding [B, T, d] -> the lanes behind this layer."""
        if self.mix is not None:
            mix = self.mix.to(x.dtype)
            x = mix[0] * x + mix[1] * x0
        n = self.scaled(self.attention_norm(x))
        a = self.joined(self.attention(n, step, slot), self.attention_scale)
        if self.ffn_norm is None:
            return x + a + self.joined(self.ffn(n), self.ffn_scale), None
        if self.lanes is None:
            x = x + a
            return x + self.joined(self.ffn(self.scaled(self.ffn_norm(x))), self.ffn_scale), None
        other = x if other is None else other
        m = self.joined(self.ffn(self.scaled(self.ffn_norm(other))), self.ffn_scale)
        keep_x, keep_other, a_x, a_other, m_x, m_other = self.lanes.to(x.dtype)
        return keep_x * x + a_x * a + m_x * m, keep_other * other + a_other * a + m_other * m

    def scaled(self, n: Tensor) -> Tensor:
        return n * self.norm_scale if self.norm_scale != 1 else n

    def joined(self, y: Tensor, scale: Tensor | None) -> Tensor:
        """What a branch gives to the stream."""
        if scale is not None:
            y = y * scale.to(y.dtype)
        if self.branch != 1:
            y = y * self.branch
        return F.dropout(y, self.dropout, self.training) if self.dropout else y
