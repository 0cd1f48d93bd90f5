"""What else can hang on the trunk: a head that decides, an encoder of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ChartEncoder, DecoderConfig
from model.layers import Linear, RMSNorm


class Decision(NamedTuple):
    """What the decision head says of each row."""

    probabilities: Tensor  # [B, classes] softmax(logits)
    calibrated: Tensor  # [B, classes] softmax(logits / temperature)
    chosen: Tensor  # [B] the most probable class
    confidence: Tensor  # [B] its calibrated probability


class DecisionHead(nn.Module):
    """W2 silu(W1 c) at one position of a row: [B, T, d] -> [B, classes]. `temperature` is fitted after training."""

    temperature: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.up = Linear(config.d_model, config.d_model // 2)
        self.out = Linear(config.d_model // 2, config.decision_classes)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, hidden: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Normed states [B, T, d] -> logits [B, classes] in fp32, at positions [B]: by default each row's last token.

        documents [B, T] tells which tokens are padding (-1).
        """
        if positions is None:
            positions = last_tokens(hidden, documents)
        chosen = hidden[torch.arange(len(hidden), device=hidden.device), positions]
        return self.out(F.silu(self.up(chosen))).float()

    def decide(self, logits: Tensor) -> Decision:
        """[B, classes] logits -> the decision."""
        calibrated = torch.softmax(logits / self.temperature, -1)
        confidence, chosen = calibrated.max(-1)
        return Decision(torch.softmax(logits, -1), calibrated, chosen, confidence)


def last_tokens(hidden: Tensor, documents: Tensor | None) -> Tensor:
    """[B] the last position of each row that is no padding (documents -1)."""
    rows, length = hidden.shape[:2]
    if documents is None:
        return torch.full((rows,), length - 1, device=hidden.device)
    at = torch.arange(length, device=hidden.device)
    return torch.where(documents >= 0, at, 0).amax(1)


class PatchEncoder(nn.Module):
    """Raw pixels [B, C, size, size] in [0, 1] -> prefix [B, (size/patch)^2, d]: one matrix, rows, columns, a norm.

    The matrix is a convolution whose patches do not overlap; patches are read row by row.
    """

    def __init__(self, shape: ChartEncoder, d_model: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.shape, side = shape, shape.size // shape.patch
        self.patches = Linear(shape.channels * shape.patch**2, d_model)
        self.rows = nn.Parameter(torch.empty(side, d_model))
        self.columns = nn.Parameter(torch.empty(side, d_model))
        self.norm = RMSNorm(d_model, eps, affine)

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """ValueError unless the images have the encoder's shape and are fractions."""
        e = self.shape
        if tuple(images.shape[1:]) != (e.channels, e.size, e.size):
            raise ValueError(f"the chart encoder takes images [{e.channels}, {e.size}, {e.size}], not {list(images.shape[1:])}")
        if not images.is_floating_point():
            raise ValueError(f"the chart encoder takes fractions in [0, 1], not {images.dtype}: divide bytes by 255")
        x = self.patches(F.unfold(2 * images.to(dtype) - 1, e.patch, stride=e.patch).mT)  # [B, N, d]
        places = self.rows[:, None] + self.columns  # [side, side, d]
        return self.norm(x + places.flatten(0, 1).to(dtype))
