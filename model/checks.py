"""Which shapes are possible: the rules between the fields of a config, each with the sentence that says what would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.config import DecoderConfig

FFN_KINDS = ("swiglu", "relu2", "leakyrelu2", "ternary_swiglu", "lowrank_swiglu", "routed_lowrank_swiglu")
CHOICES: dict[str, tuple[str, ...]] = {
    "ffn_kind": FFN_KINDS,
    "qk_norm": ("none", "plain", "affine"),
    "xsa": ("learned", "full"),
    "attn_gate": ("none", "attn_out", "gated", "sparse", "gated_bias"),
    "resid_mix": ("none", "vector", "scalar"),
    "parallel_kind": ("shared", "lanes"),
    "unet_skips": ("none", "gated", "plain"),
    "smear": ("none", "gate", "channel"),
    "mtp_kind": ("mlp", "deepseek", "shared"),
    "init": ("zero_out", "glorot", "orthogonal"),
}


def check(c: DecoderConfig) -> None:
    """ValueError with the first rule that does not hold."""
    for name in "vocab_size d_model n_layer n_head d_ff n_kv_head d_head max_seq_len pad_vocab_to ffn_rank mtp_k gate_window".split():
        if getattr(c, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(c, name)}")
    for name, known in CHOICES.items():
        if getattr(c, name) not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not '{getattr(c, name)}'")
    narrow = c.attn_gate in ("attn_out", "sparse") or c.smear == "gate" or (c.value_embed is not None and c.value_embed.kind == "table")
    rules = [
        (c.n_head % c.n_kv_head == 0, f"n_head ({c.n_head}) must be a multiple of n_kv_head ({c.n_kv_head})"),
        (c.rope_dims % 2 == 0 and 0 < c.rope_dims <= c.d_head, f"rope_dims ({c.rope_dims}) must be even and at most d_head ({c.d_head})"),
        (c.rope_base > 1 and c.norm_eps > 0, "rope_base must be above 1 and norm_eps above 0"),
        (min(c.logit_softcap, c.attn_softcap, c.qk_gain, c.attn_scale) >= 0, "softcaps, qk_gain and attn_scale must be 0 or more"),
        (0 <= c.dropout < 1, f"dropout must lie between 0 and 1, not {c.dropout}"),
        (-1 <= c.bos_id < c.vocab_size, f"bos_id ({c.bos_id}) must be a token of the vocabulary"),
        (bool(c.window_pattern) and set(c.window_pattern) <= {"L", "S"}, f"window_pattern is made of L and S, not '{c.window_pattern}'"),
        (0 <= c.xsa_last_n <= c.n_layer, f"xsa_last_n ({c.xsa_last_n}) must lie between 0 and n_layer ({c.n_layer})"),
        (c.gate_window <= c.d_model or not narrow, f"gate_window ({c.gate_window}) must be at most d_model ({c.d_model})"),
        (-1 <= c.parallel_from <= c.n_layer, f"parallel_from ({c.parallel_from}) must be a layer, or -1"),
        (1 <= c.ffn_top_k <= c.ffn_experts, f"ffn_top_k ({c.ffn_top_k}) must lie between 1 and ffn_experts ({c.ffn_experts})"),
        (min(c.mup_base_d, c.mup_base_d_head, c.mup_base_layers) >= 0, "muP's bases must be 0 (off) or more"),
        (c.decision_classes >= 0 and c.decision_classes != 1, "decision_classes must be 0 or at least 2"),
        (
            c.smear == "none" or c.smear == "channel" or c.bos_id >= 0,
            "smear 'gate' needs bos_id: without it documents leak into each other",
        ),
        (c.bigram_hash is None or c.bos_id >= 0, "bigram_hash needs bos_id: without it documents leak into each other"),
    ]
    if c.ffn_kind == "ternary_swiglu" or c.ternary_attn:
        widths = [c.d_model] + ([c.d_ff] if c.ffn_kind == "ternary_swiglu" else []) + ([c.n_head * c.d_head] if c.ternary_attn else [])
        fits = c.ternary_group >= 0 and all(not c.ternary_group or w % c.ternary_group == 0 for w in widths)
        named = ", ".join(map(str, widths))
        rules.append((fits, f"ternary_group ({c.ternary_group}) must divide the inputs of every ternary matrix ({named}), or be 0"))
    if c.rope_scaling is not None:
        s = c.rope_scaling
        rules.append((s.kind in ("ntk", "yarn") and s.factor >= 1, "rope_scaling: kind is ntk or yarn, factor at least 1"))
        rules.append((s.kind != "yarn" or s.trained > 0, "rope_scaling 'yarn' needs the trained window"))
        rules.append((s.kind != "ntk" or c.rope_dims > 2, "rope_scaling 'ntk' needs rope_dims above 2"))
    if c.value_embed is not None:
        v = c.value_embed
        rules.append((v.kind in ("shared", "table") and v.dim > 0, "value_embed: kind is shared or table, dim at least 1"))
        inside = len(set(v.layers)) == len(v.layers) and all(0 <= i < c.n_layer for i in v.layers)
        rules.append((inside, f"value_embed.layers {list(v.layers)} must be different layers below {c.n_layer}"))
    if c.loop is not None:
        o = c.loop
        inside = 0 <= o.first <= o.last < c.n_layer and o.passes >= 1
        rules.append((inside, f"loop {o.first}..{o.last} must lie within {c.n_layer} layers, passes at least 1"))
        rules.append((0 <= o.start <= 1, "loop.start is a fraction of the training"))
    if c.bigram_hash is not None:
        rules.append((c.bigram_hash.rows >= 2 and c.bigram_hash.dim >= 1, "bigram_hash: rows at least 2, dim at least 1"))
    if c.chart_encoder is not None:
        e = c.chart_encoder
        whole = min(e.channels, e.patch) >= 1 and e.size % e.patch == 0
        rules.append((whole, f"chart_encoder: size ({e.size}) must be a multiple of patch ({e.patch})"))
    for holds, message in rules:
        if not holds:
            raise ValueError(message)
