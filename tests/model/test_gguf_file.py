"""GGUF files: what llama.cpp would read from one is this decoder, tensor for tensor and key for key."""

from __future__ import annotations

import gguf
import numpy as np
import plain_decoders as plain
import pytest
import tokenizers
import torch

from model.decoder import Decoder
from model.exports.gguf_file import export_gguf, interleaved
from model.exports.native import names, rope_theta
from packer.bpe import pieces_pattern

LLAMA = {"qk_norm": "none"}
SHAPES = {
    "qwen3": {},
    "qwen3, untied, padded, wide heads": {"tie_embeddings": False, "d_head": 12},
    "qwen3, ntk": {"rope_scaling": {"kind": "ntk", "factor": 4.0}},
    "llama": LLAMA,
    "llama, untied, one key head, wide heads": LLAMA | {"tie_embeddings": False, "d_head": 12, "n_kv_head": 1},
}
THEIR_NAMES = {
    "embedding": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "attention_norm": "attn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.o": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "ffn_norm": "ffn_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
}


def theirs(ours):
    """Our tensor's name in llama.cpp."""
    parts = ours.removesuffix(".weight").split(".")
    if parts[0] == "blocks":
        return f"blk.{parts[1]}.{THEIR_NAMES['.'.join(parts[2:])]}.weight"
    return f"{THEIR_NAMES[parts[0]]}.weight"


def keys(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if not name.startswith("GGUF.")}


def tensors(path):
    """Name -> (type, fp32 values)."""
    found = {}
    for t in gguf.GGUFReader(path).tensors:
        values = t.data.view(np.uint16).astype(np.uint32) << 16 if t.tensor_type.name == "BF16" else t.data
        wide = values.view(np.float32) if t.tensor_type.name == "BF16" else values.astype(np.float32)
        found[t.name] = (t.tensor_type.name, torch.from_numpy(wide.reshape([int(n) for n in reversed(t.shape)]).copy()))
    return found


