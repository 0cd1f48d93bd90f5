"""Folders of transformers: the same logits there, the same decoder back, and a refusal for what has no place there."""

from __future__ import annotations

import json

import plain_decoders as plain
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from model.config import DecoderConfig
from model.decoder import Decoder
from model.exports.native import export_native, import_native
from model.presets import preset

LLAMA = {"qk_norm": "none"}
SHAPES = {
    "grouped heads wider than the model": {"d_head": 12},
    "one key head, untied, narrow heads": {"n_kv_head": 1, "d_head": 6, "tie_embeddings": False},
    "padded vocabulary, untied": {"pad_vocab_to": 64, "tie_embeddings": False},
    "no padding, another eps and base": {"pad_vocab_to": 1, "norm_eps": 1e-3, "rope_base": 100.0},
    "ntk": {"rope_scaling": {"kind": "ntk", "factor": 4.0}},
    "windows": {"n_layer": 4, "window_pattern": "SSL", "window": 7},
    "window longer than any row": {"window_pattern": "S", "window": 64},
    "muP at its own base": {"mup_base_d": 32, "mup_base_d_head": 8, "mup_base_layers": 2, "dropout": 0.1},
    "llama": LLAMA,
    "llama, grouped heads wider than the model, untied": LLAMA | {"d_head": 12, "tie_embeddings": False},
    "llama, ntk, d_head 16": LLAMA | {"d_head": 16, "rope_scaling": {"kind": "ntk", "factor": 2.0}},
}


def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_transformers_computes_the_same_logits_and_the_decoder_comes_back_bit_for_bit(changes, tmp_path):
    model, ids = plain.decoder(**changes), plain.tokens()
    assert export_native(model, tmp_path / "out") == []
    there = theirs(tmp_path / "out")
    assert type(there).__name__ == ("LlamaForCausalLM" if changes.get("qk_norm") == "none" else "Qwen3ForCausalLM")
    expected = plain.logits(model, ids)
    with torch.no_grad():
        found = there(ids).logits
    assert found.shape == expected.shape and expected.std() > 0.3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    back = import_native(tmp_path / "out")
    state = back.state_dict()
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(tensor[: len(state[name])], state[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(plain.logits(back, ids), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"n_layer": 3, "window_pattern": "SL", "window": 5}, LLAMA], ids=["qwen3", "windows", "llama"])
def test_transformers_generates_the_same_text(changes, tmp_path):
    model, ids = plain.decoder(8, **changes), plain.tokens(1, 8)
    export_native(model, tmp_path / "out")
    found = theirs(tmp_path / "out").generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)
    expected = ids
    for _ in range(24):
        expected = torch.cat((expected, plain.logits(model, expected)[:, -1:].argmax(-1)), 1)
    assert found.tolist() == expected.tolist() and len(set(expected[0, 8:].tolist())) > 3


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_that_transformers_wrote_is_read(kind, tied, tmp_path):
    shape = {"vocab_size": 51, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 64, "tie_word_embeddings": tied, "bos_token_id": 2}
    config, of = {
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }[kind]
    torch.manual_seed(0)
    there = of(config(**shape, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, initializer_range=0.2)).eval()
    there.save_pretrained(tmp_path / "in", max_shard_size="20KB")
    assert len(list((tmp_path / "in").glob("*.safetensors"))) > 1
    model, ids = import_native(tmp_path / "in"), plain.tokens(below=51)
    assert (model.config.bos_id, model.config.rope_base, model.config.tie_embeddings) == (2, 5000.0, tied)
    with torch.no_grad():
        torch.testing.assert_close(plain.logits(model, ids), there(ids).logits, atol=1e-4, rtol=0)


