"""The decoder's shape: one frozen dataclass, every field here and none elsewhere.

A config is strict (an unknown key or an impossible shape is a ValueError that says what would fit), makes the round
trip through JSON unchanged, and knows its exact number of parameters before any tensor exists.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DecoderConfig:
    """Shape of a decoder-only transformer. `d_head` 0 means d_model / n_head, `n_kv_head` 0 means n_head."""

    vocab_size: int  # V, tokens that exist; the table is padded to a multiple of pad_vocab_to
    d_model: int
    n_layer: int
    n_head: int
    d_ff: int  # width of the SwiGLU
    n_kv_head: int = 0  # query head h reads key/value head h // (n_head / n_kv_head)
    d_head: int = 0  # n_head * d_head may differ from d_model
    max_seq_len: int = 1024
    rope_base: float = 10000.0
    tie_embeddings: bool = True
    qk_norm: bool = True  # RMSNorm with a learned gain on every query and key head, before the rotation
    logit_softcap: float = 0.0  # s: logits become s*tanh(logits/s); 0 is off
    norm_eps: float = 1e-6
    pad_vocab_to: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_kv_head", self.n_kv_head or self.n_head)
        object.__setattr__(self, "d_head", self.d_head or self.d_model // max(1, self.n_head))
        for name in ("vocab_size", "d_model", "n_layer", "n_head", "d_ff", "n_kv_head", "d_head", "max_seq_len", "pad_vocab_to"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_head ({self.n_head}) must be a multiple of n_kv_head ({self.n_kv_head})")
        if self.d_head % 2:
            raise ValueError(f"d_head must be even for rotary positions, not {self.d_head}")
        if self.rope_base <= 1 or self.norm_eps <= 0 or self.logit_softcap < 0:
            raise ValueError("rope_base must be above 1, norm_eps above 0 and logit_softcap 0 or more")

    @property
    def padded_vocab_size(self) -> int:
        """V': rows of the embedding table."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to

    def param_count(self) -> int:
        """Exact number of parameters: t*V'*d + L*(attention + 3*d*f + 2*d + qk gains) + d, t = 1 tied or 2 untied."""
        d, dh = self.d_model, self.d_head
        attention = 2 * d * self.n_head * dh + 2 * d * self.n_kv_head * dh
        layer = attention + 3 * d * self.d_ff + 2 * d + (2 * dh if self.qk_norm else 0)
        tables = (1 if self.tie_embeddings else 2) * self.padded_vocab_size * d
        return tables + self.n_layer * layer + d

    def flops_per_token(self, length: int) -> int:
        """Training FLOPs per token (forward and backward): 6 per matrix weight in use, plus 6*L*Hq*dh*T for causal attention."""
        matrices = self.param_count() - (0 if self.tie_embeddings else self.padded_vocab_size * self.d_model)
        return 6 * matrices + 6 * self.n_layer * self.n_head * self.d_head * length

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderConfig:
        """Strict: unknown, missing or wrongly typed keys raise ValueError."""
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for key, value in values.items():
            if key not in fields:
                close = difflib.get_close_matches(key, list(fields), 1, 0.5)
                raise ValueError(f"unknown decoder setting '{key}'" + (f"; did you mean '{close[0]}'?" if close else ""))
            wanted = {"int": int, "float": (int, float), "bool": bool}[str(fields[key].type)]
            if not isinstance(value, wanted) or (isinstance(value, bool) and fields[key].type != "bool"):  # type: ignore[arg-type]
                raise ValueError(f"decoder setting '{key}' must be {fields[key].type}, not {value!r}")
        missing = [f.name for f in fields.values() if f.default is dataclasses.MISSING and f.name not in values]
        if missing:
            raise ValueError(f"decoder settings missing: {', '.join(missing)}")
        return cls(**values)
