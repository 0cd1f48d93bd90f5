"""The decoder as llama.cpp reads it: one GGUF file, architecture 'qwen3' or 'llama', tensors in F32, F16 or BF16.

Keys, names and layouts are those of llama.cpp's convert_hf_to_gguf. Its 'llama' rotates neighbouring channels where we rotate
halves: there the rows of every query and key head are reordered; its 'qwen3' rotates halves too. Gains are F32 always.

Limits. llama.cpp computes no sliding window for these architectures: layers with one are refused. Its pre-tokenizers are a
fixed list and ours (packer's pieces) is none of them; `llama-bpe` is the nearest. They part after an elision (ours `dell'` +
`articolo`, there `dell` + `'articolo`), at numbers (ours in runs of 2 digits unless set otherwise, there 3) and at combining
marks: on Italian books and laws 97 % of the tokens are the same and there are 3 to 4 % more of them, all of them tokens of
the vocabulary and the same text. For exact tokens give llama.cpp ids instead of text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.config import DecoderConfig
from model.decoder import Decoder
from model.exports.native import checked, read_json, rope_theta, special_ids, weights

PRE_TOKENIZER = "llama-bpe"
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType


def export_gguf(
    model: Decoder,
    path: Path,
    tokenizer: Path | None = None,
    dtype: torch.dtype | None = None,
    kind: str = "auto",
    drop_heads: bool = False,
) -> list[str]:
    """Write one GGUF file; what was left out comes back, in words.

    tokenizer is the folder of a trained one (without it only llama.cpp's library can run the file, on ids); dtype that of the
    matrices, the weights' own if None; kind and drop_heads as in `export_native`. One tensor at a time is in memory beside the
    model. The file appears whole or not at all. ValueError for a decoder that is not plain (every field that does not fit is
    named), for a tokenizer with more tokens than the model, and for a path that exists.
    """
    import gguf

    kind, left_out = checked(model.config, kind, drop_heads, windows=False)
    c, own = model.config, model.embedding.weight.dtype if dtype is None else dtype
    types = {
        torch.float32: (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
        torch.float16: (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
        torch.bfloat16: (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    }
    if own not in types:
        raise ValueError(f"GGUF files hold float32, float16 or bfloat16, not {str(own).removeprefix('torch.')}")
    if path.exists():
        raise ValueError(f"{path} exists already: name a new file")
    writer = gguf.GGUFWriter(None, kind)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(path.stem)
    writer.add_file_type(types[own][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, c)
    if tokenizer is None:
        writer.add_tokenizer_model("no_vocab")
    else:
        _add_tokenizer(writer, tokenizer, c.vocab_size)
    arch = gguf.MODEL_ARCH.LLAMA if kind == "llama" else gguf.MODEL_ARCH.QWEN3
    known = gguf.get_tensor_name_map(arch, c.n_layer)
    for name, tensor in weights(model):
        stored = own if tensor.dim() > 1 else torch.float32
        renamed = known.get_name(name, try_suffixes=(".weight",)) or name
        # the shape is the tensor's; numpy has no bfloat16, the type is given apart
        writer.add_tensor_info(renamed, tensor.shape, np.dtype(np.float32), tensor.numel() * stored.itemsize, types[stored][0])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writer.write_header_to_file(temporary)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in weights(model):
            heads = {"q_proj.weight": c.n_head, "k_proj.weight": c.n_kv_head}.get(name.rpartition("self_attn.")[2], 0)
            stored = own if tensor.dim() > 1 else torch.float32
            writer.write_tensor_data(_bytes(interleaved(tensor, heads) if heads and kind == "llama" else tensor, stored, name))
        writer.close()
        os.replace(temporary, path)
    except BaseException:
        writer.close()
        temporary.unlink(missing_ok=True)
        raise
    return left_out


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of each head [dh, d] from (0, 1, .., dh-1) to (0, dh/2, 1, dh/2+1, ..): halves become neighbours."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _add_shape(writer: Any, c: DecoderConfig) -> None:
    writer.add_vocab_size(c.vocab_size)
    writer.add_context_length(c.max_seq_len)
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.n_layer)
    writer.add_feed_forward_length(c.d_ff)
    writer.add_head_count(c.n_head)
    writer.add_head_count_kv(c.n_kv_head)
    writer.add_key_length(c.d_head)
    writer.add_value_length(c.d_head)
    writer.add_rope_dimension_count(c.d_head)
    writer.add_rope_freq_base(rope_theta(c))
    writer.add_layer_norm_rms_eps(c.norm_eps)


def _add_tokenizer(writer: Any, folder: Path, vocab_size: int) -> None:
    """Tokens, their types, merges, special ids and the chat template of a byte-level BPE."""
    described = read_json(folder / "tokenizer.json")
    ids = special_ids(folder, vocab_size)
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [UNUSED] * vocab_size
    for token, i in described["model"]["vocab"].items():
        tokens[i], types[i] = token, NORMAL
    for token in described["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], CONTROL if token["special"] else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]])
    for role, i in ids.items():
        getattr(writer, f"add_{role}_token_id")(i)
    if "bos" in ids:
        writer.add_add_bos_token(True)  # every document began with it
        writer.add_eot_token_id(ids["bos"])  # and a text ends where the next one begins
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if template:
        writer.add_chat_template(template)


def _bytes(tensor: Tensor, dtype: torch.dtype, name: str) -> np.ndarray[Any, Any]:
    stored = tensor.to("cpu", dtype).contiguous()
    if dtype == torch.float16 and not bool(stored.isfinite().all()):
        raise ValueError(f"{name} holds numbers beyond float16: take bfloat16")
    return stored.view(torch.uint8).numpy()