def test_the_older_spelling_of_the_rotation_is_read(tmp_path):
    model = plain.decoder(rope_base=777.0)
    export_native(model, tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    described = json.loads(file.read_text())
    del described["rope_parameters"]
    file.write_text(json.dumps(described | {"rope_scaling": None}))
    assert import_native(tmp_path / "out").config.rope_base == 777.0


def test_bf16_weights_are_written_as_bf16_and_come_back_exactly(tmp_path):
    model = plain.decoder().to(torch.bfloat16)
    export_native(model, tmp_path / "own")
    export_native(plain.decoder(), tmp_path / "cast", dtype=torch.bfloat16)
    stored = load_file(tmp_path / "own" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    cast = load_file(tmp_path / "cast" / "model.safetensors")
    assert all(torch.equal(stored[name], cast[name]) for name in stored)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "own").dtype == torch.bfloat16
    back, ids = import_native(tmp_path / "own"), plain.tokens()
    with torch.no_grad():
        torch.testing.assert_close(plain.logits(back, ids), theirs(tmp_path / "own")(ids).logits, atol=1e-4, rtol=0)
    export_native(back, tmp_path / "again", dtype=torch.bfloat16)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "own" / "model.safetensors").read_bytes()


def test_a_big_model_is_written_in_several_files_with_an_index(tmp_path):
    model, ids = plain.decoder(tie_embeddings=False), plain.tokens()
    export_native(model, tmp_path / "out", shard_bytes=20_000)
    files = sorted(file.name for file in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all((tmp_path / "out" / file).stat().st_size < 25_000 for file in files)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * sum(p.numel() for p in import_native(tmp_path / "out").parameters())
    with torch.no_grad():
        torch.testing.assert_close(plain.logits(model, ids), theirs(tmp_path / "out")(ids).logits, atol=1e-4, rtol=0)
    (tmp_path / "out" / files[1]).unlink()
    with pytest.raises(ValueError, match=files[1]):
        import_native(tmp_path / "out")


def test_heads_beside_the_trunk_are_left_out_only_when_asked(tmp_path):
    encoder = {"channels": 1, "size": 8, "patch": 4}
    model = plain.decoder(mtp_k=3, decision_classes=4, chart_encoder=encoder)
    with pytest.raises(ValueError, match="mtp_k 3, decision_classes 4, chart_encoder on.*drop_heads"):
        export_native(model, tmp_path / "out")
    assert export_native(model, tmp_path / "out", drop_heads=True) == ["mtp_k 3", "decision_classes 4", "chart_encoder on"]
    ids = plain.tokens()
    with torch.no_grad():
        torch.testing.assert_close(plain.logits(model, ids), theirs(tmp_path / "out")(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ffn_kind": "relu2", "attn_softcap": 20.0}, ["ffn_kind is relu2 (fits: swiglu)", "attn_softcap is 20.0 (fits: off)"]),
        ({"qk_norm": "plain", "norm_affine": False}, ["qk_norm is plain (fits: affine)", "norm_affine is False (fits: True)"]),
        ({"rope_dims": 4}, ["rope_dims is 4 (fits: d_head, 8)"]),
        ({"rope_scaling": {"kind": "yarn", "factor": 2.0, "trained": 32}}, ["rope_scaling is yarn (fits: none or ntk)"]),
        ({"mup_base_d": 16, "mup_base_layers": 1}, ["mup_base_d is 16 (fits: 0 or 32)", "mup_base_layers is 1 (fits: 0 or 2)"]),
        ({"attn_scale": 0.5}, ["attn_scale is 0.5 (fits: 1/sqrt(d_head))"]),
        ({"mup_base_d_head": 4}, ["mup_base_d_head is 4 (fits: 0 or 8)"]),
        ({"loop": {"first": 0, "last": 1, "passes": 2}, "logit_softcap": 30.0}, ["loop is ", "logit_softcap is 30.0 (fits: off)"]),
        ({"bigram_hash": {}, "smear": "gate", "bos_id": 1}, ["smear is gate (fits: none)", "bigram_hash is ", "(fits: off)"]),
        (LLAMA | {"window_pattern": "SL", "window": 5}, ["no plain LlamaForCausalLM", "window_pattern is SL (fits: L)"]),
        (LLAMA | {"n_head": 6, "n_kv_head": 6, "d_head": 8}, ["d_model is 32 (fits: a multiple of n_head, 6)"]),
    ],
)
def test_what_is_not_plain_is_refused_field_by_field(changes, named, tmp_path):
    with torch.device("meta"):
        model = Decoder(DecoderConfig.from_dict(plain.SHAPE | changes))
    with pytest.raises(ValueError) as refused:
        export_native(model, tmp_path / "out")
    assert all(words in str(refused.value) for words in named)
    assert list(tmp_path.iterdir()) == []


def test_every_option_of_a_record_is_named():
    with torch.device("meta"):
        model = Decoder(preset("golf-bese"))
    options = "rope_dims qk_norm qk_gain xsa_last_n value_embed ffn_kind embed_norm ln_scale branch_scale resid_mix parallel_from"
    with pytest.raises(ValueError) as refused:
        export_native(model, None)
    for name in f"{options} unet_skips loop smear bigram_hash logit_softcap norm_affine".split():
        assert f"{name} is " in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gemma"}, "model_type 'gemma'"),
        ({"attention_bias": True, "hidden_act": "gelu"}, "hidden_act 'gelu', attention_bias True"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_parameters.rope_type 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_parameters.rope_type 'linear'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_parameters.full_attention"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"use_sliding_window": True, "sliding_window": 9, "layer_types": None, "max_window_layers": 1}, "layer_types"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types"),
        ({"rms_norm_eps": None}, "config.json lacks rms_norm_eps"),
        ({"num_attention_heads": 3}, "n_head (3) must be a multiple of n_kv_head (2)"),
        ({"hidden_size": 40}, r"model.embed_tokens.weight is torch.float32 [61, 32], config.json asks for [61, 40]"),
        ({"tie_word_embeddings": False}, "lacks 1 tensors, among them lm_head.weight"),
        ({"num_hidden_layers": 1, "layer_types": None}, "model.layers.1."),
    ],
)
def test_a_folder_this_decoder_does_not_compute_is_refused_by_name(changes, named, tmp_path):
    export_native(plain.decoder(), tmp_path / "in")
    file = tmp_path / "in" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError) as refused:
        import_native(tmp_path / "in")
    assert named in str(refused.value)


