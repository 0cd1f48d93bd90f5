"""Generation: token by token with a key/value cache, one prompt or many, plain or with drafts.

Every row draws from its own generator (seed + row), so a row's tokens do not depend on its neighbours, and the same seed
gives the same text. Rows that end leave the batch. When a row's window is full, the newer half of it is read again and
generation goes on; a repetition penalty looks as far back as the window does.

With drafts (`speculative.py`) the model's own extra heads propose tokens and one forward checks them all: the same tokens
when the most probable is taken, the same distribution when it is drawn, though from other random numbers. What is the same in
exact arithmetic is the same here up to rounding: reading several tokens at once adds up in another order than one by one, but where
compiled code does it (`few_tokens.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from model.cache import KVCache
from model.decoder import Decoder
from model.sampling import Sampling, Uniforms, draw, filtered, penalised
from model.speculative import Drafter, Speculation, can_draft, verify
from model.text import Piece, TextStream

__all__ = ["Piece", "Sampling", "Speculation", "TextStream", "can_draft", "filtered", "generate", "stream"]


def stream(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    text: Callable[[list[int]], str] | None = None,
    speculative: bool | None = False,
    stats: Speculation | None = None,
) -> Iterator[list[Piece]]:
    """Yields, step by step, what is new in each row: a `Piece` per prompt, empty for a row that has ended or waits.

    Args:
        prompts: token ids, none of the prompts empty; of a prompt longer than the window the end is read.
        text: reads a row of tokens as text; then pieces carry text, and `sampling.stop_strings` can be had.
        speculative: drafts by the model's own heads; None: where it has them. A step then gives one token or more.
        stats: counts what was drafted and accepted.

    Raises:
        ValueError: an empty prompt, stop strings without `text`, drafts from a model that cannot draft.
    """
    if not prompts or any(len(p) == 0 for p in prompts):
        raise ValueError("every prompt needs at least one token")
    drafter = Drafter(model) if speculative or (speculative is None and can_draft(model.config)) else None
    told = [TextStream(text, sampling.stop_strings) for _ in prompts]
    return _steps(Writer(model, prompts, sampling, drafter, stats or Speculation()), told, sampling)


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    text: Callable[[list[int]], str] | None = None,
    speculative: bool | None = False,
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
    """The rows that are being written: their tokens, their cache, their random numbers, and what is drafted for them.

    Behind a step the cache holds all of a row but its last token; `next` [B, 1 + m] is that token and the draft, `guess`
    [B, m, V] what the draft was drawn from (None where the most probable is taken).
    """

    def __init__(
        self, model: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling, drafter: Drafter | None, stats: Speculation
    ) -> None:
        self.model, self.sampling, self.drafter, self.stats = model, sampling, drafter, stats
        self.device, self.window = model.embedding.weight.device, model.config.max_seq_len
        self.rows = [list(p) for p in prompts]
        self.uniforms = Uniforms(sampling.seed, len(prompts), self.device)
        self.cache: KVCache | None = None
        self.next = torch.empty(len(prompts), 1, dtype=torch.long, device=self.device)
        self.guess: Tensor | None = None
        model.rope.table(self.window, self.device)  # a table made in inference mode could not be trained with afterwards

    @torch.inference_mode()
    def select(self, rows: list[int]) -> None:
        """Keep these rows, in this order."""
        assert self.cache is not None
        index = torch.tensor(rows, device=self.device)
        self.rows = [self.rows[row] for row in rows]
        self.uniforms.select(rows)
        self.cache.select(index)
        self.next, self.guess = self.next[index], None if self.guess is None else self.guess[index]
        if self.drafter is not None:
            self.drafter.select(index)

    @torch.inference_mode()
    def step(self) -> list[list[int]]:
        """Read each row's last token and its draft; returns each row's new tokens, at least one."""
        model, sampling = self.model, self.sampling
        h, cache, read = self._read()
        logits = model.logits(model.norm(h))  # [B, J, V], J = 1 + m
        if sampling.repetition_penalty != 1:
            upto = cache.lengths[:, None] - read[:, None] + 1 + torch.arange(h.shape[1], device=self.device)
            logits = penalised(logits, cache.ids, torch.minimum(upto, cache.lengths[:, None]), sampling.repetition_penalty)
        if self.drafter is None:
            last = logits[:, 0]
            token = last.argmax(-1) if sampling.temperature == 0 else draw(filtered(last, sampling), self.uniforms.take(1)[:, 0])
            self.next = token[:, None]
            found = self.next.tolist()
        else:
            found = self._checked(h, logits, read, self.drafter)
        for row, new in zip(self.rows, found, strict=True):
            row += new
        return found

    def _checked(self, h: Tensor, logits: Tensor, read: Tensor, drafter: Drafter) -> list[list[int]]:
        """Accept of the draft what may be, draw one token behind it, draft anew."""
        assert self.cache is not None
        uniforms = self.uniforms.take(2 * drafter.most + 1)  # as many in every step: what a row gets hangs on its own steps only
        accepted, token = verify(logits, self.next[:, 1:], self.guess, read, self.sampling, uniforms[:, drafter.most :])
        self.stats.count(read - 1, accepted)
        self.cache.cut(self.cache.lengths - read + 1 + accepted)
        found = torch.cat((self.next[:, 1:], token[:, None]), 1).scatter(1, accepted[:, None], token[:, None]).tolist()
        found = [new[: n + 1] for new, n in zip(found, accepted.tolist(), strict=True)]
        last = h[torch.arange(len(h), device=self.device), accepted]
        drafts, self.guess = drafter.draft(last, token, self.cache, self.sampling, uniforms[:, : drafter.most])
        self.next = torch.cat((token[:, None], drafts), 1)
        return found

    def _read(self) -> tuple[Tensor, KVCache, Tensor]:
        """Run `next` through the model: states [B, 1 + m, d], and how many of the 1 + m were read in each row."""
        cache, J = self.cache, self.next.shape[1]
        if cache is None:
            return self._read_again(None)
        room = None
        if cache.longest + J > self.window:
            room = (self.window - cache.lengths).clamp(max=J)
            if not bool(room.all()):
                return self._read_again(room.tolist())
        before = cache.lengths
        h = self.model.trunk(self.next, cache=cache, lengths=room)
        if self.drafter is not None:
            self.drafter.keep(h, before)
        return h, cache, cache.lengths - before

    def _read_again(self, room: list[int] | None) -> tuple[Tensor, KVCache, Tensor]:
        """Rows from their beginning into a new cache: prompts, or rows of which at least one has no room and loses its older half."""
        J = self.next.shape[1]
        if room is None or self.cache is None:
            read, rows = [1] * len(self.rows), [row[-max(1, self.window - 1) :] for row in self.rows]
        else:
            read, rows = [max(1, n) for n in room], []
            for row, n, drafts, length in zip(self.rows, room, self.next[:, 1:].tolist(), self.cache.lengths.tolist(), strict=True):
                rows.append(row[-(length + 1) :] + drafts[: n - 1] if n else row[-max(1, self.window // 2) :])
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
        self.cache = KVCache(self.model.config, len(rows), self.model.dtype, self.device, self.model.looping)
        even = all(len(row) == longest for row in rows)
        h = self.model.trunk(padded, cache=self.cache, lengths=None if even else lengths)
        if self.drafter is not None:
            self.drafter.keep(h, None)
        counts = torch.tensor(read, device=self.device)
        at = (lengths - counts)[:, None] + torch.arange(J, device=self.device)
        return h[torch.arange(len(h), device=self.device)[:, None], at.clamp(max=longest - 1)], self.cache, counts
