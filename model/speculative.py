"""Speculative decoding: something cheap drafts, one forward checks, and nothing changes.

    draft     x'_1..x'_m behind the last token that is certain
    check     one forward over that token and the draft says what would be written at each place
    accept    the draft up to where it says something else, and what is written there instead

A token is drawn by a race that its place decides (`sampling.py`), for the draft as for the check. So a draft is accepted where the two
say the same, and what is written is what would be written without drafts, whether the most probable token is taken or one is drawn: to
the last token where a token's bits hang on nothing computed beside it (`few_tokens.py`), elsewhere but for rounding.

Who drafts: a *sketch*, the same decoder with 8-bit matrices, which read a quarter of the bytes and mostly say the same; or the model's
own heads for tokens further ahead. A draft leaves nothing in the cache.

Limits: a sketch needs compiled code, and pays where a token waits for fp32 weights to come from memory: for large ones and few rows.
Heads that predict apart ('mlp') do not know the draft before them, so the later ones are accepted less often. A chain ('deepseek') is
told it, but runs its layers over the whole row for every draft: right, and slow in long rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.cache import SPARE, KVCache
from model.config import DecoderConfig
from model.decoder import Decoder
from model.inference import Ready
from model.mtp import ChainHead

WAYS = ("auto", "sketch", "heads", "off")
LENGTHS = (1, 3, 7)  # of a sketch's drafts
TOKENS = 16  # of all rows that a check reads: as many wait for the weights to come from memory, more take longer than that
ROWS = {"float": 2, "bfloat16": 2, "in_pieces": 4}  # as many are worth a sketch, by the weights that check it
WEIGHTS = 128 << 20  # bytes of fp32: as many are worth a sketch, which costs about a millisecond a token beside reading its own

Choose = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # logits [B, 1, V], ids [B, N], their lengths [B, 1], place -> tokens [B, 1]


def can_draft(config: DecoderConfig) -> bool:
    """Whether the model has heads of its own for tokens further ahead."""
    return config.mtp_k > 1 and config.mtp_kind != "shared"


def drafter(model: Decoder, way: str) -> Drafter:
    """Who drafts, by one of WAYS. auto: a sketch where it pays; off a CPU the heads, where there are some.

    ValueError for what this model or this machine cannot do.
    """
    if way not in WAYS:
        raise ValueError(f"drafts come by {', '.join(WAYS)}, not by '{way}'")
    if way == "heads" or (way == "auto" and model.embedding.weight.device.type != "cpu" and can_draft(model.config)):
        return HeadDrafter(model)
    if isinstance(model, Ready) and model.few is not None:
        pays = model.dtype == torch.float32 and sum(p.nbytes for p in model.parameters()) >= WEIGHTS
        return SketchDrafter(model) if way == "sketch" or (way == "auto" and pays) else Drafter()
    if way == "sketch":
        raise ValueError("a sketch needs a plain shape, made ready (`prepare`), a CPU and a C++ compiler")
    return Drafter()


@dataclass
class Speculation:
    """What became of the drafts, over all rows."""

    checks: int = 0  # forwards that checked a draft, counted per row
    drafted: int = 0  # tokens
    accepted: int = 0

    def count(self, drafted: int, accepted: list[int]) -> None:
        """Add a check: of so many tokens in each row were accepted."""
        self.checks += len(accepted)
        self.drafted += drafted * len(accepted)
        self.accepted += sum(accepted)

    @property
    def mean_length(self) -> float:
        """Tokens per check: those accepted and the one that follows them. 1: no draft was ever right; K: all were."""
        return 1 + self.accepted / max(1, self.checks)


class Drafter:
    """Who drafts for the rows of a cache. This one drafts nothing, and what it is told is of no use to it."""

    def keep(self, h: Tensor, rows: Tensor, at: Tensor) -> None:
        """The trunk's states [n, T, d] of the tokens from `at` [n] on in these rows [n], the first time in all of them."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows."""

    def learn(self, drafted: int, accepted: list[int]) -> None:
        """So many tokens were drafted for each row, and so many of them accepted in each."""

    def draft(self, h: Tensor, token: Tensor, cache: KVCache, room: int, choose: Choose) -> Tensor:
        """Tokens behind the pending one, [B, m], m at most `room`; the cache is left as it was.

        h [B, d] is the trunk's state of the last token in the cache, token [B] the pending one behind it.
        """
        return token.new_empty(len(token), 0)


