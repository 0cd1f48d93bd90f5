"""The decoder: token ids in, next-token logits out; one block repeated, readable as the equations.

    x = E[ids];  x += Attention(norm(x));  x += FFN(norm(x));  logits = norm(x) Eᵀ

Every option of `config.py` has its place in a module beside this one; here they are put together. `dtype` is the dtype of
the activations; weights stay fp32 masters unless the model itself is cast.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import Step
from model.cache import KVCache
from model.config import DecoderConfig
from model.heads import DecisionHead, PatchEncoder
from model.init import init_weights
from model.inputs import Bigram, Smear, ValueEmbedding, beginnings
from model.layers import Embedding, Linear, RMSNorm, product, rms_norm
from model.loss import linear_cross_entropy, token_losses
from model.masks import Sight
from model.mtp import ChainHead, build_mtp
from model.rope import Rope
from model.schema import role
from model.stream import Block, Skips, visits


class Decoder(nn.Module):
    """A causal language model.

    `looping` switches depth recurrence, where the config has it; `attention_path` chooses among the paths of `masks.py`;
    `recompute` keeps only each layer's input for the backward pass and runs the layer again there: less memory, a third slower.
    """

    def __init__(self, config: DecoderConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        c = config
        self.config, self.dtype, self.rope = config, dtype, Rope(config)
        self.attention_path, self.recompute, self.looping = "auto", False, c.loop is not None
        self.embedding = Embedding(c.padded_vocab_size, c.d_model)
        self.bigram = Bigram(c.bigram_hash, c.d_model) if c.bigram_hash is not None else None
        self.smear = Smear(c.smear, c.d_model, c.gate_window) if c.smear != "none" else None
        narrow = c.value_embed is not None and c.value_embed.kind == "shared"
        self.value_embed = ValueEmbedding(c, c.value_embed.dim) if narrow and c.value_embed is not None else None
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.n_layer))
        self.skips = Skips(c) if c.unet_skips != "none" else None
        self.backout = nn.Parameter(torch.empty(1)) if c.backout else None
        self.norm = RMSNorm(c.d_model, c.norm_eps, c.norm_affine)
        self.head = None if c.tie_embeddings else Linear(c.d_model, c.padded_vocab_size)
        self.mtp = build_mtp(c)
        self.decision = DecisionHead(c) if c.decision_classes else None
        affine = c.norm_affine
        self.chart = PatchEncoder(c.chart_encoder, c.d_model, c.norm_eps, affine) if c.chart_encoder is not None else None

    def init_weights(self, seed: int = 0) -> Decoder:
        """Same config and seed, same bits."""
        init_weights(self, self.config, seed)
        return self

    def roles(self) -> dict[str, str]:
        """Parameter name -> 'embed', 'head', 'matrix' or 'vector': decides the optimizer."""
        return {name: role(name) for name, _ in self.named_parameters()}

    def embed(self, ids: Tensor, documents: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """[B, T] ids -> what the first block reads, [B, T, d]."""
        c, before = self.config, 0
        if cache is not None and cache.longest and (self.bigram is not None or self.smear is not None):
            before = 2  # as far back as a pair and its smear reach
            ids = torch.cat((cache.previous(before), ids), 1)
        x = self.embedding(ids.clamp(min=0) if before else ids)
        begins = beginnings(ids, documents, c.bos_id) if self.bigram is not None or self.smear is not None else None
        if self.bigram is not None and begins is not None:
            x = x + self.bigram(ids, begins)
        x = (x * c.embed_multiplier if c.embed_multiplier != 1 else x).to(self.dtype)
        if c.embed_norm:
            x = rms_norm(x, None, c.norm_eps)
        if self.smear is not None and begins is not None:
            pairs = begins if c.smear == "gate" else beginnings(ids, documents, -1)
            x = self.smear(x, pairs)
        x = x[:, before:]
        return F.dropout(x, c.dropout, self.training) if c.dropout else x

    def trunk(
        self,
        ids: Tensor,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        lengths: Tensor | None = None,
        images: Tensor | None = None,
        bidirectional: bool = False,
    ) -> Tensor:
        """[B, T] ids -> the stream behind the last block, [B, T, d], before the last norm.

        documents [B, T]: tokens see their own document only (-1: padding). cache is read and extended; lengths [B] says how
        many of the T are real, where rows are padded on the right. images [B, C, H, W] are read before the tokens, in the
        first token's document; states of their patches are not returned. ValueError for more than max_seq_len tokens.
        """
        x = self.embed(ids, documents, cache)
        prefix = 0
        if images is not None:
            x, ids, documents, lengths, prefix = self._with_prefix(x, ids, documents, cache, lengths, images)
        step = self._step(ids, documents, cache, lengths, prefix, bidirectional)
        if self.value_embed is not None:
            step.embedded = self.value_embed(ids.clamp(min=0), x.dtype) * (ids >= 0)[..., None]  # patches have none
        x = self._through(x, step)
        if cache is not None:
            cache.advance()
        return x[:, prefix:]

    def _through(self, x: Tensor, step: Step) -> Tensor:
        """Every run of every layer."""
        x0, middle, other = x, x, None
        skips: list[Tensor] = []
        way = visits(self.config, self.looping)
        for slot, visit in enumerate(way):
            if visit.pop >= 0 and self.skips is not None:
                skip = skips.pop()
                other = None if other is None else self.skips(other, skip, visit.pop)
                x = self.skips(x, skip, visit.pop)
            block = self.blocks[visit.layer]
            if self.recompute and torch.is_grad_enabled():
                x, other = checkpoint(block, x, other, x0, step, slot, use_reentrant=False, preserve_rng_state=bool(self.config.dropout))
            else:
                x, other = block(x, other, x0, step, slot)
            if visit.push:
                skips.append(x)
            if slot == len(way) // 2 - 1:
                middle = x
        x = x if other is None else (x + other) / 2
        return x if self.backout is None else x - self.backout.to(x.dtype) * middle

    def _step(
        self, ids: Tensor, documents: Tensor | None, cache: KVCache | None, lengths: Tensor | None, prefix: int, bidirectional: bool
    ) -> Step:
        T, c = ids.shape[1], self.config
        if cache is not None and (documents is not None or bidirectional):
            raise ValueError("a cache holds one document per row and is causal: leave documents and bidirectional out")
        if c.max_seq_len < T:
            raise ValueError(f"{T} tokens do not fit in max_seq_len {c.max_seq_len}")
        if cache is None:
            rope = self.rope.table(T, ids.device)[:, :T]
        else:
            at = cache.begin(ids, lengths)
            rope = self.rope.table(min(cache.longest + T, c.max_seq_len), ids.device)
            rope = rope[:, at] if isinstance(at, slice) else rope[:, at.clamp(max=rope.shape[1] - 1)].unsqueeze(2)
        open_prefix = prefix if c.chart_encoder is not None and c.chart_encoder.bidirectional else 0
        return Step(rope, Sight(T, ids.device, documents, bidirectional, open_prefix, self.attention_path), ids, cache)

    def _with_prefix(
        self, x: Tensor, ids: Tensor, documents: Tensor | None, cache: KVCache | None, lengths: Tensor | None, images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, int]:
        if self.chart is None:
            raise ValueError("this decoder has no chart encoder: images cannot be read")
        if cache is not None and cache.longest:
            raise ValueError("an image is read before the first token: the cache must be empty")
        patches = self.chart(images, self.dtype)
        n = patches.shape[1]
        ids = torch.cat((ids.new_full((len(ids), n), -1), ids), 1)
        if documents is not None:
            documents = torch.cat((documents[:, :1].expand(-1, n), documents), 1)
        return torch.cat((patches, x), 1), ids, documents, None if lengths is None else lengths + n, n

    def hidden(self, ids: Tensor, documents: Tensor | None = None, cache: KVCache | None = None, **more: Any) -> Tensor:
        """[B, T] ids -> normed states [B, T, d]; arguments of `trunk`."""
        return self.norm(self.trunk(ids, documents, cache, **more))

    @property
    def table(self) -> Tensor:
        """The head's rows that are tokens, [V, d]: padding rows never get probability."""
        weight, tokens = (self.embedding if self.head is None else self.head).weight, self.config.vocab_size
        return weight if len(weight) == tokens else weight[:tokens]

    @property
    def logit_scale(self) -> float:
        """What the head's products are multiplied with: 1, or muP's share."""
        return self.config.logit_multiplier / self.config.width_ratio

    def scores(self, hidden: Tensor) -> Tensor:
        """Normed states [..., d] times the head's rows, [..., V] in fp32."""
        return product(hidden, self.table).float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Normed states [..., d] -> logits [..., V] in fp32."""
        logits = self.scores(hidden)
        logits = logits * self.logit_scale if self.logit_scale != 1 else logits
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(self, ids: Tensor, documents: Tensor | None = None, cache: KVCache | None = None, **more: Any) -> Tensor:
        """[B, T] ids -> logits [B, T, V] in fp32; arguments of `trunk`."""
        return self.logits(self.hidden(ids, documents, cache, **more))

    def nats(self, hidden: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weighted mean cross-entropy of normed states [..., d] against targets [...]; IGNORED ones do not count."""
        return linear_cross_entropy(hidden, self.table, targets, weights, self.logit_scale, self.config.logit_softcap)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each target, [...] fp32, 0 where it is IGNORED. Without gradients."""
        losses = token_losses(hidden.flatten(0, -2), self.table, targets.flatten(), self.logit_scale, self.config.logit_softcap)
        return losses.view(targets.shape)

    def loss(self, ids: Tensor, targets: Tensor, weights: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Next-token loss in nats without ever holding the batch's logits; IGNORED targets do not count."""
        return self.nats(self.hidden(ids, documents), targets, weights)

    def ahead(self, h: Tensor, ids: Tensor, documents: Tensor | None = None) -> list[Tensor]:
        """States [B, T, d], before the last norm, from which the tokens 2..K ahead are predicted; h is the trunk's.

        A chain reads the tokens in between: the last of its states in a row have none and mean nothing.
        """
        if self.mtp is None:
            return [h] * (self.config.mtp_k - 1)
        if not isinstance(self.mtp[0], ChainHead):
            return [head(h) for head in self.mtp]
        states, step = [], self._step(ids, documents, None, None, 0, False)
        for ahead, head in enumerate(self.mtp, 1):
            h = head(h, self.embedding(ids.roll(-ahead, 1)).to(h.dtype), step)
            states.append(h)
        return states

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, **overrides: Any
    ) -> Decoder:
        """The decoder of a folder, ready to predict; `state.load` says what is refused and what can be overridden."""
        from model.state import load

        return load(Path(folder), device, dtype, **overrides).eval()

    def save_pretrained(self, folder: str | Path, **facts: Any) -> str:
        """Write a folder that `from_pretrained` opens, with these facts in its config.json; returns the fingerprint."""
        from model.state import save

        return save(self, Path(folder), **facts)

    def generate(self, ids: Tensor | Sequence[Sequence[int]], max_new_tokens: int = 128, pad_id: int = 0, **sampling: Any) -> Tensor:
        """Prompts [B, T], or rows of different length -> prompts and what follows, [B, longest], filled up with `pad_id`.

        `sampling` are fields of `generation.Sampling`: temperature, top_k, top_p, seed, stop and others.
        """
        from model.generation import Sampling, generate

        rows = ids.tolist() if isinstance(ids, Tensor) else [list(row) for row in ids]
        found = [row + new for row, new in zip(rows, generate(self, rows, Sampling(max_new_tokens, **sampling)), strict=True)]
        longest = max(map(len, found))
        return torch.tensor([row + [pad_id] * (longest - len(row)) for row in found], device=self.embedding.weight.device)
