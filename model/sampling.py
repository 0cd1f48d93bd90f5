"""How the next token is drawn from logits: penalty, temperature, filters, and a race that a seed decides.

    logits -> repetition penalty -> / temperature -> top-k -> softmax -> min-p -> top-p -> argmax p_i / e_i

The e_i are exponential numbers, so that token i wins with probability p_i. They are a hash of the row's seed, the token's place and i:
what is drawn hangs on no device, no neighbour and on nothing drawn before. And it is robust: where another p is near, the same token
wins nearly always, which is what a draft of it needs (Daliri et al. 2025, "drafter-invariant").

All rows at once, as tensor operations. Where a filter cuts among equally probable tokens it keeps them all. Limit: the numbers have
23 bits, so that what is less probable than about 1e-7 is not drawn as often as it should be.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


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


def race(weights: Tensor, keys: Tensor) -> Tensor:
    """weights [..., V] >= 0, keys [...] of `Seeds` -> the tokens that win, [...]; never one of weight 0."""
    numbers = _mixed(_mixed_tokens(weights.shape[-1], weights.device) ^ keys[..., None])
    waits = numbers.bitwise_right_shift_(9).bitwise_and_(0x7FFFFF).float().add_(0.5).mul_(2.0**-23).log_().neg_()
    return torch.div(weights, waits, out=waits).argmax(-1)


class Seeds:
    """A key for every place of every row: row b's follow from the seed `seed + b`."""

    def __init__(self, seed: int, rows: int, device: torch.device | str = "cpu") -> None:
        self.rows = torch.tensor([_folded(seed + row) for row in range(rows)], dtype=torch.int32, device=device)

    def keys(self, places: Tensor) -> Tensor:
        """[B, J] places -> keys, int32 [B, J]."""
        return _mixed(self.rows[:, None] ^ _mixed(places.to(torch.int32)))

    def select(self, rows: Tensor) -> None:
        """Keep these rows."""
        self.rows = self.rows[rows]


def _mixed(x: Tensor) -> Tensor:
    """int32 -> int32, every bit of each hanging on every bit: the end of MurmurHash3. Products are taken modulo 2^32."""
    x = (x >> 16).bitwise_and_(0xFFFF).bitwise_xor_(x).mul_(0x85EBCA6B - 2**32)
    x = (x >> 13).bitwise_and_(0x7FFFF).bitwise_xor_(x).mul_(0xC2B2AE35 - 2**32)
    return (x >> 16).bitwise_and_(0xFFFF).bitwise_xor_(x)


@functools.lru_cache(maxsize=8)
def _mixed_tokens(n: int, device: torch.device) -> Tensor:
    return _mixed(torch.arange(1, n + 1, dtype=torch.int32, device=device))


def _folded(seed: int) -> int:
    """Any integer -> one of 32 bits with a sign."""
    x = (seed + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return (x >> 32) - 2**31
