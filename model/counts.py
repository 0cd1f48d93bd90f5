"""What a shape costs, in closed form: parameters, FLOPs. Nothing here builds a tensor; tests hold it against the tensors.

    embedding + head + layers * (attention + FFN + gains) + options + heads

Three counts are told apart: total, non-embedding (without the token table and an untied head), and active (what one token
uses: top_k of the experts). FLOPs are 6 per matrix weight in use, layers counted as often as they run, a tied table once as
the head and never as the embedding; attention is 12*Hq*dh*T without halving for causality (PaLM, nanochat, torchtitan).
"""

from __future__ import annotations

from model.config import DecoderConfig


def attention(c: DecoderConfig) -> int:
    """The four matrices of a layer."""
    return 2 * c.d_model * c.d_head * (c.n_head + c.n_kv_head)


def ffn(c: DecoderConfig, active: bool = False) -> int:
    """The matrices of a layer's FFN, router and sub-norm included."""
    d, f = c.d_model, c.d_ff
    low_rank = 3 * c.ffn_rank * (d + f)
    return {
        "swiglu": 3 * d * f,
        "relu2": 2 * d * f,
        "leakyrelu2": 2 * d * f,
        "ternary_swiglu": 3 * d * f + (f if c.ternary_sub_norm else 0),
        "lowrank_swiglu": low_rank,
        "routed_lowrank_swiglu": (c.ffn_top_k if active else c.ffn_experts) * low_rank + c.ffn_experts * d,
    }[c.ffn_kind]


def gate(c: DecoderConfig) -> int:
    """The output gate of a layer's attention."""
    width = {"none": 0, "attn_out": c.gate_window, "sparse": c.gate_window, "gated": c.d_model, "gated_bias": c.d_model + 1}
    return c.n_head * width[c.attn_gate]


def block(c: DecoderConfig) -> int:
    """A layer without options: attention, FFN, gains."""
    gains = (2 * c.d_model if c.norm_affine else 0) + (2 * c.d_head if c.qk_norm == "affine" else 0)
    sub_norm = c.n_head * c.d_head if c.ternary_attn and c.ternary_sub_norm else 0
    return attention(c) + ffn(c) + gains + sub_norm


def options(c: DecoderConfig) -> int:
    """What the options of the attention and of the residual stream add, all layers together."""
    d, L, Hq, kv = c.d_model, c.n_layer, c.n_head, c.n_kv_head * c.d_head
    total = L * (gate(c) + (Hq if c.qk_gain else 0) + (2 * d if c.branch_scale else 0))
    total += {"none": 0, "vector": 2 * d, "scalar": 2}[c.resid_mix] * L
    total += c.xsa_last_n * Hq if c.xsa == "learned" else 0
    total += 2 * (L - 1) if c.value_residual else 0
    if c.value_embed is not None:
        n = len(c.value_embed.layers)
        shared = c.value_embed.dim * (c.padded_vocab_size + kv) + 1 + n
        total += shared if c.value_embed.kind == "shared" else n * (c.padded_vocab_size * kv + c.n_kv_head * c.gate_window)
    if c.parallel_from >= 0:  # one normed input for both; or six scalars a layer
        side_by_side = max(0, L - c.parallel_from)
        total += side_by_side * (6 if c.parallel_kind == "lanes" else -d if c.norm_affine else 0)
    total += {"none": 0, "gated": 2 * d * (len(c.unrolled()) // 2), "plain": d * (L // 2)}[c.unet_skips]
    total += {"none": 0, "gate": c.gate_window + 1, "channel": d}[c.smear]
    total += c.bigram_hash.dim * (c.bigram_hash.rows + d) + 1 if c.bigram_hash is not None else 0
    return total + (1 if c.backout else 0)


def mtp(c: DecoderConfig) -> int:
    """The extra heads of multi-token prediction."""
    d, gains = c.d_model, c.d_model if c.norm_affine else 0
    one = {"mlp": 2 * d * c.mtp_hidden + gains, "deepseek": 2 * gains + 2 * d * d + block(c), "shared": 0}[c.mtp_kind]
    return (c.mtp_k - 1) * one


def decision(c: DecoderConfig) -> int:
    """d -> d/2 -> classes."""
    return (c.d_model // 2) * (c.d_model + c.decision_classes) if c.decision_classes else 0


def chart(c: DecoderConfig) -> int:
    """Patches, their rows and columns, the norm."""
    e, d = c.chart_encoder, c.d_model
    return d * (e.channels * e.patch**2 + 2 * (e.size // e.patch)) + (d if c.norm_affine else 0) if e is not None else 0


def tables(c: DecoderConfig) -> int:
    """The token table, and the head where it is not the same."""
    return (1 if c.tie_embeddings else 2) * c.padded_vocab_size * c.d_model


def param_count(c: DecoderConfig) -> int:
    """All parameters."""
    final_gain = c.d_model if c.norm_affine else 0
    return tables(c) + c.n_layer * block(c) + options(c) + final_gain + mtp(c) + decision(c) + chart(c)


def non_embedding_count(c: DecoderConfig) -> int:
    """All parameters but the token table and an untied head."""
    return param_count(c) - tables(c)


def active_count(c: DecoderConfig) -> int:
    """Parameters one token uses: the chosen experts only."""
    modules = c.n_layer + (c.mtp_k - 1 if c.mtp_kind == "deepseek" else 0)
    return param_count(c) - modules * (ffn(c) - ffn(c, active=True))


def matrices(c: DecoderConfig, looping: bool = True) -> int:
    """Weights of the trunk's matrix products and of the head, as often as a token meets them."""
    sub_norm = c.d_ff if c.ffn_kind == "ternary_swiglu" and c.ternary_sub_norm else 0
    layer = attention(c) + ffn(c, active=True) - sub_norm + gate(c)
    inputs = c.bigram_hash.dim * c.d_model if c.bigram_hash is not None else 0
    if c.value_embed is not None and c.value_embed.kind == "shared":
        inputs += len(c.value_embed.layers) * c.value_embed.dim * c.n_kv_head * c.d_head
    return layer * len(c.unrolled(looping)) + inputs + c.padded_vocab_size * c.d_model


def attention_reach(c: DecoderConfig, length: int, looping: bool = True) -> int:
    """Sum over layers of Hq*dh*min(length, window)."""
    windows = c.windows()
    return sum(c.n_head * c.d_head * min(length, windows[i] or length) for i in c.unrolled(looping))


def training_flops(c: DecoderConfig, length: int, looping: bool = True) -> int:
    """FLOPs per token, forward and backward, in rows of `length`; each extra head is its module and a product with the table."""
    extra = mtp(c) - (c.mtp_k - 1) * (ffn(c) - ffn(c, active=True) if c.mtp_kind == "deepseek" else 0)
    heads = extra + (c.mtp_k - 1) * c.padded_vocab_size * c.d_model
    return 6 * (matrices(c, looping) + heads) + 12 * attention_reach(c, length, looping)


def decoding_flops(c: DecoderConfig, context: int) -> int:
    """FLOPs of one generated token behind `context` tokens."""
    return 2 * matrices(c) + 4 * attention_reach(c, context)