class SketchDrafter(Drafter):
    """Drafts by the model with 8-bit matrices. They grow longer where all of one is right, and shorter where half is not."""

    def __init__(self, model: Ready) -> None:
        assert model.few is not None
        self.model, self.level, self.rows = model, 1, ROWS[model.few.weights]

    def learn(self, drafted: int, accepted: list[int]) -> None:
        right = sum(accepted) / (drafted * len(accepted))
        self.level = min(max(self.level + (right == 1) - (right < 0.5), 0), len(LENGTHS) - 1)

    def draft(self, h: Tensor, token: Tensor, cache: KVCache, room: int, choose: Choose) -> Tensor:
        rows = len(token)
        most = min(LENGTHS[self.level], TOKENS // rows - 1, room) if rows <= self.rows else 0
        drafts, before = [token[:, None]], cache.lengths
        for place in range(most):
            logits = self.model.sketch(drafts[-1], cache=cache)
            drafts.append(choose(logits, cache.ids, cache.lengths[:, None], place))
        if most:
            cache.cut(before)
        return torch.cat(drafts, 1)[:, 1:]


class HeadDrafter(Drafter):
    """Drafts by the model's heads for tokens further ahead. ValueError for a model without."""

    def __init__(self, model: Decoder) -> None:
        if model.mtp is None:
            raise ValueError(
                f"this decoder has no heads to draft with (mtp_k {model.config.mtp_k}, mtp_kind '{model.config.mtp_kind}'): "
                "that needs mtp_k of 2 or more, of the kind mlp or deepseek"
            )
        self.model, self.heads = model, list(model.mtp)
        self.most = min(len(self.heads), SPARE)  # as many can be taken back from a cache
        self.chain = isinstance(self.heads[0], ChainHead)
        self.states: Tensor | None = None  # [B, capacity, d], the trunk's, for a chain

    def keep(self, h: Tensor, rows: Tensor, at: Tensor) -> None:
        if not self.chain:
            return
        if self.states is None:
            self.states = torch.zeros_like(h)
        places = at[:, None] + torch.arange(h.shape[1], device=h.device)
        need = int(places.max()) + 1
        if need > self.states.shape[1]:
            self.states = F.pad(self.states, (0, 0, 0, 1 << need.bit_length()))
        self.states[rows[:, None], places] = h

    def select(self, rows: Tensor) -> None:
        self.states = None if self.states is None else self.states[rows]

    def draft(self, h: Tensor, token: Tensor, cache: KVCache, room: int, choose: Choose) -> Tensor:
        model, m, lengths = self.model, min(self.most, room), cache.lengths
        ids = F.pad(cache.ids[:, : cache.longest], (0, 1 + m)).scatter(1, lengths[:, None], token[:, None])
        apart = None if self.chain or not m else model.logits(model.norm(torch.stack([head(h) for head in self.heads[:m]], 1)))
        chain = self.states[:, : cache.longest] if self.chain and self.states is not None else h
        for place in range(m):
            if apart is None:
                chain = self._next_of_chain(chain, ids, place)
                last = chain.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, chain.shape[-1]))
                logits = model.logits(model.norm(last))
            else:
                logits = apart[:, place : place + 1]
            behind = lengths[:, None] + 1 + place
            ids = ids.scatter(1, behind, choose(logits, ids, behind, place))
        return ids.gather(1, lengths[:, None] + 1 + torch.arange(m, device=ids.device))

    def _next_of_chain(self, h: Tensor, ids: Tensor, place: int) -> Tensor:
        """States [B, N, d] one token further ahead, over whole rows."""
        N = h.shape[1]
        step = self.model._step(ids[:, :N], None, None, None, 0, False)
        return self.heads[place](h, self.model.embedding(ids[:, 1 + place : 1 + place + N]).to(h.dtype), step)
