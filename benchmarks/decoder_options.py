"""What every option of the decoder costs in training, each against the plain SwiGLU decoder of the same shape.

The plain decoder stays alive beside every option in turn; `speed` is its median step over the option's in the same rounds, `/core`
the same in processor time, and `step MiB` how far a step raises memory above the weights at rest. Every step is a whole training
step without the optimizer, the terms of train/objective.py included. Beside it what is exact: parameters, those one token uses,
MFLOP a token in training and in decoding (behind half a window), and MB of the weights in use: bf16, ternary matrices packed.

relu2 and leakyrelu2 have two matrices for SwiGLU's three and get a d_ff half as large again; `documents` is a row of four documents
that do not see each other. The precision is the trainer's own: fp32 weights, bf16 activations where the machine has them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from decoder_worker import Contestant, median, peak, rounds, spread
from decoder_worker import arguments as common


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--shape", default="50m", help="a preset")
    parser.add_argument("--rows", default="8x512", metavar="ROWSxLENGTH")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="options whose names hold one of these")
    parser.add_argument("--mode", choices=("eager", "compiled"), default="compiled")
    parser.add_argument("--counts", action="store_true", help="what is exact only: nothing is run")


def options(d_ff: int, n_layer: int, d_head: int, length: int) -> dict[str, dict[str, Any]]:
    """Name -> changes to the plain shape."""
    third, wider = n_layer // 3, {"d_ff": d_ff * 3 // 2}
    yarn = {"kind": "yarn", "factor": 2.0, "trained": length // 2}
    routed = {"ffn_kind": "routed_lowrank_swiglu"}
    return {
        "relu2": {"ffn_kind": "relu2", **wider},
        "leakyrelu2": {"ffn_kind": "leakyrelu2", **wider},
        "ternary": {"ffn_kind": "ternary_swiglu"},
        "ternary, 8-bit activations": {"ffn_kind": "ternary_swiglu", "ternary_activations": True},
        "ternary, attention too": {"ffn_kind": "ternary_swiglu", "ternary_attn": True},
        "low-rank, r 128": {"ffn_kind": "lowrank_swiglu"},
        "routed, 1 of 4": routed,
        "routed, 2 of 4": {**routed, "ffn_top_k": 2},
        "documents": {},
        "qk_norm none": {"qk_norm": "none"},
        "qk_norm plain": {"qk_norm": "plain"},
        "qk_gain": {"qk_gain": 5.0},
        "attn_softcap": {"attn_softcap": 50.0},
        "window SSSL": {"window_pattern": "SSSL", "window": length // 4},
        "rope_dims, a quarter": {"rope_dims": d_head // 4},
        "rope ntk": {"rope_scaling": {"kind": "ntk", "factor": 2.0}},
        "rope yarn": {"rope_scaling": yarn},
        "xsa learned": {"xsa_last_n": n_layer},
        "xsa full": {"xsa_last_n": n_layer, "xsa": "full"},
        **{f"gate {kind}": {"attn_gate": kind} for kind in ("attn_out", "gated", "sparse", "gated_bias")},
        "value_residual": {"value_residual": True},
        "value_embed shared": {"value_embed": {}},
        "value_embed table": {"value_embed": {"kind": "table"}},
        "no gains": {"norm_affine": False},
        "embed_norm": {"embed_norm": True},
        "ln_scale": {"ln_scale": True},
        "branch_scale": {"branch_scale": True},
        "resid_mix vector": {"resid_mix": "vector"},
        "resid_mix scalar": {"resid_mix": "scalar"},
        "parallel shared": {"parallel_from": n_layer // 2},
        "parallel lanes": {"parallel_from": n_layer // 2, "parallel_kind": "lanes"},
        "unet gated": {"unet_skips": "gated"},
        "unet plain": {"unet_skips": "plain"},
        "backout": {"backout": True},
        "loop, a third twice": {"loop": {"first": third, "last": 2 * third - 1, "passes": 2}},
        "smear gate": {"smear": "gate", "bos_id": 0},
        "smear channel": {"smear": "channel"},
        "bigram_hash": {"bigram_hash": {}, "bos_id": 0},
        "logit_softcap": {"logit_softcap": 30.0},
        "dropout": {"dropout": 0.1},
        **{f"mtp {kind}, K 4": {"mtp_k": 4, "mtp_kind": kind} for kind in ("mlp", "deepseek", "shared")},
    }


def run(given: argparse.Namespace) -> None:
    from decoder_peers import shape_of

    from train.numerics import default_device

    rows, length = map(int, given.rows.split("x"))
    plain, device = shape_of(given.shape, length), default_device()
    found = options(plain.d_ff, plain.n_layer, plain.d_head, length)
    chosen = {name: changes for name, changes in found.items() if not given.only or any(part in name for part in given.only)}
    print(f"options: {given.shape}, {rows} x {length} tokens, {given.mode}, {device}, {given.threads} threads, {given.turns} turns")
    print(f"{'':44}{'':>8}{'MFLOP a token':>16}{'':>9}")
    measured = f"{'tokens/s':>10}{'speed':>8}{'spread':>8}{'/core':>8}{'step MiB':>10}"
    print(f"{'':28}{'params M':>9}{'active':>8}{'train':>8}{'decode':>8}{'MB':>8}{measured}", flush=True)
    if given.counts:
        for name, changes in {"plain": {}, **chosen}.items():
            print(f"{name:28}{_exact(plain.replace(**changes), length)}")
        return
    task = {"rows": rows, "length": length, "mode": given.mode, "device": device, "seconds": given.seconds}
    reference = Contestant("decoder_options:turns", given.threads, config=plain.to_dict(), documents=False, **task)
    try:
        reference.ask()
        first = True
        for name, changes in chosen.items():
            shape = plain.replace(**changes)
            option = Contestant("decoder_options:turns", given.threads, config=shape.to_dict(), documents=name == "documents", **task)
            try:
                failed: dict[str, str] = {}
                rounds({name: option}, 1, failed)
                turns = rounds({"plain": reference, name: option}, given.turns, failed)
            finally:
                option.close()
            if first:
                print(f"{'plain':28}{_exact(plain, length)}{_measured(turns['plain'], turns['plain'], rows * length)}")
                first = False
            line = f"  failed: {failed[name]}" if name in failed else _measured(turns[name], turns["plain"], rows * length)
            print(f"{name:28}{_exact(shape, length)}{line}", flush=True)
    finally:
        reference.close()


def _exact(shape: Any, length: int) -> str:
    """What is known without running anything."""
    from model import counts

    exact = f"{shape.param_count() / 1e6:9.2f}{counts.active_count(shape) / 1e6:8.2f}"
    flops = f"{shape.flops_per_token(length) / 1e6:8.0f}{counts.decoding_flops(shape, length // 2) / 1e6:8.0f}"
    return exact + flops + f"{_stored(shape) / 1e6:8.1f}"


def _stored(shape: Any) -> int:
    """Bytes of the weights in use: bf16, ternary matrices packed."""
    import torch

    from model.decoder import Decoder
    from model.ternary import TernaryLinear, packed_bytes

    with torch.device("meta"):
        model = Decoder(shape)
    ternary = [m for m in model.modules() if isinstance(m, TernaryLinear)]
    plain = sum(p.numel() for p in model.parameters()) - sum(m.weight.numel() for m in ternary)
    return 2 * plain + sum(packed_bytes(tuple(m.weight.shape), m.group) for m in ternary)


def _measured(turns: list[dict[str, Any]], plain: list[dict[str, Any]], tokens: int) -> str:
    speeds = f"{tokens / median(turns):10,.0f}{median(plain) / median(turns):8.2f}{spread(turns):8.1%}"
    return speeds + f"{median(plain, 'cpu') / median(turns, 'cpu'):8.2f}{peak(turns, 'rise'):10,.0f}"


def turns(
    config: dict[str, Any], rows: int, length: int, documents: bool, mode: str, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """The job of one option: what `decoder_train.stepping` gives."""
    import torch
    from decoder_peers import batch
    from decoder_train import compiled, stepping

    from model import whole_rows
    from model.config import DecoderConfig
    from model.decoder import Decoder
    from train.numerics import resolve
    from train.objective import TermWeights, terms, weighted

    begun = time.monotonic()
    shape = DecoderConfig.from_dict(config)
    numerics = resolve(device, "auto", "off", 1e18)
    model = Decoder(shape, getattr(torch, numerics.dtype)).init_weights(0).to(device).train()
    if numerics.own_attention:  # as train/loop.py does
        whole_rows.attach(model)
    ids, targets = batch(shape, rows, length, device)
    which = (torch.arange(length, device=device) * 4 // length).expand(rows, length).contiguous() if documents else None

    def loss() -> torch.Tensor:
        found = terms(model, ids, targets, None, which)
        return weighted(found, TermWeights(), 1.0, shape.mtp_kind == "shared")

    yield from stepping(model, compiled(loss) if mode == "compiled" else loss, torch.Tensor.backward, begun, device, seconds)
