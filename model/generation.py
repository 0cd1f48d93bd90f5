"""Generation: token by token, with a key/value cache, one prompt or many.

Every row draws from its own generator (seed + row), so a row's tokens do not depend on its neighbours, and the same
seed gives the same text. Rows of different length are padded on the left and the padding is masked. When the window is
full, the newer half of it is read again and generation goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.attention import KVCache
from model.decoder import Decoder


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. temperature 0 takes the most probable; 0 switches top_k, top_p and min_p off."""

    max_tokens: int = 128
    temperature: float = 0.8
    top_k: int = 0  # only the k most probable
    top_p: float = 0.0  # only the fewest tokens whose probabilities reach p
    min_p: float = 0.0  # only tokens at least p times as probable as the best
    repetition_penalty: float = 1.0  # above 1: logits of tokens already in the row are made smaller (Keskar et al. 2019)
    seed: int = 0
    stop: tuple[int, ...] = ()  # a row ends before the first of these

    def __post_init__(self) -> None:
        if self.max_tokens < 0 or self.temperature < 0 or self.top_k < 0:
            raise ValueError("max_tokens, temperature and top_k must be 0 or more")
        if not (0 <= self.top_p <= 1 and 0 <= self.min_p <= 1):
            raise ValueError("top_p and min_p must lie between 0 and 1")
        if self.repetition_penalty <= 0:
            raise ValueError("repetition_penalty must be above 0")


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """[V] logits -> probabilities after temperature, top-k, top-p and min-p, float64."""
    scores = logits.double() / sampling.temperature
    if sampling.top_k and sampling.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    probabilities = scores.softmax(-1)
    if sampling.min_p:
        probabilities = probabilities * (probabilities >= sampling.min_p * probabilities.max())
    if 0 < sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered * (before < sampling.top_p * ordered.sum())
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    return probabilities / probabilities.sum()


def _draw(logits: Tensor, seen: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    if sampling.repetition_penalty != 1:
        logits = logits.clone()
        repeated = logits[seen]
        logits[seen] = torch.where(repeated > 0, repeated / sampling.repetition_penalty, repeated * sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(filtered(logits, sampling), 1, generator=generator))


@torch.no_grad()
def stream(model: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling) -> Iterator[list[int | None]]:
    """Yields, step by step, one new token for each prompt; None for a row that has ended. Prompts must not be empty."""
    if not prompts or any(len(p) == 0 for p in prompts):
        raise ValueError("every prompt needs at least one token")
    rows, window = [list(p) for p in prompts], model.config.max_seq_len
    device = model.embedding.weight.device
    generators = [torch.Generator().manual_seed(sampling.seed + row) for row in range(len(rows))]
    live = [True] * len(rows)
    cache: KVCache | None = None
    for _ in range(sampling.max_tokens):
        if cache is None or cache.length >= window:
            keep = window - 1 if cache is None else window // 2
            cache, logits = _read([row[-keep:] for row in rows], model, device)
        else:
            newest = torch.tensor([[row[-1]] for row in rows], device=device)
            logits = model(newest, cache=cache)[:, -1]
        drawn: list[int | None] = []
        for row, tokens in enumerate(rows):
            token = _draw(logits[row].cpu(), torch.tensor(sorted(set(tokens))), sampling, generators[row]) if live[row] else None
            live[row] = token is not None and token not in sampling.stop
            drawn.append(token if live[row] else None)
            tokens.append(token if token is not None else tokens[-1])
        if not any(live):
            return
        yield drawn


def generate(model: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
    """The new tokens of each prompt."""
    found: list[list[int]] = [[] for _ in prompts]
    for drawn in stream(model, prompts, sampling):
        for row, token in enumerate(drawn):
            if token is not None:
                found[row].append(token)
    return found


def _read(rows: list[list[int]], model: Decoder, device: torch.device) -> tuple[KVCache, Tensor]:
    """Run whole rows through the model: a fresh cache and the logits [B, V] behind each row's last token."""
    longest = max(map(len, rows))
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    cache = KVCache.empty(model.config, len(rows), model.config.max_seq_len, model.dtype, device)
    if any(len(row) < longest for row in rows):
        cache.start = torch.tensor([longest - len(row) for row in rows], device=device)
    states = model.hidden(padded, cache=cache)
    return cache, model.logits(states[:, -1])
