"""Models that read instead of write: a copy of a decoder's trunk, mostly without the causal mask, and a head on it.

    Embedder        text -> one vector: mean of the states, a projection if asked for, length 1
    SparseEncoder   text -> a weight per vocabulary entry, max over tokens of log(1 + relu(logit)) (SPLADE, Formal et al. 2021)
    Classifier      text -> logits of classes, from the mean, the last or the first state; with one class it is a reward model

`from_decoder` copies (nothing is shared) and leaves out what a reader does not need: the heads beside the trunk, and an untied
head where no logits are read. Without the mask only attention changes: distances between tokens count both ways. A row is one
text, padded on the right; `lengths` says how much of it is real, and padding never changes what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import state
from model.config import DecoderConfig
from model.decoder import Decoder
from model.init import initial
from model.layers import Linear
from model.schema import role

POOLS = ("mean", "last", "first")


class Derived(nn.Module):
    """A trunk and the settings of the head on it, which are the arguments of the class after `dtype`."""

    kind: ClassVar[str]
    reads_logits: ClassVar[bool] = False

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, causal: bool, settings: dict[str, Any]) -> None:
        super().__init__()
        tied = config.tie_embeddings or not self.reads_logits
        self.config = config.replace(mtp_k=1, decision_classes=0, chart_encoder=None, tie_embeddings=tied)
        self.causal, self.settings = causal, settings
        self.trunk = Decoder(self.config, dtype)

    @classmethod
    def from_decoder(cls, decoder: Decoder, *settings: Any, seed: int = 0, **more: Any) -> Self:
        """A reader on a copy of the decoder's trunk; `settings` as the class takes them, `seed` for what is new."""
        with torch.device("meta"):
            model = cls(decoder.config, decoder.dtype, *settings, **more)
        left_out = tuple(state.HEADS.values()) + (() if cls.reads_logits else ("head.",))
        kept = {f"trunk.{name}": t.detach().clone() for name, t in decoder.state_dict().items() if not name.startswith(left_out)}
        own = {name: p for name, p in model.named_parameters() if not name.startswith("trunk.")}
        drawn = {name: initial(name, tuple(p.shape), model.config, seed) for name, p in own.items()}
        state.fill(model, kept | {name: t.to(decoder.embedding.weight) for name, t in drawn.items()})
        model.trunk.looping, model.trunk.attention_path = decoder.looping, decoder.attention_path
        return model.train(decoder.training)

    def states(self, ids: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, T] ids, [B] real tokens of each row (None: all) -> normed states [B, T, d], which of them are real [B, T].

        ValueError for a row without tokens.
        """
        at = torch.arange(ids.shape[1], device=ids.device)
        if lengths is None:
            real, documents = torch.ones_like(ids, dtype=torch.bool), None
        else:
            if int(lengths.min()) < 1 or int(lengths.max()) > ids.shape[1]:
                raise ValueError(f"lengths must lie between 1 and {ids.shape[1]}, the tokens of a row")
            real = at < lengths[:, None]
            documents = None if self.causal else real.long() - 1  # the past of a real token holds no padding
        return self.trunk.hidden(ids, documents, bidirectional=not self.causal), real

    def roles(self) -> dict[str, str]:
        """Parameter name -> role, as the decoder's."""
        return {name: role(name) for name, _ in self.named_parameters()}

    def head_count(self) -> int:
        """Parameters of the head."""
        raise NotImplementedError

    def param_count(self) -> int:
        """All parameters, in closed form."""
        return self.config.param_count() + self.head_count()


class Embedder(Derived):
    """[B, T] ids -> [B, dim] fp32, of length 1 if `normalize`; dim 0: d_model, without a projection."""

    kind = "embedder"

    def __init__(
        self, config: DecoderConfig, dtype: torch.dtype = torch.float32, dim: int = 0, normalize: bool = True, causal: bool = False
    ) -> None:
        super().__init__(config, dtype, causal, {"dim": dim, "normalize": normalize, "causal": causal})
        if dim < 0:
            raise ValueError(f"dim must be 0 (d_model) or more, not {dim}")
        self.normalize, self.projection = normalize, Linear(config.d_model, dim) if dim else None

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = pooled(*self.states(ids, lengths), "mean")
        x = x if self.projection is None else self.projection(x)
        return F.normalize(x, dim=-1) if self.normalize else x

    def head_count(self) -> int:
        return self.settings["dim"] * self.config.d_model


