"""A small decoder with each option on, for the laws that must hold whatever is on."""

from __future__ import annotations

import torch

from model.config import BigramHash, ChartEncoder, DecoderConfig, Loop, RopeScaling, ValueEmbed
from model.decoder import Decoder

BOS = 1
BASE = DecoderConfig(
    vocab_size=61, d_model=32, n_layer=4, n_head=4, n_kv_head=2, d_ff=48, max_seq_len=64, ffn_rank=8, gate_window=6, bos_id=BOS
)
OPTIONS = {
    "plain": {},
    "untied": {"tie_embeddings": False},
    "wide heads": {"d_head": 12},
    "one head per key": {"n_kv_head": 4},
    "no gains": {"norm_affine": False, "qk_norm": "plain"},
    "no qk norm": {"qk_norm": "none"},
    "qk gain": {"qk_gain": 1.2},
    "partial rope": {"rope_dims": 4},
    "ntk": {"rope_scaling": RopeScaling("ntk", 4.0)},
    "yarn": {"rope_scaling": RopeScaling("yarn", 4.0, 16)},
    "windows": {"window_pattern": "SL", "window": 5},
    "score softcap": {"attn_softcap": 5.0},
    "softcap": {"logit_softcap": 8.0},
    "xsa": {"xsa_last_n": 2},
    "full xsa": {"xsa_last_n": 4, "xsa": "full"},
    "gate attn_out": {"attn_gate": "attn_out"},
    "gate gated": {"attn_gate": "gated"},
    "gate sparse": {"attn_gate": "sparse"},
    "gate gated_bias": {"attn_gate": "gated_bias"},
    "value residual": {"value_residual": True},
    "shared value embedding": {"value_embed": ValueEmbed("shared", 8, (1, 3))},
    "value tables": {"value_embed": ValueEmbed("table")},
    "relu2": {"ffn_kind": "relu2"},
    "leakyrelu2": {"ffn_kind": "leakyrelu2"},
    "ternary": {"ffn_kind": "ternary_swiglu", "ternary_group": 16, "ternary_activations": True},
    "ternary attention": {"ternary_attn": True, "ternary_group": 0},
    "low rank": {"ffn_kind": "lowrank_swiglu"},
    "routed": {"ffn_kind": "routed_lowrank_swiglu"},
    "routed to two": {"ffn_kind": "routed_lowrank_swiglu", "ffn_top_k": 2},
    "embed norm": {"embed_norm": True},
    "ln scale": {"ln_scale": True},
    "branch scale": {"branch_scale": True},
    "resid mix": {"resid_mix": "vector"},
    "scalar resid mix": {"resid_mix": "scalar"},
    "parallel": {"parallel_from": 2},
    "two lanes": {"parallel_from": 1, "parallel_kind": "lanes"},
    "gated skips": {"unet_skips": "gated"},
    "plain skips": {"unet_skips": "plain"},
    "skips and lanes": {"unet_skips": "gated", "parallel_from": 2, "parallel_kind": "lanes"},
    "backout": {"backout": True},
    "loop": {"loop": Loop(1, 2, 3)},
    "loop and skips": {"loop": Loop(1, 2, 3), "unet_skips": "gated"},
    "loop and plain skips": {"loop": Loop(1, 2, 3), "unet_skips": "plain"},
    "smear": {"smear": "gate"},
    "channel smear": {"smear": "channel"},
    "bigram": {"bigram_hash": BigramHash(64, 8)},
    "bigram and smear": {"bigram_hash": BigramHash(64, 8), "smear": "gate"},
    "mtp": {"mtp_k": 4},
    "mtp chain": {"mtp_k": 3, "mtp_kind": "deepseek"},
    "mtp shared": {"mtp_k": 3, "mtp_kind": "shared"},
    "decision": {"decision_classes": 4},
    "chart": {"chart_encoder": ChartEncoder(3, 16, 8)},
    "open chart": {"chart_encoder": ChartEncoder(3, 16, 8, True)},
    "mup": {"mup_base_d": 16, "mup_base_d_head": 4, "mup_base_layers": 2},
    "everything": {
        "tie_embeddings": False,
        "qk_gain": 1.2,
        "rope_dims": 4,
        "window_pattern": "SL",
        "window": 7,
        "xsa_last_n": 2,
        "attn_gate": "sparse",
        "value_residual": True,
        "value_embed": ValueEmbed("shared", 8, (1, 3)),
        "ln_scale": True,
        "branch_scale": True,
        "resid_mix": "vector",
        "parallel_from": 3,
        "parallel_kind": "lanes",
        "unet_skips": "gated",
        "loop": Loop(1, 2, 2),
        "smear": "gate",
        "bigram_hash": BigramHash(64, 8),
        "mtp_k": 2,
        "decision_classes": 3,
        "backout": True,
        "embed_norm": True,
    },
}


def shape(option: str, **changes) -> DecoderConfig:
    return BASE.replace(**{**BASE_DERIVED, **OPTIONS[option], **changes})


BASE_DERIVED = {"d_head": 0, "rope_dims": 0, "window": 0}


def awake(config: DecoderConfig, seed: int = 3, dtype: torch.dtype = torch.float32) -> Decoder:
    """A decoder whose every weight matters (those that begin at zero too)."""
    model = Decoder(config, dtype).init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model.eval()


def ids(rows: int = 2, length: int = 24, seed: int = 0, vocab: int = 61) -> torch.Tensor:
    """Random tokens above BOS."""
    return torch.randint(2, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))
