"""The layers everything is made of.

Weights are fp32 masters; a `Linear` casts its weight to the dtype of the activation, so precision is chosen in one
place (the dtype of the embedding's output) and no autocast is needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import fused


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., in], weight [out, in] -> [..., out] in the dtype of x. The weight may be one that `inference.py` has packed."""
    if weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # type: ignore[no-any-return]
    return F.linear(x, weight.to(x.dtype))


class Linear(nn.Linear):
    """[out, in] without bias; computes in the dtype of its input."""

    times = staticmethod(product)  # a copy for inference may know a faster one

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def reset_parameters(self) -> None:
        """Nothing: `init_weights` or a saved state gives the values. (The default draw imports a compiler on the meta device.)"""

    def forward(self, input: Tensor) -> Tensor:
        return self.times(input, self.weight)


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