class SparseEncoder(Derived):
    """[B, T] ids -> [B, V] fp32 weights, none below 0, 0 for `special` ids and for the begin token.

    Logits are those of the decoder, its scale and softcap included. They are alive for one row at a time; training keeps them
    where there is a softcap.
    """

    kind, reads_logits = "sparse encoder", True

    def __init__(self, config: DecoderConfig, dtype: torch.dtype = torch.float32, special: Sequence[int] = ()) -> None:
        super().__init__(config, dtype, False, {"special": sorted({int(i) for i in special})})
        if any(not 0 <= i < config.vocab_size for i in special):
            raise ValueError(f"special ids must be tokens below {config.vocab_size}, not {list(special)}")
        self.silent = sorted({*self.settings["special"], *([config.bos_id] if config.bos_id >= 0 else [])})

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        states, real = self.states(ids, lengths)
        states = states * real[..., None]  # logits of padding are 0 then: no weight comes from them
        peaks = torch.stack([self.trunk.logits(row).max(0).values for row in states])
        return torch.log1p(F.relu(peaks)).index_fill(1, torch.tensor(self.silent, dtype=torch.long, device=ids.device), 0)

    def head_count(self) -> int:
        return 0


class Classifier(Derived):
    """[B, T] ids -> logits [B, classes] fp32. pool is 'mean', 'last' or 'first', of the real tokens."""

    kind = "classifier"

    def __init__(
        self,
        config: DecoderConfig,
        dtype: torch.dtype = torch.float32,
        classes: int = 1,
        pool: str = "mean",
        causal: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(config, dtype, causal, {"classes": classes, "pool": pool, "causal": causal, "dropout": dropout})
        if classes < 1 or pool not in POOLS or not 0 <= dropout < 1:
            raise ValueError(f"a classifier has at least 1 class, pools {', '.join(POOLS)} and a dropout from 0 to below 1")
        if causal and pool == "first":
            raise ValueError("the first token of a causal trunk has seen only itself: pool 'mean' or 'last'")
        self.pool, self.dropout = pool, dropout
        self.classes = nn.Linear(config.d_model, classes)

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = pooled(*self.states(ids, lengths), self.pool)
        x = F.dropout(x, self.dropout, self.training)
        return F.linear(x, self.classes.weight.float(), self.classes.bias.float())

    def head_count(self) -> int:
        return self.settings["classes"] * (self.config.d_model + 1)


KINDS: dict[str, type[Derived]] = {c.kind: c for c in (Embedder, SparseEncoder, Classifier)}


def pooled(states: Tensor, real: Tensor, pool: str) -> Tensor:
    """[B, T, d] states, [B, T] which are real -> [B, d] in fp32: their mean, the last, or the first."""
    if pool == "mean":
        return (states.float() * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    if pool == "first":
        return states[:, 0].float()
    return states[torch.arange(len(states), device=states.device), real.sum(1) - 1].float()


def save(model: Derived, folder: Path, **facts: Any) -> str:
    """Write model.safetensors and config.json, as a decoder's, with the kind and the head's settings; returns the fingerprint."""
    about = {"kind": model.kind, "settings": model.settings, **state.described(model.trunk), "params": model.param_count()}
    return state.write(model, folder, {**about, **facts})


def load(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Derived:
    """The derived model of a folder. ValueError when its tensors are not the ones that were saved, or it holds none."""
    about, tensors = state.read(folder)
    if about.get("kind") not in KINDS:
        raise ValueError(f"this folder holds no {', '.join(KINDS)}: a decoder becomes one with from_decoder")
    try:
        with torch.device("meta"):
            model = KINDS[about["kind"]](DecoderConfig.from_dict(about["decoder"]), dtype, **about["settings"])
    except TypeError as error:
        raise ValueError(f"config.json does not describe a {about['kind']}: {error}") from error
    state.fill(model, tensors)
    model.trunk.looping = bool(about.get("looping", model.trunk.looping))
    return model.to(device)
