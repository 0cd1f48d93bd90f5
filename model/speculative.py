"""Speculative decoding with the model's own extra heads: they draft, one forward checks, nothing is lost.

    draft     x'_1..x'_m, drawn from q_1..q_m, the heads' distributions at the last token that is certain
    check     one forward over the pending token and the draft gives p_0..p_m
    accept    x'_j with probability min(1, p_{j-1}(x'_j) / q_j(x'_j)), up to the first that is not
    go on     with one token from max(p - q, 0) of the rejected place, or from p_m when all were accepted

Tokens so found have the distribution p, whatever q is (Leviathan et al. 2023); p and q pass the same penalty and filters.
When the most probable token is taken, a draft is accepted where it is that token. The cache is cut back to what is certain.

Limits: heads that predict apart ('mlp') do not know the draft before them, so the later ones are accepted less often. A chain
('deepseek') is told it, but runs its layers over the whole row for every draft: right, and slow in long rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.cache import SPARE, KVCache
from model.config import DecoderConfig
from model.decoder import Decoder
from model.mtp import ChainHead
from model.sampling import Sampling, draw, filtered, penalised


def can_draft(config: DecoderConfig) -> bool:
    """Whether the model has heads of its own for tokens further ahead."""
    return config.mtp_k > 1 and config.mtp_kind != "shared"


@dataclass
class Speculation:
    """What became of the drafts, over all rows."""

    checks: int = 0  # forwards that checked a draft, counted per row
    drafted: int = 0  # tokens
    accepted: int = 0

    def count(self, drafted: Tensor, accepted: Tensor) -> None:
        """Add a step: [B] tokens that were checked and accepted in each row."""
        checks, more, taken = torch.stack(((drafted > 0).sum(), drafted.sum(), accepted.sum())).tolist()
        self.checks, self.drafted, self.accepted = self.checks + checks, self.drafted + more, self.accepted + taken

    @property
    def mean_length(self) -> float:
        """Tokens per check: those accepted and the one that follows them. 1: no draft was ever right; K: all were."""
        return 1 + self.accepted / max(1, self.checks)


class Drafter:
    """Drafts for the rows of a cache. ValueError for a model without heads of its own."""

    def __init__(self, model: Decoder) -> None:
        if model.mtp is None:
            raise ValueError(
                f"this decoder has no heads to draft with (mtp_k {model.config.mtp_k}, mtp_kind '{model.config.mtp_kind}'): "
                "speculative decoding needs mtp_k of 2 or more, of the kind mlp or deepseek"
            )
        self.model, self.heads = model, list(model.mtp)
        self.most = min(len(self.heads), SPARE)  # as many can be taken back from a cache
        self.chain = isinstance(self.heads[0], ChainHead)
        self.states: Tensor | None = None  # [B, capacity, d], the trunk's, for a chain

    def keep(self, h: Tensor, at: Tensor | None) -> None:
        """The trunk's states [B, T, d] of the tokens from `at` [B] on; None: a new beginning."""
        if not self.chain:
            return
        if at is None or self.states is None:
            self.states = h
            return
        places = at[:, None] + torch.arange(h.shape[1], device=h.device)
        need = int(places.max()) + 1
        if need > self.states.shape[1]:
            self.states = F.pad(self.states, (0, 0, 0, 1 << need.bit_length()))
        self.states = self.states.scatter(1, places[..., None].expand_as(h), h)

    def select(self, rows: Tensor) -> None:
        """Keep these rows."""
        self.states = None if self.states is None else self.states[rows]

    def draft(self, h: Tensor, token: Tensor, cache: KVCache, sampling: Sampling, uniforms: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens behind the pending one, [B, m], and what they were drawn from, [B, m, V] (None at temperature 0).

        h [B, d] is the trunk's state of the last token in the cache, token [B] the pending one behind it, uniforms [B, m].
        """
        model, m, lengths = self.model, self.most, cache.lengths
        ids = F.pad(cache.ids[:, : cache.longest], (0, 1 + m)).scatter(1, lengths[:, None], token[:, None])
        apart = None if self.chain else model.logits(model.norm(torch.stack([head(h) for head in self.heads[:m]], 1)))  # [B, m, V]
        chain = self.states[:, : cache.longest] if self.chain and self.states is not None else h
        guesses = []
        for place in range(m):
            if apart is None:
                chain = self._next_of_chain(chain, ids, place)
                last = chain.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, chain.shape[-1]))
                logits = model.logits(model.norm(last))
            else:
                logits = apart[:, place : place + 1]
            logits = penalised(logits, ids, lengths[:, None] + 1 + place, sampling.repetition_penalty)[:, 0]
            if sampling.temperature == 0:
                token = logits.argmax(-1)
            else:
                guesses.append(filtered(logits, sampling))
                token = draw(guesses[-1], uniforms[:, place])
            ids = ids.scatter(1, lengths[:, None] + 1 + place, token[:, None])
        drafts = ids.gather(1, lengths[:, None] + 1 + torch.arange(m, device=ids.device))
        return drafts, torch.stack(guesses, 1) if guesses else None

    def _next_of_chain(self, h: Tensor, ids: Tensor, place: int) -> Tensor:
        """States [B, N, d] one token further ahead, over whole rows."""
        N = h.shape[1]
        step = self.model._step(ids[:, :N], None, None, None, 0, False)
        return self.heads[place](h, self.model.embedding(ids[:, 1 + place : 1 + place + N]).to(h.dtype), step)


def verify(
    logits: Tensor, drafts: Tensor, guess: Tensor | None, read: Tensor, sampling: Sampling, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Accept a beginning of each draft, and draw one token behind it.

    Args:
        logits: [B, 1 + m, V] behind the pending token and each of the draft.
        drafts: [B, m].
        guess: [B, m, V] distributions the drafts were drawn from; None at temperature 0.
        read: [B] how many of the 1 + m were read: what lies behind is not accepted.
        uniforms: [B, n] numbers in [0, 1), n > m.

    Returns:
        [B] tokens accepted, and [B] the token behind them.
    """
    m, rows = drafts.shape[1], torch.arange(len(drafts), device=drafts.device)
    possible = torch.arange(m, device=drafts.device) < read[:, None] - 1
    if sampling.temperature == 0:
        best = logits.argmax(-1)
        accepted = ((drafts == best[:, :m]) & possible).long().cumprod(1).sum(1)
        return accepted, best[rows, accepted]
    p = filtered(logits, sampling)
    if guess is None or not m:
        return torch.zeros_like(read), draw(p[:, 0], uniforms[:, m])
    p_of, q_of = (x.gather(2, drafts[..., None])[..., 0] for x in (p[:, :m], guess))
    accepted = ((uniforms[:, :m] * q_of < p_of) & possible).long().cumprod(1).sum(1)
    behind = p[rows, accepted]
    rejected = (accepted < read - 1)[:, None]
    rest = (behind - guess[rows, accepted.clamp(max=m - 1)] * rejected).clamp(min=0)
    rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, behind)  # where rounding left nothing
    return accepted, draw(rest, uniforms[:, m])
