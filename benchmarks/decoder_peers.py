"""The contestants: this project's decoder, transformers' Qwen3 and litgpt's GPT in one shape and with the same weights.

The shape is the one all three know: pre-norm RMSNorm with gains, grouped queries, QK-norm with gains, half-split rotary positions,
SwiGLU, tied embedding, no biases, plain causal attention. The weights are random and nowhere zero or one, so that a contestant that
computes another function gives another loss.

Each computes its loss as its authors do: transformers takes logits up to fp32, litgpt cuts the cross-entropy, not the logits, in
chunks of 128 tokens, ours is `Decoder.loss`. All mean over the same targets.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.config import DecoderConfig
from model.presets import preset

OURS = ("ours", "undrafted")  # who generates as `athanor chat` does, with drafts where they pay, and without
DTYPES = ("float32", "bfloat16", "mixed")  # mixed: fp32 weights, bf16 activations


@dataclass
class Peer:
    """One contestant: its module, its loss over ids and targets [B, T], its greedy continuation of prompts of one length."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    greedy: Callable[[list[list[int]], int], list[list[int]]]
    backward: Callable[[Tensor], None] = Tensor.backward

    def gradient_norm(self) -> float:
        """Over all parameters; how they are cut into matrices does not matter."""
        return sum(float(p.grad.double().square().sum()) for p in self.model.parameters() if p.grad is not None) ** 0.5


def installed(names: list[str]) -> list[str]:
    """Those that can be imported; says which cannot."""
    missing = [n for n in names if n not in OURS and importlib.util.find_spec(n) is None]
    if missing:
        print(f"not installed and left out: {', '.join(missing)}")
    return [n for n in names if n not in missing]


def shape_of(name: str, length: int) -> DecoderConfig:
    """The trunk of a preset with a window of `length`: no extra heads, and a vocabulary that needs no padding."""
    config = preset(name, mtp_k=1, decision_classes=0, max_seq_len=length)
    if config.padded_vocab_size != config.vocab_size or not config.tie_embeddings:
        raise SystemExit(f"{name}: the peers are compared with a tied table without padding")
    return config


def weights(config: DecoderConfig, seed: int = 0) -> dict[str, Tensor]:
    """A state of the plain shape, under the decoder's names."""
    d, kv, q = config.d_model, config.n_kv_head * config.d_head, config.n_head * config.d_head
    block = {
        "attention_norm.weight": (d,),
        "attention.q.weight": (q, d),
        "attention.k.weight": (kv, d),
        "attention.v.weight": (kv, d),
        "attention.o.weight": (d, q),
        "attention.q_norm.weight": (config.d_head,),
        "attention.k_norm.weight": (config.d_head,),
        "ffn_norm.weight": (d,),
        "ffn.gate.weight": (config.d_ff, d),
        "ffn.up.weight": (config.d_ff, d),
        "ffn.down.weight": (d, config.d_ff),
    }
    shapes = {"embedding.weight": (config.vocab_size, d), "norm.weight": (d,)}
    shapes |= {f"blocks.{n}.{name}": shape for n in range(config.n_layer) for name, shape in block.items()}
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=generator)
        state[name] = 1 + 0.1 * drawn if len(shape) == 1 else drawn * (0.05 if name == "embedding.weight" else shape[1] ** -0.5)
    return state


def build(who: str, config: DecoderConfig, state: dict[str, Tensor], dtype: str, device: str) -> Peer:
    """A contestant that computes in `dtype`."""
    plain = functools.partial(_ours, drafts="off")
    peer = {"ours": _ours, "undrafted": plain, "transformers": _transformers, "litgpt": _litgpt}[who](config, state, dtype)
    peer.model.to(device)
    if dtype == "mixed" and who not in OURS:
        peer.loss = _autocast(peer.loss, device)
    return peer


def _ours(config: DecoderConfig, state: dict[str, Tensor], dtype: str, drafts: str = "auto") -> Peer:
    from model import whole_rows
    from model.decoder import Decoder
    from model.generation import Sampling, generate
    from model.inference import prepare

    model = Decoder(config, torch.float32 if dtype == "float32" else torch.bfloat16)
    model.load_state_dict(state)
    if dtype == "bfloat16":
        _cast_parameters(model)
    if whole_rows.there(model.dtype):  # as train/loop.py does
        whole_rows.attach(model)

    ready = functools.cache(lambda: prepare(model))  # as `athanor chat` does, when it first generates

    def greedy(prompts: list[list[int]], new: int) -> list[list[int]]:
        return generate(ready(), prompts, Sampling(max_tokens=new, temperature=0.0), speculative=drafts)

    return Peer(model, model.loss, greedy)


