"""The config: strict, honest about what does not fit, exact in its counts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DecoderConfig, Loop, RopeScaling, ValueEmbed
from model.counts import active_count, decoding_flops, ffn, non_embedding_count, training_flops
from model.presets import PRESETS, preset
from tests.model.options import BASE

CARDS = {
    "50m": 47_474_176,
    "350m": 304_425_984,
    "1b": 1_068_643_840,
    "3b": 3_066_688_256,
    "skylar-test": 5_899_648,
    "skylar-small": 39_855_616,
    "skylar-small+": 72_923_520,
    "skylar-medium": 106_975_488,
    "skylar-medium+": 244_882_688,
    "skylar-large": 357_626_368,
    "skylar-gold": 396_550_400,
    "skylar-1b": 1_006_738_944,
    "skylar-4b": 3_738_369_536,
    "skylar-8b": 7_281_619_968,
    "skylar-14b": 13_631_912_960,
    "skylar-32b": 31_625_729_024,
    "skylar-64b": 62_278_232_064,
    "skylar-96b": 99_826_104_320,
    "skylar-128b": 128_263_923_712,
    "golf-caseops": 35_945_671 - 48,
}


@pytest.mark.parametrize("name", CARDS)
def test_a_preset_has_the_parameters_its_equations_give(name):
    assert preset(name).param_count() == CARDS[name]


def test_the_published_banks_of_a_golf_record_are_its_matrices_and_its_table():
    c = preset("golf-bese")
    assert 11 * (2 * 512 * 512 + 2 * 512 * 256 + ffn(c)) + 288 * 512 == 26_099_712 < c.param_count()


def test_the_four_large_presets_have_qwen3_s_shapes():
    shapes = {"4b": (2560, 36, 32, 9728), "8b": (4096, 36, 32, 12_288), "14b": (5120, 40, 40, 17_408), "32b": (5120, 64, 64, 25_600)}
    for size, expected in shapes.items():
        c = preset(f"skylar-{size}")
        assert (c.d_model, c.n_layer, c.n_head, c.d_ff) == expected and (c.n_kv_head, c.d_head) == (8, 128)


def test_a_mixture_is_counted_as_it_is_and_not_as_its_card_says():
    routed = preset("1b", ffn_kind="routed_lowrank_swiglu", mtp_k=1, decision_classes=0)
    assert ffn(routed) == 11_608_064
    assert round(routed.param_count() / 1e6, 1) == 527.6 and round(active_count(routed) / 1e6, 1) == 336.2


def test_the_kinds_of_count_differ_by_what_they_leave_out():
    c = preset("3b")
    assert c.param_count() - non_embedding_count(c) == 32_000 * 2944 and active_count(c) == c.param_count()


def test_flops_are_six_per_weight_and_twelve_per_place_that_is_attended_to():
    c = BASE
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48
    assert training_flops(c, 20) == 6 * (4 * layer + 64 * 32) + 12 * 4 * 32 * 20
    assert decoding_flops(c, 20) == 2 * (4 * layer + 64 * 32) + 4 * 4 * 32 * 20
    looped = BASE.replace(loop=Loop(1, 2, 3))
    assert training_flops(looped, 20) - training_flops(c, 20) == 6 * 4 * layer + 12 * 4 * 32 * 20
    short = BASE.replace(window_pattern="S", window=5)
    assert training_flops(c, 20) - training_flops(short, 20) == 12 * 3 * 32 * 15


@settings(max_examples=40, deadline=None)
@given(
    vocab=st.integers(2, 300),
    width=st.sampled_from([8, 20, 32]),
    layers=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 1), (3, 3)]),
    d_head=st.sampled_from([2, 8, 12]),
    d_ff=st.integers(1, 40),
    tied=st.booleans(),
    qk_norm=st.sampled_from(["none", "plain", "affine"]),
    affine=st.booleans(),
    mtp_k=st.integers(1, 3),
    pad=st.sampled_from([1, 64]),
)
def test_the_closed_form_count_is_the_count_of_the_tensors(vocab, width, layers, heads, d_head, d_ff, tied, qk_norm, affine, mtp_k, pad):
    import torch

    from model.decoder import Decoder

    named = {"tie_embeddings": tied, "qk_norm": qk_norm, "norm_affine": affine, "mtp_k": mtp_k, "pad_vocab_to": pad}
    config = DecoderConfig(vocab, width, layers, heads[0], d_ff, heads[1], d_head, gate_window=4, **named)
    with torch.device("meta"):
        model = Decoder(config)
    assert config.param_count() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_modle": 4}, "did you mean 'd_model'"),
        ({"n_head": True}, "must be int"),
        ({"tie_embeddings": 1}, "must be bool"),
        ({"n_kv_head": 3}, "multiple"),
        ({"ffn_kind": "gelu"}, "swiglu, relu2"),
        ({"rope_dims": 5}, "even"),
        ({"window_pattern": "LX"}, "L and S"),
        ({"ffn_top_k": 5}, "ffn_experts"),
        ({"smear": "gate", "bos_id": -1}, "leak"),
        ({"bigram_hash": {"rows": 8}, "bos_id": -1}, "leak"),
        ({"loop": {"first": 2, "last": 1, "passes": 2}}, "within"),
        ({"loop": {"first": 0, "last": 1, "pases": 2}}, "did you mean 'passes'"),
        ({"value_embed": {"layers": [9]}}, "below 4"),
        ({"rope_scaling": {"kind": "yarn", "factor": 2.0}}, "trained window"),
        ({"chart_encoder": {"size": 20}}, "multiple of patch"),
        ({"ternary_attn": True, "ternary_group": 24}, "divide"),
        ({"decision_classes": 1}, "at least 2"),
        ({"loop": 3}, "mapping"),
    ],
)
def test_a_config_refuses_what_it_does_not_know_or_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        BASE.replace(**change)


def test_a_config_names_what_is_missing():
    with pytest.raises(ValueError, match="d_ff"):
        DecoderConfig.from_dict({"vocab_size": 10, "d_model": 8, "n_layer": 1, "n_head": 1})


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="skylar-small"):
        preset("skylar-smal")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_the_round_trip_through_json(name):
    assert DecoderConfig.from_json(preset(name).to_json()) == preset(name)


def test_short_windows_leave_the_last_layer_long():
    c = DecoderConfig(10, 16, 7, 1, 8, window_pattern="SSSL", max_seq_len=2000)
    assert c.windows() == (512, 512, 512, 0, 512, 512, 0)


def test_value_tables_go_to_every_second_layer_and_to_the_last():
    assert dataclasses.replace(BASE, value_embed=ValueEmbed("table")).value_embed.layers == (1, 3)


def test_scaling_of_positions_needs_a_factor_of_at_least_one():
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(BASE, rope_scaling=RopeScaling("ntk", 0.5))
