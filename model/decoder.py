"""The decoder: token ids in, next-token logits out; one block repeated, readable as the equations.

    x = E[ids];  x += Attention(norm(x));  x += SwiGLU(norm(x));  logits = norm(x) Eᵀ

Kept on disk as `model.safetensors` (fp32) and `config.json`, which carries the state's fingerprint: a folder whose
tensors are not the ones that were saved is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Attention, KVCache, cache_mask, document_mask, rope_table
from model.config import DecoderConfig
from model.ffn import Linear, RMSNorm, SwiGLU


class Block(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.d_model, config.norm_eps)
        self.ffn = SwiGLU(config.d_model, config.d_ff)

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask, cache, layer)
        return x + self.ffn(self.ffn_norm(x))


class Decoder(nn.Module):
    """A causal language model. `dtype` is the dtype of the activations; weights stay fp32."""

    rope: Tensor

    def __init__(self, config: DecoderConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = None if config.tie_embeddings else Linear(config.d_model, config.padded_vocab_size)
        self.register_buffer("rope", rope_table(config.max_seq_len, config.d_head, config.rope_base), persistent=False)

    @torch.no_grad()
    def init_weights(self, seed: int = 0) -> Decoder:
        """Fan-in scaled normals, a small embedding, residual outputs at zero: the first loss is ln V. Same seed, same bits."""
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.dim() == 1:
                p.fill_(1.0)
            elif name.endswith(("attention.o.weight", "ffn.down.weight")):
                p.zero_()
            else:
                std = 0.02 if name.startswith("embedding") else 0.0 if name.startswith("head") else p.shape[1] ** -0.5
                p.copy_(torch.randn(p.shape, generator=generator) * std)
        return self

    def roles(self) -> dict[str, str]:
        """Parameter name -> 'embed', 'head', 'matrix' (2-D weights of the blocks) or 'vector' (gains): decides the optimizer."""
        special = {id(self.embedding): "embed", id(self.head): "head"}
        roles = {}
        for name, _ in self.named_parameters():
            owner = self.get_submodule(name.rpartition(".")[0])
            roles[name] = special.get(id(owner), "matrix" if isinstance(owner, Linear) else "vector")
        return roles

    def hidden(self, ids: Tensor, documents: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """[B, T] ids -> normed states [B, T, d]. `documents` [B, T] keeps documents apart; `cache` is read and extended."""
        T = ids.shape[1]
        past = cache.length if cache is not None else 0
        if past + T > self.config.max_seq_len:
            raise ValueError(f"{past + T} tokens do not fit in max_seq_len {self.config.max_seq_len}")
        mask = None
        if cache is not None:
            mask = cache_mask(T, cache, ids.device) if past or cache.start is not None else None
        elif documents is not None:
            mask = document_mask(documents)
        rope = self.rope[:, past : past + T]
        x = self.embedding(ids).to(self.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, rope, mask, cache, layer)
        if cache is not None:
            cache.length += T
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Normed states [..., d] -> logits [..., V] in fp32; padding rows of the table never get probability."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        logits = F.linear(hidden, weight.to(hidden.dtype))[..., : self.config.vocab_size].float()
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(self, ids: Tensor, documents: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """[B, T] ids -> logits [B, T, V] in fp32."""
        return self.logits(self.hidden(ids, documents, cache))


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the state: names, dtypes, shapes and little-endian bytes in name order. Proves identity, not training."""
    h = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        named = (name.removeprefix("_orig_mod."), str(value.dtype).removeprefix("torch."), ",".join(map(str, value.shape)))
        h.update(b"".join(part.encode() + b"\0" for part in named))
        h.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


def save(model: Decoder, folder: Path, **facts: Any) -> str:
    """Write model.safetensors and config.json (the shape, the fingerprint and these facts); returns the fingerprint."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    mark = fingerprint(model)
    described = {"decoder": json.loads(model.config.to_json()), "model_state_sha256": mark, "params": model.config.param_count(), **facts}
    (folder / "config.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", "utf-8")
    return mark


def load(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder of a folder. ValueError when its tensors are not the ones that were saved."""
    from safetensors.torch import load_file

    described = json.loads((folder / "config.json").read_text("utf-8"))
    model = Decoder(DecoderConfig.from_dict(described["decoder"]), dtype)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    if fingerprint(model) != described["model_state_sha256"]:
        raise ValueError("model.safetensors does not hold the state that config.json names: the folder was altered")
    return model.to(device)