def halves(weight, heads):
    """Rows of each head back from neighbours to halves."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def rebuilt(path):
    """A decoder made of nothing but the file."""
    said, found = keys(path), tensors(path)
    arch = said["general.architecture"]
    shape = {
        "vocab_size": said[f"{arch}.vocab_size"],
        "d_model": said[f"{arch}.embedding_length"],
        "d_ff": said[f"{arch}.feed_forward_length"],
    }
    shape |= {"n_head": said[f"{arch}.attention.head_count"], "n_kv_head": said[f"{arch}.attention.head_count_kv"], "pad_vocab_to": 1}
    shape |= {
        "d_head": said[f"{arch}.attention.key_length"],
        "rope_base": said[f"{arch}.rope.freq_base"],
        "n_layer": said[f"{arch}.block_count"],
    }
    shape |= {"norm_eps": said[f"{arch}.attention.layer_norm_rms_epsilon"], "max_seq_len": said[f"{arch}.context_length"]}
    shape |= {"qk_norm": "none" if arch == "llama" else "affine", "tie_embeddings": "output.weight" not in found}
    model = plain.decoder(**shape)
    state = {ours: found[theirs(ours)][1] for ours in names(model.config)}
    for ours in state if arch == "llama" else ():
        if ours.endswith(("attention.q.weight", "attention.k.weight")):
            state[ours] = halves(state[ours], shape["n_head" if ".q." in ours else "n_kv_head"])
    model.load_state_dict(state)
    assert len(found) == len(state)
    return model


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_a_decoder_rebuilt_from_the_file_gives_the_same_logits(changes, tmp_path):
    model, ids = plain.decoder(**changes), plain.tokens()
    assert export_gguf(model, tmp_path / "m.gguf") == []
    expected = plain.logits(model, ids)
    assert expected.std() > 0.3
    torch.testing.assert_close(plain.logits(rebuilt(tmp_path / "m.gguf"), ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "stored"), [(None, "F32"), (torch.float16, "F16"), (torch.bfloat16, "BF16")], ids=["own", "float16", "bfloat16"]
)
@pytest.mark.parametrize("changes", [{"tie_embeddings": False}, LLAMA], ids=["qwen3", "llama"])
def test_every_tensor_is_there_exactly_and_gains_stay_fp32(changes, dtype, stored, tmp_path):
    model = plain.decoder(**changes)
    export_gguf(model, tmp_path / "m.gguf", dtype=dtype)
    found, c = tensors(tmp_path / "m.gguf"), model.config
    assert len(found) == len(model.state_dict())
    for ours, tensor in model.state_dict().items():
        kind, values = found[theirs(ours)]
        expected = tensor[: c.vocab_size] if ours.startswith(("embedding", "head")) else tensor
        if tensor.dim() == 1:
            assert kind == "F32" and torch.equal(values, expected)
            continue
        if c.qk_norm == "none" and ".attention." in ours and ours.split(".")[3] in "qk":
            expected = interleaved(expected, c.n_head if ".q." in ours else c.n_kv_head)
        assert kind == stored and torch.equal(values, expected.to(dtype or torch.float32).float())


def test_the_keys_are_those_of_llama_cpp(tmp_path):
    model = plain.decoder(d_head=12, rope_scaling={"kind": "ntk", "factor": 4.0}, norm_eps=1e-5)
    export_gguf(model, tmp_path / "small-one.gguf", dtype=torch.bfloat16)
    said = keys(tmp_path / "small-one.gguf")
    base = said.pop("qwen3.rope.freq_base")
    assert base == pytest.approx(rope_theta(model.config), rel=1e-6) and base > 40_000
    assert said.pop("qwen3.attention.layer_norm_rms_epsilon") == pytest.approx(1e-5)
    assert said == {
        "general.architecture": "qwen3",
        "general.type": "model",
        "general.name": "small-one",
        "general.file_type": gguf.LlamaFileType.MOSTLY_BF16,
        "general.quantization_version": 2,
        "qwen3.vocab_size": 61,
        "qwen3.context_length": 64,
        "qwen3.embedding_length": 32,
        "qwen3.block_count": 2,
        "qwen3.feed_forward_length": 48,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 12,
        "qwen3.attention.value_length": 12,
        "qwen3.rope.dimension_count": 12,
        "tokenizer.ggml.model": "no_vocab",
    }


def test_llama_queries_and_keys_suit_a_rotation_of_neighbours(tmp_path):
    """llama.cpp's rotation for 'llama' turns channels (2j, 2j+1); on the file's matrices it gives the scores that ours give."""
    model, dh = plain.decoder(**LLAMA), 8
    export_gguf(model, tmp_path / "m.gguf")
    found, length = tensors(tmp_path / "m.gguf"), 10
    x = torch.randn(length, 32, generator=torch.Generator().manual_seed(0))
    angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, dh, 2) / dh)
    cos, sin = angles.cos(), angles.sin()

    def turned(weight, heads, first, second):
        y = (x @ weight.T).view(length, heads, dh).transpose(0, 1)
        a, b = y[..., first], y[..., second]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), -1)

    neighbours, split = (slice(0, None, 2), slice(1, None, 2)), (slice(0, dh // 2), slice(dh // 2, None))
    q, k = (turned(found[f"blk.0.attn_{m}.weight"][1], h, *neighbours) for m, h in (("q", 4), ("k", 2)))
    attention = model.blocks[0].attention
    q_ours, k_ours = (turned(matrix.weight.detach(), h, *split) for matrix, h in ((attention.q, 4), (attention.k, 2)))
    scores = torch.einsum("hqjs,hkjs->hqk", q, k.repeat_interleave(2, 0))
    expected = torch.einsum("hqjs,hkjs->hqk", q_ours, k_ours.repeat_interleave(2, 0))
    torch.testing.assert_close(scores, expected)
    assert not torch.equal(found["blk.0.attn_q.weight"][1], attention.q.weight)


def test_the_tokenizer_in_the_file_is_ours_and_cuts_like_it_given_our_pieces(tmp_path):
    ours = plain.tokenizer(tmp_path / "tokenizer")
    export_gguf(plain.decoder(vocab_size=323), tmp_path / "m.gguf", tmp_path / "tokenizer")
    said = keys(tmp_path / "m.gguf")
    listed, types = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "llama-bpe")
    assert listed[:4] == ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"] and listed[320:] == ["[PAD320]", "[PAD321]", "[PAD322]"]
    assert types == [gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * 316 + [gguf.TokenType.UNUSED] * 3
    ids = [said[f"tokenizer.ggml.{role}_token_id"] for role in ("bos", "eos", "padding")]
    assert ids == [ours.bos, ours.im_end, ours.pad]
    assert said["tokenizer.ggml.add_bos_token"] is True and "<|im_start|>assistant" in said["tokenizer.chat_template"]
    merges = [tuple(merge.split(" ")) for merge in said["tokenizer.ggml.merges"]]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({token: i for i, token in enumerate(listed)}, merges))

    def ids_with(pattern, text):
        pieces = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([pieces, level])
        return bpe.encode(text).ids

    sentence = "L'articolo 1978 del comune: perché\n\n  dell'amministrazione chiede?"
    assert ids_with(pieces_pattern(2), sentence) == ours.encode(sentence)
    llama_bpe = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    nearly = ids_with(llama_bpe, sentence)
    assert nearly != ours.encode(sentence) and ours.decode(nearly) == sentence


def test_what_llama_cpp_does_not_compute_is_refused_and_nothing_is_overwritten(tmp_path):
    with pytest.raises(ValueError, match="window_pattern is SL"):
        export_gguf(plain.decoder(window_pattern="SL", window=5), tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="mtp_k 2"):
        export_gguf(plain.decoder(mtp_k=2), tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="float32, float16 or bfloat16, not float64"):
        export_gguf(plain.decoder(), tmp_path / "m.gguf", dtype=torch.float64)
    big: Decoder = plain.decoder()
    with torch.no_grad():
        big.blocks[1].ffn.up.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"layers.1.mlp.up_proj.weight holds numbers beyond float16"):
        export_gguf(big, tmp_path / "m.gguf", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []
    assert export_gguf(plain.decoder(mtp_k=2), tmp_path / "m.gguf", drop_heads=True) == ["mtp_k 2"]
    with pytest.raises(ValueError, match="exists already"):
        export_gguf(plain.decoder(), tmp_path / "m.gguf")
