"""The layers everything is made of.

Weights are fp32 masters; a `Linear` casts its weight to the dtype of the activation, so precision is chosen in one
place (the dtype of the embedding's output) and no autocast is needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import fused

FEW = 64  # rows of a product that takes the matrix on the left


class Linear(nn.Linear):
    """[out, in] without bias; computes in the dtype of its input."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def reset_parameters(self) -> None:
        """Nothing: `init_weights` or a saved state gives the values. (The default draw imports a compiler on the meta device.)"""

    def forward(self, input: Tensor) -> Tensor:
        return product(input, self.weight)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., in], weight [out, in] -> [..., out] in the dtype of x.

    Generating in bf16 on a CPU, the matrix is on the left: for few rows oneDNN is a quarter faster that way, for one row there
    is PyTorch's own product.
    """
    weight = weight.to(x.dtype)
    if x.dtype != torch.bfloat16 or torch.is_grad_enabled() or x.device.type != "cpu" or not 0 < (rows := x.shape[:-1].numel()) <= FEW:
        return F.linear(x, weight)
    y = torch.mv(weight, x.reshape(-1)) if rows == 1 else (weight @ x.reshape(rows, -1).t()).t()
    return y.reshape(*x.shape[:-1], -1)


class Embedding(nn.Embedding):
    """A table [rows, width]."""

    def reset_parameters(self) -> None:
        """Nothing, as in `Linear`."""


def rms_norm(x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * gain over the last axis, in fp32, cast back."""
    if fused.fits(x):
        return fused.normed(x, gain, eps)
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide if gain is None else wide * gain).to(x.dtype)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned gain, or without."""

    def __init__(self, width: int, eps: float, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
