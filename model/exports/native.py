"""The decoder as others write it: folders of transformers' Qwen3ForCausalLM and LlamaForCausalLM, out and in.

A plain decoder (SwiGLU, gains in every norm, full rotary positions, no other option) is the same function as Qwen3 with gains
on queries and keys, as Llama without; only names differ, and the base of 'ntk' is written rescaled. What is not plain is
refused, field by field. Heads beside the trunk have no place there: they are left out where that is asked for.

Limits: safetensors in fp32 or bf16, cast one file at a time; rows that pad the vocabulary are not written. Angles are fp32 there
and fp64 here: logits part by 1e-5 behind 64 tokens, by up to 3e-4 behind 4,096; in bf16 by the rounding of the norms.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import DecoderConfig
from model.decoder import Decoder
from model.folders import LIMIT, fresh, tensor_files, write_json, write_tensors

CLASSES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
QK_NORM = {"qwen3": "affine", "llama": "none"}
HEADS = ("mtp_k", "decision_classes", "chart_encoder")  # beside the trunk: without them the logits are the same
SHAPE = "vocab_size d_model n_layer n_head d_ff n_kv_head d_head pad_vocab_to tie_embeddings norm_eps bos_id max_seq_len rope_base window"
SILENT = "dropout init gate_window xsa ffn_rank ffn_experts ffn_top_k ternary_group ternary_activations ternary_sub_norm parallel_kind"
ANY = {*SHAPE.split(), *SILENT.split(), "mtp_kind", "mtp_hidden"}  # fields that may say anything: the shape; training; parts of what is off
BLOCK = {
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    **{f"attention.{m}": f"self_attn.{m}_proj" for m in "qkvo"},
    **{f"ffn.{m}": f"mlp.{m}_proj" for m in ("gate", "up", "down")},
}
QK_GAINS = {f"attention.{m}_norm": f"self_attn.{m}_norm" for m in "qk"}
NEEDED = {"vocab_size": "vocab_size", "d_model": "hidden_size", "d_ff": "intermediate_size", "n_layer": "num_hidden_layers"}
NEEDED |= {"n_head": "num_attention_heads", "max_seq_len": "max_position_embeddings", "norm_eps": "rms_norm_eps"}
ONLY = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "quantization_config": None, "partial_rotary_factor": 1.0}
ONLY |= {"rope_parameters.rope_type": "default", "rope_parameters.partial_rotary_factor": 1.0}  # where they are given
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
FULL, SLIDING = "full_attention", "sliding_attention"


def export_native(
    model: Decoder,
    folder: Path,
    kind: str = "auto",
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
    drop_heads: bool = False,
    shard_bytes: int = LIMIT,
) -> list[str]:
    """Write `folder` as transformers reads it; what was left out comes back, in words.

    kind is 'qwen3', 'llama' or 'auto' (from qk_norm); dtype that of the weights, their own if None; tokenizer the folder of a
    trained tokenizer (tokenizer.json and tokenizer_config.json), which AutoTokenizer then finds here. The folder appears whole
    or not at all. ValueError for a decoder that is not plain (every field that does not fit is named), for a tokenizer with
    more tokens than the model, and for a folder that holds something.
    """
    kind, left_out = checked(model.config, kind, drop_heads)
    own = model.embedding.weight.dtype if dtype is None else dtype
    if own not in (torch.float32, torch.bfloat16):
        raise ValueError(f"native folders hold float32 or bfloat16, not {str(own).removeprefix('torch.')}")
    ids = {} if tokenizer is None else special_ids(tokenizer, model.config.vocab_size)
    described = native_config(model.config, kind, own, ids)
    generation = {f"{name}_token_id": described[f"{name}_token_id"] for name in ("bos", "pad")} | {"eos_token_id": stops(ids)}
    with fresh(folder) as inside:
        write_tensors(weights(model), inside, own, shard_bytes)
        if tokenizer is not None:
            for name in TOKENIZER:
                shutil.copyfile(tokenizer / name, inside / name)
        write_json(inside / "generation_config.json", generation)
        write_json(inside / "config.json", described)
    return left_out


def import_native(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder of a Qwen3 or Llama folder; dtype is that of its activations, weights become fp32 masters (4 bytes each).

    Tensors are read one at a time. ValueError for what this decoder does not compute, by the name of the field or tensor.
    """
    from safetensors import safe_open

    with torch.device("meta"):
        model = Decoder(imported_config(read_json(folder / "config.json")), dtype)
    model.to_empty(device="cpu")
    c, state = model.config, model.state_dict()
    missing = set(wanted := {theirs: state[ours] for ours, theirs in names(c).items()})
    for file in tensor_files(folder):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and c.tie_embeddings):
                    continue  # follow from the config
                if name not in wanted:
                    raise ValueError(f"{file.name} holds {name}, which this decoder has no place for")
                tensor = tensors.get_tensor(name)
                if tensor.shape != wanted[name].shape or not tensor.is_floating_point():
                    raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, config.json asks for {list(wanted[name].shape)}")
                wanted[name].copy_(tensor)
                missing.discard(name)
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} tensors, among them {min(missing)}")
    return model


