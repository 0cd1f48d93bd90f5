"""Rotary positions: pairs (j, j + r/2) of a head turn by position * base^(-2j/r), the rest of the head passes through.

Context extension: 'ntk' raises the base to base * s^(r/(r-2)); 'yarn' (Peng et al. 2023) interpolates frequencies that turn
less than once within the trained window, leaves those that turn more than 32 times, ramps between, and multiplies scores by
(0.1 ln s + 1)^2, half of it on queries and half on keys.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model import fused
from model.config import DecoderConfig

SLOWEST, FASTEST = 1.0, 32.0  # turns within the trained window between which 'yarn' ramps


def frequencies(c: DecoderConfig) -> Tensor:
    """Radians per position of each pair: [r/2] float64."""
    r, s = c.rope_dims, c.rope_scaling
    base = c.rope_base * s.factor ** (r / (r - 2)) if s is not None and s.kind == "ntk" else c.rope_base
    rates = base ** (-torch.arange(0, r, 2, dtype=torch.float64, device="cpu") / r)
    if s is None or s.kind != "yarn":
        return rates
    turns = s.trained * rates / (2 * math.pi)
    keep = ((turns - SLOWEST) / (FASTEST - SLOWEST)).clamp(0, 1)
    return rates * (keep + (1 - keep) / s.factor)


class Rope:
    """The table of cos and sin, [2, positions, r/2] fp32: made when first needed, longer when needed, once per device."""

    def __init__(self, config: DecoderConfig) -> None:
        s = config.rope_scaling
        self.rates, self.limit = frequencies(config), config.max_seq_len
        self.warmth = 0.1 * math.log(s.factor) + 1 if s is not None and s.kind == "yarn" else 1.0
        self.tables: dict[str, Tensor] = {}

    def table(self, length: int, device: torch.device) -> Tensor:
        """At least `length` positions."""
        table = self.tables.get(str(device))
        if table is None or table.shape[1] < length:
            positions = torch.arange(min(self.limit, max(256, 1 << (length - 1).bit_length())), dtype=torch.float64)
            angles = positions[:, None] * self.rates
            table = (self.warmth * torch.stack((angles.cos(), angles.sin()))).float().to(device)
            self.tables[str(device)] = table
        return table


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the first r channels of [B, H, T, dh] by [2, T, r/2] or [2, B, 1, T, r/2]."""
    cos, sin = table[0].to(x.dtype), table[1].to(x.dtype)
    half = cos.shape[-1]
    if fused.fits(x):
        whole = F.pad(torch.cat((cos, cos), -1), (0, x.shape[-1] - 2 * half), value=1.0)
        return fused.rotated(x, whole, sin)
    x1, x2, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = (x1 * cos - x2 * sin, x2 * cos + x1 * sin)
    return torch.cat((*turned, rest) if rest.shape[-1] else turned, -1)
