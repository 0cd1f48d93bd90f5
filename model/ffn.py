"""The feed-forward half of a block: [..., d] -> [..., d], every token alone.

Six kinds, chosen by `DecoderConfig.ffn_kind`; d = d_model, f = d_ff, r = ffn_rank, matrices are [out, in] without bias:

    swiglu                  W_d (silu(W_g x) * W_u x)                    3df    Shazeer 2020
    relu2                   W_d relu(W_u x)^2                            2df    Primer, So et al. 2021
    leakyrelu2              W_d lrelu(W_u x)^2, slope 0.5                2df    the negative side is 0.25 x^2: not monotone
    ternary_swiglu          swiglu of ternary matrices (`ternary.py`)    3df    + f of the norm before W_d
    lowrank_swiglu          swiglu, each matrix A[out, r] B[r, in]       3r(d+f)
    routed_lowrank_swiglu   E of the former, k a token (`routed.py`)     3Er(d+f) + Ed

Which is better at equal parameters is a matter of measuring: relu2 and leakyrelu2 want f = 3d or 4d, swiglu 8d/3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import DecoderConfig
from model.layers import Linear, RMSNorm
from model.ternary import TernaryLinear, quantize_activations


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, elementwise."""
    curved = F.silu(gate)
    return curved * up if torch.is_grad_enabled() else curved.mul_(up)  # without gradients nobody needs it any more


class SwiGLU(nn.Module):
    """W_d (silu(W_g x) * W_u x)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = Linear(d_model, d_ff)
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.gate(x), self.up(x)))


class Squared(nn.Module):
    """W_d z^2, z = W_u x where positive and `slope` times it where not. Gradients need z and z^2 only, so z overwrites W_u x."""

    def __init__(self, d_model: int, d_ff: int, slope: float) -> None:
        super().__init__()
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.leaky_relu_(self.up(x), self.slope).square())


class TernarySwiGLU(nn.Module):
    """SwiGLU of ternary matrices, with an RMSNorm before the last one: its inputs are products and have no size of their own."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        d, f, group = config.d_model, config.d_ff, config.ternary_group
        self.activations = config.ternary_activations
        self.gate = TernaryLinear(d, f, group, activations=False)  # x is rounded once for both
        self.up = TernaryLinear(d, f, group, activations=False)
        self.sub_norm = RMSNorm(f, config.norm_eps) if config.ternary_sub_norm else None
        self.down = TernaryLinear(f, d, group, config.ternary_activations)

    def forward(self, x: Tensor) -> Tensor:
        x = quantize_activations(x) if self.activations else x
        h = swiglu(self.gate(x), self.up(x))
        return self.down(h if self.sub_norm is None else self.sub_norm(h))


class LowRank(nn.Module):
    """A B x: a matrix [n_out, n_in] of rank `rank` as two, r(n_in + n_out) weights.

    Var(A B) is that of a full matrix at B ~ N(0, 1/n_in), A ~ N(0, 1/rank).
    """

    def __init__(self, n_in: int, n_out: int, rank: int) -> None:
        super().__init__()
        self.b = Linear(n_in, rank)
        self.a = Linear(rank, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.b(x))


class LowRankSwiGLU(nn.Module):
    """SwiGLU, each matrix of low rank."""

    def __init__(self, d_model: int, d_ff: int, rank: int) -> None:
        super().__init__()
        self.gate = LowRank(d_model, d_ff, rank)
        self.up = LowRank(d_model, d_ff, rank)
        self.down = LowRank(d_ff, d_model, rank)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.gate(x), self.up(x)))


def build_ffn(config: DecoderConfig) -> nn.Module:
    """The FFN of `config.ffn_kind`; its parameters are `counts.ffn(config)` in number."""
    from model.routed import RoutedLowRankSwiGLU  # which takes swiglu from here

    d, f, r = config.d_model, config.d_ff, config.ffn_rank
    match config.ffn_kind:
        case "swiglu":
            return SwiGLU(d, f)
        case "relu2":
            return Squared(d, f, slope=0.0)
        case "leakyrelu2":
            return Squared(d, f, slope=0.5)
        case "ternary_swiglu":
            return TernarySwiGLU(config)
        case "lowrank_swiglu":
            return LowRankSwiGLU(d, f, r)
        case "routed_lowrank_swiglu":
            return RoutedLowRankSwiGLU(d, f, r, config.ffn_experts, config.ffn_top_k)
        case unknown:  # a config refuses it already
            raise ValueError(f"no FFN is called '{unknown}'")
