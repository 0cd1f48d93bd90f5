"""Does it fit? Memory of a shape in training and in use, by arithmetic alone: nothing here imports torch.

Training holds weights, gradients and optimizer states, so many bytes a parameter. What it computes with comes on top, bf16:

    kept       2 rows T (runs block + 2d)        numbers that wait for the backward pass; with every block checkpointed
               2 rows T (runs d + 2d)            only its input
    then       the larger of what the loss needs (a chunk of n = 2^25 / V positions; the table's gradient) and what one block does
    loss       12 n V + 8 V d + 2 rows T (d + head)    logits in fp32 and bf16, two chunks of them; `head`: what one extra head keeps
    block      2 rows T (2d + ffn, + block)      its gradients, and its numbers once more where they are recomputed
    cache      2 Hk dh 2 min(context, window)    keys and values, for each layer as often as it runs

A block keeps 4d + 3(Hq + Hk)dh + 3f numbers a token: what goes into both norms and out of them; queries and keys before the
norm and after the rotation, values, what attention gives; gate, up and their product.

Limits: these are fused kernels (torch.compile; attention without a matrix of scores); eager keeps up to
a third more. Extra heads run one after another, each with its backward pass. Temporaries of the update are left out: they
come when the activations are gone. A cache grows in powers of two, up to twice what its tokens fill. GB are 10^9 bytes: a card
sold as 16 GB has 16 GiB, and the 7% between pay for the driver's context and for fragmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model import counts
from model.config import DecoderConfig

GB = 10**9
BF16 = 2
LOGITS = 1 << 25  # logits of a chunk (loss.py)
MOST = 1 << 40  # where the search for what fits ends


@dataclass(frozen=True)
class Optimizer:
    """Bytes per parameter, at rest. 8-bit states are one code for each moment, and an fp32 absmax per 256 of them: 2(1 + 4/256)."""

    name: str
    weights: float
    gradients: float
    states: float
    plain_tables: bool = False  # token tables keep AdamW's two fp32 moments
    released: bool = False  # updated within the backward pass, each gradient freed at once

    @property
    def per_param(self) -> float:
        return self.weights + self.gradients + self.states


EIGHT_BIT = 2 * (1 + 4 / 256)
OPTIMIZERS = (
    Optimizer("AdamW, fp32 weights", 4, 4, 8),
    Optimizer("AdamW, bf16 weights", 2, 2, 8),
    Optimizer("8-bit AdamW", 2, 2, EIGHT_BIT, plain_tables=True),
    Optimizer("8-bit AdamW in backward", 2, 0, EIGHT_BIT, plain_tables=True, released=True),
    Optimizer("Muon, bf16 momentum", 2, 2, 2, plain_tables=True),
)


@dataclass(frozen=True)
class Training:
    """Bytes while training. The loss and a block's backward pass do not meet: the larger counts."""

    weights: int
    gradients: int
    states: int
    beside: int  # fp32 states of token tables, bf16 copies of fp32 weights, gradients alive while each is freed at once
    kept: int
    block: int
    loss: int

    @property
    def at_rest(self) -> int:
        return self.weights + self.gradients + self.states

    @property
    def activations(self) -> int:
        return self.kept + max(self.block, self.loss)

    @property
    def total(self) -> int:
        return self.at_rest + self.beside + self.activations


@dataclass(frozen=True)
class Inference:
    """Bytes in use: weights in bf16, keys and values, and one block's numbers while the whole context is read at once."""

    weights: int
    cache: int
    reading: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.reading


def ffn_activations(c: DecoderConfig) -> int:
    """Numbers per token that an FFN keeps, its input left out."""
    d, f, r = c.d_model, c.d_ff, c.ffn_rank
    other = {
        "relu2": 2 * f,
        "leakyrelu2": 2 * f,
        "lowrank_swiglu": 3 * (f + r),
        "routed_lowrank_swiglu": d + c.ffn_top_k * (d + 3 * f + 4 * r),
    }
    return other.get(c.ffn_kind, 3 * f)


def block_activations(c: DecoderConfig, layer: int) -> int:
    """Numbers per token that one run of a layer keeps for the backward pass."""
    d, q, kv = c.d_model, c.n_head * c.d_head, c.n_kv_head * c.d_head
    stream = {"none": 4, "shared": 2, "lanes": 8}[c.parallel(layer)] + (2 if c.branch_scale else 0)
    stream += sum((c.resid_mix != "none", c.unet_skips != "none", c.dropout > 0))
    heads = 2 * (q + kv) + (q + kv if c.qk_norm != "none" else 0) + (q if c.qk_gain else 0) + (kv if c.value_residual else 0)
    return stream * d + heads + ffn_activations(c)


def kept_activations(c: DecoderConfig, rows: int, length: int, checkpointed: bool = False) -> int:
    """Bytes that wait for the backward pass; `checkpointed` keeps each block's input only."""
    blocks = sum(c.d_model if checkpointed else block_activations(c, layer) for layer in c.unrolled())
    return BF16 * rows * length * (blocks + 2 * c.d_model)


def passing_activations(c: DecoderConfig, rows: int, length: int, checkpointed: bool = False) -> int:
    """Bytes of one block's backward pass: its gradients, and its own numbers where they are made again."""
    again = max(block_activations(c, layer) for layer in c.unrolled()) if checkpointed else 0
    return BF16 * rows * length * (2 * c.d_model + ffn_activations(c) + again)


