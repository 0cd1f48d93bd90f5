"""Named shapes. Bare names are Qovaryx's, `skylar-` are Skylar's, `golf-` are two parameter-golf records.

Counts follow the equations, not the cards, where a card contradicts itself: 350m is 304,425,984 (its card says ~352M, which
no consistent set of heads reaches), skylar-32b has explicit heads as Qwen3-32B does (its card's ~29.6B leaves them out). The
published golf-caseops lists 35,945,671: 48 more scalars, in layers where they have no effect.
"""

from __future__ import annotations

import difflib
from typing import Any

from model.config import BigramHash, DecoderConfig, Loop, ValueEmbed


def _qovaryx(d_model: int, n_layer: int, n_head: int, n_kv_head: int, d_ff: int, vocab_size: int) -> dict[str, Any]:
    shape = {"vocab_size": vocab_size, "d_model": d_model, "n_layer": n_layer, "n_head": n_head, "n_kv_head": n_kv_head, "d_ff": d_ff}
    return {**shape, "pad_vocab_to": 1, "mtp_k": 4, "decision_classes": 4, "init": "glorot"}


def _skylar(d_model: int, n_head: int, n_kv_head: int, d_head: int, n_layer: int, d_ff: int, window: int, base: float) -> dict[str, Any]:
    shape = {"d_model": d_model, "n_head": n_head, "n_kv_head": n_kv_head, "d_head": d_head, "n_layer": n_layer, "d_ff": d_ff}
    tied = d_model <= 2560  # as Qwen3: 8B and more have a head of their own
    return {"vocab_size": 40_960, **shape, "max_seq_len": window * 1024, "rope_base": base, "tie_embeddings": tied}


_GOLF: dict[str, Any] = {
    "d_model": 512,
    "n_layer": 11,
    "n_head": 8,
    "n_kv_head": 4,
    "ffn_kind": "leakyrelu2",
    "bos_id": 1,
    "max_seq_len": 2048,
    "rope_dims": 16,
    "qk_norm": "plain",
    "qk_gain": 5.0,
    "norm_affine": False,
    "xsa": "full",
    "embed_norm": True,
    "branch_scale": True,
    "resid_mix": "vector",
    "loop": Loop(3, 5, 3),
    "logit_softcap": 30.0,
    "init": "orthogonal",
}

PRESETS: dict[str, dict[str, Any]] = {
    "50m": _qovaryx(512, 12, 8, 2, 1408, 20_242),
    "350m": _qovaryx(1024, 24, 16, 4, 2816, 20_242),
    "1b": _qovaryx(2048, 22, 16, 4, 5504, 20_242),
    "3b": _qovaryx(2944, 32, 16, 4, 7680, 32_000),
    "skylar-test": _skylar(128, 4, 4, 32, 4, 256, 4, 1e5),
    "skylar-small": _skylar(512, 8, 4, 64, 8, 1024, 8, 5e5),
    "skylar-small+": _skylar(640, 10, 5, 64, 10, 1792, 16, 1e6),
    "skylar-medium": _skylar(768, 12, 4, 64, 12, 2048, 16, 1e6),
    "skylar-medium+": _skylar(1024, 16, 4, 64, 18, 2816, 16, 1e6),
    "skylar-large": _skylar(1024, 16, 4, 64, 28, 2816, 16, 5e6),
    "skylar-gold": _skylar(1280, 10, 2, 128, 20, 3456, 16, 1e6),
    "skylar-1b": _skylar(1536, 16, 4, 96, 32, 5120, 32, 5e6),
    "skylar-4b": _skylar(2560, 32, 8, 128, 36, 9728, 32, 1e6),
    "skylar-8b": _skylar(4096, 32, 8, 128, 36, 12_288, 32, 1e6),
    "skylar-14b": _skylar(5120, 40, 8, 128, 40, 17_408, 32, 1e6),
    "skylar-32b": _skylar(5120, 64, 8, 128, 64, 25_600, 128, 1e6),
    "skylar-64b": _skylar(8192, 64, 8, 128, 72, 28_672, 128, 1e6),
    "skylar-96b": _skylar(10_240, 80, 8, 128, 80, 32_768, 128, 1e6),
    "skylar-128b": _skylar(11_264, 88, 8, 128, 92, 32_768, 128, 1e6),
    "golf-bese": {
        **_GOLF,
        "vocab_size": 288,
        "d_ff": 1536,
        "xsa_last_n": 4,
        "value_embed": ValueEmbed("shared", 128, (9, 10)),
        "ln_scale": True,
        "parallel_from": 7,
        "unet_skips": "plain",
        "smear": "channel",
        "bigram_hash": BigramHash(2048, 128),
    },
    "golf-caseops": {
        **_GOLF,
        "vocab_size": 8192,
        "d_ff": 2048,
        "xsa_last_n": 11,
        "attn_gate": "sparse",
        "parallel_from": 8,
        "parallel_kind": "lanes",
        "unet_skips": "gated",
        "smear": "gate",
    },
}


def preset(name: str, **changes: Any) -> DecoderConfig:
    """The named shape, with other fields where they are given. ValueError for a name that is none."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, list(PRESETS), 1, 0.4)
        raise ValueError(
            f"there is no preset '{name}'" + (f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(PRESETS)}")
        )
    return DecoderConfig.from_dict({**PRESETS[name], **changes})