def checked(c: DecoderConfig, kind: str, drop_heads: bool, windows: bool = True) -> tuple[str, list[str]]:
    """The kind this shape is ('auto' settled), and the heads that are left out. ValueError names each field that does not fit."""
    if kind not in (*CLASSES, "auto"):
        raise ValueError(f"kind must be auto, {' or '.join(CLASSES)}, not '{kind}'")
    kind = kind if kind != "auto" else "llama" if c.qk_norm == "none" else "qwen3"
    slides = any(0 < w < c.max_seq_len for w in c.windows())
    usual = math.isclose(c.scale, c.d_head**-0.5)
    rules: dict[str, tuple[bool, str]] = {
        "d_model": (kind == "qwen3" or c.d_model % c.n_head == 0, f"a multiple of n_head, {c.n_head}"),
        "rope_dims": (c.rope_dims == c.d_head, f"d_head, {c.d_head}"),
        "rope_scaling": (c.rope_scaling is None or c.rope_scaling.kind == "ntk", "none or ntk"),
        "qk_norm": (c.qk_norm == QK_NORM[kind], QK_NORM[kind]),
        "attn_scale": (usual or bool(c.mup_base_d_head and not c.attn_scale), "1/sqrt(d_head)"),
        "mup_base_d": (c.width_ratio == 1, f"0 or {c.d_model}"),
        "mup_base_d_head": (usual or bool(c.attn_scale), f"0 or {c.d_head}"),
        "mup_base_layers": (c.mup_base_layers in (0, c.n_layer), f"0 or {c.n_layer}"),
        "window_pattern": (not slides or (windows and kind == "qwen3"), "L"),
    }
    unfit, left_out = [], []
    for field in dataclasses.fields(c):
        value, off = getattr(c, field.name), field.default
        holds, fits = rules.get(field.name, (field.name in ANY or value == off, "off" if off in (None, False) else str(off)))
        if field.name in HEADS and not holds:
            left_out.append(f"{field.name} {value if isinstance(value, int) else 'on'}")
        elif not holds:
            unfit.append(f"{field.name} is {getattr(value, 'kind', value)} (fits: {fits})")
    if left_out and not drop_heads:
        unfit.append(f"heads beside the trunk ({', '.join(left_out)}) have no place there (fits: drop_heads)")
    if unfit:
        raise ValueError(f"this decoder is no plain {CLASSES[kind]}: {'; '.join(unfit)}")
    return kind, left_out


def names(c: DecoderConfig) -> dict[str, str]:
    """Our name -> transformers' name, of the trunk and the head."""
    inside = BLOCK | (QK_GAINS if c.qk_norm == "affine" else {})
    found = {"embedding.weight": "model.embed_tokens.weight"}
    for layer in range(c.n_layer):
        found |= {f"blocks.{layer}.{ours}.weight": f"model.layers.{layer}.{theirs}.weight" for ours, theirs in inside.items()}
    found["norm.weight"] = "model.norm.weight"
    return found if c.tie_embeddings else found | {"head.weight": "lm_head.weight"}