def loss_buffers(c: DecoderConfig, rows: int, length: int, checkpointed: bool = False) -> int:
    """Bytes of the loss: one chunk of logits and their gradients, the table's gradient; the extra heads, in turn if checkpointed."""
    d, tokens, table = c.d_model, rows * length, c.padded_vocab_size * c.d_model
    logit = 22 if c.logit_softcap else 12
    extra = 0 if c.mtp_k == 1 else 1 if checkpointed else c.mtp_k - 1
    head = {"mlp": 4 * d + 2 * c.mtp_hidden, "deepseek": 6 * d + block_activations(c, 0), "shared": 0}[c.mtp_kind] if c.mtp_k > 1 else 0
    tables = (4 + BF16 + BF16) * table + (0 if checkpointed else extra * BF16 * table)
    return min(tokens, chunk(c.vocab_size)) * c.vocab_size * logit + tables + BF16 * tokens * (d + extra * head)


def chunk(vocab_size: int) -> int:
    """Positions whose logits are alive at a time."""
    return max(64, min(8192, LOGITS // vocab_size))


def training(c: DecoderConfig, optimizer: Optimizer, rows: int, length: int, checkpointed: bool = False) -> Training:
    """Bytes of one step on a micro-batch of `rows` rows of `length` tokens."""
    n = counts.param_count(c)
    return Training(
        round(n * optimizer.weights),
        round(n * optimizer.gradients),
        round(n * optimizer.states),
        round(_beside(c, optimizer, checkpointed)),
        kept_activations(c, rows, length, checkpointed),
        passing_activations(c, rows, length, checkpointed),
        loss_buffers(c, rows, length, checkpointed),
    )


def _beside(c: DecoderConfig, optimizer: Optimizer, checkpointed: bool) -> float:
    d, head = c.d_model, c.padded_vocab_size * c.d_model
    extra = _tables(c) * (8 - optimizer.states) if optimizer.plain_tables else 0
    if optimizer.released:  # a tied table's gradient lives from the loss to the end; of the others one at a time
        extra += optimizer.weights * (head + max(d * c.d_ff, d * c.n_head * c.d_head))
    if optimizer.weights > BF16 or c.ffn_kind == "ternary_swiglu" or c.ternary_attn:  # what the products really multiply with
        layer = counts.attention(c) + counts.ffn(c) + counts.gate(c)
        extra += BF16 * (layer * (1 if checkpointed else len(c.unrolled())) + head)
    return extra


def _tables(c: DecoderConfig) -> int:
    """Parameters of all tables that are looked up, and of an untied head."""
    values = c.value_embed
    wide = 0 if values is None else values.dim if values.kind == "shared" else len(values.layers) * c.n_kv_head * c.d_head
    pairs = c.bigram_hash.rows * c.bigram_hash.dim if c.bigram_hash is not None else 0
    return counts.tables(c) + c.padded_vocab_size * wide + pairs


def cache_bytes(c: DecoderConfig, context: int, rows: int = 1) -> int:
    """Bytes of keys and values in bf16 behind `context` tokens: 2 Hk dh for each layer as often as it runs, within its window."""
    windows = c.windows()
    held = sum(min(context, windows[i] or context) for i in c.unrolled())
    return rows * held * 2 * c.n_kv_head * c.d_head * BF16


def inference(c: DecoderConfig, context: int, rows: int = 1) -> Inference:
    """Bytes of `rows` conversations of `context` tokens each."""
    reading = rows * context * (3 * c.d_model + ffn_activations(c)) * BF16 + rows * c.padded_vocab_size * 4
    return Inference(BF16 * counts.param_count(c), cache_bytes(c, context, rows), reading)


def rows_that_fit(c: DecoderConfig, optimizer: Optimizer, length: int, budget: float, checkpointed: bool = False) -> int:
    """The largest micro-batch of rows of `length` tokens within `budget` bytes; 0 when not even one fits."""
    return most(lambda rows: training(c, optimizer, rows, length, checkpointed).total <= budget)


def longest_context(c: DecoderConfig, budget: float, rows: int = 1) -> int:
    """Tokens of context for which memory suffices, whatever max_seq_len says; 0 when not even one."""
    return most(lambda context: inference(c, context, rows).total <= budget)


def training_fit(c: DecoderConfig, optimizer: Optimizer, rows: int, length: int, budget: float) -> dict[str, Any]:
    """Bytes of training, whether they fit, and the most rows that do: blocks 'kept', and 'checkpointed'."""
    found: dict[str, Any] = {"optimizer": optimizer.name, "bytes_per_param": optimizer.per_param}
    for way, checkpointed in (("kept", False), ("checkpointed", True)):
        m = training(c, optimizer, rows, length, checkpointed)
        fits = {"fits": m.total <= budget, "rows_that_fit": rows_that_fit(c, optimizer, length, budget, checkpointed)}
        found |= {"weights": m.weights, "gradients": m.gradients, "states": m.states, "at_rest": m.at_rest}
        found[way] = {"beside": m.beside, "kept": m.kept, "block": m.block, "loss": m.loss, "total": m.total, **fits}
    return found


def inference_fit(c: DecoderConfig, rows: int, context: int, budget: float) -> dict[str, Any]:
    """Bytes in use, whether they fit, and the longest context that does."""
    m = inference(c, context, rows)
    fits = {"fits": m.total <= budget, "context_that_fits": longest_context(c, budget, rows)}
    return {"weights": m.weights, "cache": m.cache, "cache_per_token": cache_bytes(c, 1), "reading": m.reading, "total": m.total, **fits}


def most(fits: Callable[[int], bool]) -> int:
    """The largest number that fits, where each that fits has all smaller ones fit."""
    low, high = 0, 1
    while high < MOST and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
