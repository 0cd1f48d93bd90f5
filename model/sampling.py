"""How the next token is drawn from logits: penalty, temperature, filters, and one uniform number.

    logits -> repetition penalty -> / temperature -> top-k -> softmax -> min-p -> top-p -> inverse of the cumulative sum

All rows at once, as tensor operations. Each row still draws its uniform numbers from a generator of its own, so what a row
gets does not depend on its neighbours, and on no device but on the seed. Where a filter cuts among equally probable tokens
it keeps them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AHEAD = 64  # uniform numbers that are drawn at a time


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. temperature 0 takes the most probable; 0 switches top_k, top_p and min_p off."""

    max_tokens: int = 128
    temperature: float = 0.8
    top_k: int = 0  # only the k most probable
    top_p: float = 0.0  # only the fewest tokens whose probabilities reach p
    min_p: float = 0.0  # only tokens at least p times as probable as the best
    repetition_penalty: float = 1.0  # above 1: logits of tokens the model can see are made smaller (Keskar et al. 2019)
    seed: int = 0
    stop: tuple[int, ...] = ()  # a row ends before the first of these
    stop_strings: tuple[str, ...] = ()  # and before the first of these in its text

    def __post_init__(self) -> None:
        if self.max_tokens < 0 or self.temperature < 0 or self.top_k < 0:
            raise ValueError("max_tokens, temperature and top_k must be 0 or more")
        if not (0 <= self.top_p <= 1 and 0 <= self.min_p <= 1):
            raise ValueError("top_p and min_p must lie between 0 and 1")
        if self.repetition_penalty <= 0:
            raise ValueError("repetition_penalty must be above 0")
        if isinstance(self.stop_strings, str) or "" in self.stop_strings:
            raise ValueError("stop_strings must be a tuple of strings, none of them empty")


def penalised(logits: Tensor, ids: Tensor, lengths: Tensor, penalty: float) -> Tensor:
    """Logits [B, J, V] with those of the first lengths [B, J] of the row's ids [B, N] divided by the penalty (multiplied, below 0)."""
    if penalty == 1:
        return logits
    within = torch.arange(ids.shape[1], device=ids.device) < lengths[..., None]
    seen = torch.where(within, ids[:, None], ids[:, None, :1])  # [B, J, N]; what is not within repeats the row's first token
    scores = logits.gather(-1, seen)
    return logits.scatter(-1, seen, torch.where(scores > 0, scores / penalty, scores * penalty))


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """[..., V] logits -> probabilities [..., V] fp32 after temperature, top-k, min-p and top-p."""
    scores = logits.float()
    if sampling.temperature == 0:
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[..., -1:], -torch.inf)
    probabilities = scores.softmax(-1)
    if sampling.min_p:
        probabilities = probabilities * (probabilities >= sampling.min_p * probabilities.amax(-1, keepdim=True))
    if 0 < sampling.top_p < 1:
        probabilities = probabilities * (probabilities >= _last_needed(probabilities, sampling.top_p))
    return probabilities / probabilities.sum(-1, keepdim=True)


def _last_needed(probabilities: Tensor, p: float) -> Tensor:
    """[..., 1] the least of the fewest probabilities that reach p of the sum. The head of the order is enough, mostly."""
    share, count = p * probabilities.sum(-1, keepdim=True), min(64, probabilities.shape[-1])
    while True:
        best = probabilities.topk(count).values
        before = best.cumsum(-1) - best
        if count == probabilities.shape[-1] or bool((before[..., -1:] >= share).all()):
            return best.gather(-1, ((before < share).sum(-1, keepdim=True) - 1).clamp(min=0))
        count = min(8 * count, probabilities.shape[-1])


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Inverse of the cumulative sum: weights [..., V] >= 0, uniform [...] in [0, 1) -> tokens [...], never one of weight 0."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    wanted = uniform[..., None].to(cumulative) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[..., 0].clamp_(max=weights.shape[-1] - 1)


class Uniforms:
    """Uniform numbers in [0, 1), fp64: row b's come from a generator with the seed `seed + b`, in order."""

    def __init__(self, seed: int, rows: int, device: torch.device | str = "cpu") -> None:
        self.generators = [torch.Generator().manual_seed(seed + row) for row in range(rows)]
        self.device, self.ready = device, torch.empty(rows, 0, dtype=torch.float64, device=device)

    def take(self, n: int) -> Tensor:
        """The next n numbers of every row, [B, n]."""
        if self.ready.shape[1] < n:
            more = [torch.rand(AHEAD, generator=g, dtype=torch.float64) for g in self.generators]
            self.ready = torch.cat((self.ready, torch.stack(more).to(self.device)), 1)
        taken, self.ready = self.ready[:, :n], self.ready[:, n:]
        return taken

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows."""
        self.generators, self.ready = [self.generators[row] for row in rows], self.ready[list(rows)]