def weights(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """transformers' names and tensors, without the rows that pad the vocabulary."""
    state, V = model.state_dict(), model.config.vocab_size
    for ours, theirs in names(model.config).items():
        yield theirs, state[ours].detach()[:V] if ours in ("embedding.weight", "head.weight") else state[ours].detach()


def rope_theta(c: DecoderConfig) -> float:
    """The base of the rotation, 'ntk' reckoned in."""
    return c.rope_base if c.rope_scaling is None else c.rope_base * c.rope_scaling.factor ** (c.d_head / (c.d_head - 2))


def native_config(c: DecoderConfig, kind: str, dtype: torch.dtype, ids: dict[str, int]) -> dict[str, Any]:
    """config.json, with both spellings of what transformers 5 renamed (rope_parameters, dtype)."""
    theta, precision, bos = rope_theta(c), str(dtype).removeprefix("torch."), ids.get("bos", c.bos_id)
    described = {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        **{theirs: getattr(c, ours) for ours, theirs in NEEDED.items()},
        "num_key_value_heads": c.n_kv_head,
        "head_dim": c.d_head,
        "hidden_act": "silu",
        "tie_word_embeddings": c.tie_embeddings,
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": bos if bos >= 0 else None,
        "eos_token_id": ids.get("eos"),
        "pad_token_id": ids.get("pad"),
        "dtype": precision,
        "torch_dtype": precision,
    }
    if kind == "llama":
        return described | {"mlp_bias": False}
    slides = any(0 < w < c.max_seq_len for w in c.windows())
    layers = [SLIDING if slides and w else FULL for w in c.windows()]
    window = {"use_sliding_window": slides, "sliding_window": c.window if slides else None}
    return described | window | {"max_window_layers": c.n_layer, "layer_types": layers}


def imported_config(described: dict[str, Any]) -> DecoderConfig:
    """The shape a config.json describes. ValueError names the field that this decoder does not compute, or that is missing."""
    kind = described.get("model_type")
    if kind not in CLASSES:
        raise ValueError(f"model_type {kind!r} is not read: {' and '.join(CLASSES)} are")
    given = {field: value for field, value in described.items() if value is not None}
    missing = [field for field in NEEDED.values() if field not in given]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    rope = given.get("rope_parameters") or given.get("rope_scaling") or {}
    said = given | {f"rope_parameters.{field}": value for field, value in rope.items()}
    said["rope_parameters.rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    unfit = [f"{field} {value!r}" for field, value in said.items() if value != ONLY.get(field, value)]
    unfit += [f"rope_parameters.{field}" for field, value in rope.items() if isinstance(value, dict)]  # another rotation per kind of layer
    shape: dict[str, Any] = {ours: given[theirs] for ours, theirs in NEEDED.items()}
    window = given.get("sliding_window") if kind == "qwen3" and given.get("use_sliding_window") else None
    late = given.get("max_window_layers", 28) if window else shape["n_layer"]
    layers = given.get("layer_types") or [SLIDING if i >= late else FULL for i in range(shape["n_layer"])]
    if SLIDING in layers:
        shape |= {"window": window, "window_pattern": "".join("S" if layer == SLIDING else "L" for layer in layers)}
    if len(layers) != shape["n_layer"] or not {*layers} <= {FULL, SLIDING} or layers[-1] == SLIDING or (SLIDING in layers and not window):
        unfit.append("layer_types (the last layer sees everything; those before it may slide in a qwen3)")
    if unfit:
        raise ValueError(f"this decoder does not compute {', '.join(unfit)}")
    bos = given.get("bos_token_id", -1)
    shape |= {
        "n_kv_head": given.get("num_key_value_heads", shape["n_head"]),
        "d_head": given.get("head_dim", shape["d_model"] // shape["n_head"] if kind == "llama" else 128),
        "pad_vocab_to": 1,
        "tie_embeddings": given.get("tie_word_embeddings", False),
        "bos_id": bos if isinstance(bos, int) and bos < shape["vocab_size"] else -1,
        "rope_base": rope.get("rope_theta", given.get("rope_theta", 10000.0)),
        "qk_norm": QK_NORM[kind],
    }
    return DecoderConfig.from_dict(shape)


def special_ids(folder: Path, vocab_size: int) -> dict[str, int]:
    """'bos', 'eos' and 'pad' -> id, those that the tokenizer has. ValueError when it has more tokens than the model."""
    described, roles = read_json(folder / "tokenizer.json"), read_json(folder / "tokenizer_config.json")
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    count = 1 + max([*described["model"]["vocab"].values(), *added.values()])
    if count > vocab_size:
        raise ValueError(f"the tokenizer in {folder} has {count} tokens, the model {vocab_size}")
    return {role: added[roles[f"{role}_token"]] for role in ("bos", "eos", "pad") if roles.get(f"{role}_token") in added}


def stops(ids: dict[str, int]) -> list[int] | None:
    """The tokens that end a text, among them the one the next text begins with."""
    return sorted({ids[name] for name in ("bos", "eos") if name in ids}) or None


def read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path.parent} holds no {path.name}")
    value = json.loads(path.read_text("utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no JSON object")
    return value
