"""The decoder's shape: one frozen dataclass, every field here and none elsewhere.

A config is strict (an unknown key or an impossible shape is a ValueError that says what would fit) and makes the round trip
through JSON unchanged. What it costs is in `counts.py`, named shapes are in `presets.py`. Every option is off by default;
what it computes is said where it is computed.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.checks import check


@dataclass(frozen=True)
class RopeScaling:
    """Positions beyond the trained window: 'ntk' rescales the base, 'yarn' ramps each frequency and warms the softmax."""

    kind: str  # 'ntk' or 'yarn'
    factor: float  # s: new window / trained window
    trained: int = 0  # trained window, tokens ('yarn')


@dataclass(frozen=True)
class ValueEmbed:
    """Token tables added to the values of some layers: one narrow 'shared' table, or a full 'table' per layer with a gate."""

    kind: str = "shared"
    dim: int = 128  # width of the shared table
    layers: tuple[int, ...] = ()  # empty: every second layer, the last one included


@dataclass(frozen=True)
class BigramHash:
    """A hashed table of token pairs added to the embedding."""

    rows: int = 2048  # one of them is kept for the first token of a document
    dim: int = 128


@dataclass(frozen=True)
class Loop:
    """Depth recurrence: layers first..last run `passes` times once `start` of the training is done."""

    first: int
    last: int
    passes: int
    start: float = 0.35


@dataclass(frozen=True)
class ChartEncoder:
    """Raw pixels as prefix tokens: images [channels, size, size] in patches."""

    channels: int = 3
    size: int = 224
    patch: int = 16
    bidirectional: bool = False  # prefix tokens see each other


@dataclass(frozen=True)
class DecoderConfig:
    """Shape of a decoder-only transformer. A 0 where a size is asked for means: derived, as the comment says."""

    vocab_size: int  # V, tokens that exist; the table is padded to a multiple of pad_vocab_to
    d_model: int
    n_layer: int
    n_head: int
    d_ff: int
    n_kv_head: int = 0  # n_head; query head h reads key/value head h // (n_head / n_kv_head)
    d_head: int = 0  # d_model / n_head; n_head * d_head may differ from d_model
    pad_vocab_to: int = 64
    tie_embeddings: bool = True
    norm_affine: bool = True  # gains in the norms
    norm_eps: float = 1e-6
    dropout: float = 0.0  # of the embedding and of both branches, in training
    bos_id: int = -1  # the token that begins a document; -1: none

    max_seq_len: int = 4096
    rope_base: float = 10000.0
    rope_dims: int = 0  # d_head; fewer: only the first rotate
    rope_scaling: RopeScaling | None = None

    qk_norm: str = "affine"  # RMSNorm of every query and key head before the rotation, with or without gain
    qk_gain: float = 0.0  # above 0: a learned gain per query head after the rotation, that begins here
    attn_scale: float = 0.0  # 1/sqrt(d_head); with mup_base_d_head: sqrt(mup_base_d_head)/d_head
    attn_softcap: float = 0.0  # s: scores become s*tanh(scores/s)
    window_pattern: str = "L"  # tiled over the layers, L long and S short; the last layer is always long
    window: int = 0  # of S layers, tokens; a quarter of max_seq_len, rounded up to 128
    xsa_last_n: int = 0  # exclusive self-attention in the last n layers
    xsa: str = "learned"
    attn_gate: str = "none"
    gate_window: int = 12  # inputs of narrow gates
    value_residual: bool = False
    value_embed: ValueEmbed | None = None

    ffn_kind: str = "swiglu"
    ffn_rank: int = 128  # r of the low-rank kinds
    ffn_experts: int = 4  # E of the routed kind
    ffn_top_k: int = 1
    ternary_group: int = 128  # inputs that share a scale; 0: the whole matrix
    ternary_activations: bool = False  # activations in 8 bits before ternary matrices
    ternary_sub_norm: bool = True  # RMSNorm before the ternary down matrix
    ternary_attn: bool = False  # attention's matrices too

    embed_norm: bool = False  # RMSNorm without gain after the embedding
    ln_scale: bool = False  # normed input of layer i times 1/sqrt(i+1)
    branch_scale: bool = False  # a learned gain per channel on what attention and FFN give
    resid_mix: str = "none"  # the block reads a learned mix of the stream and the embedding
    parallel_from: int = -1  # from this layer on attention and FFN run side by side
    parallel_kind: str = "shared"
    unet_skips: str = "none"
    backout: bool = False  # a learned part of the middle of the stream is taken out before the last norm
    loop: Loop | None = None
    smear: str = "none"
    bigram_hash: BigramHash | None = None

    logit_softcap: float = 0.0  # s: logits become s*tanh(logits/s)
    mtp_k: int = 1  # tokens predicted at once: K-1 extra heads
    mtp_kind: str = "mlp"
    mtp_hidden: int = 0  # 2 d_model
    decision_classes: int = 0  # above 0: the decision head
    chart_encoder: ChartEncoder | None = None

    mup_base_d: int = 0  # width at which the hyper-parameters were found; above 0: muP scalings
    mup_base_d_head: int = 0  # the same for d_head, where that grows with the width
    mup_base_layers: int = 0  # the same for depth: branches times sqrt(base/n_layer)
    embed_multiplier: float = 1.0
    logit_multiplier: float = 1.0
    init: str = "zero_out"

    def __post_init__(self) -> None:
        derived = {
            "n_kv_head": self.n_kv_head or self.n_head,
            "d_head": self.d_head or self.d_model // max(1, self.n_head),
            "window": self.window or -(-self.max_seq_len // 4 // 128) * 128 or 128,
            "mtp_hidden": self.mtp_hidden or 2 * self.d_model,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "rope_dims", self.rope_dims or self.d_head)
        if self.value_embed is not None and not self.value_embed.layers:
            every_second = tuple(i for i in range(self.n_layer) if (self.n_layer - 1 - i) % 2 == 0)
            object.__setattr__(self, "value_embed", dataclasses.replace(self.value_embed, layers=every_second))
        check(self)

    @property
    def padded_vocab_size(self) -> int:
        """V': rows of the embedding table."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to

    @property
    def scale(self) -> float:
        """What scores are multiplied with before the softmax."""
        if self.attn_scale:
            return self.attn_scale
        return self.mup_base_d_head**0.5 / self.d_head if self.mup_base_d_head else self.d_head**-0.5

    @property
    def width_ratio(self) -> float:
        """d_model over the width the hyper-parameters were found at; 1 without muP."""
        return self.d_model / self.mup_base_d if self.mup_base_d else 1.0

    def windows(self) -> tuple[int, ...]:
        """Tokens that each layer sees, itself included; 0: all."""
        kinds = [self.window_pattern[i % len(self.window_pattern)] for i in range(self.n_layer)]
        return tuple(self.window if kind == "S" and i < self.n_layer - 1 else 0 for i, kind in enumerate(kinds))

    def unrolled(self, looping: bool = True) -> tuple[int, ...]:
        """Layers in the order they run."""
        layers, loop = tuple(range(self.n_layer)), self.loop
        if loop is None or not looping:
            return layers
        return layers[: loop.first] + layers[loop.first : loop.last + 1] * loop.passes + layers[loop.last + 1 :]

    def parallel(self, layer: int) -> str:
        """'none', 'shared' or 'lanes': how this layer joins attention and FFN."""
        return self.parallel_kind if 0 <= self.parallel_from <= layer else "none"

    def param_count(self) -> int:
        """Exact number of parameters, in closed form."""
        from model.counts import param_count

        return param_count(self)

    def flops_per_token(self, length: int) -> int:
        """Training FLOPs per token (forward and backward) in rows of `length` tokens."""
        from model.counts import training_flops

        return training_flops(self, length)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; options that are off are null."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """Strict: unknown, missing or wrongly typed keys raise ValueError."""
        return _strict(cls, values, "decoder setting")

    def replace(self, **changes: Any) -> DecoderConfig:
        """This shape with other fields. ValueError as `from_dict`."""
        return type(self).from_dict({**self.to_dict(), **changes})


def _strict(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: {values!r} is not a mapping of settings")
    fields, hints = {f.name: f for f in dataclasses.fields(cls)}, typing.get_type_hints(cls)
    given = {}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), list(fields), 1, 0.5)
            raise ValueError(f"unknown {where} '{key}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        given[key] = _typed(hints[key], value, f"{where} '{key}'")
    missing = [f.name for f in fields.values() if f.default is dataclasses.MISSING and f.name not in given]
    if missing:
        raise ValueError(f"{where}s missing: {', '.join(missing)}")
    return cls(**given)


def _typed(hint: Any, value: Any, where: str) -> Any:
    args = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return None if value is None else _typed(args[0], value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} must be a list, not {value!r}")
        return tuple(_typed(args[0], item, where) for item in value)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _strict(hint, value, f"{where}:")  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} must be {hint.__name__}, not {value!r}")
