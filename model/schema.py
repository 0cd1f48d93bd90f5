"""Every parameter of the family by name: its role (which decides how it is optimized) and how it begins.

Names are without numbers: `blocks.3.attention.q.weight` is `blocks.attention.q.weight`. A parameter that is not here is an
error, so nothing is ever grouped or initialised by accident.

Roles: 'embed' tables, 'head' the untied head and the classes of heads, 'matrix' two-dimensional weights of the blocks,
'vector' gains, scales, gates, routers.
"""

from __future__ import annotations

import re

PARAMETERS: dict[str, tuple[str, str]] = {
    "embedding.weight": ("embed", "table"),
    "head.weight": ("head", "head"),
    "norm.weight": ("vector", "one"),
    "backout": ("vector", "0.2"),
    # attention
    "blocks.attention_norm.weight": ("vector", "one"),
    "blocks.attention.q.weight": ("matrix", "in"),
    "blocks.attention.k.weight": ("matrix", "in"),
    "blocks.attention.v.weight": ("matrix", "in"),
    "blocks.attention.o.weight": ("matrix", "out"),
    "blocks.attention.q_norm.weight": ("vector", "one"),
    "blocks.attention.k_norm.weight": ("vector", "one"),
    "blocks.attention.sub_norm.weight": ("vector", "one"),
    "blocks.attention.gain": ("vector", "qk_gain"),
    "blocks.attention.gate.weight": ("vector", "gate"),
    "blocks.attention.gate.bias": ("vector", "4"),
    "blocks.attention.strength": ("vector", "zero"),
    "blocks.attention.mix": ("vector", "0.5"),
    "blocks.attention.value_scale": ("vector", "one"),
    "blocks.attention.value_table.weight": ("embed", "uniform"),
    "blocks.attention.value_gate": ("vector", "value_gate"),
    # feed-forward
    "blocks.ffn_norm.weight": ("vector", "one"),
    "blocks.ffn.gate.weight": ("matrix", "in"),
    "blocks.ffn.up.weight": ("matrix", "in"),
    "blocks.ffn.down.weight": ("matrix", "out"),
    "blocks.ffn.sub_norm.weight": ("vector", "one"),
    "blocks.ffn.gate.b.weight": ("matrix", "in"),
    "blocks.ffn.gate.a.weight": ("matrix", "in"),
    "blocks.ffn.up.b.weight": ("matrix", "in"),
    "blocks.ffn.up.a.weight": ("matrix", "in"),
    "blocks.ffn.down.b.weight": ("matrix", "in"),
    "blocks.ffn.down.a.weight": ("matrix", "out"),
    "blocks.ffn.router.weight": ("vector", "in"),
    "blocks.ffn.gate_b": ("matrix", "in"),
    "blocks.ffn.gate_a": ("matrix", "in"),
    "blocks.ffn.up_b": ("matrix", "in"),
    "blocks.ffn.up_a": ("matrix", "in"),
    "blocks.ffn.down_b": ("matrix", "in"),
    "blocks.ffn.down_a": ("matrix", "out"),
    # residual stream
    "blocks.attention_scale": ("vector", "one"),
    "blocks.ffn_scale": ("vector", "one"),
    "blocks.mix": ("vector", "mix"),
    "blocks.lanes": ("vector", "lanes"),
    "skips.weight": ("vector", "one"),
    "skips.gate": ("vector", "zero"),
    # inputs
    "smear.weight": ("vector", "zero"),
    "smear.scale": ("vector", "zero"),
    "smear.channel": ("vector", "zero"),
    "bigram.table.weight": ("embed", "0.01 normal"),
    "bigram.proj.weight": ("matrix", "zero"),
    "bigram.scale": ("vector", "0.05"),
    "value_embed.table.weight": ("embed", "0.01 normal"),
    "value_embed.proj.weight": ("matrix", "zero"),
    "value_embed.scale": ("vector", "0.1"),
    # heads
    "mtp.norm.weight": ("vector", "one"),
    "mtp.up.weight": ("matrix", "in"),
    "mtp.down.weight": ("matrix", "zero"),
    "mtp.state_norm.weight": ("vector", "one"),
    "mtp.token_norm.weight": ("vector", "one"),
    "mtp.proj.weight": ("matrix", "in"),
    "decision.up.weight": ("matrix", "in"),
    "decision.out.weight": ("head", "zero"),
    "chart.patches.weight": ("matrix", "in"),
    "chart.rows": ("embed", "table"),
    "chart.columns": ("embed", "table"),
    "chart.norm.weight": ("vector", "one"),
    # models derived from the trunk
    "projection.weight": ("head", "in"),
    "classes.weight": ("head", "table"),
    "classes.bias": ("head", "zero"),
}

_NUMBER = re.compile(r"\.\d+(?=\.|$)")


def known_as(name: str) -> str:
    """The name without numbers; a block of a head is a block, what a derived model holds is a trunk's."""
    plain = _NUMBER.sub("", name).removeprefix("_orig_mod.").removeprefix("trunk.")
    return "blocks." + plain.removeprefix("mtp.block.") if plain.startswith("mtp.block.") else plain


def role(name: str) -> str:
    """KeyError for a parameter that is not in the schema."""
    return PARAMETERS[known_as(name)][0]


def beginning(name: str) -> str:
    """How it is initialised: a rule of `init.py`, or a constant. KeyError as `role`."""
    return PARAMETERS[known_as(name)][1]
