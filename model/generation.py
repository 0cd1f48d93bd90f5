"""Generation: token by token with a key/value cache, one prompt or many, plain or with drafts.

Every row has its own seed (seed + row), so a row's tokens do not depend on its neighbours, and the same seed gives the same
text, with drafts or without (`speculative.py`). Rows that end leave the batch. When a row's window is full, the newer half of
it is read again and generation goes on; a repetition penalty looks as far back as the window does.

What is the same in exact arithmetic is the same here up to rounding: reading several tokens at once adds up in another order than
one by one, but where compiled code does it (`few_tokens.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from model.cache import KVCache
from model.decoder import Decoder
from model.sampling import Sampling, Seeds, filtered, penalised, race
from model.speculative import Drafter, Speculation, drafter
from model.text import Piece, TextStream

__all__ = ["Piece", "Sampling", "Speculation", "TextStream", "drafter", "filtered", "generate", "stream"]


def stream(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    text: Callable[[list[int]], str] | None = None,
    speculative: str = "auto",
    stats: Speculation | None = None,
) -> Iterator[list[Piece]]:
    """Yields, step by step, what is new in each row: a `Piece` per prompt, empty for a row that has ended or waits.

    Args:
        prompts: token ids, none of the prompts empty; of a prompt longer than the window the end is read.
        text: reads a row of tokens as text; then pieces carry text, and `sampling.stop_strings` can be had.
        speculative: who drafts, one of `speculative.WAYS`; the text is the same. A step gives one token or more.
        stats: counts what was drafted and accepted.

    Raises:
        ValueError: an empty prompt, stop strings without `text`, drafts that cannot be had.
    """
    if not prompts or any(len(p) == 0 for p in prompts):
        raise ValueError("every prompt needs at least one token")
    told = [TextStream(text, sampling.stop_strings) for _ in prompts]
    return _steps(Writer(model, prompts, sampling, drafter(model, speculative), stats or Speculation()), told, sampling)


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    text: Callable[[list[int]], str] | None = None,
    speculative: str = "auto",
    stats: Speculation | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt; arguments of `stream`."""
    found: list[list[int]] = [[] for _ in prompts]
    for pieces in stream(model, prompts, sampling, text, speculative, stats):
        for row, piece in enumerate(pieces):
            found[row] += piece.tokens
    return found


def _steps(writer: Writer, told: list[TextStream], sampling: Sampling) -> Iterator[list[Piece]]:
    """Cut what the writer gives where a row ends, and take rows that have ended away from it."""
    live, written = list(range(len(told))), [0] * len(told)
    if not sampling.max_tokens:
        return
    while live:
        pieces, on = [Piece([])] * len(told), []
        for place, tokens in enumerate(writer.step()):
            row = live[place]
            tokens = tokens[: sampling.max_tokens - written[row]]
            stop = next((i for i, token in enumerate(tokens) if token in sampling.stop), None)
            tokens = tokens[:stop]
            written[row] += len(tokens)
            piece = told[row].push(tokens)
            if stop is None and written[row] < sampling.max_tokens and not told[row].ended:
                on.append(place)
            else:
                rest = told[row].end()
                piece = Piece(piece.tokens + rest.tokens, piece.text + rest.text)
            pieces[row] = piece
        if any(piece.tokens or piece.text for piece in pieces):
            yield pieces
        if len(on) < len(live):
            live = [live[place] for place in on]
            if live:
                writer.select(on)


