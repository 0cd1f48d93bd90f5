"""Ternary matrices: every weight is -alpha, 0 or +alpha, alpha the mean magnitude of its group (BitNet b1.58, Ma et al. 2024).

What is kept and trained is an ordinary fp32 matrix; each forward rounds it anew and the gradient passes the rounding unchanged
(straight through). So training costs a little more than with a plain matrix and nothing gets smaller before the matrix is
packed, at five trits a byte; generating without packing rounds every matrix once a token. Weight decay by Muon and an average of
the weights do harm here: both pull latent weights towards zero, over the threshold where they become 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers import Linear

TINY = 1e-30  # keeps a group or a token that is all zero from dividing by zero


class _StraightThrough(torch.autograd.Function):
    """`rounded` forward, bit for bit; the gradient goes to `exact` as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def ternary(weight: Tensor, group: int = 128) -> Tensor:
    """W~ = alpha * clip(round(W / alpha), -1, 1), the straight-through form of a matrix.

    Args:
        weight: [out, in].
        group: consecutive inputs of one output that share alpha = mean|W|; 0: the whole matrix shares it.

    Returns:
        [out, in] in the dtype of `weight`, at most three values in a group; its gradient is that of `weight`.

    Raises:
        ValueError: `group` does not divide the inputs.
    """
    if group < 0 or (group and weight.shape[1] % group):
        raise ValueError(f"a ternary group of {group} does not divide {weight.shape[1]} inputs; a divisor fits, or 0 for the whole matrix")
    with torch.no_grad():
        groups = weight.reshape(-1, group or weight.numel()).to(_wide(weight))
        scale = groups.abs().mean(-1, keepdim=True)
        rounded = groups.div(scale + TINY).round_().clamp_(-1, 1).mul_(scale).view(weight.shape).to(weight.dtype)
    return _StraightThrough.apply(weight, rounded)


def quantize_activations(x: Tensor) -> Tensor:
    """Each token [..., n] to the nearest of 255 even steps up to its largest magnitude; straight-through gradient.

    Off by at most half a step, max|x| / 254, and by what the dtype of `x` rounds away.
    """
    with torch.no_grad():
        wide = x.to(_wide(x))
        peak = wide.abs().amax(-1, keepdim=True).clamp_(min=TINY)
        rounded = wide.mul(127 / peak).round_().clamp_(-128, 127).mul_(peak / 127).to(x.dtype)
    return _StraightThrough.apply(x, rounded)


class TernaryLinear(Linear):
    """A `Linear` that multiplies with `ternary(weight)`, behind `quantize_activations` where `activations` is set.

    A norm belongs in front of it: one scale a matrix cannot follow inputs whose size wanders.
    """

    def __init__(self, n_in: int, n_out: int, group: int, activations: bool) -> None:
        super().__init__(n_in, n_out)
        self.group, self.activations = group, activations

    def forward(self, input: Tensor) -> Tensor:
        x = quantize_activations(input) if self.activations else input
        return F.linear(x, ternary(self.weight, self.group).to(x.dtype))


def packed_bytes(shape: tuple[int, ...], group: int = 128) -> int:
    """Bytes of a ternary matrix of this shape: five trits a byte (3^5 = 243 <= 256) and an fp16 scale per group."""
    n = math.prod(shape)
    return -(-n // 5) + 2 * (n // group if group else 1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