def _transformers(config: DecoderConfig, state: dict[str, Tensor], dtype: str) -> Peer:
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    shape = Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        num_key_value_heads=config.n_kv_head,
        head_dim=config.d_head,
        max_position_embeddings=config.max_seq_len,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
    )
    model = Qwen3ForCausalLM(shape)
    names = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    inner = {
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        **{f"attention.{p}": f"self_attn.{p}_proj" for p in "qkvo"},
        **{f"attention.{p}_norm": f"self_attn.{p}_norm" for p in "qk"},
        **{f"ffn.{p}": f"mlp.{p}_proj" for p in ("gate", "up", "down")},
    }
    for n in range(config.n_layer):
        names |= {f"blocks.{n}.{a}.weight": f"model.layers.{n}.{b}.weight" for a, b in inner.items()}
    given = {names[name]: tensor for name, tensor in state.items()}
    model.load_state_dict({**given, "lm_head.weight": given["model.embed_tokens.weight"]})
    if dtype == "bfloat16":
        _cast_parameters(model)  # as from_pretrained: the rotary frequencies stay fp32

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        return model(input_ids=ids, labels=targets, shift_labels=targets, use_cache=False).loss

    def greedy(prompts: list[list[int]], new: int) -> list[list[int]]:
        model.eval()
        ids = torch.tensor(prompts, device=model.device)
        how = GenerationConfig(do_sample=False, max_new_tokens=new, pad_token_id=0, eos_token_id=None)
        return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)[:, ids.shape[1] :].tolist()

    return Peer(model, loss, greedy)


def _litgpt(config: DecoderConfig, state: dict[str, Tensor], dtype: str) -> Peer:
    from litgpt.config import Config
    from litgpt.generate.base import batched_generate_fn, generate
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    shape = Config(
        name="equal",
        block_size=config.max_seq_len,
        vocab_size=config.vocab_size,
        padded_vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.d_model,
        n_query_groups=config.n_kv_head,
        head_size=config.d_head,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=config.norm_eps,
        mlp_class_name="LLaMAMLP",
        intermediate_size=config.d_ff,
        rope_base=int(config.rope_base),
        norm_qk=True,
    )
    model = GPT(shape)
    given = {"transformer.wte.weight": state["embedding.weight"], "lm_head.weight": state["embedding.weight"]}
    given["transformer.ln_f.weight"] = state["norm.weight"]
    inner = {
        "norm_1": "attention_norm",
        "attn.proj": "attention.o",
        "attn.norm_q": "attention.q_norm",
        "attn.norm_k": "attention.k_norm",
        "norm_2": "ffn_norm",
        "mlp.fc_1": "ffn.gate",
        "mlp.fc_2": "ffn.up",
        "mlp.proj": "ffn.down",
    }
    for n in range(config.n_layer):
        given |= {f"transformer.h.{n}.{a}.weight": state[f"blocks.{n}.{b}.weight"] for a, b in inner.items()}
        given[f"transformer.h.{n}.attn.qkv.weight"] = torch.cat([state[f"blocks.{n}.attention.{p}.weight"] for p in "qkv"])
    model.load_state_dict(given)
    model.transformer.wte.weight = model.lm_head.weight  # as its pretrain ties them
    if dtype == "bfloat16":
        model.to(torch.bfloat16)  # as its precision bf16-true: the rotary tables too

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        return chunked_cross_entropy(model(ids), targets)

    def greedy(prompts: list[list[int]], new: int) -> list[list[int]]:
        model.eval()
        ids = torch.tensor(prompts, device=model.lm_head.weight.device)
        total = ids.shape[1] + new
        model.max_seq_length = total
        model.set_kv_cache(len(prompts), device=ids.device, dtype=model.lm_head.weight.dtype)
        if len(prompts) == 1:
            return [generate(model, ids[0], total, temperature=0.0, include_prompt=False).tolist()]
        steps = batched_generate_fn(model, ids, total, sample_args={"temperature": 0.0}, include_prompt=False, include_eos=True)
        return torch.stack([torch.stack(list(step)) for step in steps]).view(new, len(prompts)).T.tolist()  # type: ignore[arg-type]

    return Peer(model, loss, greedy)


def _cast_parameters(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)


def _autocast(loss: Callable[[Tensor, Tensor], Tensor], device: str) -> Callable[[Tensor, Tensor], Tensor]:
    def under(ids: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            return loss(ids, targets)

    return under


def batch(config: DecoderConfig, rows: int, length: int, device: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random ids and their targets, [rows, length] each."""
    ids = torch.randint(config.vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(seed)).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def quiet() -> Any:
    """No hints of transformers about what was not asked."""
    with contextlib.suppress(ImportError):
        from transformers.utils import logging

        logging.set_verbosity_error()