class Writer:
    """The rows that are being written: their tokens, their cache, and what is drafted for them.

    Behind a step the cache holds all of a row but its last token; `next` [B, 1 + m] is that token and the draft.
    """

    def __init__(self, model: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling, drafter: Drafter, stats: Speculation) -> None:
        self.model, self.sampling, self.drafter, self.stats = model, sampling, drafter, stats
        self.device, self.window = model.embedding.weight.device, model.config.max_seq_len
        self.rows = [list(p) for p in prompts]
        self.seeds = Seeds(sampling.seed, len(prompts), self.device)
        self.cache: KVCache | None = None
        self.next = torch.empty(len(prompts), 1, dtype=torch.long, device=self.device)
        model.rope.table(self.window, self.device)  # a table made in inference mode could not be trained with afterwards

    @torch.inference_mode()
    def select(self, rows: list[int]) -> None:
        """Keep these rows, in this order."""
        assert self.cache is not None
        index = torch.tensor(rows, device=self.device)
        self.rows = [self.rows[row] for row in rows]
        self.seeds.select(index)
        self.cache.select(index)
        self.next = self.next[index]
        self.drafter.select(index)

    @torch.inference_mode()
    def step(self) -> list[list[int]]:
        """Read each row's last token and its draft; returns each row's new tokens, at least one."""
        h, cache = self._read()  # [B, 1 + m, d]
        m, every = h.shape[1] - 1, self._all
        upto = cache.lengths[:, None] - m + torch.arange(1 + m, device=self.device)
        said = self._chosen(self.model.logits(self.model.norm(h)), cache.ids, upto, 0)  # [B, 1 + m]
        right = (said[:, :m] == self.next[:, 1:]).long().cumprod(1).sum(1)  # [B] of the draft
        accepted, token = right.tolist(), said[every, right]
        found = [new[: n + 1] for new, n in zip(said.tolist(), accepted, strict=True)]
        for row, new in zip(self.rows, found, strict=True):
            row += new
        if m:
            cache.cut(cache.lengths - m + right)
            self.stats.count(m, accepted)
            self.drafter.learn(m, accepted)
        draft = self.drafter.draft(h[every, right], token, cache, max(0, self.window - 1 - cache.longest), self._chosen)
        self.next = torch.cat((token[:, None], draft), 1)
        return found

    def _chosen(self, logits: Tensor, ids: Tensor, lengths: Tensor, behind: int) -> Tensor:
        """The tokens [B, J] that logits [B, J, V] give behind the first lengths [B, J] of `ids`: the first of them so many `behind` a
        row's last."""
        logits = penalised(logits, ids, lengths, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            return logits.argmax(-1)
        places = torch.tensor([len(row) for row in self.rows], device=self.device)[:, None] + behind
        return race(filtered(logits, self.sampling), self.seeds.keys(places + torch.arange(logits.shape[1], device=self.device)))

    def _read(self) -> tuple[Tensor, KVCache]:
        """Run `next` through the model, the first time the prompts: states [B, 1 + m, d]."""
        if self.cache is None:
            return self._begin([row[-max(1, self.window - 1) :] for row in self.rows])
        if self.cache.longest >= self.window:
            self._make_room(self.cache)
        before = self.cache.lengths
        h = self.model.trunk(self.next, cache=self.cache)
        self.drafter.keep(h, self._all, before)
        return h, self.cache

    def _begin(self, prompts: list[list[int]]) -> tuple[Tensor, KVCache]:
        lengths = torch.tensor([len(row) for row in prompts], device=self.device)
        longest = max(map(len, prompts))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in prompts], device=self.device)
        self.cache = self._empty(len(prompts))
        h = self.model.trunk(padded, cache=self.cache, lengths=None if min(map(len, prompts)) == longest else lengths)
        self.drafter.keep(h, self._all, torch.zeros_like(lengths))
        return h[self._all, lengths - 1][:, None], self.cache

    def _make_room(self, cache: KVCache) -> None:
        """Rows whose window is full lose the older half; of the rest, all but the last token is read again, apart from the others."""
        full = (cache.lengths >= self.window).nonzero()[:, 0]
        kept = max(0, self.window // 2 - 1)
        fresh = self._empty(len(full))
        if kept:
            h = self.model.trunk(torch.tensor([self.rows[row][-kept - 1 : -1] for row in full.tolist()], device=self.device), cache=fresh)
            self.drafter.keep(h, full, torch.zeros_like(full))
        cache.put(full, fresh)

    def _empty(self, rows: int) -> KVCache:
        return KVCache(self.model.config, rows, self.model.dtype, self.device, self.model.looping)

    @property
    def _all(self) -> Tensor:
        return torch.arange(len(self.rows), device=self.device)