def test_a_tensor_without_a_place_is_refused(tmp_path):
    export_native(plain.decoder(), tmp_path / "in")
    file = tmp_path / "in" / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, file)
    with pytest.raises(ValueError, match="self_attn.q_proj.bias"):
        import_native(tmp_path / "in")


def test_nothing_is_overwritten_and_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    model = plain.decoder()
    (tmp_path / "empty").mkdir()
    export_native(model, tmp_path / "empty")
    with pytest.raises(ValueError, match="holds something already"):
        export_native(model, tmp_path / "empty")
    with pytest.raises(ValueError, match="float32 or bfloat16, not float16"):
        export_native(model, tmp_path / "half", dtype=torch.float16)
    with pytest.raises(ValueError, match="kind must be"):
        export_native(model, tmp_path / "half", kind="gpt2")
    written = []

    def full_disk(tensors, file, metadata):
        save_file(tensors, file, metadata)
        written.append(file)
        if len(written) == 2:
            raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        export_native(model, tmp_path / "half", shard_bytes=20_000)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_the_tokenizer_goes_along_and_gives_the_same_tokens(tmp_path):
    ours = plain.tokenizer(tmp_path / "tokenizer")
    export_native(plain.decoder(vocab_size=ours.vocab_size), tmp_path / "out", tokenizer=tmp_path / "tokenizer")
    there = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    sentence = "L'articolo 1978 del comune: perché\n\n  dell'amministrazione?"
    assert there.encode(sentence) == ours.encode(sentence)
    assert there.decode(ours.encode(sentence)) == sentence
    assert (there.bos_token_id, there.eos_token_id, there.pad_token_id) == (ours.bos, ours.im_end, ours.pad)
    messages = [{"role": "user", "content": "il comune"}, {"role": "assistant", "content": "approva"}]
    chat = there.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert chat == ours.encode_chat(messages)[0]
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert generation.eos_token_id == [ours.bos, ours.im_end] and generation.pad_token_id == ours.pad
    assert import_native(tmp_path / "out").config.bos_id == ours.bos


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    plain.tokenizer(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="320 tokens, the model 61"):
        export_native(plain.decoder(), tmp_path / "out", tokenizer=tmp_path / "tokenizer")
