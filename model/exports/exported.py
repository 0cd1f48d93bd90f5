"""A folder that transformers opens where Athanor is not installed: AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).

    model.safetensors        the state, under the names Athanor gives it; above 5 GB several files and an index
    modeling_athanor.py      the decoder's own source, put together at export (`modeling.py`)
    config.json              the shape, the names other tools look for, the fingerprint of state and tokenizer, versions
    generation_config.json   where a text ends, how tokens are drawn unless said otherwise
    tokenizer.json, tokenizer_config.json   where a tokenizer is given: AutoTokenizer and apply_chat_template work
    README.md                the model card (`card.py`)

Any shape can be exported, whatever is on; a plain one is better written as Qwen3 or Llama (`native.py`), which no code has to
be trusted for. `Decoder.from_pretrained` opens the folder too, and one that transformers saved after fine-tuning.

What published cards of such models call by other names:

    from models.decoder import NanoTransformer             from model.decoder import Decoder
    NanoTransformer.from_pretrained(id)                    Decoder.from_pretrained(folder), a folder on this machine
    from_pretrained(id, ffn_kind="ternary_swiglu")         the same with ternary_sub_norm=False: a dense folder has no such norm
    model.save_pretrained(folder)                          the same; facts for config.json as keywords
    model.generate(ids, max_new_tokens=, temperature=)     the same; also top_k, top_p, min_p, repetition_penalty, seed, stop
    layers, heads (Q/KV), context, rotary theta            n_layer, n_head and n_kv_head, max_seq_len, rope_base

Limits: tested with transformers 5.24; 4.57 and 5.0 open the folders too (a prompt in pieces needs 5). Text only there: images
and the heads beside the trunk are reached through `model.model`, the decoder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model import folders
from model.config import DecoderConfig
from model.decoder import Decoder
from model.exports import card, modeling
from model.exports.native import NEEDED, TOKENIZER, special_ids, stops
from model.state import described, fingerprint

MODELING = "modeling_athanor.py"
CLASSES = {"AutoConfig": "AthanorConfig", "AutoModelForCausalLM": "AthanorForCausalLM"}
SAMPLING = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
DTYPES = (torch.float32, torch.bfloat16)


def export_transformers(
    model: Decoder,
    folder: Path,
    tokenizer: Path | None = None,
    dtype: torch.dtype | None = None,
    facts: card.Facts | None = None,
    sampling: Mapping[str, Any] = SAMPLING,
    shard_bytes: int = folders.LIMIT,
    **about: Any,
) -> str:
    """Write `folder`; returns the fingerprint of the state in it.

    tokenizer is the folder of a trained one; dtype that of the weights, their own if None; facts what the card says beyond
    the shape; sampling the defaults of `generate`; about more facts for config.json (a seed, a run). The folder appears whole
    or not at all. ValueError for a tokenizer with more tokens than the model, and for a folder that holds something.
    """
    own = model.embedding.weight.dtype if dtype is None else dtype
    if own not in DTYPES:
        raise ValueError(f"a folder of transformers holds float32 or bfloat16, not {_name(own)}")
    c = model.config
    state = {name: t.detach().to("cpu", own if t.is_floating_point() else t.dtype).contiguous() for name, t in model.state_dict().items()}
    ids = special_ids(tokenizer, c.vocab_size) if tokenizer is not None else {"bos": c.bos_id} if c.bos_id >= 0 else {}
    config = {**standard(c, own, ids), **described(model), "model_state_sha256": fingerprint(state), "params": c.param_count()}
    config |= {"tokenizer_sha256": _digest(tokenizer / TOKENIZER[0])} if tokenizer is not None else {}
    config |= {"versions": _versions(), **about}
    generation = {**sampling, "bos_token_id": ids.get("bos"), "eos_token_id": stops(ids), "pad_token_id": ids.get("pad")}
    with folders.fresh(folder) as made:
        folders.write_tensors(state.items(), made, limit=shard_bytes)
        (made / MODELING).write_text(modeling.modeling_source(), "utf-8")
        folders.write_json(made / "config.json", config)
        folders.write_json(made / "generation_config.json", {key: value for key, value in generation.items() if value is not None})
        if tokenizer is not None:
            for name in TOKENIZER:
                shutil.copyfile(tokenizer / name, made / name)
        chat = tokenizer is not None and "chat_template" in (tokenizer / TOKENIZER[1]).read_text("utf-8")
        written = card.Written("hf", _name(own), config["model_state_sha256"], tokenizer is not None, chat)
        (made / "README.md").write_text(card.card(c, facts or card.Facts(folder.name), written), "utf-8")
    return written.fingerprint


def standard(c: DecoderConfig, dtype: torch.dtype, ids: Mapping[str, int]) -> dict[str, Any]:
    """What transformers and other tools look for in config.json."""
    auto_map = {auto: f"{MODELING.removesuffix('.py')}.{name}" for auto, name in CLASSES.items()}
    found: dict[str, Any] = {"architectures": [CLASSES["AutoModelForCausalLM"]], "model_type": "athanor", "auto_map": auto_map}
    found |= {theirs: getattr(c, ours) for ours, theirs in NEEDED.items() if ours != "norm_eps"}
    found |= {"num_key_value_heads": c.n_kv_head, "head_dim": c.d_head, "tie_word_embeddings": c.tie_embeddings}
    found |= {f"{name}_token_id": ids.get(name) for name in ("bos", "eos", "pad")}
    return found | {"dtype": _name(dtype), "torch_dtype": _name(dtype)}  # both spellings


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    """Of what the state was made and written with."""
    found = {}
    for library in ("athanor-furnace", "torch", "numpy", "safetensors"):
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
            found[library] = "not installed"
    return found
